/* Rerankers as llama.cpp's converter writes them, against what `transformers` made of the same weights (tests/tools/make_rerankers.py):
 * golden_rerankers ref | cpu | vulkan-driver part of a name.
 *
 * Token ids are llama.cpp's, of the prompt that the file's template gives. P(yes): within 1e-5 with f32 weights, by the reference and by a device; with Q8_0
 * within 0.05 (llama.cpp's own differs by 0.02: these weights are random, nothing in them is redundant), and documents in the same order where
 * they are 0.1 apart. A logit with F16 weights: within 2e-2, an encoder's 1e-2. The neighbours of a prompt in its batch change nothing, within
 * 5e-6 with f32 weights. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "gpu/gpu.h"
#include "model/engine.h"
#include "model/head.h"
#include "model/model.h"
#include "model/rank.h"
#include "model/ref/ref_forward.h"
#include "tests/golden/golden.h"

static const struct fixture {
    const char *name;
    double limit, apart; /* of a score; documents that far from each other keep their order */
    uint32_t n_labels;
    bool encoder; /* with a layer and a bias in its head */
} fixtures[] = {{"qwen3-f32", 1e-5, 1e-3, 2, false}, {"qwen3-q8_0", 0.05, 0.1, 2, false}, {"one-label", 2e-2, 0.1, 1, false},
                {"modernbert-mean", 1e-2, 0.1, 1, true}, {"modernbert-cls", 1e-2, 0.1, 1, true}};

#define PAIRS_MAX 32

static int n_bad;

static void expect(bool good, const char *name, const char *what, size_t i, double got)
{
    if (!good) {
        printf("FAIL %s: pair %zu: %s: %.9g\n", name, i, what, got);
        n_bad++;
    }
}

static void die(const char *what, const char *why)
{
    printf("FAIL %s: %s\n", what, why);
    exit(1);
}

struct reranker {
    const struct fixture *f;
    json_t *root;
    struct model *m;
    size_t n;
    struct text_tokens tokens[PAIRS_MAX];
    struct engine_seq seqs[PAIRS_MAX];
    size_t query[PAIRS_MAX];
    double want[PAIRS_MAX];
};

/* Encodes one pair and compares its ids. */
static void take(struct reranker *r, const char *query, size_t number, const json_t *document)
{
    const size_t i = r->n++;
    struct err_msg em = {{0}};
    const struct rank_rules rules = rank_rules_of(r->m);
    const char *text = json_string_value(json_object_get(document, "text"));
    const json_t *ids = json_object_get(document, "ids");
    const struct rank_input in = {.query = query, .query_len = strlen(query), .text = text, .len = strlen(text)};
    if (r->n > PAIRS_MAX || rank_encode(&rules, &in, &r->tokens[i], &em) < 0)
        die(r->f->name, em.text);
    bool same = r->tokens[i].n == json_array_size(ids);
    for (size_t k = 0; same && k < r->tokens[i].n; k++)
        same = r->tokens[i].ids[k] == json_integer_value(json_array_get(ids, k));
    expect(same, r->f->name, "token ids", i, r->tokens[i].n);
    r->seqs[i] = (struct engine_seq){r->tokens[i].ids, r->tokens[i].n, r->tokens[i].n_skip};
    r->query[i] = number;
    r->want[i] = json_number_value(json_object_get(document, "score"));
}

static void open_reranker(struct reranker *r, const struct fixture *f)
{
    char path[4096];
    json_error_t why;
    struct err_msg em = {{0}};
    const char *src = getenv("LATENTD_SRC");
    size_t c, d;
    json_t *one, *document;
    *r = (struct reranker){.f = f};
    snprintf(path, sizeof path, "%s/tests/golden/rerankers/%s.json", src ? src : ".", f->name);
    if (!(r->root = json_load_file(path, 0, &why)))
        die(path, why.text);
    snprintf(path, sizeof path, "%s/tests/golden/rerankers/%s.gguf", src ? src : ".", f->name);
    if (model_open(&r->m, path, &em) < 0)
        die(f->name, em.text);
    const struct model_info *i = model_info(r->m);
    expect(i->ranks && i->dim == 1 && i->n_labels == f->n_labels && i->label == 0, f->name, "what it is", 0, i->n_labels);
    expect(i->head_bias == f->encoder && i->head_dense == f->encoder && i->causal != f->encoder, f->name, "what its head has", 0, i->head_dense);
    expect(!strcmp(i->rank_template, json_string_value(json_object_get(r->root, "template"))), f->name, "template", 0, 0);
    json_array_foreach(json_object_get(r->root, "cases"), c, one)
        json_array_foreach(json_object_get(one, "documents"), d, document)
            take(r, json_string_value(json_object_get(one, "query")), c, document);
    if (r->n < 2)
        die(f->name, "no cases");
}

