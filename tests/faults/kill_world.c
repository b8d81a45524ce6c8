#include "tests/faults/kill_world.h"

#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/index/store_kit.h"

_Static_assert(WORLD_DIM == KIT_DIM, "the kit's vectors are used");

const char *const phase_names[N_PHASES] = {"opening", "checking", "putting", "deleting", "embedding", "committing", "maintaining", "closing"};

struct world *world_create(void)
{
    struct world *w = mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return w == MAP_FAILED ? NULL : w;
}

void world_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    _exit(3);
}

static void must(int r, const struct err_msg *em, const char *what)
{
    if (r < 0)
        world_fail("%s: %s: %s", what, err_name(r), em->text);
}

const char *world_collection(int id)
{
    return id < WORLD_OWN ? "texts" : "own";
}

/* Each version has a word of its own; some are long, so that pages come and go. */
uint32_t world_text(int id, uint32_t version, char text[static WORLD_TEXT], struct index_span spans[static 3])
{
    uint64_t s = (uint64_t)id << 32 | version;
    uint32_t n_words = unit_rand(&s) % 8 == 0 ? 400 : 6 + unit_rand(&s) % 10, n = 1 + unit_rand(&s) % 3;
    int at = snprintf(text, WORLD_TEXT, "doc%dv%u", id, version);
    for (uint32_t i = 0; i < n_words; i++)
        at += snprintf(text + at, WORLD_TEXT - (size_t)at, " word%u", (unsigned)(unit_rand(&s) % 900));
    uint32_t from = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t to = i + 1 == n ? (uint32_t)at : (uint32_t)at * (i + 1) / n;
        spans[i] = (struct index_span){from, to};
        from = to;
    }
    return n;
}

void world_vector(const char *text, struct index_span span, float v[static WORLD_DIM])
{
    kit_embed(text + span.start, span.end - span.start, v);
}

/* ---- plans ---- */

struct doc world_planned(const struct world *w, int id)
{
    for (int i = w->n_plan; i-- > 0;)
        if (w->plan[i].id == id)
            return w->plan[i].after;
    return w->docs[id];
}

void world_plan(struct world *w, int id, struct doc after)
{
    if (w->n_plan == WORLD_PLAN_MAX)
        world_fail("too many changes in a group");
    w->plan[w->n_plan].id = id;
    w->plan[w->n_plan].after = after;
    w->docs[id].last = after.last; /* spent, whatever becomes of the group */
    w->n_plan++;
}

void world_done(struct world *w)
{
    for (int i = 0; i < w->n_plan; i++)
        w->docs[w->plan[i].id] = w->plan[i].after;
    w->n_plan = 0;
    w->n_groups++;
}

void world_forget(struct world *w)
{
    w->n_plan = 0;
}

/* ---- comparing ---- */

struct found {
    uint32_t version; /* of the text; 0: not there */
    bool searchable;
};

static uint32_t version_of(int id, const char *text)
{
    int got;
    unsigned version;
    return sscanf(text, "doc%dv%u", &got, &version) == 2 && got == id ? version : 0;
}

static struct found look_up(struct index_reader *r, int id)
{
    char name[16], text[WORLD_TEXT];
    struct index_span spans[3];
    struct index_documents d;
    struct err_msg em = {""};
    struct found f = {0, false};
    snprintf(name, sizeof name, "d%d", id);
    must(index_get(r, world_collection(id), &(struct index_id){name, strlen(name)}, 1, 0, &d, &em), &em, "get");
    if (d.n) {
        f = (struct found){version_of(id, d.docs[0].text), d.docs[0].searchable};
        world_text(id, f.version, text, spans);
        if (!f.version || strcmp(text, d.docs[0].text) != 0)
            world_fail("document %s has a text nobody gave it: %.60s", name, d.docs[0].text);
    }
    index_documents_finish(&d);
    return f;
}

static bool is(struct found f, struct doc d)
{
    return f.version == d.accepted && f.searchable == (d.accepted && d.found == d.accepted);
}

/* A group that was under way: it is all there, or nothing of it is. */
static void settle(struct world *w, struct index_reader *r)
{
    int kept = -1;
    for (int i = 0; i < w->n_plan && kept < 0; i++) {
        int id = w->plan[i].id;
        struct doc after = world_planned(w, id), before = w->docs[id];
        if (after.accepted != before.accepted || after.found != before.found)
            kept = is(look_up(r, id), after);
    }
    if (w->n_plan)
        w->n_undecided++;
    w->n_kept += kept == 1;
    if (kept == 1)
        world_done(w);
    w->n_plan = 0;
}

