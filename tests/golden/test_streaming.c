/* A device with less memory than the model wants: golden_streaming DEVICE [small]. With layers streamed the vectors are those of the engine that
 * holds them all, and so are those of texts longer than a submission; and no more is taken than was allowed, as soon as one layer has a place.
 * Within a bound on the machine's memory likewise.
 * small: a device that has 20 MiB and bindings of 1.5 MiB (fault point gpu_small) gives what the CPU gives. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/gpu.h"
#include "model/engine.h"
#include "model/model.h"
#include "tests/golden/golden.h"
#include "tests/tools/checkpoint_maker.h"

enum { N = 6, ROWS = 64, LONGEST = 130 };

static uint32_t n_layers = 5, longest = LONGEST;

static int n_bad;

static void expect(bool good, const char *what, double got)
{
    if (!good) {
        printf("FAIL %s: %g\n", what, got);
        n_bad++;
    }
}

static void embed(const struct model *m, const char *device, uint32_t rows, uint64_t memory, const struct engine_seq *seqs,
                  float *out, struct engine_info *info, uint64_t *n_submits)
{
    struct engine *e = NULL;
    struct err_msg em = {{0}};
    struct engine_params p = {.device = device, .n_threads = 2, .max_batch_tokens = rows, .memory_bytes = memory};
    int status[N], one;
    if (golden_engine(&e, m, &p, &em) < 0) {
        printf("FAIL %s\n", em.text);
        exit(1);
    }
    if (engine_embed(e, seqs, N, out, status, &em) < 0)
        expect(false, em.text, 0);
    for (int i = 0; i < N; i++)
        expect(status[i] == 0, err_name(status[i]), i);
    const uint64_t before = engine_info(e)->n_submits, read = engine_info(e)->n_readbacks;
    float *v = malloc(model_info(m)->dim * sizeof *v);
    if (!v || engine_embed(e, seqs, 1, v, &one, &em) < 0)
        expect(false, em.text, 0);
    free(v);
    *info = *engine_info(e);
    *n_submits = info->n_submits - before;
    expect(info->n_readbacks == read + 1, "readbacks of a batch", (double)(info->n_readbacks - read));
    engine_destroy(&e);
}

/* The same, by any params. */
static void bounded(const struct model *m, const struct engine_params *p, const struct engine_seq *seqs, float *out, struct engine_info *info)
{
    struct engine *e = NULL;
    struct err_msg em = {{0}};
    int status[N];
    if (golden_engine(&e, m, p, &em) < 0 || engine_embed(e, seqs, N, out, status, &em) < 0) {
        printf("FAIL %s\n", em.text);
        exit(1);
    }
    for (int i = 0; i < N; i++)
        expect(status[i] == 0, err_name(status[i]), i);
    *info = *engine_info(e);
    engine_destroy(&e);
}

