/* Matrix products: the way of each from gpu/tuning.h, and its dispatches. */
#include "base/fault.h"
#include "gpu/tuning.h"
#include "model/ops_vulkan_op.h"
#include "shaders/params.h"

/* A kernel of the bindings that all ways have in common: x, both planes of the weights, bias, residual, y. */
static int run(struct ops_vulkan *v, const struct product *p, const struct mat_slice *s, enum gpu_kernel kernel, const uint32_t *spec,
               uint32_t bm, uint32_t bn)
{
    struct err_msg em = {0};
    struct push_matmul push = push_of(p, s);
    struct gpu_arg args[] = {arg(p->x->b),        arg(s->data), arg(s->shared ? s->shared : v->dummy),
                             vec_arg(v, p->bias), arg(p->residual ? p->residual->b : v->dummy), arg(p->y->b)};
    struct gpu_dispatch d = {
        .kernel = kernel,
        .spec = spec,
        .push = &push,
        .args = args,
        .groups = {ceil_div(s->n_rows, bm), ceil_div(p->n, bn), 1},
        .work = 2.0 * p->n * s->n_rows * p->w->kp,
    };
    return finish(v, gpu_dispatch(v->g, &d, &em), &em);
}

static int run_tiles(struct ops_vulkan *v, const struct product *p, const struct mat_slice *s)
{
    const struct tuning_tiles t = tuning_tiles(v->g, p->n, p->w->rows, p->w->cols);
    const uint32_t spec[] = {t.group, t.tx, t.rm, t.rn, t.bk4, p->w->cols % 4 == 0};
    return run(v, p, s, typed(v, GPU_KERNEL_MATMUL_F32, s->type), spec, t.bm, t.bn);
}

/* As a driver does that makes a wrong program of a kernel: nothing. */
static bool broken(void)
{
    return fault("gpu_fast_product");
}

static int run_rows(struct ops_vulkan *v, const struct product *p, const struct mat_slice *s)
{
    if (broken())
        return 0;
    const struct tuning_rows t = tuning_rows(v->g, p->n);
    const uint32_t spec[] = {t.group, t.lanes, t.rm, t.nx, p->w->cols % 4 == 0};
    return run(v, p, s, typed_words(GPU_KERNEL_MATVEC_F32, s->type), spec, t.bm, t.nx);
}

/* How products with w's type want x in whole numbers. */
struct int8_form {
    bool split;      /* in the order of the words of types with fewer than 8 bits */
    uint32_t planes;
};

/* Rounding x to 8 bits is as coarse as weights of 8 bits are: on the golden checkpoint q8_0's cosine fell from 0.9991 to 0.9975. Those of
 * at most 5 bits are off by four times as much themselves; for others x takes two planes, which leaves nothing to be seen. */
static struct int8_form int8_form(enum tensor_type type)
{
    return (struct int8_form){type != TENSOR_Q8_0, type == TENSOR_Q8_0 || type == TENSOR_Q6_K ? 2 : 1};
}

/* The rows of x as int8 with a scale for each 32, in v->pack. */
static int pack_int8(struct ops_vulkan *v, const struct product *p, struct int8_form form)
{
    struct err_msg em = {0};
    const uint32_t blocks = p->w->kp / 32;
    const uint32_t spec[] = {tuning_row_group(v->g, blocks), p->w->cols % 4 == 0, form.split, form.planes};
    const struct push_pack push = {p->w->cols, p->w->kp};
    int r = ops_vulkan_claim_pack(v, 4 * (uint64_t)PARAMS_INT8_WORDS(p->w->kp, form.planes) * p->n, &em);
    if (r < 0)
        return finish(v, r, &em);
    const struct gpu_arg args[] = {arg(p->x->b), arg(v->pack)};
    const struct gpu_dispatch d = {.kernel = GPU_KERNEL_PACK_INT8, .spec = spec, .push = &push, .args = args,
                                   .groups = {ceil_div(blocks, spec[0]), p->n, 1},
                                   .work = WORK_PER_VALUE * (double)p->n * p->w->kp};
    return finish(v, gpu_dispatch(v->g, &d, &em), &em);
}

