/* Rows that are late: what a norm, a gate or a divided product makes is not made until it is known who reads it.
 *
 * A product on cooperative matrices wants its x packed as f16, so a norm or a gate before it need not write f32: one kernel (finish_rows) reads
 * what there is, be it rows or a product's parts, and writes packed rows, or for few rows their fragments. Any other op gets rows in f32,
 * made right before it.
 * What a product took in packed form is still late: another reader makes it once more, as long as what it comes from is there. Before that
 * is written, rows that nobody took are made; those that were taken are gone, and reading them is an error, never an old value.
 *
 * Late rows' sources are there or late themselves: a norm or a gate of a product's parts. No chain is longer, since a sum's own sources
 * (bias and residual) are made when it is noted. v->parts holds one product's parts, v->pack one buffer's rows.
 *
 * Buffers of a room are one place: a write to one changes them all. What the others held is not made for it, and reading that is the same error. */
#include "gpu/tuning.h"
#include "model/ops_vulkan_op.h"
#include "shaders/params.h"

static bool is_late(const struct rows *s)
{
    return s->from != ROWS_THERE && s->from != ROWS_GONE;
}

static void unlink_late(struct ops_vulkan *v, const struct rows *s)
{
    struct ops_buf **at = &v->late;
    while (*at && (*at)->rows != s)
        at = &(*at)->rows->next;
    if (*at)
        *at = s->next;
}

static void become(struct ops_vulkan *v, struct rows *s, enum rows_from from)
{
    unlink_late(v, s);
    s->from = from;
    s->next = NULL;
}

/* What finish_rows is to do for rows `s`: none of their own operation where `from` is ROWS_THERE. */
struct finishing {
    enum rows_from from;
    const struct rows *s;         /* of a norm or gate */
    const struct rows *sum;       /* the source is its parts; NULL: the rows of x */
    const struct ops_buf *x;
    uint32_t n, k, kp;
    uint32_t rows;                /* PARAMS_ROWS_… */
    const struct ops_buf *out;    /* for those */
    uint32_t pack;                /* PARAMS_PACK_… */
    const struct tuning_few *few; /* of fragments */
};

static uint32_t operation(enum rows_from from)
{
    return from == ROWS_NORM         ? PARAMS_FINISH_NORM
           : from == ROWS_SWIGLU     ? PARAMS_FINISH_SWIGLU
           : from == ROWS_GEGLU_TANH ? PARAMS_FINISH_GEGLU_TANH
                                     : PARAMS_FINISH_NOTHING;
}

static int finish_rows(struct ops_vulkan *v, const struct finishing *f, struct err_msg *em)
{
    const struct tuning_finish t = tuning_finish(v->g, f->kp);
    const struct product *p = f->sum ? &f->sum->sum : NULL;
    const struct tuning_few *few = f->pack == PARAMS_PACK_FRAGMENTS ? f->few : NULL;
    struct gpu_buf *to = few ? v->fragments_x : v->pack;
    const struct parts parts = f->sum ? f->sum->parts : (struct parts){1, f->n};
    const uint32_t op = operation(f->from);
    const uint32_t spec[] = {t.group, t.vectors, f->k % 4 == 0, p != NULL, op, f->rows, f->pack, few ? few->eights : 2};
    const struct push_finish push = {f->n, f->k, f->kp, parts.n, parts.rows,
                                     (p && p->bias ? PARAMS_HAS_BIAS : 0) | (p && p->residual ? PARAMS_HAS_RESIDUAL : 0),
                                     op == PARAMS_FINISH_NORM ? f->s->eps : 0,
                                     few ? few->rn : 0,
                                     few ? ops_vulkan_few_scales_at(few, f->kp) : 0};
    /* an output that is not written is bound to the other's buffer: one that all shared would have dispatches wait for each other */
    const struct gpu_arg rows = arg(f->rows != PARAMS_ROWS_NONE ? f->out->b : to), pack = arg(f->pack ? to : f->out->b);
    const struct gpu_arg args[] = {arg(p ? v->parts : f->x->b), vec_arg(v, p ? p->bias : NULL),
                                   arg(p && p->residual ? p->residual->b : v->dummy),
                                   vec_arg(v, op == PARAMS_FINISH_NORM ? f->s->g : NULL), rows, pack};
    const struct gpu_dispatch d = {
        .kernel = GPU_KERNEL_FINISH_ROWS,
        .spec = spec,
        .push = &push,
        .args = args,
        .groups = {few ? few->rn * few->tn : f->n, 1, 1},
        .work = (double)f->n * f->k * (WORK_PER_VALUE + parts.n),
    };
    return gpu_dispatch(v->g, &d, em);
}

