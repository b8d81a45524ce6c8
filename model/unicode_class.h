/* What kind of character a code point is, of the Unicode version in the table.
 * Thread-safety: safe. */
#ifndef MODEL_UNICODE_CLASS_H
#define MODEL_UNICODE_CLASS_H

#include <stdint.h>

enum unicode_class {
    UNICODE_OTHER,
    UNICODE_LETTER, /* categories L* */
    UNICODE_NUMBER, /* N* */
    UNICODE_PUNCT,  /* P* */
    UNICODE_SPACE,  /* the property White_Space */
};

/* "15.1.0"; static storage. */
const char *unicode_class_version(void);

enum unicode_class unicode_class(uint32_t cp);

#endif
