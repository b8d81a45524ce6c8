/* latentd.conf: `name = value` lines; lines that begin with `#` or `;`, and what follows a blank and `;`, are comments. Thread-safety: unsafe. */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "daemon/settings.h"

/* Longest line, its end included. */
#define CONFIG_LINE_MAX 190

/* Reads a file into s.
 *
 * Errors: LT_ENOTFOUND (no such file), LT_EIO and others of reading it; LT_EINVAL with file and line: an unknown name, one that is
 *         there twice, a bad value, a line that is no `name = value`, a line that is too long. Settings before the bad line have been made. */
int config_read(const char *path, struct settings *s, struct err_msg *em);

#endif
