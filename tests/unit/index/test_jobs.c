/* Jobs: bytes received and done, and what becomes of those that nobody closes. */
#include "kit_box.h"

#include "kit_sql.h"

static uint64_t job_open(struct box *b)
{
    struct err_msg em;
    uint64_t job = 0;
    kit_ok(index_job_open(b->ix, "c", "files", 3, 1000, &job, &em), &em);
    return job;
}

static int put(struct box *b, const char *id, const char *text, uint32_t bytes, uint64_t job)
{
    struct err_msg em;
    struct index_doc d = {.collection = "c", .id = id, .id_len = strlen(id), .text = text, .text_len = strlen(text),
                          .source_bytes = bytes, .job = job};
    return index_put(b->ix, &d, &em);
}

static struct index_job row(struct box *b, uint64_t job)
{
    struct index_job *list, j;
    struct err_msg em;
    size_t n;
    kit_ok(index_job_list(b->r, job, &list, &n, &em), &em);
    assert_int_equal(n, 1);
    j = list[0];
    free(list);
    return j;
}

static void expect(struct box *b, uint64_t job, enum index_job_state state, uint64_t received, uint64_t done)
{
    const struct index_job j = row(b, job);
    assert_int_equal(j.state, state);
    assert_int_equal(j.received_bytes, received);
    assert_int_equal(j.done_bytes, done);
    assert_int_equal(j.total_bytes, 1000);
}

/* Searchable, refused, failed, replaced, kept and vectorless documents: all count once. */
static void test_bytes(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    const uint64_t job = job_open(b);
    expect(b, job, INDEX_JOB_OPEN, 0, 0);
    assert_int_equal(put(b, "a", "some words", 100, job), 0);
    assert_int_equal(put(b, "b", "more words", UINT32_MAX, job), 0);
    kit_commit(b->ix);
    expect(b, job, INDEX_JOB_OPEN, 100 + (uint64_t)UINT32_MAX, 0);
    assert_int_equal(put(b, "b", "other words", 30, job), 0); /* before it was searchable */
    kit_commit(b->ix);
    expect(b, job, INDEX_JOB_OPEN, 130 + (uint64_t)UINT32_MAX, UINT32_MAX);
    kit_ok(index_job_count_failed(b->ix, "c", job, 2, 7, "too long", &em), &em);
    struct index_chunk_list list;
    kit_ok(index_pending(b->ix, 0, 10, 1 << 20, &list, &em), &em);
    assert_int_equal(list.n, 2);
    kit_ok(index_fail_chunk(b->ix, list.chunks[0].chunk, LT_ENAN, NULL, &em), &em);
    index_chunk_list_finish(&list);
    kit_commit(b->ix);
    expect(b, job, INDEX_JOB_OPEN, 137 + (uint64_t)UINT32_MAX, 107 + (uint64_t)UINT32_MAX);
    kit_embed_pending(b->ix);
    assert_int_equal(put(b, "b", "other words", 3, job), 0); /* found already */
    kit_commit(b->ix);
    kit_ok(index_job_close(b->ix, job, &em), &em);
    expect(b, job, INDEX_JOB_FAILED, 140 + (uint64_t)UINT32_MAX, 140 + (uint64_t)UINT32_MAX);
    box_reopen(b);
    expect(b, job, INDEX_JOB_FAILED, 140 + (uint64_t)UINT32_MAX, 140 + (uint64_t)UINT32_MAX);
    kit_check(b->ix);
}

static void counts(struct box *b, uint64_t job, uint64_t accepted, uint64_t searchable)
{
    const struct index_job j = row(b, job);
    assert_int_equal(j.accepted, accepted);
    assert_int_equal(j.searchable, searchable);
}

/* What is sent again, since its sender does not know whether it came, counts as one document; what another job brings counts there. */
static void test_resent(void **state)
{
    struct box *b = *state;
    const uint64_t job = job_open(b), other = job_open(b);
    for (int i = 0; i < 2; i++) { /* before they are searchable */
        assert_int_equal(put(b, "a", "some words", 10, job), 0);
        assert_int_equal(put(b, "b", "more words", 10, job), 0);
        kit_commit(b->ix);
        counts(b, job, 2, 0);
    }
    kit_embed_pending(b->ix);
    counts(b, job, 2, 2);
    assert_int_equal(put(b, "a", "some words", 10, job), 0); /* as it is */
    assert_int_equal(put(b, "b", "other words", 10, job), 0);
    kit_commit(b->ix);
    counts(b, job, 2, 2);
    kit_embed_pending(b->ix);
    counts(b, job, 2, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(put(b, "a", "some words", 10, other), 0);
        kit_commit(b->ix);
        counts(b, other, 1, 1);
    }
    assert_int_equal(put(b, "b", "new words", 10, other), 0);
    assert_int_equal(put(b, "c", "words", 10, other), 0);
    kit_commit(b->ix);
    counts(b, other, 3, 1);
    kit_embed_pending(b->ix);
    counts(b, other, 3, 3);
    counts(b, job, 2, 2);
    kit_check(b->ix);
}

