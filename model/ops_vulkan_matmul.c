/* Matrix products: the way of each from gpu/tuning.h, and its dispatches. */
#include "gpu/tuning.h"
#include "model/ops_vulkan_op.h"
#include "shaders/params.h"

/* One product; the same for all slices of w but the last. */
struct product {
    const struct ops_buf *x, *residual, *y;
    const struct ops_mat *w;
    const struct ops_vec *bias;
    uint32_t n;
};

/* The kernel of a family that reads words, in the order of lib/weights8.glsl. */
static enum gpu_kernel typed_words(enum gpu_kernel f32, enum tensor_type type)
{
    static const int at[TENSOR_N_TYPES] = {[TENSOR_F32] = 0,  [TENSOR_F16] = 1,  [TENSOR_BF16] = 2, [TENSOR_Q8_0] = 3, [TENSOR_Q4_1] = 4,
                                           [TENSOR_Q5_1] = 5, [TENSOR_Q4_K] = 6, [TENSOR_Q5_K] = 7, [TENSOR_Q6_K] = 8};
    return f32 + at[type];
}

static struct push_matmul push_of(const struct product *p, const struct mat_slice *s)
{
    return (struct push_matmul){
        .n = p->n,
        .m = p->w->rows,
        .k = p->w->cols,
        .kp = p->w->kp,
        .row0 = s->row0,
        .n_rows = s->n_rows,
        .flags = (p->bias ? PARAMS_HAS_BIAS : 0) | (p->residual ? PARAMS_HAS_RESIDUAL : 0),
    };
}

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

static int run_rows(struct ops_vulkan *v, const struct product *p, const struct mat_slice *s)
{
    const struct tuning_rows t = tuning_rows(v->g, p->n);
    const uint32_t spec[] = {t.group, t.lanes, t.rm, t.nx, p->w->cols % 4 == 0};
    return run(v, p, s, typed_words(GPU_KERNEL_MATVEC_F32, s->type), spec, t.bm, t.nx);
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
        (residual && (r = check(residual, "matmul residual", n, w->rows, &em)) < 0))
        return finish(v, r, &em);
    if (bias && bias->n != w->rows)
        return finish(v, err_set(&em, LT_EINVAL, "matmul: bias of %zu for %u rows", bias->n, w->rows), &em);
    for (size_t i = 0; i < w->n_slices && r == 0; i++) {
        const struct mat_slice *s = &w->slices[i];
        switch (tuning_path(v->g, n, w->rows, w->cols)) {
        case TUNING_ROWS:
            r = run_rows(v, &p, s);
            break;
        default:
            r = run_tiles(v, &p, s);
        }
    }
    return r;
}
