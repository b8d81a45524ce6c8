/* Searching: modes, filters against brute force, refills, degraded answers, bad questions. */
#include "store_kit.h"

#include <sys/wait.h>

#include "base/clock.h"
#include "index/fuse.h"

#define N_DOCS 3000

static char dir[128];
static struct index *ix;
static struct index_reader *rd;
static float *vectors; /* of the collection v, by document */

static void doc_metadata(int i, char *out, size_t size)
{
    snprintf(out, size, "{\"i\":%d,\"mod2\":%d,\"mod100\":%d,\"late\":%s}", i, i % 2, i % 100,
             i >= N_DOCS - 3 ? "true" : "false");
}

static void random_vector(uint64_t *seed, float *v)
{
    for (unsigned j = 0; j < KIT_DIM; j++)
        v[j] = (float)(unit_rand(seed) >> 40) / (1 << 23) - 1;
}

/* A collection of clients' vectors, with texts and metadata. */
static void fill_vectors(struct index *to)
{
    uint64_t seed = 5;
    struct err_msg em;
    kit_ok(index_create(to, &(struct index_collection_params){.name = "v", .dim = KIT_DIM, .vectors_only = true},
                        &em), &em);
    for (int i = 0; i < N_DOCS; i++) {
        char id[16], text[64], meta[100];
        float *v = vectors + (size_t)i * KIT_DIM;
        snprintf(id, sizeof id, "%d", i);
        snprintf(text, sizeof text, "number%d every%s", i, i % 40 ? "" : " rare");
        doc_metadata(i, meta, sizeof meta);
        random_vector(&seed, v);
        struct index_doc d = {.collection = "v", .id = id, .id_len = strlen(id), .text = text,
                              .text_len = strlen(text), .metadata = meta, .metadata_len = strlen(meta),
                              .vectors = v, .dim = KIT_DIM};
        kit_ok(index_put(to, &d, &em), &em);
        if (i % 500 == 499)
            kit_commit(to);
    }
    kit_commit(to);
}

static int setup(void **state)
{
    vectors = malloc(sizeof *vectors * N_DOCS * KIT_DIM);
    kit_dir(dir);
    ix = kit_open(dir);
    assert_int_equal(index_reader_create(&rd, ix, NULL), 0);
    fill_vectors(ix);
    return 0;
}

static int teardown(void **state)
{
    index_reader_destroy(&rd);
    index_close(&ix);
    kit_remove(dir);
    free(vectors);
    return 0;
}

static double cosine(const float *a, const float *b)
{
    double d = 0, x = 0, y = 0;
    for (unsigned j = 0; j < KIT_DIM; j++) {
        d += (double)a[j] * b[j];
        x += (double)a[j] * a[j];
        y += (double)b[j] * b[j];
    }
    return d / sqrt(x * y);
}

static bool passes(int i, int which)
{
    return which == 0 || (which == 1 && i % 2 == 1) || (which == 2 && i % 100 == 7) ||
           (which == 3 && i >= N_DOCS - 3) || (which == 4 && i < 290);
}

static void test_filters_recall(void **state)
{
    static const char *const filters[] = {NULL, "mod2 = 1", "mod100 = 7", "late", "i < 290", "i < 0"};
    uint64_t seed = unit_seed();
    for (int which = 0; which < 6; which++) {
        int found = 0, want = 0;
        for (int n = 0; n < 30; n++) {
            float q[KIT_DIM];
            double best[N_DOCS];
            struct index_result res;
            struct err_msg em;
            int total = 0;
            random_vector(&seed, q);
            struct index_query query = {.collection = "v", .vector = q, .dim = KIT_DIM, .k = 10,
                                        .mode = INDEX_DENSE, .filter = filters[which]};
            kit_ok(index_search(rd, &query, &res, &em), &em);
            for (int i = 0; i < N_DOCS; i++)
                if (passes(i, which))
                    best[total++] = cosine(q, vectors + (size_t)i * KIT_DIM);
            int expect = total < 10 ? total : 10;
            assert_int_equal(res.n, expect);
            assert_int_equal(res.why, expect == 10 ? INDEX_SHORT_NONE : INDEX_SHORT_FILTER);
            for (size_t h = 0; h < res.n; h++) {
                int i = atoi(res.hits[h].id), better = 0;
                assert_true(passes(i, which));
                double s = cosine(q, vectors + (size_t)i * KIT_DIM);
                assert_true(fabs(s - res.hits[h].score) < 1e-4);
                for (int j = 0; j < total; j++)
                    better += best[j] > s + 1e-9;
                found += better < 10;
            }
            want += expect;
            index_result_finish(&res);
        }
        if (found < want * 95 / 100)
            fail_msg("filter %s: %d of %d", filters[which] ? filters[which] : "none", found, want);
    }
}

