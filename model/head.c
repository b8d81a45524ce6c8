#include "model/head.h"

#include <math.h>
#include <stdlib.h>

struct head {
    uint32_t n, label, cols;
    double bias[2];
    float *rows;     /* n × cols; with a dense layer each times its norm's gain */
    float *dense;    /* cols × cols, or NULL */
    double total[2]; /* of a row: what its norm's mean is multiplied by */
    double eps;
};

static int load_dense(struct head *h, const struct model *m)
{
    const struct tensor *w = model_tensor(m, "cls.weight"), *norm = model_tensor(m, "cls.norm.weight");
    float *gain = calloc(h->cols, sizeof *gain);
    h->dense = calloc((size_t)h->cols * h->cols, sizeof *h->dense);
    h->eps = (double)model_info(m)->norm_eps;
    if (gain && h->dense) {
        tensor_row_f32(norm, 0, gain);
        for (uint32_t r = 0; r < h->cols; r++)
            tensor_row_f32(w, r, h->dense + (size_t)r * h->cols);
        for (uint32_t r = 0; r < h->n; r++) {
            for (uint32_t i = 0; i < h->cols; i++)
                h->total[r] += (double)(h->rows[(size_t)r * h->cols + i] *= gain[i]);
        }
    }
    free(gain);
    return gain && h->dense ? 0 : LT_ENOMEM;
}

int head_create(struct head **out, const struct model *m, struct err_msg *em)
{
    const struct model_info *i = model_info(m);
    const struct tensor *w = model_tensor(m, "cls.output.weight"), *b = i->head_bias ? model_tensor(m, "cls.output.bias") : NULL;
    struct head *h = calloc(1, sizeof *h);
    float bias[2] = {0, 0};
    if (h)
        h->rows = calloc((size_t)i->n_labels * i->full_dim, sizeof *h->rows);
    if (!h || !h->rows)
        goto no_memory;
    h->n = i->n_labels;
    h->label = i->label;
    h->cols = i->full_dim;
    if (b)
        tensor_row_f32(b, 0, bias);
    for (uint32_t r = 0; r < h->n; r++) {
        tensor_row_f32(w, r, h->rows + (size_t)r * h->cols);
        h->bias[r] = (double)bias[r];
    }
    if (i->head_dense && load_dense(h, m) < 0)
        goto no_memory;
    *out = h;
    return 0;
no_memory:
    head_destroy(&h);
    return err_set(em, LT_ENOMEM, "no memory for the reranker's head");
}

void head_destroy(struct head **hp)
{
    struct head *h = hp ? *hp : NULL;
    if (!h)
        return;
    free(h->rows);
    free(h->dense);
    free(h);
    *hp = NULL;
}

static double dot(const float *w, const float *x, uint32_t n)
{
    double sum[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (uint32_t j = 0; j < 4; j++)
            sum[j] += (double)w[i + j] * (double)x[i + j];
    for (; i < n; i++)
        sum[0] += (double)w[i] * (double)x[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* A row's product with (y - mean) / deviation · gain, y being what the dense layer and GELU make of the state, is found from sums over y alone:
 * the rows have the gain in them. */
static void logits(const struct head *h, const float *state, double out[2])
{
    double sum = 0, squares = 0;
    for (uint32_t r = 0; r < h->n; r++)
        out[r] = h->dense ? 0 : dot(h->rows + (size_t)r * h->cols, state, h->cols) + h->bias[r];
    if (!h->dense)
        return;
    for (uint32_t i = 0; i < h->cols; i++) {
        const double x = dot(h->dense + (size_t)i * h->cols, state, h->cols), y = 0.5 * x * (1 + erf(x / sqrt(2)));
        sum += y;
        squares += y * y;
        for (uint32_t r = 0; r < h->n; r++)
            out[r] += (double)h->rows[(size_t)r * h->cols + i] * y;
    }
    const double mean = sum / h->cols, variance = squares / h->cols - mean * mean;
    for (uint32_t r = 0; r < h->n; r++)
        out[r] = (out[r] - mean * h->total[r]) / sqrt((variance < 0 ? 0 : variance) + h->eps) + h->bias[r];
}

double head_score(const struct head *h, const float *state)
{
    double l[2] = {0, 0};
    logits(h, state, l);
    return h->n == 1 ? l[0] : 1 / (1 + exp(l[1 - h->label] - l[h->label]));
}
