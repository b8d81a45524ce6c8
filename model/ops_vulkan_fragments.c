/* Products on cooperative matrices whose x is laid out as fragments of f16 first (shaders/lib/fragment.glsl). For many rows w is, too, some
 * rows at a time; for few that would cost more than it saves, and w goes from memory into the matrices. */
#include "gpu/tuning.h"
#include "model/ops_vulkan_op.h"
#include "shaders/params.h"
#include "shaders/params_fragments.h"

/* Blocks of `block` rows, whole tiles of them, and the bytes that their fragments take, with steps that are fetched beyond the last. */
static uint32_t blocks_of(uint32_t rows, uint32_t tile, uint32_t block)
{
    return ceil_div(rows, tile) * (tile / block);
}

static uint64_t fragment_bytes(uint32_t n_blocks, uint32_t block, uint32_t kp, uint32_t beyond)
{
    return 2 * (uint64_t)n_blocks * block * (kp + beyond);
}

/* How a work-group lays out fragments. */
struct layout {
    uint32_t group, subgroups, tm, tn, tk, bk8, sharing, eights; /* the last two of the right one for few rows */
};

static int lay_out(struct ops_vulkan *v, const struct layout *t, enum gpu_kernel kernel, const struct gpu_arg *args,
                   const struct push_fragments *push, struct err_msg *em)
{
    const uint32_t spec[] = {t->group, t->subgroups, t->tm, t->tn, t->tk, t->bk8, t->sharing, t->eights};
    const struct gpu_dispatch d = {
        .kernel = kernel,
        .spec = spec,
        .push = push,
        .args = args,
        .groups = {ceil_div(push->n_blocks, t->subgroups), ceil_div(push->kp, 8 * t->bk8), 1},
        .work = WORK_PER_VALUE * (double)push->n_rows * push->kp,
    };
    return gpu_dispatch(v->g, &d, em);
}

/* The same into v->fragments_x, which spread rows leave. */
static int lay_out_into_x(struct ops_vulkan *v, const struct layout *t, enum gpu_kernel kernel, const struct gpu_arg *args,
                          const struct push_fragments *push, struct err_msg *em)
{
    v->spread.x = NULL;
    return lay_out(v, t, kernel, args, push, em);
}

/* Room for len bytes in v->fragments_x. */
static bool room_for_x(struct ops_vulkan *v, uint64_t len)
{
    struct err_msg em = {0};
    if (v->fragments_x && gpu_buf_len(v->fragments_x) >= len)
        return true;
    v->spread.x = NULL;
    return ops_vulkan_grow(v, &v->fragments_x, len, v->expected.fragments_x, &em) == 0;
}

static struct layout layout_of(const struct tuning_fragments *t)
{
    return (struct layout){t->group, t->subgroups, t->tm, t->tn, t->tk, t->pack_bk8, 0, 0};
}

/* Where the scales of x's rows lie behind its fragments, in floats. */
static uint64_t scales_at(const struct tuning_fragments *t, uint32_t n, uint32_t kp)
{
    return fragment_bytes(blocks_of(n, t->bn, t->tm), t->tm, kp, t->ahead * t->tk) / 4;
}

uint64_t ops_vulkan_fragments_x_bytes(const struct tuning_fragments *t, uint32_t n, uint32_t kp)
{
    return 4 * (scales_at(t, n, kp) + (uint64_t)blocks_of(n, t->bn, t->tm) * t->tm);
}

/* x's fragments and scales, from v->pack. */
static int lay_out_x(struct ops_vulkan *v, const struct product *p, const struct tuning_fragments *t, struct err_msg *em)
{
    const struct push_fragments push = {0, p->n, p->w->kp, blocks_of(p->n, t->bn, t->tm), (uint32_t)scales_at(t, p->n, p->w->kp)};
    const struct gpu_arg args[] = {arg(v->pack), arg(v->fragments_x)};
    const struct layout layout = layout_of(t);
    return lay_out_into_x(v, &layout, GPU_KERNEL_FRAGMENTS_X, args, &push, em);
}

