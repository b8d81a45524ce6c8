/* latent explain: what the model is given for a text. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/cli/cli.h"
#include "clients/cli/json_out.h"
#include "clients/cli/long_arg.h"
#include "clients/cli/text_out.h"

/* Of standard input; the daemon's limit is below it, so that what is longer is refused there, with its words. */
#define INPUT_MAX (1u << 20)

struct explain_args {
    struct latent_explain e;
    char *input; /* standard input, where it is the text */
    bool json;
};

/* In double quotes, on one line. */
static void print_quoted(const char *s, size_t len)
{
    putchar('"');
    text_out(stdout, s, len, "\"\\");
    putchar('"');
}

/* The characters that begin at token i of a prompt of len bytes, up to where the next token begins that has others. */
static void print_token(const struct latent_explained_text *t, size_t i, size_t len)
{
    const bool bos = t->bos && i == 0, behind = (t->eos && i + 1 == t->n_tokens) || (i > 0 && t->offsets[i] >= t->prompt_used);
    printf("%9zu %9u  %-6s  ", i, t->ids[i], i < t->pool_from ? "no" : "yes");
    if (bos || behind) {
        puts(bos ? "(begin)" : "(end)");
        return;
    }
    const size_t from = t->offsets[i] < len ? t->offsets[i] : len;
    const size_t used = t->prompt_used > from && t->prompt_used < len ? t->prompt_used : len;
    size_t to = used;
    for (size_t k = i + 1; k < t->n_tokens && to == used; k++)
        if (t->offsets[k] > from && t->offsets[k] < used)
            to = t->offsets[k];
    if (i > t->bos && t->offsets[i] == t->offsets[i - 1])
        fputs("(same) ", stdout);
    print_quoted(t->prompt + from, to - from);
    putchar('\n');
}

static void print_text(const struct latent_explain_result *r, const struct latent_explained_text *t)
{
    const size_t len = strlen(t->prompt);
    fputs("prompt:   ", stdout);
    print_quoted(t->prompt, len);
    printf("\ntokens:   %zu of at most %u", t->n_tokens, r->token_limit);
    if (t->tokens_seen > t->n_tokens)
        printf(", cut from %u: the prompt's first %u bytes of %zu", t->tokens_seen, t->prompt_used, len);
    if (t->pool_from)
        printf(", the first %u left out of the pool", t->pool_from);
    printf("\n\n%9s %9s  %-6s  %s\n", "position", "id", "pooled", "text");
    for (size_t i = 0; i < t->n_tokens; i++)
        print_token(t, i, len);
}

static void print_plain(const struct latent_explain_result *r, const struct explain_args *a)
{
    printf("model:    %s, %s weights\n          %s\n", r->model, r->weight_type, r->fingerprint);
    printf("device:   %s (%s)\n", r->device, r->device_kind);
    printf("vector:   %s mask, %s pooling, %u dimensions, unit length\n", r->mask, r->pooling, r->dim);
    fputs("template: ", stdout);
    if (r->used_template[0])
        print_quoted(r->used_template, strlen(r->used_template));
    else
        fputs(a->e.title ? "none: the title, a space" : "none", stdout);
    putchar('\n');
    for (size_t i = 0; i < r->n_texts; i++) {
        if (r->n_texts > 1)
            printf("\nchunk %zu of %zu, bytes %u to %u of the text\n", i, r->n_texts, r->texts[i].start, r->texts[i].end);
        print_text(r, &r->texts[i]);
    }
}

static json_t *numbers(const uint32_t *v, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer(v[i]));
    return list;
}

static void print_json(const struct latent_explain_result *r)
{
    json_t *texts = json_array();
    for (size_t i = 0; i < r->n_texts; i++) {
        const struct latent_explained_text *t = &r->texts[i];
        json_array_append_new(
            texts, json_pack("{s:o, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:b, s:b, s:b}", "prompt", json_text(t->prompt), "text_at",
                             (json_int_t)t->text_at, "start", (json_int_t)t->start, "end", (json_int_t)t->end, "ids",
                             numbers(t->ids, t->n_tokens), "offsets", numbers(t->offsets, t->n_tokens), "pool_from",
                             (json_int_t)t->pool_from, "prompt_used", (json_int_t)t->prompt_used, "tokens",
                             (json_int_t)t->n_tokens, "tokens_seen",
                             (json_int_t)t->tokens_seen, "truncated", t->tokens_seen > t->n_tokens, "bos", (int)t->bos, "eos",
                             (int)t->eos));
    }
    json_out(json_pack("{s:o, s:s, s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:o, s:o}", "model", json_text(r->model), "fingerprint",
                       r->fingerprint, "weight_type", r->weight_type, "device", json_text(r->device), "device_kind",
                       r->device_kind, "pooling", r->pooling, "mask", r->mask, "dim", (json_int_t)r->dim, "token_limit",
                       (json_int_t)r->token_limit, "template", json_text(r->used_template), "texts", texts));
}

