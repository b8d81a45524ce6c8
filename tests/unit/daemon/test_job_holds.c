/* Who holds a job: those that added to it, as long as they are there, and the last jobs of each only. */
#include "tests/unit.h"

#include "daemon/job_holds.h"

/* What the holds call of index and writer. */
static unsigned n_looks;
static size_t n_left;
static int look_result;
int index_jobs_abandon(struct index *ix, bool (*held)(void *arg, uint64_t job), void *arg, size_t *left, struct err_msg *em)
{
    (void)ix;
    (void)held;
    (void)arg;
    (void)em;
    n_looks++;
    *left = n_left;
    return look_result;
}

void writer_submit(struct writer *w, struct writer_op *op)
{
    struct err_msg em = {""};
    (void)w;
    op->done(op, op->apply(op, NULL, &em), 0, &em);
}

static struct core core;

static void leave(struct order *o, uint64_t sender)
{
    struct job_release *rel = malloc(sizeof *rel);
    assert_non_null(rel);
    job_release_submit(&rel, &core, o, sender);
    assert_null(rel);
}

static void test_holds(void **state)
{
    struct order *o = order_create();
    struct job_holds *h = core.holds = job_holds_create(&core);
    assert_false(job_holds_has(h, 1));
    for (int twice = 0; twice < 2; twice++) {
        job_holds_add(h, 1, 10);
        job_holds_add(h, 1, 11);
        job_holds_add(h, 2, 11);
    }
    leave(o, 12); /* holds nothing */
    leave(o, 10);
    assert_true(job_holds_has(h, 1));
    leave(o, 11);
    assert_false(job_holds_has(h, 1));
    assert_false(job_holds_has(h, 2));
    job_holds_add(h, 1, 10);
    assert_true(job_holds_has(h, 1));
    job_holds_destroy(&core.holds);
    assert_null(core.holds);
    job_holds_destroy(&core.holds);
    order_unref(&o);
}

/* However many jobs a connection names, it holds the last ones only, and takes none from others. */
static void test_bound(void **state)
{
    struct order *o = order_create();
    struct job_holds *h = core.holds = job_holds_create(&core);
    job_holds_add(h, 1, 99);
    for (uint64_t job = 1; job <= 1000; job++)
        job_holds_add(h, job, 5);
    for (uint64_t job = 1; job <= 1000; job++)
        assert_int_equal(job_holds_has(h, job), job == 1 || job > 1000 - JOB_HOLDS_MAX);
    leave(o, 5);
    assert_true(job_holds_has(h, 1));
    assert_false(job_holds_has(h, 1000));
    job_holds_destroy(&core.holds);
    order_unref(&o);
}

/* It looks once at the start, after somebody has gone, and again while something is left; not while the daemon stops. */
static void test_looks(void **state)
{
    struct order *o = order_create();
    struct job_holds *h = core.holds = job_holds_create(&core);
    n_looks = 0;
    n_left = 0;
    for (int i = 0; i < 3; i++)
        job_holds_between(h, NULL);
    assert_int_equal(n_looks, 1);
    job_holds_add(h, 1, 5);
    job_holds_between(h, NULL);
    leave(o, 6); /* held nothing */
    job_holds_between(h, NULL);
    assert_int_equal(n_looks, 1);
    leave(o, 5);
    atomic_store(&core.stopping, true);
    job_holds_between(h, NULL);
    assert_int_equal(n_looks, 1);
    atomic_store(&core.stopping, false);
    n_left = 1;
    job_holds_between(h, NULL);
    assert_int_equal(n_looks, 2);
    n_left = 0;
    look_result = LT_ENOSPC; /* a failure does not end it */
    for (int i = 0; i < 2; i++) {
        while (n_looks == 2u + (unsigned)i)
            job_holds_between(h, NULL);
        look_result = 0;
    }
    for (int i = 0; i < 3; i++)
        job_holds_between(h, NULL);
    assert_int_equal(n_looks, 4);
    job_holds_destroy(&core.holds);
    order_unref(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_holds), cmocka_unit_test(test_bound), cmocka_unit_test(test_looks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
