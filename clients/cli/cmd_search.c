/* latent search: one query, or a file of them into a TREC run. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "clients/cli/beir.h"
#include "clients/cli/cli.h"
#include "clients/cli/json_out.h"
#include "clients/cli/metrics.h"
#include "clients/cli/search_args.h"
#include "clients/cli/text_out.h"
#include "clients/cli/vector_arg.h"

struct search_args {
    struct latent_search s;
    const char *queries, *run;
    float *vector;
    bool json;
};

/* "D,T", two numbers of 0 or more, not both 0. */
static bool parse_weights(struct search_args *a, const char *arg)
{
    char *end, *last = NULL;
    float dense = strtof(arg, &end), text = *end == ',' && end != arg ? strtof(end + 1, &last) : -1;
    if (!last || *last || last == end + 1 || !(dense >= 0 && dense <= 1e6f && text >= 0 && text <= 1e6f) ||
        (dense == 0 && text == 0))
        return cli_usage_error(&cli_search_command, "--weights takes D,T: two numbers from 0 to 1000000, not both 0"),
               false;
    a->s.dense_weight = dense;
    a->s.text_weight = text;
    return true;
}

/* One option; false after an error on stderr. */
static bool option(struct search_args *a, int o, const char *arg)
{
    const struct cli_command *cmd = &cli_search_command;
    uint64_t v;
    struct err_msg em = {{0}};
    switch (o) {
    case 'c':
        a->s.collection = arg;
        return true;
    case 'k':
        if (!cli_number(cmd, "-k", arg, 1, 10000, &v))
            return false;
        a->s.k = (uint32_t)v;
        return true;
    case 'm':
        return search_mode_parse(cmd, arg, &a->s.mode);
    case 'f':
        a->s.filter = arg;
        return true;
    case 'e':
        if (!cli_number(cmd, "--ef", arg, 1, 100000, &v))
            return false;
        a->s.ef = (uint32_t)v;
        return true;
    case 'i':
        a->s.instruct = arg;
        return true;
    case 'v':
        free(a->vector);
        if (vector_parse(arg, &a->vector, &a->s.dim, &em) < 0)
            return cli_usage_error(cmd, "--vector: %s", em.text), false;
        a->s.vector = a->vector;
        return true;
    case 'h':
        a->s.chunks = true;
        return true;
    case 'x':
        a->s.exact = true;
        return true;
    case 't':
        a->s.on_long = LATENT_LONG_TRUNCATE;
        return true;
    case 'w':
        return parse_weights(a, arg);
    case 'F':
        return search_fusion_parse(cmd, arg, &a->s.fusion);
    case 'R':
        if (!cli_number(cmd, "--rerank", arg, 1, 1000, &v))
            return false;
        a->s.rerank = (uint32_t)v;
        return true;
    case 'q':
        a->queries = arg;
        return true;
    case 'r':
        a->run = arg;
        return true;
    case 'j':
        a->json = true;
        return true;
    }
    return false;
}

