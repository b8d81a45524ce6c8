/* Sockets by paths of every length: what is bound under a name is reached under it, and the file is where it should be. */
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/paths.h"
#include "base/unix_addr.h"

static void bound_and_reached(const char *path)
{
    struct unix_addr a, b;
    struct err_msg em = {""};
    struct stat st;
    assert_int_equal(unix_addr_init(&a, path, &em), 0);
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(server, (struct sockaddr *)&a.addr, sizeof a.addr), 0);
    assert_int_equal(listen(server, 1), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(unix_addr_init(&b, path, &em), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&b.addr, sizeof b.addr), 0);
    unix_addr_finish(&a);
    unix_addr_finish(&b);
    assert_int_equal(a.folder, -1);
    close(server);
    close(client);
    unlink(path);
}

static void lengths(void **state)
{
    char dir[64] = "/tmp/latentd-addr-XXXXXX", path[PATHS_MAX];
    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t len = strlen(dir) + 2; len < strlen(dir) + 1 + 80; len++) { /* one name */
        assert_true(snprintf(path, sizeof path, "%s/%0*d", dir, (int)(len - strlen(dir) - 1), 0) < (int)sizeof path);
        bound_and_reached(path);
    }
    char deep[PATHS_MAX];
    snprintf(deep, sizeof deep, "%s/%0100d", dir, 0);
    assert_int_equal(mkdir(deep, 0700), 0);
    for (int len = 1; len <= 80; len++) {
        assert_true(snprintf(path, sizeof path, "%s/%0*d", deep, len, 0) < (int)sizeof path);
        bound_and_reached(path);
    }
    char here[PATHS_MAX];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(dir), 0);
    bound_and_reached("s");
    snprintf(path, sizeof path, "%0100d/../%0100d/s", 0, 0); /* long and relative */
    bound_and_reached(path);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(rmdir(deep), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void refused(void **state)
{
    char path[2 * PATHS_MAX];
    struct unix_addr a;
    struct err_msg em = {""};
    (void)state;
    assert_int_equal(unix_addr_init(&a, "", &em), LT_EINVAL);
    memset(path, 'a', sizeof path);
    path[PATHS_MAX] = 0;
    assert_int_equal(unix_addr_init(&a, path, &em), LT_EINVAL);
    path[120] = 0; /* a name alone */
    assert_int_equal(unix_addr_init(&a, path, &em), LT_EINVAL);
    assert_non_null(strstr(em.text, "too long a name"));
    path[100] = '/';
    assert_int_equal(unix_addr_init(&a, path, &em), LT_ENOTFOUND); /* no such folder */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lengths), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
