/* What a device does that no query tells. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gpu/tuning.h"
#include "gpu/vk.h"
#include "shaders/params_fragments.h"

#define SHARING_MOST 8

/* fragment_probe.comp's findings, n_found words. */
static int run_probe(struct gpu *g, uint32_t *found, size_t n_found, struct err_msg *em)
{
    const struct gpu_coop *c = &g->limits.coop;
    const uint32_t spec[] = {c->subgroup, c->m, c->n, c->k};
    const struct push_none push = {0};
    struct gpu_buf *b = NULL;
    int r = gpu_buf_create(g, 4 * n_found, GPU_MEM_DEVICE, &b, em);
    if (r < 0)
        return r;
    const struct gpu_arg args[] = {{b, 0, 0}};
    const struct gpu_dispatch d = {.kernel = GPU_KERNEL_FRAGMENT_PROBE, .spec = spec, .push = &push, .args = args, .groups = {1, 1, 1}, .work = 1};
    if ((r = gpu_begin(g, em)) == 0 && (r = gpu_dispatch(g, &d, em)) == 0 && (r = gpu_submit(g, em)) == 0)
        r = gpu_download(g, b, 0, found, 4 * n_found, em);
    gpu_buf_destroy(g, &b);
    return r;
}

/* Whether each invocation holds of a left matrix what matmul_few.comp takes it to hold, with so many of them sharing a row. */
static bool holds(const struct gpu_coop *c, uint32_t sharing, const uint32_t *found)
{
    const uint32_t rows = c->m * sharing / c->subgroup; /* of an invocation */
    if (!rows || c->m * sharing % c->subgroup || c->k % (2 * sharing))
        return false;
    const uint32_t each = c->k / sharing; /* values of a row */
    for (uint32_t t = 0; t < c->subgroup; t++) {
        for (uint32_t i = 0; i < rows * each; i++) {
            const uint32_t row = t / sharing + i / each * (c->m / rows), at = i % each;
            const uint32_t column = at / 2 * 2 * sharing + t % sharing * 2 + at % 2;
            if (found[t * c->m * c->k + i] != row * c->k + column)
                return false;
        }
    }
    return true;
}

bool probe_placed(const struct gpu_coop *c, const uint32_t *found)
{
    if (c->m != 16 || c->n != 16 || c->k != 16 || c->subgroup != 32 || c->sharing != 4)
        return false;
    for (uint32_t t = 0; t < 32; t++) {
        for (uint32_t i = 0; i < 8; i++) {
            const uint32_t column = t / 4 + i / 4 * 8, row = i % 4 / 2 * 8 + t % 4 * 2 + i % 2;
            if (found[t * 256 + i] != column * 16 + row)
                return false;
        }
    }
    return true;
}

int probe_fragments(struct gpu *g, struct err_msg *em)
{
    struct gpu_coop *c = &g->limits.coop;
    /* only where products take that way */
    if (!c->m || tuning_path(g, g->table.few_rows + 1, TUNING_AS_HALF) != TUNING_COOP)
        return 0;
    /* whole eights, and an even number of steps for any length of a row */
    if (c->m * c->k % (8 * c->subgroup) || c->n * c->k % (8 * c->subgroup) || PARAMS_K_PAD % (2 * c->k))
        return 0;
    const size_t n = 2 + (size_t)c->subgroup * (c->m + c->n) * c->k;
    if (4 * n > g->limits.max_range)
        return 0;
    uint32_t *found = calloc(n, sizeof *found);
    if (!found)
        return err_set(em, LT_ENOMEM, "no memory for a device");
    const int r = run_probe(g, found, n, em);
    c->fragments = r == 0 && found[0] * c->subgroup == c->m * c->k && found[1] * c->subgroup == c->n * c->k;
    for (uint32_t sharing = 1; c->fragments && g->limits.addresses && sharing <= SHARING_MOST && !c->sharing; sharing *= 2)
        if (holds(c, sharing, found + 2))
            c->sharing = sharing;
    c->placed = c->sharing && probe_placed(c, found + 2 + (size_t)c->subgroup * c->m * c->k);
    log_debug("gpu", "%s: fragments of matrices %s, %u invocations share a row, the right one's places %s", g->info.name,
              c->fragments ? "yes" : "no", c->sharing, c->placed ? "known" : "unknown");
    free(found);
    return r;
}
