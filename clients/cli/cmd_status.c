/* latent status */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli/cli.h"
#include "clients/cli/collection_out.h"
#include "clients/cli/progress.h"
#include "clients/cli/text_out.h"

static const char *const phase_names[] = {"starting",   "loading model", "opening store",
                                          "recovering", "ready",         "stopping"};

static const char *phase_name(enum latent_phase phase)
{
    return (unsigned)phase < sizeof phase_names / sizeof phase_names[0] ? phase_names[phase]
                                                                        : "unknown";
}

/* null where there is none. */
static json_t *reranker_json(const struct latent_reranker *r)
{
    if (!r)
        return json_null();
    return json_pack("{s:o, s:o, s:s, s:s, s:I, s:o, s:s, s:o, s:I, s:I, s:I, s:I}", "model", json_text(r->model), "model_path",
                     json_text(r->model_path), "fingerprint", r->fingerprint, "weight_type", r->weight_type, "token_limit",
                     (json_int_t)r->token_limit, "device", json_text(r->device), "device_kind", r->device_kind, "device_note",
                     json_text(r->device_note), "memory_bytes", (json_int_t)r->memory_bytes, "queries", (json_int_t)r->query_depth, "bulk",
                     (json_int_t)r->bulk_depth, "texts_done", (json_int_t)r->texts_done);
}

static json_t *memory_json(const struct latent_status *s)
{
    if (!s->memory_limit)
        return json_null();
    return json_pack("{s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "limit", (json_int_t)s->memory_limit, "source",
                     json_text(s->memory_source), "least", (json_int_t)s->memory_least, "used", (json_int_t)s->memory_used, "model",
                     (json_int_t)s->memory_model, "reranker", (json_int_t)s->memory_reranker, "store", (json_int_t)s->memory_store, "requests",
                     (json_int_t)s->memory_requests, "graphs", (json_int_t)s->memory_graphs, "scarce", (int)s->memory_scarce);
}

static unsigned long long mib(uint64_t bytes)
{
    return (bytes + (1u << 20) - 1) >> 20;
}

static void print_memory(const struct latent_status *s)
{
    char reranker[48] = "";
    if (s->memory_reranker)
        snprintf(reranker, sizeof reranker, "reranker up to %llu, ", mib(s->memory_reranker));
    text_line(stdout, "memory:      %llu of %llu MiB (%s; at least %llu): model up to %llu, %sstore %llu, graphs %llu, requests %llu%s",
              mib(s->memory_used), mib(s->memory_limit), s->memory_source, mib(s->memory_least), mib(s->memory_model), reranker,
              mib(s->memory_store), mib(s->memory_graphs), mib(s->memory_requests), s->memory_scarce ? "; near the limit, clients wait" : "");
}

static void print_json(const struct latent_status *s)
{
    json_t *collections = json_array();
    for (size_t i = 0; i < s->n_collections; i++)
        json_array_append_new(collections, collection_json(&s->collections[i]));
    json_out(json_pack(
        "{s:o, s:o, s:s, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:s, s:s, s:b, s:o, s:o, "
        "s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:o, s:s, s:s, s:o, s:o}",
        "memory", memory_json(s), "version", json_text(s->version), "phase", phase_name(s->phase), "percent",
        (json_int_t)s->percent, "read_only", (int)s->read_only, "read_only_reason",
        json_text(s->read_only_reason), "device", json_text(s->device), "device_kind",
        json_text(s->device_kind), "device_note", json_text(s->device_note), "model",
        json_text(s->model), "model_path", json_text(s->model_path), "fingerprint", s->fingerprint,
        "dim", (json_int_t)s->dim, "token_limit", (json_int_t)s->token_limit, "pooling",
        s->pooling, "weight_type", s->weight_type, "has_tokenizer", (int)s->has_tokenizer,
        "query_template", json_text(s->query_template), "collections", collections, "queue",
        "queries", (json_int_t)s->query_depth, "bulk", (json_int_t)s->bulk_depth, "pending_chunks",
        (json_int_t)s->pending_chunks, "writes", (json_int_t)s->writes_waiting, "tokens_done",
        (json_int_t)s->tokens_done, "texts_done", (json_int_t)s->texts_done, "batches_done", (json_int_t)s->batches_done, "uptime_ms",
        (json_int_t)s->uptime_ms, "pid", (json_int_t)s->pid, "data_dir", json_text(s->data_dir),
        "server_key", s->server_key, "mask", s->mask, "warning", json_text(s->warning), "reranker",
        reranker_json(s->reranker)));
}