static void test_k(void **state)
{
    struct err_msg em;
    struct index_result res;
    struct index_query q = {.collection = "v", .vector = vectors, .dim = KIT_DIM, .k = N_DOCS + 100,
                            .mode = INDEX_DENSE, .no_text = true};
    kit_ok(index_search(rd, &q, &res, &em), &em);
    assert_int_equal(res.n, N_DOCS);
    assert_int_equal(res.why, INDEX_SHORT_EXHAUSTED);
    index_result_finish(&res);
    q.k = N_DOCS;
    kit_ok(index_search(rd, &q, &res, &em), &em);
    assert_int_equal(res.n, N_DOCS);
    index_result_finish(&res);
    q.k = INDEX_K_MAX + 1;
    assert_int_equal(index_search(rd, &q, &res, &em), LT_ELIMIT);
    q.k = 5;
    q.exact = true;
    kit_ok(index_search(rd, &q, &res, &em), &em);
    assert_string_equal(res.hits[0].id, "0");
    assert_int_equal(res.ef, 0);
    index_result_finish(&res);
}

static void test_words(void **state)
{
    struct index_result res;
    /* "every" is in all, so only "rare" counts; with nothing else, it does count. */
    assert_int_equal(kit_search(rd, "v", INDEX_TEXT, "every rare", NULL, 100, &res), 0);
    assert_int_equal(res.n, N_DOCS / 40);
    index_result_finish(&res);
    assert_int_equal(kit_search(rd, "v", INDEX_TEXT, "every", "i < 30", 100, &res), 0);
    assert_int_equal(res.n, 30);
    index_result_finish(&res);
    assert_int_equal(kit_search(rd, "v", INDEX_TEXT, "\"number17\" AND OR NOT ( * ^ : number18", NULL, 10, &res), 0);
    assert_int_equal(res.n, 2);
    index_result_finish(&res);
    assert_int_equal(kit_search(rd, "v", INDEX_TEXT, "absent ?!", NULL, 10, &res), 0);
    assert_int_equal(res.n, 0);
    assert_int_equal(res.why, INDEX_SHORT_EXHAUSTED);
    index_result_finish(&res);
    assert_int_equal(kit_search(rd, "v", INDEX_TEXT, "", NULL, 10, &res), LT_EEMPTY);
}

#define N_TEXTS 400
#define N_TERMS 60

/* Text hits against BM25 counted by hand: word k of the vocabulary is in about every k-th text. The common ones
 * (in more than a tenth) find nothing, but they count in the scores. */
