/* Index files of hnswlib: the same answers, and nothing but refusals from files that lie. The fixture is real
 * (tests/tools/make_hnswlib_fixture.py). */
#include "store_kit.h"

#include "base/file.h"
#include "index/graph_import.h"

#define N 600
#define DIM 8
#define N_QUERIES 50
#define K 10

static char *good;
static size_t good_len;

static char *golden(const char *name, size_t *len)
{
    char path[4200], *data = NULL;
    struct err_msg em;
    snprintf(path, sizeof path, "%s/tests/golden/hnswlib/%s", getenv("LATENTD_SRC"), name);
    kit_ok(file_read(path, 1 << 20, &data, len, &em), &em);
    return data;
}

static int load(void **state)
{
    good = golden("index.bin", &good_len);
    return 0;
}

static int unload(void **state)
{
    free(good);
    return 0;
}

static struct graph *import(const char *data, size_t len, enum graph_codes codes)
{
    struct hnswlib_file f;
    struct err_msg em;
    struct graph *g = NULL;
    struct graph_report rep;
    uint64_t seq, labels[N];
    kit_ok(hnswlib_open(&f, data, len, DIM, &em), &em);
    assert_int_equal(f.n, N);
    for (uint32_t i = 0; i < f.n; i++) {
        labels[i] = hnswlib_label(&f, i);
        assert_int_equal(labels[i], 5 * i + 2);
    }
    struct graph_params p = {.dim = DIM, .metric = METRIC_L2, .m = f.m, .ef_construction = f.ef_construction, .codes = codes};
    kit_ok(graph_open(&g, NULL, &p, &seq, NULL, &em), &em);
    kit_ok(graph_import(g, &f, labels), &em);
    assert_int_equal(graph_check(g, &rep), 0);
    hnswlib_finish(&f);
    return g;
}

/* With exact distances a walk at the same ef finds the same, in the same order. */
static void test_same_answers(void **state)
{
    static const uint32_t efs[] = {10, 30, 100};
    size_t len, n, same = 0;
    float *queries = (float *)(void *)golden("queries.f32", &len);
    assert_int_equal(len, N_QUERIES * DIM * sizeof *queries);
    uint64_t *answers = (uint64_t *)(void *)golden("answers.u64", &len);
    assert_int_equal(len, 3 * N_QUERIES * K * sizeof *answers);
    struct graph *g = import(good, good_len, GRAPH_CODES_F32);
    struct graph_scratch *s;
    assert_int_equal(graph_scratch_create(&s), 0);
    for (size_t e = 0; e < 3; e++) {
        for (size_t i = 0; i < N_QUERIES; i++) {
            struct graph_hit hits[K];
            struct graph_query q = {.v = queries + i * DIM, .k = K, .ef = efs[e]};
            assert_int_equal(graph_search(g, s, &q, hits, &n, NULL), 0);
            assert_int_equal(n, K);
            for (size_t j = 0; j < K; j++)
                for (size_t l = 0; l < K; l++) /* at equal distance either may come first */
                    same += hits[j].label == answers[(e * N_QUERIES + i) * K + l];
        }
    }
    print_message("%zu of %d results are hnswlib's\n", same, 3 * N_QUERIES * K);
    assert_true(same * 1000 >= 999 * 3 * N_QUERIES * K);
    graph_scratch_destroy(&s);
    graph_destroy(&g);
    free(queries);
    free(answers);
}

/* The graph lives on: what was taken over can be removed, replaced and added to. */
static void test_lives_on(void **state)
{
    char *marked = malloc(good_len);
    size_t record = 4 * (1 + 2 * 4) + 4 * DIM + 8;
    float v[DIM] = {0.5f, 0.25f};
    memcpy(marked, good, good_len);
    marked[96 + 3 * record + 2] |= 1; /* hnswlib's mark of deletion: elements 3 and 10 */
    marked[96 + 10 * record + 2] |= 1;
    for (int codes = GRAPH_CODES_INT8; codes <= GRAPH_CODES_1BIT; codes++) {
        struct graph_report rep;
        struct graph *g = import(marked, good_len, (enum graph_codes)codes);
        assert_int_equal(graph_count(g), N - 2);
        assert_false(graph_has(g, 5 * 3 + 2));
        assert_true(graph_has(g, 5 * 4 + 2));
        for (uint64_t i = 0; i < N; i += 2) {
            v[2] = (float)i / N;
            assert_int_equal(graph_add(g, i % 4 ? 5 * i + 2 : 100000 + i, v), 0);
            if (i != 10)
                assert_int_equal(graph_remove(g, 5 * i + 2), 0);
        }
        assert_int_equal(graph_check(g, &rep), 0);
        assert_int_equal(rep.n_reached, graph_count(g));
        graph_destroy(&g);
    }
    free(marked);
}

static void refused(const char *what, size_t at, uint64_t value, size_t bytes)
{
    struct hnswlib_file f;
    struct err_msg em = {""};
    char *bad = malloc(good_len);
    memcpy(bad, good, good_len);
    memcpy(bad + at, &value, bytes);
    int r = hnswlib_open(&f, bad, good_len, DIM, &em);
    free(bad);
    if (r == 0)
        fail_msg("%s: taken", what);
    assert_true(r == LT_EFORMAT || r == LT_EUNSUPPORTED);
    assert_true(em.text[0]);
}

