/* The device's residual stream after every layer beside the float64 reference's, the weights being the same: golden_layers DEVICE [-v].
 * Where a device computes wrongly, the first layer that differs is named.
 *
 * Tolerance, of the root mean square of the layer's values: f32 and f16 1e-4 of the largest difference; with 8 and fewer
 * bits, where the CPU rounds activations too, a root mean square of the difference of 3e-2 a layer's depth at most.
 *
 * With f16 weights a device may round what goes into products (ops_info.rounding, u). The nearest value is off by u / √3 of it in the
 * mean square at most, and so is a sum of such products, since their errors are independent. A layer makes seven products (q, k,
 * v, o, gate, up, down), none of them larger than the stream, and errors add up as squares: a root mean square of u √(7 / 3 · layers)
 * at most, and six times that for the largest of as few values as there are. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/gpu.h"
#include "model/decoder.h"
#include "model/engine_device.h"
#include "model/model.h"
#include "model/ref/ref_forward.h"
#include "tests/golden/golden.h"
#include "tests/tools/checkpoint_maker.h"

enum { LAYERS = 6, HIDDEN = 256, TOKENS = 23 + 40, N = 2 };

struct reference {
    double x[LAYERS + 1][TOKENS * HIDDEN]; /* embed, then each layer */
};

static int n_bad;
static bool verbose;

static void fail(const char *what, const struct err_msg *em)
{
    printf("FAIL %s: %s\n", what, em->text);
    exit(1);
}

static void on_stage(void *arg, const char *stage, const double *x, size_t n_rows, size_t cols)
{
    struct reference *r = arg;
    unsigned layer = 0;
    if (strcmp(stage, "embed") && sscanf(stage, "layer%u", &layer) != 1)
        return;
    layer += strcmp(stage, "embed") != 0;
    if (layer <= LAYERS && n_rows == TOKENS && cols == HIDDEN)
        memcpy(r->x[layer], x, sizeof r->x[layer]);
}

/* One layer; false when it is wrong. */
static bool compare(const struct model *m, double rounding, uint32_t part, const float *got, const double *want)
{
    double size = 0, error = 0, largest = 0;
    for (size_t i = 0; i < TOKENS * HIDDEN; i++) {
        const double d = fabs(got[i] - want[i]);
        size += want[i] * want[i] / (TOKENS * HIDDEN);
        error += d * d / (TOKENS * HIDDEN);
        largest = d <= largest ? largest : d;
    }
    size = sqrt(size);
    error = sqrt(error);
    const bool f16 = strcmp(model_info(m)->weight_type, "f16") == 0;
    const double rounded = f16 && rounding > 1e-6 ? rounding * sqrt(7.0 / 3 * part) : 0;
    bool good = largest <= 1e-4 * size;
    if (model_info(m)->quantised)
        good = error <= 3e-2 * sqrt(part + 1.0) * size;
    else if (rounded > 0)
        good = error <= rounded * size && largest <= 6 * rounded * size;
    char name[24] = "embed";
    if (part)
        snprintf(name, sizeof name, "layer %u", part - 1);
    if (verbose || !good)
        printf("  %-9s size %.3g, difference %.3g, largest %.3g\n", name, size, error, largest);
    return good;
}

static void check(const struct model *m, const struct engine_candidate *c)
{
    static struct reference ref;
    static int32_t ids[TOKENS];
    static float x[TOKENS * HIDDEN];
    const uint32_t offsets[N + 1] = {0, 23, TOKENS}, skips[N] = {0, 0};
    const struct engine_params ep = {.n_threads = 2};
    const struct decoder_params dp = {.max_tokens = TOKENS, .layer_bytes = 1}; /* a part for each layer */
    struct ops *o = NULL;
    struct decoder *d = NULL;
    struct ops_buf *hidden;
    struct err_msg em = {""};
    uint32_t state = 9;
    double vectors[N * HIDDEN];
    for (int i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)((state = state * 1664525 + 1013904223) >> 24);
    const struct engine_seq seqs[N] = {{ids, 23, 0}, {ids + 23, 40, 0}};
    const struct ref_probe probe = {.fn = on_stage, .arg = &ref};
    const struct ops_batch batch = {ids, TOKENS, offsets, N, skips};
    if (ref_forward(m, seqs, N, &probe, vectors, &em) < 0)
        fail("reference", &em);
    if (engine_open_device(c, &ep, TOKENS, 4 * HIDDEN * 2, &o, &em) < 0 || decoder_create(&d, m, o, &dp, &em) < 0)
        fail(c->name, &em);
    bool good = decoder_n_parts(d) == LAYERS + 1;
    for (uint32_t part = 0; good && part <= LAYERS; part++) {
        if (decoder_fetch(d, part, &em) < 0 || o->v->begin(o, &batch, &em) < 0 || decoder_run(d, part, TOKENS, TOKENS, &hidden) < 0 ||
            o->v->end(o, decoder_stream(d), TOKENS, x, &em) < 0)
            fail(c->name, &em);
        decoder_drop(d, part);
        good = compare(m, o->info.rounding, part, x, ref.x[part]);
        if (!good)
            printf("FAIL %s, %s: this is the first that is wrong\n", o->info.name, model_info(m)->weight_type);
    }
    if (good)
        printf("%s, %s: %d layers as the reference's\n", o->info.name, model_info(m)->weight_type, LAYERS);
    n_bad += !good;
    decoder_destroy(&d);
    ops_destroy(&o);
}

int main(int argc, char **argv)
{
    static const struct checkpoint_shape shape = {.hidden = HIDDEN, .layers = LAYERS, .heads = 4, .kv_heads = 2, .head_dim = 128,
                                                  .ffn = 512, .vocab = 256, .positions = 512, .latents = 16, .latent_heads = 1,
                                                  .latent_head_dim = 64, .type = TENSOR_F16, .seed = 4};
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_Q8_0, TENSOR_Q4_K};
    struct engine_candidate list[ENGINE_CANDIDATES_MAX];
    char dir[] = "/tmp/latentd-layers.XXXXXX", command[128];
    struct err_msg em;
    size_t n;
    bool named;
    verbose = argc == 3;
    if (engine_candidates(argc > 1 ? argv[1] : "cpu", list, &n, &named, &em) < 0)
        fail("device", &em);
    if (!mkdtemp(dir) || checkpoint_make(dir, &shape, NULL, &em) < 0)
        fail(dir, &em);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct model *m = NULL;
        char *path = golden_import(dir, types[t]);
        if (model_open(&m, path, &em) < 0)
            fail(path, &em);
        check(m, &list[0]);
        model_destroy(&m);
        golden_remove(&path);
    }
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command))
        n_bad++;
    if (gpu_validation_messages()) {
        printf("FAIL messages of the validation layers\n");
        n_bad++;
    }
    return n_bad ? 1 : 0;
}
