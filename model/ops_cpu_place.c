/* Where the rows between two ops of a stretch lie.
 *
 * A stretch runs on a block of rows at a time. A buffer that it fills, reads, and that nothing after it reads, needs no more than
 * that block: it lives in the worker's arena, which stays in the cache, and the buffer itself is never touched.
 * A product into such a buffer whose only reader is the gate behind it is not even made: the two run as one. So do a norm and an int8 product,
 * where nothing else reads what the norm makes. */
#include <stdlib.h>

#include "model/ops_cpu_internal.h"

bool cpu_across_rows(enum cpu_op op)
{
    return op == OP_ATTENTION || op == OP_GATHER || op == OP_MEAN || op == OP_PICK;
}

size_t cpu_stretch_end(const struct cpu_ops *o, size_t i)
{
    size_t end = i + 1;
    while (!cpu_across_rows(o->commands[i].op) && end < o->n_commands &&
           o->commands[end].domain == o->commands[i].domain && !cpu_across_rows(o->commands[end].op))
        end++;
    return end;
}

static bool reads(const struct cpu_command *c, const struct ops_buf *b)
{
    return c->x == b || c->residual == b;
}

/* Whether the last values of b, first written by command i, are read by another op within i + 1 … end - 1, and not after,
 * before it is written anew. */
static bool stays_inside(const struct cpu_ops *o, const struct ops_buf *b, size_t i, size_t end, const struct ops_buf *src)
{
    bool consumed = false;
    size_t j = i + 1;
    for (; j < end; j++)
        consumed = o->commands[j].y != b && (consumed || reads(&o->commands[j], b));
    if (!consumed)
        return false;
    for (; j < o->n_commands; j++) {
        if (reads(&o->commands[j], b))
            return false;
        if (o->commands[j].y == b)
            /* Rewriting fewer rows than were written would leave the others to be read. */
            return o->commands[j].n >= o->commands[i].n;
    }
    return b != src;
}

/* All uses of b in the stretch from command i on */
static void assign(struct cpu_ops *o, const struct ops_buf *b, size_t i, size_t end, int32_t place)
{
    for (; i < end; i++) {
        struct cpu_command *c = &o->commands[i];
        if (c->x == b)
            c->x_place = place;
        if (c->residual == b)
            c->residual_place = place;
        if (c->y == b)
            c->y_place = place;
    }
}

static enum cpu_gate gate_of(const struct cpu_ops *o, size_t i, size_t end)
{
    const struct cpu_command *c = &o->commands[i];
    if (c->op != OP_MATMUL || c->y_place < 0 || i + 1 >= end || c[1].x != c->y)
        return GATE_NONE;
    const enum cpu_gate gate = c[1].op == OP_SWIGLU       ? GATE_SWIGLU
                               : c[1].op == OP_GEGLU      ? GATE_GEGLU
                               : c[1].op == OP_GEGLU_TANH ? GATE_GEGLU_TANH
                                                          : GATE_NONE;
    if (gate == GATE_NONE || !cpu_matmul_can_gate(c))
        return GATE_NONE;
    for (size_t j = i + 2; j < end; j++) {
        if (reads(&o->commands[j], c->y))
            return GATE_NONE;
        if (o->commands[j].y == c->y)
            break;
    }
    return gate;
}

static bool is_inner(const struct cpu_ops *o, size_t i, const struct ops_buf *src)
{
    const struct cpu_command *c = &o->commands[i], *next = c + 1;
    if ((c->op != OP_RMS_NORM && c->op != OP_LAYER_NORM) || i + 1 == o->n_commands || next->op != OP_MATMUL || !next->w->int8 ||
        next->x != c->y || next->residual == c->y || next->domain != c->domain || c->x == c->y || next->y == c->x)
        return false;
    if (next->gate && (next[1].y == c->x || next[1].y == c->y))
        return false;
    for (size_t j = i + 2; j < o->n_commands; j++) {
        if (reads(&o->commands[j], c->y))
            return false;
        if (o->commands[j].y == c->y)
            return o->commands[j].n >= c->n;
    }
    return c->y != src;
}

