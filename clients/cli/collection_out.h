/* A collection as JSON and as a table row. */
#ifndef CLI_COLLECTION_OUT_H
#define CLI_COLLECTION_OUT_H

#include "clients/c/latent.h"
#include "clients/cli/json_out.h"

/* A new reference, owned by the caller. */
json_t *collection_json(const struct latent_collection *k);

/* A table with a header line on stdout. */
void collection_print_table(const struct latent_collection *k, size_t n);

/* Below it, what there is to say of one: recall and compaction. */
void collection_print_details(const struct latent_collection *k);

/* "cosine", "ip", "l2". */
const char *collection_metric_name(enum latent_metric metric);

#endif
