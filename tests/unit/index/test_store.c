/* The store: documents in and out, groups, jobs, limits, reopening. */
#include "kit_box.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "index/vectors.h"

static struct index_collection info(struct box *b)
{
    struct index_collection c;
    assert_int_equal(index_info(b->ix, "c", &c, NULL), 0);
    return c;
}

static char *get_text(struct box *b, const char *id, bool *searchable)
{
    struct index_documents d;
    struct index_id want = {id, strlen(id)};
    assert_int_equal(index_get(b->r, "c", &want, 1, 0, &d, NULL), 0);
    char *s = d.n ? strdup(d.docs[0].text) : NULL;
    if (searchable)
        *searchable = d.n && d.docs[0].searchable;
    index_documents_finish(&d);
    return s;
}

static void test_life_of_a_document(void **state)
{
    struct box *b = *state;
    struct index_result res;
    struct err_msg em;
    uint64_t seq, accepted, searchable;
    bool found;
    kit_ok(kit_put(b->ix, "c", "one", "red apples grow on trees", "{\"n\":1}", 0, &em), &em);
    kit_ok(index_commit(b->ix, &seq, &em), &em);
    assert_int_equal(index_seqs(b->ix, "c", &accepted, &searchable), 0);
    assert_true(accepted == seq && searchable < seq);
    assert_int_equal(info(b).pending_chunks, 1);
    char *s = get_text(b, "one", &found);
    assert_string_equal(s, "red apples grow on trees");
    assert_false(found);
    free(s);
    assert_int_equal(kit_search(b->r, "c", INDEX_HYBRID, "apples", NULL, 5, &res), 0);
    assert_int_equal(res.n, 0);
    assert_int_equal(res.why, INDEX_SHORT_PENDING);
    index_result_finish(&res);

    assert_int_equal(kit_embed_pending(b->ix), 1);
    assert_int_equal(index_seqs(b->ix, "c", &accepted, &searchable), 0);
    assert_true(searchable == accepted);
    for (int mode = INDEX_HYBRID; mode <= INDEX_TEXT; mode++) {
        assert_int_equal(kit_search(b->r, "c", mode, "apples", NULL, 5, &res), 0);
        assert_int_equal(res.n, 1);
        assert_int_equal(res.mode, mode);
        assert_string_equal(res.hits[0].id, "one");
        assert_string_equal(res.hits[0].text, "red apples grow on trees");
        assert_string_equal(res.hits[0].metadata, "{\"n\":1}");
        assert_int_equal(res.hits[0].end, 24);
        assert_false(res.degraded);
        index_result_finish(&res);
    }

    /* A new version: the old one is found until the new one is searchable. */
    kit_ok(kit_put(b->ix, "c", "one", "green pears grow as well", NULL, 0, &em), &em);
    kit_commit(b->ix);
    assert_int_equal(info(b).documents, 1);
    assert_int_equal(kit_search(b->r, "c", INDEX_TEXT, "apples", NULL, 5, &res), 0);
    assert_int_equal(res.n, 1);
    index_result_finish(&res);
    s = get_text(b, "one", &found);
    assert_string_equal(s, "green pears grow as well");
    free(s);
    kit_embed_pending(b->ix);
    assert_int_equal(kit_search(b->r, "c", INDEX_TEXT, "apples", NULL, 5, &res), 0);
    assert_int_equal(res.n, 0);
    index_result_finish(&res);
    assert_int_equal(kit_search(b->r, "c", INDEX_DENSE, "apples", NULL, 5, &res), 0);
    assert_int_equal(res.n, 1);
    assert_string_equal(res.hits[0].text, "green pears grow as well");
    index_result_finish(&res);

    kit_ok(index_delete(b->ix, "c", "one", 3, &em), &em);
    assert_int_equal(index_delete(b->ix, "c", "one", 3, &em), LT_ENOTFOUND);
    kit_commit(b->ix);
    assert_null(get_text(b, "one", NULL));
    assert_int_equal(kit_search(b->r, "c", INDEX_HYBRID, "pears", NULL, 5, &res), 0);
    assert_int_equal(res.n, 0);
    index_result_finish(&res);
    struct index_collection c = info(b);
    assert_int_equal(c.documents + c.chunks + c.pending_chunks + c.bytes_store, 0);
    kit_check(b->ix);
}

