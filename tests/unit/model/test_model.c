/* A model file of the smallest size, with one key, tensor or golden value forged at a time. */
#include "tests/unit.h"

#include <unistd.h>

#include <sodium.h>

#include "model/digest.h"
#include "model/gguf_write.h"
#include "model/model.h"

enum { D = 4, F = 6, VOCAB = 8 };

struct forge {
    const char *arch, *pooling, *skip_key, *skip_tensor, *extra_tensor, *prefix;
    uint32_t version, hidden, heads, kv_heads, head_dim, vocab, limit;
    float eps, golden, theta;
    int32_t bos, golden_id;
    uint32_t golden_skip, golden_length;
    enum tensor_type norm_type;
    uint64_t q_rows;
    const char *digests; /* NULL: no such key */
    const char *name;    /* NULL: no such key */
    bool foreign;        /* the keys are llama.cpp's */
};

static const struct forge good = {"latentd", "mean", "", "", NULL, "", 1, D, 2, 1, 2, VOCAB, 16, 1e-5f, 1, 10000, 1, 3, 0, 2,
                                  TENSOR_F32, D, NULL, NULL, false};

static char digests[32 * DIGEST_HEX + 1]; /* of the last good file */
static size_t n_digests;

static bool with(const struct forge *f, const char *key)
{
    return strcmp(f->skip_key, key) != 0;
}

static void put_u32(struct gguf_writer *w, const struct forge *f, const char *key, uint32_t v)
{
    if (with(f, key))
        gguf_write_u32(w, key, v);
}

static void put_keys(struct gguf_writer *w, const struct forge *f)
{
    const float vec[D] = {f->golden};
    const int32_t ids[2] = {1, f->golden_id};
    gguf_write_str(w, "general.architecture", f->arch, strlen(f->arch));
    gguf_write_str(w, "latentd.pooling", f->pooling, strlen(f->pooling));
    gguf_write_str(w, "latentd.query_prefix", f->prefix, strlen(f->prefix));
    put_u32(w, f, "latentd.format_version", f->version);
    put_u32(w, f, "latentd.context_length", f->limit);
    put_u32(w, f, "latentd.embedding_length", f->hidden);
    put_u32(w, f, "latentd.block_count", 1);
    put_u32(w, f, "latentd.feed_forward_length", F);
    put_u32(w, f, "latentd.attention.head_count", f->heads);
    put_u32(w, f, "latentd.attention.head_count_kv", f->kv_heads);
    put_u32(w, f, "latentd.attention.key_length", f->head_dim);
    put_u32(w, f, "latentd.vocab_size", f->vocab);
    gguf_write_f32(w, "latentd.attention.layer_norm_rms_epsilon", f->eps);
    gguf_write_f32(w, "latentd.rope.freq_base", f->theta);
    gguf_write_bool(w, "latentd.attention.causal", false);
    gguf_write_i32(w, "latentd.token.bos", f->bos);
    gguf_write_bool(w, "latentd.token.add_bos", true);
    gguf_write_array(w, "latentd.golden.lengths", GGUF_U32, &f->golden_length, 1, NULL);
    if (f->digests)
        gguf_write_str(w, DIGEST_KEY, f->digests, strlen(f->digests));
    if (with(f, "latentd.golden.skips"))
        gguf_write_array(w, "latentd.golden.skips", GGUF_U32, &f->golden_skip, 1, NULL);
    gguf_write_array(w, "latentd.golden.ids", GGUF_I32, ids, 2, NULL);
    gguf_write_array(w, "latentd.golden.vectors", GGUF_F32, vec, D, NULL);
}

/* The same model as llama.cpp's converter writes it. */
static void put_foreign_keys(struct gguf_writer *w, const struct forge *f)
{
    gguf_write_str(w, "general.architecture", "llama", 5);
    gguf_write_u32(w, "llama.context_length", f->limit);
    gguf_write_u32(w, "llama.embedding_length", f->hidden);
    gguf_write_u32(w, "llama.block_count", 1);
    gguf_write_u32(w, "llama.feed_forward_length", F);
    gguf_write_u32(w, "llama.attention.head_count", f->heads);
    gguf_write_u32(w, "llama.attention.head_count_kv", f->kv_heads);
    gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", f->eps);
}

