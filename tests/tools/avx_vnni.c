/* A CPU with AVX-VNNI and without AVX-512, as Intel's desktops are, made of any that has AVX2: linked into a test, with --wrap=cpu_features and
 * --wrap=pthread_sigmask. What the CPU does not know, VPDPBUSD in VEX's form, raises SIGILL and is done here, on the registers that the signal's
 * frame holds. Anything else that is unknown ends the program as ever. A CPU that has AVX-VNNI runs the test by itself. */
#include <cpuid.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/cpu.h"
#include "tests/tools/vex.h"

unsigned __real_cpu_features(void), __wrap_cpu_features(void);
int __real_pthread_sigmask(int how, const sigset_t *set, sigset_t *old), __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);

/* One instruction: VPDPBUSD, or VPBROADCASTD, which stands between them in a product's loop and is done along with them, since a
 * signal takes a thousand times as long */
struct instruction {
    bool sums;         /* VPDPBUSD */
    unsigned to, u;    /* registers: of the result and sums, of bytes without sign */
    unsigned s;        /* of bytes with one, or */
    const uint8_t *at; /* where they lie */
    size_t len_bytes;  /* of a vector: 16 or 32 */
};

/* Bytes of the instruction at p, taken apart; 0: it is another */
static size_t decode(const uint8_t *p, const greg_t *regs, struct instruction *v)
{
    struct vex x;
    if (!vex_take_apart(p, regs, &x) || x.map != 2 || x.prefix != VEX_66 || (x.opcode != 0x50 && x.opcode != 0x58))
        return 0;
    *v = (struct instruction){.sums = x.opcode == 0x50, .to = x.reg, .u = x.second, .s = x.rm, .len_bytes = x.wide ? 32 : 16,
                              .at = x.in_memory ? (const uint8_t *)(uintptr_t)(x.base + (uint64_t)x.index) : NULL};
    return x.len_bytes;
}

/* Where the frame keeps a register's halves, in XSAVE's standard form */
struct halves {
    uint8_t *low, *high;
};

static struct halves vector(fpregset_t fp, unsigned i)
{
    static unsigned high; /* bytes from the frame's beginning to the upper halves */
    unsigned a, c, d;
    if (!high)
        __cpuid_count(13, 2, a, high, c, d);
    return (struct halves){(uint8_t *)&fp->_xmm[i], (uint8_t *)fp + high + 16 * i};
}

static void load(struct halves h, uint8_t *v)
{
    memcpy(v, h.low, 16);
    memcpy(v + 16, h.high, 16);
}

static void run(const struct instruction *v, fpregset_t fp)
{
    uint8_t u[32], s[32], to[32];
    load(vector(fp, v->u), u);
    load(vector(fp, v->s), s);
    if (v->at)
        memcpy(s, v->at, v->sums ? v->len_bytes : 4);
    const struct halves result = vector(fp, v->to);
    load(result, to);
    for (size_t i = 0; i < v->len_bytes; i += 4) {
        uint32_t sum;
        memcpy(&sum, v->sums ? to + i : s, sizeof sum);
        for (size_t j = i; v->sums && j < i + 4; j++)
            sum += (uint32_t)(u[j] * (int8_t)s[j]);
        memcpy(to + i, &sum, sizeof sum);
    }
    memset(to + v->len_bytes, 0, sizeof to - v->len_bytes);
    memcpy(result.low, to, 16);
    memcpy(result.high, to + 16, 16);
}

static void on_illegal(int number, siginfo_t *info, void *context)
{
    (void)info;
    ucontext_t *u = context;
    greg_t *regs = u->uc_mcontext.gregs;
    fpregset_t fp = u->uc_mcontext.fpregs;
    uint64_t *kept = (uint64_t *)((uint8_t *)fp + 512); /* which parts of the frame are not in their first state, all zeros */
    struct instruction v;
    size_t n = decode((const uint8_t *)regs[REG_RIP], regs, &v);
    if (!n) {
        signal(number, SIG_DFL);
        return;
    }
    for (unsigned i = 0; i < 16; i++) { /* what is in its first state may be anything in memory */
        if (!(*kept & 2))
            memset(vector(fp, i).low, 0, 16);
        if (!(*kept & 4))
            memset(vector(fp, i).high, 0, 16);
    }
    *kept |= 6;
    do { /* several follow each other */
        run(&v, fp);
        regs[REG_RIP] += (greg_t)n;
    } while ((n = decode((const uint8_t *)regs[REG_RIP], regs, &v)));
}

unsigned __wrap_cpu_features(void)
{
    /* Each time anew: cmocka has a handler of its own, which it puts in front of each test. */
    sigaction(SIGILL, &(struct sigaction){.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO}, NULL);
    return __real_cpu_features() & CPU_AVX2 ? CPU_AVX2 | CPU_AVX_VNNI : 0;
}

/* Threads that block all signals do not block this one, which would end the program. */
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    sigset_t but;
    if (set) {
        but = *set;
        sigdelset(&but, SIGILL);
    }
    return __real_pthread_sigmask(how, set ? &but : NULL, old);
}
