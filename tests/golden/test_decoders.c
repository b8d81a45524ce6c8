/* Decoder families as other programs' files have them, against what `transformers` and llama.cpp made of the same weights
 * (tests/tools/make_decoders.py): golden_decoders ref | cpu | vulkan-driver part of a name.
 *
 * Token ids are llama.cpp's. Vectors: the plain reference within 1e-5 (it takes exact angles, transformers f32 ones), a device
 * within 5e-6 of the reference with f32 weights, 2e-3 with f16. The neighbours of a text in its batch change nothing, the
 * mask, the pooling and the size can be overruled. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "gpu/gpu.h"
#include "model/engine.h"
#include "model/model.h"
#include "model/ref/ref_forward.h"
#include "model/text.h"
#include "tests/golden/golden.h"

static const char *const families[] = {"mistral",        "llama",    "qwen2",   "qwen3",  "gemma3",
                                       "embeddinggemma", "eurobert", "qwen3vl", "gemma2", "modernbert"};

static int n_bad;

static void expect(bool good, const char *family, const char *what, size_t i, double got)
{
    if (!good) {
        printf("FAIL %s: text %zu: %s: %.9g\n", family, i, what, got);
        n_bad++;
    }
}

static double max_diff(const double *a, const double *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = isfinite(a[i]) ? fmax(most, fabs(a[i] - b[i])) : INFINITY;
    return most;
}

static void die(const char *what, const char *why)
{
    printf("FAIL %s: %s\n", what, why);
    exit(1);
}

struct family {
    const char *name;
    json_t *root, *cases;
    struct model *m;
    size_t n, dim;
    struct text_tokens *tokens;
    double *want; /* n × dim each */
    double *ref;
};

static void open_family(struct family *f, const char *name, const struct model_params *p)
{
    char path[4096];
    json_error_t why;
    struct err_msg em = {{0}};
    const char *src = getenv("LATENTD_SRC");
    *f = (struct family){.name = name};
    snprintf(path, sizeof path, "%s/tests/golden/decoders/%s.json", src ? src : ".", name);
    if (!(f->root = json_load_file(path, 0, &why)))
        die(path, why.text);
    snprintf(path, sizeof path, "%s/tests/golden/decoders/%s.gguf", src ? src : ".", name);
    if (model_open_as(&f->m, path, p, &em) < 0)
        die(name, em.text);
    f->cases = json_object_get(f->root, "cases");
    f->n = json_array_size(f->cases);
    f->dim = model_info(f->m)->dim;
    f->tokens = calloc(f->n, sizeof *f->tokens);
    f->want = calloc(2 * f->n * f->dim, sizeof *f->want);
    if (!f->n || !f->tokens || !f->want)
        die(name, "no cases");
    f->ref = f->want + f->n * f->dim;
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 0; k < f->dim; k++)
            f->want[i * f->dim + k] =
                json_number_value(json_array_get(json_object_get(json_array_get(f->cases, i), "vector"), k));
}

static void close_family(struct family *f)
{
    for (size_t i = 0; i < f->n; i++)
        text_tokens_finish(&f->tokens[i]);
    free(f->tokens);
    free(f->want);
    json_decref(f->root);
    model_destroy(&f->m);
}

/* Tokens of every case, compared with llama.cpp's. */
static void tokenise(struct family *f)
{
    struct err_msg em = {{0}};
    for (size_t i = 0; i < f->n; i++) {
        const json_t *c = json_array_get(f->cases, i), *ids = json_object_get(c, "ids");
        const char *text = json_string_value(json_object_get(c, "text"));
        struct text_input in = {.text = text, .len = strlen(text), .query = true, .instruct = ""}; /* as it is */
        if (text_encode(f->m, &in, &f->tokens[i], &em) < 0)
            die(f->name, em.text);
        bool same = f->tokens[i].n == json_array_size(ids);
        for (size_t k = 0; same && k < f->tokens[i].n; k++)
            same = f->tokens[i].ids[k] == json_integer_value(json_array_get(ids, k));
        expect(same, f->name, "token ids", i, f->tokens[i].n);
    }
}

static struct engine_seq seq_of(const struct family *f, size_t i)
{
    return (struct engine_seq){f->tokens[i].ids, f->tokens[i].n, f->tokens[i].n_skip};
}

static void reference(struct family *f)
{
    struct err_msg em = {{0}};
    for (size_t i = 0; i < f->n; i++) {
        struct engine_seq s = seq_of(f, i);
        if (ref_forward(f->m, &s, 1, NULL, f->ref + i * f->dim, &em) < 0)
            die(f->name, em.text);
    }
}

