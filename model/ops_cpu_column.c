/* Runs a recorded batch of few rows: all threads at one step at a time.
 *
 * What a few rows cost is reading the weights, so a product is shared out by columns, each thread with weights of its own; other ops
 * by rows. Threads meet after each step and read what the others wrote, both of which cost most where the system runs them on cores
 * far apart; so there are as few steps as can be, and little is passed on:
 * - two threads norm and quantise all rows of a product each for itself, which takes less than the meeting that it saves. More threads do it
 *   by rows, as a step before the product's;
 * - two threads share out a product of queries, keys and values by heads, and go on to those heads' rotation and attention.
 * Each thread has a slice of a step. Who is done takes slices that nobody has begun: a thread that wakes late, or that the system
 * gives to another program, holds up the rest by the slice it is at, and not at all when it has none.
 * A value's arithmetic is that of the other ways: whole sums of one row and one column. */
#include <stdlib.h>
#include <string.h>

#include "model/ops_cpu_internal.h"

#define MOST_ACTIVE 8 /* threads: a product of few rows has little for more */
#define ALONE 2       /* threads that each quantise all rows */
#define MOST_UNEVEN 5 / 4 /* heads of the thread with the most, of a fair share */

#define LINE 64

/* What all threads do between two meetings: commands c … end - 1 */
struct step {
    const struct cpu_command *c, *end; /* c is end: nothing, the batch is done */
    const struct cpu_command *product; /* or NULL: what follows is one op, by rows */
    const struct cpu_command *bytes;   /* the product whose rows are quantised on the way, or NULL; may be c: nothing else is done */
    bool alone;                        /* the product's rows are quantised by each thread */
};

/* Of a step: bit s is set when slice s is taken, and MOST_ACTIVE bits further up the number of those done is counted. A line of its own. */
struct cpu_claim {
    _Alignas(LINE) atomic_uint taken;
};

/* Rows that another thread may have written are asked for at once, not one after the other. */
static void bring(const struct ops_buf *b, struct cpu_range rows)
{
    const char *p = (const char *)(b->v + rows.begin * b->cols), *end = (const char *)(b->v + rows.end * b->cols);
    for (; p < end; p += LINE)
        __builtin_prefetch(p);
}

/* Lines that another thread may have read are asked for before a product is made: writing to them then need not wait. */
static void claim_lines(const struct ops_buf *b, size_t n_rows, struct cpu_range cols)
{
    for (size_t r = 0; r < n_rows; r++) {
        const char *p = (const char *)(b->v + r * b->cols + cols.begin), *end = (const char *)(b->v + r * b->cols + cols.end);
        for (; p < end; p += LINE)
            cpu_claim_line(p);
    }
}

/* All rows of the texts that these are of */
static struct cpu_range whole_texts(const struct cpu_ops *o, struct cpu_range rows)
{
    return (struct cpu_range){o->seq_offset[o->text[rows.begin]], o->seq_offset[o->text[rows.end - 1] + 1]};
}

static int run_rows(struct cpu_ops *o, const struct step *step, unsigned slice, unsigned thread)
{
    const struct cpu_command *c = step->c;
    const size_t n = cpu_domain_rows(o, c->domain);
    const struct cpu_range rows = {n * slice / o->n_active, n * (slice + 1) / o->n_active};
    int r = 0;
    if (rows.begin == rows.end)
        return 0;
    if (c->op == OP_ATTENTION)
        bring(c->x, whole_texts(o, rows));
    else if (c->x && !cpu_across_rows(c->op))
        bring(c->x, rows);
    if (step->bytes != c)
        r = cpu_run_command(o, c, rows, thread);
    if (!r && step->bytes)
        cpu_matmul_quantise(o, step->bytes, rows);
    return r;
}

