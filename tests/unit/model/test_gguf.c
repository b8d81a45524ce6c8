#include "tests/unit.h"

#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "model/gguf.h"
#include "model/gguf_write.h"

/* A small file by hand, every field of which a test may change. */
struct forge {
    const char *magic;
    uint32_t version;
    uint64_t n_tensors, n_keys;
    uint64_t key_len;          /* of "k" */
    uint32_t key_type;
    const char *second_key;    /* one byte */
    uint64_t string_len;       /* of "abc" */
    uint32_t array_type;
    uint64_t array_count;      /* of 3 u32 */
    uint8_t boolean;
    uint32_t alignment;
    uint64_t name_len;         /* of the first tensor, "x" */
    const char *second_name;
    uint32_t n_dims;
    uint64_t cols, rows;
    uint32_t type;
    uint64_t offset, second_offset;
    size_t cut;                /* bytes left off at the end */
};

static const struct forge good = {
    GGUF_MAGIC, 3, 2, 5, 1, GGUF_U32, "s", 3, GGUF_U32, 3, 1, 32, 1, "y", 2, 4, 2, TENSOR_F32, 0, 32, 0,
};

static void put_key(struct bytes_out *o, const char *k, uint64_t len, uint32_t type)
{
    bytes_put_u64(o, len);
    bytes_put_str(o, k);
    bytes_put_u32(o, type);
}

static void put_tensor(struct bytes_out *o, const char *name, uint64_t len, const struct forge *f, uint64_t offset)
{
    bytes_put_u64(o, len);
    bytes_put_str(o, name);
    bytes_put_u32(o, f->n_dims);
    bytes_put_u64(o, f->cols);
    bytes_put_u64(o, f->rows);
    bytes_put_u32(o, f->type);
    bytes_put_u64(o, offset);
}

static int parse(const struct forge *f, struct err_msg *em)
{
    struct bytes_out o = {0};
    struct gguf *g = NULL;
    bytes_put_str(&o, f->magic);
    bytes_put_u32(&o, f->version);
    bytes_put_u64(&o, f->n_tensors);
    bytes_put_u64(&o, f->n_keys);
    put_key(&o, "k", f->key_len, f->key_type);
    bytes_put_u32(&o, 7);
    put_key(&o, f->second_key, 1, GGUF_STRING);
    bytes_put_u64(&o, f->string_len);
    bytes_put_str(&o, "abc");
    put_key(&o, "a", 1, GGUF_ARRAY);
    bytes_put_u32(&o, f->array_type);
    bytes_put_u64(&o, f->array_count);
    for (uint32_t i = 0; i < 3; i++)
        bytes_put_u32(&o, i);
    put_key(&o, "b", 1, GGUF_BOOL);
    bytes_put_u8(&o, f->boolean);
    put_key(&o, "general.alignment", 17, GGUF_U32);
    bytes_put_u32(&o, f->alignment);
    put_tensor(&o, "x", f->name_len, f, f->offset);
    put_tensor(&o, f->second_name, 1, f, f->second_offset);
    while (o.len % (f->alignment == 8 || f->alignment == 16 ? f->alignment : 32))
        bytes_put_u8(&o, 0);
    for (int i = 0; i < 16; i++)
        bytes_put_f32(&o, (float)i);
    uint8_t *exact = malloc(o.len - f->cut);
    assert_non_null(exact);
    memcpy(exact, o.data, o.len - f->cut);
    strcpy(em->text, "");
    int r = gguf_parse(&g, exact, o.len - f->cut, em);
    if (r == 0) {
        float row[4];
        tensor_row_f32(gguf_tensor(g, "y"), 1, row);
        assert_true(row[3] == 15);
    }
    gguf_destroy(&g);
    free(exact);
    bytes_out_finish(&o);
    return r;
}

static void test_good(void **state)
{
    struct err_msg em;
    assert_int_equal(parse(&good, &em), 0);
    struct forge f = good;
    f.version = 2;
    assert_int_equal(parse(&f, &em), 0);
    for (f.alignment = 8; f.alignment <= 32; f.alignment *= 2)
        assert_int_equal(parse(&f, &em), 0);
}