static void test_refused_items(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    float v[KIT_DIM] = {1}, bad[KIT_DIM] = {0};
    char big[INDEX_ID_MAX + 2];
    memset(big, 'x', sizeof big);
    struct index_span outside = {0, 9}, good = {0, 4};
    struct index_doc base = {.collection = "c", .id = "i", .id_len = 1, .text = "text", .text_len = 4};
#define TRY(code, ...)                                                                             \
    do {                                                                                           \
        struct index_doc d = base;                                                                 \
        __VA_ARGS__;                                                                               \
        int got = index_put(b->ix, &d, &em);                                                       \
        if (got != (code))                                                                         \
            fail_msg("%s: %s: %s", #__VA_ARGS__, err_name(got), em.text);                          \
    } while (0)
    TRY(LT_ENOTFOUND, d.collection = "nope");
    TRY(LT_EEMPTY, d.id_len = 0);
    TRY(LT_ELIMIT, d.id = big; d.id_len = sizeof big);
    TRY(LT_EUTF8, d.id = "\xc3");
    TRY(LT_EINVAL, d.id = "a\0b"; d.id_len = 3);
    TRY(LT_EUTF8, d.text = "ab\xff!");
    assert_non_null(strstr(em.text, "byte 2"));
    TRY(LT_EUTF8, d.title = "\xed\xa0\x80"; d.title_len = 3);
    TRY(LT_EEMPTY, d.text_len = 0);
    TRY(LT_EFORMAT, d.metadata = "{\"a\":"; d.metadata_len = 5);
    TRY(LT_EFORMAT, d.metadata = "[1]"; d.metadata_len = 3);
    TRY(LT_EFORMAT, d.metadata = "{\"a\":1,\"a\":2}"; d.metadata_len = 13);
    TRY(LT_EINVAL, d.spans = &outside; d.n_spans = 1);
    TRY(LT_ELIMIT, d.spans = &good; d.n_spans = 0);
    TRY(LT_EDIM, d.vectors = v; d.dim = KIT_DIM - 1);
    TRY(LT_ENAN, d.vectors = bad; d.dim = KIT_DIM);
    bad[3] = NAN;
    TRY(LT_ENAN, d.vectors = bad; d.dim = KIT_DIM);
    bad[3] = INFINITY;
    TRY(LT_ENAN, d.vectors = bad; d.dim = KIT_DIM);
    bad[3] = 4e18f; /* finite, and so is its square, but no graph takes it */
    TRY(LT_ENAN, d.vectors = bad; d.dim = KIT_DIM);
    TRY(LT_ENOTFOUND, d.job = 99);
    char *deep = malloc(INDEX_METADATA_MAX + 100);
    memset(deep, ' ', INDEX_METADATA_MAX + 100);
    memcpy(deep, "{\"a\":", 5);
    memset(deep + 5, '[', 60);
    TRY(LT_ELIMIT, d.metadata = deep; d.metadata_len = 70);
    TRY(LT_ELIMIT, d.metadata = deep; d.metadata_len = INDEX_METADATA_MAX + 1);
    free(deep);
    /* What was refused left nothing; the group goes on. */
    TRY(0, d.id = "good");
    kit_commit(b->ix);
    assert_int_equal(info(b).documents, 1);
    assert_int_equal(index_set_model(b->ix, "other", KIT_DIM, &em), 0);
    TRY(LT_EMODEL, (void)d);
    struct index_chunk_list list;
    assert_int_equal(index_pending(b->ix, 0, 10, 1000, &list, &em), 0);
    assert_int_equal(list.n, 0);
    index_chunk_list_finish(&list);
    kit_check(b->ix);
}

static void test_set_vectors_checks(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    size_t set = 9;
    float v[2 * KIT_DIM] = {1};
    uint64_t ids[2] = {1, 12345};
    kit_ok(kit_put(b->ix, "c", "a", "alpha", NULL, 0, &em), &em);
    kit_commit(b->ix);
    assert_int_equal(index_set_vectors(b->ix, ids, v, 1, 7, &set, &em), LT_EDIM);
    assert_int_equal(index_set_vectors(b->ix, ids, v, 2, KIT_DIM, &set, &em), LT_ENAN);
    assert_non_null(strstr(em.text, "12345"));
    v[KIT_DIM] = 1;
    kit_ok(index_set_vectors(b->ix, ids, v, 2, KIT_DIM, &set, &em), &em);
    assert_int_equal(set, 1); /* the other chunk does not exist */
    kit_ok(index_set_vectors(b->ix, ids, v, 2, KIT_DIM, &set, &em), &em);
    assert_int_equal(set, 0); /* has one already */
    kit_commit(b->ix);
    assert_int_equal(info(b).chunks, 1);
}

static void test_chunks(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    struct index_result res;
    const char text[] = "apples are red. pears are green. plums are blue.";
    struct index_span spans[] = {{0, 15}, {16, 32}, {33, 48}};
    struct index_doc d = {.collection = "c", .id = "fruit", .id_len = 5, .text = text, .text_len = sizeof text - 1,
                          .title = "Fruit", .title_len = 5, .spans = spans, .n_spans = 3};
    kit_ok(index_put(b->ix, &d, &em), &em);
    kit_commit(b->ix);
    struct index_chunk_list list;
    kit_ok(index_pending(b->ix, 0, 2, 1 << 20, &list, &em), &em);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.chunks[1].text, "pears are green.");
    assert_string_equal(list.chunks[1].title, "Fruit");
    assert_string_equal(list.chunks[1].doc_id, "fruit");
    assert_int_equal(list.chunks[1].number, 1);
    assert_false(list.chunks[1].last);
    /* Two of three vectors: not searchable yet, also after a restart, and nothing is asked for twice. */
    float v[2 * KIT_DIM];
    uint64_t ids[2] = {list.chunks[0].chunk, list.chunks[1].chunk};
    for (int i = 0; i < 2; i++)
        kit_embed(list.chunks[i].text, list.chunks[i].text_len, v + i * KIT_DIM);
    index_chunk_list_finish(&list);
    kit_ok(index_set_vectors(b->ix, ids, v, 2, KIT_DIM, NULL, &em), &em);
    kit_commit(b->ix);
    box_reopen(b);
    assert_int_equal(info(b).pending_chunks, 1);
    assert_int_equal(kit_search(b->r, "c", INDEX_HYBRID, "pears", NULL, 5, &res), 0);
    assert_int_equal(res.n, 0);
    index_result_finish(&res);
    assert_int_equal(kit_embed_pending(b->ix), 1);
    assert_int_equal(kit_search(b->r, "c", INDEX_HYBRID, "pears are green.", NULL, 5, &res), 0);
    assert_int_equal(res.n, 1); /* one document, its best chunk */
    assert_int_equal(res.hits[0].chunk, 1);
    assert_int_equal(res.hits[0].start, 16);
    assert_string_equal(res.hits[0].text, "pears are green.");
    assert_string_equal(res.hits[0].title, "Fruit");
    index_result_finish(&res);
    /* The title's words count for every chunk. */
    float q[KIT_DIM] = {1};
    struct index_query query = {.collection = "c", .text = "fruit", .text_len = 5, .vector = q, .dim = KIT_DIM,
                                .mode = INDEX_TEXT, .chunks = true, .no_text = true};
    kit_ok(index_search(b->r, &query, &res, &em), &em);
    assert_int_equal(res.n, 3);
    assert_string_equal(res.hits[0].text, "");
    index_result_finish(&res);
    kit_ok(index_delete(b->ix, "c", "fruit", 5, &em), &em);
    kit_commit(b->ix);
    kit_check(b->ix);
}

