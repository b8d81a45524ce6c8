/* A document put again with the same words: nothing is embedded again, and what differs besides is there at once. */
#include "kit_box.h"

#include <sqlite3.h>

#include "index/store.h"

#define TEXT "apples are red. pears are green."
static const struct index_span spans[] = {{0, 15}, {16, 32}};

static int setup(void **state)
{
    box_setup(state);
    struct box *b = *state;
    for (int i = 0; i < 20; i++) {
        char id[16];
        struct err_msg em;
        snprintf(id, sizeof id, "other%d", i);
        kit_ok(kit_put(b->ix, "c", id, "plums are blue", "{\"n\":0}", 0, &em), &em);
    }
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    return 0;
}

/* Puts "fruit", in two chunks; was it kept? In a group of its own. */
static bool put(struct box *b, const char *title, const char *text, const char *metadata, size_t n_spans, uint64_t job)
{
    struct err_msg em;
    bool kept = true;
    struct index_doc d = {.collection = "c", .id = "fruit", .id_len = 5, .text = text, .text_len = strlen(text), .title = title,
                          .title_len = strlen(title), .metadata = metadata, .metadata_len = metadata ? strlen(metadata) : 0,
                          .spans = n_spans ? spans : NULL, .n_spans = n_spans, .job = job, .kept = &kept};
    kit_ok(index_put(b->ix, &d, &em), &em);
    kit_commit(b->ix);
    return kept;
}

static struct index_collection info(struct box *b)
{
    struct index_collection c;
    assert_int_equal(index_info(b->ix, "c", &c, NULL), 0);
    return c;
}

/* Vectors read from the store to be kept, since the last call. */
static int n_read(struct box *b)
{
    return sqlite3_stmt_status(b->ix->stmt[ST_CHUNK_VECTOR], SQLITE_STMTSTATUS_RUN, 1);
}

/* Is it found by its vector under this filter, and with these metadata? */
static void expect_found(struct box *b, const char *filter, const char *metadata)
{
    struct index_result res;
    assert_int_equal(kit_search(b->r, "c", INDEX_DENSE, "pears are green.", filter, 30, &res), 0);
    int at = kit_rank(&res, "fruit");
    assert_int_equal(at < 0, !metadata);
    if (metadata)
        assert_string_equal(res.hits[at].metadata, metadata);
    index_result_finish(&res);
}

static void test_same(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    uint64_t job;
    size_t n;
    struct index_job *jobs;
    assert_false(put(b, "Fruit", TEXT, "{\"n\":1}", 2, 0));
    assert_int_equal(kit_embed_pending(b->ix), 2);
    struct index_collection before = info(b), after;
    kit_ok(index_job_open(b->ix, "c", "again", 0, 0, &job, &em), &em);
    for (int i = 0; i < 3; i++) {
        assert_true(put(b, "Fruit", TEXT, "{\"n\":1}", 2, job));
        assert_int_equal(n_read(b), 2);
    }
    after = info(b);
    assert_int_equal(after.accepted_seq, before.accepted_seq);
    assert_int_equal(after.documents, before.documents);
    assert_int_equal(after.chunks, before.chunks);
    assert_int_equal(after.bytes_store, before.bytes_store);
    kit_ok(index_job_close(b->ix, job, &em), &em);
    kit_ok(index_job_list(b->r, job, &jobs, &n, &em), &em);
    assert_int_equal(jobs[0].state, INDEX_JOB_DONE);
    assert_int_equal(jobs[0].accepted, 1);
    assert_int_equal(jobs[0].searchable, 1);
    free(jobs);
    assert_int_equal(kit_embed_pending(b->ix), 0);
    kit_check(b->ix);
}

static void test_other_metadata(void **state)
{
    struct box *b = *state;
    assert_false(put(b, "Fruit", TEXT, "{\"n\":1}", 2, 0));
    kit_embed_pending(b->ix);
    struct index_collection before = info(b);
    expect_found(b, "n = 1", "{\"n\":1}"); /* its set of chunks is remembered */
    expect_found(b, "n = 2", NULL);
    assert_true(put(b, "Fruit", TEXT, "{\"n\":2}", 2, 0));
    assert_int_equal(n_read(b), 2); /* each once: checked and copied as it is read */
    assert_int_equal(kit_embed_pending(b->ix), 0);
    for (int i = 0; i < 2; i++) {
        expect_found(b, "n = 1", NULL);
        expect_found(b, "n = 2", "{\"n\":2}");
        struct index_collection after = info(b);
        assert_true(after.accepted_seq > before.accepted_seq && after.searchable_seq >= after.accepted_seq);
        assert_int_equal(after.documents, before.documents);
        assert_int_equal(after.chunks, before.chunks);
        assert_int_equal(after.bytes_store, before.bytes_store);
        kit_check(b->ix);
        box_reopen(b);
    }
    assert_true(put(b, "Fruit", TEXT, NULL, 2, 0));
    expect_found(b, "n = 2", NULL);
    expect_found(b, NULL, "");
}

