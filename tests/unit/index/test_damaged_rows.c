/* Rows of documents that contradict each other, as a flipped bit makes them: whatever is done with one such document, it touches no
 * other's rows, needs no more memory, and is done. */
#include "kit_sql.h"

#include <sqlite3.h>

#include "index/store.h"

#define N 40

static void sql(const char *dir, const char *text)
{
    assert_int_equal(kit_sql(dir, text), 1);
}

static void put(struct index *ix, const char *collection, int from, int to)
{
    for (int i = from; i < to; i++) {
        struct err_msg em;
        char id[16], text[64];
        snprintf(id, sizeof id, "d%d", i);
        snprintf(text, sizeof text, "word%d and others", i);
        kit_ok(kit_put(ix, collection, id, text, "{\"x\": 1}", 0, &em), &em);
    }
    kit_commit(ix);
}

static struct index *make(char *dir)
{
    struct index *ix = kit_open(kit_dir(dir));
    kit_create(ix, "a");
    kit_create(ix, "b");
    put(ix, "a", 0, N);
    put(ix, "b", 0, N);
    kit_embed_pending(ix);
    return ix;
}

/* Each document but one is found by its vector, through a filter, and by its word. */
static void check_found(struct index *ix, const char *collection, int but)
{
    struct index_reader *r;
    struct err_msg em;
    kit_ok(index_reader_create(&r, ix, &em), &em);
    for (int i = 0; i < N; i++) {
        char id[16], text[64];
        struct index_result res;
        if (i == but)
            continue;
        snprintf(id, sizeof id, "d%d", i);
        snprintf(text, sizeof text, "word%d and others", i);
        assert_int_equal(kit_search(r, collection, INDEX_DENSE, text, "x = 1", 3, &res), 0);
        if (kit_rank(&res, id) != 0)
            fail_msg("collection %s: %s is not found by its vector", collection, id);
        index_result_finish(&res);
        snprintf(text, sizeof text, "word%d", i);
        assert_int_equal(kit_search(r, collection, INDEX_TEXT, text, NULL, 3, &res), 0);
        if (kit_rank(&res, id) != 0)
            fail_msg("collection %s: %s is not found by its word", collection, id);
        index_result_finish(&res);
    }
    index_reader_destroy(&r);
}

static const char *const damage[] = {"n_chunks = -1", "n_chunks = 2000000000", "n_chunks = 9223372036854775807", "n_chunks = 3",
                                     "first_chunk = -9223372036854775808", "first_chunk = 9223372036854775807", "first_chunk = 1",
                                     "first_chunk = 70", "n_pending = 5", "bytes = -9223372036854775808"};
#define N_DAMAGE (int)(sizeof damage / sizeof *damage)

enum what { SEARCHED, DELETED, REPLACED, DROPPED, N_WHATS };

static void test_live(void **state)
{
    for (int i = 0; i < N_DAMAGE * N_WHATS; i++) {
        char dir[128], text[200];
        const int which = i / 2 % 2 ? 0 : 7; /* a filter's set begins with the first */
        const enum what what = i / N_DAMAGE;
        struct err_msg em;
        struct index_collection info;
        struct index *ix = make(dir);
        index_close(&ix);
        snprintf(text, sizeof text, "UPDATE documents SET %s WHERE coll = 1 AND id = 'd%d'", damage[i % N_DAMAGE], which);
        sql(dir, text);
        ix = kit_open(dir);
        snprintf(text, sizeof text, "d%d", which);
        if (what == SEARCHED)
            check_found(ix, "a", which);
        else if (what == DELETED)
            kit_ok(index_delete(ix, "a", text, strlen(text), &em), &em);
        else if (what == REPLACED)
            put(ix, "a", which, which + 1);
        else
            kit_ok(index_drop(ix, "a", &em), &em);
        kit_commit(ix);
        kit_embed_pending(ix);
        for (bool more = true; more;)
            kit_ok(index_maintain(ix, 100, &more, &em), &em);
        check_found(ix, "b", -1);
        if (what == DELETED || what == REPLACED) {
            check_found(ix, "a", what == REPLACED ? -1 : which);
            kit_ok(index_info(ix, "a", &info, &em), &em);
            assert_int_equal(info.documents, what == REPLACED ? N : N - 1);
            assert_int_equal(info.chunks, info.documents);
            assert_int_equal(info.pending_chunks, 0);
        }
        index_close(&ix);
        kit_remove(dir);
    }
}

