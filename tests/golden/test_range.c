/* Activations of any size: golden_range DEVICE.
 *
 * A golden checkpoint whose feed-forward takes in values many times as large, up to 1e8, so that what its gate and its up projection make, and
 * the stream behind it, leave f16's range and then come near the end of f32's. Vectors are as near to the float64 reference as those of the
 * plain checkpoint: f32 5e-6, f16 2e-3, q8_0 cosine 0.999 with the same weights. Where values are beyond f32's too, the device says so
 * at its self-test: nothing that isn't a number is served. A model whose heads are larger than the device's attention takes is refused by their size. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "gpu/gpu.h"
#include "model/model.h"
#include "model/ref/ref_forward.h"
#include "tests/golden/golden.h"
#include "tests/tools/checkpoint_maker.h"

enum { N_TEXTS = 6 };

static int n_bad;

static void die(const char *what, const char *why)
{
    printf("FAIL %s: %s\n", what, why);
    exit(1);
}

/* Multiplies every feed-forward's gains in the file by s. */
static void stretch(const char *path, float s)
{
    struct model *m;
    struct err_msg em = {{0}};
    const uint8_t *digest;
    const struct tensor *t;
    char *file;
    size_t len;
    int n = 0;
    if (model_open(&m, path, &em) < 0 || file_read(path, 1 << 24, &file, &len, &em) < 0)
        die(path, em.text);
    for (size_t i = 0; (t = model_tensor_at(m, i, &digest)); i++) {
        if (!strstr(t->name, "blk.") || !strstr(t->name, ".ffn_norm.weight"))
            continue;
        char *at = t->type == TENSOR_F32 ? memmem(file, len, t->data, t->len_bytes) : NULL;
        if (!at)
            die(t->name, "is not in the file as f32");
        for (uint64_t c = 0; c < t->cols; c++) {
            float g;
            memcpy(&g, at + c * sizeof g, sizeof g);
            g *= s;
            memcpy(at + c * sizeof g, &g, sizeof g);
        }
        n++;
    }
    model_destroy(&m);
    if (!n || file_replace(path, file, len, 0600, &em) < 0)
        die(path, n ? em.text : "has no feed-forward");
    free(file);
}

static void check(const char *device, const struct golden *g, const char *folder, enum tensor_type type, float s)
{
    struct model *m;
    struct engine *e = NULL;
    struct err_msg em = {{0}};
    struct engine_seq seqs[N_TEXTS];
    int status[N_TEXTS];
    char *path = golden_blocks(folder, type);
    stretch(path, s);
    if (model_open(&m, path, &em) < 0)
        die(path, em.text);
    golden_remove(&path);
    const int r = golden_engine(&e, m, &(struct engine_params){.device = device, .n_threads = 2}, &em);
    if (s > 1e20f) {
        const bool good = r == LT_EDEVICE && strstr(em.text, err_text(LT_ENAN));
        printf("%s%s, %s times %g: %s\n", good ? "" : "FAIL ", device, tensor_type_name(type), s, r < 0 ? em.text : "served");
        n_bad += !good;
    } else if (r < 0) {
        die(device, em.text);
    } else {
        const uint32_t dim = model_info(m)->dim;
        double *wide = calloc((size_t)N_TEXTS * dim, sizeof *wide), diff = 0, cosine = 1;
        float *out = calloc(2 * (size_t)N_TEXTS * dim, sizeof *out), *want = out + (size_t)N_TEXTS * dim;
        for (size_t i = 0; i < N_TEXTS; i++)
            seqs[i] = (struct engine_seq){g->cases[i].ids, g->cases[i].n, g->cases[i].n_skip};
        if (!wide || !out || ref_forward(m, seqs, N_TEXTS, NULL, wide, &em) < 0 || engine_embed(e, seqs, N_TEXTS, out, status, &em) < 0)
            die(device, em.text);
        for (size_t i = 0; i < N_TEXTS * dim; i++)
            want[i] = (float)wide[i];
        for (size_t i = 0; i < N_TEXTS; i++) {
            diff = status[i] ? INFINITY : fmax(diff, golden_max_diff(out + i * dim, want + i * dim, dim));
            cosine = fmin(cosine, golden_cosine(out + i * dim, want + i * dim, dim));
        }
        const bool good = type == TENSOR_Q8_0 ? cosine >= 0.999 : diff <= (type == TENSOR_F32 ? 5e-6 : 2e-3);
        printf("%s%s, %s times %g: largest difference %.3g, smallest cosine %.6f\n", good ? "" : "FAIL ", engine_info(e)->device,
               tensor_type_name(type), s, diff, cosine);
        n_bad += !good;
        free(wide);
        free(out);
    }
    engine_destroy(&e);
    model_destroy(&m);
}

static void check_heads(const char *device)
{
    enum { TOO_MANY = 514 };
    const struct checkpoint_shape shape = {.hidden = 32, .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = TOO_MANY, .ffn = 32, .vocab = 64,
                                           .positions = 16, .latents = 2, .latent_heads = 1, .latent_head_dim = 8, .type = TENSOR_F16, .seed = 1};
    struct model *m;
    struct engine *e = NULL;
    struct err_msg em = {{0}};
    char dir[] = "/tmp/golden_range.XXXXXX", command[64], number[16];
    if (!mkdtemp(dir) || checkpoint_make(dir, &shape, NULL, &em) < 0)
        die(dir, em.text);
    char *path = golden_import(dir, TENSOR_F16);
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (model_open(&m, path, &em) < 0 || system(command))
        die(path, em.text);
    golden_remove(&path);
    snprintf(number, sizeof number, "%d", TOO_MANY);
    const int r = golden_engine(&e, m, &(struct engine_params){.device = device, .n_threads = 2}, &em);
    const bool good = r == LT_EUNSUPPORTED && strstr(em.text, number);
    printf("%s%s, heads of %d: %s\n", good ? "" : "FAIL ", device, TOO_MANY, r < 0 ? em.text : "served");
    n_bad += !good;
    engine_destroy(&e);
    model_destroy(&m);
}

int main(int argc, char **argv)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_Q8_0};
    static const float scales[] = {1, 3e2f, 1e4f, 1e8f, 1e25f};
    const char *device = argc > 1 ? argv[1] : "cpu";
    struct golden g;
    char folder[4096];
    golden_need_way(device);
    snprintf(folder, sizeof folder, "%s", golden_tree("tests/golden/tiny-f16"));
    golden_load(&g, folder);
    if (g.n_cases < N_TEXTS)
        die(folder, "too few cases");
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
            check(device, &g, folder, types[t], scales[s]);
    golden_free(&g);
    check_heads(device);
    if (gpu_validation_messages()) {
        printf("FAIL messages of the validation layers\n");
        n_bad++;
    }
    return n_bad ? 1 : 0;
}
