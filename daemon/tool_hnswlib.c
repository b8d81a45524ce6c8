#include "daemon/tool_hnswlib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/plural.h"
#include "base/version.h"
#include "daemon/options.h"
#include "index/index.h"

static const char help[] =
    "Usage: latentd import-hnswlib FILE --space cosine|ip|l2 --dim N [--name NAME] [--codes f32|int8|1bit] [--data DIR]\n\n"
    "Makes a collection of an index that hnswlib saved: each element becomes a document with its label as id, and the graph\n"
    "is taken over link by link, so that searches find what hnswlib finds at the same ef. No daemon may have the folder open.\n\n"
    "  --space S      what the index was made with; its file does not say\n"
    "  --dim N        its vectors' length\n"
    "  --name NAME    of the new collection (default: FILE's, without folder and ending)\n"
    "  --codes KIND   what nodes carry: f32 (default; the same answers), int8 or 1bit (less memory)\n"
    "  --data DIR     the folder (default: the one latentd would use)\n"
    "  --config FILE  take the folder from these settings\n"
    "  --help, --version\n";

struct args {
    struct index_import p;
    const char *space, *dim, *codes;
    char name[INDEX_NAME_MAX + 1];
};

static int choice(const char *option, const char *value, const char *const *names, int n, struct err_msg *em)
{
    for (int i = 0; i < n && value; i++)
        if (names[i] && strcmp(value, names[i]) == 0)
            return i;
    return err_set(em, LT_EINVAL, value ? "%s: not '%.40s'" : "%s is missing", option, value);
}

/* FILE's name without folder and ending. */
static void default_name(struct args *a)
{
    const char *base = strrchr(a->p.path, '/');
    base = base ? base + 1 : a->p.path;
    const char *dot = strrchr(base, '.');
    snprintf(a->name, sizeof a->name, "%.*s", (int)(dot && dot != base ? dot - base : (long)strlen(base)), base);
    a->p.name = a->name;
}

static int finish_args(struct args *a, struct err_msg *em)
{
    static const char *const metrics[] = {[METRIC_COSINE] = "cosine", [METRIC_IP] = "ip", [METRIC_L2] = "l2"};
    static const char *const kinds[] = {[GRAPH_CODES_INT8] = "int8", [GRAPH_CODES_F32] = "f32", [GRAPH_CODES_1BIT] = "1bit"};
    char *end = NULL;
    if (!a->p.path)
        return err_set(em, LT_EINVAL, "which FILE?");
    int metric = choice("--space cosine|ip|l2", a->space, metrics, 3, em);
    if (metric < 0)
        return metric;
    int codes = choice("--codes f32|int8|1bit", a->codes ? a->codes : "f32", kinds, 4, em);
    if (codes < 0)
        return codes;
    unsigned long dim = a->dim ? strtoul(a->dim, &end, 10) : 0;
    if (dim < 1 || dim > INDEX_DIM_MAX || !end || *end)
        return err_set(em, LT_EINVAL, "--dim: 1 to %u", INDEX_DIM_MAX);
    a->p.metric = (enum metric)metric;
    a->p.codes = (enum graph_codes)codes;
    a->p.dim = (uint32_t)dim;
    if (!a->p.name)
        default_name(a);
    return 0;
}

/* Takes its own options out of argv; the rest, with FILE, is as the daemon takes it. */
static int own_args(struct args *a, int *argc, char **argv, struct err_msg *em)
{
    int n = 0;
    for (int i = 0; i < *argc; i++) {
        const char **to = !i                                ? NULL
                          : strcmp(argv[i], "--space") == 0 ? &a->space
                          : strcmp(argv[i], "--dim") == 0   ? &a->dim
                          : strcmp(argv[i], "--name") == 0  ? &a->p.name
                          : strcmp(argv[i], "--codes") == 0 ? &a->codes
                                                            : NULL;
        if (to && i + 1 == *argc)
            return err_set(em, LT_EINVAL, "%s wants a value", argv[i]);
        if (to)
            *to = argv[++i];
        else
            argv[n++] = argv[i];
    }
    argv[*argc = n] = NULL;
    return 0;
}

static int import(const char *dir, const struct index_import *p)
{
    struct index *ix = NULL;
    struct err_msg em = {""};
    uint64_t n = 0;
    log_set_level(LOG_WARN);
    int r = index_open(&ix, &(struct index_params){.dir = dir}, &em);
    if (r == 0)
        r = index_import_hnswlib(ix, p, &n, &em);
    index_close(&ix);
    if (r < 0) {
        fprintf(stderr, "latentd import-hnswlib: %s%s\n", em.text, r == LT_ELOCKED ? ": stop that daemon first" : "");
        return 1;
    }
    printf("collection %s: %llu document%s\n", p->name, (unsigned long long)n, plural(n));
    return 0;
}

int tool_hnswlib(int argc, char **argv)
{
    struct settings s;
    struct args a = {0};
    enum options_action action;
    struct err_msg em = {""};
    int status;
    settings_init(&s);
    if (own_args(&a, &argc, argv, &em) < 0 || options_read(argc, argv, &s, &a.p.path, &action, &em) < 0) {
        status = 2;
    } else if (action == OPTIONS_HELP) {
        status = fputs(help, stdout) < 0;
    } else if (action == OPTIONS_VERSION) {
        status = puts("latentd " LATENTD_VERSION) < 0;
    } else {
        status = finish_args(&a, &em) < 0 ? 2 : import(s.data, &a.p);
    }
    if (status == 2)
        fprintf(stderr, "latentd import-hnswlib: %s\nTry latentd import-hnswlib --help.\n", em.text);
    settings_finish(&s);
    return status;
}