static bool parse(struct search_args *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"collection", required_argument, NULL, 'c'}, {"mode", required_argument, NULL, 'm'},
        {"filter", required_argument, NULL, 'f'},     {"ef", required_argument, NULL, 'e'},
        {"instruct", required_argument, NULL, 'i'},   {"vector", required_argument, NULL, 'v'},
        {"chunks", no_argument, NULL, 'h'},           {"exact", no_argument, NULL, 'x'},
        {"truncate", no_argument, NULL, 't'},         {"queries", required_argument, NULL, 'q'},
        {"run", required_argument, NULL, 'r'},        {"json", no_argument, NULL, 'j'},
        {"weights", required_argument, NULL, 'w'},    {"rerank", required_argument, NULL, 'R'},
        {"fusion", required_argument, NULL, 'F'},
        {0},
    };
    const struct cli_command *cmd = &cli_search_command;
    for (int o; (o = cli_option(&cli_search_command, argc, argv, ":c:k:", options)) != -1;)
        if (!option(a, o, optarg))
            return false;
    if (!a->s.collection)
        return cli_usage_error(cmd, "in which collection? -c NAME"), false;
    if ((a->queries != NULL) != (a->run != NULL))
        return cli_usage_error(cmd, "--queries FILE and --run OUT go together"), false;
    int n = argc - optind;
    if (a->queries && n)
        return cli_usage_error(cmd, "--queries takes the place of QUERY"), false;
    const char *not = a->s.vector ? "--vector" : a->s.chunks ? "--chunks" : a->json ? "--json" : NULL; /* a run file's lines are documents */
    if (a->queries)
        return not ? (cli_usage_error(cmd, "%s goes not with --queries", not), false) : true;
    if (n > 1 || (n == 0 && !a->s.vector))
        return cli_usage_error(cmd, n ? "one QUERY: quote it" : "what for? QUERY"), false;
    if (n == 0 && a->s.rerank)
        return cli_usage_error(cmd, "--rerank reads a QUERY"), false;
    a->s.query = n ? argv[optind] : NULL;
    if (!a->s.query && a->s.mode == LATENT_MODE_HYBRID)
        a->s.mode = LATENT_MODE_DENSE; /* there are no words */
    return true;
}

static const char *short_name(const struct latent_search_result *r)
{
    static const char *const names[] = {"", "exhausted", "filter", "budget", "pending"};
    return (unsigned)r->short_reason < sizeof names / sizeof *names ? names[r->short_reason] : "";
}

/* The hits, then what was used to find them. */
static void print_json(const struct latent_search_result *r)
{
    for (size_t i = 0; i < r->n_hits; i++) {
        const struct latent_hit *h = &r->hits[i];
        json_t *reranked = i < r->n_reranked ? json_real((double)h->rerank_score) : json_null();
        json_out_document(json_pack("{s:o, s:I, s:I, s:I, s:f, s:o, s:I, s:o, s:o}", "id", json_text(h->id), "chunk", (json_int_t)h->chunk,
                                    "start", (json_int_t)h->start, "end", (json_int_t)h->end, "score", (double)h->score, "rerank_score",
                                    reranked, "rank", (json_int_t)h->rank, "title", json_text(h->title), "text", json_text(h->text)),
                          h->metadata);
    }
    json_out(json_pack("{s:{s:I, s:s, s:I, s:I, s:s, s:b, s:o, s:I, s:b, s:o, s:o, s:b, s:o, s:f, s:f, s:s, s:I, s:I, s:I}}", "search", "hits",
                       (json_int_t)r->n_hits, "mode", search_mode_name(r->mode), "k", (json_int_t)r->k, "ef", (json_int_t)r->ef,
                       "short_reason", short_name(r), "degraded", (int)r->degraded, "degraded_reason",
                       json_text(r->degraded_reason), "tokens", (json_int_t)r->tokens, "truncated", (int)r->truncated,
                       "template", json_text(r->used_template), "instruct", json_text(r->instruct), "chunks", (int)r->chunks,
                       "filter", json_text(r->filter), "dense_weight", (double)r->dense_weight, "text_weight",
                       (double)r->text_weight, "fusion", r->dense_weight > 0 || r->text_weight > 0 ? search_fusion_name(r->fusion) : "", "seq", (json_int_t)r->seq, "reranked", (json_int_t)r->n_reranked, "rerank_cut", (json_int_t)r->rerank_cut));
}

/* The first words of a text on one line. */
static void print_snippet(const char *text)
{
    int column = 0;
    bool space = false;
    for (const char *p = text; *p; p++) {
        unsigned char ch = (unsigned char)*p;
        const size_t control = text_control(p, strnlen(p, 2));
        if (ch == ' ' || control) {
            space = column > 0;
            p += control > 1;
            continue;
        }
        bool lead = (ch & 0xC0) != 0x80; /* count characters, cut between them */
        if (lead && column + space >= 100) {
            fputs("…", stdout);
            break;
        }
        if (space)
            putchar(' ');
        column += space + lead;
        space = false;
        putchar(ch);
    }
    putchar('\n');
}

