#include "tests/tools/checkpoint_maker.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "model/layout.h"

#define QUANTILES 65536
#define BUFFER_VALUES (1u << 20) /* of a part: a multiple of 4, so that parts begin with a random number of their own */
#define RANDOM_STEP UINT64_C(0x9E3779B97F4A7C15)
#define MAX_THREADS 63
#define MAX_SHARDS 4096

struct maker {
    const char *dir;
    const struct checkpoint_shape *shape;
    struct model_info info;
    struct layout_item *items;
    size_t n_items;
    uint32_t *shard;       /* of each item */
    uint32_t n_shards;
    float normal[QUANTILES];
    uint8_t table[QUANTILES * 4]; /* the same, scaled and in the stored type */
    uint64_t done, total, rng;
    void (*progress)(double fraction);
    struct err_msg *em;
};

static uint32_t or(uint32_t given, uint32_t released)
{
    return given ? given : released;
}

static void fill_info(struct maker *k)
{
    const struct checkpoint_shape *s = k->shape;
    struct model_info *i = &k->info;
    i->hidden = i->dim = or(s->hidden, 4096);
    i->n_layers = or(s->layers, 32);
    i->n_heads = or(s->heads, 32);
    i->n_kv_heads = or(s->kv_heads, 8);
    i->head_dim = or(s->head_dim, i->hidden / i->n_heads);
    i->ffn = or(s->ffn, 14336);
    i->vocab = or(s->vocab, 32000);
    i->token_limit = or(s->positions, 32768);
    i->n_latents = or(s->latents, 512);
    i->n_latent_heads = or(s->latent_heads, 8);
    i->latent_head_dim = or(s->latent_head_dim, 4096);
    i->latent_ffn = 4 * i->hidden;
    i->norm_eps = i->layer_norm_eps = 1e-5f;
    i->rope_theta = 10000;
    i->pooling = MODEL_POOL_LATENT;
    i->bos = 1;
    i->eos = 2;
}

/* Inverse of the normal distribution by bisection of erfc; made once. */
static void make_quantiles(struct maker *k)
{
    for (int i = 0; i < QUANTILES / 2; i++) {
        const double p = (i + 0.5) / QUANTILES; /* below 0.5 */
        double low = -6, high = 0;
        for (int step = 0; step < 40; step++) {
            const double mid = (low + high) / 2;
            *(erfc(-mid / sqrt(2)) / 2 < p ? &low : &high) = mid;
        }
        k->normal[i] = (float)low;
        k->normal[QUANTILES - 1 - i] = (float)-low;
    }
}

static size_t value_bytes(const struct maker *k)
{
    return tensor_row_bytes(k->shape->type, 1);
}

static size_t item_bytes(const struct maker *k, size_t i)
{
    return k->items[i].rows * k->items[i].cols * value_bytes(k);
}

/* The pooler first, then the decoder, as the release has them; a shard is full when the next tensor does not fit. */
static int deal(struct maker *k)
{
    const uint64_t room = k->shape->shard_bytes ? k->shape->shard_bytes : 5000000000u;
    uint64_t used = 0;
    k->shard = calloc(k->n_items, sizeof *k->shard);
    if (!k->shard)
        return err_set(k->em, LT_ENOMEM, "no memory");
    for (int decoder = 0; decoder < 2; decoder++) {
        for (size_t i = 0; i < k->n_items; i++) {
            if (decoder != (strncmp(k->items[i].source, "embedding_model.", 16) == 0))
                continue;
            if (used && used + item_bytes(k, i) > room) {
                used = 0;
                k->n_shards++;
            }
            used += item_bytes(k, i);
            k->shard[i] = k->n_shards;
        }
    }
    return ++k->n_shards > MAX_SHARDS ? err_set(k->em, LT_ELIMIT, "more than %d shards", MAX_SHARDS) : 0;
}

static void shard_name(const struct maker *k, uint32_t shard, char *name, size_t cap)
{
    snprintf(name, cap, "model-%05u-of-%05u.safetensors", shard + 1, k->n_shards);
}

static int write_text(struct maker *k, const char *name, struct bytes_out *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", k->dir, name);
    int r = text->bad ? err_set(k->em, LT_ENOMEM, "no memory") : file_replace(path, text->data, text->len, 0644, k->em);
    bytes_out_finish(text);
    return r;
}

