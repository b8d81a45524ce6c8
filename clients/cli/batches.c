#include "clients/cli/batches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "clients/cli/text_out.h"

#define BATCH_DOCS 128
#define BATCH_BYTES (256u << 10)
#define BATCHES_IN_FLIGHT 16
#define RETRY_S 60    /* for so long a refused batch is sent again, … */
#define RETRY_MS 100  /* … each time after a pause */

struct batch {
    struct batch *next;
    struct doc docs[BATCH_DOCS];
    char *where[BATCH_DOCS];
    uint32_t each_bytes[BATCH_DOCS]; /* of the source */
    size_t n, bytes;
    uint64_t source_bytes;           /* all of them */
    uint64_t id; /* of the request in flight */
    bool again;  /* one before it was sent again and has a document of its: it comes once more, to be the later one */
};

static void batch_free(struct batch *t)
{
    for (size_t i = 0; t && i < t->n; i++) {
        doc_finish(&t->docs[i]);
        free(t->where[i]);
    }
    free(t);
}

void batches_item_failed(struct batches *b, const char *where, const char *id, const char *text,
                         int code, uint64_t source_bytes)
{
    b->totals.failed++;
    b->totals.other_model = b->totals.other_model || code == LATENT_EMODEL;
    b->totals.bytes_done += source_bytes;
    const bool one = !where || !id || !id[0] || strcmp(where, id) == 0; /* a file's id is its path */
    text_say("%s%s%s: %s (%s)", where ? where : "", one ? "" : ": ", where && one ? "" : id ? id : "", text, latent_code_name(code));
}

static int send_batch(struct batches *b, struct batch *t)
{
    struct latent_document docs[BATCH_DOCS];
    memset(docs, 0, sizeof docs);
    for (size_t i = 0; i < t->n; i++) {
        const struct doc *d = &t->docs[i];
        docs[i] = (struct latent_document){.id = d->id, .text = d->text, .title = d->title,
                                           .metadata = d->metadata, .vector = d->vector, .dim = d->dim,
                                           .source_bytes = t->each_bytes[i]};
    }
    struct latent_add add = {.collection = b->collection, .documents = docs, .n_documents = t->n,
                             .on_long = b->on_long, .wait = b->wait, .job = b->job};
    return latent_add_begin(b->conn, &add, &t->id);
}

static bool stopped(const struct batches *b)
{
    return b->stopped && b->stopped();
}

/* What is said of the first refusal holds for those behind it: a cancelled job's requests are refused one after another. */
static int said(struct batches *b, int code, const char *why)
{
    if (!b->failed && !stopped(b))
        text_say("latent: %s: %s (%s)", b->collection, why, latent_code_name(code));
    b->failed = b->failed ? b->failed : code;
    return code;
}

static void drop_oldest(struct batches *b)
{
    struct batch *t = b->in_flight;
    b->in_flight = t->next;
    b->n_in_flight--;
    batch_free(t);
}

/* A document that is too large for a request, or for the daemon's memory limit, was sent alone: it fails, and others go on. */
static bool one_too_large(struct batches *b, const struct batch *t, int code)
{
    if (code != LATENT_ELIMIT || t->n != 1)
        return false;
    batches_item_failed(b, t->where[0], t->docs[0].id, latent_error(b->conn), code, t->source_bytes);
    return true;
}

static bool worth_another(const struct batches *b, int code)
{
    return code < 0 && !b->failed && latent_is_connected(b->conn) && latent_error_retryable(b->conn);
}

static bool has_one_of(const struct batch *t, const struct batch *u)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t j = 0; j < u->n; j++)
            if (strcmp(t->docs[i].id, u->docs[j].id) == 0)
                return true;
    return false;
}

/* Sends a batch another time and waits for it. Those that were behind it have been taken meanwhile, perhaps. */
static int send_again(struct batches *b, struct batch *t, struct latent_add_result **r)
{
    int code = send_batch(b, t);
    if (code == 0)
        code = latent_add_finish(b->conn, t->id, r);
    for (struct batch *u = code == 0 ? t->next : NULL; u; u = u->next)
        u->again = u->again || has_one_of(t, u);
    return code;
}

/* Waits for the answer to a batch. A retryable refusal is tried again with a pause. The same id may stand in several batches, and the last
 * document of an id is the one that stays. */
