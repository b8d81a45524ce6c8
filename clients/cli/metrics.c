#include "clients/cli/metrics.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define CUT_NDCG 10
#define CUT_MRR 10

static bool has_space(const char *s)
{
    for (; *s; s++)
        if (*s == ' ' || (*s >= '\t' && *s <= '\r'))
            return true;
    return false;
}

static bool seen_before(const char *const *ids, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!strcmp(ids[k], ids[i]))
            return true;
    return false;
}

void metrics_add(struct metrics *m, const struct beir_qrels *q, const char *query_id, const char *const *doc_ids,
                 size_t n)
{
    int ideal[CUT_NDCG];
    size_t relevant = beir_qrels_ideal(q, query_id, ideal, CUT_NDCG), found = 0, place = 0;
    double dcg = 0, best = 0, reciprocal = 0;
    if (!relevant)
        return;
    for (size_t i = 0; i < relevant && i < CUT_NDCG; i++)
        best += ideal[i] / log2((double)i + 2);
    for (size_t i = 0; i < n && place < METRICS_DEPTH; i++) {
        if (seen_before(doc_ids, i))
            continue;
        place++; /* from 1 */
        int grade = beir_qrels_grade(q, query_id, doc_ids[i]);
        if (grade <= 0)
            continue;
        found++;
        if (place <= CUT_NDCG)
            dcg += grade / log2((double)place + 1);
        if (place <= CUT_MRR && found == 1)
            reciprocal = 1.0 / (double)place;
    }
    m->ndcg10 += dcg / best;
    m->recall100 += (double)found / (double)relevant;
    m->mrr10 += reciprocal;
    m->n_queries++;
}

struct metrics metrics_mean(const struct metrics *m, const struct beir_qrels *q)
{
    double n = (double)beir_qrels_queries(q);
    struct metrics mean = {.n_queries = m->n_queries};
    if (n > 0) {
        mean.ndcg10 = m->ndcg10 / n;
        mean.recall100 = m->recall100 / n;
        mean.mrr10 = m->mrr10 / n;
    }
    return mean;
}

int metrics_write_run(FILE *f, const char *query_id, const char *doc_id, size_t rank, double score, const char *tag,
                      struct err_msg *em)
{
    const char *ids[] = {query_id, doc_id, tag};
    for (size_t i = 0; i < 3; i++)
        if (!*ids[i] || has_space(ids[i]))
            return err_set(em, LT_EFORMAT, "a run file cannot hold \"%.200s\": an id without white space is needed",
                           ids[i]);
    if (fprintf(f, "%s Q0 %s %zu %.9g %s\n", query_id, doc_id, rank, score, tag) < 0)
        return err_set(em, LT_EIO, "writing the run file failed");
    return 0;
}