static void test_failed_chunk(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    uint64_t job;
    struct index_job *jobs;
    size_t n;
    kit_ok(kit_put(b->ix, "c", "a", "old words", NULL, 0, &em), &em);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    kit_ok(index_job_open(b->ix, "c", "two files", 2, 100, &job, &em), &em);
    kit_ok(kit_put(b->ix, "c", "a", "new words", NULL, job, &em), &em);
    kit_ok(kit_put(b->ix, "c", "b", "more words", NULL, job, &em), &em);
    kit_commit(b->ix);
    struct index_chunk_list list;
    kit_ok(index_pending(b->ix, 0, 10, 1 << 20, &list, &em), &em);
    assert_int_equal(list.n, 2);
    assert_int_equal(list.chunks[0].job, job);
    kit_ok(index_fail_chunk(b->ix, list.chunks[0].chunk, LT_ENAN, "the device said NaN", &em), &em);
    kit_ok(index_fail_chunk(b->ix, 777777, LT_ENAN, NULL, &em), &em);
    kit_commit(b->ix);
    index_chunk_list_finish(&list);
    char *s = get_text(b, "a", NULL);
    assert_string_equal(s, "old words"); /* the old version stays */
    free(s);
    kit_ok(index_job_close(b->ix, job, &em), &em);
    kit_ok(index_job_list(b->r, job, &jobs, &n, &em), &em);
    assert_int_equal(jobs[0].state, INDEX_JOB_RUNNING);
    assert_int_equal(jobs[0].failed, 1);
    assert_int_equal(jobs[0].pending_chunks, 1);
    assert_string_equal(strchr(jobs[0].last_error, ':'), ": the device said NaN");
    free(jobs);
    assert_int_equal(kit_put(b->ix, "c", "z", "late", NULL, job, &em), LT_EINVAL);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    kit_ok(index_job_list(b->r, 0, &jobs, &n, &em), &em);
    assert_int_equal(n, 1);
    assert_int_equal(jobs[0].state, INDEX_JOB_FAILED);
    assert_int_equal(jobs[0].searchable, 1);
    assert_string_equal(jobs[0].label, "two files");
    free(jobs);
    assert_int_equal(info(b).documents, 2);
    kit_check(b->ix);
}

