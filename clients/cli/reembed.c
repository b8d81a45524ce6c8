/* Until the end only the second collection is written. It is compared with the first page by page, by ids and contents, so it does not matter
 * how much of it an earlier run has made, nor what has been deleted meanwhile; and the daemon replaces the first only if it is as it was read. */
#include "clients/cli/reembed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/plural.h"
#include "clients/cli/batches.h"
#include "clients/cli/progress.h"
#include "clients/cli/text_out.h"

#define SUFFIX ".reembed"
#define NAME_MAX_BYTES 64
#define PAGE 256
#define PASSES_MAX 20      /* while others change the first */
#define WAIT_MS 100
#define WAITS_MAX 3000     /* in a row without a chunk that became searchable */

struct work {
    struct cli *cli;
    struct latent *conn;
    const char *name;
    char second[NAME_MAX_BYTES + 1];
    struct progress progress;
    uint64_t seen, total; /* documents of the first in this pass; all of them */
    struct batches b;
};

static int said(const struct work *w, const char *what)
{
    cli_fail(w->cli, what);
    return latent_error_code(w->conn) < 0 ? latent_error_code(w->conn) : LATENT_EIO;
}

static enum latent_codes codes_of(const struct latent_collection *k)
{
    return strcmp(k->index_kind, "hnsw-1bit") == 0 ? LATENT_CODES_1BIT
           : strcmp(k->index_kind, "hnsw-f32") == 0 ? LATENT_CODES_F32 : LATENT_CODES_AUTO;
}

/* The second collection: what an earlier run left if it is by this model, else a new one like the first. */
static int open_second(struct work *w, const struct latent_collection *first, const char *fingerprint)
{
    const struct latent_collection_params p = {.metric = first->metric, .m = first->m, .ef_construction = first->ef_construction,
                                               .codes = codes_of(first)};
    struct latent_collection *k = NULL;
    if (latent_collection_info(w->conn, w->second, &k) == 0) {
        const bool ours = strcmp(k->fingerprint, fingerprint) == 0 && !k->vectors_only;
        if (ours)
            fprintf(stderr, "going on with %llu document%s of an earlier run\n", (unsigned long long)k->documents, plural(k->documents));
        latent_free(k);
        if (ours)
            return 0;
        if (latent_collection_drop(w->conn, w->second) < 0)
            return said(w, w->second);
    } else if (latent_error_code(w->conn) != LATENT_ENOTFOUND) {
        return said(w, w->second);
    }
    return latent_collection_create(w->conn, w->second, &p, NULL) < 0 ? said(w, w->second) : 0;
}

static bool same(const struct latent_document *a, const struct latent_document *b)
{
    return strcmp(a->text, b->text) == 0 && strcmp(a->title, b->title) == 0 && strcmp(a->metadata, b->metadata) == 0;
}

static int add(struct work *w, const struct latent_document *from)
{
    struct doc d = {.id = strdup(from->id), .text = strdup(from->text), .title = strdup(from->title), .metadata = strdup(from->metadata),
                    .text_len = strlen(from->text)};
    if (d.id && d.text && d.title && d.metadata)
        return batches_add(&w->b, &d, w->name, 0);
    doc_finish(&d);
    fprintf(stderr, "latent: out of memory\n");
    return LATENT_ENOMEM;
}

/* Adds those of a page that the second lacks or has otherwise. */
static int copy_page(struct work *w, const struct latent_get_result *page)
{
    const char *ids[PAGE];
    struct latent_get_result *have = NULL;
    int code = 0;
    for (size_t i = 0; i < page->n_documents; i++)
        ids[i] = page->documents[i].id;
    if (latent_get(w->conn, w->second, ids, page->n_documents, &have) < 0)
        return said(w, w->second);
    for (size_t i = 0, at = 0; i < page->n_documents && code == 0; i++) {
        const struct latent_document *d = &page->documents[i];
        const bool there = at < have->n_documents && strcmp(have->documents[at].id, d->id) == 0;
        if (!there || !same(d, &have->documents[at]))
            code = add(w, d);
        at += there;
    }
    latent_free(have);
    w->seen += page->n_documents;
    progress_update(&w->progress, w->seen, w->seen, page->documents[page->n_documents - 1].id);
    return code;
}

/* Deletes those of a page of the second that the first has no more. */
static int clean_page(struct work *w, const struct latent_get_result *page)
{
    const char *ids[PAGE];
    struct latent_get_result *have = NULL;
    struct latent_delete_result *gone = NULL;
    for (size_t i = 0; i < page->n_documents; i++)
        ids[i] = page->documents[i].id;
    if (latent_get(w->conn, w->name, ids, page->n_documents, &have) < 0)
        return said(w, w->name);
    int code = have->n_missing && latent_delete(w->conn, w->second, have->missing, have->n_missing, &gone) < 0 ? said(w, w->second) : 0;
    latent_free(gone);
    latent_free(have);
    return code;
}

