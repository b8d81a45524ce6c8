#include "daemon/tool_import.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/plural.h"
#include "base/refused.h"
#include "base/version.h"
#include "model/import.h"

static const char help[] =
    "Usage: latentd import DIR -o FILE.gguf [--type f32|f16|bf16|q8_0|q4_K]\n\n"
    "Turns a Hugging Face checkpoint folder (config.json, safetensors, tokenizer.json) into a model file.\n"
    "A folder without a tokenizer makes a model that serves token ids only.\n\n"
    "  -o, --output FILE  the model file; an existing one is replaced when all went well\n"
    "  -t, --type TYPE    how matrices are stored; default q8_0; q4_K keeps some in more bits\n"
    "  -q, --quiet        no progress\n"
    "      --progress     progress also where it is not a terminal\n"
    "      --help         print this and exit\n"
    "      --version      print the version and exit\n";

#define EVERY_S 0.2

struct progress {
    bool show;
    const char *stage;
    double started, shown; /* seconds */
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void on_progress(void *arg, const char *stage, double fraction, uint64_t bytes)
{
    struct progress *p = arg;
    const double now = seconds();
    if (!p->show || (stage == p->stage && now - p->shown < EVERY_S && fraction < 1))
        return;
    if (stage != p->stage)
        p->started = now;
    p->stage = stage;
    p->shown = now;
    const double took = now - p->started;
    fprintf(stderr, "\r%-14s %3d %%", stage, (int)(fraction * 100));
    if (took > 1 && fraction > 0) {
        const long left = (long)(took / fraction * (1 - fraction) + 0.5);
        if (!strcmp(stage, "tensors"))
            fprintf(stderr, ", %.0f MB/s", (double)bytes * fraction / took / 1e6);
        fprintf(stderr, ", %ld:%02ld left", left / 60, left % 60);
    }
    fputs("   ", stderr);
}

static int wrong(const char *what, const char *which)
{
    fprintf(stderr, "latentd import: %s%s\nTry latentd import --help.\n", what, which);
    return 2;
}

static void report_done(const char *out, const struct import_report *r)
{
    printf("%s: model %s, %.1f M weights in %u tensor%s, %.1f MB, %u golden vector%s\nfingerprint %s\n", out, r->name,
           (double)r->n_params / 1e6, r->n_tensors, plural(r->n_tensors), (double)r->len_bytes / 1e6, r->n_goldens, plural(r->n_goldens),
           r->fingerprint);
    if (r->n_f16)
        printf("%u matrices (%s …) are stored as f16, since their rows do not divide by their type's block\n", r->n_f16,
               r->first_f16);
    if (!r->has_tokenizer)
        puts("no tokenizer in the folder: the model serves token ids only");
}

int tool_import(int argc, char **argv)
{
    static const struct option opts[] = {
        {"output", required_argument, NULL, 'o'}, {"type", required_argument, NULL, 't'},
        {"quiet", no_argument, NULL, 'q'},        {"progress", no_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {0}};
    const char *out = NULL;
    struct progress progress = {.show = isatty(STDERR_FILENO)};
    struct import_params p = {.progress = on_progress, .progress_arg = &progress, .stop = &stop};
    struct import_report report = {0};
    struct err_msg em = {""};
    import_type("q8_0", &p.type);
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":o:t:qh", opts, NULL)) != -1;) {
        if (c == 'o')
            out = optarg;
        else if (c == 't' && import_type(optarg, &p.type) < 0)
            return wrong("the type must be f32, f16, bf16, q8_0 or q4_K, not ", optarg);
        else if (c == 'q' || c == 'p')
            progress.show = c == 'p';
        else if (c == 'h')
            return fputs(help, stdout) < 0;
        else if (c == 'V')
            return puts("latentd " LATENTD_VERSION) < 0;
        else if (c == ':')
            return wrong("a value is missing after ", refused_option(argv, opts));
        else if (c == '?')
            return wrong("unknown option ", refused_option(argv, opts));
    }
    if (optind + 1 != argc || !out)
        return wrong("one folder and -o FILE are needed", "");
    const struct sigaction on = {.sa_handler = on_signal};
    sigaction(SIGINT, &on, NULL);
    sigaction(SIGTERM, &on, NULL);
    int r = import_folder(argv[optind], out, &p, &report, &em);
    if (progress.show)
        fputc('\n', stderr);
    if (r < 0) {
        fprintf(stderr, "latentd import: %s\n", em.text[0] ? em.text : err_text(r));
        return 1;
    }
    report_done(out, &report);
    return 0;
}