static void test_cancel(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    uint64_t job;
    size_t n;
    char id[16];
    struct index_job *jobs;
    struct index_chunk_list list;
    kit_ok(index_job_open(b->ix, "c", "many", 0, 0, &job, &em), &em);
    for (int i = 0; i < 600; i++) {
        snprintf(id, sizeof id, "d%d", i);
        kit_ok(kit_put(b->ix, "c", id, "some words", NULL, job, &em), &em);
    }
    assert_int_equal(index_job_cancel(b->ix, job, &em), LT_EBUSY); /* between groups only */
    kit_commit(b->ix);
    kit_ok(index_pending(b->ix, 0, 10, 1 << 20, &list, &em), &em);
    float v[10 * KIT_DIM];
    uint64_t ids[10];
    for (size_t i = 0; i < 10; i++) {
        ids[i] = list.chunks[i].chunk;
        kit_embed("some words", 10, v + i * KIT_DIM);
    }
    index_chunk_list_finish(&list);
    kit_ok(index_set_vectors(b->ix, ids, v, 10, KIT_DIM, &n, &em), &em);
    kit_commit(b->ix);
    assert_int_equal(kit_cancel(b->ix, job), 4);
    assert_int_equal(kit_put(b->ix, "c", "late", "x", NULL, job, &em), LT_ECANCELLED);
    kit_commit(b->ix);
    assert_int_equal(kit_embed_pending(b->ix), 0);
    box_reopen(b);
    assert_int_equal(info(b).documents, 10);
    kit_ok(index_job_list(b->r, job, &jobs, &n, &em), &em);
    assert_int_equal(jobs[0].state, INDEX_JOB_CANCELLED);
    assert_int_equal(jobs[0].searchable, 10);
    assert_int_equal(jobs[0].accepted, 600);
    free(jobs);
    assert_int_equal(index_job_cancel(b->ix, 12345, &em), LT_ENOTFOUND);
    kit_check(b->ix);
}

