/* config.json, and behind a NUL tokenizer_config.json: whatever they say, numbers that pass the model's own check list tensors
 * whose sizes do not wrap. */
#include "tests/fuzz/fuzz.h"

#include "model/checkpoint.h"
#include "model/layout.h"

static void check_texts(const struct model_info *i, const struct checkpoint_texts *t)
{
    FUZZ_CHECK(memchr(i->name, 0, sizeof i->name));
    FUZZ_CHECK(memchr(t->query_prefix, 0, sizeof t->query_prefix));
    FUZZ_CHECK(memchr(t->instruct_template, 0, sizeof t->instruct_template));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct checkpoint_texts texts;
    struct model_info info;
    struct err_msg em;
    const uint8_t *cut = size ? memchr(data, 0, size) : NULL;
    const size_t len = cut ? (size_t)(cut - data) : size;
    memset(&texts, 'x', sizeof texts);
    if (checkpoint_config_parse((const char *)data, len, cut ? (const char *)cut + 1 : NULL, cut ? size - len - 1 : 0, &info,
                                &texts, &em) < 0)
        return 0;
    check_texts(&info, &texts);
    struct layout_item *items = NULL;
    size_t n;
    if (layout_check(&info, &em) < 0 || layout_list(&info, &items, &n, &em) < 0)
        return 0;
    uint64_t total = 0, product;
    for (size_t i = 0; i < n; i++) {
        FUZZ_CHECK(!__builtin_mul_overflow(items[i].rows, items[i].cols, &product));
        FUZZ_CHECK(!__builtin_add_overflow(total, product, &total));
        FUZZ_CHECK(product && (!items[i].vector || items[i].rows == 1));
    }
    free(items);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char nv[] =
        "{\"_name_or_path\":\"nvidia/NV-Embed-v2\",\"add_eos\":true,\"mask_type\":\"b\",\"is_mask_instruction\":true,"
        "\"hidden_size\":256,\"model_type\":\"nvembed\",\"latent_attention_config\":{\"model_type\":\"latent_attention\","
        "\"num_latents_value\":32,\"num_cross_heads\":2,\"cross_dim_head\":64,\"hidden_dim\":256,\"latent_dim\":256},"
        "\"text_config\":{\"model_type\":\"bidir_mistral\",\"hidden_act\":\"silu\",\"hidden_size\":256,\"intermediate_size\":512,"
        "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":512,\"head_dim\":64,"
        "\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,\"bos_token_id\":1,\"eos_token_id\":2,\"rope_scaling\":null}}\0"
        "{\"add_bos_token\":true}";
    static const char ours[] = "{\"latentd\":{\"name\":\"n\\u00e4\",\"query_prefix\":\"q: \",\"instruct_template\":\"I: {}\",\"token_limit\":77}}";
    const char *seed = i == 0 ? nv : ours;
    size_t n = i == 0 ? sizeof nv - 1 : sizeof ours - 1;
    if (i > 1 || n > cap)
        return 0;
    memcpy(buf, seed, n);
    return n;
}
