/* latent eval: retrieval quality and speed on a BEIR-layout folder. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "clients/cli/batches.h"
#include "clients/cli/beir.h"
#include "clients/cli/cli.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/json_out.h"
#include "clients/cli/metrics.h"
#include "clients/cli/progress.h"
#include "clients/cli/search_args.h"

/* Far above k: the figures are the model's, so few of its neighbours may be lost on the way. */
#define EF_DEFAULT 1000

struct eval {
    struct cli *c;
    const char *dir;
    char collection[64];
    enum latent_mode mode;
    enum latent_fusion fusion;
    enum latent_on_long on_long;
    bool json, exact;
    uint64_t ef;
    struct beir_qrels *qrels;
    struct metrics sums;
    unsigned long long n_queries, n_failed; /* of those, and of documents */
    double search_seconds;
};

static bool parse(struct eval *e, int argc, char **argv)
{
    static const struct option options[] = {
        {"mode", required_argument, NULL, 'm'}, {"on-long", required_argument, NULL, 'l'},
        {"json", no_argument, NULL, 'j'},       {"exact", no_argument, NULL, 'x'},
        {"ef", required_argument, NULL, 'e'},   {"fusion", required_argument, NULL, 'F'},
        {0},
    };
    const struct cli_command *cmd = &cli_eval_command;
    for (int o; (o = cli_option(&cli_eval_command, argc, argv, ":", options)) != -1;) {
        switch (o) {
        case 'm':
            if (!search_mode_parse(cmd, optarg, &e->mode))
                return false;
            break;
        case 'F':
            if (!search_fusion_parse(cmd, optarg, &e->fusion))
                return false;
            break;
        case 'l':
            if (strcmp(optarg, "chunk") == 0)
                e->on_long = LATENT_LONG_CHUNK;
            else if (strcmp(optarg, "truncate") == 0)
                e->on_long = LATENT_LONG_TRUNCATE;
            else
                return cli_usage_error(cmd, "--on-long takes chunk or truncate, not '%s'", optarg), false;
            break;
        case 'j':
            e->json = true;
            break;
        case 'e':
            if (!cli_number(cmd, "--ef", optarg, 1, 100000, &e->ef))
                return false;
            break;
        case 'x':
            e->exact = true;
            break;
        default:
            return false;
        }
    }
    if (argc - optind != 1)
        return cli_usage_error(cmd, "one folder: DIR"), false;
    e->dir = argv[optind];
    return true;
}

static void show_progress(void *arg, const struct batches_totals *t)
{
    progress_update(arg, t->accepted, t->bytes_done, NULL);
}

/* The corpus into the temporary collection. An item that cannot go in is named and left out. */
static int ingest(struct eval *e)
{
    char path[4200], where[4300];
    struct err_msg em = {{0}};
    struct beir_reader *reader = NULL;
    struct beir_item item;
    struct progress p;
    struct batches b = {.conn = e->c->connection, .collection = e->collection,
                        .on_long = e->on_long, .progress = show_progress, .progress_arg = &p, .stopped = interrupt_came};
    int got, code;
    snprintf(path, sizeof path, "%s/corpus.jsonl", e->dir);
    if ((code = beir_reader_open(&reader, path, &em)) < 0) {
        fprintf(stderr, "latent: %s\n", em.text);
        return code;
    }
    progress_start(&p, "documents", 0, false);
    while (code == 0 && (got = beir_reader_next(reader, &item, &em)) != 0) {
        if (got < 0) {
            batches_item_failed(&b, NULL, NULL, em.text, got, 0);
            code = got == LT_EIO ? got : 0;
            continue;
        }
        struct doc d = {.id = strdup(item.id), .text = strdup(item.text), .text_len = item.text_len,
                        .title = strdup(item.title), .metadata = strdup("")};
        snprintf(where, sizeof where, "%s:%zu", path, item.line);
        code = batches_add(&b, &d, where, 0);
    }
    if (code == 0)
        code = batches_finish(&b);
    progress_end(&p);
    fprintf(stderr, "%llu documents in %.1f s, %llu failed\n", (unsigned long long)b.totals.accepted,
            progress_seconds(&p), (unsigned long long)b.totals.failed);
    e->n_failed += b.totals.failed;
    batches_destroy(&b);
    beir_reader_destroy(&reader);
    return code;
}

static int score(void *arg, const char *query_id, const struct latent_search_result *r)
{
    struct eval *e = arg;
    const char *ids[METRICS_DEPTH];
    size_t n = 0;
    if (interrupt_came())
        return LATENT_ECANCELLED;
    if (!r) {
        cli_fail(e->c, query_id);
        e->n_failed++;
    } else {
        for (; n < r->n_hits && n < METRICS_DEPTH; n++)
            ids[n] = r->hits[n].id;
        e->n_queries++;
    }
    metrics_add(&e->sums, e->qrels, query_id, ids, n);
    return 0;
}