static void test_collections(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    struct index_collection *list, c;
    size_t n;
    static const char *const bad[] = {"", ".x", "a b", "ä", "a/b",
                                      "12345678901234567890123456789012345678901234567890123456789012345"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(index_create(b->ix, &(struct index_collection_params){.name = bad[i]}, &em), LT_EINVAL);
    assert_int_equal(index_create(b->ix, &(struct index_collection_params){.name = "c"}, &em), LT_EEXIST);
    assert_int_equal(index_create(b->ix, &(struct index_collection_params){.name = "d", .dim = 7}, &em), LT_EDIM);
    kit_ok(index_create(b->ix, &(struct index_collection_params){.name = "own", .dim = 7, .metric = METRIC_L2,
                                                                 .vectors_only = true}, &em), &em);
    kit_ok(index_create(b->ix, &(struct index_collection_params){.name = "tmp", .temporary = true}, &em), &em);
    kit_ok(kit_put(b->ix, "tmp", "a", "text", NULL, 0, &em), &em);
    assert_int_equal(kit_put(b->ix, "own", "a", "text", NULL, 0, &em), LT_EUNSUPPORTED);
    float v[7] = {0};
    struct index_doc d = {.collection = "own", .id = "z", .id_len = 1, .vectors = v, .dim = 7};
    kit_ok(index_put(b->ix, &d, &em), &em); /* the zero vector is a point like any other for l2 */
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    assert_int_equal(index_list(b->ix, &list, &n), 0);
    assert_int_equal(n, 3);
    assert_string_equal(list[0].name, "c");
    assert_string_equal(list[1].name, "own");
    assert_true(list[1].vectors_only && list[1].metric == METRIC_L2 && list[1].documents == 1);
    free(list);
    kit_ok(index_drop(b->ix, "own", &em), &em);
    assert_int_equal(index_drop(b->ix, "own", &em), LT_ENOTFOUND);
    assert_int_equal(index_info(b->ix, "own", &c, &em), LT_ENOTFOUND);
    box_reopen(b);
    assert_int_equal(index_info(b->ix, "tmp", &c, &em), LT_ENOTFOUND);
    bool more = true;
    for (int i = 0; more && i < 100; i++)
        kit_ok(index_maintain(b->ix, 10, &more, &em), &em);
    kit_check(b->ix);
    kit_create(b->ix, "own");
}

/* 1-bit codes: asked for, reported, kept; and stores from before they could be asked for. */
static void test_codes(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    struct index_collection c;
    char path[300];
    sqlite3 *db;
    assert_int_equal(index_create(b->ix, &(struct index_collection_params){.name = "x", .codes = (enum graph_codes)4}, &em), LT_EINVAL);
    kit_ok(index_create(b->ix, &(struct index_collection_params){.name = "bits", .codes = GRAPH_CODES_1BIT}, &em), &em);
    kit_ok(kit_put(b->ix, "bits", "a", "one bit each", NULL, 0, &em), &em);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    for (int i = 0; i < 2; i++) {
        kit_ok(index_info(b->ix, "bits", &c, &em), &em);
        assert_string_equal(c.index_kind, "hnsw-1bit");
        kit_ok(index_info(b->ix, "c", &c, &em), &em);
        assert_string_equal(c.index_kind, "hnsw-int8");
        box_reopen(b);
    }
    index_reader_destroy(&b->r);
    index_close(&b->ix);
    snprintf(path, sizeof path, "%s/store.db", b->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "ALTER TABLE collections DROP COLUMN codes; DROP TABLE vector_tails;"
                                      "ALTER TABLE documents DROP COLUMN source; ALTER TABLE jobs DROP COLUMN received_bytes;"
                                      "DROP INDEX documents_id; CREATE UNIQUE INDEX documents_id ON documents(coll, id, live);"
                                      "PRAGMA user_version = 1", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    b->ix = kit_open(b->dir);
    assert_int_equal(index_reader_create(&b->r, b->ix, NULL), 0);
    bool more = true;
    for (int i = 0; more && i < 100; i++)
        kit_ok(index_maintain(b->ix, 10, &more, &em), &em);
    kit_ok(index_info(b->ix, "bits", &c, &em), &em);
    assert_string_equal(c.index_kind, "hnsw-int8"); /* the graph on disk was of another kind: dropped and refilled */
    kit_check(b->ix);
}

/* Vectors of many lengths, in one row or in two, come back as they were after the graph is lost. */
static void test_cut_vectors(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    static const uint32_t dims[] = {1, 100, 340, 384, 512, 768, 1000, 1015, 1024, 1536, 4096, INDEX_DIM_MAX};
    float *v = malloc(INDEX_DIM_MAX * sizeof *v);
    char name[16], cmd[300];
    /* Two of 384 dimensions in a page of 4,096 bytes would leave a quarter of it empty. */
    assert_true(vectors_head_bytes(384) < 384 * 4);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
            uint32_t dim = dims[i], head = vectors_head_bytes(dim);
            assert_true(head > 0 && head <= dim * 4 && head % 4 == 0);
            snprintf(name, sizeof name, "dim%u", dim);
            if (pass == 0)
                kit_ok(index_create(b->ix, &(struct index_collection_params){.name = name, .dim = dim, .metric = METRIC_L2,
                                                                             .vectors_only = true}, &em), &em);
            for (int n = 0; n < 7; n++) {
                uint64_t seed = dim * 10 + (unsigned)n;
                for (uint32_t j = 0; j < dim; j++)
                    v[j] = (float)(unit_rand(&seed) >> 40) / (1 << 24);
                struct index_doc d = {.collection = name, .id = &"abcdefg"[n], .id_len = 1, .vectors = v, .dim = dim};
                struct index_query q = {.collection = name, .vector = v, .dim = dim, .k = 1, .mode = INDEX_DENSE};
                struct index_result res;
                if (pass == 0) {
                    kit_ok(index_put(b->ix, &d, &em), &em);
                    continue;
                }
                kit_ok(index_search(b->r, &q, &res, &em), &em);
                assert_int_equal(res.n, 1);
                if (n != 3) { /* that one is deleted below */
                    assert_memory_equal(res.hits[0].id, &"abcdefg"[n], 1);
                    assert_true(res.hits[0].score == 0);
                }
                index_result_finish(&res);
            }
            kit_commit(b->ix);
        }
        if (pass == 0) {
            for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
                snprintf(name, sizeof name, "dim%u", dims[i]);
                kit_ok(index_delete(b->ix, name, "d", 1, &em), &em);
            }
            kit_commit(b->ix);
            index_reader_destroy(&b->r);
            index_close(&b->ix);
            snprintf(cmd, sizeof cmd, "rm -rf '%s/graph'", b->dir);
            assert_int_equal(system(cmd), 0);
            b->ix = kit_open(b->dir);
            assert_int_equal(index_reader_create(&b->r, b->ix, NULL), 0);
        }
    }
    bool more = true; /* the searches above read the store, these the graph made from it */
    while (more)
        kit_ok(index_maintain(b->ix, 100, &more, &em), &em);
    kit_check(b->ix);
    free(v);
}

