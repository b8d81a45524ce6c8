#include "model/engine.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gpu/access.h"
#include "model/activations.h"
#include "model/decoder.h"
#include "model/engine_device.h"
#include "model/engine_memory.h"
#include "model/golden.h"
#include "model/head.h"
#include "model/model.h"
#include "model/plan.h"
#include "model/pooler.h"
#include "model/verify.h"

struct engine {
    const struct model *model;
    const struct model_info *mi;
    struct engine_params params;
    struct engine_candidate device;
    struct engine_info info;
    struct ops *ops;
    struct activations activations;
    struct decoder *decoder;
    struct pooler *pooler;
    struct golden_set golden;
    struct head *head;     /* NULL: texts get vectors */
    bool testing;          /* they get vectors even so, of what the head would see */
    struct verify *verify; /* NULL: nothing to compare */
    uint32_t max_seqs;
    size_t note_len;       /* of info.note without what is said of streaming, which comes last on a GPU */
    bool serving; /* chosen and checked: a device that is lost from here on is replaced by the CPU */
    /* one batch, packed */
    int32_t *ids;
    uint32_t *offsets, *skips;
    size_t *seq_of; /* which of the caller's texts */
    float *vectors;
};

/* ---- one device ---- */

static void close_device(struct engine *e)
{
    pooler_destroy(&e->pooler);
    decoder_destroy(&e->decoder);
    activations_finish(&e->activations);
    e->activations.o = NULL;
    ops_destroy(&e->ops);
}

/* Activation buffers for n rows: more than a submission's only for a text that is longer. */
static int resize(struct engine *e, uint32_t n, struct err_msg *em)
{
    const struct ops_use u = plan_use(e->mi, n, e->max_seqs);
    if (n == e->activations.rows)
        return 0;
    activations_finish(&e->activations);
    if (e->ops->v->expect)
        e->ops->v->expect(e->ops, &u);
    return activations_resize(&e->activations, n, e->max_seqs, em);
}

/* What the user should know about the device, after what is noted already. */
__attribute__((format(printf, 2, 3))) static void add_note(struct engine *e, const char *fmt, ...)
{
    va_list ap;
    size_t at = strlen(e->info.note);
    if (at)
        at += (size_t)snprintf(e->info.note + at, sizeof e->info.note - at, "; ");
    if (at >= sizeof e->info.note)
        return;
    va_start(ap, fmt);
    vsnprintf(e->info.note + at, sizeof e->info.note - at, fmt, ap);
    va_end(ap);
}

/* Instead of what was said of it before. */
static void note_streaming(struct engine *e)
{
    e->info.note[e->note_len] = 0;
    e->info.n_streamed = decoder_n_streamed(e->decoder);
    if (e->info.n_streamed)
        add_note(e, "%u of %u layers do not fit the device and are streamed", e->info.n_streamed, e->mi->n_layers);
}

/* Weights and buffers on the device that is open, with texts of at most so many tokens. */
static int load_device(struct engine *e, uint32_t most, struct err_msg *em)
{
    struct plan plan;
    int r = engine_plan(&e->params, e->model, e->ops, most, &plan, &e->info, em);
    if (r < 0)
        return r;
    e->max_seqs = plan.texts;
    activations_init(&e->activations, e->mi, e->ops);
    const struct decoder_params p = {&e->activations, plan.layer_bytes, e->params.progress, e->params.progress_arg};
    r = resize(e, plan.tokens, em);
    if (r == 0)
        r = decoder_create(&e->decoder, e->model, e->ops, &p, em);
    if (r == 0)
        r = pooler_create(&e->pooler, e->model, e->ops, &e->activations, e->params.n_threads, em);
    return r;
}

static int open_device(struct engine *e, const struct engine_candidate *c, struct err_msg *em)
{
    const uint32_t limit = e->mi->token_limit;
    e->device = *c;
    int r = engine_open_for(c, &e->params, e->mi, &e->ops, em);
    if (r < 0)
        return r;
    const uint64_t memory = engine_memory(&e->params, e->ops);
    const uint32_t tokens = plan_tokens(e->mi, e->ops->info.rooms, memory ? memory : e->ops->info.memory_bytes, e->params.max_batch_tokens);
    uint32_t most = tokens > limit ? tokens : limit;
    most = most > e->ops->info.max_batch_tokens ? e->ops->info.max_batch_tokens : most;
    if ((r = load_device(e, most, em)) < 0) {
        close_device(e);
        return r;
    }
    model_release_all(e->model);
    snprintf(e->info.device, sizeof e->info.device, "%s", e->ops->info.name);
    snprintf(e->info.kind, sizeof e->info.kind, "%s", e->ops->info.kind);
    snprintf(e->info.uuid, sizeof e->info.uuid, "%s", e->ops->info.uuid);
    return 0;
}

