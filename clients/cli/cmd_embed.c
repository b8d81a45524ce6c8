/* latent embed: one text (or list of token ids) per input line, one JSON object per output line. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "clients/cli/cli.h"
#include "clients/cli/docs.h"
#include "clients/cli/json_out.h"

#define EMBED_LINES 64
#define EMBED_BYTES (1u << 20) /* of lines in one request, where it is not one line */
#define EMBED_IDS_MAX 65536

struct embed_args {
    struct latent_embed e;
    bool ids;
};

/* Lines of one request, in order; a line that is no input keeps its place with its error. */
struct embed_group {
    struct latent_embed_input inputs[EMBED_LINES];
    char *text[EMBED_LINES];
    uint32_t *ids[EMBED_LINES];
    char *error[EMBED_LINES];
    uint64_t line[EMBED_LINES];
    size_t n, bytes;
};

static void group_clear(struct embed_group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        free(g->text[i]);
        free(g->ids[i]);
        free(g->error[i]);
    }
    memset(g, 0, sizeof *g);
}

/* {"ids":[…],"instruction_len":N} */
static int parse_ids(const char *line, size_t len, struct latent_embed_input *in, uint32_t **ids,
                     struct err_msg *em)
{
    json_error_t je;
    int r = 0;
    json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &je);
    json_t *a = json_object_get(o, "ids"), *k = json_object_get(o, "instruction_len");
    size_t n = json_array_size(a);
    if (!o) {
        r = err_set(em, LT_EFORMAT, "not JSON: %s", je.text);
        goto out;
    }
    if (!json_is_array(a) || n == 0 || n > EMBED_IDS_MAX) {
        r = err_set(em, LT_EFORMAT, "\"ids\" is not an array of 1 to %d numbers", EMBED_IDS_MAX);
        goto out;
    }
    if (k && (!json_is_integer(k) || json_integer_value(k) < 0 || json_integer_value(k) > EMBED_IDS_MAX)) {
        r = err_set(em, LT_EFORMAT, "\"instruction_len\" is not a count");
        goto out;
    }
    if (!(*ids = malloc(n * sizeof **ids))) {
        r = err_set(em, LT_ENOMEM, "no memory");
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        json_t *x = json_array_get(a, i);
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > INT32_MAX) {
            r = err_set(em, LT_EFORMAT, "\"ids\"[%zu] is not a token id", i);
            goto out;
        }
        (*ids)[i] = (uint32_t)json_integer_value(x);
    }
    in->ids = *ids;
    in->n_ids = (uint32_t)n;
    in->instruction_len = (uint32_t)json_integer_value(k);
out:
    json_decref(o);
    return r;
}

/* line NULL: it was too long to be kept */
static void group_add(struct embed_group *g, const struct embed_args *a, const char *line, size_t len,
                      uint64_t number)
{
    struct err_msg em = {{0}};
    size_t i = g->n++, bad = line ? utf8_check(line, len) : UTF8_VALID;
    int r = 0;
    g->line[i] = number;
    g->bytes += len;
    if (!line)
        r = err_set(&em, LT_ELIMIT, "longer than 16 MiB");
    else if (bad != UTF8_VALID)
        r = err_set(&em, LT_EUTF8, "not valid UTF-8 at byte %zu", bad);
    else if (a->ids)
        r = parse_ids(line, len, &g->inputs[i], &g->ids[i], &em);
    else if (memchr(line, 0, len))
        r = err_set(&em, LT_EFORMAT, "holds a NUL character");
    else if (!(g->text[i] = strdup(line)))
        r = err_set(&em, LT_ENOMEM, "no memory");
    g->inputs[i].text = g->text[i];
    if (r < 0) {
        char said[640];
        snprintf(said, sizeof said, "%s (%s)", em.text, latent_code_name(r));
        g->error[i] = strdup(said);
    }
}

static void print_result(const struct latent_embedding *e, uint32_t dim)
{
    static const char before[] = "{\"embedding\":";
    char after[100];
    json_out_bytes(before, sizeof before - 1);
    json_out_vector(e->vector, dim);
    json_out_bytes(after, (size_t)snprintf(after, sizeof after, ",\"tokens\":%u,\"tokens_seen\":%u,\"truncated\":%s}\n", e->tokens, e->tokens_seen,
                                           e->truncated ? "true" : "false"));
}

/* A line without a vector still gives a line, so that input and output stay side by side. */
static void print_failure(const struct embed_group *g, size_t i, const char *message)
{
    fprintf(stderr, "latent: line %llu: %s\n", (unsigned long long)g->line[i], message);
    json_out(json_pack("{s:n, s:o}", "embedding", "error", json_text(message)));
}

static int print_error(const struct embed_group *g, size_t i, const char *message, int code)
{
    char said[640];
    snprintf(said, sizeof said, "%s (%s)", message, latent_code_name(code));
    print_failure(g, i, said);
    return 1;
}