static void test_rollback(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    uint64_t before, after;
    struct index_status st;
    kit_ok(kit_put(b->ix, "c", "kept", "words", NULL, 0, &em), &em);
    kit_ok(index_commit(b->ix, &before, &em), &em);
    kit_ok(kit_put(b->ix, "c", "lost", "words", NULL, 0, &em), &em);
    box_reopen(b); /* an open group is not committed by closing */
    assert_null(get_text(b, "lost", NULL));
    kit_ok(index_commit(b->ix, &after, &em), &em);
    assert_int_equal(before, after);
    index_get_status(b->ix, &st);
    assert_int_equal(st.pending_chunks, 1);
    assert_int_equal(st.recovered_percent, 100);
    assert_false(st.read_only);
}

static void test_lock(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    struct index *second = NULL;
    char pid[32];
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_int_equal(index_open(&second, &(struct index_params){.dir = b->dir}, &em), LT_ELOCKED);
    assert_null(second);
    assert_non_null(strstr(em.text, pid));
}

static void assert_mode(const char *dir, const char *name, mode_t want)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, want);
}

/* A data folder that was there already may be open to all; what is in it is nobody else's. */
static void test_private_files(void **state)
{
    struct box *b = *state;
    static const char *const names[] = {"store.db", "store.db-wal", "store.db-shm", "lock", "reserve"};
    char copy[160];
    struct err_msg em;
    struct index_backup_report report;
    const mode_t old = umask(022);
    box_close(b);
    kit_remove(b->dir);
    assert_int_equal(mkdir(b->dir, 0755), 0);
    box_open(b);
    kit_create(b->ix, "c");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_mode(b->dir, names[i], 0600);
    assert_mode(b->dir, "graph", 0700);
    snprintf(copy, sizeof copy, "%s/copy", b->dir);
    kit_ok(index_backup(&(struct index_backup){.dir = b->dir, .to = copy}, &report, &em), &em);
    assert_mode(copy, "store.db", 0600);
    umask(old);
}

