#include "model/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"

#define MIN_KV_BYTES (8 + 4 + 1)
#define MIN_TENSOR_BYTES (8 + 4 + 8 + 4 + 8)
#define MAX_DIMS 4

struct kv {
    const char *key; /* not terminated, borrowed */
    size_t key_len;
    enum gguf_type type;
    enum gguf_type elem; /* of an array */
    uint64_t count;      /* of an array; bytes of a string */
    const uint8_t *data; /* the value; a string's bytes; an array's first element */
};

struct gguf {
    struct kv *kv; /* ordered by key */
    size_t n_kv;
    struct tensor *tensor; /* ordered by name */
    size_t n_tensors;
    char *names; /* the tensors' names, terminated */
    struct bytes_in in;
    uint32_t alignment;
    struct err_msg *em; /* of the running parse */
};

/* Bytes of one value; 0 for strings and arrays. */
static size_t type_bytes(enum gguf_type type)
{
    static const uint8_t bytes[GGUF_N_TYPES] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2,  [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return type < GGUF_N_TYPES ? bytes[type] : 0;
}

/* Takes a string; false when it is longer than max or the file ends within it. */
static bool take_string(struct bytes_in *in, uint64_t max, const char **s, size_t *len)
{
    uint64_t n = bytes_u64(in);
    if (n > max || n > bytes_left(in))
        in->bad = true;
    *len = in->bad ? 0 : (size_t)n;
    *s = (const char *)bytes_take(in, *len);
    return !in->bad;
}

static int parse_array(struct gguf *g, struct kv *kv)
{
    struct bytes_in *in = &g->in;
    size_t at = bytes_pos(in);
    uint32_t elem = bytes_u32(in);
    kv->count = bytes_u64(in);
    if (elem >= GGUF_N_TYPES || elem == GGUF_ARRAY)
        return err_set(g->em, LT_EUNSUPPORTED, "GGUF: array of type %u at byte %zu", elem, at);
    kv->elem = (enum gguf_type)elem;
    kv->data = in->p;
    if (elem != GGUF_STRING) {
        if (kv->count > bytes_left(in) / type_bytes(kv->elem))
            in->bad = true;
        bytes_take(in, in->bad ? 0 : (size_t)kv->count * type_bytes(kv->elem));
        return 0;
    }
    if (kv->count > bytes_left(in) / 8)
        in->bad = true;
    for (uint64_t i = 0; i < kv->count && !in->bad; i++) {
        const char *s;
        size_t len;
        take_string(in, UINT64_MAX, &s, &len);
    }
    return 0;
}

static int parse_kv(struct gguf *g, struct kv *kv)
{
    struct bytes_in *in = &g->in;
    size_t at = bytes_pos(in);
    if (!take_string(in, GGUF_MAX_KEY, &kv->key, &kv->key_len) || !kv->key_len)
        return err_set(g->em, LT_EFORMAT, "GGUF: bad key at byte %zu", at);
    uint32_t type = bytes_u32(in);
    if (type >= GGUF_N_TYPES)
        return err_set(g->em, LT_EFORMAT, "GGUF: key at byte %zu has unknown type %u", at, type);
    kv->type = (enum gguf_type)type;
    int r = 0;
    if (type == GGUF_STRING) {
        const char *s;
        size_t len;
        take_string(in, UINT64_MAX, &s, &len);
        kv->data = (const uint8_t *)s;
        kv->count = len;
    } else if (type == GGUF_ARRAY) {
        r = parse_array(g, kv);
    } else {
        kv->data = bytes_take(in, type_bytes(kv->type));
    }
    if (!r && type == GGUF_BOOL && !in->bad && kv->data[0] > 1)
        return err_set(g->em, LT_EFORMAT, "GGUF: key at byte %zu: boolean is %u", at, kv->data[0]);
    if (!r && in->bad)
        return err_set(g->em, LT_EFORMAT, "GGUF: file ends within the key at byte %zu", at);
    return r;
}

static int key_cmp(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int c = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return c ? c : (a_len > b_len) - (a_len < b_len);
}

static int kv_order(const void *a, const void *b)
{
    const struct kv *x = a, *y = b;
    return key_cmp(x->key, x->key_len, y->key, y->key_len);
}

static int parse_keys(struct gguf *g, uint64_t n)
{
    int r;
    if (n > GGUF_MAX_KEYS)
        return err_set(g->em, LT_ELIMIT, "GGUF: %llu keys, at most %d", (unsigned long long)n, GGUF_MAX_KEYS);
    if (n > bytes_left(&g->in) / MIN_KV_BYTES)
        return err_set(g->em, LT_EFORMAT, "GGUF: %llu keys do not fit the file", (unsigned long long)n);
    g->kv = calloc((size_t)n + 1, sizeof *g->kv);
    if (!g->kv)
        return err_set(g->em, LT_ENOMEM, "GGUF: no memory for %llu keys", (unsigned long long)n);
    for (; g->n_kv < n; g->n_kv++)
        if ((r = parse_kv(g, &g->kv[g->n_kv])) < 0)
            return r;
    qsort(g->kv, g->n_kv, sizeof *g->kv, kv_order);
    for (size_t i = 1; i < g->n_kv; i++)
        if (!kv_order(&g->kv[i - 1], &g->kv[i]))
            return err_set(g->em, LT_EFORMAT, "GGUF: key %.*s appears twice",
                           (int)(g->kv[i].key_len < 100 ? g->kv[i].key_len : 100), g->kv[i].key);
    r = gguf_u32(g, "general.alignment", &g->alignment, g->em);
    if (r == LT_ENOTFOUND)
        g->alignment = GGUF_ALIGNMENT;
    else if (r < 0)
        return r;
    if (g->alignment < GGUF_MIN_ALIGNMENT || g->alignment > GGUF_MAX_ALIGNMENT || g->alignment & (g->alignment - 1))
        return err_set(g->em, LT_EFORMAT, "GGUF: general.alignment is %u: must be a power of two from %d to %d",
                       g->alignment, GGUF_MIN_ALIGNMENT, GGUF_MAX_ALIGNMENT);
    return 0;
}

/* Types that GGUF knows and we do not read, for the message. */
static const char *foreign_type(uint32_t type)
{
    static const char *const names[] = {
        [4] = "q4_2",     [5] = "q4_3",   [9] = "q8_1",  [15] = "q8_K",  [16] = "iq2_xxs", [17] = "iq2_xs",
        [18] = "iq3_xxs", [19] = "iq1_s", [21] = "iq3_s", [22] = "iq2_s", [24] = "i8",      [25] = "i16",
        [26] = "i32",     [27] = "i64",   [28] = "f64",   [29] = "iq1_m", [34] = "tq1_0",   [35] = "tq2_0",
        [39] = "mxfp4",
    };
    const char *name = type < sizeof names / sizeof *names ? names[type] : NULL;
    return name ? name : "unknown";
}

/* One tensor's description; data holds its offset for now, name its bytes in the file. */
static int parse_tensor(struct gguf *g, struct tensor *t, char **names)
{
    struct bytes_in *in = &g->in;
    size_t at = bytes_pos(in), len;
    const char *name;
    if (!take_string(in, GGUF_MAX_TENSOR_NAME, &name, &len) || !len || memchr(name, 0, len))
        return err_set(g->em, LT_EFORMAT, "GGUF: bad tensor name at byte %zu", at);
    t->name = *names;
    memcpy(*names, name, len);
    *names += len + 1;
    uint32_t n_dims = bytes_u32(in);
    if (in->bad || n_dims < 1 || n_dims > MAX_DIMS)
        return err_set(g->em, LT_EFORMAT, "GGUF: tensor %s has %u dimensions", t->name, n_dims);
    uint64_t dims[MAX_DIMS] = {1, 1, 1, 1};
    for (uint32_t i = 0; i < n_dims; i++)
        dims[i] = bytes_u64(in);
    uint32_t type = bytes_u32(in);
    uint64_t offset = bytes_u64(in);
    if (in->bad)
        return err_set(g->em, LT_EFORMAT, "GGUF: file ends within the tensor at byte %zu", at);
    if (dims[2] != 1 || dims[3] != 1)
        return err_set(g->em, LT_EUNSUPPORTED, "GGUF: tensor %s has more than two dimensions", t->name);
    if (!tensor_type_name((enum tensor_type)type))
        return err_set(g->em, LT_EUNSUPPORTED, "GGUF: tensor %s has type %u (%s), which is not supported", t->name, type,
                       foreign_type(type));
    t->type = (enum tensor_type)type;
    t->cols = dims[0];
    t->rows = dims[1];
    size_t row = tensor_row_bytes(t->type, t->cols);
    if (!row || !t->rows || t->rows > SIZE_MAX || !size_mul(row, (size_t)t->rows, &t->len_bytes))
        return err_set(g->em, LT_EFORMAT, "GGUF: tensor %s has shape %llu x %llu, impossible for %s", t->name,
                       (unsigned long long)t->rows, (unsigned long long)t->cols, tensor_type_name(t->type));
    if (offset > SIZE_MAX || offset & (g->alignment - 1))
        return err_set(g->em, LT_EFORMAT, "GGUF: tensor %s is not aligned to %u bytes", t->name, g->alignment);
    t->data = (const void *)(uintptr_t)offset;
    return 0;
}

static int name_order(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int data_order(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    return (x->data > y->data) - (x->data < y->data);
}

/* Turns offsets into pointers, after checking that every tensor lies within the file and on no other. */
static int place_tensors(struct gguf *g)
{
    qsort(g->tensor, g->n_tensors, sizeof *g->tensor, data_order);
    bytes_align(&g->in, g->alignment);
    const uint8_t *base = g->in.p;
    size_t left = bytes_left(&g->in), used = 0;
    if (g->in.bad && g->n_tensors)
        return err_set(g->em, LT_EFORMAT, "GGUF: file ends before its tensors");
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct tensor *t = &g->tensor[i];
        size_t offset = (uintptr_t)t->data;
        if (offset < used)
            return err_set(g->em, LT_EFORMAT, "GGUF: tensor %s overlaps %s", t->name, g->tensor[i - 1].name);
        if (offset > left || t->len_bytes > left - offset)
            return err_set(g->em, LT_EFORMAT, "GGUF: tensor %s lies beyond the end of the file", t->name);
        used = offset + t->len_bytes;
        t->data = base + offset;
    }
    qsort(g->tensor, g->n_tensors, sizeof *g->tensor, name_order);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (!strcmp(g->tensor[i - 1].name, g->tensor[i].name))
            return err_set(g->em, LT_EFORMAT, "GGUF: tensor %s appears twice", g->tensor[i].name);
    return 0;
}

static int parse_tensors(struct gguf *g, uint64_t n)
{
    int r;
    if (n > GGUF_MAX_TENSORS)
        return err_set(g->em, LT_ELIMIT, "GGUF: %llu tensors, at most %d", (unsigned long long)n, GGUF_MAX_TENSORS);
    if (n > bytes_left(&g->in) / MIN_TENSOR_BYTES)
        return err_set(g->em, LT_EFORMAT, "GGUF: %llu tensors do not fit the file", (unsigned long long)n);
    g->tensor = calloc((size_t)n + 1, sizeof *g->tensor);
    g->names = calloc((size_t)n + 1, GGUF_MAX_TENSOR_NAME + 1);
    if (!g->tensor || !g->names)
        return err_set(g->em, LT_ENOMEM, "GGUF: no memory for %llu tensors", (unsigned long long)n);
    char *names = g->names;
    for (; g->n_tensors < n; g->n_tensors++)
        if ((r = parse_tensor(g, &g->tensor[g->n_tensors], &names)) < 0)
            return r;
    return place_tensors(g);
}

static int parse(struct gguf *g)
{
    int r;
    const uint8_t *magic = bytes_take(&g->in, 4);
    if (!magic || memcmp(magic, GGUF_MAGIC, 4))
        return err_set(g->em, LT_EFORMAT, "not a GGUF file");
    uint32_t version = bytes_u32(&g->in);
    if (!g->in.bad && version != 2 && version != 3)
        return err_set(g->em, LT_EUNSUPPORTED, "GGUF version %u; 2 and 3 are supported", version);
    uint64_t n_tensors = bytes_u64(&g->in), n_kv = bytes_u64(&g->in);
    if (g->in.bad)
        return err_set(g->em, LT_EFORMAT, "GGUF: file ends within its header");
    if ((r = parse_keys(g, n_kv)) < 0)
        return r;
    return parse_tensors(g, n_tensors);
}

int gguf_parse(struct gguf **out, const void *data, size_t len, struct err_msg *em)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(em, LT_ENOMEM, "GGUF: no memory");
    g->in = bytes_in(data, len);
    g->em = em;
    int r = parse(g);
    g->em = NULL;
    if (r < 0)
        gguf_destroy(&g);
    else
        *out = g;
    return r;
}

