/* safetensors: the data of every tensor that is given out lies within the file. */
#include "tests/fuzz/fuzz.h"

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *s = NULL;
    struct err_msg em;
    if (safetensors_parse(&s, data, size, &em) < 0)
        return 0;
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        FUZZ_CHECK(e->len_bytes <= size && e->data >= data && e->data + e->len_bytes <= data + size);
        FUZZ_CHECK(safetensors_find(s, e->name) == e);
    }
    safetensors_destroy(&s);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char json[] = "{\"a\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]},\"__metadata__\":{\"k\":\"v\"},"
                               "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}";
    size_t n = sizeof json - 1;
    if (i || cap < 8 + n + 16)
        return 0;
    memset(buf, 0, 8 + n + 16);
    buf[0] = (uint8_t)n;
    memcpy(buf + 8, json, n);
    return 8 + n + 16;
}