/* What SQLite does not open is named, and why. */
static void test_unopened_named(void **state)
{
    struct box *b = *state;
    struct index *ix = NULL;
    struct err_msg em;
    char path[1024];
    box_close(b);
    snprintf(path, sizeof path, "%s/store.db", b->dir);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 18, SEEK_SET), 0); /* a later SQLite's file, which this one may only read */
    fputs("\3", f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(index_open(&ix, &(struct index_params){.dir = b->dir}, &em), LT_EPERM);
    assert_memory_equal(em.text, path, strlen(path));
    assert_non_null(strstr(em.text, "readonly"));

    for (size_t len = 490; len < 500; len++) { /* 504 with "/store.db" is what goes */
        size_t n = strlen(b->dir);
        memcpy(path, b->dir, n);
        for (size_t i = 0; n < len; i++, n++)
            path[n] = i % 100 ? 's' : '/';
        path[n] = 0;
        assert_int_equal(index_open(&ix, &(struct index_params){.dir = path}, &em), len > 495 ? LT_EINVAL : 0);
        if (len > 495)
            assert_non_null(strstr(em.text, "at most 504"));
        index_close(&ix);
    }
    kit_remove(b->dir);
    assert_int_equal(mkdir(b->dir, 0700), 0);
    box_open(b);
}

static void test_reopen_sizes(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    struct index_result res;
    static const int sizes[] = {0, 1, 2, 63, 64, 65, 300};
    int have = 0;
    char id[16], text[64];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (; have < sizes[i]; have++) {
            snprintf(id, sizeof id, "d%d", have);
            snprintf(text, sizeof text, "word%d common text", have);
            kit_ok(kit_put(b->ix, "c", id, text, NULL, 0, &em), &em);
        }
        kit_commit(b->ix);
        kit_embed_pending(b->ix);
        for (int again = 0; again < 2; again++) {
            box_reopen(b);
            bool more = true;
            while (more)
                kit_ok(index_maintain(b->ix, 50, &more, &em), &em);
            assert_int_equal(info(b).documents, sizes[i]);
            assert_false(info(b).degraded);
            if (have) {
                snprintf(text, sizeof text, "word%d common text", have - 1);
                snprintf(id, sizeof id, "d%d", have - 1);
                assert_int_equal(kit_search(b->r, "c", INDEX_DENSE, text, NULL, 1, &res), 0);
                assert_int_equal(res.n, 1);
                assert_string_equal(res.hits[0].id, id);
                index_result_finish(&res);
            }
        }
        kit_check(b->ix);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)
    const struct CMUnitTest tests[] = {
        T(test_life_of_a_document), T(test_refused_items), T(test_set_vectors_checks), T(test_chunks),
        T(test_failed_chunk),       T(test_cancel),        T(test_collections),        T(test_rollback),
        T(test_codes),              T(test_cut_vectors),
        T(test_lock),               T(test_reopen_sizes),  T(test_private_files),      T(test_unopened_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
