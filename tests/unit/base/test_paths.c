/* A folder in /tmp that another user could have made first is no place to meet. */
#include "tests/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/paths.h"

static void test_ours(void **state)
{
    char dir[] = "/tmp/latentd-XXXXXX", path[64], link[64], inner[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/latentd.sock", dir);
    snprintf(link, sizeof link, "%s-l", dir);
    snprintf(inner, sizeof inner, "%s-l/latentd.sock", dir);
    assert_int_equal(paths_socket_ours(path), 0);
    assert_int_equal(chmod(dir, 0770), 0);
    assert_int_equal(paths_socket_ours(path), LT_EPERM);
    assert_int_equal(chmod(dir, 0702), 0);
    assert_int_equal(paths_socket_ours(path), LT_EPERM);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(symlink(dir, link), 0);
    assert_int_equal(paths_socket_ours(inner), LT_EPERM);
    assert_int_equal(unlink(link), 0);
    if (geteuid() == 0) { /* only root can give it away */
        assert_int_equal(chown(dir, 12345, (gid_t)-1), 0);
        assert_int_equal(paths_socket_ours(path), LT_EPERM);
    }
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(paths_socket_ours(path), LT_ENOTFOUND);
    int fd = open(dir, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(paths_socket_ours(path), LT_EPERM);
    assert_int_equal(unlink(dir), 0);
    assert_int_equal(paths_socket_ours("/run/latentd/latentd.sock"), 0);
    assert_int_equal(paths_socket_ours("latentd.sock"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ours)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
