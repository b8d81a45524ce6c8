/* The handshake state follows chapter 5 of the Noise specification: a cipher state, a symmetric
 * state (chaining key ck, transcript hash h) and the pattern
 *
 *     XK:  <- s           (known beforehand)
 *          -> e, es
 *          <- e, ee
 *          -> s, se
 *
 * The whole struct lies in libsodium's guarded memory, and keys that are used up are wiped. */
#include "proto/noise.h"

#include <sodium.h>
#include <string.h>

static const char protocol_name[] = "Noise_XK_25519_ChaChaPoly_SHA256";
_Static_assert(sizeof protocol_name - 1 == NOISE_HASH_BYTES, "a name of hash length is h itself");
_Static_assert(KEY_BYTES == crypto_scalarmult_BYTES && KEY_BYTES == crypto_auth_hmacsha256_KEYBYTES &&
               KEY_BYTES == crypto_aead_chacha20poly1305_ietf_KEYBYTES &&
               NOISE_HASH_BYTES == crypto_hash_sha256_BYTES &&
               NOISE_TAG_BYTES == crypto_aead_chacha20poly1305_ietf_ABYTES, "sizes agree");

struct cipher {
    uint8_t k[KEY_BYTES];
    uint64_t n;    /* messages under k: the nonce */
    uint64_t sent; /* messages under all keys of this direction */
};

struct noise {
    bool initiator, done, dead, has_remote, has_test_ephemeral;
    int step; /* handshake messages so far */
    uint8_t s[KEY_BYTES], s_public[KEY_BYTES];
    uint8_t e[KEY_BYTES], e_public[KEY_BYTES];
    uint8_t rs[KEY_BYTES], re[KEY_BYTES];
    uint8_t ck[NOISE_HASH_BYTES], h[NOISE_HASH_BYTES];
    struct cipher hs, tx, rx;
};

/* ---- cipher state ------------------------------------------------------------------------ */

static void nonce_make(uint64_t n, uint8_t out[static crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
    memset(out, 0, 4);
    for (int i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(n >> (8 * i));
}

static void cipher_seal(struct cipher *c, const uint8_t *ad, size_t ad_len, const void *plain,
                        size_t len, uint8_t *out)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    nonce_make(c->n++, nonce);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, len, ad, ad_len, NULL, nonce, c->k);
}

static int cipher_open(struct cipher *c, const uint8_t *ad, size_t ad_len, const uint8_t *sealed,
                       size_t len, uint8_t *out)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    nonce_make(c->n, nonce);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed, len, ad, ad_len, nonce, c->k))
        return LT_EAUTH;
    c->n++;
    return 0;
}

/* REKEY: the first bytes of the key stream under the reserved nonce. Nonces go on from 0, which
 * the specification leaves to the application; PROTOCOL.md says so. */
static void cipher_rekey(struct cipher *c)
{
    static const uint8_t zeros[KEY_BYTES];
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], out[KEY_BYTES + NOISE_TAG_BYTES];
    nonce_make(UINT64_MAX, nonce);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, zeros, sizeof zeros, NULL, 0, NULL, nonce, c->k);
    memcpy(c->k, out, KEY_BYTES);
    c->n = 0;
    sodium_memzero(out, sizeof out);
}

static void cipher_count(struct cipher *c)
{
    c->sent++;
    if (c->n == NOISE_REKEY_MESSAGES)
        cipher_rekey(c);
}

/* ---- symmetric state --------------------------------------------------------------------- */

static void mix_hash(struct noise *n, const void *data, size_t len)
{
    crypto_hash_sha256_state st;
    crypto_hash_sha256_init(&st);
    crypto_hash_sha256_update(&st, n->h, sizeof n->h);
    crypto_hash_sha256_update(&st, data, len);
    crypto_hash_sha256_final(&st, n->h);
}