void gguf_destroy(struct gguf **g)
{
    if (!g || !*g)
        return;
    free((*g)->kv);
    free((*g)->tensor);
    free((*g)->names);
    free(*g);
    *g = NULL;
}

size_t gguf_n_keys(const struct gguf *g)
{
    return g->n_kv;
}

size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
    return &g->tensor[i];
}

const struct tensor *gguf_tensor(const struct gguf *g, const char *name)
{
    struct tensor want = {.name = name};
    return bsearch(&want, g->tensor, g->n_tensors, sizeof want, name_order);
}

static const struct kv *find(const struct gguf *g, const char *key, struct err_msg *em)
{
    struct kv want = {.key = key, .key_len = strlen(key)};
    const struct kv *kv = bsearch(&want, g->kv, g->n_kv, sizeof want, kv_order);
    if (!kv)
        err_set(em, LT_ENOTFOUND, "GGUF: key %s is missing", key);
    return kv;
}

static int wrong_type(const char *key, struct err_msg *em)
{
    return err_set(em, LT_EFORMAT, "GGUF: key %s has the wrong type or is out of range", key);
}

/* Any integer type as int64; u64 values above INT64_MAX are refused. */
static int get_int(const struct gguf *g, const char *key, int64_t min, int64_t max, int64_t *out, struct err_msg *em)
{
    const struct kv *kv = find(g, key, em);
    if (!kv)
        return LT_ENOTFOUND;
    struct bytes_in in = bytes_in(kv->data, kv->type == GGUF_STRING ? 0 : type_bytes(kv->type));
    int64_t v;
    switch (kv->type) {
    case GGUF_U8:
        v = bytes_u8(&in);
        break;
    case GGUF_I8:
        v = (int8_t)bytes_u8(&in);
        break;
    case GGUF_U16:
        v = bytes_u16(&in);
        break;
    case GGUF_I16:
        v = (int16_t)bytes_u16(&in);
        break;
    case GGUF_U32:
        v = bytes_u32(&in);
        break;
    case GGUF_I32:
        v = (int32_t)bytes_u32(&in);
        break;
    case GGUF_U64:
        v = (int64_t)bytes_u64(&in);
        if (v < 0)
            return wrong_type(key, em);
        break;
    case GGUF_I64:
        v = (int64_t)bytes_u64(&in);
        break;
    default:
        return wrong_type(key, em);
    }
    if (v < min || v > max)
        return wrong_type(key, em);
    *out = v;
    return 0;
}

