/* Other programs' files: what follows from their keys, defaults, and what is refused by its name. */
#include "tests/unit.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "model/arch.h"
#include "model/gguf_write.h"

struct file {
    const char *arch, *skip; /* skip: a key that is left out */
    struct {
        const char *key;
        uint32_t v;
    } u32[3];
    struct {
        const char *key;
        float v;
    } f32[2];
    struct {
        const char *key, *v;
    } str[3];
    const char *tensor; /* one more, 4 floats */
    struct {
        const char *key; /* as it stands */
        uint32_t v;
    } raw[2];
};

static void put_u32(struct gguf_writer *w, const struct file *f, const char *key, uint32_t v)
{
    char full[80];
    snprintf(full, sizeof full, "%s.%s", f->arch, key);
    if (!f->skip || strcmp(f->skip, key))
        gguf_write_u32(w, full, v);
}

/* Writes the file and reads it back. */
static int read_arch(const struct file *f, struct model_info *i, struct err_msg *em)
{
    static const float zeros[8 * 32];
    char path[] = "/tmp/test_arch.XXXXXX", full[80];
    struct gguf_writer *w = NULL;
    struct file_map map = {0};
    struct gguf *g = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_write_create(&w, path, em), 0);
    gguf_write_str(w, "general.architecture", f->arch, strlen(f->arch));
    put_u32(w, f, "context_length", 512);
    put_u32(w, f, "embedding_length", 32);
    put_u32(w, f, "block_count", 2);
    put_u32(w, f, "feed_forward_length", 48);
    put_u32(w, f, "attention.head_count", 4);
    snprintf(full, sizeof full, "%s.attention.layer_norm_rms_epsilon", f->arch);
    gguf_write_f32(w, full, 1e-6f);
    if (!strcmp(f->arch, "modern-bert") && (!f->skip || strcmp(f->skip, "attention.layer_norm_epsilon")))
        gguf_write_f32(w, "modern-bert.attention.layer_norm_epsilon", 1e-5f);
    for (int k = 0; k < 3 && f->u32[k].key; k++)
        put_u32(w, f, f->u32[k].key, f->u32[k].v);
    for (int k = 0; k < 2 && f->f32[k].key; k++) {
        snprintf(full, sizeof full, "%s.%s", f->arch, f->f32[k].key);
        gguf_write_f32(w, full, f->f32[k].v);
    }
    for (int k = 0; k < 3 && f->str[k].key; k++)
        gguf_write_str(w, f->str[k].key, f->str[k].v, strlen(f->str[k].v));
    for (int k = 0; k < 2 && f->raw[k].key; k++)
        gguf_write_u32(w, f->raw[k].key, f->raw[k].v);
    gguf_write_tensor(w, "token_embd.weight", TENSOR_F32, 8, 32);
    if (f->tensor)
        gguf_write_tensor(w, f->tensor, TENSOR_F32, 1, 4);
    assert_int_equal(gguf_write_data(w, zeros, sizeof zeros, em), 0);
    if (f->tensor)
        assert_int_equal(gguf_write_data(w, zeros, 16, em), 0);
    assert_int_equal(gguf_write_commit(w, em), 0);
    gguf_write_destroy(&w);
    assert_int_equal(file_map(path, &map, em), 0);
    assert_int_equal(gguf_parse(&g, map.data, map.len, em), 0);
    memset(i, 0, sizeof *i);
    int r = arch_read(g, i, em);
    gguf_destroy(&g);
    file_unmap(&map);
    unlink(path);
    return r;
}

