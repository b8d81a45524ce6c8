#include "base/lock_text.h"

#include <stdio.h>
#include <string.h>

#define PID_DIGITS_MAX 10

size_t lock_text_make(char out[static LOCK_TEXT_MAX], long pid, const char *socket)
{
    const bool fits = socket && socket[0] == '/' && strlen(socket) < PATHS_MAX && !strchr(socket, '\n');
    return (size_t)snprintf(out, LOCK_TEXT_MAX, "%ld\n%s%s", pid, fits ? socket : "", fits ? "\n" : "");
}

int lock_text_parse(struct lock_text *out, const char *text, size_t len)
{
    struct lock_text t = {0};
    size_t at = 0;
    for (; at < len && at < PID_DIGITS_MAX && text[at] >= '0' && text[at] <= '9'; at++)
        t.pid = t.pid * 10 + (text[at] - '0');
    if (!t.pid || at == len || text[at++] != '\n')
        return LT_EFORMAT;
    if (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : 0;
        if (!end || end + 1 != text + len || text[at] != '/' || n >= sizeof t.socket || memchr(text + at, 0, n))
            return LT_EFORMAT;
        memcpy(t.socket, text + at, n);
    }
    *out = t;
    return 0;
}
