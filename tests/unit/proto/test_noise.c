/* The handshake and its records against published vectors (noise_vectors.txt), and against itself. */
#include "tests/unit.h"

#include <sodium.h>

#include "proto/noise.h"

#define MAX_MESSAGES 8

struct bin {
    uint8_t b[256];
    size_t len;
};

struct vector {
    struct bin prologue, init_static, init_ephemeral, resp_public, resp_static, resp_ephemeral, hash;
    struct bin payload[MAX_MESSAGES], sealed[MAX_MESSAGES];
    int n;
};

static void hex(struct bin *out, const char *s)
{
    size_t n = strcspn(s, " \n");
    assert_int_equal(sodium_hex2bin(out->b, sizeof out->b, s, n, NULL, &out->len, NULL), 0);
}

static void pair(struct key_pair *k, const struct bin *secret)
{
    assert_int_equal(secret->len, KEY_BYTES);
    assert_int_equal(key_pair_from_secret(k, secret->b), 0);
}

static void run_vector(const struct vector *v)
{
    struct key_pair ki, kr;
    struct noise *n[2];
    pair(&ki, &v->init_static);
    pair(&kr, &v->resp_static);
    assert_memory_equal(kr.public, v->resp_public.b, KEY_BYTES);
    assert_int_equal(noise_create(&n[0], &(struct noise_params){.initiator = true, .local = &ki,
        .remote_public = kr.public, .prologue = v->prologue.b, .prologue_len = v->prologue.len,
        .test_ephemeral = v->init_ephemeral.b}), 0);
    assert_int_equal(noise_create(&n[1], &(struct noise_params){.local = &kr, .prologue = v->prologue.b,
        .prologue_len = v->prologue.len, .test_ephemeral = v->resp_ephemeral.b}), 0);
    for (int i = 0; i < v->n; i++) {
        struct noise *from = n[i % 2], *to = n[1 - i % 2];
        const struct bin *plain = &v->payload[i], *sealed = &v->sealed[i];
        uint8_t out[512], back[512];
        int r;
        if (i < 3) {
            r = noise_write(from, plain->b, plain->len, out, sizeof out);
            assert_int_equal(r, sealed->len);
            assert_memory_equal(out, sealed->b, sealed->len);
            r = noise_read(to, out, (size_t)r, back, sizeof back);
        } else {
            assert_int_equal(noise_seal(from, plain->b, plain->len, out), 0);
            assert_int_equal(plain->len + NOISE_TAG_BYTES, sealed->len);
            assert_memory_equal(out, sealed->b, sealed->len);
            r = noise_open(to, out, sealed->len, back);
        }
        assert_int_equal(r, plain->len);
        assert_memory_equal(back, plain->b, plain->len);
        assert_int_equal(noise_done(from), i >= 2);
    }
    if (v->hash.len)
        assert_memory_equal(noise_hash(n[0]), v->hash.b, NOISE_HASH_BYTES);
    assert_memory_equal(noise_hash(n[0]), noise_hash(n[1]), NOISE_HASH_BYTES);
    assert_memory_equal(noise_remote(n[1]), ki.public, KEY_BYTES);
    noise_destroy(&n[0]);
    noise_destroy(&n[1]);
    key_pair_finish(&ki);
    key_pair_finish(&kr);
}

static bool field(struct vector *v, const char *line)
{
    struct { const char *name; struct bin *to; } fields[] = {
        {"prologue ", &v->prologue}, {"init_static ", &v->init_static}, {"init_ephemeral ", &v->init_ephemeral},
        {"resp_public ", &v->resp_public}, {"resp_static ", &v->resp_static},
        {"resp_ephemeral ", &v->resp_ephemeral}, {"hash ", &v->hash},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!strncmp(line, fields[i].name, strlen(fields[i].name))) {
            hex(fields[i].to, line + strlen(fields[i].name));
            return true;
        }
    return false;
}

static void test_vectors(void **state)
{
    char path[1024], line[2048];
    snprintf(path, sizeof path, "%s/tests/unit/proto/noise_vectors.txt", getenv("LATENTD_SRC"));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    static struct vector v;
    int n_vectors = 0;
    while (fgets(line, sizeof line, f)) {
        if (!strncmp(line, "vector ", 7)) {
            if (v.n)
                run_vector(&v);
            memset(&v, 0, sizeof v);
            n_vectors++;
        } else if (!strncmp(line, "message ", 8)) {
            assert_in_range(v.n, 0, MAX_MESSAGES - 1);
            hex(&v.payload[v.n], line + 8);
            hex(&v.sealed[v.n++], strchr(line + 8, ' ') + 1);
        } else {
            assert_true(*line == '#' || *line == '\n' || field(&v, line));
        }
    }
    run_vector(&v);
    assert_int_equal(n_vectors, 3);
    fclose(f);
}

static struct key_pair client_key, server_key;

static int make_keys(void **state)
{
    return key_pair_generate(&client_key) || key_pair_generate(&server_key);
}

static int drop_keys(void **state)
{
    key_pair_finish(&client_key);
    key_pair_finish(&server_key);
    return 0;
}

static void make(struct noise **c, struct noise **s)
{
    assert_int_equal(noise_create(c, &(struct noise_params){.initiator = true, .local = &client_key,
        .remote_public = server_key.public, .prologue = "p", .prologue_len = 1}), 0);
    assert_int_equal(noise_create(s, &(struct noise_params){.local = &server_key, .prologue = "p",
        .prologue_len = 1}), 0);
}

