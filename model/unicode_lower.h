/* Lower case, character by character, of the Unicode version in the table: no context, so no final
 * sigma, no language's own rules.
 * Thread-safety: safe. */
#ifndef MODEL_UNICODE_LOWER_H
#define MODEL_UNICODE_LOWER_H

#include <stdint.h>

/* "17.0.0"; static storage. */
const char *unicode_lower_version(void);

/* Writes the lower case of cp to out and returns how many code points it has: 1, or 2 for U+0130 alone. */
unsigned unicode_lower(uint32_t cp, uint32_t out[static 2]);

#endif
