/* Why a latentd ended as it started, by what it has said. Thread-safety: safe. */
#ifndef CLIENTS_C_LAST_WORDS_H
#define CLIENTS_C_LAST_WORDS_H

#include "base/err.h"

/* said    the end of its standard output and error, whole lines but perhaps for the first; changed by the call
 * em      the reason, for a person
 *
 * Its own last error, with its code, comes before all else; then what it finds wrong in its options (LT_EINVAL); then the last line of
 * whatever spoke (LT_ECONN). 0, and no reason: it has served, and ended as one does that nobody uses. */
int last_words(char *said, struct err_msg *em);

#endif