/* Runs the handshake; flips a bit of message `flip` (none: -1). Returns the reader's answer to the last. */
static int shake(struct noise *c, struct noise *s, int flip, size_t byte)
{
    int r = 0;
    for (int i = 0; i < 3 && r >= 0; i++) {
        uint8_t msg[128], none[1];
        r = noise_write(i % 2 ? s : c, "", 0, msg, sizeof msg);
        assert_int_equal(r, i < 2 ? NOISE_MESSAGE_1_BYTES : NOISE_MESSAGE_3_BYTES);
        if (i == flip)
            msg[byte % (size_t)r] ^= 1;
        r = noise_read(i % 2 ? c : s, msg, (size_t)r, none, 0);
    }
    return r;
}

static void test_every_byte_counts(void **state)
{
    struct noise *c, *s;
    for (int m = 0; m < 3; m++)
        for (size_t b = 0; b < (m < 2 ? 48 : 64); b++) {
            make(&c, &s);
            int r = shake(c, s, m, b);
            assert_int_equal(r, LT_EAUTH);
            assert_false(noise_done(s));
            /* The handshake stays dead. */
            uint8_t msg[128];
            assert_int_equal(noise_write(m % 2 ? c : s, "", 0, msg, sizeof msg), LT_EPROTO);
            assert_int_equal(noise_seal(s, "x", 1, msg), LT_EPROTO);
            noise_destroy(&c);
            noise_destroy(&s);
        }
}

static void test_wrong_prologue_and_keys(void **state)
{
    struct noise *c, *s, *other;
    make(&c, &s);
    assert_int_equal(noise_create(&other, &(struct noise_params){.local = &server_key, .prologue = "q",
        .prologue_len = 1}), 0);
    assert_int_equal(shake(c, other, -1, 0), LT_EAUTH);
    noise_destroy(&c);
    noise_destroy(&other);
    assert_int_equal(noise_create(&c, &(struct noise_params){.initiator = true, .local = &client_key,
        .remote_public = client_key.public, .prologue = "p", .prologue_len = 1}), 0);
    assert_int_equal(shake(c, s, -1, 0), LT_EAUTH);
    noise_destroy(&c);
    noise_destroy(&s);
    assert_int_equal(noise_create(&c, &(struct noise_params){.initiator = true, .local = &client_key}), LT_EINVAL);
}

/* A public key of small order would make the shared secret known to all. */
static void test_degenerate_keys(void **state)
{
    struct noise *c, *s;
    uint8_t msg[48] = {0}, none[1];
    make(&c, &s);
    assert_int_equal(noise_read(s, msg, sizeof msg, none, 0), LT_EAUTH);
    noise_destroy(&c);
    const uint8_t zero[KEY_BYTES] = {0};
    assert_int_equal(noise_create(&c, &(struct noise_params){.initiator = true, .local = &client_key,
        .remote_public = zero, .prologue = "p", .prologue_len = 1}), 0);
    assert_int_equal(noise_write(c, "", 0, msg, sizeof msg), LT_EAUTH);
    noise_destroy(&c);
    noise_destroy(&s);
}

static void test_order_and_sizes(void **state)
{
    struct noise *c, *s;
    static uint8_t big[NOISE_MESSAGE_MAX + 1];
    make(&c, &s);
    assert_int_equal(noise_write(s, "", 0, big, sizeof big), LT_EPROTO);
    assert_int_equal(noise_read(c, big, 48, big, 0), LT_EPROTO);
    assert_int_equal(noise_read(s, big, 47, big, 0), LT_ELIMIT);
    assert_int_equal(noise_write(c, "", 0, big, 47), LT_ELIMIT);
    assert_int_equal(noise_write(c, big, NOISE_MESSAGE_MAX, big, sizeof big), LT_ELIMIT);
    assert_int_equal(shake(c, s, -1, 0), 0);
    assert_true(noise_done(c) && noise_done(s));
    assert_int_equal(noise_seal(c, big, NOISE_PLAIN_MAX + 1, big), LT_ELIMIT);
    assert_int_equal(noise_open(s, big, NOISE_TAG_BYTES - 1, big), LT_ELIMIT);
    assert_int_equal(noise_seal(c, big, NOISE_PLAIN_MAX, big), 0);
    assert_int_equal(noise_open(s, big, NOISE_MESSAGE_MAX, big), NOISE_PLAIN_MAX);
    noise_destroy(&c);
    noise_destroy(&s);
}

/* Past the change of keys both sides still agree; a record repeated or left out does not pass. */
static void test_rekey_and_replay(void **state)
{
    struct noise *c, *s;
    uint8_t rec[1 + NOISE_TAG_BYTES], old[sizeof rec], back[1];
    make(&c, &s);
    assert_int_equal(shake(c, s, -1, 0), 0);
    for (uint32_t i = 0; i < 2 * NOISE_REKEY_MESSAGES + 3; i++) {
        uint8_t b = (uint8_t)i;
        noise_seal(c, &b, 1, rec);
        if (noise_open(s, rec, sizeof rec, back) != 1 || back[0] != b)
            fail_msg("record %u", i);
        if (i % 1000 == 0) {
            noise_seal(s, &b, 1, old);
            assert_int_equal(noise_open(c, old, sizeof old, back), 1);
        }
    }
    assert_int_equal(noise_open(c, old, sizeof old, back), LT_EAUTH);
    assert_int_equal(noise_open(c, old, sizeof old, back), LT_EPROTO); /* and it is over */
    noise_destroy(&c);
    noise_destroy(&s);
    noise_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_every_byte_counts),
        cmocka_unit_test(test_wrong_prologue_and_keys),
        cmocka_unit_test(test_degenerate_keys),
        cmocka_unit_test(test_order_and_sizes),
        cmocka_unit_test(test_rekey_and_replay),
    };
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