/* HKDF with two outputs, from HMAC-SHA256. */
static void hkdf(const uint8_t ck[static NOISE_HASH_BYTES], const uint8_t *ikm, size_t ikm_len,
                 uint8_t out1[static NOISE_HASH_BYTES], uint8_t out2[static NOISE_HASH_BYTES])
{
    uint8_t temp[NOISE_HASH_BYTES], block[NOISE_HASH_BYTES + 1];
    crypto_auth_hmacsha256(temp, ikm, ikm_len, ck);
    block[0] = 1;
    crypto_auth_hmacsha256(out1, block, 1, temp);
    memcpy(block, out1, NOISE_HASH_BYTES);
    block[NOISE_HASH_BYTES] = 2;
    crypto_auth_hmacsha256(out2, block, sizeof block, temp);
    sodium_memzero(temp, sizeof temp);
    sodium_memzero(block, sizeof block);
}

static void mix_key(struct noise *n, const uint8_t ikm[static KEY_BYTES])
{
    uint8_t ck[NOISE_HASH_BYTES];
    hkdf(n->ck, ikm, KEY_BYTES, ck, n->hs.k);
    memcpy(n->ck, ck, sizeof ck);
    sodium_memzero(ck, sizeof ck);
    n->hs.n = 0;
}

/* Returns the bytes written. */
static size_t encrypt_and_hash(struct noise *n, const void *plain, size_t len, uint8_t *out)
{
    cipher_seal(&n->hs, n->h, sizeof n->h, plain, len, out);
    mix_hash(n, out, len + NOISE_TAG_BYTES);
    return len + NOISE_TAG_BYTES;
}

static int decrypt_and_hash(struct noise *n, const uint8_t *sealed, size_t len, uint8_t *out)
{
    uint8_t h[NOISE_HASH_BYTES];
    memcpy(h, n->h, sizeof h);
    mix_hash(n, sealed, len); /* before the bytes may be overwritten */
    return cipher_open(&n->hs, h, sizeof h, sealed, len, out);
}

static int mix_dh(struct noise *n, const uint8_t secret[static KEY_BYTES],
                  const uint8_t public[static KEY_BYTES])
{
    uint8_t shared[KEY_BYTES];
    /* Fails for public keys of small order, whose result anybody knows. */
    int r = crypto_scalarmult(shared, secret, public) ? LT_EAUTH : 0;
    if (!r)
        mix_key(n, shared);
    sodium_memzero(shared, sizeof shared);
    return r;
}

/* ---- handshake --------------------------------------------------------------------------- */

int noise_create(struct noise **out, const struct noise_params *p)
{
    int r = keys_init();
    if (r < 0)
        return r;
    if (!p->local || p->initiator != (p->remote_public != NULL))
        return LT_EINVAL;
    struct noise *n = sodium_malloc(sizeof *n);
    if (!n)
        return LT_ENOMEM;
    memset(n, 0, sizeof *n);
    n->initiator = p->initiator;
    memcpy(n->s, p->local->secret, KEY_BYTES);
    memcpy(n->s_public, p->local->public, KEY_BYTES);
    if (p->test_ephemeral) {
        memcpy(n->e, p->test_ephemeral, KEY_BYTES);
        n->has_test_ephemeral = true;
    }
    memcpy(n->h, protocol_name, NOISE_HASH_BYTES);
    memcpy(n->ck, n->h, NOISE_HASH_BYTES);
    mix_hash(n, p->prologue, p->prologue_len);
    if (p->initiator) {
        memcpy(n->rs, p->remote_public, KEY_BYTES);
        n->has_remote = true;
        mix_hash(n, n->rs, KEY_BYTES);
    } else {
        mix_hash(n, n->s_public, KEY_BYTES);
    }
    *out = n;
    return 0;
}

void noise_destroy(struct noise **n)
{
    if (n && *n) {
        sodium_free(*n); /* wipes */
        *n = NULL;
    }
}

static void ephemeral_make(struct noise *n)
{
    if (!n->has_test_ephemeral)
        randombytes_buf(n->e, KEY_BYTES);
    crypto_scalarmult_base(n->e_public, n->e);
}

static void split(struct noise *n)
{
    uint8_t k1[KEY_BYTES], k2[KEY_BYTES];
    hkdf(n->ck, (const uint8_t *)"", 0, k1, k2);
    memcpy(n->tx.k, n->initiator ? k1 : k2, KEY_BYTES);
    memcpy(n->rx.k, n->initiator ? k2 : k1, KEY_BYTES);
    n->done = true;
    sodium_memzero(k1, sizeof k1);
    sodium_memzero(k2, sizeof k2);
    sodium_memzero(n->s, sizeof n->s);
    sodium_memzero(n->e, sizeof n->e);
    sodium_memzero(n->ck, sizeof n->ck);
    sodium_memzero(&n->hs, sizeof n->hs);
}

