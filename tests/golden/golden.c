#include "tests/golden/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/import.h"
#include "model/ops_vulkan.h"

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "golden: %s: %s\n", what, detail);
    exit(1);
}

static void load_case(struct golden *g, struct golden_case *c, const json_t *v, size_t index)
{
    const json_t *ids = json_object_get(v, "ids"), *vec = json_object_get(v, "embedding");
    const char *name = json_string_value(json_object_get(v, "name"));
    size_t i;
    json_t *x;
    c->name = name ? name : json_string_value(json_object_get(v, "text"));
    c->n = (uint32_t)json_array_size(ids);
    c->n_skip = (uint32_t)json_integer_value(json_object_get(v, "instruction_len"));
    c->probes = json_object_get(v, "probes");
    if (!index)
        g->dim = (uint32_t)json_array_size(vec);
    if (!c->name || !c->n || !g->dim || json_array_size(vec) != g->dim)
        die("cases.json", "not as expected");
    c->ids = calloc(c->n, sizeof *c->ids);
    c->vec = calloc(g->dim, sizeof *c->vec);
    if (!c->ids || !c->vec)
        die("cases.json", "no memory");
    json_array_foreach(ids, i, x)
        c->ids[i] = (int32_t)json_integer_value(x);
    json_array_foreach(vec, i, x)
        c->vec[i] = (float)json_number_value(x);
}

void golden_load(struct golden *g, const char *dir)
{
    char path[4096];
    json_error_t why;
    snprintf(path, sizeof path, "%s/cases.json", dir);
    g->root = json_load_file(path, 0, &why);
    if (!g->root)
        die(path, why.text);
    const json_t *cases = json_object_get(g->root, "cases");
    g->n_cases = json_array_size(cases);
    g->cases = calloc(g->n_cases + 1, sizeof *g->cases);
    if (!g->cases || !g->n_cases)
        die(path, "no cases");
    for (size_t i = 0; i < g->n_cases; i++)
        load_case(g, &g->cases[i], json_array_get(cases, i), i);
}

static void free_case(struct golden_case *c)
{
    free(c->ids);
    free(c->vec);
}

void golden_drop_long(struct golden *g, uint32_t n, size_t most)
{
    size_t kept = 0, n_long = 0;
    for (size_t i = 0; i < g->n_cases; i++) {
        if (g->cases[i].n > n && n_long++ >= most)
            free_case(&g->cases[i]);
        else
            g->cases[kept++] = g->cases[i];
    }
    g->n_cases = kept;
}

void golden_free(struct golden *g)
{
    for (size_t i = 0; i < g->n_cases; i++)
        free_case(&g->cases[i]);
    free(g->cases);
    json_decref(g->root);
}

char *golden_import(const char *dir, enum tensor_type type)
{
    struct err_msg em;
    const struct import_params p = {.type = type};
    const char *tmp = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/latentd-golden-%d-%s.gguf", tmp ? tmp : "/tmp", (int)getpid(), tensor_type_name(type)) < 0)
        die(dir, "no memory");
    if (import_folder(dir, path, &p, NULL, &em) < 0)
        die(dir, em.text);
    return path;
}

void golden_remove(char **path)
{
    unlink(*path);
    free(*path);
    *path = NULL;
}

double golden_max_diff(const float *a, const float *b, uint32_t dim)
{
    double max = 0;
    for (uint32_t i = 0; i < dim; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (isnan(d))
            return INFINITY;
        max = fmax(max, d);
    }
    return max;
}

double golden_cosine(const float *a, const float *b, uint32_t dim)
{
    double dot = 0, aa = 0, bb = 0;
    for (uint32_t i = 0; i < dim; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return aa * bb > 0 && isfinite(dot) ? dot / sqrt(aa * bb) : -1;
}

int golden_engine(struct engine **e, const struct model *m, const struct engine_params *p, struct err_msg *em)
{
    int r = engine_create(e, m, p, em);
    if (r == 0 && strstr(engine_info(*e)->note, "faster ways fail")) {
        r = err_set(em, LT_EDEVICE, "%s", engine_info(*e)->note);
        engine_destroy(e);
    }
    return r;
}

void golden_need_way(const char *device)
{
    struct ops *o = NULL;
    struct err_msg em = {{0}};
    const struct ops_vulkan_params p = {.device = device, .max_batch_tokens = 64};
    if (!getenv("LATENTD_VULKAN_MATMUL") || !strcmp(device, "cpu") || !strcmp(device, "ref"))
        return;
    const int r = ops_vulkan_create(&o, &p, &em);
    ops_destroy(&o);
    if (r == LT_ENOTFOUND) {
        printf("skipped: %s\n", em.text);
        exit(77);
    }
}

bool golden_brief(const char *device)
{
    return !getenv("LATENTD_WHOLE") && (strstr(device, "llvmpipe") || strstr(device, "swiftshader"));
}

static const char *below_env(const char *env, const char *below)
{
    static char path[4096];
    const char *base = getenv(env);
    snprintf(path, sizeof path, "%s/%s", base ? base : ".", below);
    return access(path, R_OK) ? NULL : path;
}

const char *golden_tree(const char *below)
{
    return below_env("LATENTD_SRC", below);
}

const char *golden_shared(const char *below)
{
    return below_env("LATENTD_SHARED", below);
}
