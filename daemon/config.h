/* latentd.conf: `name = value` lines, `#` comments. Thread-safety: unsafe. */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "daemon/settings.h"

/* Longest line, its end included. */
#define CONFIG_LINE_MAX 190

/* Reads a file into s.
 *
 * Errors: LT_ENOTFOUND (no such file); LT_EINVAL with file and line: an unknown name, a bad value, a line that is no
 *         `name = value`, a line that is too long. Settings before the bad line have been made. */
int config_read(const char *path, struct settings *s, struct err_msg *em);

#endif