/* Each field in turn says something that is not so. */
static void test_forged(void **state)
{
    size_t record = 4 * (1 + 2 * 4) + 4 * DIM + 8, upper = 96 + N * record, at = upper;
    uint32_t size;
    static const uint64_t odd[] = {0, 1, 3, 5, 7, 9, 601, 65536, 1u << 31, UINT32_MAX, 1ull << 32, 1ull << 61, UINT64_MAX};
    static const struct {
        const char *what;
        size_t at;
    } fields[] = {{"elements", 16}, {"bytes an element", 24}, {"label's place", 32}, {"vector's place", 40},
                  {"M above", 56},  {"M below", 64},          {"M", 72}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (size_t j = 0; j < sizeof odd / sizeof *odd; j++)
            refused(fields[i].what, fields[i].at, odd[j], 8);
    refused("start", 0, 8, 8);
    refused("room", 8, N - 1, 8);
    refused("highest level", 48, 31, 4);
    refused("highest level", 48, UINT32_MAX, 4);
    refused("entry", 52, N, 4);
    refused("entry", 52, UINT32_MAX, 4);
    refused("links", 96, 9, 2);
    refused("links", 96, UINT16_MAX, 2);
    refused("a link", 100, N, 4);
    refused("a link", 100, UINT32_MAX, 4);
    refused("label", 96 + record - 8, 7, 8); /* element 1 has it */
    refused("bytes of upper lists", upper, 1, 4);
    refused("bytes of upper lists", upper, 20 * 32, 4);
    refused("bytes of upper lists", upper, UINT32_MAX, 4);
    for (memcpy(&size, good + at, 4); !size; memcpy(&size, good + at, 4))
        at += 4;
    refused("upper links", at + 4, 5, 2);
    refused("an upper link", at + 8, N, 4);
    refused("bytes of upper lists", at, 0, 4);
}

/* The file changes behind the checks, as one that is mapped may: lists keep to their room and to the elements that there are. */
static void test_changed_behind(void **state)
{
    char *changed = malloc(good_len);
    struct hnswlib_file f;
    struct err_msg em;
    uint32_t links[2 * 4], upper = 0;
    memcpy(changed, good, good_len);
    kit_ok(hnswlib_open(&f, changed, good_len, DIM, &em), &em);
    while (!f.level[upper])
        upper++;
    for (uint32_t level = 0; level < 2; level++) {
        const uint32_t i = level ? upper : 0, room = level ? 4 : 8;
        const size_t at = level ? f.upper[i] : 96;
        const uint16_t n = level ? 5 : 9;
        const uint32_t to = N;
        memcpy(changed + at, &n, sizeof n);
        memcpy(changed + at + 4, &to, sizeof to);
        const uint32_t got = hnswlib_links(&f, i, level, links);
        assert_true(got <= room);
        for (uint32_t j = 0; j < got; j++)
            assert_true(links[j] < N && f.level[links[j]] >= level);
    }
    hnswlib_finish(&f);
    free(changed);
}

static void test_cut_short(void **state)
{
    struct hnswlib_file f;
    struct err_msg em;
    for (size_t len = 0; len < good_len; len += len < 200 || len > good_len - 200 ? 1 : 37) {
        char *cut = malloc(len + !len); /* its very end, for the address sanitizer */
        memcpy(cut, good, len);
        assert_int_equal(hnswlib_open(&f, cut, len, DIM, &em), LT_EFORMAT);
        free(cut);
    }
    char *more = calloc(1, good_len + 1);
    memcpy(more, good, good_len);
    assert_int_equal(hnswlib_open(&f, more, good_len + 1, DIM, &em), LT_EFORMAT);
    free(more);
    for (uint32_t dim = 0; dim < 100; dim++)
        if (dim != DIM)
            assert_true(hnswlib_open(&f, good, good_len, dim, &em) < 0);
}

/* Into a folder: documents by label, found after a reopening, nothing left of an import that failed. */
static void test_into_folder(void **state)
{
    char dir[128], path[4200];
    struct err_msg em = {""};
    struct index_collection c;
    struct index_check_report rep;
    uint64_t n;
    struct index *ix = kit_open(kit_dir(dir));
    snprintf(path, sizeof path, "%s/tests/golden/hnswlib/index.bin", getenv("LATENTD_SRC"));
    struct index_import p = {.path = path, .name = "h", .dim = DIM, .metric = METRIC_L2, .codes = GRAPH_CODES_F32};
    kit_ok(index_import_hnswlib(ix, &p, &n, &em), &em);
    assert_int_equal(n, N);
    assert_int_equal(index_import_hnswlib(ix, &p, &n, &em), LT_EEXIST);
    p.name = "other";
    p.dim = DIM + 1;
    assert_int_equal(index_import_hnswlib(ix, &p, &n, &em), LT_EFORMAT);
    assert_int_equal(index_info(ix, "other", &c, &em), LT_ENOTFOUND);
    index_close(&ix);
    assert_int_equal(index_check_folder(&(struct index_check_params){.dir = dir}, &rep, &em), 0);
    ix = kit_open(dir);
    kit_ok(index_info(ix, "h", &c, &em), &em);
    assert_int_equal(c.documents, N);
    assert_false(c.degraded);
    assert_string_equal(c.index_kind, "hnsw-f32");
    index_close(&ix);
    kit_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_answers), cmocka_unit_test(test_lives_on),    cmocka_unit_test(test_forged),
        cmocka_unit_test(test_changed_behind), cmocka_unit_test(test_cut_short),    cmocka_unit_test(test_into_folder),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
