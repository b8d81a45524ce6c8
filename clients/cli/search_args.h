/* Options that `latent search` and `latent eval` read the same way. */
#ifndef CLI_SEARCH_ARGS_H
#define CLI_SEARCH_ARGS_H

#include <stdbool.h>

#include "clients/cli/cli.h"

/* "dense", "text" or "hybrid"; false after an error on stderr. */
bool search_mode_parse(const struct cli_command *cmd, const char *s, enum latent_mode *mode);
const char *search_mode_name(enum latent_mode mode);
/* "rank" or "score"; the same. */
bool search_fusion_parse(const struct cli_command *cmd, const char *s, enum latent_fusion *fusion);
const char *search_fusion_name(enum latent_fusion fusion);

/* Several queries on their way at once, answered in order. Each call sends one and, when enough are in flight, receives
 * the oldest; search_batch_finish receives the rest. `done` gets each answer with the id given for it; a failed
 * query has r NULL and an error in the connection. It returns 0, or a negative code that ends the batch. */
#define SEARCH_BATCH_IN_FLIGHT 8
struct search_batch {
    struct latent *conn;
    int (*done)(void *arg, const char *query_id, const struct latent_search_result *r);
    void *arg;
    /* private */
    uint64_t ids[SEARCH_BATCH_IN_FLIGHT];
    char *query_ids[SEARCH_BATCH_IN_FLIGHT];
    unsigned first, n;
};
int search_batch_add(struct search_batch *b, const struct latent_search *s, const char *query_id);
int search_batch_finish(struct search_batch *b);
/* Frees what an error left. */
void search_batch_destroy(struct search_batch *b);

#endif
