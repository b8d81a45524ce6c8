/* The model's numbers, each at its limits and beyond, and the list of tensors that they give. */
#include "tests/unit.h"

#include <math.h>
#include <stddef.h>

#include "model/layout.h"

static struct model_info released(void)
{
    return (struct model_info){.dim = 4096, .n_layers = 32, .hidden = 4096, .n_heads = 32, .n_kv_heads = 8, .head_dim = 128,
                               .ffn = 14336, .vocab = 32000, .token_limit = 32768, .norm_eps = 1e-5f, .rope_theta = 10000,
                               .pooling = MODEL_POOL_LATENT, .n_latents = 512, .n_latent_heads = 8, .latent_head_dim = 4096,
                               .latent_ffn = 16384, .layer_norm_eps = 1e-5f, .bos = 1, .eos = 2, .add_bos = true,
                               .add_eos = true};
}

static void test_released_shape(void **state)
{
    struct model_info i = released();
    struct layout_item *items = NULL;
    struct err_msg em;
    size_t n;
    uint64_t params = 0;
    assert_int_equal(layout_check(&i, &em), 0);
    assert_int_equal(layout_list(&i, &items, &n, &em), 0);
    assert_int_equal(n, 304);
    for (size_t t = 0; t < n; t++) {
        params += items[t].rows * items[t].cols;
        for (size_t u = 0; u < t; u++)
            assert_true(strcmp(items[t].name, items[u].name) && strcmp(items[t].source, items[u].source));
    }
    assert_int_equal(params, 7851016192);
    free(items);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *what;
        size_t at;
        uint32_t min, max; /* allowed, the other numbers being the released ones */
    } number[] = {
        {"token limit", offsetof(struct model_info, token_limit), 1, 1u << 20},
        {"hidden size", offsetof(struct model_info, hidden), 1, 65536},
        {"number of layers", offsetof(struct model_info, n_layers), 1, 1024},
        {"feed-forward length", offsetof(struct model_info, ffn), 1, 1u << 20},
        {"number of heads", offsetof(struct model_info, n_heads), 8, 1024},
        {"number of key/value heads", offsetof(struct model_info, n_kv_heads), 1, 32},
        {"head size", offsetof(struct model_info, head_dim), 2, 4096},
        {"vocabulary", offsetof(struct model_info, vocab), 3, 1u << 22}, /* ids 1 and 2 are in it */
        {"number of latents", offsetof(struct model_info, n_latents), 1, 65536},
        {"number of latent heads", offsetof(struct model_info, n_latent_heads), 1, 1024},
        {"size of a latent head", offsetof(struct model_info, latent_head_dim), 1, 65536},
        {"pooler's feed-forward length", offsetof(struct model_info, latent_ffn), 1, 1u << 20},
    };
    struct err_msg em;
    for (size_t k = 0; k < sizeof number / sizeof *number; k++) {
        const uint32_t tried[] = {0, number[k].min - 1, number[k].min, number[k].max, number[k].max + 1, INT32_MAX, UINT32_MAX};
        for (size_t v = 0; v < sizeof tried / sizeof *tried; v++) {
            struct model_info i = released();
            memcpy((char *)&i + number[k].at, &tried[v], sizeof tried[v]);
            int want = tried[v] < number[k].min || tried[v] > number[k].max ? LT_EFORMAT : 0, r = layout_check(&i, &em);
            if (r != want)
                fail_msg("%s %u: %s", number[k].what, tried[v], err_name(r));
        }
    }
}

static void test_relations(void **state)
{
    struct err_msg em;
#define REFUSED(...)                                                                               \
    do {                                                                                           \
        struct model_info i = released();                                                          \
        __VA_ARGS__;                                                                               \
        em.text[0] = 0;                                                                            \
        int r = layout_check(&i, &em);                                                             \
        if (r != LT_EFORMAT || !em.text[0])                                                        \
            fail_msg("%s: %s", #__VA_ARGS__, err_name(r));                                         \
    } while (0)
    REFUSED(i.n_kv_heads = 5);
    REFUSED(i.head_dim = 127);
    REFUSED(i.norm_eps = 0);
    REFUSED(i.norm_eps = 1.5f);
    REFUSED(i.norm_eps = NAN);
    REFUSED(i.rope_theta = 0.5f);
    REFUSED(i.rope_theta = INFINITY);
    REFUSED(i.rope_theta = NAN);
    REFUSED(i.layer_norm_eps = 0);
    REFUSED(i.layer_norm_eps = NAN);
    REFUSED(i.bos = -2);
    REFUSED(i.bos = -1); /* is to be added */
    REFUSED(i.eos = 32000);
    REFUSED(i.unk = INT32_MAX);
#undef REFUSED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_released_shape),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_relations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
