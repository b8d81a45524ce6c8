/* The engine on one device against the golden vectors: golden_engine cpu | vulkan-driver part of a name.
 *
 * f32 weights and arithmetic: within 5e-6 of every case. f16 weights: 2e-3. q8_0: cosine 0.999. Neighbours in the batch
 * change nothing: bit for bit on the CPU in int8, within 1e-6 else (cosine 0.9999 with 8 bits on Vulkan). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/gpu.h"
#include "model/engine.h"
#include "model/model.h"
#include "tests/golden/golden.h"

struct device {
    const char *name;
    bool cpu;
};

static int n_bad;

static void expect(bool good, const char *what, const char *which, double got)
{
    if (!good) {
        printf("FAIL %s: %s: %.3g\n", what, which, got);
        n_bad++;
    }
}

static struct engine *open_engine(const struct device *d, const char *path, struct model **m)
{
    struct err_msg em = {{0}};
    struct engine *e = NULL;
    struct engine_params p = {.device = d->name, .n_threads = 2};
    if (model_open(m, path, &em) < 0 || golden_engine(&e, *m, &p, &em) < 0) {
        printf("FAIL %s: %s\n", path, em.text);
        exit(1);
    }
    return e;
}

/* All cases one by one, then all in one call, in order and reversed. */
static void run_cases(struct engine *e, const struct golden *g, float *alone, float *together, float *back)
{
    struct engine_seq *seqs = calloc(g->n_cases, sizeof *seqs), *rev = calloc(g->n_cases, sizeof *rev);
    int *status = calloc(g->n_cases, sizeof *status);
    struct err_msg em = {{0}};
    for (size_t i = 0; i < g->n_cases; i++) {
        seqs[i] = (struct engine_seq){g->cases[i].ids, g->cases[i].n, g->cases[i].n_skip};
        rev[g->n_cases - 1 - i] = seqs[i];
        if (engine_embed(e, &seqs[i], 1, alone + i * g->dim, &status[i], &em) < 0 || status[i] < 0)
            expect(false, g->cases[i].name, em.text[0] ? em.text : err_text(status[i]), 0);
    }
    if (engine_embed(e, seqs, g->n_cases, together, status, &em) < 0 ||
        engine_embed(e, rev, g->n_cases, back, status, &em) < 0)
        expect(false, "batch", em.text, 0);
    free(seqs);
    free(rev);
    free(status);
}

static void check_model(const struct device *d, const char *path, const struct golden *g, enum tensor_type type)
{
    struct model *m;
    struct engine *e = open_engine(d, path, &m);
    size_t n = g->n_cases, dim = g->dim;
    float *alone = calloc(3 * n * dim, sizeof *alone), *together = alone + n * dim, *back = together + n * dim;
    double worst = 0, least = 1, moved = 0;
    run_cases(e, g, alone, together, back);
    for (size_t i = 0; i < n; i++) {
        const float *a = alone + i * dim, *t = together + i * dim, *b = back + (n - 1 - i) * dim;
        double diff = golden_max_diff(a, g->cases[i].vec, g->dim), cosine = golden_cosine(a, g->cases[i].vec, g->dim);
        double change = fmax(golden_max_diff(a, t, g->dim), golden_max_diff(a, b, g->dim));
        worst = fmax(worst, diff);
        least = fmin(least, cosine);
        moved = fmax(moved, change);
        if (type == TENSOR_Q8_0)
            expect(cosine >= 0.999, g->cases[i].name, "cosine to the golden vector", cosine);
        else
            expect(diff <= (type == TENSOR_F32 ? 5e-6 : 2e-3), g->cases[i].name, "difference from the golden vector", diff);
        if (d->cpu && !strstr(engine_info(e)->device, ", c)")) /* on a CPU without AVX2 oneDNN multiplies in f32 */
            expect(change == 0, g->cases[i].name, "neighbours change it", change);
        else if (type == TENSOR_Q8_0 && !d->cpu)
            expect(golden_cosine(a, t, g->dim) >= 0.9999, g->cases[i].name, "neighbours change it", change);
        else
            expect(change <= (type == TENSOR_F32 || d->cpu ? 1e-6 : 5e-4), g->cases[i].name, "neighbours change it", change);
    }
    printf("%s, %s: %zu cases, largest difference %.3g, smallest cosine %.6f, neighbours change %.3g\n",
           engine_info(e)->device, tensor_type_name(type), n, worst, least, moved);
    /* One submission and one readback a batch: a tiny model's text is below the least budget of a submission (gpu/budget.h), however
     * slow the device. A larger one may need more on a GPU. */
    const bool exact = d->cpu || model_info(m)->hidden <= 64;
    uint64_t submits = engine_info(e)->n_submits, reads = engine_info(e)->n_readbacks;
    struct engine_seq one = {g->cases[0].ids, g->cases[0].n, g->cases[0].n_skip};
    struct err_msg em;
    int status;
    engine_embed(e, &one, 1, alone, &status, &em);
    submits = engine_info(e)->n_submits - submits;
    expect((exact ? submits == 1 : submits >= 1) && engine_info(e)->n_readbacks == reads + 1, "batch",
           "submissions or readbacks are not one each", (double)submits);
    free(alone);
    engine_destroy(&e);
    model_destroy(&m);
}