static void print_plain(const struct latent_search_result *r)
{
    for (size_t i = 0; i < r->n_hits; i++) {
        const struct latent_hit *h = &r->hits[i];
        printf("%2u. ", h->rank);
        if (i < r->n_reranked)
            printf("%-7.4f ", (double)h->rerank_score);
        printf("%-7.4f ", (double)h->score);
        text_out(stdout, h->id, strlen(h->id), "");
        if (h->title[0] && strcmp(h->title, h->id) != 0) {
            fputs("  ", stdout);
            text_out(stdout, h->title, strlen(h->title), "");
        }
        if (h->chunk || h->start)
            printf("  [bytes %u to %u]", h->start, h->end);
        printf("\n            ");
        print_snippet(h->text);
    }
}

static void say_conditions(const struct latent_search_result *r)
{
    static const char *const reasons[] = {"", "the collection holds no more",
                                          "the filter lets no more through",
                                          "the search's budget ended; try a larger --ef",
                                          "chunks wait to be embedded; more may be found when they are"};
    if (r->n_hits < r->k && r->short_reason > 0 && (unsigned)r->short_reason < sizeof reasons / sizeof *reasons)
        fprintf(stderr, "%zu of %u: %s\n", r->n_hits, r->k, reasons[r->short_reason]);
    if (r->degraded)
        text_say("degraded: %s", r->degraded_reason);
    if (r->truncated)
        fprintf(stderr, "the query was cut at the token limit\n");
    if (r->rerank_cut)
        fprintf(stderr, "%u text%s cut at the reranker's token limit\n", r->rerank_cut, plural(r->rerank_cut));
}

struct run_file {
    struct cli *c;
    FILE *out;
    unsigned long long n_ok, n_failed;
};

/* Falls with the rank, as readers of such files expect: what stands behind the reranked hits has their last score and less. */
static double run_score(const struct latent_search_result *r, size_t i)
{
    const size_t n = r->n_reranked;
    if (!n)
        return (double)r->hits[i].score;
    return i < n ? (double)r->hits[i].rerank_score : (double)r->hits[n - 1].rerank_score - (double)(i - n + 1);
}

static int write_run(void *arg, const char *query_id, const struct latent_search_result *r)
{
    struct run_file *f = arg;
    struct err_msg em = {{0}};
    if (!r) {
        cli_fail(f->c, query_id);
        f->n_failed++;
        return 0;
    }
    for (size_t i = 0; i < r->n_hits; i++) {
        int code = metrics_write_run(f->out, query_id, r->hits[i].id, i + 1, run_score(r, i),
                                     "latent", &em);
        if (code < 0) {
            fprintf(stderr, "latent: %s\n", em.text);
            return code;
        }
    }
    f->n_ok++;
    return 0;
}

static int run_batch(struct cli *c, struct search_args *a)
{
    struct run_file f = {.c = c};
    struct search_batch b = {.conn = c->connection, .done = write_run, .arg = &f};
    struct beir_reader *reader = NULL;
    struct beir_item q;
    struct latent_collection *info = NULL;
    struct err_msg em = {{0}};
    int got, code = beir_reader_open(&reader, a->queries, &em);
    /* What is begun does not wait for a daemon that loads, this does. */
    if (code == 0 && !c->key_file && latent_collection_info(c->connection, a->s.collection, &info) < 0) {
        beir_reader_destroy(&reader);
        return cli_fail(c, a->s.collection);
    }
    latent_free(info);
    if (code < 0)
        return fprintf(stderr, "latent: %s\n", em.text), CLI_REFUSED;
    if (!(f.out = fopen(a->run, "w"))) {
        perror(a->run);
        beir_reader_destroy(&reader);
        return CLI_REFUSED;
    }
    a->s.no_text = true;
    while (code == 0 && (got = beir_reader_next(reader, &q, &em)) != 0) {
        if (got < 0) {
            fprintf(stderr, "latent: %s\n", em.text);
            f.n_failed++;
            if (got == LT_EIO)
                break;
            continue;
        }
        a->s.query = q.text;
        code = search_batch_add(&b, &a->s, q.id);
    }
    if (code == 0)
        code = search_batch_finish(&b);
    if (code < 0 && latent_error_code(c->connection) < 0)
        cli_fail(c, a->s.collection);
    search_batch_destroy(&b);
    beir_reader_destroy(&reader);
    if (fclose(f.out) != 0) {
        perror(a->run);
        code = LATENT_EIO;
    }
    fprintf(stderr, "%llu queries answered, %llu failed\n", f.n_ok, f.n_failed);
    return code == LATENT_ECONN ? CLI_USAGE : code < 0 || f.n_failed ? CLI_REFUSED : CLI_DONE;
}

