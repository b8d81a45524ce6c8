#include "model/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/file.h"
#include "model/ref/ref_forward.h"

#define CACHE_MAGIC "latentd golden vectors 2\n"
#define CHECK_BYTES 32

/* Golden vectors are computed from the weights as stored, so what a type's own rounding costs is in them, and a device is judged by its arithmetic
 * alone. What that loses was measured on the golden checkpoints and on random ones of 2 to 48 layers (random weights lose the most:
 * nothing in them is redundant), as 1 - cosine at worst:
 *
 *     in f32, on the CPU and Vulkan, any type                          9e-7
 *     cooperative matrices (activations of 16 bits)                    8.5e-6
 *     integer dot products with 8-bit activations (q4 and q5 types)    3.5e-4
 *     the CPU's int8 (q8_0 and the K types), 6, 32, 48 layers          5.2e-4, 1.6e-3, 1.8e-3
 *
 * A limit is twice what the worst of a type's devices loses, but never more than the type's own rounding costs, since a device should not be
 * what a user notices (a 6-layer checkpoint against its original weights: q6_K 1.6e-3, q5_K and q4_K 7.5e-3, q5_0 and q5_1 from 7.4e-3, q4_0 and
 * q4_1 from 3.7e-2). The CPU computes in f32, or with activations of 16 bits (1e-7), where its int8 is beyond the limit. f32, f16 and q8_0
 * have the limits that are promised against the original weights. */
struct golden_limit golden_limit(const struct model_info *i)
{
    static const struct {
        char type[8];
        double loss;
    } losses[] = {{"q8_0", 1e-3}, {"q6_K", 2e-3}, {"q5_K", 4e-3}, {"q4_K", 4e-3}, {"iq4_xs", 4e-3}, {"q3_K", 4e-3},
                  {"q2_K", 4e-3}, {"iq4_nl", 1e-3}, {"q5_1", 1e-3}, {"q5_0", 1e-3}, {"q4_1", 1e-3}, {"q4_0", 1e-3}};
    struct golden_limit l = {strcmp(i->weight_type, "f32") ? 2e-3 : 5e-6, 1 - 5e-4}; /* where a few matrices are quantised: half of q8_0's */
    for (size_t k = 0; k < sizeof losses / sizeof *losses; k++)
        if (!strcmp(i->weight_type, losses[k].type))
            l.cosine = 1 - losses[k].loss;
    return l;
}

void golden_plan(struct golden_plan *p, const struct model_info *info, uint64_t n_params)
{
    static const struct {
        uint32_t n, n_skip;
    } plan[GOLDEN_MAX] = {{9, 2}, {1, 0}, {16, 3}, {31, 0}};
    uint32_t state = 1;
    *p = (struct golden_plan){.n = n_params > GOLDEN_BIG_PARAMS ? 1 : GOLDEN_MAX};
    for (uint32_t g = 0; g < p->n; g++) {
        struct engine_seq *s = &p->seq[g];
        int32_t *ids = p->ids + p->n_ids;
        s->n = plan[g].n < info->token_limit ? plan[g].n : info->token_limit;
        s->n_skip = plan[g].n_skip < s->n ? plan[g].n_skip : 0;
        s->ids = ids;
        for (uint32_t i = 0; i < s->n; i++) {
            state = state * 1664525 + 1013904223;
            ids[i] = (int32_t)(((uint64_t)state * info->vocab) >> 32);
        }
        if (s->n > 1 && info->add_bos)
            ids[0] = info->bos;
        if (s->n > 1 && info->add_eos)
            ids[s->n - 1] = info->eos;
        p->n_ids += s->n;
    }
}

/* ---- the cache: magic, the vectors as little-endian f32, a digest of all before and of the sequences they are of ---- */

static bool cache_path(const struct model *m, const char *dir, char *out, size_t cap)
{
    return dir && snprintf(out, cap, "%s/golden-%s", dir, model_info(m)->fingerprint) < (int)cap;
}