int gguf_u32(const struct gguf *g, const char *key, uint32_t *out, struct err_msg *em)
{
    int64_t v = 0;
    int r = get_int(g, key, 0, UINT32_MAX, &v, em);
    if (!r)
        *out = (uint32_t)v;
    return r;
}

int gguf_i32(const struct gguf *g, const char *key, int32_t *out, struct err_msg *em)
{
    int64_t v = 0;
    int r = get_int(g, key, INT32_MIN, INT32_MAX, &v, em);
    if (!r)
        *out = (int32_t)v;
    return r;
}

int gguf_f32(const struct gguf *g, const char *key, float *out, struct err_msg *em)
{
    const struct kv *kv = find(g, key, em);
    if (!kv)
        return LT_ENOTFOUND;
    if (kv->type != GGUF_F32 && kv->type != GGUF_F64)
        return wrong_type(key, em);
    struct bytes_in in = bytes_in(kv->data, type_bytes(kv->type));
    *out = kv->type == GGUF_F32 ? bytes_f32(&in) : (float)bytes_f64(&in);
    return 0;
}

int gguf_bool(const struct gguf *g, const char *key, bool *out, struct err_msg *em)
{
    const struct kv *kv = find(g, key, em);
    if (!kv)
        return LT_ENOTFOUND;
    if (kv->type != GGUF_BOOL)
        return wrong_type(key, em);
    *out = kv->data[0];
    return 0;
}

