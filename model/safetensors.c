#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/bytes.h"
#include "model/json_limit.h"

#define MAX_VALUES (SAFETENSORS_MAX_TENSORS * 16u) /* of the header: a tensor has about ten */
#define MAX_DEPTH 4
#define MAX_NAME 255

struct safetensors {
    json_t *header; /* owns the names */
    struct safetensors_entry *entry;
    size_t n;
    const uint8_t *data;
    size_t data_len;
    struct err_msg *em;
};

/* Bytes of one value; 0 for a dtype we do not know. */
static size_t dtype_bytes(const char *dtype)
{
    static const struct {
        const char *name;
        size_t bytes;
    } known[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
                 {"U64", 8}, {"U32", 4}, {"U16", 2}, {"U8", 1}, {"BOOL", 1}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(dtype, known[i].name))
            return known[i].bytes;
    return 0;
}

/* A whole number of zero or more. */
static bool get_size(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static int parse_dtype(struct safetensors *s, struct safetensors_entry *e, const json_t *v)
{
    const char *dtype = json_string_value(v);
    if (!dtype)
        return err_set(s->em, LT_EFORMAT, "safetensors: %s has no dtype", e->name);
    if (!dtype_bytes(dtype))
        return err_set(s->em, LT_EUNSUPPORTED, "safetensors: %s has dtype %.20s, which is not known", e->name, dtype);
    snprintf(e->dtype, sizeof e->dtype, "%s", dtype);
    e->usable = true;
    if (!strcmp(dtype, "F32"))
        e->type = TENSOR_F32;
    else if (!strcmp(dtype, "F16"))
        e->type = TENSOR_F16;
    else if (!strcmp(dtype, "BF16"))
        e->type = TENSOR_BF16;
    else
        e->usable = false;
    return 0;
}

static int parse_entry(struct safetensors *s, struct safetensors_entry *e, const json_t *v)
{
    int r;
    size_t bytes, i;
    const json_t *dim, *shape = json_object_get(v, "shape"), *at = json_object_get(v, "data_offsets");
    uint64_t first, end;
    if (!*e->name || strlen(e->name) > MAX_NAME)
        return err_set(s->em, LT_EFORMAT, "safetensors: bad tensor name \"%.40s\"", e->name);
    if (!json_is_object(v))
        return err_set(s->em, LT_EFORMAT, "safetensors: %s is not described by an object", e->name);
    if ((r = parse_dtype(s, e, json_object_get(v, "dtype"))) < 0)
        return r;
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_MAX_DIMS)
        return err_set(s->em, LT_EFORMAT, "safetensors: shape of %s is not an array of at most %d", e->name,
                       SAFETENSORS_MAX_DIMS);
    bytes = dtype_bytes(e->dtype);
    json_array_foreach(shape, i, dim) {
        if (!get_size(dim, &e->dims[i]) || e->dims[i] > SIZE_MAX || !size_mul(bytes, (size_t)e->dims[i], &bytes))
            return err_set(s->em, LT_EFORMAT, "safetensors: shape of %s is impossible", e->name);
    }
    e->n_dims = (uint32_t)json_array_size(shape);
    if (!json_is_array(at) || json_array_size(at) != 2 || !get_size(json_array_get(at, 0), &first) ||
        !get_size(json_array_get(at, 1), &end))
        return err_set(s->em, LT_EFORMAT, "safetensors: data_offsets of %s are not two numbers", e->name);
    if (first > end || end > s->data_len)
        return err_set(s->em, LT_EFORMAT, "safetensors: %s lies beyond the end of the file", e->name);
    if (end - first != bytes)
        return err_set(s->em, LT_EFORMAT, "safetensors: %s has %llu bytes, its shape needs %zu", e->name,
                       (unsigned long long)(end - first), bytes);
    e->data = s->data + first;
    e->len_bytes = bytes;
    return 0;
}

static int data_order(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;
    return x->data != y->data ? (x->data > y->data) - (x->data < y->data)
                              : (x->len_bytes > y->len_bytes) - (x->len_bytes < y->len_bytes);
}

static int name_order(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int parse_header(struct safetensors *s, const char *text, size_t len)
{
    int r;
    json_error_t why;
    if ((r = json_limit_check("safetensors header", text, len, MAX_DEPTH, MAX_VALUES, s->em)) < 0)
        return r;
    s->header = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(s->header))
        return err_set(s->em, LT_EFORMAT, "safetensors: header is not a JSON object: %s",
                       s->header ? "another value" : why.text);
    size_t n = json_object_size(s->header);
    if (n > SAFETENSORS_MAX_TENSORS)
        return err_set(s->em, LT_ELIMIT, "safetensors: %zu tensors, at most %d", n, SAFETENSORS_MAX_TENSORS);
    s->entry = calloc(n + 1, sizeof *s->entry);
    if (!s->entry)
        return err_set(s->em, LT_ENOMEM, "safetensors: no memory for %zu tensors", n);
    const char *name;
    json_t *v;
    json_object_foreach(s->header, name, v) {
        if (!strcmp(name, "__metadata__"))
            continue;
        s->entry[s->n].name = name;
        if ((r = parse_entry(s, &s->entry[s->n], v)) < 0)
            return r;
        s->n++;
    }
    qsort(s->entry, s->n, sizeof *s->entry, data_order);
    for (size_t i = 1; i < s->n; i++)
        if (s->entry[i].data < s->entry[i - 1].data + s->entry[i - 1].len_bytes)
            return err_set(s->em, LT_EFORMAT, "safetensors: %s overlaps %s", s->entry[i].name, s->entry[i - 1].name);
    qsort(s->entry, s->n, sizeof *s->entry, name_order);
    return 0;
}

int safetensors_parse(struct safetensors **out, const void *data, size_t len, struct err_msg *em)
{
    struct bytes_in in = bytes_in(data, len);
    uint64_t header_len = bytes_u64(&in);
    if (in.bad)
        return err_set(em, LT_EFORMAT, "safetensors: file ends within its header length");
    if (header_len > SAFETENSORS_MAX_HEADER)
        return err_set(em, LT_ELIMIT, "safetensors: header of %llu bytes, at most %u", (unsigned long long)header_len,
                       SAFETENSORS_MAX_HEADER);
    const uint8_t *header = bytes_take(&in, (size_t)header_len);
    if (!header)
        return err_set(em, LT_EFORMAT, "safetensors: file ends within its header");
    struct safetensors *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(em, LT_ENOMEM, "safetensors: no memory");
    s->data = in.p;
    s->data_len = bytes_left(&in);
    s->em = em;
    int r = parse_header(s, (const char *)header, (size_t)header_len);
    s->em = NULL;
    if (r < 0)
        safetensors_destroy(&s);
    else
        *out = s;
    return r;
}

void safetensors_destroy(struct safetensors **s)
{
    if (!s || !*s)
        return;
    json_decref((*s)->header);
    free((*s)->entry);
    free(*s);
    *s = NULL;
}

size_t safetensors_count(const struct safetensors *s)
{
    return s->n;
}

const struct safetensors_entry *safetensors_at(const struct safetensors *s, size_t i)
{
    return &s->entry[i];
}

const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name)
{
    struct safetensors_entry want = {.name = name};
    return bsearch(&want, s->entry, s->n, sizeof want, name_order);
}
