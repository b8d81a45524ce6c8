#include "index/sql.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int sql_error(sqlite3 *db, int rc, const char *what, struct err_msg *em)
{
    int code = LT_EIO;
    int sys = db ? sqlite3_system_errno(db) : 0;
    switch (rc & 0xff) {
    case SQLITE_FULL:
        code = LT_ENOSPC;
        break;
    case SQLITE_NOMEM:
        code = LT_ENOMEM;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT: /* rows contradict what the tables were told of them */
        code = LT_ECORRUPT;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = LT_EBUSY;
        break;
    case SQLITE_INTERRUPT:
        code = LT_ETIMEOUT;
        break;
    case SQLITE_TOOBIG:
        code = LT_ELIMIT;
        break;
    case SQLITE_PERM:
    case SQLITE_READONLY:
        code = LT_EPERM;
        break;
    case SQLITE_CANTOPEN:
        code = sys == EACCES || sys == EPERM ? LT_EPERM : LT_EIO;
        break;
    case SQLITE_IOERR:
        if (sys == ENOSPC || sys == EDQUOT)
            code = LT_ENOSPC;
        break;
    default:
        break;
    }
    if (rc == SQLITE_CORRUPT_VTAB)
        return err_set(em, code, "%s: an index of words is damaged", what);
    if (sys && code != LT_ECORRUPT)
        return err_set(em, code, "%s: %s (%s)", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc),
                       strerror(sys));
    if ((rc & 0xff) == SQLITE_IOERR) /* which of its calls failed */
        return err_set(em, code, "%s: %s (SQLite's code %d)", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc), rc);
    return err_set(em, code, "%s: %s", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

int sql_exec(sqlite3 *db, const char *text, struct err_msg *em)
{
    int rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sql_error(db, rc, "store", em);
}

int sql_execf(sqlite3 *db, struct err_msg *em, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text)
        return err_set(em, LT_EINTERNAL, "statement too long");
    return sql_exec(db, text, em);
}

int sql_prepare(sqlite3 *db, sqlite3_stmt **st, const char *text, struct err_msg *em)
{
    if (*st)
        return 0;
    int rc = sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, st, NULL);
    return rc == SQLITE_OK ? 0 : sql_error(db, rc, "store", em);
}

void sql_bind(sqlite3_stmt *st, const char *format, ...)
{
    va_list ap;
    sqlite3_reset(st);
    va_start(ap, format);
    for (int i = 1; *format; format++, i++) {
        const void *p;
        size_t len;
        switch (*format) {
        case 'i':
            sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
            break;
        case 'f':
            sqlite3_bind_double(st, i, va_arg(ap, double));
            break;
        case 't':
            p = va_arg(ap, const char *);
            len = va_arg(ap, size_t);
            sqlite3_bind_text64(st, i, p, len, SQLITE_STATIC, SQLITE_UTF8);
            break;
        case 'b':
            p = va_arg(ap, const void *);
            len = va_arg(ap, size_t);
            sqlite3_bind_blob64(st, i, p, len, SQLITE_STATIC);
            break;
        default:
            sqlite3_bind_null(st, i);
            break;
        }
    }
    va_end(ap);
}

int sql_step(sqlite3_stmt *st, struct err_msg *em)
{
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE) {
        sqlite3_reset(st);
        return 0;
    }
    rc = sql_error(sqlite3_db_handle(st), rc, "store", em);
    sqlite3_reset(st);
    return rc;
}

int sql_run(sqlite3_stmt *st, struct err_msg *em)
{
    int r;
    while ((r = sql_step(st, em)) > 0)
        ;
    return r;
}

int sql_int(sqlite3_stmt *st, int64_t missing, int64_t *out, struct err_msg *em)
{
    int r = sql_step(st, em);
    if (r < 0)
        return r;
    *out = r && sqlite3_column_type(st, 0) != SQLITE_NULL ? sqlite3_column_int64(st, 0) : missing;
    sqlite3_reset(st);
    return 0;
}
