/* The default socket of a user without a runtime folder lies in /tmp, where another user may have been first: nobody is given anything then. */
#include "tests/unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clients/c/latent.h"

static char dir[64], path[80];

#define CAME 64
#define NOT_NAMED 63

/* What a client of that user gets: the code's number, and CAME where the listener had a visitor; NOT_NAMED where the error does not name
 * the socket that nobody came to. */
static int ask(uid_t uid, int listener)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct latent *c = latent_new();
        if (setresuid(uid, uid, uid) < 0 || unsetenv("XDG_RUNTIME_DIR") || unsetenv("LATENTD_SOCKET"))
            _exit(127);
        latent_set_timeout(c, 200);
        const int code = latent_connect_default(c);
        const bool named = strstr(latent_error(c), path) != NULL;
        const int came = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        latent_destroy(&c);
        _exit(came >= 0 ? CAME - code : named ? -code : NOT_NAMED);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_squatted(void **state)
{
    const uid_t uid = 50000 + (uid_t)(getpid() % 10000);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(dir, sizeof dir, "/tmp/latentd-%u", (unsigned)uid);
    snprintf(path, sizeof path, "%s/latentd.sock", dir);
    assert_int_equal(mkdir(dir, 0755), 0);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(chmod(path, 0666), 0);
    /* root's folder, then the user's own that all can write to, then one that is the user's alone */
    assert_int_equal(ask(uid, fd), -LATENT_EPERM);
    assert_int_equal(chown(dir, uid, (gid_t)-1), 0);
    assert_int_equal(chmod(dir, 0777), 0);
    assert_int_equal(ask(uid, fd), -LATENT_EPERM);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(ask(uid, fd), CAME - LATENT_ETIMEOUT); /* the listener says nothing */
    close(fd);
    assert_int_equal(unlink(path), 0);
    if (access("/run/latentd/latentd.sock", F_OK) < 0) /* else that one answers */
        assert_int_equal(ask(uid, fd), -LATENT_ECONN);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    if (geteuid() != 0)
        return 77; /* only root can give a folder away and become somebody else */
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_squatted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
