#include "clients/cli/long_arg.h"

#include <string.h>

bool long_parse(const struct cli_command *cmd, const char *s, enum latent_on_long *out)
{
    static const char *const names[] = {"chunk", "truncate", "error"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(s, names[i]) == 0) {
            *out = (enum latent_on_long)i;
            return true;
        }
    }
    cli_usage_error(cmd, "--on-long takes chunk, truncate or error, not '%s'", s);
    return false;
}
