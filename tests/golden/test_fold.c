/* The pooler's folded matrices beside their definition (model/pooler_fold.h), for shapes that divide by nothing and one that divides by all. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/model.h"
#include "model/pooler_fold.h"
#include "tests/golden/golden.h"
#include "tests/tools/checkpoint_maker.h"

static int n_bad;

static const float *floats(const struct model *m, const char *name)
{
    return model_tensor(m, name)->data;
}

/* [latents, hidden] */
static double *normed_latents(const struct model *m)
{
    const struct model_info *i = model_info(m);
    const float *x = floats(m, "pooler.latents.weight"), *g = floats(m, "pooler.context_norm.weight"), *b = floats(m, "pooler.context_norm.bias");
    double *out = malloc((size_t)i->n_latents * i->hidden * sizeof *out);
    for (size_t l = 0; out && l < i->n_latents; l++, x += i->hidden) {
        double mean = 0, var = 0;
        for (size_t j = 0; j < i->hidden; j++)
            mean += x[j] / (double)i->hidden;
        for (size_t j = 0; j < i->hidden; j++)
            var += (x[j] - mean) * (x[j] - mean) / (double)i->hidden;
        for (size_t j = 0; j < i->hidden; j++)
            out[l * i->hidden + j] = (x[j] - mean) / sqrt(var + i->layer_norm_eps) * g[j] + b[j];
    }
    return out;
}

/* Row `row` of Wkv against latent l. */
static double key_or_value(const struct model *m, const double *latents, size_t row, size_t l)
{
    const size_t d = model_info(m)->hidden;
    const float *w = floats(m, "pooler.attn_kv.weight") + row * d;
    double sum = 0;
    for (size_t j = 0; j < d; j++)
        sum += w[j] * latents[l * d + j];
    return sum;
}

static void check(const struct model *m, unsigned n_threads)
{
    const struct model_info *i = model_info(m);
    const size_t d = i->hidden, r = i->n_latents, e = i->latent_head_dim, inner = i->n_latent_heads * e, n = i->n_latent_heads * r;
    const float *wq = floats(m, "pooler.attn_q.weight"), *wo = floats(m, "pooler.attn_output.weight");
    const float *g = floats(m, "pooler.attn_norm.weight"), *bias = floats(m, "pooler.attn_norm.bias");
    double *latents = normed_latents(m), worst = 0;
    struct pooler_fold f;
    struct err_msg em = {""};
    if (!latents || pooler_fold(m, n_threads, &f, &em) < 0 || f.n_logits != n) {
        printf("FAIL %s\n", em.text);
        exit(1);
    }
    for (size_t logit = 0; logit < n; logit++) {
        const size_t h = logit / r, l = logit % r;
        double c = 0;
        for (size_t j = 0; j < d; j++) {
            double a = 0, b = 0;
            for (size_t k = 0; k < e; k++) {
                a += key_or_value(m, latents, h * e + k, l) * wq[(h * e + k) * d + j];
                b += key_or_value(m, latents, inner + h * e + k, l) * wo[j * inner + h * e + k];
            }
            c += a * bias[j] / sqrt((double)e);
            worst = fmax(worst, fabs(f.a[logit * d + j] - a * g[j] / sqrt((double)e)));
            worst = fmax(worst, fabs(f.b[j * n + logit] - b));
        }
        worst = fmax(worst, fabs(f.c[logit] - c));
    }
    printf("hidden %zu, %zu latents, %u heads of %zu, %u threads: largest difference %.3g\n", d, r, i->n_latent_heads, e, n_threads, worst);
    if (!(worst <= 1e-6)) { /* values are near 1; keys and values are rounded to f32, and so are results */
        printf("FAIL\n");
        n_bad++;
    }
    pooler_fold_finish(&f);
    free(latents);
}

int main(void)
{
    static const struct checkpoint_shape shapes[] = {
        {.hidden = 20, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 10, .ffn = 12, .vocab = 11, .positions = 8, .latents = 5,
         .latent_heads = 3, .latent_head_dim = 6, .type = TENSOR_F32, .seed = 6},
        {.hidden = 36, .layers = 1, .heads = 2, .kv_heads = 2, .head_dim = 18, .ffn = 12, .vocab = 11, .positions = 8, .latents = 19,
         .latent_heads = 1, .latent_head_dim = 3, .type = TENSOR_F32, .seed = 7},
        {.hidden = 64, .layers = 1, .heads = 2, .kv_heads = 2, .head_dim = 32, .ffn = 32, .vocab = 11, .positions = 8, .latents = 32,
         .latent_heads = 2, .latent_head_dim = 16, .type = TENSOR_F32, .seed = 8},
    };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        char dir[] = "/tmp/latentd-fold.XXXXXX", command[128];
        struct model *m = NULL;
        struct err_msg em = {""};
        if (!mkdtemp(dir) || checkpoint_make(dir, &shapes[s], NULL, &em) < 0) {
            printf("FAIL %s: %s\n", dir, em.text);
            return 1;
        }
        char *path = golden_import(dir, TENSOR_F32);
        if (model_open(&m, path, &em) < 0) {
            printf("FAIL %s\n", em.text);
            return 1;
        }
        for (unsigned n_threads = 1; n_threads <= 3; n_threads += 2)
            check(m, n_threads);
        model_destroy(&m);
        golden_remove(&path);
        snprintf(command, sizeof command, "rm -r %s", dir);
        n_bad += system(command) != 0;
    }
    return n_bad ? 1 : 0;
}
