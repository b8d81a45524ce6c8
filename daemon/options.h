/* The command line of latentd. Thread-safety: unsafe. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdio.h>

#include "daemon/settings.h"

enum options_action { OPTIONS_SERVE, OPTIONS_HELP, OPTIONS_VERSION };

/* Reads the configuration file (--config, else the usual place if it is there), then lets the options override it.
 *
 * operand  the one argument that is no option, borrowed from argv; NULL where there is none. NULL: there may be none
 *
 * Errors: LT_EINVAL: used wrongly, the message says how; or what config_read says. */
int options_read(int argc, char **argv, struct settings *s, const char **operand, enum options_action *action, struct err_msg *em);

void options_help(FILE *f);

#endif
