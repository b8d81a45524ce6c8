/* A layer and a pooler's end in one batch: what a text gives alone and among others must be the same, bit for bit where
 * products are int8, within 1e-6 otherwise, 5e-4 and for quantised weights a cosine of 0.9999 where a GPU rounds what goes into
 * products; wrong shapes are refused; the batch is one submission and one readback. */
#include "model/conformance/conform.h"

#include <math.h>

enum { D = 256, HEADS = 8, FFN = 320, ROWS = 700 }; /* products wide enough for int8 */

struct layer {
    struct ops_mat *table, *qkv, *out, *up, *down;
    struct ops_vec *g, *freq;
    struct ops_buf *x, *norm, *wide, *att, *gate, *act, *pooled, *mean;
};

static struct ops_mat *matrix(struct conform *k, enum tensor_type type, uint64_t m, uint64_t d, bool table, void **keep)
{
    struct ops_mat *w = NULL;
    float *v = conform_fill(k, m * d, FILL_NORMAL);
    for (size_t i = 0; i < m * d && !table; i++)
        v[i] /= sqrtf((float)d); /* as trained weights: sizes stay about 1 from op to op */
    const size_t len = m * tensor_row_bytes(type, d);
    void *data = malloc(len);
    if (!data)
        exit(1);
    conform_encode(type, v, m * d, data);
    const struct tensor t = {"w", type, m, d, data, len}, *const parts[1] = {&t};
    int r = table ? k->o->v->table_create(k->o, &t, &w, NULL) : k->o->v->mat_create(k->o, parts, 1, &w, NULL);
    conform_ok(k, r, "mat_create");
    if (r)
        exit(1);
    if (keep)
        *keep = data;
    else
        free(data);
    free(v);
    return w;
}

static void record(struct conform *k, struct layer *l, uint32_t n, uint32_t n_pooled, uint32_t n_seqs)
{
    const struct ops_vtbl *v = k->o->v;
    const struct ops_attention a = {HEADS, HEADS, D / HEADS, false, 0.1f};
    int r = v->embed_rows(k->o, l->table, l->x);
    r |= v->rms_norm(k->o, l->x, l->g, 1e-5f, n, l->norm);
    r |= v->matmul(k->o, l->norm, l->qkv, NULL, NULL, n, l->wide);
    r |= v->rope(k->o, l->wide, l->freq, &a);
    r |= v->attention(k->o, l->wide, &a, l->att);
    r |= v->matmul(k->o, l->att, l->out, NULL, l->x, n, l->x);
    r |= v->rms_norm(k->o, l->x, l->g, 1e-5f, n, l->norm);
    r |= v->matmul(k->o, l->norm, l->up, NULL, NULL, n, l->gate);
    r |= v->swiglu(k->o, l->gate, n, FFN, l->act);
    r |= v->matmul(k->o, l->act, l->down, NULL, l->x, n, l->x);
    r |= v->gather_pooled(k->o, l->x, l->pooled);
    r |= v->softmax_groups(k->o, l->pooled, n_pooled, 4, D / 4);
    r |= v->mean_pool(k->o, l->pooled, l->mean);
    r |= v->l2_normalize(k->o, l->mean, n_seqs);
    conform_ok(k, r, "recording");
}