static void check(const struct model *m, const char *device, const struct engine_seq *seqs)
{
    const size_t dim = model_info(m)->dim;
    float *want = calloc(N * dim, sizeof *want), *got = calloc(N * dim, sizeof *got);
    struct engine_info info;
    uint64_t submits;
    if (!want || !got)
        exit(1);
    embed(m, device, 1024, 0, seqs, want, &info, &submits);
    expect(info.n_streamed == 0 && !info.note[0], "streamed layers of a device with room", info.n_streamed);
    /* a slow GPU may divide a batch further */
    const bool exact = strcmp(device, "cpu") == 0;
    expect(exact ? submits == 1 : submits >= 1, "submissions of a batch", (double)submits);
    /* none fits; all do; and the middle between too little and enough, until a part of them streams */
    uint64_t low = 1, high = 1ull << (golden_brief(device) ? 23 : 27), memory = low;
    for (int step = 0; step < 32; step++, memory = step == 1 ? high : low + (high - low) / 2) {
        double worst = 0;
        embed(m, device, ROWS, memory, seqs, got, &info, &submits);
        for (int s = 0; s < N; s++)
            worst = fmax(worst, golden_max_diff(got + s * dim, want + s * dim, (uint32_t)dim));
        printf("%s, %s: %llu bytes: %u of %u layers streamed, largest change %.3g\n", info.device,
               model_info(m)->weight_type, (unsigned long long)memory, info.n_streamed, n_layers, worst);
        expect(worst <= (model_info(m)->quantised ? 1e-3 : 1e-6), "streaming changes vectors", worst);
        expect(exact ? submits == 1u + info.n_streamed : submits >= 1u + info.n_streamed, "submissions of a batch",
               (double)submits);
        expect(!strstr(info.note, "streamed") == !info.n_streamed, info.note, info.n_streamed);
        expect(info.n_streamed == n_layers || info.allocated_bytes <= memory, "bytes allocated, more than told", (double)info.allocated_bytes);
        if (step < 2)
            expect(info.n_streamed == (step ? 0 : n_layers), "streamed layers with memory for none, or all", info.n_streamed);
        else if (info.n_streamed > 0 && info.n_streamed < n_layers)
            break;
        *(info.n_streamed ? &low : &high) = memory;
    }
    const uint32_t streamed = info.n_streamed;
    /* the engine chooses smaller batches before it streams */
    embed(m, device, 0, 48 << 20, seqs, got, &info, &submits);
    printf("%s: batches of %u tokens in 48 MiB, of which %llu bytes are allocated\n", info.device, info.batch_tokens,
           (unsigned long long)info.allocated_bytes);
    expect(info.allocated_bytes <= 48 << 20, "bytes allocated of 48 MiB", (double)info.allocated_bytes);
    expect(info.n_streamed == 0 && info.batch_tokens >= 512 && info.batch_tokens < 8192, "tokens of a batch in 48 MiB", info.batch_tokens);
    expect(streamed > 0 && streamed < n_layers, "at some size a part of the layers streams", streamed);
    free(want);
    free(got);
}

/* In the machine's memory: less than the least is refused, or taken all the same where the caller wants to go on; what is told to be taken at
 * most is within the bound, and another model gets its share. */
static void check_host(const struct model *m, const char *device, const struct engine_seq *seqs)
{
    const size_t dim = model_info(m)->dim;
    float *want = calloc(N * dim, sizeof *want), *got = calloc(N * dim, sizeof *got);
    struct err_msg em = {""};
    uint64_t least = 0, told = 0;
    struct engine *e = NULL;
    struct engine_info info, all;
    struct engine_params p = {.device = device, .n_threads = 2};
    if (!want || !got)
        exit(1);
    expect(engine_least(m, &p, &least, &em) == 0 && least > 1 << 20, "the least", (double)least);
    /* where a device has less memory, less is made by the way (gpu/tuning.h), so its least is a little less then */
    const uint64_t slack = strcmp(device, "cpu") ? least / 16 : 0;
    p.host_bytes = least - slack - 1;
    p.least_bytes = &told;
    expect(engine_create(&e, m, &p, &em) == LT_ENOMEM && strstr(em.text, "machine's memory"), em.text, 0);
    expect(told <= least && told >= least - slack, "the least that is told by a refusal", (double)told);
    bounded(m, &(struct engine_params){.device = device, .n_threads = 2, .host_bytes = 1ull << 30}, seqs, want, &all);
    expect(all.host_shared && !all.n_streamed && all.max_batch_tokens >= longest, "layers streamed with room for all", all.n_streamed);
    const struct engine_params bounds[] = {{.host_bytes = least}, {.host_bytes = 1, .host_anyway = true}, {.host_bytes = 4 * least},
                                           {.host_bytes = 4 * least, .memory_share = 0.25}};
    uint64_t taken[4];
    for (int i = 0; i < 4; i++) {
        double worst = 0;
        p = bounds[i];
        p.device = device;
        p.n_threads = 2;
        bounded(m, &p, seqs, got, &info);
        for (int s = 0; s < N; s++)
            worst = fmax(worst, golden_max_diff(got + s * dim, want + s * dim, (uint32_t)dim));
        expect(worst <= (model_info(m)->quantised ? 1e-3 : 1e-6), "a bound changes vectors", worst);
        taken[i] = info.host_bytes;
        printf("%s, %s: %llu bytes of %llu, the least is %llu\n", info.device, model_info(m)->weight_type, (unsigned long long)taken[i],
               (unsigned long long)p.host_bytes, (unsigned long long)least);
        expect(taken[i] > least / 2 && taken[i] <= (p.host_bytes > least ? p.host_bytes : least), "bytes taken at most", (double)taken[i]);
        expect(info.unseen_bytes == 0, "bytes that the kernel does not see, of a software device", (double)info.unseen_bytes);
    }
    expect(taken[0] >= taken[1] && taken[3] < taken[2] && taken[3] <= least + 3 * least / 4, "a share's bytes", (double)taken[3]);
    free(want);
    free(got);
}