static uint32_t padded(uint32_t k)
{
    return ceil_div(k, PARAMS_K_PAD) * PARAMS_K_PAD;
}

/* A norm or gate in f32, of rows that are there. */
static int make_result(struct ops_vulkan *v, const struct rows *s, struct err_msg *em)
{
    const struct finishing f = {s->from, s, NULL, s->x, s->n, s->cols, padded(s->cols), PARAMS_ROWS_RESULT, s->b, PARAMS_PACK_NONE, NULL};
    return finish_rows(v, &f, em);
}

/* Late rows, in f32. */
static int make(struct ops_vulkan *v, struct rows *s, struct err_msg *em)
{
    int r;
    if (s->from == ROWS_SUM)
        r = ops_vulkan_add_parts(v, &s->sum, s->parts, em);
    else if ((r = ops_vulkan_reads(v, s->x, em)) == 0)
        r = make_result(v, s, em);
    if (r == 0)
        become(v, s, ROWS_THERE);
    return r;
}

int ops_vulkan_reads(struct ops_vulkan *v, const struct ops_buf *b, struct err_msg *em)
{
    if (b->rows->b != b)
        return err_set(em, LT_EINVAL, "rows that another buffer of the room has taken the place of");
    if (b->rows->from == ROWS_GONE)
        return err_set(em, LT_EINVAL, "rows that a product took were not made, and cannot be any more");
    return is_late(b->rows) ? make(v, b->rows, em) : 0;
}

static struct rows *late_from(const struct ops_vulkan *v, const struct rows *source)
{
    for (struct ops_buf *at = v->late; at; at = at->rows->next) {
        const struct ops_buf *from = at->rows->from == ROWS_SUM ? at->rows->sum.residual : at->rows->x;
        if (at->rows != source && from && from->rows == source)
            return at->rows;
    }
    return NULL;
}

/* Makes late rows that nobody took, and gives up the others. */
static int let_go(struct ops_vulkan *v, struct rows *s, struct err_msg *em);

/* A room's contents will be others, or none: what is late because of them is late no more. */
static int before_change(struct ops_vulkan *v, const struct rows *room, struct err_msg *em)
{
    struct rows *s;
    int r = 0;
    while (r == 0 && (s = late_from(v, room)))
        r = let_go(v, s, em);
    return r;
}

static int let_go(struct ops_vulkan *v, struct rows *s, struct err_msg *em)
{
    if (!s->taken)
        return make(v, s, em);
    const int r = before_change(v, s, em);
    if (r == 0 && is_late(s)) /* making what came from it may have made it */
        become(v, s, ROWS_GONE);
    return r;
}

int ops_vulkan_writes(struct ops_vulkan *v, struct ops_buf *b, struct err_msg *em)
{
    struct rows *s = b->rows;
    int r = before_change(v, s, em);
    if (r == 0 && s->b == b && is_late(s) && !s->taken) /* fewer rows may be written than there are */
        r = make(v, s, em);
    if (r < 0)
        return r;
    become(v, s, ROWS_THERE);
    s->b = b;
    s->version++;
    return 0;
}

bool ops_vulkan_defers(const struct ops_vulkan *v, uint32_t n)
{
    return tuning_path(v->g, n, TUNING_AS_HALF) == TUNING_COOP;
}

