/* latent rerank: a question and texts, the best first. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "base/utf8.h"
#include "clients/cli/cli.h"
#include "clients/cli/docs.h"
#include "clients/cli/json_out.h"
#include "clients/cli/text_out.h"

#define LINES_MAX 1000 /* what one request takes; scores of several could be compared, but so many lines are a search's work */

struct rerank_args {
    struct latent_rerank q;
    const char *jsonl;
    uint32_t k; /* 0: all */
    bool json;
};

struct line {
    char *id, *text; /* id NULL: the line's number stands for it */
    uint64_t number;
};

struct lines {
    struct line at[LINES_MAX];
    const char *texts[LINES_MAX];
    size_t n;
    int n_failed;
};

static void lines_free(struct lines *l)
{
    for (size_t i = 0; l && i < l->n; i++) {
        free(l->at[i].id);
        free(l->at[i].text);
    }
    free(l);
}

static void say(struct lines *l, uint64_t number, const char *what, int code)
{
    fprintf(stderr, "latent: line %llu: %s (%s)\n", (unsigned long long)number, what, latent_code_name(code));
    l->n_failed++;
}

/* One line of input into *to; false after an error on stderr. */
static bool line_parse(struct lines *l, const char *s, size_t len, bool json, struct line *to)
{
    struct err_msg em = {{0}};
    struct doc d = {0};
    const size_t bad = utf8_check(s, len);
    int r = 0;
    if (bad != UTF8_VALID)
        r = err_set(&em, LT_EUTF8, "not valid UTF-8 at byte %zu", bad);
    else if (json && (r = doc_parse(&d, s, len, &em)) == 0) {
        const size_t title = strlen(d.title), n = title + (title > 0) + d.text_len + 1;
        to->id = d.id;
        d.id = NULL;
        if ((to->text = malloc(n)))
            snprintf(to->text, n, "%s%s%s", d.title, title ? " " : "", d.text);
    } else if (!json && memchr(s, 0, len)) {
        r = err_set(&em, LT_EFORMAT, "holds a NUL character");
    } else if (!json) {
        to->text = strdup(s);
    }
    if (r == 0 && !to->text)
        r = err_set(&em, LT_ENOMEM, "no memory");
    doc_finish(&d);
    if (r < 0) {
        say(l, to->number, em.text, r);
        free(to->id);
        to->id = NULL;
    }
    return r == 0;
}

/* All lines; false after an error that ends it, on stderr. */
static bool read_lines(struct lines *l, FILE *f, bool json)
{
    char *s = NULL;
    size_t cap = 0, len = 0;
    bool good = true;
    int got;
    for (uint64_t number = 1; good && (got = docs_line(f, &s, &cap, &len)) != 0; number++) {
        struct line one = {.number = number};
        if (got == LT_ELIMIT) {
            say(l, number, "longer than 16 MiB", got);
        } else if (got < 0) {
            fprintf(stderr, "latent: line %llu: %s\n", (unsigned long long)number, got == LT_EIO ? "read error" : err_text(got));
            good = false;
        } else if (json && strspn(s, " \t") == len) {
            continue; /* blank */
        } else if (l->n == LINES_MAX) {
            fprintf(stderr, "latent: more than %d texts; rerank the best of a search\n", LINES_MAX);
            good = false;
        } else if (line_parse(l, s, len, json, &one)) {
            l->texts[l->n] = one.text;
            l->at[l->n++] = one;
        }
    }
    free(s);
    return good;
}

/* The order in which scored texts are printed: qsort has no argument to pass. */
static const struct latent_rerank_score *sorted;

static int nearer(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    if (sorted[x].score != sorted[y].score)
        return sorted[x].score < sorted[y].score ? 1 : -1;
    return (x > y) - (x < y);
}

static void print_one(const struct line *l, const struct latent_rerank_score *s, size_t rank, bool json)
{
    if (!json) {
        printf("%2zu. %-7.4f ", rank, (double)s->score);
        const char *shown = l->id ? l->id : l->text;
        text_out(stdout, shown, strlen(shown), "");
        putchar('\n');
        return;
    }
    json_out(json_pack("{s:I, s:o, s:I, s:f, s:I, s:I, s:b, s:o}", "rank", (json_int_t)rank, "id", l->id ? json_text(l->id) : json_null(), "line",
                       (json_int_t)l->number, "score", (double)s->score, "tokens", (json_int_t)s->tokens, "tokens_seen", (json_int_t)s->tokens_seen,
                       "truncated", (int)s->truncated, "text", json_text(l->text)));
}

