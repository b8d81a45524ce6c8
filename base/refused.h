/* Options that getopt_long refuses, by their names. Thread-safety: unsafe, as it is. */
#ifndef BASE_REFUSED_H
#define BASE_REFUSED_H

#include <getopt.h>

/* After '?' or ':' of getopt_long: the option as it was written, "--name" with what is behind it, or "-x" alone out of a row of short ones,
 * in which optind still tells of what was before. Valid until the next call, or as long as argv. */
const char *refused_option(char *const *argv, const struct option *options);

#endif
