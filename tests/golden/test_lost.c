/* A device that is lost, and one that runs out of memory: golden_lost vulkan-driver part of a name.
 *
 * Each case is a process of its own with the fault point gpu_submit armed at its k-th pass, for every k from the model's
 * load to the end of a batch. Lost once, the device is opened again and the batch comes out right. Lost for good, the
 * CPU takes over, says so, and the vectors are right; where that happens during the load, a device asked for by name is
 * refused.
 *
 * Likewise with gpu_alloc: an allocation that fails while the model is loaded is an error that says so; one for a batch costs that
 * batch, or its long text, and the next one is right; where not even the usual batches fit, the CPU takes over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu/gpu.h"
#include "model/model.h"
#include "tests/golden/golden.h"

#define PASSES_MAX 400
#define TEXTS_MAX 64

/* What the child has to tell. */
enum outcome { WRONG = 1, NOT_LOST, SERVED, MOVED, REFUSED };

static struct golden g;
static const char *device, *file;
static char cache[] = "/tmp/latentd-lost-XXXXXX";

/* lacks: NULL, or set when the batch fails with LT_ENOMEM or a text with LT_ETOOLONG, which is right then. */
static bool batch_is_right(struct engine *e, bool *lacks)
{
    struct engine_seq seqs[TEXTS_MAX];
    int status[TEXTS_MAX];
    struct err_msg em = {{0}};
    const size_t n = g.n_cases < TEXTS_MAX ? g.n_cases : TEXTS_MAX;
    float *out = calloc(n * g.dim, sizeof *out);
    for (size_t i = 0; i < n; i++)
        seqs[i] = (struct engine_seq){g.cases[i].ids, g.cases[i].n, g.cases[i].n_skip};
    int r = out ? engine_embed(e, seqs, n, out, status, &em) : LT_EINTERNAL;
    if (lacks && r == LT_ENOMEM) {
        free(out);
        *lacks = true;
        return em.text[0] != 0;
    }
    if (r < 0)
        printf("FAIL %s: %s\n", err_name(r), em.text);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (lacks && status[i] == LT_ETOOLONG) {
            *lacks = true;
            continue;
        }
        const double diff = golden_max_diff(out + i * g.dim, g.cases[i].vec, g.dim);
        if (status[i] < 0 || diff > 5e-6) {
            printf("FAIL %s: status %d, off by %.3g\n", g.cases[i].name, status[i], diff);
            r = LT_EINTERNAL;
        }
    }
    free(out);
    return r == 0;
}

static enum outcome run_child(void)
{
    struct err_msg em = {{0}};
    struct model *m;
    struct engine *e = NULL;
    struct engine_params p = {.device = device, .n_threads = 2, .cache_dir = cache};
    if (model_open(&m, file, &em) < 0) {
        printf("FAIL %s\n", em.text);
        return WRONG;
    }
    int r = engine_create(&e, m, &p, &em);
    enum outcome o = WRONG;
    if (r == LT_EDEVICELOST) {
        o = REFUSED;
    } else if (r < 0) {
        printf("FAIL engine_create: %s\n", em.text);
    } else if (batch_is_right(e, NULL) && batch_is_right(e, NULL)) {
        const struct engine_info *i = engine_info(e);
        if (strcmp(i->kind, "cpu") == 0)
            o = strstr(i->note, "lost") && i->n_lost >= 1 ? MOVED : WRONG;
        else
            o = i->n_lost == 0 ? NOT_LOST : i->n_lost == 1 && !i->note[0] ? SERVED : WRONG;
        if (o == WRONG)
            printf("FAIL on %s, lost %u times, note '%s'\n", i->kind, i->n_lost, i->note);
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

/* Submissions of few tokens, so that a long text needs memory of its own. */
static enum outcome run_short_of_memory(void)
{
    struct err_msg em = {{0}};
    struct model *m;
    struct engine *e = NULL;
    struct engine_params p = {.device = device, .n_threads = 2, .cache_dir = cache, .max_batch_tokens = 16};
    if (model_open(&m, file, &em) < 0)
        return WRONG;
    enum outcome o = WRONG;
    bool lacks = false;
    const int r = engine_create(&e, m, &p, &em);
    if (r == LT_ENOMEM && em.text[0])
        o = REFUSED;
    else if (r < 0)
        printf("FAIL engine_create: %s: %s\n", err_name(r), em.text);
    else if (batch_is_right(e, &lacks) && (!lacks || batch_is_right(e, NULL)))
        o = lacks || strstr(engine_info(e)->note, "no memory left for batches") ? SERVED : NOT_LOST; /* the pass was not reached */
    engine_destroy(&e);
    model_destroy(&m);
    if (gpu_validation_messages())
        o = WRONG;
    fflush(stdout);
    return o;
}

static enum outcome run_case(const char *point, int pass, const char *action, enum outcome (*child)(void))
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        char fault[96];
        /* batches of several submissions, however fast the device is */
        snprintf(fault, sizeof fault, "gpu_small_submits=always,%s:%d=%s", point, pass, action);
        setenv("LATENTD_FAULT", fault, 1);
        _exit(child());
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return WRONG;
    return (enum outcome)WEXITSTATUS(status);
}

/* Passes until one is beyond the last submission; the number of bad cases. */
static int check(const char *point, const char *action, enum outcome (*child)(void), enum outcome served)
{
    /* on the slower driver every fifth; of the many allocations every eighth */
    const int step = (strstr(device, "swiftshader") ? 5 : 1) * (child == run_short_of_memory ? 8 : 1);
    const enum outcome at_load = REFUSED;
    int n_served = 0, n_load = 0, n_bad = 0, pass = 0;
    for (; pass < PASSES_MAX; pass += step) {
        const enum outcome o = run_case(point, pass, action, child);
        if (o == NOT_LOST)
            break;
        n_served += o == served;
        n_load += o == at_load && at_load != served;
        if (o != served && (o != at_load || n_served)) {
            printf("FAIL %s at pass %d (%s): outcome %d\n", point, pass, action, o);
            n_bad++;
        }
    }
    printf("%s, %s: %d cases while loading, %d while serving\n", point, action, n_load, n_served);
    return n_bad + (pass >= PASSES_MAX) + !n_served;
}

int main(int argc, char **argv)
{
    char folder[4096], path[4200];
    int n_bad = 0;
    if (argc != 2 || !mkdtemp(cache))
        return 2;
    device = argv[1];
    snprintf(folder, sizeof folder, "%s", golden_tree("tests/golden/tiny-f16"));
    golden_load(&g, folder);
    if (golden_brief(device))
        golden_drop_long(&g, 17, 3);
    char *imported = golden_import(folder, TENSOR_F32);
    file = imported;
    n_bad += check("gpu_submit", "fail", run_child, SERVED);
    n_bad += check("gpu_submit", "always", run_child, MOVED);
    n_bad += check("gpu_alloc", "fail", run_short_of_memory, SERVED);
    golden_remove(&imported);
    golden_free(&g);
    snprintf(path, sizeof path, "rm -r %s", cache);
    if (system(path) != 0)
        n_bad++;
    return n_bad != 0;
}
