/* Vectors that a graph does not have yet are scored as it scores. */
#include "store_kit.h"

#define DIM 4u
#define N 9

/* Far from the origin and near each other, where the difference of large squares would be nothing but rounding. */
static void vector(int i, float v[static DIM])
{
    for (unsigned j = 0; j < DIM; j++)
        v[j] = 1000;
    v[i % DIM] += 0.0625f * (float)i; /* exact in f32 */
}

static void check_order(struct index *ix)
{
    struct index_reader *r;
    struct index_result res;
    struct err_msg em;
    float q[DIM];
    vector(0, q);
    struct index_query query = {.collection = "c", .vector = q, .dim = DIM, .k = N, .mode = INDEX_DENSE};
    kit_ok(index_reader_create(&r, ix, &em), &em);
    kit_ok(index_search(r, &query, &res, &em), &em);
    assert_int_equal(res.n, N);
    for (int i = 0; i < N; i++) {
        const float d = 0.0625f * (float)i;
        assert_int_equal(res.hits[i].id[0], '0' + i);
        assert_float_equal(res.hits[i].score, -d * d, 1e-6);
    }
    index_result_finish(&res);
    index_reader_destroy(&r);
}

static void test_near_each_other(void **state)
{
    char dir[128];
    struct index *ix = NULL;
    struct err_msg em;
    (void)state;
    kit_dir(dir);
    for (int recover = 1; recover >= 0; recover--) { /* without graphs, then with one */
        struct index_params p = {.dir = dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM, .recover = recover};
        bool more = true;
        kit_ok(index_open(&ix, &p, &em), &em);
        if (recover)
            kit_ok(index_create(ix, &(struct index_collection_params){.name = "c", .dim = DIM, .metric = METRIC_L2, .vectors_only = true},
                                &em), &em);
        for (int i = 0; recover && i < N; i++) {
            char id[2] = {(char)('0' + i), 0};
            float v[DIM];
            vector(i, v);
            struct index_doc d = {.collection = "c", .id = id, .id_len = 1, .vectors = v, .dim = DIM};
            kit_ok(index_put(ix, &d, &em), &em);
        }
        kit_commit(ix);
        while (more)
            kit_ok(index_maintain(ix, 10, &more, &em), &em);
        check_order(ix);
        index_close(&ix);
    }
    kit_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_near_each_other)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
