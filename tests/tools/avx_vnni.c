/* A CPU with AVX-VNNI and without AVX-512, as Intel's desktops are, made of any that has AVX2: linked into a test, with --wrap=cpu_features and
 * --wrap=pthread_sigmask. What the CPU does not know, VPDPBUSD in VEX's form, raises SIGILL and is done here, on the registers that the signal's
 * frame holds. Anything else that is unknown ends the program as ever. A CPU that has AVX-VNNI runs the test by itself. */
#include <cpuid.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "base/cpu.h"

unsigned __real_cpu_features(void), __wrap_cpu_features(void);
int __real_pthread_sigmask(int how, const sigset_t *set, sigset_t *old), __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);

/* One instruction, taken apart: VPDPBUSD, or VPBROADCASTD, which stands between them in a product's loop and is done along with them, since a
 * signal takes a thousand times as long */
struct instruction {
    bool sums;         /* VPDPBUSD */
    unsigned to, u;    /* registers: of the result and sums, of bytes without sign */
    unsigned s;        /* of bytes with one, or */
    const uint8_t *at; /* where they lie */
    size_t len_bytes;  /* of a vector: 16 or 32 */
};

/* Of the frame's general registers, in the order of their numbers */
static const int general[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* Bytes of the instruction at p, taken apart; 0: it is another. C4, ~R ~X ~B 00010, 0 ~vvvv L 01, 50 or 58, ModRM, SIB, displacement */
static size_t decode(const uint8_t *p, const greg_t *regs, struct instruction *v)
{
    if (p[0] != 0xC4 || (p[1] & 31) != 2 || (p[2] & 0x83) != 1 || (p[3] != 0x50 && p[3] != 0x58))
        return 0;
    const unsigned mod = p[4] >> 6, low = p[4] & 7, x = ~p[1] >> 6 & 1, b = ~p[1] >> 5 & 1;
    *v = (struct instruction){.sums = p[3] == 0x50, .to = (p[4] >> 3 & 7) | (~p[1] >> 4 & 8), .u = ~p[2] >> 3 & 15, .s = low | b << 3,
                              .len_bytes = p[2] & 4 ? 32 : 16};
    if (mod == 3)
        return 5;
    size_t n = 5;
    int64_t at = 0;
    bool far = mod == 2; /* a displacement of 32 bits */
    bool next = false;   /* from the next instruction on */
    if (low == 4) {
        const unsigned index = (p[n] >> 3 & 7) | x << 3, base = p[n] & 7;
        if (index != 4)
            at += regs[general[index]] * (1 << (p[n] >> 6));
        if (base == 5 && mod == 0)
            far = true;
        else
            at += regs[general[base | b << 3]];
        n++;
    } else if (low == 5 && mod == 0) {
        far = next = true;
    } else {
        at += regs[general[v->s]];
    }
    if (far) {
        int32_t d;
        memcpy(&d, p + n, sizeof d);
        at += d;
        n += sizeof d;
    } else if (mod == 1) {
        at += (int8_t)p[n++];
    }
    v->at = (const uint8_t *)(uintptr_t)(at + (next ? (int64_t)(uintptr_t)p + (int64_t)n : 0));
    return n;
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