static int make_batch(struct engine *e, struct err_msg *em)
{
    free(e->ids);
    free(e->offsets);
    free(e->skips);
    free(e->seq_of);
    free(e->vectors);
    e->ids = calloc(e->info.max_batch_tokens, sizeof *e->ids);
    e->offsets = calloc((size_t)e->max_seqs + 1, sizeof *e->offsets);
    e->skips = calloc(e->max_seqs, sizeof *e->skips);
    e->seq_of = calloc(e->max_seqs, sizeof *e->seq_of);
    e->vectors = calloc((size_t)e->max_seqs * e->mi->full_dim, sizeof *e->vectors);
    if (!e->ids || !e->offsets || !e->skips || !e->seq_of || !e->vectors)
        return err_set(em, LT_ENOMEM, "no memory for batches of %u tokens", e->info.max_batch_tokens);
    return 0;
}

/* ---- one batch ---- */

static int run_batch(struct engine *e, uint32_t n_seqs, struct err_msg *em)
{
    struct ops_batch b = {.ids = e->ids, .n_tokens = e->offsets[n_seqs], .seq_offset = e->offsets, .n_seqs = n_seqs,
                          .pool_skip = e->skips};
    uint32_t n_pooled = b.n_tokens;
    struct ops_buf *hidden, *out;
    for (uint32_t i = 0; i < n_seqs; i++)
        n_pooled -= e->skips[i];
    const uint32_t n_parts = decoder_n_parts(e->decoder);
    int r = 0;
    for (uint32_t part = 0; !r && part < n_parts; part++) {
        const bool last = part + 1 == n_parts;
        if ((r = decoder_fetch(e->decoder, part, em)) < 0)
            break;
        if ((r = e->ops->v->begin(e->ops, &b, em)) == 0) {
            if ((r = decoder_run(e->decoder, part, b.n_tokens, n_pooled, &hidden)) < 0 ||
                (last && (r = pooler_run(e->pooler, hidden, n_pooled, n_seqs, &out)) < 0))
                err_set(em, r, "cannot record the batch: %s", e->ops->info.failed.text[0] ? e->ops->info.failed.text : err_text(r));
            else
                r = e->ops->v->end(e->ops, last ? out : NULL, last ? n_seqs : 0, e->vectors, em);
        }
        decoder_drop(e->decoder, part);
    }
    e->info.n_submits = e->ops->info.n_submits;
    e->info.n_readbacks = e->ops->info.n_readbacks;
    e->info.allocated_bytes = e->ops->info.allocated_bytes;
    return r;
}

/* Opens the lost device again, as large as it was. */
static int reopen_device(struct engine *e, struct err_msg *em)
{
    const uint32_t tokens = e->info.batch_tokens, most = e->info.max_batch_tokens, rows = e->activations.rows;
    const uint32_t asked = e->params.max_batch_tokens;
    const struct engine_candidate c = e->device;
    close_device(e);
    e->params.max_batch_tokens = tokens;
    int r = open_device(e, &c, em);
    e->params.max_batch_tokens = asked;
    if (r == 0 && (e->info.batch_tokens < tokens || e->info.max_batch_tokens < most))
        r = err_set(em, LT_EDEVICELOST, "%s came back with less memory", e->info.device);
    if (r == 0)
        note_streaming(e);
    return r < 0 ? r : resize(e, rows, em);
}

/* A lost device is opened anew and the batch tried once more. */
static int run_batch_retry(struct engine *e, uint32_t n_seqs, struct err_msg *em)
{
    int r = run_batch(e, n_seqs, em);
    if (r != LT_EDEVICELOST)
        return r;
    e->info.n_lost++;
    log_warn("model", "%s was lost, opening it again", e->info.device);
    if (reopen_device(e, em) < 0)
        return LT_EDEVICELOST;
    r = run_batch(e, n_seqs, em);
    e->info.n_lost += r == LT_EDEVICELOST;
    return r;
}

