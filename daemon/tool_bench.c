#include "daemon/tool_bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/paths.h"
#include "base/refused.h"
#include "base/version.h"
#include "daemon/find_model.h"
#include "model/engine.h"
#include "model/model.h"
#include "model/ops.h"

#define TEXTS_MAX 4096
#define TOKENS_MAX 32768
#define ROUNDS_MAX 1000

static const char help[] =
    "Usage: latentd bench [--device D] [--model FILE] [--texts N] [--tokens N] [--rounds N] [--profile]\n\n"
    "Measures how long a model takes on a device, from token ids to vectors.\n\n"
    "  --device D    auto (default), cpu, vulkan, part of a device's name, a UUID\n"
    "  --model FILE  default: the model that latentd serves without arguments\n"
    "  --texts N     of a call; default 16\n"
    "  --tokens N    of a text; default 128\n"
    "  --rounds N    calls, after one that is not counted; default 7\n"
    "  --profile     on a Vulkan device: what each kernel takes in as many more calls, by the device's clock. Kernels\n"
    "                then run one at a time, so that the sum may be longer than a call above\n"
    "  --help        print this and exit\n"
    "  --version     print the version and exit\n";

struct bench {
    const char *device;
    char model[PATHS_MAX];
    uint32_t texts, tokens, rounds;
    bool profile;
};

struct rig {
    struct model *m;
    struct engine *e;
    struct engine_seq *seqs;
    int32_t *ids;
    float *out;
    int *status;
    double *ms;
};

static int wrong(const char *what, const char *which)
{
    fprintf(stderr, "latentd bench: %s%s\nTry latentd bench --help.\n", what, which);
    return 2;
}

static int fail(int code, const struct err_msg *em)
{
    fprintf(stderr, "latentd bench: %s\n", em->text[0] ? em->text : err_text(code));
    return 1;
}

