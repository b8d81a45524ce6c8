/* Settings: the table, the configuration file, the command line. */
#include "tests/unit.h"

#include <stdlib.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/options.h"

static char path[] = "/tmp/latentd-conf-XXXXXX";

static int read_bytes(const char *text, size_t len, struct settings *s, struct err_msg *em)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
    settings_init(s);
    return config_read(path, s, em);
}

static int read_text(const char *text, struct settings *s, struct err_msg *em)
{
    return read_bytes(text, strlen(text), s, em);
}

static void expect_error_of(const char *text, size_t len, const char *want)
{
    struct settings s;
    struct err_msg em = {""};
    assert_int_equal(read_bytes(text, len, &s, &em), LT_EINVAL);
    if (!strstr(em.text, want))
        fail_msg("'%s' does not say '%s'", em.text, want);
    settings_finish(&s);
}

static void expect_error(const char *text, const char *want)
{
    expect_error_of(text, strlen(text), want);
}

static void file_sets(void **state)
{
    struct settings s;
    struct err_msg em = {""};
    (void)state;
    assert_int_equal(read_text("# comment\n\ndata = /a b/c\nthreads=3\n; other comment\nlisten = [::1]:7650\n", &s, &em), 0);
    assert_string_equal(s.data, "/a b/c");
    assert_string_equal(s.listen, "[::1]:7650");
    assert_int_equal(s.threads, 3);
    assert_int_equal(s.memory_mb, 0);
    settings_finish(&s);
    assert_int_equal(read_text("\xEF\xBB\xBF" "data = /x  ; where it is\r\n  threads = 4 ; both\r\n", &s, &em), 0);
    assert_string_equal(s.data, "/x");
    assert_int_equal(s.threads, 4);
    settings_finish(&s);
    settings_init(&s);
    assert_int_equal(config_read("/", &s, &em), LT_EIO); /* a folder is no empty file */
    assert_string_equal(em.text, "/: Is a directory");
    settings_finish(&s);
}

/* Nothing expands ~ in a file, nor a shell in --data=~/x: data would lie in a folder of that name, wherever it was started. So it would with
 * quotes, and with a comment that is none. */
static void tilde_is_no_folder(void **state)
{
    struct settings s;
    struct err_msg em = {""};
    static const char *const names[] = {"data", "socket", "model", "reranker", "authorized-keys"};
    char text[100];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(text, sizeof text, "threads = 2\n%s = ~/x\n", names[i]);
        expect_error(text, ":2: ");
        expect_error(text, "~/x: ~ is not expanded here");
        snprintf(text, sizeof text, "%s = \"/a b\"\n", names[i]);
        expect_error(text, "quotes are not taken off here");
        snprintf(text, sizeof text, "threads = 2\n%s = '/x'\n", names[i]);
        expect_error(text, ":2: ");
        snprintf(text, sizeof text, "%s = /x # the second disk\n", names[i]);
        expect_error(text, "behind a value a comment begins with ;");
        settings_init(&s);
        assert_int_equal(settings_set(&s, names[i], "~", &em), LT_EINVAL);
        assert_int_equal(settings_set(&s, names[i], "~tom/x", &em), LT_EINVAL);
        assert_int_equal(settings_set(&s, names[i], "./~/x", &em), 0);
        assert_int_equal(settings_set(&s, names[i], "/x/~", &em), 0);
        assert_int_equal(settings_set(&s, names[i], "/x #1/it's", &em), 0);
        settings_finish(&s);
    }
    settings_init(&s);
    assert_int_equal(settings_set(&s, "device", "~", &em), 0);
    settings_finish(&s);
}

