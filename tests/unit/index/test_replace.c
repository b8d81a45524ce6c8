/* index_replace. */
#include "kit_box.h"

#include <pthread.h>
#include <sched.h>

#include "index/store.h"

/* NULL: no such document. */
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

/* A new folder with the collections c and d. */
static void open_two(struct box *b)
{
    kit_dir(b->dir);
    b->ix = kit_open(b->dir);
    assert_int_equal(index_reader_create(&b->r, b->ix, NULL), 0);
    kit_create(b->ix, "c");
    kit_create(b->ix, "d");
}

/* One collection in another's place: by name, in memory and after a start; the other's rows go, its documents do not come back. */
static void test_replace(void **state)
{
    struct box box, *b = &box;
    struct err_msg em;
    struct index_collection c;
    uint64_t seq, other;
    open_two(b);
    kit_ok(kit_put(b->ix, "c", "a", "old text", NULL, 0, &em), &em);
    kit_ok(kit_put(b->ix, "c", "b", "gone", NULL, 0, &em), &em);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    assert_int_equal(index_seqs(b->ix, "c", &seq, &other), 0);
    assert_int_equal(index_replace(b->ix, "c", "none", seq, &em), LT_ENOTFOUND);
    assert_non_null(strstr(em.text, "none"));
    assert_int_equal(index_replace(b->ix, "none", "d", seq, &em), LT_ENOTFOUND);
    assert_int_equal(index_replace(b->ix, "c", "c", seq, &em), LT_EINVAL);
    assert_int_equal(index_replace(b->ix, "c", "d", seq - 1, &em), LT_EBUSY);
    kit_ok(kit_put(b->ix, "d", "a", "new text", NULL, 0, &em), &em);
    assert_int_equal(index_replace(b->ix, "c", "d", seq, &em), LT_EBUSY); /* a group is open */
    kit_commit(b->ix);
    assert_int_equal(index_replace(b->ix, "c", "d", seq, &em), LT_EBUSY); /* not searchable yet */
    assert_non_null(strstr(em.text, "not searchable"));
    kit_embed_pending(b->ix);
    struct index_collection_params tmp = {.name = "t", .temporary = true};
    kit_ok(index_create(b->ix, &tmp, &em), &em);
    assert_int_equal(index_replace(b->ix, "c", "t", seq, &em), LT_EINVAL);
    kit_ok(index_replace(b->ix, "c", "d", seq, &em), &em);
    for (int i = 0; i < 2; i++) {
        bool searchable = false, more = true;
        assert_int_equal(index_info(b->ix, "d", &c, &em), LT_ENOTFOUND);
        kit_ok(index_info(b->ix, "c", &c, &em), &em);
        assert_int_equal(c.documents, 1);
        char *text = get_text(b, "a", &searchable);
        assert_non_null(text);
        assert_string_equal(text, "new text");
        assert_true(searchable);
        free(text);
        assert_null(get_text(b, "b", NULL));
        for (int k = 0; more && k < 100; k++)
            kit_ok(index_maintain(b->ix, 10, &more, &em), &em);
        kit_check(b->ix);
        box_reopen(b);
    }
    kit_create(b->ix, "d"); /* the name is free */
    index_reader_destroy(&b->r);
    index_close(&b->ix);
    kit_remove(b->dir);
}

/* A job is its collection's, not that of whoever has the name later; it stays with what comes into the place by index_replace, and what of it is
 * cancelled there goes although nobody waits for that. */
