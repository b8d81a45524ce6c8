/* Runs a recorded batch of few rows: all threads at one command at a time.
 *
 * What a few rows cost is reading the weights, so a product is shared out by columns, each thread with weights of its own; other ops
 * by rows. A product's rows are quantised before, by rows too, so that a thread reads from the others only bytes.
 * Each thread has a slice of a command. Who is done takes slices that nobody has begun: a thread that wakes late, or that the system
 * gives to another program, holds up the rest by the slice it is at, and not at all when it has none.
 * A value's arithmetic is that of the other ways: whole sums of one row and one column. */
#include <stdlib.h>
#include <string.h>

#include "model/ops_cpu_internal.h"

#define MOST_ACTIVE 8 /* threads: a product of few rows has little for more */

#define LINE 64

/* What all threads do between two meetings */
struct step {
    const struct cpu_command *c;     /* NULL: nothing */
    const struct cpu_command *bytes; /* the product whose rows are quantised on the way, or NULL; may be c: nothing else is done */
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

/* All rows of the texts that these are of */
static struct cpu_range whole_texts(const struct cpu_ops *o, struct cpu_range rows)
{
    return (struct cpu_range){o->seq_offset[o->text[rows.begin]], o->seq_offset[o->text[rows.end - 1] + 1]};
}

static int run_slice(struct cpu_ops *o, const struct step *step, unsigned slice, unsigned thread)
{
    const struct cpu_command *c = step->c;
    const size_t n = cpu_domain_rows(o, c->domain);
    if (c->op == OP_MATMUL && step->bytes != c)
        return cpu_run_matmul(o, c, (struct cpu_range){0, n}, cpu_matmul_slice(o, c, slice), thread);
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
    return c->op == OP_MATMUL && c->w->int8;
}

/* The step that follows `s`, which s becomes. Its c is NULL at the end. */
static void step_next(const struct cpu_ops *o, struct step *s)
{
    const struct cpu_command *end = o->commands + o->n_commands, *before = s->c;
    const bool ready = s->bytes != NULL; /* the next command's rows */
    const bool again = s->bytes == before && before;
    const struct cpu_command *c = !before ? o->commands : again ? before : before + (before->gate ? 2 : 1);
    *s = (struct step){0};
    if (c == end)
        return;
    s->c = c;
    if (takes_bytes(c) && !ready)
        s->bytes = c;
    else if (c->op != OP_MATMUL && c + 1 < end && takes_bytes(c + 1) && c[1].x == c->y && c[1].domain == c->domain)
        s->bytes = c + 1;
}

static void run_all(void *arg, unsigned thread)
{
    struct cpu_ops *o = arg;
    struct cpu_claim *claim = o->claims;
    struct step s = {0};
    for (step_next(o, &s); s.c; step_next(o, &s), claim++)
        if (!take_part(o, &s, &claim->taken, thread))
            return;
}

int cpu_run_by_column(struct cpu_ops *o)
{
    o->n_active = o->n_threads < MOST_ACTIVE ? o->n_threads : MOST_ACTIVE;
    cpu_unplace(o);
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
