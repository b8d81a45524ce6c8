/* Render nodes that this process may not open are named with their group. */
#include "tests/unit.h"

#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu/access.h"

static void make_file(const char *dir, const char *name, mode_t mode)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

/* As a user who is not root, for whom every file is open; the message's text. */
static int ask(const char *dir, char text[static sizeof(((struct err_msg *)0)->text)])
{
    struct {
        int r;
        struct err_msg em;
    } told = {0};
    int pipes[2], status;
    assert_int_equal(pipe(pipes), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0))
            _exit(1);
        told.r = gpu_access(dir, &told.em);
        _exit(write(pipes[1], &told, sizeof told) != sizeof told);
    }
    assert_int_equal(read(pipes[0], &told, sizeof told), sizeof told);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(pipes[0]);
    close(pipes[1]);
    memcpy(text, told.em.text, sizeof told.em.text);
    return told.r;
}

static void nodes_out_of_reach_are_named(void **state)
{
    char dir[] = "/tmp/latentd-access-XXXXXX", text[sizeof(((struct err_msg *)0)->text)], want[128], command[64];
    struct group *g = getgrgid(getegid());
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(ask("/nowhere/at/all", text), 0);
    assert_int_equal(ask(dir, text), 0);
    make_file(dir, "card0", 0); /* no render node */
    make_file(dir, "renderD128", 0666);
    assert_int_equal(ask(dir, text), 0);
    make_file(dir, "renderD130", 0);
    make_file(dir, "renderD129", 0);
    assert_int_equal(ask(dir, text), LT_EPERM);
    snprintf(want, sizeof want, "%s/renderD129, which is group %s's", dir, g ? g->gr_name : "");
    assert_non_null(strstr(text, want));
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_out_of_reach_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
