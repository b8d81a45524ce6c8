/* The self-test at load: golden_selftest DEVICE. For each storage type a random checkpoint is served as it is, well within the limit (golden_limit),
 * and refused, with figures, when so many bits of its file are flipped that it costs more than the limit by the reference: signs of blocks' scales,
 * or of single weights, in one matrix, from the first on. That stays below DAMAGE_MAX, so that a limit for all types, the coarsest's, would
 * not do. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "gpu/gpu.h"
#include "model/engine.h"
#include "model/golden.h"
#include "model/model.h"
#include "model/ref/ref_forward.h"
#include "tests/golden/golden.h"
#include "tests/tools/checkpoint_maker.h"

#define FILE_MAX (64u << 20)
#define DAMAGE_MAX 0.02 /* of a cosine: what q4_K may lose against the original weights */
#define MATRIX "blk.1.ffn_up.weight"

static int n_bad;

static void die(const char *what, const char *why)
{
    printf("FAIL %s: %s\n", what, why);
    exit(1);
}

/* A model file in memory, and where the matrix lies in it. */
struct victim {
    char *data, *path;
    size_t len, at;
    enum tensor_type type;
    size_t n_signs; /* that can be flipped */
    struct golden_limit limit;
};

static void load(struct victim *v, const char *dir, enum tensor_type type)
{
    struct model *m = NULL;
    struct err_msg em = {""};
    *v = (struct victim){.path = golden_import(dir, type), .type = type};
    if (file_read(v->path, FILE_MAX, &v->data, &v->len, &em) < 0 || model_open(&m, v->path, &em) < 0)
        die(v->path, em.text);
    const struct tensor *t = model_tensor(m, MATRIX);
    const char *at = t && t->type == type ? memmem(v->data, v->len, t->data, t->len_bytes) : NULL;
    if (!at || !model_goldens(m, NULL))
        die(MATRIX, "is not stored as that type, or there are no golden vectors");
    v->at = (size_t)(at - v->data);
    v->n_signs = t->rows * t->cols / tensor_block_len(type);
    v->limit = golden_limit(model_info(m));
    model_destroy(&m);
}

/* Flips the signs of the first n scales, or back. */
static void flip(struct victim *v, size_t n)
{
    const size_t block = tensor_block_bytes(v->type), scale = v->type == TENSOR_Q6_K ? 208 : 0, high = v->type == TENSOR_F32 ? 3 : 1;
    for (size_t i = 0; i < n; i++)
        v->data[v->at + i * block + scale + high] ^= (char)0x80;
}

static void store(const struct victim *v)
{
    struct err_msg em = {""};
    if (file_replace(v->path, v->data, v->len, 0600, &em) < 0)
        die(v->path, em.text);
}

/* How far the reference is from the golden vectors with the weights that the file has now, as a share of the limit. */
static double cost(const struct victim *v)
{
    struct model *m = NULL;
    struct err_msg em = {""};
    const struct model_golden *g;
    double worst = 0;
    store(v);
    if (model_open(&m, v->path, &em) < 0)
        die(v->path, em.text);
    const size_t n = model_goldens(m, &g), dim = model_info(m)->dim;
    double *out = calloc(dim, sizeof *out);
    for (size_t i = 0; out && i < n; i++) {
        const struct engine_seq s = {g[i].ids, g[i].n, g[i].n_skip};
        double dot = 0, diff = 0;
        if (ref_forward(m, &s, 1, NULL, out, &em) < 0)
            die("reference", em.text);
        for (size_t k = 0; k < dim; k++) {
            dot += out[k] * g[i].vec[k];
            diff = fmax(diff, fabs(out[k] - g[i].vec[k]));
        }
        worst = fmax(worst, model_info(m)->some_quantised ? (1 - dot) / (1 - v->limit.cosine) : diff / v->limit.diff);
    }
    free(out);
    model_destroy(&m);
    return worst;
}

/* Opens the engine on the file as it is now. */
static int serve(const struct victim *v, const char *device, struct engine_info *info, struct err_msg *em)
{
    const struct engine_params p = {.device = device, .n_threads = 2};
    struct model *m = NULL;
    struct engine *e = NULL;
    store(v);
    if (model_open(&m, v->path, em) < 0)
        die(v->path, em->text);
    const int r = engine_create(&e, m, &p, em);
    if (r == 0)
        *info = *engine_info(e);
    engine_destroy(&e);
    model_destroy(&m);
    return r;
}

/* Whether n flips cost at least so much of the limit, and what they cost. */
static bool costs(struct victim *v, size_t n, double share, double *c)
{
    flip(v, n);
    *c = cost(v);
    flip(v, n);
    return *c >= share;
}

/* As many flips as cost at least so much of the limit, and not many more. */
static size_t flips_for(struct victim *v, double share, double *c)
{
    size_t n = 1;
    while (n <= v->n_signs && !costs(v, n, share, c))
        n *= 2;
    for (n = n / 2 + 1; n <= v->n_signs; n += n / 8 + 1)
        if (costs(v, n, share, c))
            return n;
    die(MATRIX, "cannot be damaged as much");
    return 0;
}

static void check_type(const char *dir, const char *device, enum tensor_type type)
{
    const char *name = tensor_type_name(type);
    struct victim v;
    struct engine_info info = {{0}};
    struct err_msg em = {""};
    load(&v, dir, type);
    const bool by_cosine = tensor_block_len(type) > 1;
    const double limit = by_cosine ? 1 - v.limit.cosine : v.limit.diff;
    if (serve(&v, device, &info, &em) < 0)
        die(name, em.text);
    /* Sound ones have room: else a device that differs a little would be refused. */
    const double sound = (by_cosine ? 1 - info.selftest_cosine : info.selftest_error) / limit;
    double much;
    const size_t n = flips_for(&v, 1.25, &much);
    flip(&v, n);
    const int r = serve(&v, device, &info, &em);
    const bool told = r == LT_EDEVICE && strstr(em.text, "fails the self-test");
    flip(&v, n);
    printf("%s, %s: limit %.3g, a sound model takes %.3f of it; %zu flipped signs, %.2f of it: %s\n", device, name, limit, sound, n, much,
           told ? "refused" : "served");
    if (!told || sound > 0.6 || (by_cosine && much * limit > DAMAGE_MAX)) {
        printf("FAIL %s\n", name);
        n_bad++;
    }
    golden_remove(&v.path);
    free(v.data);
}

int main(int argc, char **argv)
{
    static const struct checkpoint_shape shape = {.hidden = 256, .layers = 2, .heads = 4, .kv_heads = 2, .ffn = 512, .vocab = 256, .positions = 64,
                                                  .latents = 256, .latent_heads = 1, .latent_head_dim = 256, .type = TENSOR_F32, .seed = 1};
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q6_K, TENSOR_Q5_K, TENSOR_Q4_K};
    const char *device = argc > 1 ? argv[1] : "cpu";
    char dir[] = "/tmp/latentd-selftest.XXXXXX", command[128];
    struct err_msg em;
    golden_need_way(device);
    if (!mkdtemp(dir) || checkpoint_make(dir, &shape, NULL, &em) < 0)
        die(dir, em.text);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        check_type(dir, device, types[t]);
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command))
        n_bad++;
    if (gpu_validation_messages()) {
        printf("FAIL %u messages of the validation layers\n", (unsigned)gpu_validation_messages());
        n_bad++;
    }
    return n_bad ? 1 : 0;
}
