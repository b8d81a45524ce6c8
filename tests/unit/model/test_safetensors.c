#include "tests/unit.h"

#include <unistd.h>

#include "model/checkpoint.h"
#include "model/layout.h"
#include "model/safetensors.h"

/* Parses a header followed by data_len bytes; header_len 0: the true length. */
static int parse(const char *json, uint64_t header_len, size_t data_len, struct err_msg *em)
{
    struct safetensors *s = NULL;
    size_t n = strlen(json);
    uint8_t *b = calloc(1, 8 + n + data_len);
    assert_non_null(b);
    if (!header_len)
        header_len = n;
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(header_len >> (8 * i));
    memcpy(b + 8, json, n);
    em->text[0] = 0;
    int r = safetensors_parse(&s, b, 8 + n + data_len, em);
    if (r == 0) {
        for (size_t i = 0; i < safetensors_count(s); i++) {
            const struct safetensors_entry *e = safetensors_at(s, i);
            assert_true(e->data >= b + 8 + n && e->data + e->len_bytes <= b + 8 + n + data_len);
        }
        assert_null(safetensors_find(s, "none"));
    }
    safetensors_destroy(&s);
    free(b);
    return r;
}

#define T(dtype, shape, offsets) "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_good(void **state)
{
    struct err_msg em;
    assert_int_equal(parse("{}", 0, 0, &em), 0);
    assert_int_equal(parse(T("\"F16\"", "[2,3]", "[0,12]"), 0, 12, &em), 0);
    assert_int_equal(parse(T("\"BF16\"", "[6]", "[4,16]"), 0, 16, &em), 0);
    assert_int_equal(parse(T("\"I64\"", "[]", "[0,8]"), 0, 8, &em), 0); /* known, though not usable */
    assert_int_equal(parse("{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
                           "\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
                           0, 8, &em), 0);
}