/* Unit length to rounding, hence no NaN or Inf and not zero. */
static bool is_unit(const float *v, uint32_t dim)
{
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++)
        sum += (double)v[i] * v[i];
    return sum > 0.99 && sum < 1.01;
}

/* The first dim values at unit length; 0 when nothing is left of them. */
static void cut(const float *v, uint32_t dim, float *out)
{
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++)
        sum += (double)v[i] * v[i];
    for (uint32_t i = 0; i < dim; i++)
        out[i] = sum > 0 ? (float)(v[i] / sqrt(sum)) : 0;
}

/* Floats that a text gets. */
static uint32_t out_dim(const struct engine *e)
{
    return e->testing ? model_golden_dim(e->mi) : e->mi->dim;
}

/* What a text gets, from what the pooler made; LT_ENAN where that is nothing. */
static int give(const struct engine *e, const float *v, float *out)
{
    const uint32_t dim = out_dim(e), full = e->mi->full_dim;
    if (e->head && !e->testing) {
        const double score = head_score(e->head, v);
        *out = isfinite(score) ? (float)score : 0;
        return isfinite(score) && isfinite(*out) ? 0 : LT_ENAN;
    }
    if (!e->head && !is_unit(v, full))
        return LT_ENAN;
    if (e->head || dim != full)
        cut(v, dim, out);
    else
        memcpy(out, v, dim * sizeof *v);
    return is_unit(out, dim) ? 0 : LT_ENAN;
}

static int flush(struct engine *e, uint32_t n_seqs, float *out, int *status, struct err_msg *em)
{
    int r = n_seqs ? run_batch_retry(e, n_seqs, em) : 0;
    for (uint32_t i = 0; r == 0 && i < n_seqs; i++) {
        const size_t s = e->seq_of[i];
        status[s] = give(e, e->vectors + (size_t)i * e->mi->full_dim, out + s * out_dim(e));
    }
    return r;
}

static int check_seq(const struct engine *e, const struct engine_seq *s)
{
    if (s->n == 0 || s->n_skip >= s->n)
        return LT_EEMPTY;
    if (s->n > e->mi->token_limit || s->n > e->info.max_batch_tokens)
        return LT_ETOOLONG;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->ids[i] < 0 || (uint32_t)s->ids[i] >= e->mi->vocab)
            return LT_EINVAL;
    return 0;
}

/* Memory for a text of n tokens, which starts a batch where that is more than a submission's. LT_ETOOLONG: there is none, and the
 * engine goes on without this text. */
static int make_room(struct engine *e, uint32_t n, struct err_msg *em)
{
    const uint32_t usual = e->info.batch_tokens;
    int r = resize(e, n > usual ? n : usual, em);
    if (r == LT_ENOMEM && n > usual) {
        log_warn("model", "no memory on the device for a text of %u tokens: %s", n, em->text);
        r = resize(e, usual, em);
        if (!r)
            return LT_ETOOLONG;
    }
    return r < 0 ? err_set(em, LT_EDEVICELOST, "%s: no memory for batches", e->info.device) : 0;
}

/* engine_embed on the device there is. */
static int embed(struct engine *e, const struct engine_seq *seqs, size_t n_seqs, float *out, int *status,
                 struct err_msg *em)
{
    uint32_t n = 0, tokens = 0;
    int r = 0;
    if (!e->ops)
        return err_set(em, LT_EDEVICELOST, "%s was lost and could not be opened again", e->info.device);
    memset(out, 0, n_seqs * out_dim(e) * sizeof *out);
    for (size_t i = 0; i < n_seqs && r == 0; i++) {
        const struct engine_seq *s = &seqs[i];
        if ((status[i] = check_seq(e, s)) < 0)
            continue;
        if (n == e->max_seqs || tokens + s->n > e->info.batch_tokens) {
            if ((r = flush(e, n, out, status, em)) < 0)
                break;
            n = tokens = 0;
        }
        status[i] = make_room(e, s->n, em);
        if (status[i] == LT_ETOOLONG)
            continue;
        if ((r = status[i]) < 0)
            break;
        memcpy(e->ids + tokens, s->ids, s->n * sizeof *s->ids);
        e->offsets[n] = tokens;
        e->skips[n] = s->n_skip;
        e->seq_of[n] = i;
        tokens += s->n;
        e->offsets[++n] = tokens;
    }
    return r < 0 ? r : flush(e, n, out, status, em);
}

