#include "model/fingerprint.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "model/digest.h"
#include "model/layout.h"
#include "model/tokenizer_gguf.h"

static void hash_u64(crypto_hash_sha256_state *h, uint64_t v, int n)
{
    uint8_t b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    crypto_hash_sha256_update(h, b, (unsigned long long)n);
}

static void hash_text(crypto_hash_sha256_state *h, const char *s, size_t len)
{
    hash_u64(h, len, 8);
    crypto_hash_sha256_update(h, (const unsigned char *)s, len);
}

/* Every key that a foreign file's tokeniser is made from. */
static int hash_tokenizer_keys(const struct gguf *g, crypto_hash_sha256_state *h, struct err_msg *em)
{
#define TOKENIZER "tokenizer.ggml."
    static const char *const strings[] = {TOKENIZER "tokens", TOKENIZER "merges"};
    static const char *const texts[] = {TOKENIZER "model", TOKENIZER "pre"};
    static const struct {
        const char *key;
        enum gguf_type type;
    } columns[] = {{TOKENIZER "scores", GGUF_F32}, {TOKENIZER "token_type", GGUF_I32}};
    const uint8_t *data;
    const char *s;
    size_t len;
    int r = 0;
    bool prefix = true;
    for (size_t i = 0; i < 2; i++) {
        data = NULL;
        len = 0;
        if ((r = gguf_maybe(tokenizer_gguf_blob(g, strings[i], &data, &len, em))) < 0)
            return r;
        hash_text(h, data ? (const char *)data : "", len);
        s = "";
        len = 0;
        if ((r = gguf_maybe(gguf_str(g, texts[i], &s, &len, em))) < 0)
            return r;
        hash_text(h, s, len);
        data = NULL;
        len = 0;
        if ((r = gguf_maybe(gguf_array(g, columns[i].key, columns[i].type, &data, &len, em))) < 0)
            return r;
        hash_text(h, data ? (const char *)data : "", 4 * len);
    }
    r = gguf_maybe(gguf_bool(g, TOKENIZER "add_space_prefix", &prefix, em));
    hash_u64(h, prefix, 4);
    return r;
#undef TOKENIZER
}

int fingerprint_make(const struct fingerprint_of *of, char out[static FINGERPRINT_BYTES], struct err_msg *em)
{
    const struct model_info *i = of->info;
    char text[1024];
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_state h;
    if (sodium_init() < 0)
        return err_set(em, LT_EINTERNAL, "model: libsodium does not start");
    crypto_hash_sha256_init(&h);
    for (size_t t = 0; t < gguf_n_tensors(of->gguf); t++) {
        const struct tensor *x = gguf_tensor_at(of->gguf, t);
        crypto_hash_sha256_update(&h, (const unsigned char *)x->name, strlen(x->name) + 1);
        hash_u64(&h, x->type, 4);
        hash_u64(&h, x->rows, 8);
        hash_u64(&h, x->cols, 8);
        crypto_hash_sha256_update(&h, of->digests + t * DIGEST_BYTES, DIGEST_BYTES);
    }
    int r = i->foreign ? hash_tokenizer_keys(of->gguf, &h, em) : 0;
    if (r < 0)
        return r;
    if (!i->foreign)
        hash_text(&h, i->has_tokenizer ? of->tokenizer_json : "", of->tokenizer_len);
    int n = snprintf(text, sizeof text,
                     "causal=%d heads=%u kv=%u size=%u eps=%.9g rope=%.9g pooling=%s latents=%u lheads=%u lsize=%u "
                     "leps=%.9g bos=%d eos=%d add_bos=%d add_eos=%d",
                     i->causal, i->n_heads, i->n_kv_heads, i->head_dim, (double)i->norm_eps, (double)i->rope_theta,
                     layout_pooling_name(i->pooling), i->n_latents, i->n_latent_heads, i->latent_head_dim,
                     (double)i->layer_norm_eps, i->bos, i->eos, i->add_bos, i->add_eos);
    if (i->foreign)
        n += snprintf(text + n, sizeof text - (size_t)n,
                      " pairs=%d divisor=%.9g qknorm=%d post=%d gelu=%d embed=%.9g scale=%.9g window=%u period=%u local=%.9g yarn=%u,%.9g,%.9g",
                      i->rope_pairs, (double)i->rope_divisor, i->qk_norm, i->post_norms, i->gate, (double)i->embed_scale,
                      (double)i->attention_scale, i->window, i->window_period, (double)i->rope_theta_local, i->yarn_context,
                      (double)i->yarn_fast, (double)i->yarn_slow);
    if (i->layer_norm)
        n += snprintf(text + n, sizeof text - (size_t)n, " layernorm=%d globalfirst=%d", i->layer_norm, i->global_first);
    if (i->attention_cap > 0)
        n += snprintf(text + n, sizeof text - (size_t)n, " cap=%.9g", (double)i->attention_cap);
    if (i->ranks)
        n += snprintf(text + n, sizeof text - (size_t)n, " labels=%u label=%u bias=%d", i->n_labels, i->label, i->head_bias);
    else if (i->dim != i->full_dim)
        n += snprintf(text + n, sizeof text - (size_t)n, " dim=%u", i->dim);
    hash_text(&h, text, (size_t)n);
    crypto_hash_sha256_final(&h, digest);
    sodium_bin2hex(out, FINGERPRINT_BYTES, digest, sizeof digest);
    return 0;
}