/* In the queue: named, taken out, and what is before and behind it is embedded. */
static void test_waiting(void **state)
{
    for (int i = 0; i < N_DAMAGE - 1; i++) {
        char dir[128], text[200];
        struct err_msg em;
        struct index_chunk_list list;
        struct index_collection info;
        struct index *ix = make(dir);
        put(ix, "a", N, N + 20);
        index_close(&ix);
        snprintf(text, sizeof text, "UPDATE documents SET %s WHERE coll = 1 AND id = 'd%d'", damage[i], N + 9);
        sql(dir, text);
        ix = kit_open(dir);
        kit_ok(index_pending(ix, 0, 100, 1 << 20, &list, &em), &em);
        assert_int_equal(list.n, 20);
        for (size_t k = 0; k < list.n; k++) {
            if (!list.chunks[k].damage != (k != 9))
                fail_msg("%s: chunk %zu: %s", damage[i], k, list.chunks[k].damage ? list.chunks[k].damage : "whole");
            if (k == 9)
                kit_ok(index_fail_chunk(ix, list.chunks[k].chunk, LT_ECORRUPT, list.chunks[k].damage, &em), &em);
        }
        index_chunk_list_finish(&list);
        kit_commit(ix);
        assert_int_equal(kit_embed_pending(ix), 19);
        kit_ok(index_info(ix, "a", &info, &em), &em);
        assert_int_equal(info.documents, N + 19);
        assert_int_equal(info.chunks, N + 19);
        assert_int_equal(info.pending_chunks, 0);
        assert_int_equal(info.searchable_seq, info.accepted_seq);
        check_found(ix, "a", -1);
        check_found(ix, "b", -1);
        kit_check(ix);
        index_close(&ix);
        kit_remove(dir);
    }
}

/* A text that is lost is an error, not an empty one. */
static void test_text_lost(void **state)
{
    char dir[128];
    struct err_msg em;
    struct index_reader *r;
    struct index_documents d;
    struct index *ix = make(dir);
    index_close(&ix);
    sql(dir, "DELETE FROM texts WHERE doc = 8");
    ix = kit_open(dir);
    kit_ok(index_reader_create(&r, ix, &em), &em);
    assert_int_equal(index_get(r, "a", (struct index_id[]){{"d6", 2}, {"d7", 2}}, 2, 0, &d, &em), LT_ECORRUPT);
    assert_non_null(strstr(em.text, "document 'd7' has no text"));
    assert_int_equal(index_get_after(r, "a", &(struct index_id){"", 0}, 100, 0, &d, &em), LT_ECORRUPT);
    kit_ok(index_get(r, "a", (struct index_id[]){{"d6", 2}, {"d8", 2}}, 2, 0, &d, &em), &em);
    assert_int_equal(d.n, 2);
    index_documents_finish(&d);
    index_reader_destroy(&r);
    kit_ok(index_delete(ix, "a", "d7", 2, &em), &em);
    kit_commit(ix);
    check_found(ix, "a", 7);
    index_close(&ix);
    kit_remove(dir);
}

/* A collection's own row, whose numbers say how much memory a vector takes. */
static void test_collection(void **state)
{
    static const char *const forged[] = {"dim = 20000", "dim = 0", "dim = -48", "dim = 4294967344", "metric = 3", "metric = -1", "m = 1000", "codes = 4"};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        char dir[128], text[200];
        struct index *ix = make(dir);
        struct index_params p = {.dir = dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM};
        struct err_msg em = {""};
        index_close(&ix);
        snprintf(text, sizeof text, "UPDATE vectors SET data = zeroblob(80000) WHERE chunk < 9; UPDATE collections SET %s WHERE coll = 1",
                 forged[i]);
        sql(dir, text);
        const int r = index_open(&ix, &p, &em);
        if (r != LT_ECORRUPT || !strstr(em.text, "collection a"))
            fail_msg("%s: %s: %s", forged[i], err_name(r), em.text);
        kit_remove(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_live), cmocka_unit_test(test_waiting), cmocka_unit_test(test_text_lost),
                                       cmocka_unit_test(test_collection)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
