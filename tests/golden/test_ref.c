/* The plain C reference against vectors and layer probes of an independent float64 implementation. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "model/ref/ref_forward.h"
#include "tests/golden/golden.h"

/* cases.json prints eight or nine digits. */
#define VECTOR_TOLERANCE 1e-7
#define PROBE_TOLERANCE 2e-6

struct check {
    const struct golden_case *c;
    const char *wrong; /* the first stage that differs */
    double diff;
};

static void on_stage(void *arg, const char *stage, const double *x, size_t n_rows, size_t cols)
{
    struct check *k = arg;
    const json_t *want = json_object_get(k->c->probes, stage);
    const double *last = x + (n_rows - 1) * cols;
    if (!want || k->wrong)
        return;
    for (size_t i = 0; i < json_array_size(want); i++) {
        double w = json_number_value(json_array_get(want, i)), diff = fabs(last[i] - w) / fmax(1, fabs(w));
        if (!(diff <= PROBE_TOLERANCE)) {
            k->wrong = json_object_iter_key(json_object_iter_at((json_t *)k->c->probes, stage));
            k->diff = diff;
        }
    }
}

static int check_folder(const char *dir, enum tensor_type type)
{
    int bad = 0;
    struct golden g;
    struct model *m = NULL;
    struct err_msg em;
    double worst = 0;
    golden_load(&g, dir);
    char *path = golden_import(dir, type);
    if (model_open(&m, path, &em) < 0) {
        printf("%s: %s\n", dir, em.text);
        golden_remove(&path);
        return 1;
    }
    double *out = calloc(g.dim, sizeof *out);
    float *vec = calloc(g.dim, sizeof *vec);
    for (size_t i = 0; out && vec && i < g.n_cases; i++) {
        struct check k = {.c = &g.cases[i]};
        const struct ref_probe probe = {.fn = on_stage, .arg = &k};
        const struct engine_seq seq = {k.c->ids, k.c->n, k.c->n_skip};
        int r = ref_forward(m, &seq, 1, &probe, out, &em);
        for (uint32_t j = 0; j < g.dim; j++)
            vec[j] = (float)out[j];
        double diff = r < 0 ? INFINITY : golden_max_diff(vec, k.c->vec, g.dim);
        worst = fmax(worst, diff);
        if (k.wrong || !(diff <= VECTOR_TOLERANCE)) {
            printf("%s: case %.40s: first wrong stage %s (%g), vector differs by %g\n", dir, k.c->name,
                   k.wrong ? k.wrong : "none", k.diff, diff);
            bad++;
        }
    }
    printf("%s as %s: %zu cases, largest difference %.2e, %d wrong\n", dir, tensor_type_name(type), g.n_cases, worst, bad);
    free(out);
    free(vec);
    model_destroy(&m);
    golden_remove(&path);
    golden_free(&g);
    return bad;
}

int main(void)
{
    int bad = 0;
    const char *dir;
    if ((dir = golden_tree("tests/golden/tiny-f16")))
        bad += check_folder(dir, TENSOR_F16) + check_folder(dir, TENSOR_F32);
    if ((dir = golden_tree("tests/golden/tiny-bf16")))
        bad += check_folder(dir, TENSOR_BF16) + check_folder(dir, TENSOR_F32);
    if ((dir = golden_shared("models/latent-mini")))
        bad += check_folder(dir, TENSOR_F16);
    else
        printf("latent-mini's checkpoint is not here, left out\n");
    return bad ? 1 : 0;
}