static void note(struct ops_vulkan *v, struct rows *s)
{
    s->taken = false;
    s->next = v->late;
    v->late = s->b;
}

int ops_vulkan_defer(struct ops_vulkan *v, const struct ops_buf *x, uint32_t n, struct ops_buf *y, const struct rows *how,
                     struct err_msg *em)
{
    struct rows *s = y->rows;
    int r = apart(x, y, em);
    if (r < 0)
        return r;
    if (x == y || x->rows->b != x || x->rows->from == ROWS_GONE || (is_late(x->rows) && x->rows->from != ROWS_SUM))
        if ((r = ops_vulkan_reads(v, x, em)) < 0)
            return r;
    if ((r = ops_vulkan_writes(v, y, em)) < 0)
        return r;
    struct rows made = *how;
    made.version = s->version;
    made.b = y;
    made.x = x->rows->b;
    made.n = n;
    if (x == y)
        return make_result(v, &made, em);
    *s = made;
    note(v, s);
    return 0;
}

void ops_vulkan_defer_sum(struct ops_vulkan *v, const struct product *p, struct parts parts)
{
    struct rows *s = p->y->rows;
    s->from = ROWS_SUM;
    s->sum = *p;
    s->parts = parts;
    note(v, s);
}

int ops_vulkan_take_sum(struct ops_vulkan *v, struct ops_buf *b, uint32_t n, uint32_t cols, const struct rows **sum, struct err_msg *em)
{
    struct rows *s = b->rows;
    int r = before_change(v, s, em);
    *sum = NULL;
    if (r < 0)
        return r;
    if (s->b != b || s->from != ROWS_SUM || s->sum.residual || s->sum.n != n || s->sum.w->rows != cols) {
        r = ops_vulkan_reads(v, b, em);
        return r < 0 ? r : ops_vulkan_writes(v, b, em);
    }
    *sum = s;
    become(v, s, ROWS_THERE);
    s->version++;
    return 0;
}

int ops_vulkan_claim_pack(struct ops_vulkan *v, uint64_t len, struct err_msg *em)
{
    v->packed.x = NULL;
    return ops_vulkan_grow(v, &v->pack, len, v->expected.pack, em);
}

int ops_vulkan_claim_parts(struct ops_vulkan *v, const struct product *p, struct parts parts, struct err_msg *em)
{
    int r = 0;
    for (struct ops_buf *at = v->late; at; at = at->rows->next) {
        if (at->rows->from == ROWS_SUM) { /* there is one at most */
            r = let_go(v, at->rows, em);
            break;
        }
    }
    return r < 0 ? r : ops_vulkan_grow(v, &v->parts, 4 * (uint64_t)parts.n * parts.rows * p->w->rows, v->expected.parts, em);
}

/* What it takes to pack x's rows: as a norm or gate of rows or parts, as the sum of parts, or as they are. */
static int plan_pack(struct ops_vulkan *v, const struct ops_buf *x, struct finishing *f, struct err_msg *em)
{
    struct rows *s = x->rows;
    int r;
    const bool whole = f->n <= (s->from == ROWS_SUM ? s->sum.n : s->n) && f->k == (s->from == ROWS_SUM ? s->sum.w->rows : s->cols);
    if (s->b != x || !is_late(s) || !whole) {
        f->x = x;
        return ops_vulkan_reads(v, x, em);
    }
    if (s->from == ROWS_SUM) {
        f->sum = s;
        f->n = s->sum.n;
        f->rows = PARAMS_ROWS_SOURCE;
        f->out = x;
        return 0;
    }
    const struct rows *source = s->x->rows;
    const uint32_t m = (operation(s->from) >= PARAMS_FINISH_SWIGLU ? 2 : 1) * s->cols;
    f->from = s->from;
    f->s = s;
    f->n = s->n;
    f->x = s->x;
    if (source->from == ROWS_SUM && source->sum.n == s->n && source->sum.w->rows == m)
        f->sum = source;
    else if ((r = ops_vulkan_reads(v, s->x, em)) < 0)
        return r;
    /* a norm's source is a stream that goes on, a gate's has done its work; unless it is a stream itself, whose parts cannot be added twice */
    if (f->sum && (s->from == ROWS_NORM || source->sum.residual)) {
        f->rows = PARAMS_ROWS_SOURCE;
        f->out = s->x;
    }
    return 0;
}