/* The limits and heaps that a device says it has are obeyed, from the choice of the batch's size to the split of matrices. */
static void check_small(const struct model *m, const char *device, const struct engine_seq *seqs)
{
    const size_t dim = model_info(m)->dim;
    float *want = calloc(N * dim, sizeof *want), *got = calloc(N * dim, sizeof *got);
    struct engine_info info;
    uint64_t submits;
    double worst = 0;
    if (!want || !got)
        exit(1);
    embed(m, "cpu", 0, 0, seqs, want, &info, &submits);
    embed(m, device, 0, 0, seqs, got, &info, &submits);
    for (int s = 0; s < N; s++)
        worst = fmax(worst, golden_max_diff(got + s * dim, want + s * dim, (uint32_t)dim));
    printf("%s, %s: %u of %u layers streamed, batches of %u tokens, %.3g from the CPU\n", info.device, model_info(m)->weight_type,
           info.n_streamed, n_layers, info.batch_tokens, worst);
    expect(info.n_streamed > 0 && info.n_streamed < n_layers, "layers streamed by a device of 20 MiB", info.n_streamed);
    expect(info.batch_tokens <= (3 << 19) / (4 * 2048), "tokens of a batch, whose widest rows lie in 1.5 MiB", info.batch_tokens);
    expect(worst <= 1e-5, "from the CPU", worst);
    free(want);
    free(got);
}

int main(int argc, char **argv)
{
    struct checkpoint_shape shape = {.hidden = 256, .heads = 4, .kv_heads = 4, .ffn = 512, .vocab = 256, .latents = 32, .latent_heads = 1,
                                     .latent_head_dim = 64, .type = TENSOR_F16, .seed = 3};
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_Q4_K, TENSOR_Q8_0};
    uint32_t n[N] = {5, 60, LONGEST, 1, 90, 33};
    static const uint32_t skip[N] = {0, 10, 3, 0, 0, 32};
    static int32_t ids[N][LONGEST];
    const char *device = argc >= 2 ? argv[1] : "cpu";
    const bool small = argc == 3;
    char dir[] = "/tmp/latentd-streaming.XXXXXX", command[128];
    struct engine_seq seqs[N];
    struct err_msg em;
    uint32_t state = 5;
    golden_need_way(device);
    if (golden_brief(device) && !small) { /* the longest is longer than a submission, here too, and two layers of three stream */
        n_layers = 4;
        shape.hidden = 128;
        shape.ffn = 256;
        n[1] = 30;
        n[2] = longest = 70;
        n[4] = 20;
    }
    shape.layers = n_layers;
    shape.positions = longest;
    for (int s = 0; s < N; s++) {
        for (uint32_t i = 0; i < n[s]; i++)
            ids[s][i] = (int32_t)((state = state * 1664525 + 1013904223) >> 24);
        seqs[s] = (struct engine_seq){ids[s], n[s], skip[s]};
    }
    if (!mkdtemp(dir) || checkpoint_make(dir, &shape, NULL, &em) < 0) {
        printf("FAIL %s: %s\n", dir, em.text);
        return 1;
    }
    for (size_t t = strcmp(device, "cpu") && !small ? 2 : 0; t < sizeof types / sizeof *types; t++) { /* software drivers are slow */
        struct model *m = NULL;
        char *path = golden_import(dir, types[t]);
        if (model_open(&m, path, &em) < 0) {
            printf("FAIL %s\n", em.text);
            return 1;
        }
        (small ? check_small : check)(m, device, seqs);
        if (!small)
            check_host(m, device, seqs);
        model_destroy(&m);
        golden_remove(&path);
        if (small)
            break;
    }
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command))
        n_bad++;
    if (gpu_validation_messages())
        expect(false, "messages of the validation layers", (double)gpu_validation_messages());
    return n_bad ? 1 : 0;
}