static void print_plain(const struct latent_status *s)
{
    char uptime[32];
    progress_duration((double)s->uptime_ms / 1000, uptime);
    printf("latentd %s, pid %u, up %s, %s", s->version, s->pid, uptime, phase_name(s->phase));
    if (s->phase != LATENT_PHASE_READY)
        printf(" %u %%", s->percent);
    printf("\n");
    if (s->read_only)
        text_line(stdout, "read-only:   %s", s->read_only_reason);
    if (s->warning[0])
        text_line(stdout, "warning:     %s", s->warning);
    if (s->device[0])
        text_line(stdout, "device:      %s (%s)", s->device, s->device_kind);
    if (s->device_note[0])
        text_line(stdout, "             %s", s->device_note);
    if (s->model[0]) {
        text_line(stdout, "model:       %s, %s, %s pooling, %s mask, %u dimensions, at most %u tokens a text", s->model, s->weight_type,
                  s->pooling, s->mask, s->dim, s->token_limit);
        text_line(stdout, "             %s", s->model_path);
        printf("fingerprint: %s\n", s->fingerprint);
        if (!s->has_tokenizer)
            printf("             no tokenizer: token ids only\n");
        if (s->query_template[0])
            text_line(stdout, "queries:     \"%s…\"", s->query_template);
    }
    if (s->reranker) {
        text_line(stdout, "reranker:    %s, %s, at most %u tokens a pair", s->reranker->model, s->reranker->weight_type, s->reranker->token_limit);
        text_line(stdout, "             %s", s->reranker->model_path);
        text_line(stdout, "             on %s (%s), %.1f MiB", s->reranker->device, s->reranker->device_kind,
                  (double)s->reranker->memory_bytes / 1048576);
        if (s->reranker->device_note[0])
            text_line(stdout, "             %s", s->reranker->device_note);
    }
    text_line(stdout, "data:        %s", s->data_dir);
    if (s->memory_limit)
        print_memory(s);
    if (s->server_key[0])
        printf("server key:  %s\n", s->server_key);
    printf("queue:       %llu queries, %llu texts, %llu chunks not searchable yet\n",
           (unsigned long long)s->query_depth, (unsigned long long)s->bulk_depth,
           (unsigned long long)s->pending_chunks);
    if (s->batches_done)
        printf("embedded:    %llu texts of %llu tokens in %llu batches of the device\n", (unsigned long long)s->texts_done,
               (unsigned long long)s->tokens_done, (unsigned long long)s->batches_done);
    if (s->n_collections)
        collection_print_table(s->collections, s->n_collections);
    else
        printf("collections: none\n");
}

static int run(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    bool json = false;
    for (int o; (o = cli_option(&cli_status_command, argc, argv, ":", options)) != -1;) {
        if (o != 'j')
            return CLI_USAGE;
        json = true;
    }
    if (optind < argc)
        return cli_usage_error(&cli_status_command, "unexpected '%s'", argv[optind]);
    struct latent *conn = cli_connect(c);
    struct latent_status *s;
    if (!conn)
        return CLI_USAGE;
    if (latent_status(conn, &s) < 0)
        return cli_fail(c, "status");
    if (json)
        print_json(s);
    else
        print_plain(s);
    latent_free(s);
    return CLI_DONE;
}

const struct cli_command cli_status_command = {
    "status", "what the daemon is, serves and is doing",
    "Usage: latent status [--json]\n\n"
    "Version, device, model, fingerprint, dimension, token limit, queue, phase, and the collections\n"
    "with their counts and bytes.\n\n"
    "  --json   one JSON object\n",
    run};