/* Each page of a collection, by the order of ids. */
static int each_page(struct work *w, const char *collection, int (*page)(struct work *w, const struct latent_get_result *page))
{
    char after[513] = "";
    for (int code = 0; code == 0;) {
        struct latent_get_result *r = NULL;
        if (latent_get_after(w->conn, collection, after, PAGE, &r) < 0)
            return said(w, collection);
        if (!r->n_documents) {
            latent_free(r);
            return 0;
        }
        snprintf(after, sizeof after, "%s", r->documents[r->n_documents - 1].id);
        code = page(w, r);
        latent_free(r);
        if (code < 0)
            return code;
    }
    return 0;
}

/* Until all chunks of the second are searchable: also those that an earlier run left. */
static int wait_searchable(struct work *w)
{
    uint64_t least = UINT64_MAX;
    for (int waits = 0; waits < WAITS_MAX; waits++) {
        struct latent_collection *k = NULL;
        if (latent_collection_info(w->conn, w->second, &k) < 0)
            return said(w, w->second);
        const uint64_t left = k->pending_chunks;
        latent_free(k);
        if (!left)
            return 0;
        if (left < least) {
            least = left;
            waits = 0;
        }
        nanosleep(&(struct timespec){.tv_nsec = WAIT_MS * 1000000L}, NULL);
    }
    fprintf(stderr, "latent: %llu chunks of %s do not become searchable; `latent status` may say why\n", (unsigned long long)least, w->second);
    return LATENT_ETIMEOUT;
}

/* Makes the second equal to the first, under a job of its own. */
static int pass(struct work *w)
{
    struct latent_job *job = NULL;
    if (latent_job_open(w->conn, w->second, "reembed", w->total, 0, &job) < 0)
        return said(w, w->second);
    w->b.job = job->job;
    latent_free(job);
    w->seen = 0;
    int code = each_page(w, w->name, copy_page);
    if (code == 0 || latent_is_connected(w->conn)) {
        const int rest = batches_finish(&w->b);
        code = code ? code : rest;
    }
    if (latent_is_connected(w->conn) && latent_job_close(w->conn, w->b.job, NULL) < 0 && code == 0)
        code = said(w, w->second);
    if (code == 0 && w->b.totals.failed) {
        fprintf(stderr, "latent: %llu documents cannot be embedded; %s stays as it is\n", (unsigned long long)w->b.totals.failed, w->name);
        code = LATENT_EINVAL;
    }
    if (code == 0)
        code = each_page(w, w->second, clean_page);
    return code ? code : wait_searchable(w);
}

/* Passes until the first did not change during one. */
static int run_passes(struct work *w)
{
    for (int i = 0; i < PASSES_MAX; i++) {
        struct latent_collection *k = NULL;
        if (latent_collection_info(w->conn, w->name, &k) < 0)
            return said(w, w->name);
        const uint64_t seq = k->accepted_seq;
        w->total = k->documents;
        latent_free(k);
        const int code = pass(w);
        if (code < 0)
            return code;
        if (latent_collection_replace(w->conn, w->name, w->second, seq, NULL) == 0)
            return 0;
        if (latent_error_code(w->conn) != LATENT_EBUSY)
            return said(w, w->name);
    }
    fprintf(stderr, "latent: %s keeps changing\n", w->name);
    return LATENT_EBUSY;
}

int reembed(struct cli *c, const char *name, enum latent_on_long on_long)
{
    struct work w = {.cli = c, .conn = cli_connect_patient(c), .name = name};
    struct latent_status *s = NULL;
    struct latent_collection *first = NULL;
    int code = 0;
    if (!w.conn)
        return CLI_USAGE;
    if (strlen(name) + strlen(SUFFIX) > NAME_MAX_BYTES)
        return cli_usage_error(&cli_collection_command, "reembed needs a name of at most %zu bytes", NAME_MAX_BYTES - strlen(SUFFIX));
    snprintf(w.second, sizeof w.second, "%s" SUFFIX, name);
    if (latent_status(w.conn, &s) < 0 || latent_collection_info(w.conn, name, &first) < 0) {
        code = said(&w, name);
    } else if (first->vectors_only) {
        fprintf(stderr, "latent: %s holds vectors of its clients, nothing in it is embedded\n", name);
        code = LATENT_EUNSUPPORTED;
    } else if (strcmp(first->fingerprint, s->fingerprint) == 0) {
        text_say("%s is of %s already", name, s->model);
    } else {
        w.b = (struct batches){.conn = w.conn, .collection = w.second, .on_long = on_long, .wait = LATENT_WAIT_SEARCHABLE};
        progress_start(&w.progress, "documents", first->documents, false);
        if ((code = open_second(&w, first, s->fingerprint)) == 0)
            code = run_passes(&w);
        progress_end(&w.progress);
        batches_destroy(&w.b);
        if (code == 0)
            text_say("%llu document%s of %s embedded by %s", (unsigned long long)w.total, plural(w.total), name, s->model);
    }
    latent_free(first);
    latent_free(s);
    return code == 0 ? CLI_DONE : code == LATENT_ECONN ? CLI_USAGE : CLI_REFUSED;
}
