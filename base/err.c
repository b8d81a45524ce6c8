#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WHOLE_MAX 8192 /* room for two paths of any length that can be opened */
#define HEAD_MAX 200

static bool goes_on(const char *s)
{
    return ((unsigned char)*s & 0xc0) == 0x80;
}

/* Beginning and end of what is too long, a path in it say: the reason stands behind. Neither cut divides a character. */
static void keep_ends(struct err_msg *m, const char *whole, size_t len)
{
    static const char gap[] = "…";
    size_t head = HEAD_MAX, tail = len - (sizeof m->text - 1 - HEAD_MAX - strlen(gap));
    while (head > 0 && goes_on(whole + head))
        head--;
    while (tail < len && goes_on(whole + tail))
        tail++;
    snprintf(m->text, sizeof m->text, "%.*s%s%s", (int)head, whole, gap, whole + tail);
}

int err_vset(struct err_msg *m, int code, const char *fmt, va_list ap)
{
    va_list again;
    if (!m)
        return code;
    va_copy(again, ap);
    const int n = vsnprintf(m->text, sizeof m->text, fmt, ap);
    if (n >= (int)sizeof m->text) {
        char whole[WHOLE_MAX];
        vsnprintf(whole, sizeof whole, fmt, again);
        keep_ends(m, whole, n < WHOLE_MAX ? (size_t)n : WHOLE_MAX - 1);
    }
    va_end(again);
    return code;
}

int err_set(struct err_msg *m, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(m, code, fmt, ap);
    va_end(ap);
    return code;
}

const char *err_name(int code)
{
    switch (code) {
    case 0:
        return "LT_OK";
#define X(name, number, retryable, text)                                                           \
    case LT_##name:                                                                                \
        return "LT_" #name;
        LT_ERRORS(X)
#undef X
    }
    return "LT_E?";
}

const char *err_text(int code)
{
    switch (code) {
    case 0:
        return "no error";
#define X(name, number, retryable, text)                                                           \
    case LT_##name:                                                                                \
        return text;
        LT_ERRORS(X)
#undef X
    }
    return "unknown error";
}

bool err_retryable(int code)
{
    switch (code) {
#define X(name, number, retryable, text)                                                           \
    case LT_##name:                                                                                \
        return retryable;
        LT_ERRORS(X)
#undef X
    }
    return false;
}

int err_from_errno(int errno_value)
{
    switch (errno_value) {
    case 0:
        return 0;
    case ENOENT:
        return LT_ENOTFOUND;
    case EEXIST:
        return LT_EEXIST;
    case ENOMEM:
        return LT_ENOMEM;
    case EACCES:
    case EPERM:
        return LT_EPERM;
    case ENOSPC:
    case EDQUOT:
        return LT_ENOSPC;
    case EINVAL:
        return LT_EINVAL;
    case ETIMEDOUT:
        return LT_ETIMEOUT;
    case EAGAIN:
    case EBUSY:
        return LT_EBUSY;
    case EPIPE:
    case ECONNREFUSED:
    case ECONNRESET:
        return LT_ECONN;
    }
    return LT_EIO;
}