static int finish(struct batches *b, struct batch *t, struct latent_add_result **r)
{
    struct latent_add_result *second = NULL;
    int code = latent_add_finish(b->conn, t->id, r);
    if (code == 0 && t->again) {
        code = send_again(b, t, &second);
        if (code < 0) {
            latent_free(*r);
            *r = NULL;
        }
    }
    latent_free(second);
    if (worth_another(b, code))
        text_say("latent: %s: %s (%s); trying again for %d s", b->collection, latent_error(b->conn), latent_code_name(code),
                 RETRY_S);
    const uint64_t until = clock_ns() + RETRY_S * 1000000000ull;
    while (worth_another(b, code) && clock_ns() < until) {
        nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
        code = send_again(b, t, r);
    }
    return code;
}

static int finish_oldest(struct batches *b)
{
    struct batch *t = b->in_flight;
    struct latent_add_result *r = NULL;
    int code = finish(b, t, &r);
    if (code < 0) {
        code = one_too_large(b, t, code) ? 0 : said(b, code, latent_error(b->conn));
        b->totals.unanswered += code < 0 ? t->n : 0;
        drop_oldest(b);
        return code;
    }
    b->totals.accepted += r->accepted;
    b->totals.truncated += r->truncated;
    b->totals.unchanged += r->unchanged;
    b->totals.chunks += r->chunks;
    b->totals.tokens += r->tokens;
    for (size_t i = 0; i < r->n_errors; i++) {
        const struct latent_item_error *e = &r->errors[i];
        if (e->code == LATENT_ECANCELLED) { /* all that come after the cancellation are refused one by one */
            code = said(b, e->code, "the job was cancelled");
            continue;
        }
        batches_item_failed(b, e->index < t->n ? t->where[e->index] : NULL, e->id, e->message, e->code, 0);
    }
    b->totals.bytes_done += t->source_bytes;
    latent_free(r);
    drop_oldest(b);
    b->totals.current = b->in_flight ? b->in_flight->docs[0].id : b->open ? b->open->docs[0].id : NULL;
    if (b->progress)
        b->progress(b->progress_arg, &b->totals);
    b->totals.current = NULL;
    return code;
}

static int flush_open(struct batches *b)
{
    struct batch *t = b->open;
    int code = 0;
    if (b->failed)
        return b->failed;
    if (stopped(b))
        return b->failed = LATENT_ECANCELLED;
    if (!t || !t->n)
        return 0;
    while (b->n_in_flight >= BATCHES_IN_FLIGHT && code == 0)
        code = finish_oldest(b);
    if (code == 0 && (code = send_batch(b, t)) < 0) {
        if (one_too_large(b, t, code)) {
            b->open = NULL;
            batch_free(t);
            return 0;
        }
        said(b, code, latent_error(b->conn));
    }
    if (code < 0)
        return code;
    struct batch **end = &b->in_flight;
    while (*end)
        end = &(*end)->next;
    *end = t;
    b->n_in_flight++;
    b->open = NULL;
    return 0;
}

int batches_add(struct batches *b, struct doc *d, const char *where, uint64_t source_bytes)
{
    size_t bytes = d->text_len + strlen(d->title) + strlen(d->metadata) + d->dim * sizeof(float);
    if (b->open && (b->open->n == BATCH_DOCS || b->open->bytes + bytes > BATCH_BYTES)) {
        int code = flush_open(b);
        if (code < 0) {
            doc_finish(d);
            return code;
        }
    }
    if (!b->open && !(b->open = calloc(1, sizeof *b->open))) {
        doc_finish(d);
        fprintf(stderr, "latent: out of memory\n");
        return LATENT_ENOMEM;
    }
    struct batch *t = b->open;
    t->docs[t->n] = *d;
    t->where[t->n] = strdup(where);
    t->each_bytes[t->n] = source_bytes < UINT32_MAX ? (uint32_t)source_bytes : UINT32_MAX;
    *d = (struct doc){0};
    t->n++;
    t->bytes += bytes;
    t->source_bytes += source_bytes;
    return 0;
}

int batches_finish(struct batches *b)
{
    flush_open(b);
    while (b->in_flight && latent_is_connected(b->conn))
        finish_oldest(b);
    for (const struct batch *t = b->in_flight; t; t = t->next)
        b->totals.unanswered += t->n;
    return b->failed;
}

void batches_destroy(struct batches *b)
{
    batch_free(b->open);
    while (b->in_flight) {
        struct batch *t = b->in_flight;
        b->in_flight = t->next;
        batch_free(t);
    }
    b->open = NULL;
    b->n_in_flight = 0;
}
