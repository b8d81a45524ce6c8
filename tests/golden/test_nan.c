/* NaN, infinity and vectors of no length are caught on the device that made them: golden_nan cpu | vulkan-driver part of a name.
 *
 * A decoder's file with three rows of its token table spoilt: NaN, infinity, all zeros. Texts with such a token fail with
 * LT_ENAN and leave zeros; their neighbours in the batch keep the vectors that the sound file gives. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "gpu/gpu.h"
#include "model/golden.h"
#include "model/model.h"
#include "tests/golden/golden.h"

enum { SPOILT = 3, SOUND = 3, N_TEXTS = 8 };

static void die(const char *what, const char *why)
{
    printf("FAIL %s: %s\n", what, why);
    exit(1);
}

/* Tokens that the self-test does not use: SPOILT of them, then SOUND. */
static void choose_tokens(const struct model *m, int32_t *tokens)
{
    struct golden_set own = {0};
    struct err_msg em = {{0}};
    const uint32_t vocab = model_info(m)->vocab;
    bool *used = calloc(vocab, sizeof *used);
    if (!used || golden_get(&own, m, NULL, NULL, NULL, &em) < 0)
        die("golden vectors", em.text);
    for (size_t g = 0; g < own.n; g++)
        for (uint32_t i = 0; i < own.golden[g].n; i++)
            used[own.golden[g].ids[i]] = true;
    int n = 0;
    for (uint32_t id = 0; id < vocab && n < SPOILT + SOUND; id++)
        if (!used[id])
            tokens[n++] = (int32_t)id;
    if (n < SPOILT + SOUND)
        die("golden vectors", "they use nearly every token");
    golden_finish(&own);
    free(used);
}

/* Writes a copy of the file with the first tokens' rows spoilt. */
static void spoil(const char *path, const struct model *m, const int32_t *tokens, char *to)
{
    const struct tensor *t = model_tensor(m, "token_embd.weight");
    const float value[SPOILT] = {NAN, INFINITY, 0};
    struct err_msg em = {{0}};
    char *file;
    size_t len;
    if (!t || t->type != TENSOR_F32)
        die(path, "its token table is not f32");
    if (file_read(path, 1 << 24, &file, &len, &em) < 0)
        die(path, em.text);
    char *at = memmem(file, len, t->data, t->len_bytes);
    if (!at)
        die(path, "its token table is not in the file");
    for (int i = 0; i < SPOILT; i++)
        for (uint64_t c = 0; c < t->cols; c++)
            memcpy(at + ((uint64_t)tokens[i] * t->cols + c) * sizeof *value, &value[i], sizeof *value);
    const int fd = mkstemps(to, 5);
    if (fd < 0 || write(fd, file, len) != (ssize_t)len || close(fd) < 0)
        die(to, "cannot be written");
    free(file);
}

static void embed(const struct model *m, const char *device, const struct engine_seq *seqs, size_t n, float *out, int *status)
{
    struct engine *e;
    struct err_msg em = {{0}};
    if (golden_engine(&e, m, &(struct engine_params){.device = device, .n_threads = 2}, &em) < 0 ||
        engine_embed(e, seqs, n, out, status, &em) < 0)
        die(device, em.text);
    printf("%s\n", engine_info(e)->device);
    engine_destroy(&e);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    char path[4096], spoilt[] = "/tmp/latentd-nan.XXXXXX.gguf";
    int32_t t[SPOILT + SOUND];
    struct model *m, *bad;
    struct err_msg em = {{0}};
    int status[N_TEXTS], sound_status[N_TEXTS], n_bad = 0;
    snprintf(path, sizeof path, "%s", golden_tree("tests/golden/decoders/mistral.gguf"));
    if (model_open(&m, path, &em) < 0)
        die(path, em.text);
    choose_tokens(m, t);
    spoil(path, m, t, spoilt);
    if (model_open(&bad, spoilt, &em) < 0)
        die(spoilt, em.text);
    const int32_t a = t[SPOILT], b = t[SPOILT + 1], c = t[SPOILT + 2];
    const int32_t texts[N_TEXTS][4] = {{a, b, c, a}, {a, t[0], b, c}, {b, b, a, c}, {t[1], a, b, c}, {c, a},
                                       {t[2]},       {t[0]},          {b, c, t[1]}};
    const uint32_t len[N_TEXTS] = {4, 4, 4, 4, 2, 1, 1, 3};
    const bool fails[N_TEXTS] = {false, true, false, true, false, true, true, true};
    const size_t dim = model_info(m)->dim;
    struct engine_seq seqs[N_TEXTS];
    for (int i = 0; i < N_TEXTS; i++)
        seqs[i] = (struct engine_seq){texts[i], len[i], 0};
    float *want = calloc(N_TEXTS * dim, sizeof *want), *got = calloc(N_TEXTS * dim, sizeof *got);
    if (!want || !got)
        die("vectors", "no memory");
    embed(m, device, seqs, N_TEXTS, want, sound_status);
    embed(bad, device, seqs, N_TEXTS, got, status);
    for (int i = 0; i < N_TEXTS; i++) {
        double sum = 0;
        for (size_t k = 0; k < dim; k++)
            sum += fabs((double)got[(size_t)i * dim + k]);
        const double diff = golden_max_diff(got + (size_t)i * dim, want + (size_t)i * dim, (uint32_t)dim);
        const bool good = sound_status[i] == 0 && (fails[i] ? status[i] == LT_ENAN && sum == 0 : status[i] == 0 && diff <= 1e-6);
        if (!good)
            printf("FAIL text %d: status %d, sum %g, difference %g\n", i, status[i], sum, diff);
        n_bad += !good;
    }
    if (gpu_validation_messages())
        die(device, "messages of the validation layers");
    free(want);
    free(got);
    model_destroy(&bad);
    model_destroy(&m);
    unlink(spoilt);
    return n_bad != 0;
}
