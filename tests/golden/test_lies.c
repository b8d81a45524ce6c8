/* A device that lies about what it is and can do: golden_lies DEVICE, under the layer VK_LAYER_LATENTD_lies (tests/tools/layer_lies.c).
 *
 * Each case is a process of its own with one lie, from the model's load to two batches of the golden texts. Right are: the golden
 * vectors, from the device or, once it is lost for good, from the CPU; or a refusal of the load, the batch or a text in plain words: what is
 * needed and free where memory is short. Whoever goes beyond what the layer told is ended by it, which is wrong as any other end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu/gpu.h"
#include "model/model.h"
#include "tests/golden/golden.h"

#define TEXTS_MAX 64
#define CALLS_MAX 2000
#define MUCH "12582912" /* of memory, for all layers */
#define LITTLE "6291456" /* for none */

enum outcome { WRONG = 1, SERVED, RECOVERED, MOVED, REFUSED, N_OUTCOMES };

static const char *const outcome_names[N_OUTCOMES] = {"?", "wrong", "served", "served after a loss", "served by the CPU", "refused"};
static struct golden g;
static const char *device, *file;
static char cache[] = "/tmp/latentd-lies-XXXXXX";

static double in_kib(double v, const char *unit)
{
    return strcmp(unit, "MiB") == 0 ? v * 1024 : v;
}

/* The words after the last colon: more is needed than there is, or the driver refused what it said it had. */
static bool short_of(const char *text)
{
    double need, there;
    char need_unit[4], unit[4];
    const char *words = strrchr(text, ':'), *rest = strrchr(text, ',');
    if (!words || !rest || (sscanf(words, ": %lf %3s of device memory needed", &need, need_unit) != 2 &&
                            sscanf(words, ": a buffer of %lf %3s needed", &need, need_unit) != 2))
        return false;
    if (sscanf(rest, ", %lf %3s of", &there, unit) != 2 && sscanf(rest, ", at most %lf %3s are allowed", &there, unit) != 2)
        return false;
    return strstr(text, "refused by the driver") || in_kib(need, need_unit) > in_kib(there, unit);
}

static bool said_why(int r, const struct err_msg *em)
{
    if (strstr(em->text, "VK_ERROR_OUT_OF_HOST_MEMORY"))
        return r == LT_ENOMEM;
    if (r == LT_ENOMEM || strstr(em->text, "a buffer of"))
        return short_of(em->text);
    return (r == LT_ELIMIT || r == LT_EDEVICELOST) && em->text[0];
}

static enum outcome embed(struct engine *e)
{
    struct engine_seq seqs[TEXTS_MAX];
    int status[TEXTS_MAX];
    struct err_msg em = {{0}};
    const size_t n = g.n_cases < TEXTS_MAX ? g.n_cases : TEXTS_MAX;
    enum outcome o = SERVED;
    float *out = calloc(n * g.dim, sizeof *out);
    for (size_t i = 0; i < n; i++)
        seqs[i] = (struct engine_seq){g.cases[i].ids, g.cases[i].n, g.cases[i].n_skip};
    int r = out ? engine_embed(e, seqs, n, out, status, &em) : LT_EINTERNAL;
    if (r < 0)
        o = r == LT_ENOMEM && said_why(r, &em) ? REFUSED : WRONG;
    for (size_t i = 0; r == 0 && i < n; i++) {
        const double diff = status[i] ? 0 : golden_max_diff(out + i * g.dim, g.cases[i].vec, g.dim);
        if (status[i] == LT_ETOOLONG)
            o = REFUSED;
        else if (status[i] || diff > 5e-6) {
            printf("FAIL %s: status %d, off by %.3g\n", g.cases[i].name, status[i], diff);
            o = WRONG;
            break;
        }
    }
    if (r < 0)
        printf("     a batch: %s: %s\n", err_name(r), em.text);
    free(out);
    return o;
}

static enum outcome run_child(void)
{
    struct err_msg em = {{0}};
    struct model *m = NULL;
    struct engine *e = NULL;
    struct engine_params p = {.device = device, .n_threads = 2, .cache_dir = cache};
    enum outcome o = WRONG, again;
    if (model_open(&m, file, &em) < 0) {
        printf("FAIL %s\n", em.text);
        return WRONG;
    }
    const int r = engine_create(&e, m, &p, &em);
    if (r < 0) {
        printf("     %s: %s\n", err_name(r), em.text);
        o = said_why(r, &em) ? REFUSED : WRONG;
    } else {
        o = embed(e);
        again = embed(e);
        if (again != SERVED)
            o = again;
        const struct engine_info *i = engine_info(e);
        const bool cpu = strcmp(i->kind, "cpu") == 0;
        if (!cpu && !strstr(i->device, "(lies)")) {
            printf("FAIL no layer is there: %s\n", i->device);
            o = WRONG;
        }
        if (cpu && o == SERVED)
            o = i->note[0] ? MOVED : WRONG;
        else if (o == SERVED && i->n_lost)
            o = RECOVERED;
        if (i->note[0])
            printf("     %s\n", i->note);
    }
    engine_destroy(&e);
    model_destroy(&m);
    if (gpu_validation_messages()) {
        printf("FAIL messages of the validation layers\n");
        o = WRONG;
    }
    fflush(stdout);
    return o;
}