static void test_bytes_cancelled(void **state)
{
    struct box *b = *state;
    const uint64_t job = job_open(b);
    assert_int_equal(put(b, "a", "some words", 10, job), 0);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    for (int i = 0; i < 600; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%d", i);
        assert_int_equal(put(b, id, "words", 5, job), 0);
    }
    kit_commit(b->ix);
    expect(b, job, INDEX_JOB_OPEN, 3010, 10);
    kit_cancel(b->ix, job);
    expect(b, job, INDEX_JOB_CANCELLED, 10, 10);
    kit_check(b->ix);
}

static void put_many(struct box *b, const char *prefix, int n, uint64_t job)
{
    for (int i = 0; i < n; i++) {
        char id[16];
        snprintf(id, sizeof id, "%s%d", prefix, i);
        assert_int_equal(put(b, id, "words", 5, job), 0);
    }
    kit_commit(b->ix);
}

static struct index_collection info(struct box *b)
{
    struct index_collection c;
    struct err_msg em;
    kit_ok(index_info(b->ix, "c", &c, &em), &em);
    return c;
}

static void maintain(struct box *b)
{
    struct err_msg em;
    bool more = true;
    while (more)
        kit_ok(index_maintain(b->ix, 0, &more, &em), &em);
}

/* Between the bites of a cancellation others write, and nothing of the job becomes searchable; what a kill leaves goes after the next start. */
static void test_cancel_in_bites(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    struct index_chunk_list list;
    size_t n_set = 9;
    float v[KIT_DIM];
    const uint64_t job = job_open(b), other = job_open(b);
    put_many(b, "d", 6000, job);
    put_many(b, "other", 1, other);
    kit_ok(index_pending(b->ix, 300, 2, 1 << 20, &list, &em), &em);
    assert_int_equal(list.n, 2);
    assert_int_equal(index_job_cancel(b->ix, job, &em), 1);
    expect(b, job, INDEX_JOB_CANCELLED, 5 * (6000 - 256), 0);
    assert_int_equal(info(b).documents, 6001 - 256);
    kit_embed("words", 5, v);
    kit_ok(index_set_vectors(b->ix, &list.chunks[0].chunk, v, 1, KIT_DIM, &n_set, &em), &em);
    assert_int_equal(n_set, 0);
    kit_ok(index_fail_chunk(b->ix, list.chunks[1].chunk, LT_ENAN, NULL, &em), &em);
    index_chunk_list_finish(&list);
    assert_int_equal(put(b, "d5999", "again, and without a job", 7, 0), 0);
    assert_int_equal(put(b, "late", "words", 5, job), LT_ECANCELLED);
    kit_commit(b->ix);
    assert_int_equal(row(b, job).failed, 0);
    assert_int_equal(kit_embed_pending(b->ix), 2);
    assert_int_equal(row(b, other).searchable, 1);
    assert_int_equal(index_job_cancel(b->ix, job, &em), 1);
    box_reopen(b);
    assert_int_equal(info(b).documents, 6001 - 512);
    assert_int_equal(kit_embed_pending(b->ix), 0);
    kit_ok(index_maintain(b->ix, 0, NULL, &em), &em);
    assert_int_equal(info(b).documents, 6001 - 768);
    maintain(b);
    assert_int_equal(info(b).documents, 2);
    assert_int_equal(info(b).pending_chunks, 0);
    assert_int_equal(row(b, job).pending_chunks, 0);
    assert_int_equal(info(b).searchable_seq, info(b).accepted_seq);
    kit_check(b->ix);
}

/* Documents that a cancelled job made searchable stay its own affair: where they have to be embedded again they are not dropped. */
static void test_cancelled_then_repaired(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    const uint64_t job = job_open(b);
    put_many(b, "d", 3, job);
    kit_embed_pending(b->ix);
    put_many(b, "e", 1, job);
    kit_cancel(b->ix, job);
    box_close(b);
    assert_int_equal(kit_sql(b->dir, "DELETE FROM vectors WHERE chunk = 2"), 1);
    struct index_check_report rep;
    kit_ok(index_check_folder(&(struct index_check_params){.dir = b->dir, .repair = true, .say = kit_say}, &rep, &em), &em);
    box_open(b);
    maintain(b);
    assert_int_equal(kit_embed_pending(b->ix), 1);
    assert_int_equal(info(b).documents, 3);
    assert_int_equal(row(b, job).searchable, 3);
    kit_check(b->ix);
}

/* What has ended cannot be cancelled any more; what is closed and still waits can. */
static void test_cancel_late(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    const uint64_t job = job_open(b);
    assert_int_equal(put(b, "a", "some words", 10, job), 0);
    kit_commit(b->ix);
    kit_ok(index_job_close(b->ix, job, &em), &em);
    kit_embed_pending(b->ix);
    kit_cancel(b->ix, job);
    expect(b, job, INDEX_JOB_DONE, 10, 10);
    const uint64_t waiting = job_open(b);
    assert_int_equal(put(b, "b", "some words", 10, waiting), 0);
    kit_commit(b->ix);
    kit_ok(index_job_close(b->ix, waiting, &em), &em);
    kit_cancel(b->ix, waiting);
    expect(b, waiting, INDEX_JOB_CANCELLED, 0, 0);
    kit_check(b->ix);
}

