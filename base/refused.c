#include "base/refused.h"

#include <string.h>

const char *refused_option(char *const *argv, const struct option *options)
{
    static char one[] = "-x";
    const char *last = argv[optind - 1];
    if (!optopt)
        return last;
    if (strncmp(last, "--", 2) == 0) { /* is it that one? */
        const size_t n = strcspn(last + 2, "=");
        const int takes = last[2 + n] ? no_argument : required_argument;
        for (const struct option *o = options; o->name; o++)
            if (o->val == optopt && o->has_arg == takes && strncmp(o->name, last + 2, n) == 0)
                return last;
    }
    one[1] = (char)optopt;
    return one;
}
