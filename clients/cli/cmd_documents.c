/* latent get, latent delete */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "clients/cli/cli.h"
#include "clients/cli/json_out.h"
#include "clients/cli/text_out.h"
#include "proto/maxima.h"

#define IDS_PER_REQUEST 1000

struct documents_args {
    const char *collection;
    const char **ids;
    size_t n_ids;
    bool all; /* get: every document */
};

static bool parse(const struct cli_command *cmd, struct documents_args *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"collection", required_argument, NULL, 'c'}, {"all", no_argument, NULL, 'a'}, {0}};
    for (int o; (o = cli_option(cmd, argc, argv, ":c:", options)) != -1;) {
        if (o == 'c')
            a->collection = optarg;
        else if (o == 'a' && cmd == &cli_get_command)
            a->all = true;
        else if (o == 'a')
            return cli_usage_error(cmd, "no option --all: a collection is dropped with all of it by `latent collection drop NAME`"), false;
        else
            return false;
    }
    a->ids = (const char **)argv + optind;
    a->n_ids = (size_t)(argc - optind);
    if (!a->collection)
        return cli_usage_error(cmd, "which collection? -c NAME"), false;
    if (!a->n_ids && !a->all)
        return cli_usage_error(cmd, "which documents? ID…"), false;
    if (a->n_ids && a->all)
        return cli_usage_error(cmd, "either --all or ID…"), false;
    return true;
}

/* Names each id that was not there. */
static void name_missing(const char *const *missing, size_t n)
{
    for (size_t i = 0; i < n; i++)
        text_say("latent: %s: no such document", missing[i]);
}

/* Names and takes out the ids that no document can have: with one of them a request would be refused as a whole. CLI_REFUSED: there were some. */
static int only_possible(struct documents_args *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_ids; i++) {
        const size_t len = strlen(a->ids[i]);
        if (len <= PROTO_DOCUMENT_ID_MAX && utf8_check(a->ids[i], len) == UTF8_VALID)
            a->ids[n++] = a->ids[i];
        else
            name_missing(&a->ids[i], 1);
    }
    const int status = n < a->n_ids ? CLI_REFUSED : CLI_DONE;
    a->n_ids = n;
    return status;
}

static void print(const struct latent_get_result *r)
{
    for (size_t i = 0; i < r->n_documents; i++) {
        const struct latent_document *d = &r->documents[i];
        json_out_document(json_pack("{s:o, s:o, s:o}", "id", json_text(d->id), "text", json_text(d->text), "title", json_text(d->title)),
                          d->metadata);
    }
}

static int get_all(struct cli *c, struct latent *conn, const char *collection)
{
    struct latent_get_result *r, *last = NULL;
    for (;; last = r) {
        const char *after = last ? last->documents[last->n_documents - 1].id : "";
        int code = latent_get_after(conn, collection, after, IDS_PER_REQUEST, &r);
        latent_free(last);
        if (code < 0)
            return cli_fail(c, collection);
        if (!r->n_documents || json_out_failure())
            break;
        print(r);
    }
    latent_free(r);
    return CLI_DONE;
}

static int run_get(struct cli *c, int argc, char **argv)
{
    struct documents_args a = {0};
    if (!parse(&cli_get_command, &a, argc, argv))
        return CLI_USAGE;
    struct latent *conn = cli_connect(c);
    if (!conn)
        return CLI_USAGE;
    int status = only_possible(&a);
    if (a.all)
        return get_all(c, conn, a.collection);
    for (size_t at = 0, n, most = IDS_PER_REQUEST; at < a.n_ids && !json_out_failure(); at += n) {
        n = a.n_ids - at < most ? a.n_ids - at : most;
        struct latent_get_result *r;
        int code = latent_get(conn, a.collection, a.ids + at, n, &r);
        while (code == LATENT_ELIMIT && n > 1) { /* they are large */
            most = n = n / 2;
            code = latent_get(conn, a.collection, a.ids + at, n, &r);
        }
        if (code < 0)
            return cli_fail(c, a.collection);
        print(r);
        if (r->n_missing)
            status = CLI_REFUSED;
        name_missing(r->missing, r->n_missing);
        latent_free(r);
    }
    return status;
}

static int run_delete(struct cli *c, int argc, char **argv)
{
    struct documents_args a = {0};
    if (!parse(&cli_delete_command, &a, argc, argv))
        return CLI_USAGE;
    struct latent *conn = cli_connect(c);
    if (!conn)
        return CLI_USAGE;
    int status = only_possible(&a);
    unsigned long long deleted = 0;
    for (size_t at = 0; at < a.n_ids; at += IDS_PER_REQUEST) {
        size_t n = a.n_ids - at < IDS_PER_REQUEST ? a.n_ids - at : IDS_PER_REQUEST;
        struct latent_delete_result *r;
        if (latent_delete(conn, a.collection, a.ids + at, n, &r) < 0)
            return cli_fail(c, a.collection);
        deleted += r->deleted;
        if (r->n_missing)
            status = CLI_REFUSED;
        name_missing(r->missing, r->n_missing);
        latent_free(r);
    }
    printf("%llu deleted\n", deleted);
    return status;
}

const struct cli_command cli_get_command = {
    "get", "print documents by their ids, or all",
    "Usage: latent get -c COLLECTION ID…\n"
    "       latent get -c COLLECTION --all\n\n"
    "Prints one JSON object a line: id, text, title, metadata, as `latent add --jsonl` reads them, without\n"
    "vectors that came with them. An unknown id is named on standard error and makes the exit status\n"
    "1; the others still come.\n\n"
    "  -c, --collection NAME\n"
    "      --all              every document, in the order of their ids\n",
    run_get};

const struct cli_command cli_delete_command = {
    "delete", "delete documents by their ids",
    "Usage: latent delete -c COLLECTION ID…\n\n"
    "An unknown id is named on standard error and makes the exit status 1; the others are deleted.\n\n"
    "  -c, --collection NAME\n",
    run_delete};
