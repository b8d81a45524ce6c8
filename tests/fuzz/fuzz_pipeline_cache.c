/* The pipeline cache's file: what is accepted lies within the bytes and was meant for this driver. */
#include "tests/fuzz/fuzz.h"

#include "gpu/pipeline_cache.h"

static const uint8_t key[PIPELINE_CACHE_KEY] = "a driver";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const uint8_t *data;
    size_t len, file_len;
    if (pipeline_cache_parse(bytes, size, key, &data, &len) < 0)
        return 0;
    FUZZ_CHECK(data >= bytes && len <= size && data + len == bytes + size);
    uint8_t *file = pipeline_cache_format(data, len, key, &file_len);
    FUZZ_CHECK(file && file_len == size && memcmp(file, bytes, size) == 0);
    free(file);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const contents[] = {"", "x", "some bytes of a driver's pipelines"};
    size_t len = 0;
    if (i >= 3)
        return 0;
    uint8_t *file = pipeline_cache_format(contents[i], strlen(contents[i]), key, &len);
    if (!file || len > cap)
        len = 0;
    else
        memcpy(buf, file, len);
    free(file);
    return len;
}
