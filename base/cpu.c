#include "base/cpu.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REQUEST_STATE 0x1023 /* arch_prctl's ARCH_REQ_XCOMP_PERM: headers before Linux 5.16 lack it */
#define TILE_DATA 18         /* the state's number in XCR0 */

/* A process has to ask the kernel for the tiles' registers, 8 KiB a thread, before it uses them; asking again changes nothing. Where the kernel
 * or a virtual machine does not keep them, it says no. */
static bool may_use_tiles(void)
{
    unsigned a, b, c, d;
    const unsigned needed = 1u << 24 | 1u << 25; /* AMX-TILE, AMX-INT8 */
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & needed) == needed && syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0;
}
#endif

static unsigned detect(void)
{
    unsigned f = 0;
#if defined(__x86_64__)
    unsigned a, b, c, d;
    /* Not every compiler has a name for F16C. What it asks of the system, AVX2 has asked already. */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C)
        f |= CPU_AVX2;
    if ((f & CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        f |= CPU_AVX512;
    if ((f & CPU_AVX512) && __builtin_cpu_supports("avx512vnni"))
        f |= CPU_AVX512_VNNI;
    if ((f & CPU_AVX512_VNNI) && __builtin_cpu_supports("avx512vpopcntdq"))
        f |= CPU_AVX512_POPCNT;
    if ((f & CPU_AVX2) && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        f |= a & 1u << 4 ? CPU_AVX_VNNI : 0;
        f |= (f & CPU_AVX512_VNNI) && (a & 1u << 5) ? CPU_AVX512_BF16 : 0;
    }
    if ((f & CPU_AVX512_VNNI) && may_use_tiles())
        f |= CPU_AMX_INT8;
#elif defined(__aarch64__)
    f |= CPU_NEON;
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP)
        f |= CPU_NEON_DOTPROD;
#endif
    const char *mask = getenv("LATENTD_CPU_MASK");
    return mask ? f & (unsigned)strtoul(mask, NULL, 16) : f;
}

unsigned cpu_features(void)
{
    /* Bit 31 marks a value that has been read; detecting twice gives the same answer. */
    static atomic_uint cached;
    unsigned f = atomic_load_explicit(&cached, memory_order_relaxed);
    if (!f) {
        f = detect() | 1u << 31;
        atomic_store_explicit(&cached, f, memory_order_relaxed);
    }
    return f & ~(1u << 31);
}

unsigned cpu_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? (unsigned)n : 1;
}