static int run(struct cli *c, int argc, char **argv)
{
    struct search_args a = {0};
    int status = CLI_USAGE;
    struct latent_search_result *r = NULL;
    if (!parse(&a, argc, argv) || !(a.queries || a.s.rerank ? cli_connect_patient(c) : cli_connect(c)))
        goto out;
    if (a.queries) {
        status = run_batch(c, &a);
        goto out;
    }
    if (latent_search(c->connection, &a.s, &r) < 0) {
        status = cli_fail(c, a.s.collection);
        goto out;
    }
    if (a.json)
        print_json(r);
    else
        print_plain(r);
    say_conditions(r);
    status = CLI_DONE;
out:
    latent_free(r);
    free(a.vector);
    return status;
}

const struct cli_command cli_search_command = {
    "search", "find documents by meaning, words, or both",
    "Usage: latent search -c COLLECTION [OPTIONS] QUERY\n"
    "       latent search -c COLLECTION [OPTIONS] --vector '[0.1, …]' [QUERY]\n"
    "       latent search -c COLLECTION [OPTIONS] --queries FILE.jsonl --run OUT\n\n"
    "  -c, --collection NAME\n"
    "  -k N                  how many hits (default 10)\n"
    "  --mode MODE           hybrid (default), dense, text\n"
    "  --weights D,T         shares of meaning and words in a hybrid search (default 1,1)\n"
    "  --fusion rank|score   how a hybrid search makes one list of two: by reciprocal ranks (default), or by scores, in\n"
    "                        standard deviations from their list's mean\n"
    "  --filter EXPR         conditions on metadata: section = 'games' and not (priority in\n"
    "                        ('extra', 'standard') or year < 2000); field, =, !=, <, <=, >, >=, in,\n"
    "                        startswith, exists, and, or, not, parentheses; man latent has all of it\n"
    "  --ef N                candidates that the graph search keeps (default: chosen from k)\n"
    "  --rerank N            have the first N candidates (at most 1000) put into the reranker's order, by their\n"
    "                        chunks' texts; hits show its score before the search's own\n"
    "  --exact               compare with every vector instead of walking the graph\n"
    "  --chunks              hits are chunks; without it, each document's best chunk\n"
    "  --instruct TEXT       instruction for the query, in place of the model's own\n"
    "  --truncate            cut a query over the model's token limit instead of refusing it\n"
    "  --vector JSON         the query's vector\n"
    "  --json                one object a line: the hits, nearest first, with id, chunk, start, end, score,\n"
    "                        rerank_score, rank, title, text, metadata; then {\"search\":{…}} with what was used: hits (how\n"
    "                        many), mode, k, ef (0: compared with all), short_reason (why fewer than k: exhausted,\n"
    "                        filter, budget, pending), degraded, degraded_reason, tokens, truncated, template, instruct,\n"
    "                        chunks, filter, dense_weight, text_weight, fusion, seq, reranked (how many hits), rerank_cut\n"
    "  --queries FILE        {\"_id\",\"text\"} lines; with --run OUT, which becomes a TREC run file\n",
    run};
