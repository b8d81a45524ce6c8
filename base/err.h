/* Errors: one list of codes, names and texts, used by every folder and on the wire.
 *
 * Rules that hold everywhere:
 * - A function that can fail returns int: 0 (or a count >= 0) or a negative LT_E… code.
 * - `x_destroy(&x)` accepts NULL and a pointer to NULL, and nulls the pointer.
 * - Params structs are read during the call only; a zeroed struct is the default.
 * - A `struct err_msg *` may be NULL; it is written only on failure.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* X(name, number, retryable, text). Numbers travel on the wire and are never reused. */
#define LT_ERRORS(X)                                                                               \
    X(EINVAL, 1, 0, "invalid argument")                                                            \
    X(ENOMEM, 2, 1, "out of memory")                                                               \
    X(EIO, 3, 0, "input/output error")                                                             \
    X(ENOTFOUND, 4, 0, "not found")                                                                \
    X(EEXIST, 5, 0, "already exists")                                                              \
    X(EFORMAT, 6, 0, "malformed data")                                                             \
    X(ELIMIT, 7, 0, "over a limit")                                                                \
    X(EUTF8, 8, 0, "not valid UTF-8")                                                              \
    X(ETOOLONG, 9, 0, "text is longer than the model's token limit")                               \
    X(EEMPTY, 10, 0, "nothing to embed")                                                           \
    X(EDIM, 11, 0, "wrong vector dimension")                                                       \
    X(ENAN, 12, 0, "vector holds NaN or Inf, or has zero length")                                  \
    X(EMODEL, 13, 0, "collection belongs to another model")                                        \
    X(EDEVICE, 14, 0, "device not usable")                                                         \
    X(EDEVICELOST, 15, 1, "device lost")                                                           \
    X(EBUSY, 16, 1, "busy, try again")                                                             \
    X(ENOSPC, 17, 1, "no space left, the daemon is read-only")                                     \
    X(EPERM, 18, 0, "not permitted")                                                               \
    X(EAUTH, 19, 0, "authentication failed")                                                       \
    X(EPROTO, 20, 0, "protocol violation")                                                         \
    X(EVERSION, 21, 0, "unsupported version")                                                      \
    X(ETIMEOUT, 22, 1, "deadline passed")                                                          \
    X(ECANCELLED, 23, 0, "cancelled")                                                              \
    X(EUNSUPPORTED, 24, 0, "not supported")                                                        \
    X(ESHUTDOWN, 25, 1, "shutting down")                                                           \
    X(ECORRUPT, 26, 0, "damaged file")                                                             \
    X(ELOCKED, 27, 0, "data folder is in use by another process")                                  \
    X(ECONN, 28, 1, "connection failed or was closed")                                             \
    X(ELOADING, 29, 1, "still loading, try again")                                                 \
    X(ERATE, 30, 1, "rate limit of this key reached")                                              \
    X(EINTERNAL, 31, 0, "internal error")

enum lt_error {
#define X(name, number, retryable, text) LT_##name = -(number),
    LT_ERRORS(X)
#undef X
};

/* A message for a person, with the context only the callee knows (which field, which offset). */
struct err_msg {
    char text[480];
};

/* Formats into m (NULL: nothing) and returns code, so that `return err_set(m, LT_EFORMAT, …)` reads well. What is too long loses its
 * middle. No argument may lie in m. */
int err_set(struct err_msg *m, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int err_vset(struct err_msg *m, int code, const char *fmt, va_list ap);

/* "LT_ENOTFOUND"; "LT_E?" for a number not in the list. Static storage. */
const char *err_name(int code);

/* The list's text; static storage. */
const char *err_text(int code);

/* True when the same request may succeed later without being changed. */
bool err_retryable(int code);

/* The code closest to an errno value; LT_EIO for unknown ones. */
int err_from_errno(int errno_value);

#endif
