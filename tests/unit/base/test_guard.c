#include "tests/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/guard.h"

#define PAGES 64

static char path[] = "/tmp/latentd-guard-XXXXXX";
static size_t page;

/* A file of PAGES pages, each full of its number plus one. */
static int make_file(void **state)
{
    int fd = mkstemp(path);
    char *data = malloc(page);
    for (int i = 0; i < PAGES; i++) {
        memset(data, i + 1, page);
        assert_int_equal(file_write_full(fd, data, page), 0);
    }
    free(data);
    return close(fd);
}

static int remove_file(void **state)
{
    int r = unlink(path);
    memcpy(path + strlen(path) - 6, "XXXXXX", 6);
    return r;
}

static uint8_t *map(int prot, int flags)
{
    int fd = open(path, O_RDWR);
    void *p = mmap(NULL, PAGES * page, prot, flags, fd, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    close(fd);
    return p;
}

/* In a process of its own, without cmocka's handlers: of two mappings of the emptied file the first is guarded, and one is read.
 * Exit status 7 when the process lives. */
static int touch(const char *which)
{
    static atomic_bool lost;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    volatile uint8_t *p = map(PROT_READ, MAP_SHARED), *q = map(PROT_READ, MAP_SHARED);
    if (guard_add((void *)p, PAGES * page, &lost) < 0 || truncate(path, 0) < 0)
        return 1;
    if (!strcmp(which, "removed"))
        guard_remove((void *)p);
    close(2); /* a sanitizer would describe it at length */
    const int read = !strcmp(which, "other") ? q[3] : p[3];
    return read == 0 && lost ? 7 : 1;
}

static bool lives(const char *which)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test_guard", path, which, (char *)NULL);
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

static void test_shared(void **state)
{
    atomic_bool lost = false, other = false;
    uint8_t *p = map(PROT_READ, MAP_SHARED), *q = map(PROT_READ, MAP_SHARED);
    assert_int_equal(guard_add(q, PAGES * page, &other), 0);
    assert_int_equal(guard_add(p, PAGES * page, &lost), 0);
    assert_int_equal(p[5 * page], 6);
    assert_int_equal(truncate(path, (off_t)(5 * page + 7)), 0);
    assert_int_equal(p[4 * page], 5);
    assert_int_equal(p[5 * page + 6], 6);
    assert_int_equal(p[5 * page + 7], 0); /* the rest of the last page */
    assert_false(lost);
    for (size_t i = 6; i < PAGES; i++)
        assert_int_equal(p[i * page + i], 0);
    assert_true(lost);
    assert_false(other);
    assert_int_equal(p[5 * page + 6], 6);
    guard_remove(p);
    guard_remove(p);
    munmap(p, PAGES * page);
    assert_int_equal(q[PAGES * page - 1], 0);
    assert_true(other);
    guard_remove(q);
    munmap(q, PAGES * page);
}

/* A private mapping's own pages go as well. */
static void test_private(void **state)
{
    atomic_bool lost = false;
    uint8_t *p = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    assert_int_equal(guard_add(p, PAGES * page, &lost), 0);
    p[2 * page] = 200;
    p[9 * page] = 201;
    assert_int_equal(truncate(path, 0), 0);
    p[9 * page + 1] = 7;
    assert_true(lost);
    assert_int_equal(p[9 * page], 0);
    assert_int_equal(p[9 * page + 1], 7);
    assert_int_equal(p[2 * page], 0);
    guard_remove(p);
    munmap(p, PAGES * page);
}

static void test_not_guarded(void **state)
{
    assert_true(lives("guarded"));
    assert_false(lives("other"));
    assert_false(lives("removed"));
}

static void *sum_all(void *arg)
{
    const volatile uint8_t *p = arg;
    uintptr_t sum = 0;
    for (size_t i = 0; i < PAGES * page; i += 64)
        sum += p[i];
    return (void *)sum;
}

static void test_many_threads(void **state)
{
    atomic_bool lost = false;
    uint8_t *p = map(PROT_READ, MAP_SHARED);
    pthread_t t[8];
    void *sum;
    assert_int_equal(guard_add(p, PAGES * page, &lost), 0);
    assert_int_equal(truncate(path, (off_t)page), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, sum_all, p), 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(t[i], &sum);
        assert_int_equal((uintptr_t)sum, page / 64);
    }
    assert_true(lost);
    guard_remove(p);
    munmap(p, PAGES * page);
}

static void test_file_map(void **state)
{
    struct file_map m;
    struct err_msg em;
    assert_int_equal(file_map(path, &m, &em), 0);
    assert_int_equal(m.len, PAGES * page);
    assert_false(file_map_lost(&m));
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(m.data[0] | m.data[m.len - 1], 0);
    assert_true(file_map_lost(&m));
    file_unmap(&m);
    assert_false(file_map_lost(&m));
}

int main(int argc, char **argv)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    if (argc == 3) {
        snprintf(path, sizeof path, "%s", argv[1]);
        return touch(argv[2]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shared, make_file, remove_file),
        cmocka_unit_test_setup_teardown(test_private, make_file, remove_file),
        cmocka_unit_test_setup_teardown(test_not_guarded, make_file, remove_file),
        cmocka_unit_test_setup_teardown(test_many_threads, make_file, remove_file),
        cmocka_unit_test_setup_teardown(test_file_map, make_file, remove_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
