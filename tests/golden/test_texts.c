/* From text to vector: golden_texts DEVICE. tests/golden/texts.jsonl has 129 texts of many kinds (tests/tools/make_texts.py) with the ids and the
 * float64 vectors that the default model's checkpoint gives for them in another implementation.
 *
 * The model that ships and the checkpoint imported anew (where it is there) have to give the same ids, and vectors within these limits: f32 5e-6
 * and f16 2e-3 in each component; q8_0 cosine 0.999 for the best 100 and 0.996 for all. The 8 bits of this model's token vectors cost more than its
 * layers do: those of digits and punctuation have one component of 10 beside others of 0.03, which vanish in its block.
 * 36 of the texts are queries for one of the others each: of their nDCG@10 among all texts that are no queries, 8 bits may not lose more than
 * LOSS_MAX against the float64 vectors, and f32 and f16 nothing. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "gpu/gpu.h"
#include "model/engine.h"
#include "model/model.h"
#include "model/text.h"
#include "tests/golden/golden.h"

#define TEXTS_MIN 100 /* so many have to meet q8_0's limit, too */
#define TEXTS_MAX 256
#define DIM 384
#define TOP 10
/* One of 36 queries whose answer goes from the first place to the third, or two from the first to the second. */
#define LOSS_MAX 0.021

struct text {
    json_t *json;
    struct text_input in;
    int32_t *ids; /* expected */
    uint32_t n, n_skip;
    int relevant; /* of a query; -1: none */
    float want[DIM], got[DIM];
};

static struct text texts[TEXTS_MAX];
static size_t n_texts;
static int n_bad;

static void die(const char *what, const char *detail)
{
    printf("FAIL %s: %s\n", what, detail);
    exit(1);
}

static void fill(struct text *t)
{
    const json_t *ids = json_object_get(t->json, "ids"), *text = json_object_get(t->json, "text"), *title = json_object_get(t->json, "title"),
                 *relevant = json_object_get(t->json, "relevant");
    const char *vector = json_string_value(json_object_get(t->json, "embedding"));
    size_t len = 0;
    t->in = (struct text_input){.text = json_string_value(text), .len = json_string_length(text), .title = json_string_value(title),
                                .title_len = json_string_length(title), .query = json_is_true(json_object_get(t->json, "query")),
                                .instruct = json_string_value(json_object_get(t->json, "instruct")),
                                .truncate = json_is_true(json_object_get(t->json, "cut"))};
    t->n = (uint32_t)json_array_size(ids);
    t->n_skip = (uint32_t)json_integer_value(json_object_get(t->json, "instruction_len"));
    t->relevant = relevant ? (int)json_integer_value(relevant) : -1;
    t->ids = calloc(t->n + 1, sizeof *t->ids);
    if (!t->ids || !text || !t->n || !vector ||
        sodium_base642bin((uint8_t *)t->want, sizeof t->want, vector, strlen(vector), NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL) ||
        len != sizeof t->want)
        die("texts.jsonl", "not as expected");
    for (uint32_t i = 0; i < t->n; i++)
        t->ids[i] = (int32_t)json_integer_value(json_array_get(ids, i));
}

static void load(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    if (!f)
        die(path, "cannot be opened");
    while (getline(&line, &cap, f) > 0) {
        if (n_texts == TEXTS_MAX || !(texts[n_texts].json = json_loads(line, 0, NULL)))
            die(path, "too many texts, or not JSON");
        fill(&texts[n_texts++]);
    }
    free(line);
    fclose(f);
    if (n_texts < TEXTS_MIN)
        die(path, "too few texts");
}

/* A query's share of nDCG@10 where it has one answer: by the answer's place among all texts that are no queries. */
static double gain(const struct text *query, bool got)
{
    const struct text *answer = &texts[query->relevant];
    const double own = got ? golden_cosine(query->got, answer->got, DIM) : golden_cosine(query->want, answer->want, DIM);
    int before = 0;
    for (size_t i = 0; i < n_texts; i++)
        if (!texts[i].in.query && &texts[i] != answer)
            before += (got ? golden_cosine(query->got, texts[i].got, DIM) : golden_cosine(query->want, texts[i].want, DIM)) > own;
    return before < TOP ? 1 / log2(before + 2) : 0;
}

static double ndcg(bool got)
{
    double sum = 0;
    int n = 0;
    for (size_t i = 0; i < n_texts; i++) {
        if (texts[i].relevant < 0)
            continue;
        sum += gain(&texts[i], got);
        n++;
    }
    return sum / n;
}

