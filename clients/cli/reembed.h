/* latent collection reembed: a collection's documents by the model that the daemon runs now, in its own place. */
#ifndef CLI_REEMBED_H
#define CLI_REEMBED_H

#include "clients/cli/cli.h"

/* Fills a second collection, NAME.reembed, with the documents of the first and lets it take the first one's place when all of them are
 * searchable; what such a collection has already, from a run that was ended, is kept. Returns an enum cli_status; all is said on stderr. */
int reembed(struct cli *c, const char *name, enum latent_on_long on_long);

#endif
