#include "base/port.h"

#include <errno.h>
#include <stdlib.h>

bool port_valid(const char *text)
{
    char *end;
    errno = 0;
    const long n = strtol(text, &end, 10);
    return *text && (*end || (errno == 0 && n >= 0 && n <= 65535)); /* *end: no number, hence a name */
}