static void test_bm25(void **state)
{
    static unsigned tf[N_TEXTS][N_TERMS], length[N_TEXTS];
    unsigned total = 0, df[N_TERMS] = {0};
    uint64_t seed = unit_seed();
    struct err_msg em;
    struct index_result res;
    kit_ok(index_create(ix, &(struct index_collection_params){.name = "bm25", .dim = 2, .vectors_only = true}, &em),
           &em);
    for (int i = 0; i < N_TEXTS; i++) {
        char id[16], text[8192] = "pad";
        length[i] = 1;
        for (unsigned k = 1; k < N_TERMS; k++) {
            tf[i][k] = unit_rand(&seed) % k == 0 ? 1 + (unsigned)(unit_rand(&seed) % 3) : 0;
            df[k] += tf[i][k] > 0;
            length[i] += tf[i][k];
            for (unsigned n = 0; n < tf[i][k]; n++)
                snprintf(text + strlen(text), sizeof text - strlen(text), " Kz%u", k);
        }
        total += length[i];
        snprintf(id, sizeof id, "%d", i);
        struct index_doc d = {.collection = "bm25", .id = id, .id_len = strlen(id), .text = text,
                              .text_len = strlen(text), .vectors = (float[]){1, (float)i}, .dim = 2};
        kit_ok(index_put(ix, &d, &em), &em);
    }
    kit_commit(ix);
    for (int round = 0; round < 20; round++) {
        unsigned words[8], n_found = 0;
        char question[200] = "the";
        for (int j = 0; j < 8; j++) { /* the last one says the first again */
            words[j] = j == 7 ? words[0] : 1 + (unsigned)(unit_rand(&seed) % (N_TERMS - 1));
            snprintf(question + strlen(question), sizeof question - strlen(question), " kz%u", words[j]);
        }
        struct index_query q = {.collection = "bm25", .text = question, .text_len = strlen(question), .k = N_TEXTS,
                                .mode = INDEX_TEXT};
        kit_ok(index_search(rd, &q, &res, &em), &em);
        bool rare = false;
        for (int j = 0; j < 8; j++)
            rare = rare || (df[words[j]] && df[words[j]] <= N_TEXTS / 10);
        for (int i = 0; i < N_TEXTS; i++) {
            char id[16];
            double score = 0;
            bool found = false;
            for (int j = 0; j < 8; j++) {
                double f = tf[i][words[j]], n = df[words[j]];
                found = found || (f > 0 && (!rare || n <= N_TEXTS / 10));
                score += log(1 + (N_TEXTS - n + 0.5) / (n + 0.5)) * f * 1.9 /
                         (f + 0.9 * (0.6 + 0.4 * length[i] * N_TEXTS / total));
            }
            snprintf(id, sizeof id, "%d", i);
            int at = kit_rank(&res, id);
            assert_true((at >= 0) == found);
            if (found && fabs(res.hits[at].score - score) > 1e-4 * score)
                fail_msg("\"%s\" scores text %d with %f, not %f", question, i, (double)res.hits[at].score, score);
            n_found += found;
        }
        assert_int_equal(res.n, n_found);
        for (size_t i = 1; i < res.n; i++)
            assert_true(res.hits[i - 1].score >= res.hits[i].score);
        index_result_finish(&res);
    }
    kit_ok(index_drop(ix, "bm25", &em), &em);
}

static void test_hybrid(void **state)
{
    struct err_msg em;
    struct index_result res;
    struct index_query q = {.collection = "v", .text = "number1234", .text_len = 10,
                            .vector = vectors + 77 * KIT_DIM, .dim = KIT_DIM, .k = 5};
    kit_ok(index_search(rd, &q, &res, &em), &em);
    assert_int_equal(res.mode, INDEX_HYBRID);
    assert_int_equal(res.n, 5);
    assert_true(kit_rank(&res, "1234") >= 0 && kit_rank(&res, "1234") < 2);
    assert_true(kit_rank(&res, "77") >= 0 && kit_rank(&res, "77") < 2);
    index_result_finish(&res);
    q.text = "?";
    q.text_len = 1;
    kit_ok(index_search(rd, &q, &res, &em), &em);
    assert_int_equal(res.mode, INDEX_DENSE); /* no words in it */
    assert_string_equal(res.hits[0].id, "77");
    index_result_finish(&res);
    q.text = "number1234"; /* words alone, where the client has no vector */
    q.text_len = 10;
    q.vector = NULL;
    kit_ok(index_search(rd, &q, &res, &em), &em);
    assert_int_equal(res.mode, INDEX_TEXT);
    assert_int_equal(res.n, 1);
    assert_string_equal(res.hits[0].id, "1234");
    index_result_finish(&res);
}

