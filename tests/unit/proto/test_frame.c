#include "tests/unit.h"

#include "proto/frame.h"
#include "proto/pool.h"

static void put(struct bytes_out *o, const char *s)
{
    assert_int_equal(frame_put(o, s, strlen(s)), 0);
}

/* Three frames cut into portions of every size come out whole. */
static void test_portions(void **state)
{
    struct bytes_out o = {0};
    put(&o, "one");
    put(&o, "a somewhat longer second message");
    put(&o, "3");
    for (size_t step = 1; step <= o.len; step++) {
        struct frame_reader r = {0};
        struct bytes_out got = {0};
        for (size_t at = 0; at < o.len; at += step) {
            struct bytes_in in = bytes_in(o.data + at, at + step < o.len ? step : o.len - at);
            const uint8_t *p;
            size_t n;
            int k;
            while ((k = frame_next(&r, &in, &p, &n, NULL)) == 1) {
                bytes_put(&got, p, n);
                bytes_put_u8(&got, '|');
            }
            assert_int_equal(k, 0);
            assert_int_equal(bytes_left(&in), 0);
        }
        assert_int_equal(frame_pending(&r), 0);
        bytes_put_u8(&got, 0);
        assert_string_equal((const char *)got.data, "one|a somewhat longer second message|3|");
        bytes_out_finish(&got);
        frame_reader_finish(&r);
    }
    bytes_out_finish(&o);
}

static int feed(struct frame_reader *r, const void *data, size_t len, struct err_msg *em)
{
    struct bytes_in in = bytes_in(data, len);
    const uint8_t *p;
    size_t n;
    return frame_next(r, &in, &p, &n, em);
}

/* Forged lengths: refused at the header, with nothing allocated for them. */
static void test_forged_lengths(void **state)
{
    struct err_msg em;
    struct frame_reader r = {0};
    assert_int_equal(feed(&r, "\0\0\0\0", 4, &em), LT_EPROTO);
    r = (struct frame_reader){0};
    assert_int_equal(feed(&r, "\xFF\xFF\xFF\xFF", 4, &em), LT_ELIMIT);
    assert_null(r.body.data);
    r = (struct frame_reader){0};
    assert_int_equal(feed(&r, "\x01\x00\x00\x01", 4, &em), LT_ELIMIT); /* 16 MiB + 1 */
    r = (struct frame_reader){.max = 8};
    assert_int_equal(feed(&r, "\x09\0\0\0", 4, &em), LT_ELIMIT);
    assert_non_null(strstr(em.text, "at most 8"));
    r = (struct frame_reader){.max = 8};
    assert_int_equal(feed(&r, "\x08\0\0\0" "12345678", 12, &em), 1);
    frame_reader_finish(&r);
}

/* A claim of 16 MiB followed by a few bytes holds a few bytes. */
static void test_memory_follows_bytes(void **state)
{
    struct frame_reader r = {0};
    assert_int_equal(feed(&r, "\x00\x00\x00\x01" "abc", 7, NULL), 0);
    assert_in_range(r.body.cap, 3, 64);
    assert_int_equal(frame_pending(&r), 7);
    assert_int_equal(frame_need(&r), 16 << 20);
    frame_reader_finish(&r);
    assert_int_equal(feed(&r, "\x05\0\0", 3, NULL), 0);
    assert_int_equal(frame_need(&r), 0); /* not known yet */
    assert_int_equal(feed(&r, "\0" "1234", 5, NULL), 0);
    assert_int_equal(frame_need(&r), 5);
    assert_int_equal(feed(&r, "5", 1, NULL), 1);
    assert_int_equal(frame_need(&r), 0);
    frame_reader_finish(&r);
}

static void test_large_buffer_is_given_back(void **state)
{
    struct frame_reader r = {0};
    size_t len = 1 << 20;
    char *data = calloc(1, len);
    struct bytes_out o = {0};
    assert_non_null(data);
    assert_int_equal(frame_put(&o, data, len), 0);
    assert_int_equal(feed(&r, o.data, o.len, NULL), 1);
    assert_int_equal(feed(&r, "\x01", 1, NULL), 0);
    assert_int_equal(r.body.cap, 0);
    assert_int_equal(frame_put(&o, data, 0), LT_ELIMIT);
    frame_reader_finish(&r);
    bytes_out_finish(&o);
    free(data);
}

static void test_pool(void **state)
{
    struct pool *p = pool_create(100000);
    assert_non_null(p);
    char *small[64];
    for (int i = 0; i < 64; i++) {
        small[i] = pool_alloc(p, (size_t)i);
        assert_non_null(small[i]);
        assert_int_equal((uintptr_t)small[i] % 8, 0);
        memset(small[i], i, (size_t)i);
    }
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < i; j++)
            assert_int_equal(small[i][j], i);
    size_t used = pool_used(p);
    void *a = pool_alloc(p, 50000), *b = pool_alloc(p, 30000);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(pool_alloc(p, 50000));
    assert_null(pool_alloc(p, SIZE_MAX));
    assert_null(pool_calloc(p, SIZE_MAX / 2, 3));
    pool_free(p, a);
    pool_free(p, NULL);
    pool_free(p, small[3]);
    a = pool_alloc(p, 50000);
    assert_non_null(a);
    pool_free(p, b);
    pool_free(p, a);
    assert_int_equal(pool_used(p), used);
    assert_string_equal(pool_strdup(p, "word"), "word");
    pool_destroy(&p);
    assert_null(p);
    pool_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_portions),
        cmocka_unit_test(test_forged_lengths),
        cmocka_unit_test(test_memory_follows_bytes),
        cmocka_unit_test(test_large_buffer_is_given_back),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
