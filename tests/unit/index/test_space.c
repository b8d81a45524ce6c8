/* Space on a small file system: what tidying leaves alone when there is little, and deletions that make room on a full disk. Needs the
 * right to mount. */
#include "store_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#define WORDS 1200u       /* of a text; of 20,000, most of them rare */
#define TOGETHER 20u      /* documents of a group */
#define ALONE 700u        /* documents, one a commit */
#define MERGE_AT_MOST (4u << 20) /* what a full disk has in reserve */
#define LARGE_DIM 1000u
#define LARGE_CHUNKS 200u
#define ROOM (40u << 20)
#define LEFT_FREE (8u << 20)     /* by what is written */
#define PATIENCE 1200u    /* looks for what has to come, 50 ms apart */

static char dir[128];

/* A folder on a file system of its own. */
static struct index *open_small(unsigned mib, uint32_t rest_ms)
{
    char size[64];
    struct index *ix = NULL;
    struct err_msg em = {""};
    kit_dir(dir);
    snprintf(size, sizeof size, "size=%um", mib);
    if (mount("latentd-test", dir, "tmpfs", 0, size) < 0)
        fail_msg("mount: %s", strerror(errno));
    struct index_params p = {.dir = dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM, .rest_ms = rest_ms};
    kit_ok(index_open(&ix, &p, &em), &em);
    kit_create(ix, "c");
    return ix;
}

static void close_small(struct index **ix)
{
    index_close(ix);
    assert_int_equal(umount2(dir, MNT_DETACH), 0);
    rmdir(dir);
}

static uint64_t bytes_free(void)
{
    struct statvfs s;
    assert_int_equal(statvfs(dir, &s), 0);
    return (uint64_t)s.f_bavail * s.f_frsize;
}

/* Somebody else's file takes all but so many bytes; -1: takes it away. */
static void ballast(int64_t leave)
{
    char path[160];
    snprintf(path, sizeof path, "%s/ballast", dir);
    if (leave < 0) {
        assert_int_equal(unlink(path), 0);
        return;
    }
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)(bytes_free() - (uint64_t)leave)), 0);
    close(fd);
}

static int put(struct index *ix, unsigned i, struct err_msg *em)
{
    static char text[WORDS * 8];
    char id[16];
    float v[KIT_DIM];
    uint64_t rng = i + 1;
    size_t len = 0;
    for (unsigned k = 0; k < WORDS; k++)
        len += (size_t)snprintf(text + len, sizeof text - len, "w%u ", (unsigned)(unit_rand(&rng) % (1 + unit_rand(&rng) % 20000)));
    kit_embed(text, len, v);
    snprintf(id, sizeof id, "%u", i);
    struct index_doc d = {.collection = "c", .id = id, .id_len = strlen(id), .text = text, .text_len = len, .vectors = v, .dim = KIT_DIM};
    return index_put(ix, &d, em);
}

/* Adds documents from the first on, up to n; the number of the first that did not go in. Each group is one of few. */
static unsigned fill(struct index *ix, unsigned first, unsigned n)
{
    struct err_msg em;
    for (unsigned i = first; i < n; i++) {
        int r = put(ix, i, &em);
        if (r == 0)
            r = index_commit(ix, NULL, &em);
        else
            (void)index_commit(ix, NULL, NULL);
        if (r == LT_ENOSPC)
            return i;
        kit_ok(r, &em);
        if (i % 8 == 0)
            kit_ok(index_maintain(ix, 20, NULL, &em), &em); /* as while a client reads its reply */
    }
    return n;
}

static void delete(struct index *ix, unsigned first, unsigned end, unsigned step)
{
    struct err_msg em;
    char id[16];
    for (unsigned i = first, n = 1; i < end; i += step, n++) {
        snprintf(id, sizeof id, "%u", i);
        kit_ok(index_delete(ix, "c", id, strlen(id), &em), &em);
        if (n % TOGETHER && i + step < end)
            continue;
        kit_ok(index_commit(ix, NULL, &em), &em);
        kit_ok(index_maintain(ix, 20, NULL, &em), &em);
    }
}

