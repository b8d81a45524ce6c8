#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

#define HIGH_BITS 0x8080808080808080u /* set in none of eight bytes: ASCII */

static bool is_cont(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

/* Length of the well-formed sequence at s, 0 when there is none. The second byte's range rules out
 * overlong forms, surrogates and code points above U+10FFFF (Unicode standard, table 3-7). */
static size_t sequence_len(const unsigned char *s, size_t len)
{
    unsigned char c = s[0];
    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    if (c < 0xE0)
        return len >= 2 && is_cont(s[1]) ? 2 : 0;
    unsigned char lo = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    unsigned char hi = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    size_t need = c < 0xF0 ? 3 : 4;
    if (len < need || s[1] < lo || s[1] > hi || !is_cont(s[2]))
        return 0;
    return need == 4 && !is_cont(s[3]) ? 0 : need;
}

size_t utf8_check(const char *s, size_t len)
{
    size_t i = 0;
    while (i < len) {
        uint64_t eight;
        while (len - i >= sizeof eight && !(memcpy(&eight, s + i, sizeof eight), eight & HIGH_BITS))
            i += sizeof eight;
        if (i == len)
            break;
        size_t n = sequence_len((const unsigned char *)s + i, len - i);
        if (!n)
            return i;
        i += n;
    }
    return UTF8_VALID;
}

size_t utf8_decode(const char *s, size_t len, uint32_t *cp)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (n > len)
        n = len;
    uint32_t v = n == 1 ? p[0] : p[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++)
        v = v << 6 | (p[i] & 0x3Fu);
    *cp = v;
    return n;
}

size_t utf8_encode(uint32_t cp, char out[static 4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3F));
        cp >>= 6;
    }
    out[0] = (char)((0xF00u >> n & 0xFF) | cp);
    return n;
}
