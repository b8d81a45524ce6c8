#include "model/unicode_lower.h"

#include <stddef.h>

struct lower_run {
    uint32_t first, last;
    uint8_t step;
    int32_t delta;
};

#include "model/unicode_lower_table.h"

const char *unicode_lower_version(void)
{
    return UNICODE_LOWER_VERSION;
}

unsigned unicode_lower(uint32_t cp, uint32_t out[static 2])
{
    out[0] = cp;
    if (cp < 0x80) {
        if (cp >= 'A' && cp <= 'Z')
            out[0] = cp + ('a' - 'A');
        return 1;
    }
    if (cp == 0x130) { /* the only one of two code points: i and a dot above */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    if (cp >> 10 >= sizeof lower_blocks || !(lower_blocks[cp >> 10] >> (cp >> 7 & 7) & 1))
        return 1;
    size_t lo = 0, hi = sizeof lower_runs / sizeof *lower_runs;
    while (lo < hi) { /* the last run that starts at or before cp is at lo - 1 */
        size_t mid = (lo + hi) / 2;
        if (lower_runs[mid].first <= cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo > 0) {
        const struct lower_run *r = &lower_runs[lo - 1];
        if (cp <= r->last && (cp - r->first) % r->step == 0)
            out[0] = (uint32_t)((int32_t)cp + r->delta);
    }
    return 1;
}