/* As another connection reads it. */
static int64_t number(const char *sql)
{
    char path[160];
    sqlite3 *db;
    sqlite3_stmt *st;
    snprintf(path, sizeof path, "%s/store.db", dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static int64_t words_bytes(void)
{
    return number("SELECT sum(length(block)) FROM words_1_data");
}

/* Of the table of vectors. */
static int64_t vectors_pages(void)
{
    return number("SELECT count(*) FROM dbstat WHERE name = 'vectors'");
}

/* Until there is nothing more to do, and it has come to rest. */
static void settle(struct index *ix)
{
    struct err_msg em;
    for (unsigned i = 0, still = 0; i < PATIENCE && still < 30; i++) {
        bool more;
        kit_ok(index_maintain(ix, 20, &more, &em), &em);
        still = more ? 0 : still + 1;
        if (!more)
            usleep(50000);
    }
}

/* Not enough room for the log of it: rows stay where they are, words are merged in small pieces. As soon as there is, rows are packed. */
static void tidying_waits_for_room(void **state)
{
    (void)state;
    struct index *ix = open_small(96, 1);
    struct index_status st;
    assert_int_equal(fill(ix, 0, 500), 500);
    const int64_t words = words_bytes(), pages = vectors_pages();
    ballast(14 << 20);
    delete(ix, 0, 500, 3);
    settle(ix);
    index_get_status(ix, &st);
    assert_false(st.read_only);
    print_message("words: %lld bytes, %lld with a third deleted\n", (long long)words, (long long)words_bytes());
    assert_true(words_bytes() < words * 19 / 20); /* those of an eighth of the texts, and as much of notes, may wait */
    assert_int_equal(vectors_pages(), pages);
    ballast(-1);
    settle(ix);
    print_message("vectors: %lld pages, %lld packed\n", (long long)pages, (long long)vectors_pages());
    assert_true(vectors_pages() < pages * 7 / 8);
    kit_check(ix);
    close_small(&ix);
}

/* Deletes nearly all of a disk that is full; writing resumes, and nearly as much goes in again. */
static void make_room(bool by_others)
{
    struct index *ix = open_small(48, 0);
    struct index_status st;
    unsigned n = fill(ix, 0, 100000), i = 0;
    assert_true(n > 200 && n < 100000);
    if (by_others)
        ballast(0);
    delete(ix, 0, n - 10, 1);
    int64_t before = words_bytes();
    if (by_others)
        ballast(-1);
    for (index_get_status(ix, &st); st.read_only && i < PATIENCE; i++) {
        struct err_msg em;
        kit_ok(index_maintain(ix, 20, NULL, &em), &em);
        usleep(50000);
        index_get_status(ix, &st);
    }
    if (st.read_only)
        fail_msg("%s", st.reason);
    unsigned again = fill(ix, n, 100000) - n;
    print_message("%u documents; after deleting all but 10, words of %lld bytes, %u went in again\n", n, (long long)before, again);
    assert_true(again >= (n - 10) / 2); /* the rest while more is merged */
    kit_check(ix);
    close_small(&ix);
}

/* A long word that no other text has. */
static int put_word(struct index *ix, unsigned i, struct err_msg *em)
{
    char id[16], text[20100];
    uint64_t rng = i + 1;
    float v[KIT_DIM];
    int len = snprintf(text, sizeof text, "number%u ", i);
    while (len < 20000)
        len += snprintf(text + len, sizeof text - (size_t)len, "%016llx", (unsigned long long)unit_rand(&rng));
    kit_embed(text, (size_t)len, v);
    snprintf(id, sizeof id, "%u", i);
    struct index_doc d = {.collection = "c", .id = id, .id_len = strlen(id), .text = text, .text_len = (size_t)len, .vectors = v, .dim = KIT_DIM};
    return index_put(ix, &d, em);
}

/* ALONE of them, each in a commit of its own. */
static void put_words(struct index *ix)
{
    struct err_msg em;
    for (unsigned i = 0; i < ALONE; i++) {
        kit_ok(put_word(ix, i, &em), &em);
        kit_ok(index_commit(ix, NULL, &em), &em);
        kit_ok(index_maintain(ix, 0, NULL, &em), &em);
    }
    settle(ix);
}

/* Documents added and deleted one by one, of words that no other has: no commit puts all words together at once, for which a full disk
 * has no room. */
static void no_commit_merges_all_words(void **state)
{
    (void)state;
    struct index *ix = open_small(96, 0);
    struct err_msg em;
    uint64_t most = 0;
    put_words(ix);
    for (unsigned i = 0; i < ALONE; i++) {
        char id[16];
        const uint64_t before = bytes_free();
        snprintf(id, sizeof id, "%u", i);
        kit_ok(index_delete(ix, "c", id, strlen(id), &em), &em);
        kit_ok(index_commit(ix, NULL, &em), &em);
        const uint64_t after = bytes_free();
        most = before > after + most ? before - after : most;
        kit_ok(index_maintain(ix, 20, NULL, &em), &em);
    }
    print_message("the largest deletion took %llu bytes of the disk\n", (unsigned long long)most);
    assert_true(most < MERGE_AT_MOST);
    kit_check(ix);
    close_small(&ix);
}

/* A document of the collection "large", of many chunks with large vectors. */
static int put_large(struct index *ix, unsigned i, struct err_msg *em)
{
    static char text[LARGE_CHUNKS * 100 + 1];
    static float v[LARGE_CHUNKS * LARGE_DIM];
    struct index_span spans[LARGE_CHUNKS];
    char id[16];
    uint64_t rng = i + 1;
    for (unsigned k = 0; k < LARGE_CHUNKS; k++) {
        spans[k] = (struct index_span){k * 100, k * 100 + 100};
        for (unsigned w = 0; w < 100; w += 10)
            snprintf(text + k * 100 + w, 11, "w%08u ", (unsigned)(unit_rand(&rng) % 20000));
        v[k * LARGE_DIM + unit_rand(&rng) % LARGE_DIM] = 1;
    }
    snprintf(id, sizeof id, "%u", i);
    struct index_doc d = {.collection = "large", .id = id, .id_len = strlen(id), .text = text, .text_len = sizeof text - 1, .vectors = v,
                          .dim = LARGE_DIM, .spans = spans, .n_spans = LARGE_CHUNKS};
    int r = index_put(ix, &d, em);
    return r < 0 ? r : index_commit(ix, NULL, em);
}

/* A collection with large documents goes from a disk that is full, bite by bite, whose logs have room one after the other. */
static void dropping_makes_room(void **state)
{
    (void)state;
    struct index *ix = open_small(96, 0);
    struct index_status st;
    struct err_msg em = {""};
    unsigned n = 0;
    int r;
    kit_ok(index_create(ix, &(struct index_collection_params){.name = "large", .dim = LARGE_DIM, .vectors_only = true, .m = 4, .ef_construction = 8},
                        &em), &em);
    while ((r = put_large(ix, n, &em)) == 0) {
        kit_ok(index_maintain(ix, 20, NULL, &em), &em);
        n++;
    }
    (void)index_commit(ix, NULL, NULL);
    assert_int_equal(r, LT_ENOSPC);
    ballast(0);
    kit_ok(index_drop(ix, "large", &em), &em);
    for (unsigned i = 0; number("SELECT count(*) FROM chunks") && i < PATIENCE; i++) {
        if ((r = index_maintain(ix, 20, NULL, &em)) < 0)
            fail_msg("%u documents, %lld chunks are left: %s", n, (long long)number("SELECT count(*) FROM chunks"), em.text);
        usleep(1000);
    }
    assert_int_equal(number("SELECT count(*) FROM chunks"), 0);
    settle(ix);
    index_get_status(ix, &st);
    print_message("%u documents; %llu bytes are free after they went\n", n, (unsigned long long)bytes_free());
    assert_false(st.read_only);
    assert_true(bytes_free() >= n * LARGE_CHUNKS * LARGE_DIM * sizeof(float) / 2);
    ballast(-1);
    kit_check(ix);
    close_small(&ix);
}

/* The same, deleted twenty at a time while their words are merged in pieces, again and again: FTS5 would go on with such a merge by
 * itself, to its end, in the commit of a deletion, and then that would need more than a nearly full disk has. */
static void no_deletion_ends_a_merge(void **state)
{
    (void)state;
    struct index *ix = open_small(96, 0);
    struct err_msg em;
    uint64_t most = 0;
    put_words(ix);
    ballast(16 << 20);
    for (unsigned i = 0; i < ALONE; i += TOGETHER) {
        const uint64_t before = bytes_free();
        for (unsigned j = i; j < i + TOGETHER; j++) {
            char id[16];
            snprintf(id, sizeof id, "%u", j);
            kit_ok(index_delete(ix, "c", id, strlen(id), &em), &em);
        }
        kit_ok(index_commit(ix, NULL, &em), &em);
        const uint64_t after = bytes_free();
        most = before > after + most ? before - after : most;
        kit_ok(index_maintain(ix, 2, NULL, &em), &em);
    }
    print_message("the largest deletion took %llu bytes of the disk\n", (unsigned long long)most);
    assert_true(most < LEFT_FREE);
    assert_int_equal(number("SELECT v FROM words_1_config WHERE k = 'automerge'"), 0);
    kit_check(ix);
    index_close(&ix); /* and once there is room again commits merge again, the next run's as well */
    ballast(-1);
    struct index_params p = {.dir = dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM};
    kit_ok(index_open(&ix, &p, &em), &em);
    settle(ix);
    assert_int_equal(number("SELECT v FROM words_1_config WHERE k = 'automerge'"), 4);
    close_small(&ix);
}

/* A deletion fails in the middle of its commit, and then the log is emptied: the error tells of the moment when it failed. */
static void the_reason_is_of_the_moment(void **state)
{
    (void)state;
    struct index *ix = open_small(96, 0);
    struct err_msg em;
    unsigned long long left, need;
    for (unsigned i = 0; i < 300; i++) {
        kit_ok(put_word(ix, i, &em), &em);
        kit_ok(index_commit(ix, NULL, &em), &em);
        kit_ok(index_maintain(ix, 0, NULL, &em), &em);
    }
    settle(ix);
    for (unsigned i = 2; bytes_free() > ROOM; i++) { /* all of it is in the log, and takes no room in the store */
        char id[16];
        assert_true(i < 300);
        snprintf(id, sizeof id, "%u", i);
        kit_ok(index_delete(ix, "c", id, strlen(id), &em), &em);
        kit_ok(index_commit(ix, NULL, &em), &em);
    }
    ballast(16 << 10);
    kit_ok(index_delete(ix, "c", "1", 1, &em), &em);
    assert_int_equal(index_commit(ix, NULL, &em), LT_ENOSPC);
    print_message("%s\n", em.text);
    const char *at = strstr(em.text, "no space left (");
    assert_true(at && sscanf(at, "no space left (%llu bytes free, %llu needed)", &left, &need) == 2);
    assert_true(left < need);
    kit_ok(index_delete(ix, "c", "1", 1, &em), &em); /* now there is room */
    kit_ok(index_commit(ix, NULL, &em), &em);
    kit_check(ix);
    close_small(&ix);
}

static void deleting_makes_room(void **state)
{
    (void)state;
    make_room(false);
}

static void deleting_makes_room_without_a_byte_left(void **state)
{
    (void)state;
    make_room(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tidying_waits_for_room),
        cmocka_unit_test(no_commit_merges_all_words),
        cmocka_unit_test(dropping_makes_room),
        cmocka_unit_test(no_deletion_ends_a_merge),
        cmocka_unit_test(the_reason_is_of_the_moment),
        cmocka_unit_test(deleting_makes_room),
        cmocka_unit_test(deleting_makes_room_without_a_byte_left),
    };
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("skipped: no right to mount here\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