/* Bytes of the message at this step without its payload, tags included. */
static size_t overhead(int step)
{
    return step < 2 ? KEY_BYTES + NOISE_TAG_BYTES : KEY_BYTES + 2 * NOISE_TAG_BYTES;
}

int noise_write(struct noise *n, const void *payload, size_t len, uint8_t *out, size_t room)
{
    if (n->dead || n->done || n->initiator != (n->step % 2 == 0))
        return LT_EPROTO;
    size_t extra = overhead(n->step);
    if (len > NOISE_MESSAGE_MAX - extra || room < len + extra)
        return LT_ELIMIT;
    uint8_t *p = out;
    int r;
    if (n->step < 2) {
        ephemeral_make(n);
        memcpy(p, n->e_public, KEY_BYTES);
        mix_hash(n, p, KEY_BYTES);
        p += KEY_BYTES;
        r = mix_dh(n, n->e, n->step == 0 ? n->rs : n->re); /* es, ee */
    } else {
        p += encrypt_and_hash(n, n->s_public, KEY_BYTES, p);
        r = mix_dh(n, n->s, n->re); /* se */
    }
    if (r < 0) {
        n->dead = true;
        return r;
    }
    p += encrypt_and_hash(n, payload, len, p);
    if (++n->step == 3)
        split(n);
    return (int)(p - out);
}

static int read_keys(struct noise *n, const uint8_t *msg)
{
    if (n->step < 2) {
        memcpy(n->re, msg, KEY_BYTES);
        mix_hash(n, n->re, KEY_BYTES);
        return mix_dh(n, n->step == 0 ? n->s : n->e, n->re); /* es, ee */
    }
    int r = decrypt_and_hash(n, msg, KEY_BYTES + NOISE_TAG_BYTES, n->rs);
    return r < 0 ? r : mix_dh(n, n->e, n->rs); /* se */
}

int noise_read(struct noise *n, const uint8_t *msg, size_t len, uint8_t *payload, size_t room)
{
    if (n->dead || n->done || n->initiator == (n->step % 2 == 0))
        return LT_EPROTO;
    size_t extra = overhead(n->step);
    if (len < extra || len > NOISE_MESSAGE_MAX || room < len - extra)
        return LT_ELIMIT;
    size_t head = extra - NOISE_TAG_BYTES;
    int r = read_keys(n, msg);
    if (r == 0)
        r = decrypt_and_hash(n, msg + head, len - head, payload);
    if (r < 0) {
        n->dead = true;
        return r;
    }
    if (++n->step == 3) {
        n->has_remote = true;
        split(n);
    }
    return (int)(len - extra);
}

bool noise_done(const struct noise *n)
{
    return n->done;
}

const uint8_t *noise_remote(const struct noise *n)
{
    return n->has_remote ? n->rs : NULL;
}

const uint8_t *noise_hash(const struct noise *n)
{
    return n->h;
}

/* ---- transport --------------------------------------------------------------------------- */

int noise_seal(struct noise *n, const void *plain, size_t len, uint8_t *out)
{
    if (!n->done || n->dead)
        return LT_EPROTO;
    if (len > NOISE_PLAIN_MAX || n->tx.sent >= NOISE_MESSAGES_MAX)
        return LT_ELIMIT;
    cipher_seal(&n->tx, NULL, 0, plain, len, out);
    cipher_count(&n->tx);
    return 0;
}

int noise_open(struct noise *n, const uint8_t *sealed, size_t len, uint8_t *out)
{
    if (!n->done || n->dead)
        return LT_EPROTO;
    if (len < NOISE_TAG_BYTES || len > NOISE_MESSAGE_MAX || n->rx.sent >= NOISE_MESSAGES_MAX)
        return LT_ELIMIT;
    if (cipher_open(&n->rx, NULL, 0, sealed, len, out) < 0) {
        n->dead = true;
        return LT_EAUTH;
    }
    cipher_count(&n->rx);
    return (int)(len - NOISE_TAG_BYTES);
}
