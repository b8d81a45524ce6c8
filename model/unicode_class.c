#include "model/unicode_class.h"

#include <stddef.h>

struct class_run {
    uint32_t first, last;
    uint8_t kind;
};

#include "model/unicode_class_table.h"

const char *unicode_class_version(void)
{
    return UNICODE_CLASS_VERSION;
}

static enum unicode_class look_up(uint32_t cp)
{
    size_t lo = 0, hi = sizeof class_runs / sizeof *class_runs;
    while (lo < hi) { /* the last run that starts at or before cp is at lo - 1 */
        size_t mid = (lo + hi) / 2;
        if (class_runs[mid].first <= cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 && cp <= class_runs[lo - 1].last ? (enum unicode_class)class_runs[lo - 1].kind : UNICODE_OTHER;
}

enum unicode_class unicode_class(uint32_t cp)
{
    if ((cp | 0x20) - 'a' < 26)
        return UNICODE_LETTER;
    if (cp - '0' < 10)
        return UNICODE_NUMBER;
    if (cp == ' ' || cp == '\n')
        return UNICODE_SPACE;
    return look_up(cp);
}
