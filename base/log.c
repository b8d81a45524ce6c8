#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"

static atomic_int log_max = LOG_INFO;
static atomic_int file_fd = -1;
static atomic_bool stderr_left;
static atomic_bool stderr_is_journal;
static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
    atomic_store(&log_max, (int)level);
}

bool log_shows(enum log_level level)
{
    return (int)level <= atomic_load(&log_max);
}

void log_find_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    char here[64];
    if (!stream || fstat(STDERR_FILENO, &st) < 0)
        return;
    snprintf(here, sizeof here, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    atomic_store(&stderr_is_journal, strcmp(stream, here) == 0);
}

int log_level_parse(const char *name, enum log_level *level)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return LT_EINVAL;
}

int log_open_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    file_give(fd, path);
    atomic_store(&file_fd, fd);
    return 0;
}

void log_leave_stderr(void)
{
    int fd = atomic_load(&file_fd);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        return;
    atomic_store(&stderr_left, true);
}

/* Whole lines, so that threads' messages do not mix: the file is in append mode. */
static void write_file(int fd, const char *line, size_t len)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_size + (off_t)len > LOG_FILE_MAX && ftruncate(fd, 0) < 0)
        return;
    /* There is nobody to tell where the disk is full. */
    (void)!write(fd, line, len);
}

void log_write(enum log_level level, const char *area, const char *fmt, ...)
{
    if (!log_shows(level))
        return;
    struct timespec ts;
    struct tm tm;
    char when[32], text[1024], line[1100];
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    /* Texts may hold bytes of a client: keep one message on one line. */
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20)
            *p = ' ';
    int n = snprintf(line, sizeof line, "%s.%03ldZ %-5s %s: %s\n", when, ts.tv_nsec / 1000000, level_names[level], area, text);
    int fd = atomic_load(&file_fd);
    if (!atomic_load(&stderr_left)) {
        static const int priorities[] = {3, 4, 6, 7}; /* syslog's */
        if (atomic_load(&stderr_is_journal))
            fprintf(stderr, "<%d>%s: %s\n", priorities[level], area, text);
        else
            fputs(line, stderr);
    }
    if (fd >= 0 && n > 0)
        write_file(fd, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}
