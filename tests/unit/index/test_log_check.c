/* The write-ahead log after a crash: a torn end is dropped without a word, damage in the middle is named, counted, kept, and named
 * once; neither stops the start. */
#include "store_kit.h"

#include <sys/stat.h>

#include "base/file.h"
#include "index/log_check.h"

#define N_COMMITS 25 /* a document each */
#define FRAME (4096 + 24)

static char *log_bytes, *db_bytes;
static size_t log_len, db_len;

static int make_log(void **state)
{
    char dir[128], path[200];
    struct err_msg em;
    struct index *ix = kit_open(kit_dir(dir));
    bool more;
    kit_create(ix, "c");
    /* The collection is in the database, the documents are in the log alone. */
    index_close(&ix);
    ix = kit_open(dir);
    for (int i = 0; i < N_COMMITS; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%d", i);
        kit_ok(kit_put(ix, "c", id, "some text that is not embedded", NULL, 0, &em), &em);
        kit_commit(ix);
    }
    snprintf(path, sizeof path, "%s/store.db-wal", dir);
    kit_ok(file_read(path, 64u << 20, &log_bytes, &log_len, &em), &em);
    snprintf(path, sizeof path, "%s/store.db", dir);
    kit_ok(file_read(path, 64u << 20, &db_bytes, &db_len, &em), &em);
    kit_ok(index_maintain(ix, 0, &more, &em), &em);
    index_close(&ix);
    kit_remove(dir);
    return 0;
}

static int free_log(void **state)
{
    free(log_bytes);
    free(db_bytes);
    return 0;
}

static void put_file(const char *dir, const char *name, const void *data, size_t len)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

/* Opens a folder with this log. How many documents are there; what the status warns of. */
static uint64_t start(const char *dir, const void *log, size_t len, char warning[static 400])
{
    struct index_collection c;
    struct index_status st;
    if (log) {
        put_file(dir, "store.db", db_bytes, db_len);
        put_file(dir, "store.db-wal", log, len);
    }
    struct index *ix = kit_open(dir);
    assert_int_equal(index_info(ix, "c", &c, NULL), 0);
    index_get_status(ix, &st);
    snprintf(warning, 400, "%s", st.warning);
    kit_check(ix);
    index_close(&ix);
    return c.documents;
}

/* In frames from f on. The first of all may be no document's. */
static uint64_t commits_from(size_t f)
{
    uint64_t n = 0;
    for (; 32 + (f + 1) * FRAME <= log_len; f++)
        n += memcmp(log_bytes + 32 + f * FRAME + 4, "\0\0\0", 4) != 0;
    return n;
}

static void test_whole_and_torn(void **state)
{
    char dir[128], warning[400];
    struct log_report rep;
    uint64_t seed = unit_seed();
    kit_dir(dir);
    assert_int_equal(start(dir, log_bytes, log_len, warning), N_COMMITS);
    assert_string_equal(warning, "");
    for (size_t n = 0; n <= log_len; n += n < 40 ? 1 : 97) /* cut anywhere */
        assert_false(log_check((uint8_t *)log_bytes, n, &rep));
    for (int i = 0; i < 12; i++) {
        size_t n = unit_rand(&seed) % log_len;
        uint64_t docs = start(dir, log_bytes, n, warning);
        assert_true(docs <= n / FRAME && docs < N_COMMITS);
        assert_string_equal(warning, "");
    }
    /* The last transaction's frames are there in part: the commit, not what goes before it. */
    char *torn = malloc(log_len);
    memcpy(torn, log_bytes, log_len);
    memset(torn + log_len - 2 * FRAME, 0, FRAME);
    assert_int_equal(start(dir, torn, log_len, warning), N_COMMITS - 1);
    assert_string_equal(warning, "");
    free(torn);
    kit_remove(dir);
}

static void test_damaged(void **state)
{
    char dir[128], path[200], warning[400], *bad = malloc(log_len);
    uint64_t seed = unit_seed();
    const size_t n_frames = (log_len - 32) / FRAME;
    struct stat st;
    kit_dir(dir);
    snprintf(path, sizeof path, "%s/store.db-wal.damaged", dir);
    for (int i = 0; i < 40; i++) {
        /* Not in the last two transactions, which have up to 12 frames each. */
        const size_t f = unit_rand(&seed) % (n_frames - 24), at = 32 + f * FRAME + (i % 4 ? 24 + unit_rand(&seed) % 4096 : unit_rand(&seed) % 24);
        unsigned long long byte = 0, lost = 0;
        memcpy(bad, log_bytes, log_len);
        bad[at] ^= (char)(1 << unit_rand(&seed) % 8);
        uint64_t docs = start(dir, bad, log_len, warning);
        const char *said = strstr(warning, "store.db-wal: damaged at byte ");
        if (!said || sscanf(said, "store.db-wal: damaged at byte %llu, about %llu commits", &byte, &lost) != 2)
            fail_msg("byte %zu: %s", at, warning);
        if (at % FRAME != 32 % FRAME || byte != 32 + f * FRAME)
            assert_int_equal(byte, 32 + f * FRAME);
        const uint64_t want = commits_from(f);
        assert_int_equal(docs, want < N_COMMITS ? N_COMMITS - want : 0);
        if (lost != want && (i % 4 || lost + 1 < want || lost > want + 1)) /* a broken head may hide a commit, or feign one */
            fail_msg("byte %zu: %llu documents, %s", at, (unsigned long long)docs, warning);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, log_len);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(start(dir, NULL, 0, warning), docs); /* said once */
        assert_string_equal(warning, "");
    }
    memcpy(bad, log_bytes, log_len);
    bad[17] ^= 4; /* the log's own header: SQLite takes nothing of it */
    assert_int_equal(start(dir, bad, log_len, warning), 0);
    snprintf(path, sizeof path, "damaged at byte 0, about %llu commits", (unsigned long long)commits_from(0));
    assert_non_null(strstr(warning, path));
    free(bad);
    kit_remove(dir);
}

/* What is left of a transaction that a crash tore, behind those that were written over its first frames, is not taken for damage:
 * its frames fit each other, but its commit is the last of them. */
static void test_left_over(void **state)
{
    uint8_t *data = malloc(2 * log_len);
    struct log_report rep;
    const size_t n = (log_len - 32) / FRAME;
    size_t first = n - 1; /* of the last transaction */
    memcpy(data, log_bytes, log_len);
    while (memcmp(data + 32 + (first - 1) * FRAME + 4, "\0\0\0", 4) == 0)
        first--;
    assert_true(n - first > 3);
    for (size_t from = first; from < n; from++) {
        memcpy(data + log_len, log_bytes + 32 + from * FRAME, (n - from) * FRAME);
        assert_false(log_check(data, log_len + (n - from) * FRAME, &rep));
    }
    /* Two of them in a row are none: then both had been synced. */
    memcpy(data + log_len, log_bytes + 32 + (first - 3) * FRAME, (n - first + 3) * FRAME);
    assert_true(log_check(data, log_len + (n - first + 3) * FRAME, &rep));
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole_and_torn), cmocka_unit_test(test_damaged), cmocka_unit_test(test_left_over)};
    return cmocka_run_group_tests(tests, make_log, free_log);
}