static void file_errors_name_the_line(void **state)
{
    char text[1000];
    (void)state;
    expect_error("data = /x\ncolour = red\n", ":2: unknown setting 'colour'");
    expect_error("\n\nthreads = many\n", ":3: threads must be a number from 0 to 1024, not 'many'");
    expect_error("threads = -1\n", ":1: threads");
    expect_error("memory = -3\n", ":1: memory");
    expect_error("log-level = loud\n", ":1: log-level");
    expect_error("log-level = warn, info\n", ":1: log-level");
    expect_error("mask = caus\n", ":1: mask must be causal or full, not 'caus'");
    expect_error("pooling = latent\n", ":1: pooling must be mean, last or cls, not 'latent'");
    expect_error("socket-keys = maybe\n", ":1: socket-keys must be yes or no, not 'maybe'");
    expect_error("data = /x\nwhat is this\n", ":2: not a `name = value` line");
    expect_error("[server]\ndata = /x\n", ":1: '[server]': there are no sections");
    expect_error("data = /x\n  [server]\r\n", ":2: '[server]': there are no sections"); /* without a value below, too */
    expect_error("[]\ndata = /x\n", ":1: '[]': there are no sections");
    expect_error("\xEF\xBB\xBF[server]\n", ":1: '[server]': there are no sections");
    expect_error("data =\n", ":1: data is empty");
    expect_error("data = /x\nthreads = 1\n\nthreads = 1\n", ":4: threads is set in line 2 already");
    expect_error("data = /x\n  /y\n", ":2: not a `name = value` line"); /* no value goes on in the next line */
    expect_error("  data = /x\n\tthreads = x\n", ":2: threads must be");
    expect_error("\xEF\xBB\xBF" "colour = red\n", ":1: unknown setting 'colour'");
    expect_error_of("data = /x\0junk\n", 15, ":1: a NUL byte");
    expect_error_of("data = /x\n\0threads = 3\n", 23, ":2: a NUL byte"); /* no empty line */
    snprintf(text, sizeof text, "data = /x\nsocket = /%0300d\n", 0);
    expect_error(text, ":2: line is longer");
}

static void options_override(void **state)
{
    struct settings s;
    struct err_msg em = {""};
    enum options_action action;
    const char *argv[] = {"latentd", "--config", path, "--data", "/y", "--threads=5", NULL};
    (void)state;
    assert_int_equal(read_text("data = /x\nsocket = /s\nthreads = 1\n", &s, &em), 0);
    settings_finish(&s);
    settings_init(&s);
    assert_int_equal(options_read(6, (char **)argv, &s, NULL, &action, &em), 0);
    assert_int_equal(action, OPTIONS_SERVE);
    assert_string_equal(s.data, "/y");
    assert_string_equal(s.socket, "/s");
    assert_string_equal(s.authorized_keys, "/y/authorized_keys");
    assert_string_equal(s.device, "auto");
    assert_string_equal(s.socket_keys, "no");
    assert_int_equal(s.threads, 5);
    assert_false(s.recover);
    settings_finish(&s);
    settings_init(&s);
    argv[5] = "--recover";
    assert_int_equal(options_read(6, (char **)argv, &s, NULL, &action, &em), 0);
    assert_true(s.recover);
    assert_string_equal(s.data, "/y");
    settings_finish(&s);
    expect_error("recover = yes\n", "unknown setting 'recover'"); /* it would be forgotten there */
}