/* Places a stretch's buffers; returns the floats a row of a block needs. */
static size_t place_stretch(struct cpu_ops *o, size_t begin, size_t end, const struct ops_buf *src)
{
    size_t cols = 0;
    for (size_t i = begin; i < end; i++) {
        const struct cpu_command *c = &o->commands[i];
        bool fresh = c->y_place < 0 && !reads(c, c->y);
        for (size_t j = begin; fresh && j < i; j++)
            fresh = !reads(&o->commands[j], c->y) && o->commands[j].y != c->y;
        if (fresh && stays_inside(o, c->y, i, end, src)) {
            assign(o, c->y, i, end, (int32_t)cols);
            cols += (c->y->cols + 15) / 16 * 16;
        }
    }
    for (size_t i = begin; i < end; i++)
        o->commands[i].gate = gate_of(o, i, end);
    return cols;
}

static void note_read(const struct ops_buf *b)
{
    struct ops_buf *own = (struct ops_buf *)(uintptr_t)b; /* notes are kept in it on the way */
    if (!b)
        return;
    own->passing = own->passing && b->begun;
    own->begun = true;
    own->unread = false;
}

void cpu_find_passing(struct cpu_ops *o, const struct ops_buf *src, bool may)
{
    const struct cpu_command *end = o->commands + o->n_commands;
    for (const struct cpu_command *c = o->commands; c < end; c++) {
        const struct ops_buf *const all[] = {c->x, c->residual, c->y};
        for (int i = 0; i < 3; i++)
            if (all[i])
                ((struct ops_buf *)(uintptr_t)all[i])->passing = false;
    }
    for (const struct cpu_command *c = o->commands; may && c < end; c++) {
        c->y->begun = false;
        c->y->passing = c->y != src;
    }
    for (const struct cpu_command *c = o->commands; may && c < end; c++) {
        note_read(c->x);
        note_read(c->residual);
        c->y->begun = c->y->unread = true;
        c->y->passing = c->y->passing && c->domain != CPU_TEXTS;
    }
    for (const struct cpu_command *c = o->commands; may && c < end; c++)
        c->y->passing = c->y->passing && !c->y->unread;
}

void cpu_unplace(struct cpu_ops *o)
{
    for (size_t i = 0; i < o->n_commands; i++)
        o->commands[i].x_place = o->commands[i].residual_place = o->commands[i].y_place = -1;
}

int cpu_place(struct cpu_ops *o, const struct ops_buf *src)
{
    size_t most = 0;
    for (size_t i = 0; i < o->n_commands; i++) {
        struct cpu_command *c = &o->commands[i];
        c->x_place = c->residual_place = c->y_place = -1;
        c->gate = GATE_NONE;
        c->inner = false;
        c->heads_end = NULL;
    }
    for (size_t i = 0, end; !o->loose && i < o->n_commands; i = end) {
        end = cpu_stretch_end(o, i);
        if (cpu_across_rows(o->commands[i].op))
            continue;
        const size_t cols = place_stretch(o, i, end, src);
        most = cols > most ? cols : most;
    }
    for (size_t i = 0; !o->loose && i < o->n_commands; i++)
        o->commands[i].inner = is_inner(o, i, src);
    const size_t floats = most * cpu_matmul_rows(o);
    if (floats <= o->arena_floats)
        return 0;
    for (unsigned i = 0; i < o->n_threads; i++) {
        free(o->workers[i].arena);
        o->workers[i].arena = cpu_alloc(floats, sizeof(float));
        if (!o->workers[i].arena) {
            o->arena_floats = 0;
            return LT_ENOMEM;
        }
    }
    o->arena_floats = floats;
    return 0;
}