static void test_not_the_same(void **state)
{
    static const struct {
        const char *title, *text;
        size_t n_spans;
    } others[] = {{"Fruits", TEXT, 2}, {"", TEXT, 2}, {"Fruit", "apples are red. pears are greeN.", 2}, {"Fruit", TEXT " ", 2},
                  {"Fruit", TEXT, 1}, {"Fruit", TEXT, 0}};
    struct box *b = *state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        put(b, "Fruit", TEXT, "{\"n\":1}", 2, 0);
        kit_embed_pending(b->ix);
        assert_false(put(b, others[i].title, others[i].text, "{\"n\":1}", others[i].n_spans, 0));
        /* While that waits, what search finds comes back: the newer one is gone, and nothing waits. */
        assert_true(put(b, "Fruit", TEXT, "{\"n\":1}", 2, 0));
        struct index_collection c = info(b);
        assert_int_equal(c.pending_chunks, 0);
        assert_int_equal(c.documents, 21);
        assert_true(c.searchable_seq >= c.accepted_seq);
        assert_int_equal(kit_embed_pending(b->ix), 0);
        assert_false(put(b, others[i].title, others[i].text, "{\"n\":1}", others[i].n_spans, 0));
        assert_true(kit_embed_pending(b->ix) > 0);
    }
    kit_check(b->ix);
}

static int64_t count(struct box *b, const char *table)
{
    char sql[80];
    int64_t n = -1;
    sqlite3_stmt *st = NULL;
    struct err_msg em;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    kit_ok(sql_prepare(b->ix->db, &st, sql, &em), &em);
    kit_ok(sql_int(st, -1, &n, &em), &em);
    sqlite3_finalize(st);
    return n;
}

/* A vector that is lost is made anew, whether or not metadata differ as well, and a text that is damaged is replaced. */
static void test_damaged(void **state)
{
    static const char *const damage[] = {"DELETE FROM vectors WHERE chunk = (SELECT max(chunk) FROM vectors)",
                                         "UPDATE vectors SET data = zeroblob(4) WHERE chunk = (SELECT max(chunk) FROM vectors)",
                                         "UPDATE chunks SET end = 16 WHERE chunk = (SELECT max(chunk) FROM chunks)",
                                         "UPDATE documents SET n_chunks = 3 WHERE id = 'fruit'"};
    struct box *b = *state;
    char path[300], *error = NULL;
    snprintf(path, sizeof path, "%s/store.db", b->dir);
    for (size_t i = 0; i < 2 * sizeof damage / sizeof *damage; i++) {
        const char *metadata = i % 2 ? "{\"n\":2}" : "{\"n\":1}";
        sqlite3 *db;
        put(b, "Fruit", TEXT, "{\"n\":1}", 2, 0);
        kit_embed_pending(b->ix);
        box_close(b);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        if (sqlite3_exec(db, damage[i / 2], NULL, NULL, &error) != SQLITE_OK)
            fail_msg("%s: %s", damage[i / 2], error);
        assert_int_equal(sqlite3_changes(db), 1);
        sqlite3_close(db);
        box_open(b);
        assert_false(put(b, "Fruit", TEXT, metadata, 2, 0));
        assert_int_equal(count(b, "vectors WHERE chunk > (SELECT max(chunk) FROM chunks) - 2"), 0); /* none was copied in vain */
        assert_int_equal(kit_embed_pending(b->ix), 2);
        expect_found(b, i % 2 ? "n = 2" : "n = 1", metadata);
        assert_true(put(b, "Fruit", TEXT, metadata, 2, 0));
        assert_int_equal(count(b, "vectors"), 22);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same, setup, box_teardown),
        cmocka_unit_test_setup_teardown(test_other_metadata, setup, box_teardown),
        cmocka_unit_test_setup_teardown(test_not_the_same, setup, box_teardown),
        cmocka_unit_test_setup_teardown(test_damaged, setup, box_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