/* What a model that is known by name has around a passage, as llama.cpp tokenises the whole. */
static void check_passage(const struct family *f)
{
    const json_t *c = json_object_get(f->root, "passage"), *ids = json_object_get(c, "ids");
    const char *text = json_string_value(json_object_get(c, "text"));
    struct text_tokens t = {0};
    struct err_msg em = {{0}};
    if (!text)
        return;
    if (text_encode(f->m, &(struct text_input){.text = text, .len = strlen(text)}, &t, &em) < 0)
        die(f->name, em.text);
    bool same = t.n == json_array_size(ids);
    for (size_t k = 0; same && k < t.n; k++)
        same = t.ids[k] == json_integer_value(json_array_get(ids, k));
    expect(same, f->name, "token ids of a passage", 0, t.n);
    text_tokens_finish(&t);
}

static void check_reference(const char *name)
{
    struct family f;
    open_family(&f, name, NULL);
    const struct model_info *info = model_info(f.m);
    expect(info->causal == json_is_true(json_object_get(f.root, "causal")), name, "mask", 0, info->causal);
    tokenise(&f);
    check_passage(&f);
    reference(&f);
    for (size_t i = 0; i < f.n; i++) {
        double diff = max_diff(f.ref + i * f.dim, f.want + i * f.dim, f.dim);
        expect(diff <= 1e-5, name, "reference against transformers", i, diff);
    }
    printf("%s: reference within %.3g\n", name, max_diff(f.ref, f.want, f.n * f.dim));
    close_family(&f);
}

/* Under the mask that the model was not made with, where transformers can do that (Gemma 3, whose window changes with it). */
static void check_foreign(const char *name)
{
    struct family f, plain;
    open_family(&plain, name, NULL);
    const bool causal = model_info(plain.m)->causal;
    open_family(&f, name, &(struct model_params){.mask = causal ? MODEL_MASK_FULL : MODEL_MASK_CAUSAL});
    const size_t n = json_array_size(json_object_get(json_array_get(f.cases, 0), "foreign"));
    expect((n != 0) == (!strcmp(name, "gemma3") || !strcmp(name, "embeddinggemma")), name, "vectors under the other mask", 0, (double)n);
    tokenise(&f);
    reference(&f);
    for (size_t i = 0; n && i < f.n; i++) {
        const json_t *v = json_object_get(json_array_get(f.cases, i), "foreign");
        for (size_t k = 0; k < f.dim; k++)
            f.want[k] = json_number_value(json_array_get(v, k));
        double diff = max_diff(f.ref + i * f.dim, f.want, f.dim);
        expect(diff <= 1e-5, name, "reference against transformers, other mask", i, diff);
    }
    close_family(&f);
    close_family(&plain);
}

/* All texts alone, then together; against the reference under the same params. */
static void check_device(const char *device, const char *name, const struct model_params *p)
{
    struct family f;
    struct engine *e = NULL;
    struct err_msg em = {{0}};
    struct engine_params ep = {.device = device, .n_threads = 2};
    open_family(&f, name, p);
    tokenise(&f);
    reference(&f);
    if (golden_engine(&e, f.m, &ep, &em) < 0)
        die(name, em.text);
    float *one = calloc(f.dim, sizeof *one), *all = calloc(f.n * f.dim, sizeof *all);
    struct engine_seq *seqs = calloc(f.n, sizeof *seqs);
    int *status = calloc(f.n, sizeof *status);
    double *got = calloc(2 * f.dim, sizeof *got), worst = 0;
    const double limit = !strcmp(model_info(f.m)->weight_type, "f32") ? 5e-6 : 2e-3;
    for (size_t i = 0; i < f.n; i++)
        seqs[i] = seq_of(&f, i);
    if (engine_embed(e, seqs, f.n, all, status, &em) < 0)
        die(name, em.text);
    for (size_t i = 0; i < f.n; i++) {
        expect(status[i] == 0, name, "status", i, status[i]);
        if (engine_embed(e, &seqs[i], 1, one, &status[i], &em) < 0)
            die(name, em.text);
        for (size_t k = 0; k < f.dim; k++) {
            got[k] = one[k];
            got[f.dim + k] = all[i * f.dim + k];
        }
        double diff = max_diff(got, f.ref + i * f.dim, f.dim);
        worst = fmax(worst, diff);
        expect(diff <= limit, name, "device against reference", i, diff);
        expect(max_diff(got, got + f.dim, f.dim) <= (limit > 1e-4 ? 5e-4 : 1e-6), name, "neighbours in the batch", i,
               max_diff(got, got + f.dim, f.dim));
    }
    printf("%s on %s: within %.3g of the reference\n", name, engine_info(e)->device, worst);
    free(one);
    free(all);
    free(seqs);
    free(status);
    free(got);
    engine_destroy(&e);
    close_family(&f);
}