static void search(struct index_reader *r, int id, enum index_mode mode, const char *text, struct index_span span, uint32_t k,
                   struct index_result *res)
{
    float v[WORLD_DIM];
    struct err_msg em = {""};
    world_vector(text, span, v);
    struct index_query q = {.collection = world_collection(id), .text = text, .text_len = strlen(text), .vector = v, .dim = WORLD_DIM,
                            .fingerprint = id < WORLD_OWN ? KIT_MODEL : NULL, .k = k, .mode = mode};
    must(index_search(r, &q, res, &em), &em, "search");
}

/* Whatever is found is what must be. */
static void check_hits(const struct world *w, const struct index_result *res)
{
    for (size_t i = 0; i < res->n; i++) {
        const struct index_hit *h = &res->hits[i];
        char text[WORLD_TEXT];
        struct index_span spans[3];
        int id = atoi(h->id + 1);
        uint32_t version = id < WORLD_DOCS ? w->docs[id].found : 0;
        uint32_t n = version ? world_text(id, version, text, spans) : 0;
        if (h->chunk >= n || h->start != spans[h->chunk].start || h->end != spans[h->chunk].end ||
            strlen(h->text) != h->end - h->start || memcmp(text + h->start, h->text, h->end - h->start) != 0)
            world_fail("search found %s, chunk %u: %.40s, but version %u is searchable", h->id, h->chunk, h->text, version);
    }
}

/* The version is found by its first chunk's vector and by its own word; one that went is not. */
static void check_found(const struct world *w, struct index_reader *r, int id, uint32_t version, bool there)
{
    char text[WORLD_TEXT], name[16], word[32];
    struct index_span spans[3];
    struct index_result res;
    bool found = false;
    snprintf(name, sizeof name, "d%d", id);
    snprintf(word, sizeof word, "doc%dv%u", id, version);
    world_text(id, version, text, spans);
    search(r, id, INDEX_DENSE, text, spans[0], 3, &res);
    check_hits(w, &res);
    for (size_t i = 0; i < res.n; i++)
        found = found || (strcmp(res.hits[i].id, name) == 0 && res.hits[i].score > 0.9999f);
    if (there && !found)
        world_fail("document %s, version %u, is not found by its own vector (%zu hits, %s)", name, version, res.n,
                   res.degraded ? res.degraded_reason : "not degraded");
    index_result_finish(&res);
    search(r, id, INDEX_TEXT, word, (struct index_span){0, (uint32_t)strlen(word)}, 3, &res);
    check_hits(w, &res);
    if (res.n != (there ? 1 : 0) || (there && strcmp(res.hits[0].id, name) != 0))
        world_fail("document %s, version %u, %s by its word: %zu hits", name, version, there ? "is not found" : "is found", res.n);
    index_result_finish(&res);
}

static void say(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "check: %s\n", line);
}

void world_check(struct world *w, struct index *ix)
{
    struct index_reader *r;
    struct err_msg em = {""};
    uint64_t n[2] = {0, 0};
    must(index_reader_create(&r, ix, &em), &em, "reader");
    settle(w, r);
    for (int id = 0; id < WORLD_DOCS; id++) {
        const struct doc *d = &w->docs[id];
        struct found f = look_up(r, id);
        if (!is(f, *d))
            world_fail("document d%d: version %u, %ssearchable, where %u was acknowledged and %u is to be found", id, f.version,
                       f.searchable ? "" : "not ", d->accepted, d->found);
        n[id >= WORLD_OWN] += d->accepted != 0;
        if (d->found)
            check_found(w, r, id, d->found, true);
        if (d->last && d->last != d->found)
            check_found(w, r, id, d->last, false);
        else if (d->last > 1)
            check_found(w, r, id, d->last - 1, false);
    }
    for (int i = 0; i < 2; i++) {
        struct index_collection c;
        must(index_info(ix, i ? "own" : "texts", &c, &em), &em, "info");
        if (c.documents != n[i])
            world_fail("collection %s counts %llu documents of %llu", c.name, (unsigned long long)c.documents, (unsigned long long)n[i]);
    }
    index_reader_destroy(&r);
    must(index_check(ix, say, NULL, &em), &em, "check");
}