/* Texts that cannot be embedded get their own code, and the others still come. */
static void check_refusals(const struct device *d, const char *path, const struct golden *g)
{
    struct model *m;
    struct engine *e = open_engine(d, path, &m);
    int32_t bad_ids[] = {1, INT32_MAX, 2}, negative[] = {-1, 2};
    const struct golden_case *c = &g->cases[0];
    struct engine_seq seqs[] = {{bad_ids, 3, 0}, {c->ids, c->n, c->n}, {c->ids, 0, 0}, {c->ids, c->n, c->n_skip}, {negative, 2, 0}};
    static const int want[] = {LT_EINVAL, LT_EEMPTY, LT_EEMPTY, 0, LT_EINVAL};
    float *out = calloc(5 * (size_t)g->dim, sizeof *out);
    int status[5];
    struct err_msg em;
    expect(engine_embed(e, seqs, 5, out, status, &em) == 0, "refusals", "the call failed", 0);
    for (int i = 0; i < 5; i++)
        expect(status[i] == want[i], "refusals", err_name(want[i]), i);
    expect(golden_cosine(out + 3 * (size_t)g->dim, c->vec, g->dim) > 0.999, "refusals", "the good one is wrong", 0);
    free(out);
    engine_destroy(&e);
    model_destroy(&m);
}

int main(int argc, char **argv)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0};
    static const char *const tiny[] = {"tests/golden/tiny-f16", "tests/golden/tiny-bf16"};
    struct device d = {argc == 2 ? argv[1] : "cpu", argc != 2 || strcmp(argv[1], "cpu") == 0};
    struct golden g;
    char path[4200];
    golden_need_way(d.name);
    for (size_t i = 0; i < 2; i++) {
        char folder[4096];
        snprintf(folder, sizeof folder, "%s", golden_tree(tiny[i]));
        golden_load(&g, folder);
        if (golden_brief(d.name))
            golden_drop_long(&g, 64, 1);
        for (size_t t = 0; t < 4; t++) {
            if (types[t] == TENSOR_F16 && i == 1)
                continue; /* bf16 weights do not fit f16 exactly, nor the other way round */
            if (types[t] == TENSOR_BF16 && i == 0)
                continue;
            char *file = golden_import(folder, types[t]);
            check_model(&d, file, &g, types[t]);
            if (!t)
                check_refusals(&d, file, &g);
            golden_remove(&file);
        }
        golden_free(&g);
    }
    snprintf(path, sizeof path, "%s", golden_tree("models/latent-mini-q8_0.gguf"));
    golden_load(&g, golden_tree("models/latent-mini"));
    if (golden_brief(d.name))
        golden_drop_long(&g, 24, 0);
    check_model(&d, path, &g, TENSOR_Q8_0);
    golden_free(&g);
    if (gpu_validation_messages())
        expect(false, "validation layers", "messages", (double)gpu_validation_messages());
    return n_bad ? 1 : 0;
}
