/* UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
 * Thread-safety: safe. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_VALID ((size_t)-1)

/* Offset of the first byte of the first malformed sequence; UTF8_VALID when there is none.
 * NUL bytes are valid UTF-8. */
size_t utf8_check(const char *s, size_t len);

/* Decodes one code point of valid UTF-8 at s (len >= 1) and returns its length in bytes. */
size_t utf8_decode(const char *s, size_t len, uint32_t *cp);

/* Encodes cp (<= 0x10FFFF, no surrogate) and returns the length, 1 to 4. */
size_t utf8_encode(uint32_t cp, char out[static 4]);

#endif