static void test_defaults(void **state)
{
    struct model_info i;
    struct err_msg em = {{0}};
    assert_int_equal(read_arch(&(struct file){.arch = "llama"}, &i, &em), 0);
    assert_true(i.foreign && i.causal && i.pooling == MODEL_POOL_MEAN && i.rope_pairs && !i.has_tokenizer);
    assert_true(i.n_kv_heads == 4 && i.head_dim == 8 && i.vocab == 8 && i.token_limit == 512);
    assert_true(i.rope_theta == 10000 && i.rope_divisor == 0 && !i.window && !i.qk_norm && !i.qkv_bias && !i.rope_factors);
    /* Mistral's embedding models attend to the whole text, whatever their language model did. */
    assert_int_equal(read_arch(&(struct file){.arch = "llama", .u32 = {{"attention.sliding_window", 4096}}}, &i, &em), 0);
    assert_int_equal(i.window, 0);
    assert_int_equal(read_arch(&(struct file){.arch = "llama-embed"}, &i, &em), 0);
    assert_true(!i.causal && i.rope_pairs);
    assert_int_equal(read_arch(&(struct file){.arch = "eurobert", .str = {{"eurobert.rope.scaling.type", "none"}}}, &i, &em), 0);
    assert_true(!i.causal && !i.rope_pairs && !i.qk_norm && i.pooling == MODEL_POOL_MEAN);
    assert_int_equal(read_arch(&(struct file){.arch = "qwen2", .tensor = "blk.0.attn_q.bias"}, &i, &em), 0);
    assert_true(i.causal && i.qkv_bias && !i.rope_pairs);
    assert_int_equal(read_arch(&(struct file){.arch = "qwen2vl"}, &i, &em), 0);
    assert_true(i.causal && !i.qk_norm && !i.rope_pairs);
    assert_int_equal(read_arch(&(struct file){.arch = "qwen3", .u32 = {{"attention.key_length", 16}, {"pooling_type", 3}}}, &i, &em), 0);
    assert_true(i.qk_norm && i.head_dim == 16 && i.pooling == MODEL_POOL_LAST);
    assert_int_equal(read_arch(&(struct file){.arch = "qwen3vl", .u32 = {{"n_deepstack_layers", 3}}}, &i, &em), 0);
    assert_true(i.causal && i.qk_norm && !i.rope_pairs);
    assert_int_equal(read_arch(&(struct file){.arch = "gemma3", .u32 = {{"attention.sliding_window", 512}}}, &i, &em), 0);
    assert_true(i.causal && i.window == 512 && i.window_period == 6 && i.rope_theta_local == 10000 && i.post_norms);
    assert_true(i.gate == MODEL_GATE_GELU_TANH && !i.layer_norm && !i.fused);
    assert_true(fabsf(i.embed_scale - sqrtf(32)) < 1e-6f && i.attention_scale == 0);
    assert_true(arch_layer_is_local(&i, 0) && arch_layer_is_local(&i, 4) && !arch_layer_is_local(&i, 5));
    assert_int_equal(read_arch(&(struct file){.arch = "gemma-embedding", .u32 = {{"attention.sliding_window", 512}}}, &i, &em), 0);
    assert_true(!i.causal && i.window == 257);
    assert_int_equal(read_arch(&(struct file){.arch = "gemma2"}, &i, &em), 0);
    assert_true(i.causal && i.window == 4096 && i.window_period == 2 && i.rope_theta_local == 10000 && i.gate == MODEL_GATE_GELU_TANH);
    assert_true(i.post_norms && !i.qk_norm);
    assert_true(i.attention_cap == 50 && i.attention_scale == 0 && arch_layer_is_local(&i, 0) && !arch_layer_is_local(&i, 1));
    assert_int_equal(read_arch(&(struct file){.arch = "gemma2", .u32 = {{"attention.sliding_window", 8}},
                                              .f32 = {{"attn_logit_softcapping", 30}, {"rope.freq_base", 5e4f}}}, &i, &em), 0);
    assert_true(i.window == 8 && i.attention_cap == 30 && i.rope_theta_local == 5e4f);
    /* Converted from a configuration without local layers. */
    assert_int_equal(read_arch(&(struct file){.arch = "gemma3"}, &i, &em), 0);
    for (uint32_t layer = 0; layer < 12; layer++)
        assert_false(arch_layer_is_local(&i, layer));
    /* More positions than are ever taken at once. */
    assert_int_equal(read_arch(&(struct file){.arch = "llama", .skip = "context_length", .raw = {{"llama.context_length", 4194304}}}, &i, &em), 0);
    assert_int_equal(i.token_limit, 1 << 20);
}