/* One forged field each: refused with this code and a message. */
static void test_forged(void **state)
{
    struct err_msg em;
#define FORGED(code, ...)                                                                          \
    do {                                                                                           \
        struct forge f = good;                                                                     \
        __VA_ARGS__;                                                                               \
        int r = parse(&f, &em);                                                                    \
        if (r != (code) || !em.text[0])                                                            \
            fail_msg("%s: %s (%s)", #__VA_ARGS__, err_name(r), em.text);                           \
    } while (0)
    FORGED(LT_EFORMAT, f.magic = "GGUX");
    FORGED(LT_EUNSUPPORTED, f.version = 1);
    FORGED(LT_EUNSUPPORTED, f.version = 0x03000000); /* big-endian */
    FORGED(LT_ELIMIT, f.n_tensors = UINT64_MAX);
    FORGED(LT_EFORMAT, f.n_tensors = 60000);
    FORGED(LT_EFORMAT, f.n_tensors = 3);
    FORGED(LT_ELIMIT, f.n_keys = UINT64_MAX);
    FORGED(LT_EFORMAT, f.n_keys = 60000);
    FORGED(LT_EFORMAT, f.key_len = UINT64_MAX);
    FORGED(LT_EFORMAT, f.key_len = 0);
    FORGED(LT_EFORMAT, f.key_len = 1 << 20);
    FORGED(LT_EFORMAT, f.key_type = GGUF_N_TYPES);
    FORGED(LT_EFORMAT, f.second_key = "k");
    FORGED(LT_EFORMAT, f.string_len = UINT64_MAX);
    FORGED(LT_EFORMAT, f.string_len = 100000);
    FORGED(LT_EUNSUPPORTED, f.array_type = GGUF_ARRAY);
    FORGED(LT_EUNSUPPORTED, f.array_type = 99);
    FORGED(LT_EFORMAT, f.array_count = UINT64_MAX);
    FORGED(LT_EFORMAT, f.array_count = UINT64_MAX / 4 + 1);
    FORGED(LT_EFORMAT, f.boolean = 2);
    FORGED(LT_EFORMAT, f.alignment = 0);
    FORGED(LT_EFORMAT, f.alignment = 4);
    FORGED(LT_EFORMAT, f.alignment = 48);
    FORGED(LT_EFORMAT, f.alignment = 1u << 31);
    FORGED(LT_EFORMAT, f.name_len = 0);
    FORGED(LT_EFORMAT, f.name_len = 300);
    FORGED(LT_EFORMAT, f.second_name = "x");
    FORGED(LT_EFORMAT, f.n_dims = 0);
    FORGED(LT_EFORMAT, f.n_dims = 5);
    FORGED(LT_EFORMAT, f.cols = 0);
    FORGED(LT_EFORMAT, f.rows = 0);
    FORGED(LT_EFORMAT, f.cols = UINT64_MAX);
    FORGED(LT_EFORMAT, f.rows = UINT64_MAX);
    FORGED(LT_EFORMAT, f.rows = UINT64_MAX / 16 + 1); /* wraps to few bytes */
    FORGED(LT_EFORMAT, f.type = TENSOR_Q8_0);         /* rows of 4 */
    FORGED(LT_EFORMAT, f.type = TENSOR_Q4_K);         /* as well */
    FORGED(LT_EUNSUPPORTED, f.type = 21);
    assert_non_null(strstr(em.text, "iq3_s"));
    FORGED(LT_EUNSUPPORTED, f.type = 4);
    FORGED(LT_EUNSUPPORTED, f.type = TENSOR_N_TYPES);
    FORGED(LT_EUNSUPPORTED, f.type = UINT32_MAX);
    FORGED(LT_EFORMAT, f.offset = 16);
    FORGED(LT_EFORMAT, f.second_offset = 0);
    FORGED(LT_EFORMAT, f.second_offset = 64);
    FORGED(LT_EFORMAT, f.second_offset = UINT64_MAX - 31);
    FORGED(LT_EFORMAT, f.cut = 1);
#undef FORGED
}

/* What is no file is not replaced by one: a folder, or a device, which a user who may would lose. */
static void test_no_files(void **state)
{
    static const char *const paths[] = {"/tmp", "/dev/null"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct err_msg em = {{0}};
        struct gguf_writer *w = NULL;
        assert_int_equal(gguf_write_create(&w, paths[i], &em), LT_EINVAL);
        assert_null(w);
        assert_non_null(strstr(em.text, paths[i]));
    }
}

static void test_write_read(void **state)
{
    struct err_msg em;
    char dir[] = "/tmp/test_gguf.XXXXXX", path[64], tmp[80];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    struct gguf_writer *w = NULL;
    uint64_t at;
    float mat[6] = {1, 2, 3, 4, 5, 6}, vec[5] = {1, 1, 1, 1, 1}, patched[2] = {7, 8};
    assert_int_equal(gguf_write_create(&w, path, &em), 0);
    gguf_write_u32(w, "u", 4000000000u);
    gguf_write_i32(w, "i", -3);
    gguf_write_f32(w, "f", 0.25f);
    gguf_write_bool(w, "b", true);
    gguf_write_str(w, "s", "text", 4);
    gguf_write_array(w, "a", GGUF_F32, NULL, 2, &at);
    gguf_write_tensor(w, "vec", TENSOR_F32, 1, 5);
    gguf_write_tensor(w, "mat", TENSOR_F32, 2, 3);
    assert_int_equal(gguf_write_data(w, vec, sizeof vec, &em), 0);
    assert_int_equal(gguf_write_flush(w, NULL), LT_EINVAL); /* mat is missing */
    gguf_write_destroy(&w);
    assert_int_equal(access(tmp, F_OK), -1); /* nothing stays behind */

    assert_int_equal(gguf_write_create(&w, path, &em), 0);
    gguf_write_u32(w, "u", 4000000000u);
    gguf_write_i32(w, "i", -3);
    gguf_write_f32(w, "f", 0.25f);
    gguf_write_bool(w, "b", true);
    gguf_write_str(w, "s", "text", 4);
    gguf_write_array(w, "a", GGUF_F32, NULL, 2, &at);
    gguf_write_tensor(w, "vec", TENSOR_F32, 1, 5);
    gguf_write_tensor(w, "mat", TENSOR_F32, 2, 3);
    assert_int_equal(gguf_write_data(w, vec, sizeof vec, &em), 0);
    assert_int_equal(gguf_write_data(w, mat, 8, &em), 0);
    assert_int_equal(gguf_write_data(w, mat + 2, 16, &em), 0);
    assert_int_equal(gguf_write_patch(w, at, patched, sizeof patched, &em), 0);
    assert_int_equal(access(path, F_OK), -1); /* not before the commit */
    assert_int_equal(gguf_write_commit(w, &em), 0);
    gguf_write_destroy(&w);
    assert_int_equal(access(tmp, F_OK), -1);

    struct file_map map;
    struct gguf *g = NULL;
    assert_int_equal(file_map(path, &map, &em), 0);
    assert_int_equal(gguf_parse(&g, map.data, map.len, &em), 0);
    uint32_t u;
    int32_t i;
    float f, row[5];
    bool b;
    const char *s;
    const uint8_t *p;
    size_t n;
    assert_int_equal(gguf_u32(g, "u", &u, &em), 0);
    assert_int_equal(u, 4000000000u);
    assert_int_equal(gguf_i32(g, "u", &i, &em), LT_EFORMAT);
    assert_int_equal(gguf_i32(g, "i", &i, &em), 0);
    assert_int_equal(i, -3);
    assert_int_equal(gguf_u32(g, "i", &u, &em), LT_EFORMAT);
    assert_int_equal(gguf_f32(g, "f", &f, &em), 0);
    assert_true(f == 0.25f);
    assert_int_equal(gguf_bool(g, "b", &b, &em), 0);
    assert_true(b);
    assert_int_equal(gguf_str(g, "s", &s, &n, &em), 0);
    assert_memory_equal(s, "text", 4);
    assert_int_equal(gguf_str(g, "nothing", &s, &n, &em), LT_ENOTFOUND);
    assert_int_equal(gguf_array(g, "a", GGUF_U32, &p, &n, &em), LT_EFORMAT);
    assert_int_equal(gguf_array(g, "a", GGUF_F32, &p, &n, &em), 0);
    assert_int_equal(n, 2);
    assert_memory_equal(p, patched, sizeof patched);
    assert_int_equal(gguf_tensor(g, "vec")->rows, 1);
    tensor_row_f32(gguf_tensor(g, "mat"), 1, row);
    assert_memory_equal(row, mat + 3, 12);
    assert_null(gguf_tensor(g, "none"));
    gguf_destroy(&g);
    file_unmap(&map);
    unlink(path);
    rmdir(dir);
}

static void test_write_refused(void **state)
{
    struct err_msg em;
    struct gguf_writer *w = NULL;
    assert_int_equal(gguf_write_create(&w, "/nonexistent-folder/m.gguf", &em), LT_ENOTFOUND);
    assert_null(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_write_read),
        cmocka_unit_test(test_no_files),
        cmocka_unit_test(test_write_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
