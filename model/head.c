#include "model/head.h"

#include <math.h>
#include <stdlib.h>

struct head {
    uint32_t n, label, cols;
    double bias[2];
    float *rows; /* n × cols */
};

int head_create(struct head **out, const struct model *m, struct err_msg *em)
{
    const struct model_info *i = model_info(m);
    const struct tensor *w = model_tensor(m, "cls.output.weight"), *b = i->head_bias ? model_tensor(m, "cls.output.bias") : NULL;
    struct head *h = calloc(1, sizeof *h);
    float bias[2] = {0, 0};
    if (h)
        h->rows = calloc((size_t)i->n_labels * i->full_dim, sizeof *h->rows);
    if (!h || !h->rows) {
        head_destroy(&h);
        return err_set(em, LT_ENOMEM, "no memory for the reranker's head");
    }
    h->n = i->n_labels;
    h->label = i->label;
    h->cols = i->full_dim;
    if (b)
        tensor_row_f32(b, 0, bias);
    for (uint32_t r = 0; r < h->n; r++) {
        tensor_row_f32(w, r, h->rows + (size_t)r * h->cols);
        h->bias[r] = (double)bias[r];
    }
    *out = h;
    return 0;
}

void head_destroy(struct head **hp)
{
    struct head *h = hp ? *hp : NULL;
    if (!h)
        return;
    free(h->rows);
    free(h);
    *hp = NULL;
}

static double logit(const struct head *h, uint32_t row, const float *state)
{
    const float *w = h->rows + (size_t)row * h->cols;
    double sum = h->bias[row];
    for (uint32_t i = 0; i < h->cols; i++)
        sum += (double)w[i] * (double)state[i];
    return sum;
}

double head_score(const struct head *h, const float *state)
{
    const double yes = logit(h, h->label, state);
    return h->n == 1 ? yes : 1 / (1 + exp(logit(h, 1 - h->label, state) - yes));
}