static int compare_ms(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int compare_times(const void *a, const void *b)
{
    const struct ops_time *x = a, *y = b;
    return (x->ms < y->ms) - (x->ms > y->ms);
}

static void rig_finish(struct rig *g)
{
    engine_destroy(&g->e);
    model_destroy(&g->m);
    free(g->seqs);
    free(g->ids);
    free(g->out);
    free(g->status);
    free(g->ms);
}

static int rig_init(struct rig *g, const struct bench *b, struct err_msg *em)
{
    const struct engine_params p = {.device = b->device};
    uint32_t state = 1;
    int r;
    if ((r = model_open(&g->m, b->model, em)) < 0 || (r = engine_create(&g->e, g->m, &p, em)) < 0)
        return r;
    const struct model_info *i = model_info(g->m);
    g->seqs = calloc(b->texts, sizeof *g->seqs);
    g->ids = calloc((size_t)b->texts * b->tokens, sizeof *g->ids);
    g->out = calloc((size_t)b->texts * i->dim, sizeof *g->out);
    g->status = calloc(b->texts, sizeof *g->status);
    g->ms = calloc(b->rounds, sizeof *g->ms);
    if (!g->seqs || !g->ids || !g->out || !g->status || !g->ms)
        return err_set(em, LT_ENOMEM, "no memory for %u texts", b->texts);
    for (size_t k = 0; k < (size_t)b->texts * b->tokens; k++) {
        state = state * 1664525 + 1013904223;
        g->ids[k] = (int32_t)((uint64_t)state * i->vocab >> 32);
    }
    for (uint32_t t = 0; t < b->texts; t++)
        g->seqs[t] = (struct engine_seq){g->ids + (size_t)t * b->tokens, b->tokens, 0};
    return 0;
}

/* `rounds` calls; their times go to ms, which may be NULL. */
static int run(struct rig *g, const struct bench *b, uint32_t rounds, double *ms, struct err_msg *em)
{
    for (uint32_t i = 0; i < rounds; i++) {
        const uint64_t start = clock_ns();
        int r = engine_embed(g->e, g->seqs, b->texts, g->out, g->status, em);
        if (ms)
            ms[i] = (double)(clock_ns() - start) * 1e-6;
        for (uint32_t t = 0; r == 0 && t < b->texts; t++)
            r = g->status[t];
        if (r < 0)
            return r;
    }
    return 0;
}

static int run_profile(struct rig *g, const struct bench *b, struct err_msg *em)
{
    struct ops_time times[OPS_TIMES_MAX];
    double all = 0;
    int r = engine_profile_start(g->e, em);
    if (r < 0 || (r = run(g, b, b->rounds, NULL, em)) < 0)
        return r;
    const size_t n = engine_profile(g->e, times, OPS_TIMES_MAX);
    for (size_t i = 0; i < n; i++)
        all += times[i].ms;
    qsort(times, n, sizeof *times, compare_times);
    printf("\n  %-20s %9s %11s %7s %9s\n", "kernel", "runs", "ms a call", "share", "Gop/s");
    for (size_t i = 0; i < n; i++)
        printf("  %-20s %9.1f %11.3f %6.1f%% %9.1f\n", times[i].kernel, (double)times[i].n / b->rounds, times[i].ms / b->rounds,
               100 * times[i].ms / all, times[i].work / times[i].ms * 1e-6);
    printf("  %-20s %9s %11.3f\n", "all", "", all / b->rounds);
    return 0;
}

static int bench(const struct bench *b)
{
    struct rig g = {0};
    struct err_msg em = {""};
    int r = rig_init(&g, b, &em);
    if (r == 0 && (r = run(&g, b, 1, NULL, &em)) == 0)
        r = run(&g, b, b->rounds, g.ms, &em);
    if (r == 0) {
        qsort(g.ms, b->rounds, sizeof *g.ms, compare_ms);
        const double ms = g.ms[b->rounds / 2];
        printf("latentd " LATENTD_VERSION ", model %s (%s), %s (%s)\n", model_info(g.m)->name, model_info(g.m)->weight_type,
               engine_info(g.e)->device, engine_info(g.e)->kind);
        printf("%u texts of %u tokens: %.3f ms a call (median of %u), %.0f tokens/s\n", b->texts, b->tokens, ms, b->rounds,
               1e3 * b->texts * b->tokens / ms);
        fflush(stdout);
        if (b->profile)
            r = run_profile(&g, b, &em);
    }
    rig_finish(&g);
    return r < 0 ? fail(r, &em) : 0;
}

static bool number(const char *s, uint32_t max, uint32_t *out)
{
    char *end;
    const unsigned long v = strtoul(s, &end, 10);
    *out = (uint32_t)v;
    return s[0] >= '0' && s[0] <= '9' && !*end && v > 0 && v <= max;
}

int tool_bench(int argc, char **argv)
{
    static const struct option opts[] = {{"device", required_argument, NULL, 'd'}, {"model", required_argument, NULL, 'm'},
                                         {"texts", required_argument, NULL, 't'},  {"tokens", required_argument, NULL, 'k'},
                                         {"rounds", required_argument, NULL, 'r'}, {"profile", no_argument, NULL, 'p'},
                                         {"help", no_argument, NULL, 'h'},         {"version", no_argument, NULL, 'V'},
                                         {0}};
    struct bench b = {.texts = 16, .tokens = 128, .rounds = 7};
    struct err_msg em = {""};
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", opts, NULL)) != -1;) {
        if (c == 'd')
            b.device = optarg;
        else if (c == 'm' && snprintf(b.model, sizeof b.model, "%s", optarg) >= (int)sizeof b.model)
            return wrong("the path is too long: ", optarg);
        else if (c == 'm' && !b.model[0])
            return wrong("--model names no file", "");
        else if ((c == 't' && !number(optarg, TEXTS_MAX, &b.texts)) || (c == 'k' && !number(optarg, TOKENS_MAX, &b.tokens)) ||
                 (c == 'r' && !number(optarg, ROUNDS_MAX, &b.rounds)))
            return wrong("not a number in range: ", optarg);
        else if (c == 'p')
            b.profile = true;
        else if (c == 'h')
            return fputs(help, stdout) < 0;
        else if (c == 'V')
            return puts("latentd " LATENTD_VERSION) < 0;
        else if (c == ':')
            return wrong("a value is missing after ", refused_option(argv, opts));
        else if (c == '?')
            return wrong("unknown option ", refused_option(argv, opts));
    }
    if (optind != argc)
        return wrong("no arguments are taken, not ", argv[optind]);
    int r = b.model[0] ? 0 : find_model(b.model, sizeof b.model, &em);
    return r < 0 ? fail(r, &em) : bench(&b);
}
