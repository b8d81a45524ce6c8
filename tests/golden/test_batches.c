/* A vector does not depend on its batch: golden_batches cpu | vulkan-driver part of a name [SEED].
 *
 * Texts of mixed lengths (1 token to 150, some with a part left out of the pool), embedded one by one, then in batches of
 * every size from 1 to 256, each a fresh draw in random order. Software drivers take a fifth of a millisecond for the shortest
 * text, so every size is that of a generated model of one layer (on Vulkan with f32 weights, and shorter texts), and deeper
 * models get a few sizes. Equal to the vector alone: bit for bit on a CPU with AVX2, whatever the weights; on one without, where oneDNN multiplies in
 * f32, within 1e-6 with f32 weights and 1e-5 with blocks; on Vulkan within 1e-6 with f32 weights, 5e-4 with f16, cosine 0.9999 with blocks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "gpu/gpu.h"
#include "model/model.h"
#include "tests/golden/golden.h"
#include "tests/tools/checkpoint_maker.h"

#define TEXTS 256

static uint64_t rng = 1;
static int n_bad;

static uint32_t draw(uint32_t below)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)((rng >> 32) % below);
}

static void die(const char *what, const char *why)
{
    printf("FAIL %s: %s\n", what, why);
    exit(1);
}

/* Mostly short, some long. */
static struct engine_seq make_text(const struct model_info *i, bool slow)
{
    uint32_t most = slow ? 70 : 150, n = 1 + (slow ? draw(draw(24) ? 3 : most) : draw(draw(8) ? 24 : most));
    most = most < i->token_limit ? most : i->token_limit;
    int32_t *ids = calloc(n, sizeof *ids);
    if (!ids)
        die("texts", "no memory");
    n = n > most ? most : n;
    for (uint32_t k = 0; k < n; k++)
        ids[k] = (int32_t)draw(i->vocab);
    return (struct engine_seq){ids, n, n > 1 && !draw(3) ? draw(n - 1) : 0};
}

static void compare(const char *what, uint32_t size, const float *a, const float *b, uint32_t dim, double limit, double *moved)
{
    bool good;
    double diff = golden_max_diff(a, b, dim);
    if (limit < 0) { /* by cosine */
        good = golden_cosine(a, b, dim) >= 0.9999;
    } else {
        good = limit == 0 ? memcmp(a, b, dim * sizeof *a) == 0 : diff <= limit;
    }
    *moved = fmax(*moved, diff);
    if (!good && n_bad++ < 10)
        printf("FAIL %s: batch of %u: off by %.3g\n", what, size, diff);
}

