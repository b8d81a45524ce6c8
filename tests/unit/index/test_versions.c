/* Stores of other versions: every earlier one is brought up to date in one step and has all it had; a later one is refused and stays as it is,
 * byte for byte, by the daemon and by repair alike. */
#include "kit_sql.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include "index/schema.h"

#define N 60

static int version(const char *dir)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    char path[300];
    snprintf(path, sizeof path, "%s/store.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int v = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

static void make(char *dir)
{
    struct index *ix = kit_open(kit_dir(dir));
    kit_create(ix, "c");
    for (int i = 0; i < N; i++) {
        struct err_msg em;
        char id[16], text[64];
        snprintf(id, sizeof id, "d%d", i);
        snprintf(text, sizeof text, "word%d and others", i);
        kit_ok(kit_put(ix, "c", id, text, "{\"x\":1}", 0, &em), &em);
        if (i == N / 2) {
            kit_commit(ix);
            kit_embed_pending(ix);
        }
    }
    kit_commit(ix); /* the second half waits for its vectors */
    index_close(&ix);
}

static void expect_all(struct index *ix)
{
    struct index_reader *r;
    assert_int_equal(index_reader_create(&r, ix, NULL), 0);
    for (int i = 0; i < N; i++) {
        struct index_result res;
        char id[16], text[64];
        snprintf(id, sizeof id, "d%d", i);
        snprintf(text, sizeof text, "word%d and others", i);
        for (int mode = INDEX_HYBRID; mode <= INDEX_TEXT; mode++) {
            assert_int_equal(kit_search(r, "c", mode, text, "x = 1", 3, &res), 0);
            assert_int_equal(kit_rank(&res, id), 0);
            index_result_finish(&res);
        }
    }
    index_reader_destroy(&r);
    kit_check(ix);
}

/* What each version's stores lack, from the newest back. Vectors of version 1 and 2 are in one row, as those of version 3 may be. */
static const char *const back[] = {
    NULL, "ALTER TABLE collections DROP COLUMN codes; PRAGMA user_version = 1",
    "UPDATE vectors SET data = CAST(data || coalesce((SELECT t.data FROM vector_tails t WHERE t.chunk = vectors.chunk), x'') AS BLOB);"
    "DROP TABLE vector_tails; DROP INDEX documents_id; CREATE UNIQUE INDEX documents_id ON documents(coll, id, live);"
    "PRAGMA user_version = 2",
    "ALTER TABLE documents DROP COLUMN source; ALTER TABLE jobs DROP COLUMN received_bytes; PRAGMA user_version = 3"};

static void test_earlier(void **state)
{
    _Static_assert(sizeof back / sizeof *back == SCHEMA_VERSION, "a way back for every version");
    for (int v = 1; v < SCHEMA_VERSION; v++) {
        char dir[128];
        make(dir);
        for (int at = SCHEMA_VERSION - 1; at >= v; at--)
            kit_sql(dir, back[at]);
        assert_int_equal(version(dir), v);
        struct index *ix = kit_open(dir);
        kit_embed_pending(ix);
        expect_all(ix);
        index_close(&ix);
        assert_int_equal(version(dir), SCHEMA_VERSION);
        ix = kit_open(dir);
        expect_all(ix);
        index_close(&ix);
        kit_remove(dir);
    }
}

/* The sums of all files and their names. */
static void sums(const char *dir, const char *into)
{
    char cmd[600];
    snprintf(cmd, sizeof cmd, "cd '%s' && find . -type f ! -name lock | LC_ALL=C sort | xargs sha256sum > '%s'", dir, into);
    assert_int_equal(system(cmd), 0);
}

static void nothing(void *arg, const char *line)
{
    (void)arg;
    (void)line;
}

static void test_later(void **state)
{
    char dir[128], before[160], after[160], text[64], cmd[400];
    struct index *ix = NULL;
    struct err_msg em = {""};
    struct index_check_report rep;
    make(dir);
    snprintf(text, sizeof text, "PRAGMA user_version = %d", SCHEMA_VERSION + 1);
    kit_sql(dir, text);
    snprintf(before, sizeof before, "%s.before", dir);
    snprintf(after, sizeof after, "%s.after", dir);
    sums(dir, before);
    assert_int_equal(index_open(&ix, &(struct index_params){.dir = dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM}, &em), LT_EVERSION);
    assert_null(ix);
    assert_non_null(strstr(em.text, "written by a newer latentd"));
    for (int repair = 0; repair < 2; repair++) {
        struct index_check_params p = {.dir = dir, .repair = repair, .say = nothing};
        assert_int_equal(index_check_folder(&p, &rep, &em), LT_EVERSION);
    }
    sums(dir, after);
    snprintf(cmd, sizeof cmd, "cmp '%s' '%s'", before, after);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(unlink(before) | unlink(after), 0);
    kit_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_earlier), cmocka_unit_test(test_later)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
