#include "clients/cli/vector_arg.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VECTOR_DIM_MAX 65536

int vector_parse(const char *json, float **v, uint32_t *dim, struct err_msg *em)
{
    json_error_t je;
    int r = 0;
    json_t *a = json_loads(json, 0, &je);
    size_t n = json_array_size(a);
    *v = NULL;
    if (!json_is_array(a) || n == 0 || n > VECTOR_DIM_MAX) {
        r = err_set(em, LT_EFORMAT, "not a JSON array of 1 to %d numbers%s%s", VECTOR_DIM_MAX,
                    a ? "" : ": ", a ? "" : je.text);
        goto out;
    }
    if (!(*v = malloc(n * sizeof **v))) {
        r = err_set(em, LT_ENOMEM, "no memory for the vector");
        goto out;
    }
    for (size_t i = 0; i < n && r == 0; i++) {
        json_t *x = json_array_get(a, i);
        (*v)[i] = (float)json_number_value(x);
        if (!json_is_number(x))
            r = err_set(em, LT_EFORMAT, "value %zu is not a number", i);
        else if (!isfinite((*v)[i]))
            r = err_set(em, LT_ENAN, "value %zu does not fit a 32-bit float", i);
    }
    *dim = (uint32_t)n;
out:
    json_decref(a);
    if (r < 0) {
        free(*v);
        *v = NULL;
    }
    return r;
}
