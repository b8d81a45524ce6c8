#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int err_set(struct err_msg *m, int code, const char *fmt, ...)
{
    if (m) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(m->text, sizeof m->text, fmt, ap);
        va_end(ap);
    }
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
