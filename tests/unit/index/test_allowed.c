/* The sets of chunks that filters keep: what goes from them, for whom they are, and that they are given back. */
#include "kit_box.h"

#include "index/reader.h"

#define FILTER "kind = 'a'"

static void put(struct box *b, int i, const char *text, uint64_t job)
{
    char id[16];
    struct err_msg em;
    snprintf(id, sizeof id, "d%d", i);
    kit_ok(kit_put(b->ix, "c", id, text, i % 2 ? "{\"kind\":\"b\"}" : "{\"kind\":\"a\"}", job, &em), &em);
}

static void put_many(struct box *b, int n, const char *text, uint64_t job)
{
    for (int i = 0; i < n; i++)
        put(b, i, text, job);
    kit_commit(b->ix);
}

/* As a search does, in a view that begins now, or in the one that is open. */
static int get(struct box *b, struct index_reader *r, bool begin, struct allowed **out)
{
    struct err_msg em;
    struct collection *c = collection_find(b->ix, "c");
    const uint64_t n_erased = (uint64_t)atomic_load(&c->erased);
    if (begin)
        kit_ok(reader_begin(r, &em), &em);
    const struct allowed_view v = {.db = r->db, .rows = &r->allowed, .chunks = &r->allowed_chunks, .coll = c->id, .seq = r->seq, .n_erased = n_erased};
    int ret = allowed_get(&c->allowed, &v, FILTER, out, &em);
    kit_ok(ret, &em);
    collection_release(c);
    return ret;
}

static uint64_t n_members(struct box *b)
{
    struct allowed *a;
    assert_int_equal(get(b, b->r, true, &a), 0);
    reader_end(b->r);
    uint64_t n = a->n, counted = 0, *labels = malloc((n + 1) * sizeof *labels);
    allowed_list(a, labels);
    for (uint64_t i = 0; i < n; i++)
        counted += allowed_has(a, labels[i]) && (i == 0 || labels[i] > labels[i - 1]);
    assert_int_equal(counted, n);
    assert_true(n == 0 || a->n_bits / 64 <= (labels[n - 1] - labels[0]) / 64 + 2);
    free(labels);
    allowed_release(a);
    return n;
}

/* Documents that are replaced again and again: the set tells about how many there are, in the memory of so many. */
static void test_replaced(void **state)
{
    struct box *b = *state;
    char text[32];
    for (int i = 0; i < 5; i++) {
        snprintf(text, sizeof text, "words of version %d", i);
        put_many(b, 2000, text, 0);
        assert_int_equal(kit_embed_pending(b->ix), 2000);
        const uint64_t n = n_members(b);
        assert_true(n >= 1000);
        assert_true(n <= 1000 + 1000 / 4 + 1024 + 1000);
    }
}

static void test_deleted(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    struct index_result res;
    put_many(b, 4000, "words", 0);
    kit_embed_pending(b->ix);
    assert_int_equal(n_members(b), 2000);
    for (int i = 1000; i < 4000; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%d", i);
        kit_ok(index_delete(b->ix, "c", id, strlen(id), &em), &em);
    }
    kit_commit(b->ix);
    assert_int_equal(n_members(b), 500);
    kit_ok(kit_search(b->r, "c", INDEX_DENSE, "words", FILTER, 1000, &res), &em);
    assert_int_equal(res.n, 500);
    index_result_finish(&res);
}

/* Whether they were searchable or not. */
static void test_dropped(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    uint64_t job;
    put(b, 1000000, "words", 0);
    kit_commit(b->ix);
    kit_ok(index_job_open(b->ix, "c", "many", 0, 0, &job, &em), &em);
    put_many(b, 4000, "words", job);
    assert_int_equal(n_members(b), 2001);
    kit_cancel(b->ix, job);
    assert_int_equal(n_members(b), 1);
}

/* A view from before a replacement does not get the set of one from after it, which lacks the old version. */
static void test_newer_view(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    struct index_reader *late;
    struct allowed *a = NULL, *old = NULL;
    kit_ok(index_reader_create(&late, b->ix, &em), &em);
    put(b, 0, "the first version", 0);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    kit_ok(reader_begin(late, &em), &em);
    put(b, 0, "the second version", 0);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    assert_int_equal(get(b, b->r, true, &a), 0);
    reader_end(b->r);
    assert_false(allowed_has(a, 1));
    assert_int_equal(get(b, late, false, &old), 1);
    assert_null(old);
    reader_end(late);
    assert_int_equal(get(b, late, true, &old), 0);
    assert_ptr_equal(old, a);
    reader_end(late);
    allowed_release(a);
    allowed_release(old);
    index_reader_destroy(&late);
}

static void test_given_back(void **state)
{
    struct box *b = *state;
    struct index_status st;
    put_many(b, 640, "words", 0);
    kit_embed_pending(b->ix);
    index_get_status(b->ix, &st);
    assert_int_equal(st.bytes_filters, 0);
    n_members(b);
    index_get_status(b->ix, &st);
    assert_true(st.bytes_filters >= 640 / 8 + sizeof FILTER);
    assert_true(st.bytes_filters <= 1024);
    index_set_lean(b->ix, true);
    index_get_status(b->ix, &st);
    assert_int_equal(st.bytes_filters, 0);
    assert_int_equal(n_members(b), 320);
}

#define T(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_replaced), T(test_deleted), T(test_dropped), T(test_newer_view), T(test_given_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
