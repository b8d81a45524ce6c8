/* What a device does that no query tells. */
#include <string.h>

#include "gpu/tuning.h"
#include "gpu/vk.h"
#include "shaders/params_fragments.h"

/* How many values an invocation holds of a left and of a right matrix. */
static int run_sizes(struct gpu *g, uint32_t sizes[2], struct err_msg *em)
{
    const struct gpu_coop *c = &g->limits.coop;
    const uint32_t spec[] = {c->subgroup, c->m, c->n, c->k};
    const struct push_none push = {0};
    struct gpu_buf *b = NULL;
    int r = gpu_buf_create(g, 8, GPU_MEM_DEVICE, &b, em);
    if (r < 0)
        return r;
    const struct gpu_arg args[] = {{b, 0, 0}};
    const struct gpu_dispatch d = {.kernel = GPU_KERNEL_FRAGMENT_SIZE, .spec = spec, .push = &push, .args = args, .groups = {1, 1, 1}, .work = 1};
    if ((r = gpu_begin(g, em)) == 0 && (r = gpu_dispatch(g, &d, em)) == 0 && (r = gpu_submit(g, em)) == 0)
        r = gpu_download(g, b, 0, sizes, 8, em);
    gpu_buf_destroy(g, &b);
    return r;
}

int probe_fragments(struct gpu *g, struct err_msg *em)
{
    struct gpu_coop *c = &g->limits.coop;
    uint32_t sizes[2] = {0};
    /* only where products take that way */
    if (!c->m || tuning_path(g, FRAGMENT_ROWS, TUNING_AS_HALF) != TUNING_COOP)
        return 0;
    /* whole eights, and an even number of steps for any length of a row */
    if (c->m * c->k % (8 * c->subgroup) || c->n * c->k % (8 * c->subgroup) || PARAMS_K_PAD % (2 * c->k))
        return 0;
    const int r = run_sizes(g, sizes, em);
    c->fragments = r == 0 && sizes[0] * c->subgroup == c->m * c->k && sizes[1] * c->subgroup == c->n * c->k;
    return r;
}