static void test_weights(void **state)
{
    struct err_msg em;
    struct index_result res;
    struct index_query q = {.collection = "v", .text = "number1234", .text_len = 10,
                            .vector = vectors + 77 * KIT_DIM, .dim = KIT_DIM, .k = 5};
    static const struct {
        float dense, text;
        const char *first;
        double score;
    } cases[] = {{3, 1, "77", 3 / 61.0}, {1, 3, "1234", 3 / 61.0}, {0, 2, "1234", 2 / 61.0}, {0.5f, 0, "77", 0.5 / 61}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        q.dense_weight = cases[i].dense;
        q.text_weight = cases[i].text;
        kit_ok(index_search(rd, &q, &res, &em), &em);
        assert_string_equal(res.hits[0].id, cases[i].first);
        assert_true(fabs(res.hits[0].score - cases[i].score) < 1e-6);
        assert_true(res.dense_weight == cases[i].dense && res.text_weight == cases[i].text);
        index_result_finish(&res);
    }
    q.dense_weight = q.text_weight = 0;
    kit_ok(index_search(rd, &q, &res, &em), &em);
    assert_true(res.dense_weight == 1 && res.text_weight == 1);
    index_result_finish(&res);
    assert_int_equal(res.fusion, INDEX_FUSION_RANK);
    q.mode = INDEX_DENSE;
    q.fusion = INDEX_FUSION_SCORE;
    kit_ok(index_search(rd, &q, &res, &em), &em);
    assert_true(res.dense_weight == 0 && res.text_weight == 0);
    assert_int_equal(res.fusion, INDEX_FUSION_RANK);
    index_result_finish(&res);
}

/* What each list gives a document by standard scores, computed from the lists that the other modes answer. */
static void add_standard(double *sum, const struct index_result *list, int n_all)
{
    double mean = 0, squares = 0, absent = -FUSE_ABSENT;
    const int n = (int)list->n, total = n_all > n ? n_all : n;
    for (int i = 0; i < n; i++)
        mean += (double)list->hits[i].score / total;
    for (int i = 0; i < total; i++)
        squares += pow((i < n ? (double)list->hits[i].score : 0) - mean, 2);
    const double spread = sqrt(squares / total);
    if (n_all)
        absent = fmax(absent, -mean / spread);
    for (int i = 0; i < n; i++)
        sum[atoi(list->hits[i].id)] += (list->hits[i].score - mean) / spread - absent;
}

static void test_fusion_by_score(void **state)
{
    static const struct {
        const char *filter;
        int n_all; /* chunks that have words to be looked at, 100 at most */
    } cases[] = {{NULL, 100}, {"mod2 = 0", 100}, {"i < 50", 50}, {"mod100 = 7", 30}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        static double want[N_DOCS];
        struct err_msg em;
        struct index_result dense, words, res;
        struct index_query q = {.collection = "v", .text = "number1234 number44 rare", .text_len = 24, .filter = cases[c].filter,
                                .vector = vectors + 77 * KIT_DIM, .dim = KIT_DIM, .k = FUSE_DEPTH, .exact = true};
        memset(want, 0, sizeof want);
        q.mode = INDEX_DENSE;
        kit_ok(index_search(rd, &q, &dense, &em), &em);
        q.mode = INDEX_TEXT;
        kit_ok(index_search(rd, &q, &words, &em), &em);
        add_standard(want, &dense, 0);
        if (words.n)
            add_standard(want, &words, cases[c].n_all);
        q.mode = INDEX_HYBRID;
        q.fusion = INDEX_FUSION_SCORE;
        q.k = 20; /* whose lists are of 100 */
        kit_ok(index_search(rd, &q, &res, &em), &em);
        assert_int_equal(res.fusion, INDEX_FUSION_SCORE);
        assert_true(res.n == 20);
        for (size_t h = 0; h < res.n; h++) {
            int better = 0;
            const int at = atoi(res.hits[h].id);
            for (int i = 0; i < N_DOCS; i++)
                better += want[i] > want[at] + 1e-4;
            assert_true(fabs(res.hits[h].score - want[at]) < 1e-3);
            assert_true(better <= (int)h);
        }
        index_result_finish(&dense);
        index_result_finish(&words);
        index_result_finish(&res);
    }
}