/* Another mask, another pooling or another size gives another vector, and what the model lacks is refused. */
static void check_params(const char *name)
{
    struct family plain, other;
    open_family(&plain, name, NULL);
    const bool causal = model_info(plain.m)->causal;
    const struct model_params changed[] = {
        {.mask = causal ? MODEL_MASK_FULL : MODEL_MASK_CAUSAL},
        {.pooling = model_info(plain.m)->pooling == MODEL_POOL_LAST ? "cls" : "last"},
    };
    tokenise(&plain);
    reference(&plain);
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        open_family(&other, name, &changed[i]);
        tokenise(&other);
        reference(&other);
        double diff = max_diff(plain.ref, other.ref, plain.dim);
        expect(diff > 1e-3, name, "overruled, but the same vector", i, diff);
        expect(strcmp(model_info(plain.m)->fingerprint, model_info(other.m)->fingerprint) != 0, name,
               "overruled, but the same fingerprint", i, 0);
        close_family(&other);
    }
    open_family(&other, name, &(struct model_params){.dim = 8});
    tokenise(&other);
    reference(&other);
    double dot = 0, whole = 0;
    for (size_t k = 0; k < 8; k++) {
        dot += other.ref[k] * plain.ref[k];
        whole += plain.ref[k] * plain.ref[k];
    }
    expect(other.dim == 8 && fabs(dot / sqrt(whole) - 1) < 1e-9, name, "the first eight values", 0, dot / sqrt(whole));
    close_family(&other);
    static const struct model_params wrong[] = {{.pooling = "latent"}, {.pooling = "max"}, {.dim = 100000}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char path[4096];
        struct model *m = NULL;
        struct err_msg em = {{0}};
        const char *src = getenv("LATENTD_SRC");
        snprintf(path, sizeof path, "%s/tests/golden/decoders/%s.gguf", src ? src : ".", name);
        int r = model_open_as(&m, path, &wrong[i], &em);
        expect(r == LT_EINVAL && em.text[0], name, "what it lacks is refused", i, r);
        model_destroy(&m);
    }
    close_family(&plain);
}

/* Overruled. In brief: not as the model is anyhow, and the size once for each pooling, and with linear layers after it; on SwiftShader, which
 * compiles every kernel anew, of masks and poolings that are not a file's own the first family's only. */
static void check_overruled(const char *device, const char *name)
{
    static unsigned seen;
    const struct model_params cut = {.dim = 8}, last = {.mask = MODEL_MASK_FULL, .pooling = "last"};
    struct family f;
    open_family(&f, name, NULL);
    const struct model_info *info = model_info(f.m);
    const bool brief = golden_brief(device), same = !info->causal && info->pooling == MODEL_POOL_LAST;
    const unsigned kind = 1u << (2 * info->pooling + (info->dense[0] != 0));
    close_family(&f);
    if (!brief || (!same && !(seen && strstr(device, "swiftshader"))))
        check_device(device, name, &last);
    if (!brief || !(seen & kind))
        check_device(device, name, &cut);
    seen |= kind;
}

/* In brief the second driver is given those alone that have all kernels among them. */
static bool is_left_out(const char *device, const char *family)
{
    static const char *const some[] = {"llama", "embeddinggemma", "gemma2", "modernbert"};
    size_t i = 0;
    if (!strstr(device, "swiftshader") || !golden_brief(device))
        return false;
    while (i < sizeof some / sizeof *some && strcmp(some[i], family))
        i++;
    return i == sizeof some / sizeof *some;
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "ref";
    if (strcmp(device, "ref"))
        golden_need_way(device);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (is_left_out(device, families[i]))
            continue;
        if (!strcmp(device, "ref")) {
            check_reference(families[i]);
            check_params(families[i]);
            check_foreign(families[i]);
            continue;
        }
        check_device(device, families[i], NULL);
        check_overruled(device, families[i]);
    }
    if (gpu_validation_messages())
        expect(false, device, "messages of the validation layers", 0, (double)gpu_validation_messages());
    return n_bad != 0;
}