static int open_forged(const struct forge *f, struct err_msg *em, struct model_info *info)
{
    struct gguf_writer *w = NULL;
    struct model *m = NULL;
    uint64_t bytes = 0;
    char path[] = "/tmp/test_model.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_write_create(&w, path, em), 0);
    if (f->foreign)
        put_foreign_keys(w, f);
    else
        put_keys(w, f);
    if (f->name)
        gguf_write_str(w, "general.name", f->name, strlen(f->name));
    const struct {
        const char *name;
        enum tensor_type type;
        uint64_t rows, cols;
    } t[] = {
        {"token_embd.weight", TENSOR_F16, VOCAB, D},        {"blk.0.attn_norm.weight", f->norm_type, 1, D},
        {"blk.0.attn_q.weight", TENSOR_F16, f->q_rows, D},  {"blk.0.attn_k.weight", TENSOR_F16, 2, D},
        {"blk.0.attn_v.weight", TENSOR_F16, 2, D},          {"blk.0.attn_output.weight", TENSOR_F16, D, D},
        {"blk.0.ffn_norm.weight", TENSOR_F32, 1, D},        {"blk.0.ffn_gate.weight", TENSOR_F16, F, D},
        {"blk.0.ffn_up.weight", TENSOR_F16, F, D},          {"blk.0.ffn_down.weight", TENSOR_F16, D, F},
        {"output_norm.weight", TENSOR_F32, 1, D},           {f->extra_tensor, TENSOR_F32, 1, D},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        if (!t[i].name || !strcmp(t[i].name, f->skip_tensor))
            continue;
        gguf_write_tensor(w, t[i].name, t[i].type, t[i].rows, t[i].cols);
        bytes += tensor_row_bytes(t[i].type, t[i].cols) * t[i].rows;
    }
    for (; bytes; bytes--)
        assert_int_equal(gguf_write_data(w, "", 1, em), 0);
    assert_int_equal(gguf_write_commit(w, em), 0);
    gguf_write_destroy(&w);
    em->text[0] = 0;
    int r = model_open(&m, path, em);
    if (!r) {
        const uint8_t *d;
        *info = *model_info(m);
        assert_int_equal(model_digests_fresh(m), !f->digests);
        n_digests = 0;
        while (model_tensor_at(m, n_digests, &d))
            sodium_bin2hex(digests + n_digests++ * DIGEST_HEX, DIGEST_HEX + 1, d, DIGEST_BYTES);
    }
    model_destroy(&m);
    unlink(path);
    return r;
}

static void test_good(void **state)
{
    struct err_msg em;
    struct model_info i, other;
    struct forge f = good;
    assert_int_equal(open_forged(&f, &em, &i), 0);
    assert_string_equal(i.weight_type, "f16");
    assert_int_equal(strlen(i.fingerprint), 64);
    f.prefix = "query: "; /* not in the fingerprint: stored vectors stay as they are */
    assert_int_equal(open_forged(&f, &em, &other), 0);
    assert_string_equal(other.fingerprint, i.fingerprint);
    char stored[sizeof digests];
    memcpy(stored, digests, sizeof stored);
    assert_int_equal(n_digests, 11);
    f.digests = stored; /* the same from the file as from its bytes */
    assert_int_equal(open_forged(&f, &em, &other), 0);
    assert_string_equal(other.fingerprint, i.fingerprint);
    stored[0] = stored[0] == '0' ? '1' : '0'; /* other weights */
    assert_int_equal(open_forged(&f, &em, &other), 0);
    assert_string_not_equal(other.fingerprint, i.fingerprint);
    f.digests = NULL;
    f.pooling = "last"; /* in it */
    assert_int_equal(open_forged(&f, &em, &other), 0);
    assert_string_not_equal(other.fingerprint, i.fingerprint);
}

