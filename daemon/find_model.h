/* Where the default model is. */
#ifndef DAEMON_FIND_MODEL_H
#define DAEMON_FIND_MODEL_H

#include <stddef.h>

#include "base/err.h"

/* The model that came with latentd: beside an uninstalled or moved executable, else where it was installed.
 * Errors: LT_ENOTFOUND. */
int find_model(char *out, size_t size, struct err_msg *em);

#endif
