/* The store under a file system that loses whatever was not synced: an acknowledged commit has been synced before, and what
 * it holds is there after the power has failed at any moment. */
#include "tests/unit/index/store_kit.h"

#include "tests/faults/power_vfs.h"

#define ROUNDS 60

struct world {
    char dir[128];
    struct index *ix;
    int n_acked;     /* documents 0 … n_acked-1 are acknowledged */
    int n_searchable; /* … and of these so many have acknowledged vectors */
};

static void open_world(struct world *w)
{
    struct err_msg em = {""};
    struct index_params p = {.dir = w->dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM, .vfs = POWER_VFS};
    assert_int_equal(power_vfs_register(), 0);
    kit_dir(w->dir);
    kit_ok(index_open(&w->ix, &p, &em), &em);
    kit_create(w->ix, "c");
}

static void text_of(int i, char out[static 64])
{
    snprintf(out, 64, "word%d other%d more%d", i, i / 3, i % 7);
}

static void put(struct world *w, int i)
{
    char id[16], text[64];
    struct err_msg em = {""};
    snprintf(id, sizeof id, "d%d", i);
    text_of(i, text);
    kit_ok(kit_put(w->ix, "c", id, text, NULL, 0, &em), &em);
}

/* Opens what the failure left, with the ordinary file system. */
static void check_after_failure(const struct world *w, bool vectors)
{
    char dir[128];
    struct index_reader *r;
    struct err_msg em = {""};
    kit_dir(dir);
    power_vfs_fail(dir);
    struct index *ix = kit_open(dir);
    kit_ok(index_reader_create(&r, ix, &em), &em);
    for (int i = 0; i < w->n_acked; i++) {
        char id[16], text[64];
        struct index_documents d;
        snprintf(id, sizeof id, "d%d", i);
        text_of(i, text);
        kit_ok(index_get(r, "c", &(struct index_id){id, strlen(id)}, 1, 0, &d, &em), &em);
        if (d.n != 1 || strcmp(d.docs[0].text, text) != 0)
            fail_msg("document %s, acknowledged, is lost", id);
        if (vectors && i < w->n_searchable && !d.docs[0].searchable)
            fail_msg("document %s was acknowledged as searchable and is not", id);
        index_documents_finish(&d);
    }
    index_reader_destroy(&r);
    index_close(&ix);
    kit_remove(dir);
}

static void test_power_loss(void **state)
{
    struct world w = {{0}};
    uint64_t seed = unit_seed();
    open_world(&w);
    for (int round = 0; round < ROUNDS; round++) {
        int n = 1 + (int)(unit_rand(&seed) % 5);
        size_t syncs = power_vfs_syncs();
        for (int i = 0; i < n; i++)
            put(&w, w.n_acked + i);
        if (round % 7 == 3)
            check_after_failure(&w, true); /* in the middle of a group: it is not there, all before it is */
        kit_commit(w.ix);
        assert_true(power_vfs_syncs() > syncs);
        assert_int_equal(power_vfs_unsynced(), 0);
        w.n_acked += n;
        if (round % 3 == 0) {
            kit_embed_pending(w.ix);
            assert_int_equal(power_vfs_unsynced(), 0);
            w.n_searchable = w.n_acked;
        }
        if (round % 11 == 5) {
            bool more;
            struct err_msg em;
            kit_ok(index_maintain(w.ix, 50, &more, &em), &em);
        }
        if (round % 5 == 0)
            check_after_failure(&w, true);
    }
    check_after_failure(&w, true);
    index_close(&w.ix);
    kit_remove(w.dir);
}