/* Collections of nothing, of one document, of one text and vector many times over, and all of it deleted. */
static void test_edges(void **state)
{
    struct err_msg em;
    struct index_result res;
    float v[4] = {1, 2, 3, 4}, zero[4] = {0};
    kit_ok(index_create(ix, &(struct index_collection_params){.name = "e", .dim = 4, .vectors_only = true,
                                                              .metric = METRIC_IP}, &em), &em);
    static const enum index_mode modes[] = {INDEX_HYBRID, INDEX_DENSE, INDEX_TEXT};
    static const int steps[] = {0, 1, 2, 600, 0};
    int have = 0;
    for (size_t step = 0; step < sizeof steps / sizeof *steps; step++) {
        char id[16];
        for (; have < steps[step]; have++) {
            snprintf(id, sizeof id, "%d", have);
            struct index_doc d = {.collection = "e", .id = id, .id_len = strlen(id), .text = "same words", .text_len = 10,
                                  .vectors = v, .dim = 4};
            kit_ok(index_put(ix, &d, &em), &em);
        }
        for (; have > steps[step]; have--) {
            snprintf(id, sizeof id, "%d", have - 1);
            kit_ok(index_delete(ix, "e", id, strlen(id), &em), &em);
        }
        kit_commit(ix);
        for (size_t m = 0; m < 3; m++)
            for (uint32_t k = 0; k < 700; k = k ? k * 5 : 1) {
                struct index_query q = {.collection = "e", .text = "words", .text_len = 5, .vector = v, .dim = 4, .k = k,
                                        .mode = modes[m], .no_text = true};
                int want = have < (k ? (int)k : 10) ? have : k ? (int)k : 10;
                kit_ok(index_search(rd, &q, &res, &em), &em);
                assert_int_equal(res.k, k ? k : 10);
                if (res.n != (size_t)want)
                    fail_msg("%d same documents, mode %d, k %u: %zu hits", have, (int)modes[m], k, res.n);
                assert_int_equal(res.why, (uint32_t)want < res.k ? INDEX_SHORT_EXHAUSTED : INDEX_SHORT_NONE);
                index_result_finish(&res);
            }
    }
    /* A zero vector is a vector where only the inner product counts; every document is as near to it as any other. */
    struct index_doc d = {.collection = "e", .id = "z", .id_len = 1, .vectors = zero, .dim = 4};
    kit_ok(index_put(ix, &d, &em), &em);
    kit_commit(ix);
    struct index_query q = {.collection = "e", .vector = zero, .dim = 4, .mode = INDEX_DENSE};
    kit_ok(index_search(rd, &q, &res, &em), &em);
    assert_int_equal(res.n, 1);
    assert_true(res.hits[0].score == 0);
    index_result_finish(&res);
    kit_ok(index_drop(ix, "e", &em), &em);
}