int ops_vulkan_add_parts(struct ops_vulkan *v, const struct product *p, struct parts parts, struct err_msg *em)
{
    const struct push_sum push = {parts.rows, p->w->rows, parts.n, push_of(p, p->w->slices).flags};
    const uint32_t group = tuning_element_group(v->g);
    struct gpu_arg args[] = {arg(v->parts), vec_arg(v, p->bias), arg(p->residual ? p->residual->b : v->dummy), arg(p->y->b)};
    struct gpu_dispatch d = {.kernel = GPU_KERNEL_MATMUL_SUM, .spec = &group, .push = &push, .args = args,
                             .groups = {ceil_div(p->w->rows, group), p->n, 1},
                             .work = (double)p->n * p->w->rows * parts.n};
    return gpu_dispatch(v->g, &d, em);
}

/* How a product is made from v->pack. */
struct packed_way {
    const uint32_t *spec;
    uint32_t bm, bn, parts, part8; /* as tuning says */
};

static int run_packed(struct ops_vulkan *v, const struct product *p, const struct mat_slice *s, enum gpu_kernel kernel,
                      const struct packed_way *way)
{
    struct err_msg em = {0};
    struct push_matmul push = push_of(p, s);
    if (broken())
        return 0;
    push.part8 = way->part8;
    push.flags |= way->parts > 1 ? PARAMS_PARTIAL : 0;
    struct gpu_arg args[] = {arg(v->pack),         arg(s->data), arg(s->shared ? s->shared : v->dummy),
                             vec_arg(v, p->bias), arg(p->residual ? p->residual->b : v->dummy),
                             arg(way->parts > 1 ? v->parts : p->y->b)};
    struct gpu_dispatch d = {
        .kernel = kernel,
        .spec = way->spec,
        .push = &push,
        .args = args,
        .groups = {ceil_div(s->n_rows, way->bm), ceil_div(p->n, way->bn), way->parts},
        .work = 2.0 * p->n * s->n_rows * p->w->kp,
    };
    return finish(v, gpu_dispatch(v->g, &d, &em), &em);
}

/* After x has been packed: what else the product reads and writes. */
static int begin_packed(struct ops_vulkan *v, const struct product *p, struct parts parts)
{
    struct err_msg em = {0};
    int r = settle(v, p->residual, p->y, &em);
    if (r == 0 && parts.n > 1)
        r = ops_vulkan_claim_parts(v, p, parts, &em);
    return finish(v, r, &em);
}

/* From tiles of both in shared memory. */
static int run_matrices(struct ops_vulkan *v, const struct product *p)
{
    const struct tuning_coop t = tuning_coop(v->g, p->n, p->w->rows, p->w->kp);
    const uint32_t spec[] = {t.group, t.subgroups, t.sgm, t.rm, t.rn, t.tm, t.tn, t.tk, t.bk8};
    const struct packed_way way = {spec, t.bm, t.bn, t.parts, t.part8};
    int r = begin_packed(v, p, (struct parts){t.parts, p->n});
    for (size_t i = 0; i < p->w->n_slices && r == 0; i++)
        r = run_packed(v, p, &p->w->slices[i], typed_words(GPU_KERNEL_MATMUL_COOP_F16W, p->w->slices[i].type) - 1, &way);
    if (r == 0 && t.parts > 1)
        ops_vulkan_defer_sum(v, p, (struct parts){t.parts, p->n});
    return r;
}

