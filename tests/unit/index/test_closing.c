/* Many collections: at the end graphs that changed are saved side by side, and those that did not cost nothing; and all of them are looked at
 * for damage, though there is time for one at a time only. */
#include "kit_sql.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>

#define N 40
#define TOGETHER 4u

/* Syncs at the end wait until so many wait, unless that has been in vain once. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    bool on, in_vain;
    unsigned now, most, n;
} syncs = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void wait_for_others(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5;
    pthread_mutex_lock(&syncs.lock);
    syncs.n += syncs.on;
    syncs.now += syncs.on;
    if (syncs.now > syncs.most)
        syncs.most = syncs.now;
    pthread_cond_broadcast(&syncs.more);
    while (syncs.on && syncs.most < TOGETHER && !syncs.in_vain)
        syncs.in_vain = pthread_cond_timedwait(&syncs.more, &syncs.lock, &until) == ETIMEDOUT;
    syncs.now -= syncs.on;
    pthread_mutex_unlock(&syncs.lock);
}

int fsync(int fd)
{
    wait_for_others();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    pthread_mutex_lock(&syncs.lock);
    syncs.n += syncs.on;
    pthread_mutex_unlock(&syncs.lock);
    return (int)syscall(SYS_fdatasync, fd);
}

static void name(int i, char out[static 16])
{
    snprintf(out, 16, "c%d", i);
}

static void put(struct index *ix, int i, const char *id, const char *text)
{
    char c[16];
    struct err_msg em;
    name(i, c);
    kit_ok(kit_put(ix, c, id, text, NULL, 0, &em), &em);
}

static void close_counted(struct index **ix)
{
    syncs.n = syncs.most = 0;
    syncs.on = true;
    index_close(ix);
    syncs.on = false;
    assert_int_equal(syncs.now, 0);
}

static void check_found(struct index *ix, int i, const char *text, const char *id)
{
    char c[16];
    struct index_reader *r;
    struct index_result res;
    struct index_collection info;
    name(i, c);
    assert_int_equal(index_info(ix, c, &info, NULL), 0);
    assert_false(info.degraded);
    assert_int_equal(info.unsaved, 0);
    assert_int_equal(index_reader_create(&r, ix, NULL), 0);
    assert_int_equal(kit_search(r, c, INDEX_DENSE, text, NULL, 3, &res), 0);
    assert_int_equal(kit_rank(&res, id), 0);
    index_result_finish(&res);
    index_reader_destroy(&r);
}

static void test_many(void **state)
{
    char dir[128], c[16];
    struct index *ix = kit_open(kit_dir(dir));
    for (int i = 0; i < N; i++) {
        name(i, c);
        kit_create(ix, c);
        put(ix, i, "a", "first words");
        put(ix, i, "b", "others of a kind");
        kit_commit(ix);
    }
    kit_embed_pending(ix);
    close_counted(&ix);
    assert_true(syncs.most >= TOGETHER);
    ix = kit_open(dir);
    for (int i = 1; i < N; i++)
        put(ix, i, "a", "second thoughts"); /* what it replaces is kept for the graphs until they are saved */
    kit_commit(ix);
    kit_embed_pending(ix);
    close_counted(&ix);
    assert_true(syncs.n <= 6 * (N - 1)); /* five for a graph: vectors, segment, manifest, the folder twice; and few for what they were told of */
    assert_int_equal(kit_sql(dir, "DELETE FROM removed"), 0);
    ix = kit_open(dir);
    for (int i = 0; i < N; i++)
        check_found(ix, i, i ? "second thoughts" : "first words", "a");
    kit_check(ix);
    close_counted(&ix);
    assert_true(syncs.n <= 2); /* nothing changed */
    kit_remove(dir);
    (void)state;
}

#ifdef LATENTD_FAULTS
static void damage(const char *dir, int64_t id)
{
    char cmd[400];
    snprintf(cmd, sizeof cmd, "printf x | dd of=\"$(ls %s/graph/%lld/segment-*.seg)\" bs=1 seek=5000 conv=notrunc status=none", dir, (long long)id);
    assert_int_equal(system(cmd), 0);
}

static void test_each_is_scrubbed(void **state)
{
    char dir[128], c[16];
    struct index *ix = kit_open(kit_dir(dir));
    struct err_msg em;
    for (int i = 0; i < N; i++) {
        name(i, c);
        kit_create(ix, c);
        put(ix, i, "a", "first words");
        kit_commit(ix);
    }
    kit_embed_pending(ix);
    index_close(&ix);
    for (int i = 1; i <= N; i += N / 4)
        damage(dir, i);
    ix = kit_open(dir);
    assert_int_not_equal(index_check(ix, kit_say, NULL, &em), 0);
    for (int i = 0; i < 2 * N; i++) {
        bool more;
        kit_ok(index_maintain(ix, 100, &more, &em), &em);
    }
    kit_check(ix);
    index_close(&ix);
    kit_remove(dir);
    (void)state;
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
#ifdef LATENTD_FAULTS
        cmocka_unit_test(test_each_is_scrubbed),
#endif
    };
    setenv("LATENTD_FAULT", "maintain.due=always,scrub.late=always", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