static void test_forged(void **state)
{
    static const struct {
        const char *json;
        uint64_t header_len;
        size_t data_len;
        int code;
    } forged[] = {
        {"{}", 3, 0, LT_EFORMAT},
        {"{}", 1ull << 40, 0, LT_ELIMIT},
        {"{}", UINT64_MAX, 0, LT_ELIMIT},
        {"[]", 0, 0, LT_EFORMAT},
        {"{", 0, 0, LT_EFORMAT},
        {"{\"t\":1}", 0, 0, LT_EFORMAT},
        {"{\"t\":{},\"t\":{}}", 0, 0, LT_EFORMAT},
        {"{\"t\":[[[[[[]]]]]]}", 0, 0, LT_ELIMIT},
        {T("\"F8\"", "[1]", "[0,1]"), 0, 1, LT_EUNSUPPORTED},
        {T("7", "[1]", "[0,1]"), 0, 1, LT_EFORMAT},
        {T("\"F32\"", "1", "[0,4]"), 0, 4, LT_EFORMAT},
        {T("\"F32\"", "[-1]", "[0,4]"), 0, 4, LT_EFORMAT},
        {T("\"F32\"", "[1.0]", "[0,4]"), 0, 4, LT_EFORMAT},
        {T("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 0, 4, LT_EFORMAT},
        {T("\"F32\"", "[4611686018427387904,4]", "[0,4]"), 0, 4, LT_EFORMAT},
        {T("\"F32\"", "[2]", "[0,4]"), 0, 8, LT_EFORMAT},
        {T("\"F32\"", "[1]", "[4,0]"), 0, 4, LT_EFORMAT},
        {T("\"F32\"", "[1]", "[0,4]"), 0, 3, LT_EFORMAT},
        {T("\"F32\"", "[1]", "[0]"), 0, 4, LT_EFORMAT},
        {T("\"F32\"", "[1]", "[-4,0]"), 0, 4, LT_EFORMAT},
        {T("\"F32\"", "[1]", "[9223372036854775800,9223372036854775804]"), 0, 4, LT_EFORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 0, 8, LT_EFORMAT},
    };
    struct err_msg em;
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        int r = parse(forged[i].json, forged[i].header_len, forged[i].data_len, &em);
        if (r != forged[i].code || !em.text[0])
            fail_msg("%s: %s (%s)", forged[i].json, err_name(r), em.text);
    }
}

static int config(const char *json, struct model_info *i, struct checkpoint_texts *t, struct err_msg *em)
{
    em->text[0] = 0;
    return checkpoint_config_parse(json, strlen(json), NULL, 0, i, t, em);
}

/* NV-Embed's own config.json leaves the pooler to the defaults of the released class. */
static void test_config_defaults(void **state)
{
    struct model_info i;
    struct checkpoint_texts t;
    struct err_msg em;
    assert_int_equal(config("{\"_name_or_path\":\"nvidia/NV-Embed-v2\"}", &i, &t, &em), 0);
    assert_string_equal(i.name, "NV-Embed-v2");
    assert_int_equal(i.hidden, 4096);
    assert_int_equal(i.n_layers, 32);
    assert_int_equal(i.n_heads, 32);
    assert_int_equal(i.n_kv_heads, 8);
    assert_int_equal(i.head_dim, 128);
    assert_int_equal(i.ffn, 14336);
    assert_int_equal(i.vocab, 32000);
    assert_int_equal(i.token_limit, 32768);
    assert_int_equal(i.n_latents, 512);
    assert_int_equal(i.n_latent_heads, 8);
    assert_int_equal(i.latent_head_dim, 4096);
    assert_int_equal(i.latent_ffn, 16384);
    assert_true(i.add_bos && i.add_eos && !i.causal);
    assert_string_equal(t.instruct_template, "Instruct: {}\nQuery: ");
    assert_int_equal(config("{\"_name_or_path\":\"latent-mini\"}", &i, &t, &em), 0);
    assert_string_equal(t.query_prefix, "query: ");
    assert_string_equal(t.instruct_template, "");
    assert_int_equal(config("{\"latentd\":{\"name\":\"n\",\"query_prefix\":\"q \",\"token_limit\":77}}", &i, &t, &em), 0);
    assert_string_equal(i.name, "n");
    assert_string_equal(t.query_prefix, "q ");
    assert_int_equal(i.token_limit, 77);
}

/* RoPE's base as transformers wrote it up to version 4, and as it writes it since. */
static void test_config_rope(void **state)
{
    static const struct {
        const char *text;
        float theta;
    } good[] = {
        {"\"rope_theta\":50000.0,\"rope_scaling\":null", 50000},
        {"\"rope_parameters\":{\"rope_theta\":1000000.0,\"rope_type\":\"default\"}", 1e6f},
        {"\"rope_theta\":1000000,\"rope_parameters\":{\"rope_theta\":1000000.0,\"rope_type\":\"default\"}", 1e6f},
        {"\"rope_theta\":50000.0,\"rope_scaling\":{\"type\":\"default\"}", 50000},
        {"\"rope_parameters\":{\"rope_type\":\"default\",\"factor\":null}", 10000},
        {"\"rope_parameters\":null", 10000},
    };
    struct model_info i;
    struct checkpoint_texts t;
    struct err_msg em;
    char json[300];
    for (size_t k = 0; k < sizeof good / sizeof *good; k++) {
        snprintf(json, sizeof json, "{\"text_config\":{%s}}", good[k].text);
        if (config(json, &i, &t, &em) < 0 || i.rope_theta != good[k].theta)
            fail_msg("%s: %g (%s)", json, (double)i.rope_theta, em.text);
    }
    assert_int_equal(config("{\"text_config\":{\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4.0}}}", &i, &t, &em), LT_EUNSUPPORTED);
    assert_non_null(strstr(em.text, "config.json: rope_type is yarn; only \"default\" is supported"));
}

/* As the release has it: a number that no integer holds, which is not used; one in config.json is refused. */
static void test_tokenizer_config(void **state)
{
    static const char config_json[] = "{\"_name_or_path\":\"nvidia/NV-Embed-v2\"}";
    static const struct {
        const char *json;
        int code;
        bool bos;
    } file[] = {
        {"{\"add_bos_token\":true,\"add_eos_token\":false,\"model_max_length\":1000000000000000019884624838656}", 0, true},
        {"{\"add_bos_token\":false,\"model_max_length\":1e400}", LT_EFORMAT, false},
        {"{\"add_bos_token\":false,\"model_max_length\":32768}", 0, false},
        {"{}", 0, true},
        {"{\"add_bos_token\":1}", LT_EFORMAT, false},
        {"{\"add_bos_token\":true", LT_EFORMAT, false},
        {"[]", LT_EFORMAT, false},
    };
    struct model_info i;
    struct checkpoint_texts t;
    struct err_msg em;
    for (size_t k = 0; k < sizeof file / sizeof *file; k++) {
        em.text[0] = 0;
        int r = checkpoint_config_parse(config_json, sizeof config_json - 1, file[k].json, strlen(file[k].json), &i, &t, &em);
        if (r != file[k].code || (r == 0 && i.add_bos != file[k].bos))
            fail_msg("%s: %s (%s)", file[k].json, err_name(r), em.text);
    }
    assert_int_equal(config("{\"hidden_size\":1000000000000000019884624838656}", &i, &t, &em), LT_EFORMAT);
}

/* The release's own two files: its 304 tensors, its 7,851,016,192 weights. */
static void test_release(void **state)
{
    char dir[4096];
    struct model_info i;
    struct checkpoint_texts t;
    struct layout_item *items = NULL;
    struct err_msg em = {{0}};
    uint64_t n_weights = 0;
    size_t n = 0;
    snprintf(dir, sizeof dir, "%s/golden/nv-embed-v2-files", getenv("LATENTD_SHARED") ? getenv("LATENTD_SHARED") : ".");
    if (access(dir, R_OK)) {
        print_message("skipped: no %s\n", dir);
        skip();
    }
    if (checkpoint_config(dir, &i, &t, &em) < 0 || layout_list(&i, &items, &n, &em) < 0)
        fail_msg("%s", em.text);
    for (size_t k = 0; k < n; k++)
        n_weights += items[k].rows * items[k].cols;
    assert_int_equal(n, 304);
    assert_int_equal(n_weights, 7851016192);
    assert_string_equal(i.name, "NV-Embed-v2");
    assert_string_equal(t.instruct_template, "Instruct: {}\nQuery: ");
    assert_true(i.add_bos && i.add_eos && !i.causal);
    assert_int_equal(i.token_limit, 32768);
    free(items);
}

static void test_config_refused(void **state)
{
    static const struct {
        const char *json;
        int code;
    } bad[] = {
        {"", LT_EFORMAT},
        {"[]", LT_EFORMAT},
        {"{\"model_type\":\"bert\"}", LT_EUNSUPPORTED},
        {"{\"mask_type\":\"c\"}", LT_EUNSUPPORTED},
        {"{\"is_mask_instruction\":false}", LT_EUNSUPPORTED},
        {"{\"text_config\":7}", LT_EFORMAT},
        {"{\"text_config\":{\"hidden_act\":\"gelu\"}}", LT_EUNSUPPORTED},
        {"{\"text_config\":{\"rope_scaling\":{\"type\":\"linear\"}}}", LT_EUNSUPPORTED},
        {"{\"text_config\":{\"rope_scaling\":7}}", LT_EFORMAT},
        {"{\"text_config\":{\"rope_parameters\":{\"rope_type\":7}}}", LT_EUNSUPPORTED},
        {"{\"text_config\":{\"rope_parameters\":{\"factor\":2.0}}}", LT_EUNSUPPORTED},
        {"{\"text_config\":{\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e6}}}}", LT_EUNSUPPORTED},
        {"{\"text_config\":{\"rope_parameters\":{\"rope_theta\":\"x\"}}}", LT_EFORMAT},
        {"{\"text_config\":{\"rope_theta\":10000.0,\"rope_parameters\":{\"rope_theta\":1e6}}}", LT_EFORMAT},
        {"{\"text_config\":{\"num_hidden_layers\":-1}}", LT_EFORMAT},
        {"{\"text_config\":{\"num_hidden_layers\":99999999999}}", LT_EFORMAT},
        {"{\"text_config\":{\"num_attention_heads\":0}}", LT_EFORMAT},
        {"{\"text_config\":{\"num_attention_heads\":7}}", LT_EFORMAT},
        {"{\"text_config\":{\"rms_norm_eps\":\"x\"}}", LT_EFORMAT},
        {"{\"hidden_size\":64}", 0}, /* head size 2 */
        {"{\"hidden_size\":64,\"text_config\":{\"hidden_size\":128}}", LT_EFORMAT},
        {"{\"latent_attention_config\":{\"latent_dim\":5}}", LT_EUNSUPPORTED},
        {"{\"latentd\":{\"query_prefix\":5}}", LT_EFORMAT},
    };
    struct model_info i;
    struct checkpoint_texts t;
    struct err_msg em;
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        int r = config(bad[k].json, &i, &t, &em);
        if (r != bad[k].code || (r < 0 && !em.text[0]))
            fail_msg("%s: %s (%s)", bad[k].json, err_name(r), em.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_config_defaults),
        cmocka_unit_test(test_config_rope),
        cmocka_unit_test(test_tokenizer_config),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_config_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
