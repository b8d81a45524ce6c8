/* cases.json of a golden checkpoint, and the checkpoint as a model file in a folder of its own. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "model/engine.h"
#include "model/tensor.h"

struct golden_case {
    const char *name;
    int32_t *ids;
    uint32_t n, n_skip;
    float *vec;           /* dim floats */
    const json_t *probes; /* stage → first values at the last position; NULL: none */
};

struct golden {
    json_t *root;
    struct golden_case *cases;
    size_t n_cases;
    uint32_t dim;
};

/* Reads DIR/cases.json; exits with a message when it is not as expected. */
void golden_load(struct golden *g, const char *dir);
void golden_free(struct golden *g);
/* Of the cases of more than n tokens keeps the first `most`. */
void golden_drop_long(struct golden *g, uint32_t n, size_t most);

/* Imports DIR as `type` into a fresh temporary file and returns its path; golden_remove unlinks it. Exits on failure. */
char *golden_import(const char *dir, enum tensor_type type);
/* The same as another program would leave it: without digests and golden vectors, and with every matrix whose rows are whole blocks in that type, which may
 * be one that is only read. */
char *golden_blocks(const char *dir, enum tensor_type type);
void golden_remove(char **path);

/* Largest difference of a component, infinity where there is a NaN; cosine, -1 where a vector has no length or a NaN. */
double golden_max_diff(const float *a, const float *b, uint32_t dim);
double golden_cosine(const float *a, const float *b, uint32_t dim);

/* engine_create, but a GPU that fell back to plain products is refused (LT_EDEVICE): its faster ones are what is tested. */
int golden_engine(struct engine **e, const struct model *m, const struct engine_params *p, struct err_msg *em);

/* Ends the test as skipped (77) where LATENTD_VULKAN_MATMUL names a way of products that the Vulkan device called so does not offer. */
void golden_need_way(const char *device);

/* Whether to be brief, with fewer texts, tokens and layers: on a software driver, where a thousand million products take seconds, unless
 * LATENTD_WHOLE is set, as by ./check --all. */
bool golden_brief(const char *device);

/* Path of a folder of the tree, or of the shared folder; NULL when it is not there. Static storage, overwritten by each call. */
const char *golden_tree(const char *below);
const char *golden_shared(const char *below);

#endif
