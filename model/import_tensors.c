/* A tensor is cut into blocks of rows, a few blocks for each thread make a round: the round's blocks are quantised in any order,
 * then written in theirs, which this thread does, and hashed, which one of the others does, while the next round is quantised: reading,
 * hashing and writing 16-bit weights take about as long as one another. The bytes do not depend on the number of threads. */
#include "model/import_tensors.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "model/checkpoint.h"
#include "model/quantise.h"

#define MAX_THREADS 64
#define BLOCK_VALUES (256u << 10)
#define BLOCKS_PER_THREAD 2 /* of each of two rounds */

struct round {
    const struct import_tensor *t;
    const float *importance; /* NULL: all alike */
    uint64_t first, n_rows;  /* of the round */
    uint64_t step;           /* rows of a block */
    uint8_t *out;
    atomic_uint_fast64_t next; /* block */
    atomic_int error;          /* of any block */
    atomic_uint_fast64_t bad_row;
    /* The round before. */
    const uint8_t *before;
    size_t before_bytes;
    atomic_bool hashed; /* or taken to be */
    crypto_generichash_state hash;
};

static void quantise_block(struct round *r, uint64_t first, uint64_t n, float *row)
{
    const struct safetensors_entry *e = r->t->source;
    const struct layout_item *it = r->t->item;
    const struct tensor source = {e->name, e->type, it->rows, it->cols, e->data, e->len_bytes};
    const size_t bytes = tensor_row_bytes(r->t->type, it->cols);
    for (uint64_t i = first; i < first + n; i++) {
        tensor_row_f32(&source, r->first + i, row);
        int error = quantise_row(r->t->type, row, r->importance, it->cols, r->out + i * bytes);
        if (error) {
            atomic_store(&r->bad_row, r->first + i);
            atomic_store(&r->error, error);
            return;
        }
    }
}

static void *work(void *arg)
{
    struct round *r = arg;
    if (!atomic_exchange(&r->hashed, true))
        crypto_generichash_update(&r->hash, r->before, r->before_bytes);
    float *row = malloc(r->t->item->cols * sizeof *row);
    if (!row)
        atomic_store(&r->error, LT_ENOMEM);
    while (row && !atomic_load(&r->error)) {
        const uint64_t first = atomic_fetch_add(&r->next, 1) * r->step;
        if (first >= r->n_rows)
            break;
        quantise_block(r, first, r->n_rows - first < r->step ? r->n_rows - first : r->step, row);
    }
    free(row);
    return NULL;
}

/* On this thread, which writes the round before first, and n_threads - 1 more; one that does not start is done without. */
static int run_round(struct round *r, unsigned n_threads, struct gguf_writer *w, struct err_msg *em)
{
    pthread_t thread[MAX_THREADS];
    unsigned started = 0;
    const uint64_t n_tasks = (r->n_rows + r->step - 1) / r->step + (r->before_bytes > 0);
    atomic_store(&r->next, 0);
    atomic_store(&r->hashed, r->before_bytes == 0);
    while (started + 1 < n_threads && started + 1 < n_tasks && !pthread_create(&thread[started], NULL, work, r))
        started++;
    const int e = r->before_bytes ? gguf_write_data(w, r->before, r->before_bytes, em) : 0;
    work(r);
    for (unsigned i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    return e;
}

static int bad_weight(const struct import_tensors *all, const struct round *r, int code, struct err_msg *em)
{
    return err_set(em, code, "%s: tensor %s, row %llu: %s", all->dir, r->t->item->source, (unsigned long long)atomic_load(&r->bad_row),
                   code == LT_ENAN     ? "a weight is NaN or infinite"
                   : code == LT_ELIMIT ? "a weight is too large for its type"
                                       : err_text(code));
}

/* Squares of the gains: by how much each column's input varies. No column counts for nothing. */
static int make_importance(const struct import_tensor *t, float **out, struct err_msg *em)
{
    const uint64_t n = t->item->cols;
    double mean = 0;
    *out = NULL;
    if (!t->gains || tensor_block_len(t->type) == 1)
        return 0;
    float *v = malloc(n * sizeof *v);
    if (!v)
        return err_set(em, LT_ENOMEM, "no memory for %llu columns", (unsigned long long)n);
    tensor_unpack(t->gains->type, t->gains->data, n, v);
    for (uint64_t i = 0; i < n; i++)
        mean += (double)v[i] * v[i] / (double)n;
    for (uint64_t i = 0; i < n && mean > 0; i++)
        v[i] = (float)((double)v[i] * v[i] / mean + 0.01);
    if (mean > 0 && mean < 1e30) {
        *out = v;
        return 0;
    }
    free(v); /* not finite or all zero: the norm's own tensor says so */
    return 0;
}

static int write_tensor(const struct import_tensors *all, struct import_tensor *t, unsigned n_threads, uint64_t *done,
                        struct gguf_writer *w, struct err_msg *em)
{
    const struct layout_item *it = t->item;
    const size_t bytes = tensor_row_bytes(t->type, it->cols);
    const uint64_t step = BLOCK_VALUES / it->cols ? BLOCK_VALUES / it->cols : 1;
    const uint64_t most = step * n_threads * BLOCKS_PER_THREAD < it->rows ? step * n_threads * BLOCKS_PER_THREAD : it->rows;
    uint8_t *room[2] = {malloc(most * bytes), malloc(most * bytes)};
    struct round round = {.t = t, .step = step};
    float *importance = NULL;
    crypto_generichash_init(&round.hash, NULL, 0, DIGEST_BYTES);
    int r = room[0] && room[1] ? make_importance(t, &importance, em) : err_set(em, LT_ENOMEM, "no memory for rows of %s", it->name);
    round.importance = importance;
    for (unsigned turn = 0; !r && (round.first < it->rows || round.before_bytes); turn ^= 1) {
        round.n_rows = it->rows - round.first < most ? it->rows - round.first : most;
        round.out = room[turn];
        r = run_round(&round, n_threads, w, em);
        const int bad = atomic_load(&round.error);
        if (!r && bad)
            r = bad_weight(all, &round, bad, em);
        round.before = round.out;
        round.before_bytes = round.n_rows * bytes;
        round.first += round.n_rows;
        checkpoint_done_with(t->source, round.first * (t->source->len_bytes / it->rows));
        *done += round.n_rows * it->cols;
        if (!r && all->progress && all->progress(all->progress_arg, *done))
            r = err_set(em, LT_ECANCELLED, "%s: import stopped", all->dir);
    }
    crypto_generichash_final(&round.hash, t->digest, DIGEST_BYTES);
    free(importance);
    free(room[0]);
    free(room[1]);
    return r;
}

static unsigned usable_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

int import_tensors_write(const struct import_tensors *t, struct gguf_writer *w, struct err_msg *em)
{
    unsigned n_threads = t->n_threads ? t->n_threads : usable_cpus();
    uint64_t done = 0;
    int r = 0;
    n_threads = n_threads < 1 ? 1 : n_threads > MAX_THREADS ? MAX_THREADS : n_threads;
    for (size_t i = 0; !r && i < t->n; i++)
        r = write_tensor(t, &t->tensor[i], n_threads, &done, w, em);
    return r;
}
