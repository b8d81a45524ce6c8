/* Documents of many chunks: as many hits as there are documents, and the right reason where there are fewer. */
#include "store_kit.h"

#define DIM 4u

struct folder {
    char dir[128];
    struct index *ix;
    struct index_reader *r;
};

/* recover: without graphs, so that every search compares the store's vectors. */
static void open_folder(struct folder *f, bool recover)
{
    struct err_msg em;
    kit_dir(f->dir);
    struct index_params p = {.dir = f->dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM, .recover = recover};
    kit_ok(index_open(&f->ix, &p, &em), &em);
    kit_ok(index_reader_create(&f->r, f->ix, &em), &em);
    kit_ok(index_create(f->ix, &(struct index_collection_params){.name = "c", .dim = DIM, .vectors_only = true, .m = 4,
                        .ef_construction = 8}, &em), &em);
}

static void close_folder(struct folder *f)
{
    index_reader_destroy(&f->r);
    index_close(&f->ix);
    kit_remove(f->dir);
}

/* A document of n chunks, each with a word of its text; near: towards the first axis, else away from it. */
static void put(struct folder *f, int id, size_t n, bool near, uint64_t *seed)
{
    struct err_msg em;
    char name[16], *text = malloc(6 * n + 1);
    struct index_span *spans = malloc(n * sizeof *spans);
    float *v = malloc(n * DIM * sizeof *v);
    snprintf(name, sizeof name, "%d", id);
    for (size_t i = 0; i < n; i++) {
        memcpy(text + 6 * i, "zebra ", 6);
        spans[i] = (struct index_span){(uint32_t)(6 * i), (uint32_t)(6 * i + 5)};
        for (unsigned j = 0; j < DIM; j++)
            v[i * DIM + j] = (float)(unit_rand(seed) >> 40) / (1 << 25);
        v[i * DIM] += near ? 1 : -1;
    }
    struct index_doc d = {.collection = "c", .id = name, .id_len = strlen(name), .text = text, .text_len = 6 * n, .spans = spans,
                          .n_spans = n, .vectors = v, .dim = DIM};
    kit_ok(index_put(f->ix, &d, &em), &em);
    free(v);
    free(spans);
    free(text);
}

static size_t search(struct folder *f, enum index_mode mode, uint32_t k, enum index_short *why)
{
    static const float v[DIM] = {1};
    struct err_msg em;
    struct index_result res;
    struct index_query q = {.collection = "c", .vector = v, .dim = DIM, .text = "zebra", .text_len = 5, .k = k, .mode = mode, .no_text = true};
    kit_ok(index_search(f->r, &q, &res, &em), &em);
    size_t n = res.n;
    *why = res.why;
    index_result_finish(&res);
    return n;
}

/* More hits are asked for than there are documents, but not than there are chunks. */
static void test_all_of_them(void **state)
{
    struct folder f;
    enum index_short why;
    uint64_t seed = 3;
    (void)state;
    open_folder(&f, false);
    for (int i = 0; i < 200; i++)
        put(&f, i, 80, i % 2, &seed);
    kit_commit(f.ix);
    for (int mode = INDEX_HYBRID; mode <= INDEX_TEXT; mode++) {
        assert_int_equal(search(&f, (enum index_mode)mode, INDEX_K_MAX, &why), 200);
        assert_int_equal(why, INDEX_SHORT_EXHAUSTED);
    }
    close_folder(&f);
}

/* One whose chunks are all before the others' hides none of them while the graph is not there. */
static void test_without_graph(void **state)
{
    struct folder f;
    enum index_short why;
    uint64_t seed = 3;
    (void)state;
    open_folder(&f, true);
    put(&f, 0, 500, true, &seed);
    for (int i = 1; i <= 20; i++)
        put(&f, i, 1, false, &seed);
    kit_commit(f.ix);
    assert_int_equal(search(&f, INDEX_DENSE, 10, &why), 10);
    assert_int_equal(why, INDEX_SHORT_NONE);
    assert_int_equal(search(&f, INDEX_DENSE, 30, &why), 21);
    assert_int_equal(why, INDEX_SHORT_EXHAUSTED);
    close_folder(&f);
}

/* More chunks of few documents than a search looks at: there is more, and it says so. */
static void test_budget(void **state)
{
    struct folder f;
    enum index_short why;
    uint64_t seed = 3;
    (void)state;
    open_folder(&f, true);
    for (int i = 0; i < 2; i++)
        put(&f, i, GRAPH_EF_MAX / 2 + 1000, true, &seed);
    for (int i = 2; i < 20; i++)
        put(&f, i, 1, false, &seed);
    kit_commit(f.ix);
    assert_int_equal(search(&f, INDEX_DENSE, 10, &why), 2);
    assert_int_equal(why, INDEX_SHORT_BUDGET);
    close_folder(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_them),
        cmocka_unit_test(test_without_graph),
        cmocka_unit_test(test_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