/* n_rows rows of the slice from row0 of it on. */
static int multiply(struct ops_vulkan *v, const struct product *p, const struct mat_slice *s, uint32_t row0, uint32_t n_rows,
                    const struct tuning_fragments *t, struct err_msg *em)
{
    const struct push_fragments rows = {row0, n_rows, p->w->kp, blocks_of(n_rows, t->bm, t->tn), 0};
    const struct gpu_arg from[] = {arg(s->data), arg(s->shared ? s->shared : v->dummy), arg(v->fragments_w)};
    const struct layout layout = layout_of(t);
    int r = lay_out(v, &layout, typed_words(GPU_KERNEL_FRAGMENTS_X, s->type), from, &rows, em);
    if (r < 0)
        return r;
    const uint32_t spec[] = {t->group, t->subgroups, t->sgm, t->rm, t->rn, t->tm, t->tn, t->tk, t->panel, t->ahead};
    struct push_matmul push = push_of(p, s);
    push.row0 += row0;
    push.n_rows = n_rows;
    push.part8 = (uint32_t)(scales_at(t, p->n, p->w->kp) / 4);
    const struct gpu_arg args[] = {arg(v->fragments_x), arg(v->fragments_w), vec_arg(v, p->bias),
                                   arg(p->residual ? p->residual->b : v->dummy), arg(p->y->b)};
    const struct gpu_dispatch d = {
        .kernel = GPU_KERNEL_MATMUL_FRAGMENTS,
        .spec = spec,
        .push = &push,
        .args = args,
        .groups = {ceil_div(n_rows, t->bm) * ceil_div(p->n, t->bn), 1, 1},
        .work = 2.0 * p->n * n_rows * p->w->kp,
    };
    return gpu_dispatch(v->g, &d, em);
}

/* Whether w's rows are whole matrices of so many. */
static bool whole_columns(const struct ops_mat *w, uint32_t tile)
{
    for (size_t i = 0; i < w->n_slices; i++)
        if (w->slices[i].n_rows % tile)
            return false;
    return true;
}

/* Whether whole matrices can be read and written: of columns, and of rows up to behind the last. */
static bool whole_matrices(const struct product *p, const struct tuning_fragments *t)
{
    const uint64_t len = 4 * (uint64_t)ceil_div(p->n, t->tm) * t->tm * p->w->rows;
    return whole_columns(p->w, t->tn) && gpu_buf_len(p->y->b) >= len && (!p->residual || gpu_buf_len(p->residual->b) >= len);
}

bool ops_vulkan_fragments(struct ops_vulkan *v, const struct product *p, struct tuning_fragments *t)
{
    struct err_msg em = {0};
    *t = tuning_fragments(v->g, p->n, p->w->rows, p->w->kp);
    if (!t->bm || !whole_matrices(p, t))
        return false;
    /* where there is no room for them, the other way needs none */
    return room_for_x(v, ops_vulkan_fragments_x_bytes(t, p->n, p->w->kp)) &&
           ops_vulkan_grow(v, &v->fragments_w, fragment_bytes(blocks_of(t->rows, t->bm, t->tn), t->tn, p->w->kp, t->ahead * t->tk),
                           v->expected.fragments_w, &em) == 0;
}

int ops_vulkan_run_fragments(struct ops_vulkan *v, const struct product *p, const struct tuning_fragments *t, struct err_msg *em)
{
    int r = lay_out_x(v, p, t, em);
    for (size_t i = 0; i < p->w->n_slices && r == 0; i++) {
        const struct mat_slice *s = &p->w->slices[i];
        for (uint32_t row = 0; row < s->n_rows && r == 0; row += t->rows)
            r = multiply(v, p, s, row, s->n_rows - row < t->rows ? s->n_rows - row : t->rows, t, em);
    }
    return r;
}

uint32_t ops_vulkan_few_scales_at(const struct tuning_few *t, uint32_t kp)
{
    return (uint32_t)(fragment_bytes(t->rn, t->tn, kp, 0) / 4);
}

