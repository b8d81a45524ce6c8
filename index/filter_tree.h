/* A parsed filter; private to filter.c (which builds it) and filter_match.c (which runs it). */
#ifndef INDEX_FILTER_TREE_H
#define INDEX_FILTER_TREE_H

#include <stdint.h>

#include "index/filter.h"

enum filter_op {
    FILTER_OR,     /* a, b: nodes */
    FILTER_AND,    /* a, b: nodes */
    FILTER_NOT,    /* a: node */
    FILTER_EQ,     /* field a, literals b … b+n, in order: one of them equals */
    FILTER_LT,     /* field a, literal b */
    FILTER_LE,
    FILTER_GT,
    FILTER_GE,
    FILTER_STARTS, /* field a, text b */
    FILTER_EXISTS, /* field a */
};

struct filter_node {
    enum filter_op op;
    uint32_t a, b, n;
};

enum filter_type { FILTER_NULL, FILTER_BOOL, FILTER_NUMBER, FILTER_STRING, FILTER_OTHER };

struct filter_value {
    enum filter_type type;
    bool truth;
    long double number; /* holds every int64 exactly where it is 80 bits or more */
    const char *s;      /* unescaped, not terminated */
    size_t len;
};

/* A path: n_keys consecutive keys. */
struct filter_field {
    uint32_t first_key, n_keys;
};
struct filter_key {
    const char *s;
    size_t len;
};

struct filter {
    char *text; /* names and literals point in here */
    size_t text_len;
    uint32_t root;
    struct filter_node *nodes;
    uint32_t n_nodes, cap_nodes;
    struct filter_value *values;
    uint32_t n_values, cap_values;
    struct filter_field *fields;
    uint32_t n_fields, cap_fields;
    struct filter_key *keys;
    uint32_t n_keys, cap_keys;
};

/* Reads a JSON number at s (len bytes at most); the bytes used, 0: none, or no memory. One with a point or an exponent becomes a double's value: the
 * same number is written with different digits, by JSON libraries among others. */
size_t filter_number(const char *s, size_t len, long double *out);

#endif
