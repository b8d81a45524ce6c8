/* Measures JSON text before a parser sees it. Thread-safety: safe. */
#ifndef MODEL_JSON_LIMIT_H
#define MODEL_JSON_LIMIT_H

#include <stddef.h>

#include "base/err.h"

/* LT_ELIMIT when the text nests deeper than max_depth or holds more than about max_values values; what names it in the
 * message. Text that is not JSON may pass: the parser finds out. */
int json_limit_check(const char *what, const char *text, size_t len, size_t max_depth, size_t max_values,
                     struct err_msg *em);

#endif