/* ---- self-test and choice ---- */

/* Compares one golden text; worst figures go into info. */
static int compare_golden(struct engine *e, const struct model_golden *g, float *v, struct err_msg *em)
{
    struct engine_seq s = {g->ids, g->n, g->n_skip};
    double dot = 0;
    int status, r = embed(e, &s, 1, v, &status, em);
    if (r < 0)
        return r;
    if (status == LT_ETOOLONG) /* the caller leaves out what the device never takes, so there is no memory for it now */
        return err_set(em, LT_ENOMEM, "%s: no device memory for a golden text of %u tokens", e->info.device, g->n);
    if (status < 0)
        return err_set(em, LT_EDEVICE, "%s: self-test: a golden text gives no vector: %s", e->info.device,
                       err_text(status));
    for (uint32_t i = 0; i < model_golden_dim(e->mi); i++) {
        double diff = fabs((double)v[i] - g->vec[i]);
        dot += (double)v[i] * g->vec[i];
        if (diff > e->info.selftest_error)
            e->info.selftest_error = diff;
    }
    if (dot < e->info.selftest_cosine)
        e->info.selftest_cosine = dot;
    return 0;
}

static bool within_tolerance(const struct engine *e)
{
    const struct golden_limit l = golden_limit(e->mi);
    return e->mi->some_quantised ? e->info.selftest_cosine >= l.cosine : e->info.selftest_error <= l.diff;
}

static int selftest(struct engine *e, struct err_msg *em)
{
    const struct model_golden *g = e->golden.golden;
    const size_t n = e->golden.n;
    float *v = malloc(model_golden_dim(e->mi) * sizeof *v);
    int r = v ? 0 : err_set(em, LT_ENOMEM, "no memory for the self-test");
    e->info.selftest_error = 0;
    e->info.n_goldens = (uint32_t)n;
    e->info.selftest_cosine = 1;
    e->testing = true;
    for (size_t i = 0; i < n && r == 0; i++)
        if (g[i].n <= e->info.max_batch_tokens)
            r = compare_golden(e, &g[i], v, em);
    e->testing = false;
    free(v);
    if (r < 0)
        return r;
    bool good = within_tolerance(e);
    return good ? 0
                : err_set(em, LT_EDEVICE, "%s fails the self-test: largest difference %.3g, smallest cosine %.6f",
                          e->info.device, e->info.selftest_error, e->info.selftest_cosine);
}

static int try_device(struct engine *e, const struct engine_candidate *c, struct err_msg *em)
{
    int r = open_device(e, c, em);
    if (r == 0 && (r = make_batch(e, em)) == 0)
        r = selftest(e, em);
    if (r < 0)
        close_device(e);
    return r;
}

/* A deep model adds up what activations of 8 bits round away, and a GPU's driver may not do right what is fast: tried once more without. */
static int try_plain(struct engine *e, const struct engine_candidate *c, struct err_msg *why)
{
    struct engine_candidate plain = *c;
    struct err_msg again = {{0}};
    plain.plain = true;
    log_warn("model", "%s; trying it in %s, which is slower", why->text, c->cpu ? "16 bits or f32" : "f32");
    int r = try_device(e, &plain, &again);
    if (r < 0)
        return err_set(why, r, "%s", again.text);
    if (c->cpu)
        add_note(e, "%s, since activations of 8 bits are not exact enough for this model",
                 e->ops->info.fine_blocks ? "with activations of 16 bits" : "in f32");
    else
        add_note(e, "in plain f32, since its faster ways fail: %.200s", why->text);
    return 0;
}

static int try_candidate(struct engine *e, const struct engine_candidate *c, struct err_msg *why)
{
    int r = try_device(e, c, why);
    if (r == LT_EDEVICE && engine_may_be_plain(c) && (!c->cpu || (e->mi->some_quantised && e->info.n_goldens)))
        r = try_plain(e, c, why);
    return r;
}

