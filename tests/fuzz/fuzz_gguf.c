/* The GGUF reader: whatever the bytes, what it accepts can be read in full. */
#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "model/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g = NULL;
    struct err_msg em;
    if (gguf_parse(&g, data, size, &em) < 0)
        return 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        FUZZ_CHECK((const uint8_t *)t->data >= data && t->len_bytes <= size);
        FUZZ_CHECK((const uint8_t *)t->data + t->len_bytes <= data + size);
        FUZZ_CHECK(gguf_tensor(g, t->name) == t);
        for (size_t j = 0; j < t->len_bytes; j++)
            sum += ((const uint8_t *)t->data)[j];
    }
    uint32_t u;
    float f;
    bool b;
    const char *s;
    const uint8_t *p;
    size_t n;
    if (!gguf_str(g, "s", &s, &n, NULL))
        for (size_t i = 0; i < n; i++)
            sum += (unsigned char)s[i];
    if (!gguf_array(g, "a", GGUF_F32, &p, &n, NULL))
        for (size_t i = 0; i < 4 * n; i++)
            sum += p[i];
    gguf_u32(g, "u", &u, NULL);
    gguf_f32(g, "f", &f, NULL);
    gguf_bool(g, "b", &b, NULL);
    gguf_destroy(&g);
    *(volatile uint64_t *)&sum = sum;
    return 0;
}

static void key(struct bytes_out *o, const char *k, uint32_t type)
{
    bytes_put_u64(o, strlen(k));
    bytes_put_str(o, k);
    bytes_put_u32(o, type);
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    if (i > 1)
        return 0;
    struct bytes_out o = {0};
    bytes_put_str(&o, GGUF_MAGIC);
    bytes_put_u32(&o, 3);
    bytes_put_u64(&o, 2);
    bytes_put_u64(&o, 6);
    key(&o, "u", GGUF_U32);
    bytes_put_u32(&o, 7);
    key(&o, "f", GGUF_F32);
    bytes_put_f32(&o, 1.5f);
    key(&o, "b", GGUF_BOOL);
    bytes_put_u8(&o, 1);
    key(&o, "s", GGUF_STRING);
    bytes_put_u64(&o, 3);
    bytes_put_str(&o, "abc");
    key(&o, "a", GGUF_ARRAY);
    bytes_put_u32(&o, i ? GGUF_STRING : GGUF_F32);
    bytes_put_u64(&o, 2);
    for (int j = 0; j < 2; j++)
        bytes_put_u64(&o, i ? 0 : 0x3F800000);
    if (!i)
        o.len -= 8;
    key(&o, "general.alignment", GGUF_U32);
    bytes_put_u32(&o, 32);
    for (int j = 0; j < 2; j++) {
        bytes_put_u64(&o, 1);
        bytes_put_u8(&o, (uint8_t)('x' + j));
        bytes_put_u32(&o, 2);
        bytes_put_u64(&o, 32);
        bytes_put_u64(&o, 2);
        bytes_put_u32(&o, j ? TENSOR_Q8_0 : TENSOR_F16);
        bytes_put_u64(&o, j ? 128 : 0);
    }
    uint8_t *p = bytes_room(&o, (-o.len & 31) + 128 + 68);
    if (p)
        memset(p, 0x11, o.len - (size_t)(p - o.data));
    size_t len = o.bad || o.len > cap ? 0 : o.len;
    if (len)
        memcpy(buf, o.data, len);
    bytes_out_finish(&o);
    return len;
}
