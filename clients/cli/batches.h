/* Documents in batches, several on their way to the daemon at once; `latent add` and `latent eval` use it. */
#ifndef CLI_BATCHES_H
#define CLI_BATCHES_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/c/latent.h"
#include "clients/cli/docs.h"

struct batch;

struct batches_totals {
    uint64_t accepted;  /* documents */
    uint64_t failed;
    uint64_t unanswered; /* that were sent, and of which nobody knows whether they are in, since the request failed as a whole */
    bool other_model;   /* some failed since the collection is another model's */
    uint64_t truncated;
    uint64_t unchanged; /* of the accepted: there already, not embedded again */
    uint64_t chunks, tokens;
    uint64_t bytes_done; /* of the source, answered for */
    const char *current; /* id of the first document that is not; NULL: none is on its way. Valid during `progress` */
};

/* Thread-safety: unsafe. */
struct batches {
    struct latent *conn;
    const char *collection;
    enum latent_on_long on_long;
    enum latent_wait wait;
    uint64_t job; /* 0: none */
    struct batches_totals totals;
    void (*progress)(void *arg, const struct batches_totals *t); /* after each answer; may be NULL */
    void *progress_arg;
    bool (*stopped)(void); /* true: nothing is to be sent any more, and what fails then is not said; may be NULL */
    /* private */
    int failed;              /* the first request that was refused as a whole: nothing is sent any more; 0: none was */
    struct batch *open;      /* being filled */
    struct batch *in_flight; /* oldest first */
    size_t n_in_flight;
};

/* Takes over d's memory. where: "file:line" for errors, copied; source_bytes: what it took of the source.
 * Sends when a batch is full. Errors: the connection broke or the request as a whole was refused; it has been said. */
int batches_add(struct batches *b, struct doc *d, const char *where, uint64_t source_bytes);

/* Names one item that never became a document. */
void batches_item_failed(struct batches *b, const char *where, const char *id, const char *text,
                         int code, uint64_t source_bytes);

/* Sends the rest, unless a request was refused before, and waits for every answer. The first refusal; it has been said, once. */
int batches_finish(struct batches *b);

/* Frees what is left, also after an error. */
void batches_destroy(struct batches *b);

#endif