static int write_config(struct maker *k)
{
    const struct model_info *i = &k->info;
    struct bytes_out o = {0};
    bytes_printf(&o, "{\"_name_or_path\":\"synthetic\",\"model_type\":\"nvembed\",\"mask_type\":\"b\",\"add_eos\":true,"
                     "\"is_mask_instruction\":true,\"hidden_size\":%u,\n", i->hidden);
    bytes_printf(&o, "\"latent_attention_config\":{\"model_type\":\"latent_attention\",\"num_latents_value\":%u,"
                     "\"num_cross_heads\":%u,\"cross_dim_head\":%u,\"hidden_dim\":%u,\"latent_dim\":%u},\n",
                 i->n_latents, i->n_latent_heads, i->latent_head_dim, i->hidden, i->hidden);
    bytes_printf(&o, "\"text_config\":{\"model_type\":\"bidir_mistral\",\"hidden_size\":%u,\"intermediate_size\":%u,"
                     "\"num_hidden_layers\":%u,\"num_attention_heads\":%u,\"num_key_value_heads\":%u,\"head_dim\":%u,"
                     "\"vocab_size\":%u,\"max_position_embeddings\":%u,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0}}\n",
                 i->hidden, i->ffn, i->n_layers, i->n_heads, i->n_kv_heads, i->head_dim, i->vocab, i->token_limit);
    return write_text(k, "config.json", &o);
}

static int write_index(struct maker *k)
{
    struct bytes_out o = {0};
    bytes_printf(&o, "{\"metadata\":{\"total_size\":%llu},\"weight_map\":{", (unsigned long long)k->total);
    for (size_t i = 0; i < k->n_items; i++) {
        char name[64];
        shard_name(k, k->shard[i], name, sizeof name);
        bytes_printf(&o, "%s\n\"%s\":\"%s\"", i ? "," : "", k->items[i].source, name);
    }
    bytes_put_str(&o, "}}\n");
    return write_text(k, "model.safetensors.index.json", &o);
}

static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += RANDOM_STEP);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static void scale_table(struct maker *k, const struct layout_item *it)
{
    const bool gain = it->vector && !strstr(it->source, ".bias");
    const bool plain = strstr(it->source, "embed_tokens") || strstr(it->source, "latents");
    const float scale = plain ? 1 : it->vector ? 0.1f : 1 / sqrtf((float)it->cols), middle = gain ? 1 : 0;
    for (size_t i = 0; i < QUANTILES; i++) {
        const float v = middle + scale * k->normal[i];
        const uint16_t h = k->shape->type == TENSOR_F16 ? f32_to_f16(v) : f32_to_bf16(v);
        if (k->shape->type == TENSOR_F32)
            memcpy(k->table + 4 * i, &v, 4);
        else
            memcpy(k->table + 2 * i, &h, 2);
    }
}

/* A tensor's values, in parts that threads take: each starts where the row of random numbers has come to, so the bytes do not depend on
 * who takes what. */
struct parts {
    struct maker *k;
    int fd;
    off_t at;                  /* of the first value in the file */
    uint64_t n_values, rng;    /* rng before the first */
    atomic_uint_fast64_t next; /* part */
    atomic_uint_fast64_t bytes_done;
    atomic_int error;
    pthread_t caller;          /* the only one that shows progress */
};