static int run_coop(struct ops_vulkan *v, const struct product *p)
{
    struct tuning_fragments fragments;
    struct tuning_few few;
    struct err_msg em = {0};
    bool spread = false;
    const bool is_few = ops_vulkan_few(v, p, &few);
    int r = is_few ? ops_vulkan_take_spread(v, p, &few, &spread, &em) : ops_vulkan_take_packed(v, p->x, p->n, p->w->cols, p->w->kp, &em);
    if (finish(v, r, &em) < 0)
        return r;
    if (!is_few && ops_vulkan_fragments(v, p, &fragments)) {
        r = begin_packed(v, p, (struct parts){1, p->n});
        return r < 0 ? r : finish(v, ops_vulkan_run_fragments(v, p, &fragments, &em), &em);
    }
    if (!is_few)
        return run_matrices(v, p);
    const struct parts parts = ops_vulkan_few_parts(p, &few);
    if ((r = begin_packed(v, p, parts)) == 0)
        r = finish(v, ops_vulkan_run_few(v, p, &few, spread, &em), &em);
    if (r == 0 && parts.n > 1)
        ops_vulkan_defer_sum(v, p, parts);
    return r;
}

static int run_dot(struct ops_vulkan *v, const struct product *p)
{
    const struct tuning_dot t = tuning_dot(v->g, p->n, p->w->rows, p->w->kp);
    struct int8_form packed = {0};
    struct err_msg em = {0};
    int r = finish(v, ops_vulkan_reads(v, p->x, &em), &em);
    if (r == 0)
        r = begin_packed(v, p, (struct parts){t.parts, p->n});
    for (size_t i = 0; i < p->w->n_slices && r == 0; i++) {
        const struct mat_slice *s = &p->w->slices[i];
        const struct int8_form form = int8_form(s->type);
        const uint32_t spec[] = {t.group, t.tx, t.rm, t.rn, t.blocks, form.planes};
        const struct packed_way way = {spec, t.bm, t.bn, t.parts, t.part8};
        if (form.split != packed.split || form.planes != packed.planes)
            r = pack_int8(v, p, form);
        packed = form;
        if (r == 0)
            r = run_packed(v, p, s, typed_words(GPU_KERNEL_MATMUL_DOT_Q8W, s->type) - 3, &way);
    }
    if (r == 0 && t.parts > 1)
        ops_vulkan_defer_sum(v, p, (struct parts){t.parts, p->n});
    return r;
}

/* The way for all slices of w: they share what their sums lie in. */
static enum tuning_path path_of(const struct ops_vulkan *v, const struct ops_mat *w, uint32_t n)
{
    unsigned as = TUNING_AS_HALF | TUNING_AS_INT8;
    for (size_t i = 0; i < w->n_slices; i++) {
        if (w->slices[i].type == TENSOR_F32 || w->slices[i].beyond_half)
            as &= ~(unsigned)TUNING_AS_HALF;
        if (held_as(w->slices[i].type)->block == 1)
            as &= ~(unsigned)TUNING_AS_INT8;
    }
    return tuning_path(v->g, n, as);
}

int ops_vulkan_matmul(struct ops *o, const struct ops_buf *x, const struct ops_mat *w,
                      const struct ops_vec *bias, const struct ops_buf *residual, uint32_t n,
                      struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    const struct product p = {x, residual, y, w, bias, n};
    struct err_msg em;
    int r = ready(v, &em);
    if (r < 0 || (r = check(x, "matmul input", n, w->cols, &em)) < 0 ||
        (r = check(y, "matmul output", n, w->rows, &em)) < 0 ||
        (residual && (r = check(residual, "matmul residual", n, w->rows, &em)) < 0) || (r = apart(x, y, &em)) < 0)
        return finish(v, r, &em);
    if (bias && bias->n != w->rows)
        return finish(v, err_set(&em, LT_EINVAL, "matmul: bias of %zu for %u rows", bias->n, w->rows), &em);
    const enum tuning_path path = path_of(v, w, n);
    if (path == TUNING_COOP)
        return run_coop(v, &p);
    if (path == TUNING_DOT)
        return run_dot(v, &p);
    if ((r = settle(v, x, NULL, &em)) < 0 || (r = settle(v, residual, y, &em)) < 0)
        return finish(v, r, &em);
    for (size_t i = 0; i < w->n_slices && r == 0; i++)
        r = path == TUNING_ROWS ? run_rows(v, &p, &w->slices[i]) : run_tiles(v, &p, &w->slices[i]);
    return r;
}
