/* Readers for a BEIR-layout folder: corpus.jsonl, queries.jsonl, qrels/test.tsv.
 *
 * Every error names the file and the line. */
#ifndef CLIENTS_CLI_BEIR_H
#define CLIENTS_CLI_BEIR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define BEIR_LINE_MAX (16u << 20)      /* bytes of one JSON line */
#define BEIR_ID_MAX 1024               /* bytes of an id */
#define BEIR_QRELS_LINE_MAX 4096       /* bytes of a line of judgements */
#define BEIR_QRELS_MAX (16u << 20)     /* judgements */
#define BEIR_GRADE_MAX 1000

/* One document or query, valid until the next call. NUL-terminated, lengths in bytes. */
struct beir_item {
    const char *id;
    const char *title; /* "" where the line has none */
    const char *text;
    size_t id_len, title_len, text_len;
    size_t line; /* from 1 */
};

/* Reads {"_id","title"?,"text"} lines; blank lines are skipped, other fields ignored.
 * Thread-safety: unsafe. */
struct beir_reader;
int beir_reader_open(struct beir_reader **r, const char *path, struct err_msg *em);
/* 1: *item is the next one; 0: the end; or an error (LT_EFORMAT, LT_EUTF8, LT_ELIMIT, LT_EIO),
 * after which the reader stands behind the bad line and may be read on, except after LT_EIO. */
int beir_reader_next(struct beir_reader *r, struct beir_item *item, struct err_msg *em);
void beir_reader_destroy(struct beir_reader **r);

/* Judgements: query-id, corpus-id, score, separated by tabs, below one header line.
 * Thread-safety: safe once loaded. */
struct beir_qrels;
int beir_qrels_load(struct beir_qrels **q, const char *path, struct err_msg *em);
void beir_qrels_destroy(struct beir_qrels **q);

/* Queries with at least one document of grade > 0. */
size_t beir_qrels_queries(const struct beir_qrels *q);
/* Documents of grade > 0 of a query; 0 also for an unknown query. */
size_t beir_qrels_relevant(const struct beir_qrels *q, const char *query_id);
/* Grade of a document for a query; 0 when not judged. */
int beir_qrels_grade(const struct beir_qrels *q, const char *query_id, const char *doc_id);
/* The cap largest of the query's grades > 0, largest first, to out; returns how many grades > 0 there are. */
size_t beir_qrels_ideal(const struct beir_qrels *q, const char *query_id, int *out, size_t cap);

#endif
