/* A data folder that is moved or deleted while it is open, and perhaps another one in its place: what belongs to others is left alone, and
 * nothing is acknowledged that nobody will find. */
#include "kit_box.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define N 300

static void fill(struct index *ix, const char *word)
{
    struct err_msg em;
    char id[32], text[80];
    for (int i = 0; i < N; i++) {
        snprintf(id, sizeof id, "%s%d", word, i);
        snprintf(text, sizeof text, "%s%d of %s and others", word, i, word);
        kit_ok(kit_put(ix, "c", id, text, NULL, 0, &em), &em);
    }
    kit_commit(ix);
    kit_embed_pending(ix);
}

static void shell(const char *fmt, const char *dir)
{
    char cmd[900];
    snprintf(cmd, sizeof cmd, fmt, dir, dir);
    assert_int_equal(system(cmd), 0);
}

/* Names, sizes and times of all that lies in the folder. */
static void listing(const char *dir, char out[static 4096])
{
    char cmd[300];
    snprintf(cmd, sizeof cmd, "cd '%s' && find . -type f ! -name reserve -printf '%%p %%s %%T@\\n' | sort", dir);
    FILE *p = popen(cmd, "r");
    assert_non_null(p);
    out[fread(out, 1, 4095, p)] = 0;
    assert_int_equal(pclose(p), 0);
}

static void expect_found(struct index_reader *r, const char *word)
{
    struct index_result res;
    char id[32], text[80];
    for (int i = 0; i < N; i += 7) {
        snprintf(id, sizeof id, "%s%d", word, i);
        snprintf(text, sizeof text, "%s%d of %s and others", word, i, word);
        assert_int_equal(kit_search(r, "c", INDEX_DENSE, text, NULL, 1, &res), 0);
        assert_int_equal(kit_rank(&res, id), 0);
        assert_true(res.hits[0].score > 0.99f);
        index_result_finish(&res);
    }
}

static void expect_refused(struct box *b)
{
    struct err_msg em = {""};
    struct index_status st;
    assert_int_equal(kit_put(b->ix, "c", "late", "too late", NULL, 0, &em), LT_EIO);
    assert_non_null(strstr(em.text, "store.db: moved"));
    index_get_status(b->ix, &st);
    assert_true(st.read_only);
    assert_non_null(strstr(st.reason, "store.db: moved"));
}

/* The new one's files are its own: the old one does not save its graphs there. */
static void test_another_in_its_place(void **state)
{
    struct box *b = *state, copy = {{0}};
    struct index *other;
    struct err_msg em;
    char before[4096], after[4096];
    fill(b->ix, "old");
    shell("rm -rf '%s' && mkdir '%s'", b->dir);
    other = kit_open(b->dir);
    kit_create(other, "c");
    fill(other, "new");
    listing(b->dir, before);
    bool more = true;
    for (int i = 0; i < 3; i++)
        kit_ok(index_maintain(b->ix, 50, &more, &em), &em);
    expect_refused(b);
    expect_found(b->r, "old");
    box_close(b);
    listing(b->dir, after);
    assert_string_equal(after, before);
    /* As after a kill of the new one. */
    snprintf(copy.dir, sizeof copy.dir, "%.100s-copy", b->dir);
    shell("cp -a '%s' '%s-copy'", b->dir);
    box_open(&copy);
    expect_found(copy.r, "new");
    box_close(&copy);
    kit_remove(copy.dir);
    index_close(&other);
    box_open(b);
    expect_found(b->r, "new");
}

static void test_moved_away(void **state)
{
    struct box *b = *state;
    char moved[160];
    struct err_msg em;
    fill(b->ix, "old");
    snprintf(moved, sizeof moved, "%s-moved", b->dir);
    assert_int_equal(rename(b->dir, moved), 0);
    expect_refused(b);
    bool more = true;
    kit_ok(index_maintain(b->ix, 50, &more, &em), &em);
    box_close(b);
    assert_int_equal(access(b->dir, F_OK), -1);
    assert_int_equal(rename(moved, b->dir), 0);
    box_open(b);
    expect_found(b->r, "old");
    kit_ok(kit_put(b->ix, "c", "again", "as before", NULL, 0, &em), &em);
    kit_commit(b->ix);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)
    const struct CMUnitTest tests[] = {T(test_another_in_its_place), T(test_moved_away)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