static int search_all(struct eval *e)
{
    char path[4200];
    struct err_msg em = {{0}};
    struct beir_reader *reader = NULL;
    struct beir_item q;
    struct search_batch b = {.conn = e->c->connection, .done = score, .arg = e};
    struct latent_search s = {.collection = e->collection, .k = METRICS_DEPTH, .mode = e->mode, .ef = (uint32_t)e->ef,
                              .exact = e->exact, .fusion = e->fusion, .no_text = true, .on_long = LATENT_LONG_TRUNCATE};
    int got, code;
    snprintf(path, sizeof path, "%s/queries.jsonl", e->dir);
    if ((code = beir_reader_open(&reader, path, &em)) < 0) {
        fprintf(stderr, "latent: %s\n", em.text);
        return code;
    }
    uint64_t start = clock_ns();
    while (code == 0 && (got = beir_reader_next(reader, &q, &em)) != 0) {
        if (got < 0) {
            fprintf(stderr, "latent: %s\n", em.text);
            code = got;
        } else if (beir_qrels_relevant(e->qrels, q.id) > 0) {
            s.query = q.text;
            code = search_batch_add(&b, &s, q.id);
        }
    }
    if (code == 0)
        code = search_batch_finish(&b);
    e->search_seconds = (double)(clock_ns() - start) / 1e9;
    if (code < 0 && !latent_is_connected(e->c->connection) && !interrupt_came())
        cli_fail(e->c, e->collection);
    search_batch_destroy(&b);
    beir_reader_destroy(&reader);
    return code;
}

static void report(const struct eval *e)
{
    struct metrics m = metrics_mean(&e->sums, e->qrels);
    double qps = e->search_seconds > 0 ? (double)e->n_queries / e->search_seconds : 0;
    if (e->json) {
        json_out(json_pack("{s:f, s:f, s:f, s:f, s:I, s:s, s:s}", "ndcg@10", m.ndcg10, "recall@100",
                           m.recall100, "mrr@10", m.mrr10, "qps", qps, "queries",
                           (json_int_t)e->n_queries, "mode", search_mode_name(e->mode), "fusion", e->mode == LATENT_MODE_HYBRID ? search_fusion_name(e->fusion) : ""));
        return;
    }
    printf("%s, %s, %llu queries\n", e->dir, search_mode_name(e->mode), e->n_queries);
    printf("  nDCG@10     %.4f\n  recall@100  %.4f\n  MRR@10      %.4f\n  queries/s   %.1f\n",
           m.ndcg10, m.recall100, m.mrr10, qps);
}

static int run(struct cli *c, int argc, char **argv)
{
    struct eval e = {.c = c, .ef = EF_DEFAULT};
    struct err_msg em = {{0}};
    char path[4200];
    if (!parse(&e, argc, argv))
        return CLI_USAGE;
    snprintf(path, sizeof path, "%s/qrels/test.tsv", e.dir);
    if (beir_qrels_load(&e.qrels, path, &em) < 0) {
        fprintf(stderr, "latent: %s\n", em.text);
        return CLI_REFUSED;
    }
    int status = CLI_USAGE;
    if (!beir_qrels_queries(e.qrels)) {
        fprintf(stderr, "latent: %s: no query is judged\n", path);
        status = CLI_REFUSED;
        goto out;
    }
    if (!cli_connect_patient(c))
        goto out;
    interrupt_watch(latent_fd(c->connection));
    snprintf(e.collection, sizeof e.collection, "eval-%ld-%llx", (long)getpid(),
             (unsigned long long)clock_wall_ms());
    struct latent_collection_params params = {.temporary = true};
    if (latent_collection_create(c->connection, e.collection, &params, NULL) < 0) {
        if (interrupt_came())
            interrupt_die();
        status = cli_fail(c, e.collection);
        goto out;
    }
    int code = ingest(&e);
    if (code == 0)
        code = search_all(&e);
    if (code == 0)
        report(&e);
    status = code == LATENT_ECONN ? CLI_USAGE : code < 0 || e.n_failed ? CLI_REFUSED : CLI_DONE;
    const bool interrupted = code < 0 && interrupt_came();
    if (interrupted)
        fprintf(stderr, "latent: interrupted\n");
    if (interrupted ? cli_connect_again(c) != NULL : latent_is_connected(c->connection))
        latent_collection_drop(c->connection, e.collection);
    if (interrupted)
        interrupt_die();
out:
    beir_qrels_destroy(&e.qrels);
    return status;
}

const struct cli_command cli_eval_command = {
    "eval", "measure retrieval on a BEIR-layout folder",
    "Usage: latent eval DIR [--mode hybrid|dense|text] [--fusion rank|score] [--on-long chunk|truncate] [--ef N] [--exact] [--json]\n\n"
    "DIR holds corpus.jsonl, queries.jsonl and qrels/test.tsv. The corpus goes into a temporary\n"
    "collection, the judged queries are searched with k = 100, eight on their way at once, and nDCG@10\n"
    "(linear gain), recall@100, MRR@10 and queries per second are printed.\n\n"
    "  --mode MODE      hybrid (default), dense, text\n"
    "  --fusion WHAT    rank (default) or score: how a hybrid search makes one list of two\n"
    "  --on-long WHAT   texts over the token limit: chunk (default) or truncate\n"
    "  --ef N           candidates that the graph search keeps (default 1000: a model is measured)\n"
    "  --exact          compare with every vector instead of walking the graph\n"
    "  --json           {\"ndcg@10\":…,\"recall@100\":…,\"mrr@10\":…,\"qps\":…}\n",
    run};