/* Embeds those of lines [from, to) that parsed and prints all of them in order. Returns how many failed, or a negative code. */
static int run_lines(struct cli *c, const struct embed_group *g, struct embed_args *a, size_t from, size_t to)
{
    struct latent_embed_input inputs[EMBED_LINES];
    struct latent_embed_result *r = NULL;
    size_t n = 0, at = 0;
    int failed = 0, code = 0;
    for (size_t i = from; i < to; i++)
        if (!g->error[i])
            inputs[n++] = g->inputs[i];
    a->e.inputs = inputs;
    a->e.n_inputs = n;
    if (n)
        code = latent_embed(c->connection, &a->e, &r);
    if (code == LATENT_ELIMIT && to - from == 1) /* too large for a request, or for the daemon's memory limit */
        return print_error(g, from, latent_error(c->connection), code);
    if (code < 0)
        return code;
    for (size_t i = from; i < to; i++) {
        if (g->error[i]) {
            print_failure(g, i, g->error[i]);
            failed++;
            continue;
        }
        const struct latent_embedding *e = &r->embeddings[at++];
        if (e->vector)
            print_result(e, r->dim);
        else
            failed += print_error(g, i, e->message, e->code);
    }
    latent_free(r);
    return failed;
}

/* All of them, as run_lines does; where they are too large together, one by one. */
static int group_run(struct cli *c, const struct embed_group *g, struct embed_args *a)
{
    int failed = run_lines(c, g, a, 0, g->n);
    if (failed != LATENT_ELIMIT)
        return failed;
    failed = 0;
    for (size_t i = 0; i < g->n; i++) {
        const int one = run_lines(c, g, a, i, i + 1);
        if (one < 0)
            return one;
        failed += one;
    }
    return failed;
}

static bool parse(struct embed_args *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"query", no_argument, NULL, 'q'}, {"instruct", required_argument, NULL, 'i'},
        {"json", no_argument, NULL, 'j'},  {"ids", no_argument, NULL, 'd'},
        {"truncate", no_argument, NULL, 't'}, {0},
    };
    a->e.on_long = LATENT_LONG_ERROR;
    for (int o; (o = cli_option(&cli_embed_command, argc, argv, ":", options)) != -1;) {
        switch (o) {
        case 'q':
            a->e.query = true;
            break;
        case 'i':
            a->e.instruct = optarg;
            break;
        case 'd':
            a->ids = true;
            break;
        case 't':
            a->e.on_long = LATENT_LONG_TRUNCATE;
            break;
        case 'j':
            break; /* the output is JSON in any case */
        default:
            return false;
        }
    }
    if (optind < argc)
        return cli_usage_error(&cli_embed_command, "texts come on standard input"), false;
    if (a->e.instruct && !a->e.query)
        return cli_usage_error(&cli_embed_command, "--instruct goes with --query"), false;
    if (a->ids && a->e.query)
        return cli_usage_error(&cli_embed_command, "--ids are taken as they are, without --query"), false;
    return true;
}

static int run(struct cli *c, int argc, char **argv)
{
    struct embed_args a = {0};
    struct embed_group *g = calloc(1, sizeof *g);
    char *line = NULL;
    size_t cap = 0, len = 0;
    int got = 1, status = CLI_USAGE;
    if (!g || !parse(&a, argc, argv) || !cli_connect_patient(c))
        goto out;
    status = CLI_DONE;
    for (uint64_t number = 1; got != 0 && !json_out_failure(); number++) {
        got = docs_line(stdin, &line, &cap, &len);
        if (got < 0 && got != LT_ELIMIT) {
            fprintf(stderr, "latent: line %llu: %s\n", (unsigned long long)number, got == LT_EIO ? "read error" : err_text(got));
            status = CLI_REFUSED;
            break;
        }
        if (got != 0)
            group_add(g, &a, got > 0 ? line : NULL, len, number);
        if (g->n < EMBED_LINES && g->bytes < EMBED_BYTES && got != 0)
            continue;
        int failed = group_run(c, g, &a);
        group_clear(g);
        if (failed < 0) {
            status = cli_fail(c, "embed");
            break;
        }
        if (failed)
            status = CLI_REFUSED;
    }
out:
    if (g)
        group_clear(g);
    free(g);
    free(line);
    return status;
}

const struct cli_command cli_embed_command = {
    "embed", "turn texts into vectors",
    "Usage: latent embed [--query [--instruct TEXT]] [--truncate] [--ids] [--json] <TEXTS\n\n"
    "One text per input line; per line one JSON object:\n"
    "{\"embedding\":[…],\"tokens\":N,\"tokens_seen\":N,\"truncated\":false}. A line that fails gives\n"
    "{\"embedding\":null,\"error\":…}, is named on standard error, and makes the exit status 1.\n\n"
    "  --query            the texts are queries: with the model's query template\n"
    "  --instruct TEXT    instruction for it, in place of the model's own\n"
    "  --truncate         cut texts over the model's token limit instead of refusing them\n"
    "  --ids              input lines are {\"ids\":[…],\"instruction_len\":N}: token ids as they are,\n"
    "                     N leading positions left out of the pool\n"
    "  --json             the output is JSON with or without it\n",
    run};
