#include "clients/cli/text_out.h"

#include <stdarg.h>
#include <string.h>

#include "base/utf8.h"

#define LINE_BYTES 8192

size_t text_control(const char *s, size_t len)
{
    const unsigned char ch = (unsigned char)s[0];
    if (ch < ' ' || ch == 0x7F)
        return 1;
    return ch == 0xC2 && len > 1 && (unsigned char)s[1] < 0xA0 ? 2 : 0;
}

static void escape(FILE *f, const char *s, size_t n)
{
    if (*s == '\n' || *s == '\t') {
        fputs(*s == '\n' ? "\\n" : "\\t", f);
        return;
    }
    for (size_t i = 0; i < n; i++)
        fprintf(f, "\\x%02x", (unsigned char)s[i]);
}

/* A run of valid UTF-8. */
static void put_valid(FILE *f, const char *s, size_t len, const char *also)
{
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        n = text_control(s + i, len - i);
        if (n) {
            escape(f, s + i, n);
            continue;
        }
        if (s[i] && strchr(also, s[i]))
            putc('\\', f);
        putc(s[i], f);
    }
}

void text_out(FILE *f, const char *s, size_t len, const char *also)
{
    for (size_t bad; len; s += bad + 1, len -= bad + 1) {
        bad = utf8_check(s, len);
        put_valid(f, s, bad == UTF8_VALID ? len : bad, also);
        if (bad == UTF8_VALID)
            return;
        escape(f, s + bad, 1);
    }
}

static void put_line(FILE *f, const char *fmt, va_list ap)
{
    char text[LINE_BYTES];
    vsnprintf(text, sizeof text, fmt, ap);
    text_out(f, text, strlen(text), "");
    fputc('\n', f);
}

void text_line(FILE *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put_line(f, fmt, ap);
    va_end(ap);
}

void text_say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put_line(stderr, fmt, ap);
    va_end(ap);
}