uint64_t ops_vulkan_few_x_bytes(const struct tuning_few *t, uint32_t kp)
{
    /* an eight of every invocation is fetched beyond the last */
    return 4 * (ops_vulkan_few_scales_at(t, kp) + (uint64_t)t->rn * t->tn) + fragment_bytes(t->rn, t->tn, 0, 8 * t->sharing);
}

bool ops_vulkan_few(struct ops_vulkan *v, const struct product *p, struct tuning_few *t)
{
    /* from more rows than p's where those are there already: they may not be made a second time */
    const bool spread = ops_vulkan_holds(&v->spread, p->x, p->n, p->w->cols);
    *t = tuning_few(v->g, spread ? v->spread.n : p->n, p->w->rows, p->w->kp);
    return t->rn && room_for_x(v, ops_vulkan_few_x_bytes(t, p->w->kp));
}

struct parts ops_vulkan_few_parts(const struct product *p, const struct tuning_few *t)
{
    return (struct parts){t->parts, whole_columns(p->w, t->tm) ? t->rn * t->tn : p->n};
}

/* flags of push_few */
static uint32_t few_flags(const struct product *p, const struct tuning_few *t)
{
    const uint64_t len = 4 * (uint64_t)t->rn * t->tn * p->w->rows;
    const bool as_it_is = t->parts > 1 || (!p->bias && !p->residual && gpu_buf_len(p->y->b) >= len);
    return (p->bias ? PARAMS_HAS_BIAS : 0) | (p->residual ? PARAMS_HAS_RESIDUAL : 0) | (t->parts > 1 ? PARAMS_PARTIAL : 0) |
           (as_it_is && whole_columns(p->w, t->tm) ? PARAMS_WHOLE : 0);
}

int ops_vulkan_run_few(struct ops_vulkan *v, const struct product *p, const struct tuning_few *t, bool spread, struct err_msg *em)
{
    const uint64_t x = gpu_buf_address(v->fragments_x);
    const uint32_t flags = few_flags(p, t), scales = ops_vulkan_few_scales_at(t, p->w->kp);
    const struct push_fragments rows = {0, p->n, p->w->kp, t->rn, scales};
    const struct layout layout = {t->group, t->subgroups, t->tm, t->tn, t->tk, t->pack_bk8, t->sharing, t->eights};
    const struct gpu_arg from[] = {arg(v->pack), arg(v->fragments_x)};
    int r = spread ? 0 : lay_out_into_x(v, &layout, GPU_KERNEL_FRAGMENTS_SPREAD, from, &rows, em);
    for (size_t i = 0; i < p->w->n_slices && r == 0; i++) {
        const struct mat_slice *s = &p->w->slices[i];
        const uint32_t sets = held_as(s->type)->block == 1 ? 1 : t->sets; /* registers for one turn of 16 bits are those for two and more of less */
        const uint32_t spec[] = {t->group, t->subgroups, t->rm, t->rn, t->tm, t->tn, t->tk, t->sharing, t->eights, sets};
        const struct push_few push = {
            .n = p->n,
            .m = p->w->rows,
            .k = p->w->cols,
            .kp = p->w->kp,
            .row0 = s->row0,
            .n_rows = s->n_rows,
            .flags = flags,
            .part8 = t->part8,
            .scales = scales,
            .x_low = (uint32_t)x,
            .x_high = (uint32_t)(x >> 32),
        };
        const struct gpu_arg args[] = {arg(v->fragments_x), arg(s->data), arg(s->shared ? s->shared : v->dummy), vec_arg(v, p->bias),
                                       arg(p->residual ? p->residual->b : v->dummy), arg(t->parts > 1 ? v->parts : p->y->b)};
        const struct gpu_dispatch d = {
            .kernel = typed_words(GPU_KERNEL_MATMUL_FEW_F16W, s->type) - 1,
            .spec = spec,
            .push = &push,
            .args = args,
            .groups = {ceil_div(s->n_rows, t->bm), 1, t->parts},
            .work = 2.0 * p->n * s->n_rows * p->w->kp,
        };
        r = gpu_dispatch(v->g, &d, em);
    }
    return r;
}
