#include "model/digest.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/file.h"

#define STEP (4u << 20) /* bytes hashed between two looks at stop */
#define MAX_THREADS 64
#define CACHE_MAGIC "latentd tensor digests 1\n"
#define CACHE_LEAST (64u << 20) /* bytes of tensors below which computing is as quick as a cache */

bool digest_tensor(const struct tensor *t, const atomic_bool *stop, uint8_t *out)
{
    crypto_generichash_state h;
    const uint8_t *p = t->data;
    crypto_generichash_init(&h, NULL, 0, DIGEST_BYTES);
    for (size_t left = t->len_bytes; left;) {
        const size_t n = left < STEP ? left : STEP;
        if (stop && atomic_load_explicit(stop, memory_order_relaxed))
            return false;
        crypto_generichash_update(&h, p, n);
        p += n;
        left -= n;
    }
    crypto_generichash_final(&h, out, DIGEST_BYTES);
    return true;
}

/* ---- computed ---- */

struct crew {
    const struct gguf *g;
    uint8_t *out;
    atomic_size_t next;
};

static void *work(void *arg)
{
    struct crew *c = arg;
    for (size_t i; (i = atomic_fetch_add(&c->next, 1)) < gguf_n_tensors(c->g);)
        digest_tensor(gguf_tensor_at(c->g, i), NULL, c->out + i * DIGEST_BYTES);
    return NULL;
}

static void compute(const struct gguf *g, uint64_t bytes, uint8_t *out)
{
    struct crew c = {.g = g, .out = out};
    pthread_t thread[MAX_THREADS];
    int started = 0;
    cpu_set_t set;
    int n = bytes >= 4 * (uint64_t)STEP && sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    while (started + 1 < n && started < MAX_THREADS && !pthread_create(&thread[started], NULL, work, &c))
        started++;
    work(&c);
    while (started)
        pthread_join(thread[--started], NULL);
}

/* ---- cached ---- */

/* The same file, unchanged: a copy or an edit has another name. False when it cannot be told. */
static bool cache_path(const char *path, const char *dir, char *out, size_t cap)
{
    struct stat st;
    uint8_t id[16];
    char hex[2 * sizeof id + 1];
    struct bytes_out o = {0};
    if (!dir || stat(path, &st) < 0)
        return false;
    bytes_put_u64(&o, st.st_dev);
    bytes_put_u64(&o, st.st_ino);
    bytes_put_u64(&o, (uint64_t)st.st_size);
    bytes_put_u64(&o, (uint64_t)st.st_mtim.tv_sec);
    bytes_put_u64(&o, (uint64_t)st.st_mtim.tv_nsec);
    bytes_put_u64(&o, (uint64_t)st.st_ctim.tv_sec);
    bytes_put_u64(&o, (uint64_t)st.st_ctim.tv_nsec);
    bool good = !o.bad && !crypto_generichash(id, sizeof id, o.data, o.len, NULL, 0);
    bytes_out_finish(&o);
    if (!good)
        return false;
    sodium_bin2hex(hex, sizeof hex, id, sizeof id);
    return snprintf(out, cap, "%s/model-%s.digests", dir, hex) < (int)cap;
}

/* magic, n digests, a digest of all before. */
static bool read_cache(const char *path, uint8_t *out, size_t n)
{
    char *data = NULL;
    size_t len, magic = strlen(CACHE_MAGIC), want = magic + n * DIGEST_BYTES;
    uint8_t check[DIGEST_BYTES];
    struct err_msg em;
    if (file_read(path, want + DIGEST_BYTES, &data, &len, &em) < 0)
        return false;
    bool good = len == want + DIGEST_BYTES && !memcmp(data, CACHE_MAGIC, magic) &&
                !crypto_generichash(check, sizeof check, (uint8_t *)data, want, NULL, 0) &&
                !memcmp(check, data + want, sizeof check);
    if (good)
        memcpy(out, data + magic, n * DIGEST_BYTES);
    free(data);
    return good;
}

static void write_cache(const char *path, const uint8_t *digests, size_t n)
{
    struct bytes_out o = {0};
    struct err_msg em;
    uint8_t check[DIGEST_BYTES];
    bytes_put_str(&o, CACHE_MAGIC);
    bytes_put(&o, digests, n * DIGEST_BYTES);
    if (!o.bad && !crypto_generichash(check, sizeof check, o.data, o.len, NULL, 0)) {
        bytes_put(&o, check, sizeof check);
        if (!o.bad)
            file_replace(path, o.data, o.len, 0600, &em);
    }
    bytes_out_finish(&o);
}

/* ---- stored ---- */

static int read_key(const struct gguf *g, uint8_t *out, size_t n, struct err_msg *em)
{
    const char *hex;
    size_t len, got = 0;
    int r = gguf_str(g, DIGEST_KEY, &hex, &len, em);
    if (r < 0)
        return r;
    if (len != n * DIGEST_HEX || sodium_hex2bin(out, n * DIGEST_BYTES, hex, len, NULL, &got, NULL) || got != n * DIGEST_BYTES)
        return err_set(em, LT_EFORMAT, "model: " DIGEST_KEY " is not %zu digests", n);
    return 0;
}

int digest_all(const struct gguf *g, const char *path, const char *cache_dir, uint8_t *out, bool *fresh, struct err_msg *em)
{
    const size_t n = gguf_n_tensors(g);
    char cache[4096];
    uint64_t bytes = 0;
    *fresh = false;
    if (sodium_init() < 0)
        return err_set(em, LT_EINTERNAL, "model: libsodium does not start");
    int r = read_key(g, out, n, em);
    if (r != LT_ENOTFOUND)
        return r;
    for (size_t i = 0; i < n; i++)
        bytes += gguf_tensor_at(g, i)->len_bytes;
    const bool cached = bytes >= CACHE_LEAST && cache_path(path, cache_dir, cache, sizeof cache);
    if (cached && read_cache(cache, out, n))
        return 0;
    compute(g, bytes, out);
    *fresh = true;
    if (cached)
        write_cache(cache, out, n);
    return 0;
}