/* Rows that no latentd writes: listed with figures that make sense, or at least without an error. */
static void test_forged(void **state)
{
    struct box *b = *state;
    static const char *const rows[] = {
        "UPDATE jobs SET received_bytes = -5", "UPDATE jobs SET received_bytes = 9223372036854775807",
        "UPDATE jobs SET received_bytes = 1e300", "UPDATE documents SET source = -9223372036854775807",
        "UPDATE documents SET source = 9223372036854775807", "UPDATE documents SET source = x'00'",
        "UPDATE jobs SET received_bytes = x'ff', state = 77"};
    const uint64_t job = job_open(b);
    for (int i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%d", i);
        assert_int_equal(put(b, id, "words", 5, job), 0);
    }
    kit_commit(b->ix);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        box_close(b);
        kit_sql(b->dir, rows[i]);
        box_open(b);
        const struct index_job j = row(b, job);
        assert_true(j.done_bytes <= j.received_bytes);
        assert_true(j.received_bytes <= INT64_MAX);
        if (i < 6) {
            assert_int_equal(put(b, "d0", "words", UINT32_MAX, job), 0);
            kit_commit(b->ix);
            assert_true(row(b, job).done_bytes <= row(b, job).received_bytes);
        }
    }
}

struct holder {
    uint64_t job;
    unsigned n_asked;
};

static bool is_held(void *arg, uint64_t job)
{
    struct holder *h = arg;
    h->n_asked++;
    return h->job == job;
}

static size_t abandon(struct box *b, uint64_t held, unsigned n_asked)
{
    struct holder h = {.job = held};
    struct err_msg em;
    size_t left = 99;
    kit_ok(index_jobs_abandon(b->ix, is_held, &h, &left, &em), &em);
    assert_int_equal(h.n_asked, n_asked);
    return left;
}

/* Held jobs and those that wait for documents stay open; an abandoned one goes on with the next document, and closing ends it. */
static void test_abandoned(void **state)
{
    struct box *b = *state;
    struct err_msg em;
    const uint64_t empty = job_open(b), held = job_open(b), waits = job_open(b), closed = job_open(b);
    assert_int_equal(put(b, "a", "some words", 10, waits), 0);
    kit_commit(b->ix);
    kit_ok(index_job_close(b->ix, closed, &em), &em);
    assert_int_equal(abandon(b, held, 3), 1);
    expect(b, empty, INDEX_JOB_ABANDONED, 0, 0);
    expect(b, held, INDEX_JOB_OPEN, 0, 0);
    expect(b, waits, INDEX_JOB_OPEN, 10, 0);
    expect(b, closed, INDEX_JOB_DONE, 0, 0);
    kit_embed_pending(b->ix);
    assert_int_equal(abandon(b, held, 2), 0);
    expect(b, waits, INDEX_JOB_ABANDONED, 10, 10);
    box_reopen(b);
    expect(b, waits, INDEX_JOB_ABANDONED, 10, 10);
    assert_int_equal(put(b, "b", "more words", 20, waits), 0);
    kit_commit(b->ix);
    expect(b, waits, INDEX_JOB_OPEN, 30, 10);
    assert_int_equal(abandon(b, held, 2), 1);
    kit_embed_pending(b->ix);
    kit_ok(index_job_close(b->ix, waits, &em), &em);
    kit_ok(index_job_close(b->ix, empty, &em), &em);
    expect(b, waits, INDEX_JOB_DONE, 30, 30);
    expect(b, empty, INDEX_JOB_DONE, 0, 0);
    assert_int_equal(put(b, "c", "late", 1, empty), LT_EINVAL);
    kit_commit(b->ix);
    kit_check(b->ix);
}

/* More of them than are looked at in one go. */
static void test_abandoned_many(void **state)
{
    struct box *b = *state;
    uint64_t last = 0;
    for (int i = 0; i < 600; i++)
        last = job_open(b);
    assert_int_equal(abandon(b, last, 600), 0);
    expect(b, 1, INDEX_JOB_ABANDONED, 0, 0);
    expect(b, 599, INDEX_JOB_ABANDONED, 0, 0);
    expect(b, last, INDEX_JOB_OPEN, 0, 0);
    struct err_msg em;
    kit_ok(kit_put(b->ix, "c", "a", "a group is open", NULL, 0, &em), &em);
    size_t left;
    struct holder h = {0};
    assert_int_equal(index_jobs_abandon(b->ix, is_held, &h, &left, &em), LT_EBUSY); /* between groups only */
    kit_commit(b->ix);
}

#define T(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_bytes), T(test_resent), T(test_bytes_cancelled), T(test_cancel_in_bites), T(test_cancelled_then_repaired), T(test_cancel_late),
                                        T(test_forged), T(test_abandoned), T(test_abandoned_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