static void check_model(const char *device, const char *path, const char *what, bool every_size)
{
    static const uint32_t few_sizes[] = {2, 7, 33, 100, 256};
    const bool slow = strcmp(device, "cpu") != 0;
    /* above 64: in brief those around whole tiles, and of few sizes not the largest; on the slowest driver every third */
    const bool brief = golden_brief(device);
    const size_t n_sizes = every_size ? TEXTS : sizeof few_sizes / sizeof *few_sizes - brief;
    const size_t step = strstr(device, "swiftshader") ? 3 : 1;
    const uint32_t n_distinct = slow ? 64 : TEXTS;
    struct err_msg em = {{0}};
    struct model *m;
    struct engine *e;
    struct engine_params p = {.device = device, .n_threads = 2};
    struct engine_seq seqs[TEXTS], batch[TEXTS];
    uint32_t order[TEXTS];
    int status[TEXTS];
    if (model_open(&m, path, &em) < 0 || golden_engine(&e, m, &p, &em) < 0)
        die(what, em.text);
    const struct model_info *i = model_info(m);
    const uint32_t dim = i->dim;
    double limit = slow && strcmp(i->weight_type, "f32") ? 5e-4 : 1e-6;
    if (i->quantised)
        limit = slow ? -1 : 1e-5;
    if (!slow && !strstr(engine_info(e)->device, ", c)")) /* on a CPU without AVX2 oneDNN multiplies in f32 */
        limit = 0;
    float *alone = calloc(2 * (size_t)TEXTS * dim, sizeof *alone), *out = alone + (size_t)TEXTS * dim;
    double moved = 0;
    size_t n_done = 0;
    for (uint32_t t = 0; t < TEXTS; t++)
        order[t] = t % n_distinct;
    for (uint32_t t = 0; t < n_distinct; t++) {
        seqs[t] = make_text(i, slow);
        if (engine_embed(e, &seqs[t], 1, alone + (size_t)t * dim, status, &em) < 0 || status[0] < 0)
            die(what, em.text[0] ? em.text : err_text(status[0]));
    }
    for (size_t s = 0; s < n_sizes; s += every_size && s >= 63 && !brief ? step : 1) {
        const uint32_t size = every_size ? (uint32_t)s + 1 : few_sizes[s];
        if (brief && every_size && size > 64 && (size + 1) % 64 > 2)
            continue;
        for (uint32_t t = TEXTS - 1; t > 0; t--) {
            uint32_t u = draw(t + 1), kept = order[t];
            order[t] = order[u];
            order[u] = kept;
        }
        for (uint32_t t = 0; t < size; t++)
            batch[t] = seqs[order[t]];
        if (engine_embed(e, batch, size, out, status, &em) < 0)
            die(what, em.text);
        n_done++;
        for (uint32_t t = 0; t < size; t++) {
            if (status[t] < 0)
                die(what, err_text(status[t]));
            compare(what, size, alone + (size_t)order[t] * dim, out + (size_t)t * dim, dim, limit, &moved);
        }
    }
    printf("%s on %s: %zu sizes from 1 to %d, largest difference %.3g\n", what, engine_info(e)->device, n_done, TEXTS, moved);
    for (uint32_t t = 0; t < n_distinct; t++)
        free((void *)seqs[t].ids);
    free(alone);
    engine_destroy(&e);
    model_destroy(&m);
}

/* A folder as each type; every size of the first, and of the others where all is asked for. */
static void check_folder(const char *device, const char *folder, const char *what, bool first, bool all)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_Q8_0, TENSOR_Q4_1};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        char name[64], *file = types[t] == TENSOR_Q4_1 ? golden_blocks(folder, types[t]) : golden_import(folder, types[t]);
        snprintf(name, sizeof name, "%s, %s", what, tensor_type_name(types[t]));
        check_model(device, file, name, t ? all : first);
        golden_remove(&file);
    }
}

int main(int argc, char **argv)
{
    static const struct checkpoint_shape small = {.hidden = 32, .layers = 1, .heads = 1, .kv_heads = 1, .ffn = 32, .vocab = 64,
                                                  .positions = 512, .latents = 4, .latent_heads = 1, .latent_head_dim = 32,
                                                  .type = TENSOR_F32, .seed = 2};
    static const char *const decoders[] = {"mistral", "qwen2", "embeddinggemma"};
    const char *device = argc > 1 ? argv[1] : "cpu";
    const bool every = !strcmp(device, "cpu") && cpu_features(); /* plain C multiplies floats, whatever the type */
    char dir[] = "/tmp/latentd-batches.XXXXXX", folder[4096], path[4200];
    struct err_msg em = {{0}};
    golden_need_way(device);
    rng = argc > 2 ? strtoull(argv[2], NULL, 0) | 1 : 1;
    printf("seed %llu\n", (unsigned long long)rng);
    if (!mkdtemp(dir) || checkpoint_make(dir, &small, NULL, &em) < 0)
        die(dir, em.text);
    check_folder(device, dir, "one layer", true, every);
    snprintf(path, sizeof path, "rm -r %s", dir);
    if (system(path))
        die(dir, "cannot be removed");
    snprintf(folder, sizeof folder, "%s", golden_tree("tests/golden/tiny-f16"));
    check_folder(device, folder, "tiny", false, false);
    for (size_t d = 0; d < sizeof decoders / sizeof *decoders; d++) {
        snprintf(folder, sizeof folder, "tests/golden/decoders/%s.gguf", decoders[d]);
        snprintf(path, sizeof path, "%s", golden_tree(folder));
        check_model(device, path, decoders[d], false);
    }
    if (gpu_validation_messages())
        die(device, "messages of the validation layers");
    return n_bad != 0;
}