static int pwrite_full(int fd, const uint8_t *p, size_t len, off_t at)
{
    while (len) {
        const ssize_t n = pwrite(fd, p, len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? err_from_errno(errno) : LT_EIO;
        p += n;
        len -= (size_t)n;
        at += n;
    }
    return 0;
}

static int write_part(struct parts *p, uint64_t first, size_t n, uint8_t *buffer)
{
    const struct maker *k = p->k;
    const size_t bytes = value_bytes(k);
    uint64_t rng = p->rng + first / 4 * RANDOM_STEP;
    for (size_t i = 0; i < n; i += 4) {
        const uint64_t bits = next(&rng);
        for (size_t j = 0; j < 4; j++)
            memcpy(buffer + (i + j) * bytes, k->table + (bits >> 16 * j & 0xFFFF) * bytes, bytes);
    }
    const int r = pwrite_full(p->fd, buffer, n * bytes, p->at + (off_t)(first * bytes));
    const uint64_t done = k->done + atomic_fetch_add(&p->bytes_done, n * bytes) + n * bytes;
    if (k->progress && pthread_equal(pthread_self(), p->caller))
        k->progress((double)done / (double)k->total);
    return r;
}

static void *write_parts(void *arg)
{
    struct parts *p = arg;
    uint8_t *buffer = malloc((BUFFER_VALUES + 4) * value_bytes(p->k));
    int r = buffer ? 0 : LT_ENOMEM;
    for (uint64_t first; !r && (first = atomic_fetch_add(&p->next, 1) * BUFFER_VALUES) < p->n_values;)
        r = write_part(p, first, p->n_values - first < BUFFER_VALUES ? (size_t)(p->n_values - first) : BUFFER_VALUES, buffer);
    if (r)
        atomic_store(&p->error, r);
    free(buffer);
    return NULL;
}

static int write_values(struct maker *k, int fd, off_t at, const struct layout_item *it)
{
    struct parts p = {.k = k, .fd = fd, .at = at, .n_values = it->rows * it->cols, .rng = k->rng, .caller = pthread_self()};
    const uint64_t n_parts = (p.n_values + BUFFER_VALUES - 1) / BUFFER_VALUES;
    pthread_t thread[MAX_THREADS];
    cpu_set_t set;
    const int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int started = 0;
    scale_table(k, it);
    while (started < MAX_THREADS && started + 1 < cpus && (uint64_t)started + 1 < n_parts &&
           !pthread_create(&thread[started], NULL, write_parts, &p))
        started++;
    write_parts(&p);
    while (started)
        pthread_join(thread[--started], NULL);
    k->rng += (p.n_values + 3) / 4 * RANDOM_STEP;
    k->done += p.n_values * value_bytes(k);
    if (k->progress)
        k->progress((double)k->done / (double)k->total);
    return atomic_load(&p.error);
}

static int write_shard(struct maker *k, uint32_t shard)
{
    static const char *const names[] = {"F32", "F16"};
    char name[64], path[4096];
    struct bytes_out o = {0};
    uint64_t at = 0;
    int r = 0;
    bytes_put_u64(&o, 0);
    bytes_put_str(&o, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < k->n_items; i++) {
        const struct layout_item *it = &k->items[i];
        if (k->shard[i] != shard)
            continue;
        bytes_printf(&o, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", it->source,
                     k->shape->type == TENSOR_BF16 ? "BF16" : names[k->shape->type == TENSOR_F16]);
        if (!it->vector)
            bytes_printf(&o, "%llu,", (unsigned long long)it->rows);
        bytes_printf(&o, "%llu],\"data_offsets\":[%llu,%llu]}", (unsigned long long)it->cols, (unsigned long long)at,
                     (unsigned long long)(at + item_bytes(k, i)));
        at += item_bytes(k, i);
    }
    bytes_put_str(&o, "}");
    while (o.len % 8)
        bytes_put_u8(&o, ' ');
    if (o.bad)
        return err_set(k->em, LT_ENOMEM, "no memory");
    for (int i = 0; i < 8; i++)
        o.data[i] = (uint8_t)((o.len - 8) >> 8 * i);
    shard_name(k, shard, name, sizeof name);
    snprintf(path, sizeof path, "%s/%s", k->dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    r = fd < 0 ? err_from_errno(errno) : file_write_full(fd, o.data, o.len);
    at = o.len;
    for (size_t i = 0; !r && i < k->n_items; i++)
        if (k->shard[i] == shard) {
            r = write_values(k, fd, (off_t)at, &k->items[i]);
            at += item_bytes(k, i);
        }
    bytes_out_finish(&o);
    if (fd >= 0)
        close(fd);
    return r ? err_set(k->em, r, "%s: %s", path, err_text(r)) : 0;
}

static int make(struct maker *k)
{
    int r;
    fill_info(k);
    k->rng = k->shape->seed;
    if ((r = file_make_dirs(k->dir, 0755, NULL)) < 0)
        return err_set(k->em, r, "%s: %s", k->dir, err_text(r));
    make_quantiles(k);
    if ((r = layout_check(&k->info, k->em)) < 0 || (r = layout_list(&k->info, &k->items, &k->n_items, k->em)) < 0)
        return r;
    for (size_t i = 0; i < k->n_items; i++)
        k->total += item_bytes(k, i);
    if ((r = deal(k)) < 0 || (r = write_config(k)) < 0 || (r = write_index(k)) < 0)
        return r;
    for (uint32_t s = 0; !r && s < k->n_shards; s++)
        r = write_shard(k, s);
    return r;
}

int checkpoint_make(const char *dir, const struct checkpoint_shape *shape, void (*progress)(double fraction), struct err_msg *em)
{
    struct maker *k = calloc(1, sizeof *k);
    if (!k)
        return err_set(em, LT_ENOMEM, "no memory");
    k->dir = dir;
    k->shape = shape;
    k->progress = progress;
    k->em = em;
    int r = make(k);
    free(k->items);
    free(k->shard);
    free(k);
    return r;
}
