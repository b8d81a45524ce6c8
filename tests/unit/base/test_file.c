#include "tests/unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static char dir[64];

static int make_dir(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/latentd-file-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static void test_replace_and_read(void **state)
{
    char path[128], *data;
    size_t len;
    struct err_msg em;
    snprintf(path, sizeof path, "%s/a", dir);
    assert_int_equal(file_read(path, 10, &data, &len, &em), LT_ENOTFOUND);
    assert_int_equal(file_replace(path, "one", 3, 0600, &em), 0);
    assert_int_equal(file_replace(path, "three", 5, 0600, &em), 0);
    assert_int_equal(file_read(path, 5, &data, &len, &em), 0);
    assert_int_equal(len, 5);
    assert_string_equal(data, "three");
    free(data);
    assert_int_equal(file_read(path, 4, &data, &len, &em), LT_ELIMIT);
    assert_int_equal(file_read(dir, 4, &data, &len, &em), LT_EINVAL);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_map(void **state)
{
    char path[128];
    struct file_map m;
    struct err_msg em;
    snprintf(path, sizeof path, "%s/m", dir);
    assert_int_equal(file_replace(path, "", 0, 0600, &em), 0);
    assert_int_equal(file_map(path, &m, &em), 0);
    assert_null(m.data);
    assert_int_equal(file_replace(path, "xyz", 3, 0600, &em), 0);
    assert_int_equal(file_map(path, &m, &em), 0);
    assert_memory_equal(m.data, "xyz", 3);
    file_unmap(&m);
    assert_null(m.data);
}

/* What somebody has laid where the new bytes go first: they do not go through it into another file, and nobody waits for a pipe's reader. */
static void test_replace_laid(void **state)
{
    char path[128], tmp[144], other[128], *data;
    size_t len;
    struct stat st;
    struct err_msg em;
    snprintf(path, sizeof path, "%s/laid", dir);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    snprintf(other, sizeof other, "%s/other", dir);
    assert_int_equal(file_replace(other, "theirs", 6, 0640, &em), 0);
    for (int how = 0; how < 3; how++) {
        assert_int_equal(how == 0 ? symlink(other, tmp) : how == 1 ? link(other, tmp) : mkfifo(tmp, 0600), 0);
        assert_int_equal(file_replace(path, "ours", 4, 0600, &em), 0);
        assert_int_equal(lstat(path, &st), 0);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(file_read(path, 10, &data, &len, &em), 0);
        assert_string_equal(data, "ours");
        free(data);
        assert_int_equal(file_read(other, 10, &data, &len, &em), 0);
        assert_string_equal(data, "theirs");
        free(data);
    }
}

/* Whatever has no bytes of its own is refused at once, a pipe that nobody writes to as well. */
static void test_no_files(void **state)
{
    char path[128], *data;
    struct file_map m;
    size_t len;
    struct err_msg em;
    snprintf(path, sizeof path, "%s/pipe", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(file_read(path, 4, &data, &len, &em), LT_EINVAL);
    assert_int_equal(file_map(path, &m, &em), LT_EINVAL);
    assert_int_equal(file_read("/dev/null", 4, &data, &len, &em), LT_EINVAL);
    assert_int_equal(file_map(dir, &m, &em), LT_EINVAL);
}

static void test_make_dirs(void **state)
{
    char path[128];
    struct err_msg em;
    snprintf(path, sizeof path, "%s/x/y/z", dir);
    assert_int_equal(file_make_dirs(path, 0700, &em), 0);
    assert_int_equal(file_make_dirs(path, 0700, &em), 0);
    snprintf(path, sizeof path, "%s/file", dir);
    assert_int_equal(file_replace(path, "", 0, 0600, &em), 0);
    assert_int_equal(file_make_dirs(path, 0700, &em), LT_EINVAL);
    assert_non_null(strstr(em.text, "/file is not a folder"));
    snprintf(path, sizeof path, "%s/file/below", dir);
    assert_int_equal(file_make_dirs(path, 0700, &em), LT_EINVAL);
    assert_non_null(strstr(em.text, "/file is not a folder"));
    snprintf(path, sizeof path, "%s/dangling", dir);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_int_equal(file_make_dirs(path, 0700, &em), LT_ENOTFOUND);
    assert_non_null(strstr(em.text, "/dangling is a link to what is not there"));
    assert_int_equal(file_make_dirs("/proc/1/task/x", 0700, &em), LT_ENOTFOUND);
    assert_string_equal(em.text, "/proc/1/task/x: No such file or directory");
}

/* Root's file in another user's folder, by descriptor and name: who has it then. */
static unsigned owner_after_give(const char *path, const char *name)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    file_give(fd, name);
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    return st.st_uid;
}

static void test_give(void **state)
{
    char folder[96], own[128], path[128], linked[128];
    struct stat st;
    struct err_msg em;
    if (geteuid() != 0)
        skip();
    snprintf(own, sizeof own, "%s/own", dir);
    snprintf(folder, sizeof folder, "%s/theirs", dir);
    assert_int_equal(mkdir(folder, 0755), 0);
    assert_int_equal(chown(folder, 1234, 1235), 0);
    snprintf(path, sizeof path, "%s/new", folder);
    assert_int_equal(owner_after_give(path, path), 1234);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_gid, 1235);
    assert_int_equal(owner_after_give(own, own), 0); /* root's folder */
    snprintf(path, sizeof path, "%s/replaced", folder);
    assert_int_equal(file_replace(path, "x", 1, 0600, &em), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 1234);
    /* What the folder's user may have laid there for root to open is not given away. */
    snprintf(linked, sizeof linked, "%s/symlink", folder);
    assert_int_equal(symlink(own, linked), 0);
    assert_int_equal(owner_after_give(linked, linked), 0);
    snprintf(linked, sizeof linked, "%s/link", folder);
    assert_int_equal(link(own, linked), 0);
    assert_int_equal(owner_after_give(linked, linked), 0);
    assert_int_equal(chown(path, 0, 0), 0);
    assert_int_equal(owner_after_give(path, path), 0); /* has bytes: it was there before */
    snprintf(path, sizeof path, "%s/other", folder);
    assert_int_equal(owner_after_give(path, linked), 0); /* is not the one of that name */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replace_and_read),
        cmocka_unit_test(test_replace_laid),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_no_files),
        cmocka_unit_test(test_make_dirs),
        cmocka_unit_test(test_give),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
