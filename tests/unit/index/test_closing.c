/* Many collections: at the end graphs that changed are saved side by side, and those that did not cost nothing; and all of them are looked at
 * for damage, though there is time for one at a time only, or for few: what is put into one of them does not wait until all have been. */
#include "kit_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "index/store.h"
#include "kit_clock.h"

#define N 40
#define N_MANY 200
#define SCRUB_NS 20000000u /* of housekeeping, as in maintain.c */
#define TOGETHER 4u

/* Syncs at the end wait until so many wait, unless that has been in vain once. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    bool on, in_vain, skipped; /* skipped: nothing is lost without power here, and many take long */
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
    return syncs.skipped ? 0 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    pthread_mutex_lock(&syncs.lock);
    syncs.n += syncs.on;
    pthread_mutex_unlock(&syncs.lock);
    return syncs.skipped ? 0 : (int)syscall(SYS_fdatasync, fd);
}

static atomic_uint graphs_opened; /* files of theirs */

int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    const int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
    va_end(ap);
    atomic_fetch_add(&graphs_opened, strstr(path, "/segment-") ? 1u : 0u);
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
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

/* One round. */
static void housekeeping(struct index *ix, uint64_t step_ns)
{
    struct err_msg em;
    bool more;
    ix->maintain_ns = 0; /* it is due */
    graphs_opened = 0;
    kit_clock.step_ns = step_ns;
    kit_ok(index_maintain(ix, 100, &more, &em), &em);
    kit_clock.step_ns = 0;
}

/* A document into each of many collections, one after the other, with housekeeping due each time: few graphs are read, however many there are. */
static void test_few_are_read(void **state)
{
    char dir[128], c[16];
    struct index *ix = kit_open(kit_dir(dir));
    syncs.skipped = true;
    for (int i = 0; i < N_MANY; i++) {
        name(i, c);
        kit_create(ix, c);
    }
    for (int i = 0; i < N_MANY; i++)
        put(ix, i, "a", "first words");
    kit_commit(ix);
    kit_embed_pending(ix);
    index_close(&ix);
    ix = kit_open(dir);
    for (int i = 0; i < N_MANY; i += N_MANY / 10) {
        put(ix, i, "b", "second thoughts");
        kit_commit(ix);
        kit_embed_pending(ix);
        housekeeping(ix, SCRUB_NS / 5);
        assert_in_range(graphs_opened, 1, 5);
    }
    index_close(&ix);
    syncs.skipped = false;
    kit_remove(dir);
    (void)state;
}

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
        housekeeping(ix, SCRUB_NS);
        assert_in_range(graphs_opened, 0, 2); /* one, and the next time again when it was made anew */
    }
    kit_check(ix);
    index_close(&ix);
    kit_remove(dir);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_few_are_read),
        cmocka_unit_test(test_each_is_scrubbed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