/* A fingerprint says nothing of the token limit, which cuts the sequences. */
static bool make_check(const struct golden_plan *p, const void *data, size_t len, uint8_t check[static CHECK_BYTES])
{
    struct bytes_out o = {0};
    for (uint32_t g = 0; g < p->n; g++) {
        bytes_put_u32(&o, p->seq[g].n);
        bytes_put_u32(&o, p->seq[g].n_skip);
    }
    for (uint32_t i = 0; i < p->n_ids; i++)
        bytes_put_u32(&o, (uint32_t)p->ids[i]);
    bytes_put(&o, data, len);
    const bool good = !o.bad && !crypto_generichash(check, CHECK_BYTES, o.data, o.len, NULL, 0);
    bytes_out_finish(&o);
    return good;
}

static bool read_cache(const char *path, const struct golden_plan *p, float *v, size_t n)
{
    char *data = NULL;
    size_t len, magic = strlen(CACHE_MAGIC), want = magic + 4 * n;
    uint8_t check[CHECK_BYTES];
    struct err_msg em;
    if (file_read(path, want + CHECK_BYTES, &data, &len, &em) < 0)
        return false;
    bool good = len == want + CHECK_BYTES && !memcmp(data, CACHE_MAGIC, magic) &&
                make_check(p, data, want, check) && !memcmp(check, data + want, sizeof check);
    struct bytes_in in = bytes_in(data + (good ? magic : 0), good ? 4 * n : 0);
    for (size_t i = 0; good && i < n; i++)
        v[i] = bytes_f32(&in);
    free(data);
    return good;
}

static void write_cache(const char *path, const struct golden_plan *p, const float *v, size_t n)
{
    struct bytes_out o = {0};
    struct err_msg em;
    uint8_t check[CHECK_BYTES];
    bytes_put_str(&o, CACHE_MAGIC);
    for (size_t i = 0; i < n; i++)
        bytes_put_f32(&o, v[i]);
    if (!o.bad && make_check(p, o.data, o.len, check)) {
        bytes_put(&o, check, sizeof check);
        if (!o.bad)
            file_replace(path, o.data, o.len, 0600, &em);
    }
    bytes_out_finish(&o);
}

/* ---- computed ---- */

static int compute(struct golden_set *s, const struct model *m, void (*progress)(void *arg, double fraction), void *arg,
                   struct err_msg *em)
{
    const size_t n = (size_t)s->plan.n * model_golden_dim(model_info(m));
    const struct ref_probe probe = {.arg = arg, .progress = progress};
    double *wide = calloc(n, sizeof *wide);
    int r = wide ? ref_forward(m, s->plan.seq, s->plan.n, &probe, wide, em) : err_set(em, LT_ENOMEM, "no memory for golden vectors");
    for (size_t i = 0; !r && i < n; i++)
        s->vectors[i] = (float)wide[i];
    free(wide);
    return r;
}

int golden_get(struct golden_set *s, const struct model *m, const char *cache_dir, void (*progress)(void *arg, double fraction),
               void *arg, struct err_msg *em)
{
    const struct model_info *info = model_info(m);
    const uint32_t dim = model_golden_dim(info);
    const struct tensor *t;
    const uint8_t *digest;
    char path[4096];
    uint64_t n_params = 0;
    int r = 0;
    *s = (struct golden_set){0};
    if ((s->n = model_goldens(m, &s->golden)))
        return 0;
    for (size_t i = 0; (t = model_tensor_at(m, i, &digest)); i++)
        n_params += t->rows * t->cols;
    golden_plan(&s->plan, info, n_params);
    const size_t n = (size_t)s->plan.n * dim;
    s->vectors = calloc(n, sizeof *s->vectors);
    if (!s->vectors)
        return err_set(em, LT_ENOMEM, "no memory for golden vectors");
    const bool cached = cache_path(m, cache_dir, path, sizeof path);
    if (!cached || !read_cache(path, &s->plan, s->vectors, n)) {
        if ((r = compute(s, m, progress, arg, em)) < 0)
            return r;
        if (cached)
            write_cache(path, &s->plan, s->vectors, n);
    }
    for (uint32_t g = 0; g < s->plan.n; g++)
        s->own[g] = (struct model_golden){s->plan.seq[g].ids, s->plan.seq[g].n, s->plan.seq[g].n_skip,
                                          s->vectors + (size_t)g * dim};
    s->golden = s->own;
    s->n = s->plan.n;
    return 0;
}

void golden_finish(struct golden_set *s)
{
    free(s->vectors);
    *s = (struct golden_set){0};
}
