/* The model's numbers, any bits: those that the check accepts make a list of tensors with names of their own and sizes that do
 * not wrap. */
#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "model/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_info info = {0};
    struct bytes_in in = bytes_in(data, size);
    struct err_msg em;
    uint32_t *const numbers[] = {&info.token_limit, &info.hidden, &info.n_layers, &info.ffn, &info.n_heads, &info.n_kv_heads,
                                 &info.head_dim, &info.vocab, &info.n_latents, &info.n_latent_heads, &info.latent_head_dim,
                                 &info.latent_ffn};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        *numbers[i] = bytes_u32(&in);
    info.norm_eps = bytes_f32(&in);
    info.rope_theta = bytes_f32(&in);
    info.layer_norm_eps = bytes_f32(&in);
    info.bos = (int32_t)bytes_u32(&in);
    info.eos = (int32_t)bytes_u32(&in);
    info.unk = (int32_t)bytes_u32(&in);
    const uint8_t flags = bytes_u8(&in);
    info.add_bos = flags & 1;
    info.add_eos = flags & 2;
    info.pooling = flags & 4 ? MODEL_POOL_MEAN : MODEL_POOL_LATENT;
    struct layout_item *items = NULL;
    size_t n;
    if (in.bad || layout_check(&info, &em) < 0 || layout_list(&info, &items, &n, &em) < 0)
        return 0;
    uint64_t total = 0, product;
    for (size_t i = 0; i < n; i++) {
        FUZZ_CHECK(items[i].name[0] && items[i].source[0] && memchr(items[i].name, 0, sizeof items[i].name));
        FUZZ_CHECK(!__builtin_mul_overflow(items[i].rows, items[i].cols, &product) && product);
        FUZZ_CHECK(!__builtin_add_overflow(total, product, &total) && total < 1ull << 60);
        FUZZ_CHECK(tensor_row_bytes(TENSOR_F32, items[i].cols));
    }
    FUZZ_CHECK(info.rope_theta >= 1 && info.norm_eps > 0);
    free(items);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const uint32_t small[] = {16, 8, 2, 12, 4, 2, 2, 32, 4, 2, 3, 16};
    static const uint32_t most[] = {1u << 20, 65536, 1024, 1u << 20, 1024, 1024, 4096, 1u << 22, 65536, 1024, 65536, 1u << 20};
    struct bytes_out o = {0};
    if (i > 3)
        return 0;
    for (int j = 0; j < 12; j++)
        bytes_put_u32(&o, i & 1 ? most[j] : small[j]);
    bytes_put_f32(&o, 1e-5f);
    bytes_put_f32(&o, 10000);
    bytes_put_f32(&o, 1e-5f);
    for (uint32_t j = 0; j < 3; j++)
        bytes_put_u32(&o, j);
    bytes_put_u8(&o, i & 2 ? 7 : 3);
    size_t len = o.bad || o.len > cap ? 0 : o.len;
    if (len)
        memcpy(buf, o.data, len);
    bytes_out_finish(&o);
    return len;
}
