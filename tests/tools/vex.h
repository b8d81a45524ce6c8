/* Taking apart instructions of VEX's long form, C4 ~R~X~B.map W~vvvv L.pp opcode ModRM SIB displacement, for handlers of SIGILL that do what the CPU
 * cannot. Source: Intel's Software Developer's Manual, volume 2. */
#ifndef TESTS_TOOLS_VEX_H
#define TESTS_TOOLS_VEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

enum vex_prefix { VEX_NONE, VEX_66, VEX_F3, VEX_F2 };

struct vex {
    unsigned map, prefix, opcode;
    bool wide;            /* L: 256 bits */
    unsigned reg, second; /* registers of ModRM's middle and of vvvv */
    bool in_memory;       /* ModRM's third operand; otherwise register rm */
    unsigned rm;
    uint64_t base;        /* of the address: register, displacement and what is counted from the next instruction on */
    int64_t index;        /* what the index register adds, scaled */
    size_t len_bytes;
};

/* Of the frame's general registers, in the order of their numbers */
static const int vex_general[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* False: not of this form. What the opcode means is the caller's. */
static inline bool vex_take_apart(const uint8_t *p, const greg_t *regs, struct vex *v)
{
    if (p[0] != 0xC4)
        return false;
    const unsigned mod = p[4] >> 6, low = p[4] & 7, x = ~p[1] >> 6 & 1, b = ~p[1] >> 5 & 1;
    *v = (struct vex){.map = p[1] & 31, .prefix = p[2] & 3, .opcode = p[3], .wide = p[2] & 4, .reg = (p[4] >> 3 & 7) | (~p[1] >> 4 & 8),
                      .second = ~p[2] >> 3 & 15, .in_memory = mod != 3, .rm = low | b << 3, .len_bytes = 5};
    if (mod == 3)
        return true;
    bool far = mod == 2; /* a displacement of 32 bits */
    bool next = false;   /* from the next instruction on */
    if (low == 4) {
        const unsigned sib = p[v->len_bytes++], index = (sib >> 3 & 7) | x << 3, base = sib & 7;
        if (index != 4)
            v->index = regs[vex_general[index]] * (1 << (sib >> 6));
        if (base == 5 && mod == 0)
            far = true;
        else
            v->base = (uint64_t)regs[vex_general[base | b << 3]];
    } else if (low == 5 && mod == 0) {
        far = next = true;
    } else {
        v->base = (uint64_t)regs[vex_general[v->rm]];
    }
    if (far) {
        int32_t d;
        memcpy(&d, p + v->len_bytes, sizeof d);
        v->base += (uint64_t)(int64_t)d;
        v->len_bytes += sizeof d;
    } else if (mod == 1) {
        v->base += (uint64_t)(int64_t)(int8_t)p[v->len_bytes++];
    }
    v->base += next ? (uint64_t)(uintptr_t)p + v->len_bytes : 0;
    return true;
}

#endif