/* How many of the documents are there, from the first on: all up to a number, each as it was, and nothing else. */
static int count_after_failure(const char *dir)
{
    int n = 0;
    bool more = true;
    struct index_reader *r;
    struct index_collection info;
    struct index_status st;
    struct err_msg em = {""};
    struct index *ix = kit_open(dir);
    index_get_status(ix, &st);
    assert_string_equal(st.warning, ""); /* a torn log is not a damaged one */
    kit_check(ix);
    kit_ok(index_info(ix, "c", &info, &em), &em);
    kit_ok(index_reader_create(&r, ix, &em), &em);
    for (bool there = true; there; n += there) {
        char id[16], text[64];
        struct index_documents d;
        snprintf(id, sizeof id, "d%d", n);
        text_of(n, text);
        kit_ok(index_get(r, "c", &(struct index_id){id, strlen(id)}, 1, 0, &d, &em), &em);
        there = d.n == 1;
        if (there && strcmp(d.docs[0].text, text) != 0)
            fail_msg("document %s: %s", id, d.docs[0].text);
        index_documents_finish(&d);
    }
    assert_int_equal(info.documents, n);
    index_reader_destroy(&r);
    kit_embed_pending(ix); /* goes on as if nothing had been */
    while (more)
        kit_ok(index_maintain(ix, 50, &more, &em), &em);
    kit_check(ix);
    index_close(&ix);
    return n;
}

/* The power fails while a commit, or the log's way back into the database, waits for a sync: what was written since the last one has
 * reached the disk in part, in any order. What was acknowledged before is there; of the group under way all or nothing. */
static void test_reordered(void **state)
{
    struct world w = {{0}};
    uint64_t seed = unit_seed();
    int n_during = 0, n_kept = 0;
    open_world(&w);
    for (int round = 0; round < ROUNDS; round++) {
        char dir[128];
        kit_dir(dir);
        power_vfs_fail_before(1 + unit_rand(&seed) % 3, dir, unit_rand(&seed));
        while (!power_vfs_failed()) {
            const int n = 1 + (int)(unit_rand(&seed) % 40), what = (int)(unit_rand(&seed) % 3), before = w.n_acked;
            if (what == 0) {
                for (int i = 0; i < n; i++)
                    put(&w, before + i);
                kit_commit(w.ix);
                w.n_acked += n;
            } else if (what == 1) {
                kit_embed_pending(w.ix);
            } else {
                bool more;
                struct err_msg em;
                kit_ok(index_maintain(w.ix, 10, &more, &em), &em);
            }
            if (!power_vfs_failed())
                continue;
            const int found = count_after_failure(dir);
            if (found != before && found != w.n_acked)
                fail_msg("%d documents after the failure: %d were acknowledged before, %d after", found, before, w.n_acked);
            n_during += w.n_acked > before;
            n_kept += w.n_acked > before && found == w.n_acked;
        }
        kit_remove(dir);
    }
    power_vfs_fail_before(0, NULL, 0);
    print_message("%d failures in %d rounds were of a commit, %d of these groups were whole\n", n_during, ROUNDS, n_kept);
    assert_true(n_during > 0 && n_kept < n_during);
    index_close(&w.ix);
    kit_remove(w.dir);
}

/* The harness itself: without a sync, what was written is gone. */
static void test_the_loss_is_real(void **state)
{
    struct world w = {{0}};
    open_world(&w);
    for (int i = 0; i < 20; i++)
        put(&w, i);
    kit_commit(w.ix);
    w.n_acked = 20;
    check_after_failure(&w, true);
    char dir[128];
    struct index_collection info;
    put(&w, 20); /* in an open group */
    kit_dir(dir);
    power_vfs_fail(dir);
    struct index *ix = kit_open(dir);
    assert_int_equal(index_info(ix, "c", &info, NULL), 0);
    assert_int_equal(info.documents, 20);
    index_close(&ix);
    kit_remove(dir);
    index_close(&w.ix);
    kit_remove(w.dir);
}

int main(void)
{
    setenv("LATENTD_FAULT", "maintain.due=always", 1); /* the log goes back into the database whenever there is a chance */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_loss),
        cmocka_unit_test(test_reordered),
        cmocka_unit_test(test_the_loss_is_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