static void close_reranker(struct reranker *r)
{
    for (size_t i = 0; i < r->n; i++)
        text_tokens_finish(&r->tokens[i]);
    json_decref(r->root);
    model_destroy(&r->m);
}

static void check_scores(const struct reranker *r, const char *who, const double *got)
{
    double worst = 0;
    for (size_t i = 0; i < r->n; i++) {
        const double diff = fabs(got[i] - r->want[i]);
        worst = isfinite(diff) ? fmax(worst, diff) : INFINITY;
        expect(diff <= r->f->limit, r->f->name, "score against transformers", i, got[i]);
        for (size_t k = 0; k < r->n; k++)
            if (r->query[k] == r->query[i] && r->want[i] - r->want[k] > r->f->apart)
                expect(got[i] > got[k], r->f->name, "order", i, got[i] - got[k]);
    }
    printf("%s, %s: %zu pairs within %.3g\n", r->f->name, who, r->n, worst);
}

/* The state that the head sees. */
struct pooled {
    float *state;
    enum model_pooling pooling;
};

static void see(void *arg, const char *stage, const double *x, size_t n_rows, size_t cols)
{
    struct pooled *p = arg;
    const size_t first = p->pooling == MODEL_POOL_LAST ? n_rows - 1 : 0, end = p->pooling == MODEL_POOL_CLS ? 1 : n_rows;
    for (size_t i = 0; !strcmp(stage, "hidden") && i < cols; i++) {
        double sum = 0;
        for (size_t t = first; t < end; t++)
            sum += x[t * cols + i];
        p->state[i] = (float)(sum / (double)(end - first));
    }
}

static void check_reference(const struct fixture *f)
{
    struct reranker r;
    struct head *h = NULL;
    struct err_msg em = {{0}};
    double got[PAIRS_MAX];
    open_reranker(&r, f);
    const uint32_t dim = model_golden_dim(model_info(r.m));
    struct pooled l = {calloc(dim, sizeof(float)), model_info(r.m)->pooling};
    double *unit = calloc(dim, sizeof *unit);
    const struct ref_probe probe = {.fn = see, .arg = &l};
    if (!l.state || !unit || head_create(&h, r.m, &em) < 0)
        die(f->name, "no memory");
    for (size_t i = 0; i < r.n; i++) {
        if (ref_forward(r.m, &r.seqs[i], 1, &probe, unit, &em) < 0)
            die(f->name, em.text);
        got[i] = head_score(h, l.state);
        expect(fabs(got[i] - r.want[i]) <= 1e-5, f->name, "reference against transformers", i, got[i]);
    }
    check_scores(&r, "reference", got);
    l.state[0] = NAN;
    expect(!isfinite(head_score(h, l.state)), f->name, "a state that is no number", 0, 0);
    head_destroy(&h);
    free(l.state);
    free(unit);
    close_reranker(&r);
}

static void check_device(const struct fixture *f, const char *device)
{
    struct reranker r;
    struct engine *e = NULL;
    struct err_msg em = {{0}};
    struct engine_params p = {.device = device, .n_threads = 2};
    float one, all[PAIRS_MAX];
    double got[PAIRS_MAX];
    int status[PAIRS_MAX];
    open_reranker(&r, f);
    if (golden_engine(&e, r.m, &p, &em) < 0 || engine_embed(e, r.seqs, r.n, all, status, &em) < 0)
        die(f->name, em.text);
    expect(engine_info(e)->planned_bytes > 10000, f->name, "planned memory", 0, (double)engine_info(e)->planned_bytes);
    const double alike = f->limit > 1e-3 ? f->limit / 10 : 5e-6;
    for (size_t i = 0; i < r.n; i++) {
        expect(status[i] == 0, f->name, "status", i, status[i]);
        got[i] = (double)all[i];
        if (engine_embed(e, &r.seqs[i], 1, &one, &status[i], &em) < 0)
            die(f->name, em.text);
        expect(status[i] == 0 && fabs((double)one - got[i]) <= alike, f->name, "neighbours in the batch", i, (double)one - got[i]);
    }
    check_scores(&r, engine_info(e)->device, got);
    engine_destroy(&e);
    close_reranker(&r);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "ref";
    if (strcmp(device, "ref"))
        golden_need_way(device);
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        if (!strcmp(device, "ref"))
            check_reference(&fixtures[i]);
        else
            check_device(&fixtures[i], device);
    }
    if (gpu_validation_messages())
        expect(false, device, "messages of the validation layers", 0, (double)gpu_validation_messages());
    return n_bad != 0;
}