/* Some heads, from the product's columns to attention */
static int run_heads(struct cpu_ops *o, const struct step *step, unsigned slice, unsigned thread)
{
    const struct cpu_command *p = step->product;
    const struct ops_attention *a = &p->heads_end[-1].attention;
    const size_t kv = a->n_kv_heads, share = a->n_heads / kv, d = a->head_dim;
    const struct cpu_range heads = {kv * slice / o->n_active, kv * (slice + 1) / o->n_active};
    const size_t first[] = {0, a->n_heads * d, (a->n_heads + kv) * d}, times[] = {share * d, d, d};
    int r = 0;
    claim_lines(p->heads_end[-1].y, p->n, (struct cpu_range){heads.begin * times[0], heads.end * times[0]});
    for (int i = 0; !r && i < 3; i++) {
        const struct cpu_range cols = {first[i] + heads.begin * times[i], first[i] + heads.end * times[i]};
        const size_t then = i < 2 ? first[i + 1] + heads.begin * times[i + 1] : CPU_NO_COLUMN;
        r = cpu_run_matmul(o, p, (struct cpu_range){0, p->n}, (struct cpu_part){cols, then}, thread);
    }
    for (const struct cpu_command *c = p + 1; !r && c < p->heads_end; c++)
        cpu_run_heads(o, c, heads, thread);
    return r;
}

static int run_slice(struct cpu_ops *o, const struct step *step, unsigned slice, unsigned thread)
{
    struct cpu_worker *me = &o->workers[thread];
    const struct cpu_command *p = step->product;
    if (!p)
        return run_rows(o, step, slice, thread);
    if (!step->alone)
        me->bytes = &o->workers[0];
    else if (me->held != p) {
        const struct ops_buf *x = step->c->x; /* of the norm, where the step begins with one */
        bring(x, (struct cpu_range){0, p->n});
        cpu_matmul_prepare(o, thread, p, x->v, p->n);
        me->held = p;
    }
    if (p->heads_end)
        return run_heads(o, step, slice, thread);
    const struct cpu_range cols = cpu_matmul_slice(o, p, slice);
    claim_lines(p->gate ? p[1].y : p->y, p->n, cols);
    return cpu_run_matmul(o, p, (struct cpu_range){0, p->n}, (struct cpu_part){cols, CPU_NO_COLUMN}, thread);
}

/* This thread's share of a step; false: it waited for the others for too long. */
static bool take_part(struct cpu_ops *o, const struct step *step, atomic_uint *taken, unsigned thread)
{
    const unsigned n = o->n_active, all = (1u << n) - 1;
    unsigned state = 0, slice = thread;
    do {
        state = atomic_fetch_or(taken, 1u << slice);
        if (!(state & 1u << slice)) {
            const int r = atomic_load(&o->run_error) ? 0 : run_slice(o, step, slice, thread); /* the others still count on the slice */
            if (r)
                atomic_store(&o->run_error, r);
            state = team_count(o->team, taken, 1u << MOST_ACTIVE);
        }
        slice = (unsigned)__builtin_ctz(~state);
    } while (slice < n);
    return team_wait(o->team, thread, taken, all | n << MOST_ACTIVE);
}

static bool takes_bytes(const struct cpu_command *c)
{
    return c->op == OP_MATMUL && (c->w->int8 || c->w->fine);
}

/* Whether threads may make all rows' bytes when it suits them: nobody writes to them meanwhile. */
static bool can_be_alone(const struct cpu_ops *o, const struct cpu_command *p)
{
    return o->n_active <= ALONE && takes_bytes(p) && (!p->gate || p[1].y != p->x);
}

/* The end of the ops that go by heads behind product p, attention the last; NULL where there are none, or too few heads. */
static const struct cpu_command *heads_end(const struct cpu_ops *o, const struct cpu_command *p)
{
    const struct cpu_command *end = o->commands + o->n_commands, *norm = cpu_inner_norm(o, p), *c = p + 1;
    const struct ops_buf *x = norm ? norm->x : p->x;
    if (!can_be_alone(o, p))
        return NULL;
    while (c < end && (c->op == OP_ROPE || c->op == OP_QK_NORM) && c->y == p->y)
        c++;
    if (c == end || c->op != OP_ATTENTION || c->x != p->y || c->y == x || p->gate || p->residual || !p->w->in_blocks ||
        c->attention.head_dim % VNNI_COLS)
        return NULL;
    const uint32_t kv = c->attention.n_kv_heads, most = (kv + o->n_active - 1) / o->n_active;
    return most * o->n_active <= kv * MOST_UNEVEN ? c + 1 : NULL;
}