/* The value of an option is never taken for what the command is about. */
static void options_operand(void **state)
{
    struct settings s;
    struct err_msg em = {""};
    enum options_action action;
    const char *operand;
    static const char *const taken[][8] = {
        {"backup", "--data", "/y", "--log-level", "warn", "TO"},
        {"backup", "TO", "--data", "/y", "--log-level", "warn"},
        {"backup", "--data=/y", "--socket", "/s", "TO", "--log-level=warn"},
        {"backup", "--data", "/y", "--log-l", "warn", "--", "TO"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        const char *argv[8];
        int n = 0;
        for (; taken[i][n]; n++)
            argv[n] = taken[i][n];
        argv[n] = NULL;
        settings_init(&s);
        assert_int_equal(options_read(n, (char **)argv, &s, &operand, &action, &em), 0);
        assert_string_equal(operand, "TO");
        assert_string_equal(s.data, "/y");
        assert_string_equal(s.log_level, "warn");
        settings_finish(&s);
    }
    const char *none[] = {"backup", "--log-level", "warn", NULL};
    settings_init(&s);
    assert_int_equal(options_read(3, (char **)none, &s, &operand, &action, &em), 0);
    assert_null(operand);
    settings_finish(&s);
    const char *two[] = {"backup", "TO", "more", NULL};
    settings_init(&s);
    assert_int_equal(options_read(3, (char **)two, &s, &operand, &action, &em), LT_EINVAL);
    assert_string_equal(em.text, "unexpected 'more'");
    assert_int_equal(options_read(3, (char **)two, &s, NULL, &action, &em), LT_EINVAL);
    assert_string_equal(em.text, "unknown command 'TO'");
    settings_finish(&s);
}

static void private_options(void **state)
{
    struct settings s;
    struct err_msg em = {""};
    enum options_action action;
    const char *argv[] = {"latentd", "--private", "--data", "/y", "--idle-exit", "3", NULL};
    const char *with_file[] = {"latentd", "--config", path, "--private", "--data", "/y", NULL};
    (void)state;
    /* The user's own settings are another daemon's. */
    assert_int_equal(setenv("XDG_CONFIG_HOME", "/nonexistent/there", 1), 0);
    settings_init(&s);
    assert_int_equal(options_read(4, (char **)argv, &s, NULL, &action, &em), 0);
    assert_true(s.is_private);
    assert_string_equal(s.socket, "/y/latentd.sock");
    assert_int_equal(s.idle_exit, SETTINGS_PRIVATE_IDLE_S);
    settings_finish(&s);
    settings_init(&s);
    assert_int_equal(options_read(6, (char **)argv, &s, NULL, &action, &em), 0);
    assert_int_equal(s.idle_exit, 3);
    settings_finish(&s);
    assert_int_equal(read_text("threads = 7\n", &s, &em), 0);
    settings_finish(&s);
    settings_init(&s);
    assert_int_equal(options_read(6, (char **)with_file, &s, NULL, &action, &em), 0);
    assert_int_equal(s.threads, 7);
    assert_string_equal(s.socket, "/y/latentd.sock");
    settings_finish(&s);
    assert_int_equal(read_text("socket = /s\n", &s, &em), 0);
    settings_finish(&s);
    settings_init(&s);
    assert_int_equal(options_read(6, (char **)with_file, &s, NULL, &action, &em), LT_EINVAL);
    settings_finish(&s);
    expect_error("private = yes\n", "unknown setting 'private'");
}

static void options_wrong(void **state)
{
    static const struct {
        const char *arg, *want;
    } cases[] = {{"--colour", "unknown option --colour"}, {"serve", "unknown command 'serve'"},
                 {"--data", "--data needs a value"},      {"--threads=x", "threads must be"},
                 {"--config=/nowhere/x", "/nowhere/x"},   {"--log-level=x", "log-level must be"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settings s;
        struct err_msg em = {""};
        enum options_action action;
        const char *argv[] = {"latentd", cases[i].arg, NULL};
        settings_init(&s);
        assert_true(options_read(2, (char **)argv, &s, NULL, &action, &em) < 0);
        if (!strstr(em.text, cases[i].want))
            fail_msg("'%s' does not say '%s'", em.text, cases[i].want);
        settings_finish(&s);
    }
}

/* A user whose usual places cannot be paths, and no other reason, such as that there is no file of settings, is told. */
static void usual_places(void **state)
{
    static const char *const cases[][2] = {{"XDG_RUNTIME_DIR", "socket: the path of its usual place is too long"},
                                           {"XDG_DATA_HOME", "data: the path of its usual place is too long"}};
    char *argv[] = {(char[]){"latentd"}, NULL}, deep[5000];
    (void)state;
    const bool root = geteuid() == 0;
    assert_true(!root || seteuid(65534) == 0); /* root's are others */
    memset(deep, 'x', sizeof deep - 1);
    deep[0] = '/';
    deep[sizeof deep - 1] = 0;
    assert_int_equal(setenv("XDG_CONFIG_HOME", "/nonexistent/there", 1), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settings s;
        struct err_msg em = {""};
        enum options_action action;
        assert_int_equal(setenv(cases[i][0], deep, 1), 0);
        settings_init(&s);
        assert_int_equal(options_read(1, argv, &s, NULL, &action, &em), LT_ELIMIT);
        if (!strstr(em.text, cases[i][1]))
            fail_msg("'%s' does not say '%s'", em.text, cases[i][1]);
        settings_finish(&s);
        assert_int_equal(unsetenv(cases[i][0]), 0);
    }
    assert_true(!root || seteuid(0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_sets),
        cmocka_unit_test(tilde_is_no_folder),
        cmocka_unit_test(file_errors_name_the_line),
        cmocka_unit_test(options_override),
        cmocka_unit_test(options_operand),
        cmocka_unit_test(private_options),
        cmocka_unit_test(options_wrong),
        cmocka_unit_test(usual_places),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return r;
}
