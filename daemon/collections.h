/* Collections as messages; shared by the handlers of status and of collections. Thread-safety: safe. */
#ifndef DAEMON_COLLECTIONS_H
#define DAEMON_COLLECTIONS_H

#include <stddef.h>

#include "index/index.h"
#include "proto/latent.pb-c.h"

struct request;

/* Borrows from c. */
void collection_message(const struct index_collection *c, Latent__V1__Collection *out);

struct collection_list {
    struct index_collection *list;
    Latent__V1__Collection *messages, **refs;
    size_t n;
};

/* Those that the request's sender may see. */
int collection_list(const struct request *rq, struct collection_list *out);
void collection_list_finish(struct collection_list *l);

#endif
