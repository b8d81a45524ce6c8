/* Logging to stderr, one line a message: "2026-01-31T12:00:00.123Z info  daemon: text".
 * Thread-safety: safe. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Messages above this level are dropped; LOG_INFO at start. */
void log_set_level(enum log_level level);

/* Level by name ("error", "warn", "info", "debug"); LT_EINVAL for others. */
int log_level_parse(const char *name, enum log_level *level);

/* area: the folder or stage that speaks, such as "index". No newline at the end of fmt. */
void log_write(enum log_level level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(area, ...) log_write(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...) log_write(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...) log_write(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_write(LOG_DEBUG, area, __VA_ARGS__)

#endif