static void test_modern(void **state)
{
    struct model_info i;
    struct err_msg em = {{0}};
    assert_int_equal(read_arch(&(struct file){.arch = "modern-bert", .u32 = {{"attention.sliding_window", 128}, {"pooling_type", 2}},
                                              .f32 = {{"rope.freq_base", 160000}, {"rope.freq_base_swa", 10000}}}, &i, &em), 0);
    assert_true(!i.causal && i.layer_norm && i.bare_first && i.fused && i.gate == MODEL_GATE_GELU && i.norm_eps == 1e-5f);
    assert_true(i.window == 65 && i.rope_theta == 160000 && i.rope_theta_local == 10000 && i.pooling == MODEL_POOL_CLS);
    for (uint32_t layer = 0; layer < 9; layer++)
        assert_int_equal(arch_layer_is_local(&i, layer), layer % 3 != 0);
    assert_int_equal(read_arch(&(struct file){.arch = "modern-bert", .tensor = "blk.0.attn_norm.weight", .f32 = {{"rope.freq_base", 5e4f}},
                                              .u32 = {{"attention.sliding_window", 8}, {"attention.sliding_window_pattern", 2}},
                                              .str = {{"modern-bert.hidden_activation", "swiglu"}}}, &i, &em), 0);
    assert_true(!i.bare_first && i.gate == MODEL_GATE_SILU && i.rope_theta_local == 5e4f && i.window == 5);
    assert_true(!arch_layer_is_local(&i, 0) && arch_layer_is_local(&i, 1) && !arch_layer_is_local(&i, 2));
    assert_int_equal(read_arch(&(struct file){.arch = "modern-bert"}, &i, &em), 0);
    assert_false(arch_layer_is_local(&i, 1));
    assert_int_equal(read_arch(&(struct file){.arch = "modern-bert", .str = {{"modern-bert.hidden_activation", "relu"}}}, &i, &em), LT_EUNSUPPORTED);
    assert_non_null(strstr(em.text, "\"relu\""));
    assert_int_equal(read_arch(&(struct file){.arch = "modern-bert", .f32 = {{"rope.scaling.factor", 4}}}, &i, &em), LT_EUNSUPPORTED);
    assert_non_null(strstr(em.text, "RoPE scaling"));
    assert_int_equal(read_arch(&(struct file){.arch = "modern-bert", .skip = "attention.layer_norm_epsilon"}, &i, &em), LT_ENOTFOUND);
}