static int print_scores(struct lines *l, const struct latent_rerank_result *r, const struct rerank_args *a)
{
    size_t *order = calloc(r->n + 1, sizeof *order), n = 0, cut = 0;
    if (!order)
        return fprintf(stderr, "latent: no memory\n"), CLI_REFUSED;
    for (size_t i = 0; i < r->n; i++) {
        if (r->scores[i].code < 0)
            say(l, l->at[i].number, r->scores[i].message, r->scores[i].code);
        else
            order[n++] = i;
        cut += r->scores[i].truncated;
    }
    sorted = r->scores;
    qsort(order, n, sizeof *order, nearer);
    for (size_t i = 0; i < n && (!a->k || i < a->k); i++)
        print_one(&l->at[order[i]], &r->scores[order[i]], i + 1, a->json);
    if (cut)
        fprintf(stderr, "%zu text%s cut at the reranker's token limit\n", cut, plural(cut));
    free(order);
    return l->n_failed ? CLI_REFUSED : CLI_DONE;
}

static bool parse(struct rerank_args *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"jsonl", required_argument, NULL, 'l'}, {"json", no_argument, NULL, 'j'}, {"truncate", no_argument, NULL, 't'}, {0},
    };
    const struct cli_command *cmd = &cli_rerank_command;
    uint64_t v;
    a->q.on_long = LATENT_LONG_ERROR;
    for (int o; (o = cli_option(cmd, argc, argv, ":k:", options)) != -1;) {
        switch (o) {
        case 'k':
            if (!cli_number(cmd, "-k", optarg, 1, LINES_MAX, &v))
                return false;
            a->k = (uint32_t)v;
            break;
        case 'l':
            a->jsonl = optarg;
            break;
        case 'j':
            a->json = true;
            break;
        case 't':
            a->q.on_long = LATENT_LONG_TRUNCATE;
            break;
        default:
            return false;
        }
    }
    if (argc - optind != 1)
        return cli_usage_error(cmd, argc == optind ? "for what? QUERY" : "one QUERY: quote it; texts come on standard input"), false;
    a->q.query = argv[optind];
    return true;
}

static int run(struct cli *c, int argc, char **argv)
{
    struct rerank_args a = {0};
    struct lines *l = calloc(1, sizeof *l);
    struct latent_rerank_result *r = NULL;
    FILE *f = stdin;
    int status = CLI_USAGE;
    if (!l || !parse(&a, argc, argv) || !cli_connect_patient(c))
        goto out;
    status = CLI_REFUSED;
    if (a.jsonl && strcmp(a.jsonl, "-") != 0 && !(f = fopen(a.jsonl, "r"))) {
        perror(a.jsonl);
        goto out;
    }
    if (!read_lines(l, f, a.jsonl != NULL))
        goto out;
    a.q.texts = l->texts;
    a.q.n_texts = l->n;
    status = latent_rerank(c->connection, &a.q, &r) < 0 ? cli_fail(c, "rerank") : print_scores(l, r, &a);
out:
    if (f && f != stdin)
        fclose(f);
    latent_free(r);
    lines_free(l);
    return status;
}

const struct cli_command cli_rerank_command = {
    "rerank", "put texts into the order in which they answer a question",
    "Usage: latent rerank [-k N] [--truncate] [--json] QUERY <TEXTS\n"
    "       latent rerank [-k N] [--truncate] [--json] --jsonl FILE QUERY\n\n"
    "One text per input line, at most 1000; they are printed with their scores, the best first. A line that\n"
    "fails is named on standard error, and makes the exit status 1. The daemon needs a reranker:\n"
    "`latentd --reranker FILE`.\n\n"
    "  -k N            the first N only\n"
    "  --jsonl FILE    {\"id\",\"text\",\"title\"?} lines, as `latent add` takes them; - is standard input\n"
    "  --truncate      cut texts over the reranker's token limit instead of refusing them\n"
    "  --json          one object a line: rank, id (null without --jsonl), line, score, tokens, tokens_seen,\n"
    "                  truncated, text\n",
    run};