/* The step that follows `s`, which s becomes */
static void step_next(const struct cpu_ops *o, struct step *s)
{
    const struct cpu_command *end = o->commands + o->n_commands;
    const struct cpu_command *ready = s->bytes; /* the next command, its rows */
    const struct cpu_command *c = s->bytes == s->c && s->c < s->end ? s->c : s->end, *p = c;
    *s = (struct step){.c = c, .end = c};
    if (c == end)
        return;
    s->end = c + 1;
    if (c->inner && can_be_alone(o, c + 1))
        p = c + 1;
    if (can_be_alone(o, p)) {
        s->product = p;
        s->alone = true;
        s->end = p->heads_end ? p->heads_end : p + (p->gate ? 2 : 1);
    } else if (takes_bytes(c) && ready != c)
        s->bytes = c;
    else if (c->op == OP_MATMUL) {
        s->product = c;
        s->end = c + (c->gate ? 2 : 1);
    } else if (c + 1 < end && takes_bytes(c + 1) && !can_be_alone(o, c + 1) && c[1].x == c->y && c[1].domain == c->domain)
        s->bytes = c + 1;
}

static void run_all(void *arg, unsigned thread)
{
    struct cpu_ops *o = arg;
    struct cpu_claim *claim = o->claims;
    struct step s = {.c = o->commands, .end = o->commands};
    o->workers[thread].held = NULL;
    for (step_next(o, &s); s.c < s.end; step_next(o, &s), claim++)
        if (!take_part(o, &s, &claim->taken, thread))
            return;
}

static void set_passing(const struct ops_buf *b, bool passing)
{
    if (b)
        ((struct ops_buf *)(uintptr_t)b)->passing = passing;
}

/* A product that is shared out by heads goes to rows of each thread's own, if only those ops on heads read it and there is room: a CPU that
 * asks for what may be read next would take the other's columns from it. */
static void part_heads(struct cpu_ops *o, const struct ops_buf *src)
{
    const struct cpu_command *end = o->commands + o->n_commands, *c;
    const size_t n = o->batch.n_tokens;
    for (c = o->commands; c < end; c++)
        if (c->heads_end)
            set_passing(c->y, c->y != src && c->y->max_rows >= n * o->n_active);
    for (c = o->commands; c < end; c = c->heads_end ? c->heads_end : c + 1) {
        const struct ops_buf *const others[] = {c->x, c->residual, c->heads_end ? NULL : c->y};
        for (int i = 0; i < 3; i++)
            set_passing(others[i], false);
    }
    for (unsigned t = 0; t < o->n_active; t++)
        o->workers[t].shift[CPU_TOKENS] = -(ptrdiff_t)(t * n);
}

int cpu_run_by_column(struct cpu_ops *o, const struct ops_buf *src, unsigned n_threads)
{
    o->n_active = n_threads < MOST_ACTIVE ? n_threads : MOST_ACTIVE;
    cpu_unplace(o);
    for (struct cpu_command *c = o->commands; c < o->commands + o->n_commands; c++)
        c->heads_end = c->op == OP_MATMUL ? heads_end(o, c) : NULL;
    part_heads(o, src);
    const size_t n = 2 * o->n_commands; /* steps, at most */
    if (n > o->n_claims) {
        free(o->claims);
        o->n_claims = 0;
        o->claims = cpu_alloc(n, sizeof *o->claims);
        if (!o->claims)
            return LT_ENOMEM;
        o->n_claims = n;
    }
    for (size_t i = 0; i < n; i++)
        atomic_init(&o->claims[i].taken, 0);
    atomic_store(&o->run_error, 0);
    team_help(o->team, o->n_active, run_all, o);
    return atomic_load(&o->run_error);
}