static void test_jobs(void **state)
{
    struct box box, *b = &box;
    struct err_msg em;
    struct index_collection c;
    uint64_t seq, other, job, late;
    bool more = true;
    open_two(b);
    kit_ok(index_job_open(b->ix, "c", "of the first c", 0, 0, &job, &em), &em);
    kit_ok(kit_put(b->ix, "c", "a", "waits, and goes with it", NULL, job, &em), &em);
    kit_commit(b->ix);
    assert_int_equal(index_seqs(b->ix, "c", &seq, &other), 0);
    kit_ok(index_replace(b->ix, "c", "d", seq, &em), &em);
    for (int i = 0; i < 600; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%d", i);
        kit_ok(kit_put(b->ix, "c", id, "words", NULL, job, &em), &em);
    }
    kit_commit(b->ix);
    assert_int_equal(index_job_cancel(b->ix, job, &em), 1); /* some of them */
    for (int i = 0; more && i < 1000; i++)
        kit_ok(index_maintain(b->ix, 10, &more, &em), &em);
    kit_ok(index_info(b->ix, "c", &c, &em), &em);
    assert_int_equal(c.documents, 0);
    kit_ok(index_job_open(b->ix, "c", "of the second", 0, 0, &late, &em), &em);
    kit_ok(index_drop(b->ix, "c", &em), &em);
    kit_create(b->ix, "c");
    assert_int_equal(index_job_takes(b->ix, "c", late, &em), LT_ENOTFOUND);
    assert_int_equal(kit_put(b->ix, "c", "a", "words", NULL, late, &em), LT_ENOTFOUND);
    kit_commit(b->ix);
    kit_ok(index_job_close(b->ix, late, &em), &em); /* closing and cancelling it do no harm */
    kit_check(b->ix);
    index_reader_destroy(&b->r);
    index_close(&b->ix);
    kit_remove(b->dir);
}

#ifdef LATENTD_FAULTS
static char hold[128]; /* searches wait while there is this file */

struct late_search {
    struct box *b;
    int ret;
    struct index_result res;
};

static void *search_late(void *arg)
{
    struct late_search *s = arg;
    float v[KIT_DIM];
    kit_embed("text", 4, v);
    struct index_query q = {.collection = "c", .text = "text", .text_len = 4, .vector = v, .dim = KIT_DIM, .k = 5, .mode = INDEX_HYBRID};
    s->ret = index_search(s->b->r, &q, &s->res, NULL);
    return NULL;
}

/* A search that has looked its collection up before another takes its place, or it is dropped, and goes on when its rows are gone. */
static void one_swap(struct box *b, const char *by)
{
    struct late_search s = {.b = b};
    struct collection *c = collection_find(b->ix, "c");
    struct err_msg em;
    pthread_t thread;
    uint64_t seq, other;
    bool more = true;
    fclose(fopen(hold, "w"));
    const int users = atomic_load(&c->n_users);
    assert_int_equal(pthread_create(&thread, NULL, search_late, &s), 0);
    while (atomic_load(&c->n_users) == users)
        sched_yield();
    collection_release(c);
    assert_int_equal(index_seqs(b->ix, "c", &seq, &other), 0);
    if (by)
        kit_ok(index_replace(b->ix, "c", by, seq, &em), &em);
    else
        kit_ok(index_drop(b->ix, "c", &em), &em);
    for (int i = 0; more && i < 100; i++)
        kit_ok(index_maintain(b->ix, 10, &more, &em), &em);
    unlink(hold);
    pthread_join(thread, NULL);
    assert_int_equal(s.ret, by ? 0 : LT_ENOTFOUND);
    if (by) {
        assert_int_equal(s.res.n, 1);
        assert_string_equal(s.res.hits[0].text, "new text");
    }
    index_result_finish(&s.res);
}

static void test_search_meanwhile(void **state)
{
    struct box box, *b = &box;
    struct err_msg em;
    open_two(b);
    kit_ok(kit_put(b->ix, "c", "a", "old text", NULL, 0, &em), &em);
    kit_ok(kit_put(b->ix, "d", "a", "new text", NULL, 0, &em), &em);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    one_swap(b, "d");
    one_swap(b, NULL);
    index_reader_destroy(&b->r);
    index_close(&b->ix);
    kit_remove(b->dir);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_jobs),
#ifdef LATENTD_FAULTS
        cmocka_unit_test(test_search_meanwhile),
#endif
    };
#ifdef LATENTD_FAULTS
    char fault[160];
    snprintf(hold, sizeof hold, "/tmp/latentd-test-hold-%ld", (long)getpid());
    snprintf(fault, sizeof fault, "search.begin=%s", hold);
    setenv("LATENTD_FAULT", fault, 1);
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
