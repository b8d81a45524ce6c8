/* The log's file: begun anew, bounded, and alone once standard error has been left. */
#include "tests/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"

static char dir[64] = "/tmp/latentd-log-XXXXXX";

static char *text_of(const char *path, size_t *len)
{
    char *text;
    assert_int_equal(file_read(path, 4 << 20, &text, len, NULL), 0);
    return text;
}

static void file_of_the_log(void **state)
{
    char path[100], said[100], link[100];
    size_t len;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/log", dir);
    snprintf(said, sizeof said, "%s/said", dir);
    snprintf(link, sizeof link, "%s/link", dir);
    FILE *f = fopen(path, "w");
    fputs("of an earlier run\n", f);
    fclose(f);
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO), to = open(said, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(dup2(to, STDERR_FILENO) >= 0);
    log_leave_stderr(); /* nothing to leave it for yet */
    log_info("test", "before");
    assert_int_equal(symlink(path, link), 0);
    assert_true(log_open_file(link) < 0);
    assert_int_equal(log_open_file(path), 0);
    log_info("test", "both");
    log_debug("test", "below the level");
    assert_true(log_shows(LOG_ERROR) && log_shows(LOG_INFO) && !log_shows(LOG_DEBUG));
    log_leave_stderr();
    log_info("test", "file\nalone");
    fputs("a library's\n", stderr);
    /* As much as goes in and more: what is left is new and whole lines. */
    for (int i = 0; i < 40000; i++)
        log_info("test", "line %d of very many that nobody reads", i);
    assert_true(dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0);
    char *text = text_of(said, &len);
    assert_non_null(strstr(text, "before"));
    assert_non_null(strstr(text, "both"));
    assert_null(strstr(text, "alone"));
    assert_null(strstr(text, "library"));
    free(text);
    text = text_of(path, &len);
    assert_true(len <= LOG_FILE_MAX && len > 0);
    assert_non_null(strstr(text, "line 39999 of"));
    assert_null(strstr(text, "earlier"));
    assert_int_equal(text[0], '2');
    assert_int_equal(text[len - 1], '\n');
    free(text);
    unlink(path);
    unlink(said);
    unlink(link);
    rmdir(dir);
}

static void order_in_the_file(void **state)
{
    char path[100];
    size_t len;
    (void)state;
    strcpy(dir, "/tmp/latentd-log-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/log", dir);
    assert_int_equal(log_open_file(path), 0);
    log_info("test", "first\nwith a break");
    char *text = text_of(path, &len);
    assert_non_null(strstr(text, "info  test: first with a break\n"));
    free(text);
    log_set_level(LOG_DEBUG);
    assert_true(log_shows(LOG_DEBUG));
    log_debug("test", "of the level");
    text = text_of(path, &len);
    assert_non_null(strstr(text, "debug test: of the level\n"));
    free(text);
    log_set_level(LOG_INFO);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(file_of_the_log), cmocka_unit_test(order_in_the_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