/* Texts of the given length, of which every one is then run alone; in brief some. */
static void one(struct conform *k, struct layer *l, enum tensor_type type, uint32_t n, uint32_t text, uint32_t skip)
{
    const bool rounds = type != TENSOR_F32 && k->o->info.rounding > 1e-6, quantised = (rounds || k->o->info.int8_blocks) && type == TENSOR_Q8_0;
    const double may = k->int8 ? 0 : quantised ? 2 : rounds ? 5e-4 : 1e-6;
    struct conform_batch b;
    float all[ROWS * D], alone[D];
    struct err_msg em = {""};
    conform_case(k, "batch %s n %u texts of %u skip %u%s", tensor_type_name(type), n, text, skip, k->int8 ? " int8" : "");
    conform_layout(k, &b, n, text, skip);
    const uint64_t submits = k->o->info.n_submits, reads = k->o->info.n_readbacks;
    conform_start(k, &b);
    record(k, l, n, b.n_pooled, b.n_seqs);
    conform_ok(k, k->o->v->end(k->o, l->mean, b.n_seqs, all, &em), "end");
    /* a GPU may divide a batch */
    if (k->o->info.n_submits == submits || k->o->info.n_readbacks != reads + 1)
        conform_fail(k, "no submission, or not one readback");
    for (uint32_t s = 0; s < b.n_seqs; s += k->brief && b.n_seqs > 10 ? b.n_seqs / 10 : 1) {
        const uint32_t offset[2] = {0, b.seq_offset[s + 1] - b.seq_offset[s]};
        const struct ops_batch single = {b.ids + b.seq_offset[s], offset[1], offset, 1, b.pool_skip + s};
        conform_ok(k, k->o->v->begin(k->o, &single, &em), "begin");
        record(k, l, offset[1], offset[1] - b.pool_skip[s], 1);
        conform_ok(k, k->o->v->end(k->o, l->mean, 1, alone, &em), "end");
        double cosine = 0;
        for (int i = 0; i < D; i++)
            cosine += (double)all[s * D + (uint32_t)i] * alone[i];
        if (!(cosine >= 0.9999))
            conform_fail(k, "text %u: cosine %.9g between alone and among others", s, cosine);
        for (int i = 0; i < D; i++) {
            const double d = fabs((double)all[s * D + (uint32_t)i] - alone[i]);
            if (!(d <= may))
                conform_fail(k, "text %u component %d: %.9g among others, %.9g alone", s, i, all[s * D + (uint32_t)i], alone[i]);
        }
    }
    conform_forget(&b);
}

static void refusals(struct conform *k, struct layer *l)
{
    const int32_t ids[4] = {0};
    const uint32_t skip[2] = {0}, good[3] = {0, 2, 4};
    conform_case(k, "batch: refusals");
    if (k->o->v->begin(k->o, &(struct ops_batch){ids, k->o->info.max_batch_tokens + 1, good, 2, skip}, NULL) != LT_ELIMIT)
        conform_fail(k, "a batch over the limit was taken");
    (void)l;
}

void check_batch(struct conform *k)
{
    static const enum tensor_type types[] = {TENSOR_Q8_0, TENSOR_F32, TENSOR_F16};
    const bool int8 = k->int8;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        void *rows = NULL;
        if (k->only_blocks && types[t] != TENSOR_Q8_0)
            continue;
        float freq[D / HEADS / 2], *ones = conform_fill(k, D, FILL_NORMAL);
        for (int i = 0; i < D / HEADS / 2; i++)
            freq[i] = (float)pow(10000, -(double)i / (D / HEADS / 2.0));
        const enum tensor_type type = types[t];
        conform_case(k, "batch: making a layer");
        struct layer l = {
            .table = matrix(k, type, 50, D, true, &rows),
            .qkv = matrix(k, type, 3 * D, D, false, NULL),
            .out = matrix(k, type, D, D, false, NULL),
            .up = matrix(k, type, 2 * FFN, D, false, NULL),
            .down = matrix(k, type, D, FFN, false, NULL),
            .g = conform_vec(k, ones, D),
            .freq = conform_vec(k, freq, D / HEADS / 2),
            .x = conform_buf(k, NULL, ROWS, D),
            .norm = conform_buf(k, NULL, ROWS, D),
            .wide = conform_buf(k, NULL, ROWS, 3 * D),
            .att = conform_buf(k, NULL, ROWS, D),
            .gate = conform_buf(k, NULL, ROWS, 2 * FFN),
            .act = conform_buf(k, NULL, ROWS, FFN),
            .pooled = conform_buf(k, NULL, ROWS, D),
            .mean = conform_buf(k, NULL, ROWS, D),
        };
        k->int8 = int8 && type == TENSOR_Q8_0;
        one(k, &l, type, 1, 1, 0);
        one(k, &l, type, 50, 7, 3);
        one(k, &l, type, 64, 64, 2);
        one(k, &l, type, k->brief ? 90 : 333, 40, 5);
        one(k, &l, type, k->brief ? 140 : 640, 128, 0);
        one(k, &l, type, k->brief ? 160 : 700, k->brief ? 150 : 600, 1);
        one(k, &l, type, k->brief ? 80 : 700, 1, 0);
        refusals(k, &l);
        struct ops_buf *bufs[] = {l.x, l.norm, l.wide, l.att, l.gate, l.act, l.pooled, l.mean};
        struct ops_mat *mats[] = {l.table, l.qkv, l.out, l.up, l.down};
        for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
            conform_drop(k, bufs[i]);
        for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
            k->o->v->mat_destroy(k->o, &mats[i]);
        conform_drop_vec(k, l.g);
        conform_drop_vec(k, l.freq);
        free(rows);
        free(ones);
    }
    k->int8 = int8;
}