bool ops_vulkan_holds(const struct packed_rows *in, const struct ops_buf *x, uint32_t n, uint32_t cols)
{
    return in->x == x && in->version == x->rows->version && in->n >= n && in->cols == cols;
}

/* Packs x's rows as f was planned, and notes who has been read and where they lie. */
static int pack(struct ops_vulkan *v, const struct ops_buf *x, const struct finishing *f, struct packed_rows *in, struct err_msg *em)
{
    in->x = NULL;
    const int r = finish_rows(v, f, em);
    if (r < 0)
        return r;
    if (f->rows == PARAMS_ROWS_SOURCE)
        become(v, f->out->rows, ROWS_THERE);
    else if (f->sum)
        f->x->rows->taken = true;
    x->rows->taken = true;
    *in = (struct packed_rows){x, x->rows->version, f->n, f->k};
    return 0;
}

static int pack_rows(struct ops_vulkan *v, const struct ops_buf *x, struct finishing *f, struct err_msg *em)
{
    const int r = ops_vulkan_claim_pack(v, 4 * (uint64_t)PARAMS_HALF_WORDS(f->kp) * f->n, em);
    f->pack = PARAMS_PACK_ROWS;
    return r < 0 ? r : pack(v, x, f, &v->packed, em);
}

int ops_vulkan_take_packed(struct ops_vulkan *v, const struct ops_buf *x, uint32_t n, uint32_t cols, uint32_t kp, struct err_msg *em)
{
    struct finishing f = {.from = ROWS_THERE, .n = n, .k = cols, .kp = kp, .rows = PARAMS_ROWS_NONE};
    if (ops_vulkan_holds(&v->packed, x, n, cols))
        return 0;
    const int r = plan_pack(v, x, &f, em);
    return r < 0 ? r : pack_rows(v, x, &f, em);
}

int ops_vulkan_take_spread(struct ops_vulkan *v, const struct product *p, const struct tuning_few *t, bool *spread, struct err_msg *em)
{
    const uint32_t cols = p->w->cols;
    struct finishing f = {.from = ROWS_THERE, .n = p->n, .k = cols, .kp = p->w->kp, .rows = PARAMS_ROWS_NONE, .few = t};
    *spread = ops_vulkan_holds(&v->spread, p->x, p->n, cols);
    if (*spread || ops_vulkan_holds(&v->packed, p->x, p->n, cols))
        return 0;
    const int r = plan_pack(v, p->x, &f, em);
    if (r < 0)
        return r;
    *spread = t->placed && f.n <= t->rn * t->tn;
    if (!*spread)
        return pack_rows(v, p->x, &f, em);
    f.pack = PARAMS_PACK_FRAGMENTS;
    return pack(v, p->x, &f, &v->spread, em);
}

int ops_vulkan_settle(struct ops_vulkan *v, struct err_msg *em)
{
    int r = 0;
    while (r == 0 && v->late)
        r = let_go(v, v->late->rows, em);
    v->packed.x = v->spread.x = NULL;
    return r;
}

void ops_vulkan_forget_late(struct ops_vulkan *v)
{
    while (v->late)
        become(v, v->late->rows, ROWS_GONE);
    v->packed.x = v->spread.x = NULL;
}

void ops_vulkan_forget_buf(struct ops_vulkan *v, const struct ops_buf *b)
{
    if (!b)
        return;
    if (v->packed.x == b)
        v->packed.x = NULL;
    if (v->spread.x == b)
        v->spread.x = NULL;
    if (b->rows->b != b)
        return;
    if (is_late(b->rows))
        unlink_late(v, b->rows);
    b->rows->from = ROWS_THERE;
    b->rows->b = NULL;
}