static void embed_all(const struct model *m, struct engine *e)
{
    struct text_tokens tokens = {0};
    struct err_msg em = {""};
    for (size_t i = 0; i < n_texts; i++) {
        struct text *t = &texts[i];
        int status = text_encode(m, &t->in, &tokens, &em);
        if (status < 0)
            die(t->in.text, em.text);
        if (tokens.n != t->n || tokens.n_skip != t->n_skip || memcmp(tokens.ids, t->ids, t->n * sizeof *t->ids)) {
            printf("FAIL text %zu, %.40s: other ids, or another pool\n", i, t->in.text);
            n_bad++;
        }
        const struct engine_seq seq = {tokens.ids, tokens.n, tokens.n_skip};
        if (engine_embed(e, &seq, 1, t->got, &status, &em) < 0 || status < 0)
            die(t->in.text, em.text[0] ? em.text : err_text(status));
    }
    text_tokens_finish(&tokens);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void check(const char *device, const char *path, enum tensor_type type)
{
    const struct engine_params p = {.device = device, .n_threads = 2};
    struct model *m = NULL;
    struct engine *e = NULL;
    struct err_msg em = {""};
    double worst = 0, cosine[TEXTS_MAX];
    if (model_open(&m, path, &em) < 0 || golden_engine(&e, m, &p, &em) < 0)
        die(path, em.text);
    if (model_info(m)->dim != DIM)
        die(path, "another dimension");
    embed_all(m, e);
    for (size_t i = 0; i < n_texts; i++) {
        const double diff = golden_max_diff(texts[i].got, texts[i].want, DIM);
        cosine[i] = golden_cosine(texts[i].got, texts[i].want, DIM);
        worst = fmax(worst, diff);
        if (!(type == TENSOR_F32 ? diff <= 5e-6 : type == TENSOR_F16 ? diff <= 2e-3 : cosine[i] >= 0.996)) {
            printf("FAIL text %zu, %.40s: difference %.3g, cosine %.6f\n", i, texts[i].in.text, diff, cosine[i]);
            n_bad++;
        }
    }
    qsort(cosine, n_texts, sizeof *cosine, by_size);
    const double original = ndcg(false), ours = ndcg(true);
    printf("%s, %s: %zu texts, largest difference %.3g, cosines: smallest %.6f, median %.6f, of the best %d %.6f; nDCG@10 %.4f, in float64 %.4f\n",
           engine_info(e)->device, tensor_type_name(type), n_texts, worst, cosine[n_texts - 1], cosine[n_texts / 2], TEXTS_MIN,
           cosine[TEXTS_MIN - 1], ours, original);
    if (!(cosine[TEXTS_MIN - 1] >= 0.999) || !(original > 0.8) || ours < original - (type == TENSOR_Q8_0 ? LOSS_MAX : 0)) {
        printf("FAIL cosine of the best %d, or nDCG@10\n", TEXTS_MIN);
        n_bad++;
    }
    engine_destroy(&e);
    model_destroy(&m);
}

int main(int argc, char **argv)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_Q8_0};
    const char *device = argc > 1 ? argv[1] : "cpu", *path;
    char dir[4096];
    golden_need_way(device);
    if (!(path = golden_tree("tests/golden/texts.jsonl")))
        die("texts.jsonl", "not there");
    load(path);
    if (!(path = golden_tree("models/latent-mini-q8_0.gguf")))
        die("the default model", "not there");
    check(device, path, TENSOR_Q8_0);
    if (!(path = golden_shared("models/latent-mini"))) {
        printf("latent-mini's checkpoint is not here, left out\n");
    } else {
        snprintf(dir, sizeof dir, "%s", path);
        /* On a software driver one is enough, since the ways of a type are other tests' matter. */
        for (size_t i = 0; i < (strcmp(device, "cpu") ? 1 : sizeof types / sizeof *types); i++) {
            char *file = golden_import(dir, types[i]);
            check(device, file, types[i]);
            golden_remove(&file);
        }
    }
    for (size_t i = 0; i < n_texts; i++) {
        free(texts[i].ids);
        json_decref(texts[i].json);
    }
    if (gpu_validation_messages()) {
        printf("FAIL %u messages of the validation layers\n", (unsigned)gpu_validation_messages());
        n_bad++;
    }
    return n_bad ? 1 : 0;
}
