/* Retrieval metrics: nDCG@10 (linear gain, log2 discount), recall@100, MRR@10, each the mean over the
 * judged queries; and TREC run files.
 *
 * A query counts when it has a document of grade > 0, also when nothing was found for it: call
 * metrics_add with no hits, or leave it out: metrics_mean divides by all judged queries.
 * A document that a ranking names twice counts at its first place only. */
#ifndef CLIENTS_CLI_METRICS_H
#define CLIENTS_CLI_METRICS_H

#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "clients/cli/beir.h"

#define METRICS_DEPTH 100 /* places that are looked at */

/* Sums over the queries so far; zeroed is empty. Thread-safety: unsafe. */
struct metrics {
    double ndcg10, recall100, mrr10;
    size_t n_queries; /* judged queries added */
};

/* Adds one query's ranking, best first. A query without relevant documents is ignored. */
void metrics_add(struct metrics *m, const struct beir_qrels *q, const char *query_id,
                 const char *const *doc_ids, size_t n);

/* Means over all judged queries of q (0 when there are none). */
struct metrics metrics_mean(const struct metrics *m, const struct beir_qrels *q);

/* One line of a TREC run: query Q0 document rank score tag. White space within an id, which the format
 * cannot hold, is an LT_EFORMAT error that names the id. rank from 1. Errors of the stream: LT_EIO. */
int metrics_write_run(FILE *f, const char *query_id, const char *doc_id, size_t rank, double score,
                      const char *tag, struct err_msg *em);

#endif