/* All of standard input into a->input. */
static bool read_input(struct explain_args *a)
{
    size_t n = 0, got;
    if (!(a->input = malloc(INPUT_MAX + 1)))
        return fprintf(stderr, "latent: out of memory\n"), false;
    while (n < INPUT_MAX && (got = fread(a->input + n, 1, INPUT_MAX - n, stdin)) > 0)
        n += got;
    a->input[n] = 0;
    if (ferror(stdin))
        return fprintf(stderr, "latent: standard input: %s\n", strerror(errno)), false;
    if (memchr(a->input, 0, n))
        return fprintf(stderr, "latent: standard input holds a NUL character\n"), false;
    a->e.text = a->input;
    return true;
}

static bool parse(struct explain_args *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"query", no_argument, NULL, 'q'},         {"instruct", required_argument, NULL, 'i'}, {"title", required_argument, NULL, 't'},
        {"on-long", required_argument, NULL, 'l'}, {"json", no_argument, NULL, 'j'},           {0},
    };
    const struct cli_command *cmd = &cli_explain_command;
    for (int o; (o = cli_option(&cli_explain_command, argc, argv, ":", options)) != -1;) {
        switch (o) {
        case 'q':
            a->e.query = true;
            break;
        case 'i':
            a->e.instruct = optarg;
            break;
        case 't':
            a->e.title = optarg;
            break;
        case 'l':
            if (!long_parse(cmd, optarg, &a->e.on_long))
                return false;
            break;
        case 'j':
            a->json = true;
            break;
        default:
            return false;
        }
    }
    if (argc - optind > 1)
        return cli_usage_error(cmd, "one TEXT: quote it"), false;
    if (a->e.instruct && !a->e.query)
        return cli_usage_error(cmd, "--instruct goes with --query"), false;
    if (a->e.title && a->e.query)
        return cli_usage_error(cmd, "--title goes with a document, without --query"), false;
    a->e.text = optind < argc ? argv[optind] : NULL;
    return true;
}

static int run(struct cli *c, int argc, char **argv)
{
    struct explain_args a = {0};
    struct latent_explain_result *r = NULL;
    int status = CLI_USAGE;
    if (!parse(&a, argc, argv) || !cli_connect(c))
        goto out;
    status = CLI_REFUSED;
    if (!a.e.text && !read_input(&a))
        goto out;
    if (latent_explain(c->connection, &a.e, &r) < 0) {
        status = cli_fail(c, "explain");
        goto out;
    }
    if (a.json)
        print_json(r);
    else
        print_plain(r, &a);
    status = CLI_DONE;
out:
    latent_free(r);
    free(a.input);
    return status;
}

const struct cli_command cli_explain_command = {
    "explain", "show what the model is given for a text",
    "Usage: latent explain [--query [--instruct TEXT]] [--title TITLE] [--on-long WHAT] [--json] [TEXT]\n\n"
    "What is embedded for TEXT (or standard input, as it is): the template, the exact string that is tokenised,\n"
    "every token with its id and its characters, which ones are pooled, what was cut or how it was divided, and by\n"
    "which model, weights, device, mask and pooling a vector comes of it. Nothing is embedded or stored.\n\n"
    "  --query            as `latent search` takes a query; without it, as `latent add` takes a document's text\n"
    "  --instruct TEXT    instruction for a query, in place of the model's own\n"
    "  --title TITLE      a document's title\n"
    "  --on-long WHAT     a document over the model's token limit: chunk (default), truncate, error; a query over\n"
    "                     it is an error unless WHAT is truncate\n"
    "  --json             one JSON object: model, fingerprint, weight_type, device, device_kind, pooling, mask, dim,\n"
    "                     token_limit, template, and texts, each with prompt, text_at (bytes before the text), start\n"
    "                     and end (its bytes in TEXT), ids, offsets (in the prompt, one an id), pool_from,\n"
    "                     prompt_used (bytes of it that the ids stand for), tokens, tokens_seen, truncated, bos, eos\n",
    run};