int gguf_str(const struct gguf *g, const char *key, const char **s, size_t *len, struct err_msg *em)
{
    const struct kv *kv = find(g, key, em);
    if (!kv)
        return LT_ENOTFOUND;
    if (kv->type != GGUF_STRING)
        return wrong_type(key, em);
    *s = (const char *)kv->data;
    *len = (size_t)kv->count;
    return 0;
}

int gguf_text(const struct gguf *g, const char *key, size_t max, char **out, struct err_msg *em)
{
    const char *s = "";
    size_t len = 0;
    int r = gguf_str(g, key, &s, &len, em);
    if (r < 0 && r != LT_ENOTFOUND)
        return r;
    if (len > max)
        return err_set(em, LT_ELIMIT, "model: %s has %zu bytes, at most %zu", key, len, max);
    if (memchr(s, 0, len) || utf8_check(s, len) != UTF8_VALID)
        return err_set(em, LT_EFORMAT, "model: %s is not UTF-8 text", key);
    *out = strndup(s, len);
    return *out ? 0 : err_set(em, LT_ENOMEM, "model: no memory");
}

int gguf_array(const struct gguf *g, const char *key, enum gguf_type elem, const uint8_t **data, size_t *count,
               struct err_msg *em)
{
    const struct kv *kv = find(g, key, em);
    if (!kv)
        return LT_ENOTFOUND;
    if (kv->type != GGUF_ARRAY || kv->elem != elem || elem == GGUF_STRING)
        return wrong_type(key, em);
    *data = kv->data;
    *count = (size_t)kv->count;
    return 0;
}

int gguf_strings(const struct gguf *g, const char *key, struct bytes_in *in, size_t *count, struct err_msg *em)
{
    const struct kv *kv = find(g, key, em);
    if (!kv)
        return LT_ENOTFOUND;
    if (kv->type != GGUF_ARRAY || kv->elem != GGUF_STRING)
        return wrong_type(key, em);
    *in = bytes_in(kv->data, (size_t)(g->in.end - kv->data));
    *count = (size_t)kv->count;
    return 0;
}