static void test_forged(void **state)
{
    struct err_msg em;
    struct model_info i;
#define FORGED(code, ...)                                                                          \
    do {                                                                                           \
        struct forge f = good;                                                                     \
        __VA_ARGS__;                                                                               \
        int r = open_forged(&f, &em, &i);                                                          \
        if (r != (code) || !strstr(em.text, "/tmp/test_model"))                                    \
            fail_msg("%s: %s (%s)", #__VA_ARGS__, err_name(r), em.text);                           \
    } while (0)
    FORGED(LT_EUNSUPPORTED, f.arch = "bert");
    FORGED(LT_EFORMAT, f.arch = "llama"); /* its keys are not there */
    FORGED(LT_EVERSION, f.version = 2);
    FORGED(LT_EUNSUPPORTED, f.pooling = "max");
    FORGED(LT_EFORMAT, f.pooling = "latent"); /* without its keys */
    FORGED(LT_EFORMAT, f.skip_key = "latentd.vocab_size");
    FORGED(LT_EFORMAT, f.hidden = 0);
    FORGED(LT_EFORMAT, f.hidden = 8);
    FORGED(LT_EFORMAT, f.heads = 0);
    FORGED(LT_EFORMAT, f.kv_heads = 0);
    FORGED(LT_EFORMAT, f.heads = 3; f.kv_heads = 2);
    FORGED(LT_EFORMAT, f.head_dim = 3);
    FORGED(LT_EFORMAT, f.vocab = UINT32_MAX);
    FORGED(LT_EFORMAT, f.vocab = 1);
    FORGED(LT_EFORMAT, f.limit = 0);
    FORGED(LT_EFORMAT, f.eps = 0);
    FORGED(LT_EFORMAT, f.eps = 0.0f / 0.0f);
    FORGED(LT_EFORMAT, f.theta = 1.0f / 0.0f);
    FORGED(LT_EFORMAT, f.bos = -1); /* is to be added */
    FORGED(LT_EFORMAT, f.bos = VOCAB);
    FORGED(LT_EFORMAT, f.prefix = "\xff");
    FORGED(LT_EFORMAT, f.golden = 0.5f);
    FORGED(LT_EFORMAT, f.golden = 0.0f / 0.0f);
    FORGED(LT_EFORMAT, f.golden_id = -1);
    FORGED(LT_EFORMAT, f.golden_id = VOCAB);
    FORGED(LT_EFORMAT, f.golden_skip = 2);
    FORGED(LT_EFORMAT, f.golden_length = 3);
    FORGED(LT_EFORMAT, f.golden_length = UINT32_MAX);
    FORGED(LT_EFORMAT, f.skip_key = "latentd.golden.skips");
    FORGED(LT_EFORMAT, f.digests = "");
    FORGED(LT_EFORMAT, f.digests = "00");
    digests[DIGEST_HEX * n_digests - 1] = 'x';
    FORGED(LT_EFORMAT, f.digests = digests);
    FORGED(LT_EFORMAT, f.skip_tensor = "blk.0.ffn_up.weight");
    FORGED(LT_EFORMAT, f.extra_tensor = "blk.1.ffn_up.weight");
    FORGED(LT_EFORMAT, f.norm_type = TENSOR_F16);
    FORGED(LT_EFORMAT, f.q_rows = D + 1);
    char name[200];
    memset(name, 'x', sizeof name);
    name[128] = 0;
    FORGED(LT_ELIMIT, f.name = name);
#undef FORGED
}

/* A name is for people only: another program's longer one is cut, between characters. */
static void test_foreign_name(void **state)
{
    struct err_msg em;
    struct model_info i;
    struct forge f = good;
    char name[301];
    f.foreign = true;
    f.name = "short";
    assert_int_equal(open_forged(&f, &em, &i), 0);
    assert_string_equal(i.name, "short");
    memset(name, 'x', 300);
    name[300] = 0;
    f.name = name;
    assert_int_equal(open_forged(&f, &em, &i), 0);
    assert_true(strlen(i.name) == 127 && !strncmp(i.name, name, 127));
    memcpy(name + 125, "\xE2\x96\x81", 3); /* its last byte would be the 128th */
    assert_int_equal(open_forged(&f, &em, &i), 0);
    assert_true(strlen(i.name) == 125);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_foreign_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