static void test_bad_questions(void **state)
{
    struct err_msg em;
    struct index_result res;
    float bad[KIT_DIM] = {0};
    struct index_query good = {.collection = "v", .text = "rare", .text_len = 4, .vector = vectors, .dim = KIT_DIM};
#define TRY(code, ...)                                                                             \
    do {                                                                                           \
        struct index_query q = good;                                                               \
        __VA_ARGS__;                                                                               \
        int got = index_search(rd, &q, &res, &em);                                                 \
        if (got != (code))                                                                         \
            fail_msg("%s: %s: %s", #__VA_ARGS__, err_name(got), em.text);                          \
        assert_int_equal(res.n, 0);                                                                \
    } while (0)
    TRY(LT_ENOTFOUND, q.collection = "nope");
    TRY(LT_EDIM, q.dim = 3);
    TRY(LT_ENAN, q.vector = bad);
    bad[0] = NAN;
    TRY(LT_ENAN, q.vector = bad);
    bad[0] = 4e18f;
    TRY(LT_ENAN, q.vector = bad);
    assert_null(strstr(em.text, "search:")); /* said of the question, not by the graph */
    TRY(LT_EEMPTY, q.vector = NULL; q.mode = INDEX_DENSE);
    TRY(LT_EEMPTY, q.vector = NULL; q.text_len = 0);
    TRY(LT_EFORMAT, q.filter = "i = ");
    TRY(LT_EFORMAT, q.filter = "i = "; q.text = "unknown"; q.text_len = 7; q.mode = INDEX_TEXT); /* whatever words there are */
    TRY(LT_EUTF8, q.text = "\xff\xfe\xfd\xfc");
    TRY(LT_EUNSUPPORTED, q.fingerprint = KIT_MODEL);
    TRY(LT_ELIMIT, q.ef = GRAPH_EF_MAX + 1);
    TRY(LT_EINVAL, q.mode = 9);
    TRY(LT_EINVAL, q.fusion = 2);
    TRY(LT_EINVAL, q.text_weight = -1);
    TRY(LT_EINVAL, q.dense_weight = NAN);
    TRY(LT_EINVAL, q.dense_weight = 2e6f);
    TRY(LT_ETIMEOUT, q.deadline_ns = 1; q.filter = "i = 3 or i = 5");
    struct index_collection_params p = {.name = "m"};
    kit_ok(index_create(ix, &p, &em), &em);
    TRY(LT_EMODEL, q.collection = "m"; q.fingerprint = "another");
}

/* Deleted documents make room for the next ones. */
static void test_refill(void **state)
{
    struct err_msg em;
    struct index_result res;
    struct index_query q = {.collection = "v", .vector = vectors + 500 * KIT_DIM, .dim = KIT_DIM, .k = 20,
                            .mode = INDEX_DENSE, .no_text = true};
    for (int round = 0; round < 5; round++) {
        kit_ok(index_search(rd, &q, &res, &em), &em);
        assert_int_equal(res.n, 20);
        for (size_t i = 0; i < res.n; i++)
            kit_ok(index_delete(ix, "v", res.hits[i].id, strlen(res.hits[i].id), &em), &em);
        index_result_finish(&res);
        kit_commit(ix);
    }
    struct index_collection c;
    kit_ok(index_info(ix, "v", &c, &em), &em);
    assert_int_equal(c.documents, N_DOCS - 100);
    kit_check(ix);
}

/* A process that ends without closing: what its graph did not save is compared exactly, then inserted. */
static void test_degraded(void **state)
{
    char other[128];
    struct err_msg em;
    struct index_result res;
    struct index_reader *r2;
    struct index_collection c;
    kit_dir(other);
    pid_t pid = fork();
    if (pid == 0) {
        struct index *child = kit_open(other);
        fill_vectors(child);
        kit_ok(index_delete(child, "v", "11", 2, &em), &em);
        kit_commit(child);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct index *again = kit_open(other);
    kit_ok(index_reader_create(&r2, again, &em), &em);
    kit_ok(index_info(again, "v", &c, &em), &em);
    assert_true(c.degraded);
    bool more = true;
    for (int round = 0; more; round++) {
        for (int i = 10; i < 13; i++) {
            struct index_query q = {.collection = "v", .vector = vectors + (size_t)i * KIT_DIM, .dim = KIT_DIM,
                                    .k = 3, .mode = INDEX_DENSE};
            char id[16];
            snprintf(id, sizeof id, "%d", i);
            kit_ok(index_search(r2, &q, &res, &em), &em);
            assert_int_equal(res.n, 3);
            assert_true(res.degraded == c.degraded);
            assert_true((strcmp(res.hits[0].id, id) == 0) == (i != 11));
            index_result_finish(&res);
        }
        kit_ok(index_maintain(again, 20, &more, &em), &em);
        kit_ok(index_info(again, "v", &c, &em), &em);
    }
    assert_false(c.degraded);
    kit_check(again);
    index_reader_destroy(&r2);
    index_close(&again);
    /* Closed in peace: nothing to insert. */
    again = kit_open(other);
    kit_ok(index_info(again, "v", &c, &em), &em);
    assert_false(c.degraded);
    kit_check(again);
    index_close(&again);
    kit_remove(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters_recall), cmocka_unit_test(test_k),
        cmocka_unit_test(test_words),          cmocka_unit_test(test_bm25),
        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_weights),        cmocka_unit_test(test_fusion_by_score),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_bad_questions),  cmocka_unit_test(test_refill),
        cmocka_unit_test(test_degraded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