static void test_tokens(void **state)
{
    struct model_info i;
    struct err_msg em = {{0}};
    assert_int_equal(read_arch(&(struct file){.arch = "llama", .str = {{"tokenizer.ggml.model", "llama"}}}, &i, &em), 0);
    assert_true(i.has_tokenizer && i.bos == 1 && i.eos == 2 && i.unk == 0 && i.add_bos && !i.add_eos);
    assert_int_equal(read_arch(&(struct file){.arch = "llama", .str = {{"tokenizer.ggml.model", "gpt2"}}}, &i, &em), 0);
    assert_true(i.has_tokenizer && i.bos == -1 && i.eos == -1 && !i.add_bos);
    assert_int_equal(read_arch(&(struct file){.arch = "llama", .str = {{"tokenizer.ggml.model", "gpt2"},
                                                                       {"tokenizer.ggml.pre", "llama-bpe"}}}, &i, &em), 0);
    assert_true(i.add_bos);
    static const char *const with_bos[] = {"llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"};
    for (size_t k = 0; k < sizeof with_bos / sizeof *with_bos; k++) {
        const struct file f = {.arch = "llama", .str = {{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.pre", with_bos[k]}}};
        assert_int_equal(read_arch(&f, &i, &em), 0);
        assert_true(i.add_bos);
    }
    /* As llama.cpp does, whatever the file says. */
    const struct file lines = {.arch = "gemma3", .str = {{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.pre", "granite-embed-multi-311m"}},
                               .raw = {{"tokenizer.ggml.bos_token_id", 2}}};
    assert_int_equal(read_arch(&lines, &i, &em), 0);
    assert_true(i.add_bos && i.bos == 2);
    /* How llama.cpp's own writer says that there is none: what a file that does not say means. */
    const struct file none = {.arch = "llama", .str = {{"tokenizer.ggml.model", "llama"}},
                              .raw = {{"tokenizer.ggml.bos_token_id", UINT32_MAX}, {"tokenizer.ggml.unknown_token_id", UINT32_MAX}}};
    assert_int_equal(read_arch(&none, &i, &em), 0);
    assert_true(i.bos == 1 && i.unk == 0);
    const struct file wild = {.arch = "llama", .str = {{"tokenizer.ggml.model", "gpt2"}}, .raw = {{"tokenizer.ggml.eos_token_id", UINT32_MAX - 1}}};
    assert_int_equal(read_arch(&wild, &i, &em), 0); /* which layout_check refuses */
    assert_true(i.bos == -1 && i.eos == INT32_MAX);
    assert_int_equal(read_arch(&(struct file){.arch = "llama", .str = {{"tokenizer.ggml.model", "no_vocab"}}}, &i, &em), 0);
    assert_false(i.has_tokenizer);
}

/* Any causal family may be a reranker; without labels it has one. */
static void test_rank(void **state)
{
    static const char *const causal[] = {"llama", "qwen2", "qwen3"};
    struct model_info i;
    struct err_msg em = {{0}};
    for (size_t k = 0; k < sizeof causal / sizeof *causal; k++) {
        const struct file f = {.arch = causal[k], .u32 = {{"pooling_type", 4}}, .str = {{"tokenizer.ggml.model", "gpt2"}}};
        assert_int_equal(read_arch(&f, &i, &em), 0);
        assert_true(i.ranks && i.n_labels == 1 && i.label == 0 && !i.head_bias && i.pooling == MODEL_POOL_LAST);
    }
    struct file modern = {.arch = "modern-bert", .u32 = {{"pooling_type", 4}}, .str = {{"tokenizer.ggml.model", "gpt2"}}, .tensor = "cls.weight"};
    assert_int_equal(read_arch(&modern, &i, &em), 0);
    assert_true(i.ranks && !i.causal && i.pooling == MODEL_POOL_MEAN && i.head_dense && i.n_labels == 1);
    modern.u32[1].key = "classifier.pooling_type";
    modern.u32[1].v = 2;
    modern.tensor = NULL;
    assert_int_equal(read_arch(&modern, &i, &em), 0);
    assert_true(i.ranks && i.pooling == MODEL_POOL_CLS && !i.head_dense);
    const struct file biased = {.arch = "qwen3", .u32 = {{"pooling_type", 4}}, .str = {{"tokenizer.ggml.model", "gpt2"}}, .tensor = "cls.output.bias"};
    assert_int_equal(read_arch(&biased, &i, &em), 0);
    assert_true(i.head_bias);
}

static void refused(const struct file *f, int code, const char *names)
{
    struct model_info i;
    struct err_msg em = {{0}};
    assert_int_equal(read_arch(f, &i, &em), code);
    if (!strstr(em.text, names))
        fail_msg("\"%s\" does not name %s", em.text, names);
}

static void test_refused(void **state)
{
    static const char *const needed[] = {"context_length", "embedding_length", "block_count", "feed_forward_length",
                                         "attention.head_count"};
    for (size_t k = 0; k < sizeof needed / sizeof *needed; k++)
        refused(&(struct file){.arch = "llama", .skip = needed[k]}, LT_ENOTFOUND, needed[k]);
    refused(&(struct file){.arch = "bert"}, LT_EUNSUPPORTED, "\"bert\"");
    refused(&(struct file){.arch = "qwen3moe"}, LT_EUNSUPPORTED, "\"qwen3moe\"");
    refused(&(struct file){.arch = "llama", .u32 = {{"expert_count", 8}}}, LT_EUNSUPPORTED, "mixture of experts");
    refused(&(struct file){.arch = "llama", .u32 = {{"attention.value_length", 4}}}, LT_EUNSUPPORTED, "value size");
    refused(&(struct file){.arch = "llama", .u32 = {{"rope.dimension_count", 4}}}, LT_EUNSUPPORTED, "part of each head");
    refused(&(struct file){.arch = "llama", .u32 = {{"pooling_type", 4}}}, LT_EUNSUPPORTED, "a reranker without a tokenizer");
    refused(&(struct file){.arch = "llama-embed", .u32 = {{"pooling_type", 4}}}, LT_EUNSUPPORTED, "a reranker with the full mask");
    refused(&(struct file){.arch = "modern-bert", .u32 = {{"pooling_type", 4}, {"classifier.pooling_type", 3}}}, LT_EUNSUPPORTED,
            "classifier.pooling_type 3");
    refused(&(struct file){.arch = "llama", .u32 = {{"pooling_type", 9}}}, LT_EUNSUPPORTED, "pooling_type 9");
    refused(&(struct file){.arch = "llama", .str = {{"llama.rope.scaling.type", "longrope"}}}, LT_EUNSUPPORTED, "\"longrope\"");
    refused(&(struct file){.arch = "llama", .str = {{"llama.rope.scaling.type", "yarn"}}}, LT_ENOTFOUND, "original_context_length");
    refused(&(struct file){.arch = "llama", .str = {{"llama.rope.scaling.type", "yarn"}},
                           .u32 = {{"rope.scaling.original_context_length", 64}}}, LT_EFORMAT, "YaRN");
    refused(&(struct file){.arch = "llama", .str = {{"llama.rope.scaling.type", "yarn"}},
                           .u32 = {{"rope.scaling.original_context_length", 64}},
                           .f32 = {{"rope.scaling.factor", 4}, {"rope.scaling.yarn_log_multiplier", 0.1f}}}, LT_EUNSUPPORTED,
            "yarn_log_multiplier");
    refused(&(struct file){.arch = "gemma2", .f32 = {{"attn_logit_softcapping", 0}}}, LT_EFORMAT, "attn_logit_softcapping is 0");
    refused(&(struct file){.arch = "gemma2", .f32 = {{"rope.scaling.factor", 2}}}, LT_EUNSUPPORTED, "RoPE scaling");
    refused(&(struct file){.arch = "gemma2", .u32 = {{"pooling_type", 4}}}, LT_EUNSUPPORTED, "a reranker, whose logits");
    refused(&(struct file){.arch = "llama", .f32 = {{"attention.temperature_scale", 0.1f}}}, LT_EUNSUPPORTED,
            "attention.temperature_scale");
    refused(&(struct file){.arch = "llama", .f32 = {{"rope.scaling.factor", -1}}}, LT_EFORMAT, "factor");
    refused(&(struct file){.arch = "llama", .f32 = {{"rope.scaling.factor", NAN}}}, LT_EFORMAT, "factor");
    refused(&(struct file){.arch = "gemma-embedding"}, LT_ENOTFOUND, "attention.sliding_window");
    refused(&(struct file){.arch = "gemma3", .f32 = {{"rope.global.freq_base", 1e6f}}}, LT_EUNSUPPORTED, "rope.global.freq_base");
    refused(&(struct file){.arch = "gemma3", .f32 = {{"rope.freq_base", 1e6f}, {"rope.local.freq_base", 1e4f}}}, LT_EUNSUPPORTED,
            "rope.local.freq_base");
    refused(&(struct file){.arch = "llama", .raw = {{"split.no", 0}, {"split.count", 3}}}, LT_EUNSUPPORTED, "one of 3");
}

static void test_rope(void **state)
{
    struct model_info i = {.n_heads = 2, .head_dim = 8, .rope_pairs = true, .rope_theta = 10000, .rope_theta_local = 100};
    static const uint64_t want[] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
    static const float factors[] = {1, 2, 4, 8};
    float f[4];
    for (uint64_t row = 0; row < 16; row++)
        assert_int_equal(arch_rope_row(&i, row), want[row]);
    i.rope_pairs = false;
    assert_int_equal(arch_rope_row(&i, 13), 13);
    i.rope_divisor = 4;
    arch_rope_freqs(&i, false, factors, f);
    for (int k = 0; k < 4; k++)
        assert_true(fabs(f[k] * factors[k] * 4 - pow(10000, -k / 4.0)) < 1e-7);
    arch_rope_freqs(&i, true, NULL, f);
    for (int k = 0; k < 4; k++)
        assert_true(fabs(f[k] - pow(100, -k / 4.0)) < 1e-7);
}

/* YaRN's magnitude belongs to the layers whose frequencies it scales. */
static void test_scale(void **state)
{
    struct model_info i = {.n_heads = 2, .head_dim = 16};
    assert_true(arch_attention_scale(&i, false) == 0.25 && arch_attention_scale(&i, true) == 0.25);
    i.rope_magnitude = 2;
    assert_true(arch_attention_scale(&i, false) == 1 && arch_attention_scale(&i, true) == 0.25);
    i.attention_scale = 0.5f;
    assert_true(arch_attention_scale(&i, false) == 2 && arch_attention_scale(&i, true) == 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_modern), cmocka_unit_test(test_tokens), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_rank),
        cmocka_unit_test(test_rope),     cmocka_unit_test(test_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
