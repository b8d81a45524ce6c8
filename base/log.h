/* Logging to stderr and, where asked to, a file, one line a message: "2026-01-31T12:00:00.123Z info  daemon: text".
 * To systemd's journal, which knows time and level by itself: "<6>daemon: text".
 * Thread-safety: safe. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Messages above this level are dropped; LOG_INFO at start. */
void log_set_level(enum log_level level);

/* Whether messages of this level are written, for who has to do something to have one. */
bool log_shows(enum log_level level);

/* Looks whether standard error is the journal ($JOURNAL_STREAM names its device and inode); before there are threads. */
void log_find_journal(void);

/* Level by name ("error", "warn", "info", "debug"); LT_EINVAL for others. */
int log_level_parse(const char *name, enum log_level *level);

/* area: the folder or stage that speaks, such as "index". No newline at the end of fmt. */
void log_write(enum log_level level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes to a file as well from now on, which is begun anew: now, and where it reaches LOG_FILE_MAX bytes. Once in a process.
 * Errors: the errno's code; nothing has changed then. */
#define LOG_FILE_MAX (1 << 20)
int log_open_file(const char *path);
/* To the file alone: standard output and standard error become the file, with what libraries say there. Nothing without one. */
void log_leave_stderr(void);

#define log_error(area, ...) log_write(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...) log_write(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...) log_write(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_write(LOG_DEBUG, area, __VA_ARGS__)

#endif
