/* What stands in the data folder's `lock` (index/FORMAT.md): who holds it, and on which socket that is to be reached. Written by the
 * holder, read by whoever finds the folder taken. Thread-safety: safe. */
#ifndef BASE_LOCK_TEXT_H
#define BASE_LOCK_TEXT_H

#include <stddef.h>

#include "base/paths.h"

#define LOCK_TEXT_MAX (PATHS_MAX + 24) /* bytes, the NUL included */

struct lock_text {
    long pid;
    char socket[PATHS_MAX]; /* absolute; empty: none, or not listening yet */
};

/* The text; its length. socket NULL or one that no line can hold: left out. */
size_t lock_text_make(char out[static LOCK_TEXT_MAX], long pid, const char *socket);

/* Errors: LT_EFORMAT: no such text, *out is untouched. */
int lock_text_parse(struct lock_text *out, const char *text, size_t len);

#endif