static int choose(struct engine *e, struct err_msg *em)
{
    struct engine_candidate list[ENGINE_CANDIDATES_MAX];
    size_t n;
    bool named;
    int r = engine_candidates(e->params.device, list, &n, &named, em);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        struct err_msg why = {{0}};
        r = try_candidate(e, &list[i], &why);
        if (r == 0) {
            e->note_len = strlen(e->info.note);
            note_streaming(e);
            if (!named && n == 1 && gpu_access(GPU_NODES, &why) < 0)
                add_note(e, "%s", why.text);
            return 0;
        }
        if (named || i + 1 == n)
            return err_set(em, r, "%s", why.text[0] ? why.text : err_text(r));
        log_warn("model", "%s is skipped: %s", list[i].name, why.text);
        add_note(e, "skipped %.60s: %.200s", list[i].name, why.text);
    }
    return r;
}

/* The CPU instead of a device that was lost twice or has no memory left for batches, checked as at the start. */
static int move_to_cpu(struct engine *e, struct err_msg *em)
{
    struct engine_candidate list[ENGINE_CANDIDATES_MAX];
    char lost[sizeof e->info.device];
    size_t n;
    bool named;
    memcpy(lost, e->info.device, sizeof lost);
    log_error("model", "%s %s: %s; the CPU serves from here on", lost, e->info.n_lost ? "was lost again" : "is given up", em->text);
    close_device(e);
    e->info.note[e->note_len] = 0;
    int r = engine_candidates("cpu", list, &n, &named, em);
    add_note(e, e->info.n_lost ? "%.80s was lost, and lost again when it was opened anew" : "%.80s has no memory left for batches", lost);
    if (r == 0 && (r = try_candidate(e, &list[0], em)) == 0) {
        e->note_len = strlen(e->info.note);
        note_streaming(e);
    }
    return r;
}

int engine_embed(struct engine *e, const struct engine_seq *seqs, size_t n_seqs, float *out, int *status,
                 struct err_msg *em)
{
    const char *damaged;
    if (verify_state(e->verify, &damaged) == VERIFY_DAMAGED)
        return err_set(em, LT_ECORRUPT, "tensor %s of the model file is damaged", damaged);
    int r = embed(e, seqs, n_seqs, out, status, em);
    if (r == LT_EDEVICELOST && e->serving && !e->device.cpu)
        r = move_to_cpu(e, em) < 0 ? LT_EDEVICELOST : embed(e, seqs, n_seqs, out, status, em);
    if (model_lost(e->model))
        return err_set(em, LT_ECORRUPT, "the model file was cut short in use; start again with a whole one");
    return r;
}

int engine_create(struct engine **out, const struct model *m, const struct engine_params *p, struct err_msg *em)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return err_set(em, LT_ENOMEM, "no memory");
    e->model = m;
    e->mi = model_info(m);
    e->params = *p;
    if (p->memory_share > 0 && p->memory_bytes)
        e->params.memory_bytes = (uint64_t)((double)p->memory_bytes * p->memory_share) + 1;
    int r = e->mi->ranks ? head_create(&e->head, m, em) : 0;
    if (!r)
        r = golden_get(&e->golden, m, p->cache_dir, p->progress, p->progress_arg, em);
    if (!r)
        r = choose(e, em);
    if (!r)
        r = verify_start(&e->verify, m, em);
    /* What the caller lent lives for this call only. */
    e->params.device = NULL;
    e->params.progress = NULL;
    e->params.least_bytes = NULL;
    e->params.cache_dir = p->cache_dir && r == 0 ? strdup(p->cache_dir) : NULL;
    e->serving = r == 0;
    if (r < 0)
        engine_destroy(&e);
    else
        *out = e;
    return r;
}

int engine_profile_start(struct engine *e, struct err_msg *em)
{
    if (!e->ops || !e->ops->v->profile_start)
        return err_set(em, LT_EINVAL, "%s has no clock for single kernels; a Vulkan device has", e->info.device);
    return e->ops->v->profile_start(e->ops, em);
}

size_t engine_profile(struct engine *e, struct ops_time *times, size_t max)
{
    return e->ops && e->ops->v->profile ? e->ops->v->profile(e->ops, times, max) : 0;
}

void engine_destroy(struct engine **ep)
{
    struct engine *e = *ep;
    if (!e)
        return;
    verify_destroy(&e->verify);
    golden_finish(&e->golden);
    head_destroy(&e->head);
    close_device(e);
    free((char *)e->params.cache_dir);
    free(e->ids);
    free(e->offsets);
    free(e->skips);
    free(e->seq_of);
    free(e->vectors);
    free(e);
    *ep = NULL;
}

const struct engine_info *engine_info(const struct engine *e)
{
    return &e->info;
}
