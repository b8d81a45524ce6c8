/* The reranker beside the model: a question and texts to scores, for `rerank` and for searches that ask for it. It has a device thread of its own
 * (daemon/device.h) on the device that the model is on too: its requests take turns there, a few texts before many, as `embed`'s do on the model's.
 *
 * Thread-safety: one thread at a time for each scoring. */
#ifndef DAEMON_RERANK_H
#define DAEMON_RERANK_H

#include "daemon/core.h"
#include "daemon/packing.h"

struct request;
struct text_tokens;

/* Opens settings->reranker into core->reranker. LT_EUNSUPPORTED: it is none; else as model_open. */
int rerank_open(struct core *c, const char *cache_dir, struct err_msg *em);
/* The model's share of the memory that both have to themselves, by their weights. */
double rerank_model_share(const struct core *c);
/* Adds what its device takes at least, by the model's params. Errors: as engine_least. */
int rerank_least(const struct core *c, const struct engine_params *model, uint64_t *bytes, struct err_msg *em);
/* Opens its device, with the model's params and what that left of host_bytes, into core->ranker, and notes in core->memory what it takes. Errors: as
 * device_create. */
int rerank_start(struct core *c, const struct engine_params *model, struct err_msg *em);

struct rerank_item {
    const char *title, *text; /* the caller's, borrowed; title NULL: none */
    /* filled in */
    float score;           /* where status is 0 */
    int status;            /* 0, or why there is none: rank_encode's and engine_embed's codes */
    struct err_msg why;    /* may be empty */
    uint32_t tokens, seen; /* used; before cutting */
    size_t packed;         /* its place on the device */
};

struct rerank {
    struct request *rq;
    const char *query; /* borrowed */
    bool truncate;
    void (*done)(struct rerank *r); /* on any thread: hand on, do not work here */
    /* its own */
    struct device_job job;
    struct packing packing;
    float *scores;
    int over; /* why it ended before the device had it; 0: it did not */
    size_t n;
    struct rerank_item items[];
};

/* For n texts, PROTO_RERANK_TEXTS_MAX at most, to be filled in before rerank_run. NULL without memory. */
struct rerank *rerank_create(struct request *rq, const char *query, size_t n);
void rerank_destroy(struct rerank **r);

/* Looks at what was filled in, and counts what that takes with the request. Errors: LT_ELIMIT: too many bytes; LT_EBUSY. */
int rerank_check(const struct rerank *r, struct err_msg *em);

/* A tokeniser's thread: prompts to ids, ids to the device; in the end calls done, perhaps before it returns. */
void rerank_run(struct rerank *r, struct text_tokens *scratch);

/* After done: whether the request as a whole is over or has failed (LT_ECANCELLED, LT_ETIMEOUT, LT_ESHUTDOWN, LT_EBUSY, LT_ENOMEM), else 0. */
int rerank_result(const struct rerank *r);

#endif
