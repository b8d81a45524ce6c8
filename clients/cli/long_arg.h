/* The option --on-long, as several commands read it. */
#ifndef CLI_LONG_ARG_H
#define CLI_LONG_ARG_H

#include "clients/cli/cli.h"

/* "chunk", "truncate" or "error"; false after an error on stderr. */
bool long_parse(const struct cli_command *cmd, const char *s, enum latent_on_long *out);

#endif