/* A device that is lost while others take its memory, or give it back: how many layers are streamed is told anew. */
static enum outcome run_streaming(const char *before, const char *after)
{
    struct err_msg em = {{0}};
    struct model *m = NULL;
    struct engine *e = NULL;
    /* batches as small as can be, so that only layers can make room */
    const struct engine_params p = {.device = device, .n_threads = 2, .cache_dir = cache, .max_batch_tokens = 1};
    setenv("LIE_BUDGET", before, 1);
    if (model_open(&m, file, &em) < 0 || engine_create(&e, m, &p, &em) < 0) {
        printf("FAIL %s\n", em.text);
        return WRONG;
    }
    const struct engine_info *i = engine_info(e);
    const uint32_t n_before = i->n_streamed;
    setenv("LIE_BUDGET", after, 1);
    setenv("LIE_LOST_NOW", "1", 1);
    enum outcome o = embed(e);
    const char *said = strstr(i->note, "layers do not fit");
    const uint32_t n_told = said ? (uint32_t)strtoul(i->note, NULL, 10) : 0;
    printf("LIE_BUDGET=%s, lost, then %s: %u layers streamed, then %u on %s, \"%s\"\n", before, after, n_before, i->n_streamed, i->kind, i->note);
    if (i->n_lost != 1 || strcmp(i->kind, "vulkan") || n_before == i->n_streamed || n_told != i->n_streamed ||
        (said && strstr(said + 1, "layers do not fit")))
        o = WRONG;
    engine_destroy(&e);
    model_destroy(&m);
    fflush(stdout);
    return o;
}

static int check_streaming(const char *before, const char *after)
{
    int status = 0;
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0)
        _exit(run_streaming(before, after));
    const bool good = pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == SERVED;
    if (!good)
        printf("FAIL LIE_BUDGET=%s, then %s: %d\n", before, after, status);
    return !good;
}

/* lie: "NAME=VALUE NAME=VALUE" */
static enum outcome run_case(const char *lie)
{
    int status = 0;
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        char *all = strdup(lie), *at = NULL;
        for (char *s = strtok_r(all, " ", &at); s; s = strtok_r(NULL, " ", &at))
            putenv(s); /* all stays */
        _exit(run_child());
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return WRONG;
    if (!WIFEXITED(status) || WEXITSTATUS(status) < WRONG || WEXITSTATUS(status) >= N_OUTCOMES) {
        printf("FAIL %s: the process ended with %d\n", lie, status);
        return WRONG;
    }
    return (enum outcome)WEXITSTATUS(status);
}

/* One lie; anything but what is wanted is bad, REFUSED wanted: either that or SERVED. */
static int check(const char *lie, enum outcome wanted)
{
    const enum outcome o = run_case(lie);
    printf("%s: %s\n", *lie ? lie : "no lie", outcome_names[o]);
    return !(o == wanted || (wanted == REFUSED && o == SERVED));
}

/* The same lie about one call after the other, ever fewer of them, until it is beyond the last, where all is as without. */
static int check_each(const char *name, int step, enum outcome wanted)
{
    unsigned n[N_OUTCOMES] = {0};
    int bad = 0, i = 1;
    for (; i < CALLS_MAX && !n[SERVED]; i += step + i / 4) {
        char lie[64];
        snprintf(lie, sizeof lie, "%s=%d", name, i);
        const enum outcome o = run_case(lie);
        n[o]++;
        if (o != wanted && o != REFUSED && o != SERVED) {
            printf("FAIL %s: %s\n", lie, outcome_names[o]);
            bad++;
        }
    }
    printf("%s up to %d:", name, i);
    for (int o = WRONG; o < N_OUTCOMES; o++)
        printf(" %u %s%s", n[o], outcome_names[o], o + 1 < N_OUTCOMES ? "," : "\n");
    return bad + !n[wanted] + !n[SERVED];
}

int main(int argc, char **argv)
{
    char folder[4096], path[4200];
    int bad = 0;
    if (argc != 2 || !mkdtemp(cache))
        return 2;
    device = argv[1];
    const bool slow = strstr(device, "swiftshader");
    const int step = slow ? 16 : golden_brief(device) ? 3 : 5; /* fewer texts are fewer submissions */
    snprintf(folder, sizeof folder, "%s", golden_tree("tests/golden/tiny-f16"));
    golden_load(&g, folder);
    if (golden_brief(device))
        golden_drop_long(&g, 17, 2);
    char *imported = golden_import(folder, TENSOR_F32);
    file = imported;
    bad += check("", SERVED);
    bad += check("LIE_RANGE=1048576", SERVED);
    bad += check("LIE_RANGE=65536", REFUSED);
    bad += check("LIE_ALLOCATION=1048576", REFUSED);
    bad += check("LIE_HEAP=20971520", SERVED);
    bad += check("LIE_HEAP=4194304", REFUSED);
    bad += check("LIE_HEAP=262144", REFUSED);
    bad += check("LIE_BUDGET=12582912", SERVED);
    bad += check("LIE_FULL=4194304", REFUSED);
    bad += check("LIE_RANGE=1048576 LIE_ALLOCATION=4194304 LIE_HEAP=20971520", REFUSED);
    bad += check_each("LIE_FAIL", slow ? 16 : 5, REFUSED);
    bad += check_each("LIE_LOST", step, RECOVERED);
    bad += check_each("LIE_LOST_FROM", step, MOVED);
    bad += check_each("LIE_WAIT", step, RECOVERED);
    bad += check_each("LIE_CALL", slow ? 100 : 40, REFUSED);
    bad += check_streaming(MUCH, LITTLE);
    bad += check_streaming(LITTLE, MUCH);
    golden_remove(&imported);
    golden_free(&g);
    snprintf(path, sizeof path, "rm -r %s", cache);
    if (system(path) != 0)
        bad++;
    return bad != 0;
}
