/* The shard index: every name that is given out is plain, every tensor points to a shard. */
#include "tests/fuzz/fuzz.h"

#include "model/checkpoint_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint_index x;
    struct err_msg em;
    if (checkpoint_index_parse(&x, "index", (const char *)data, size, &em) == 0) {
        FUZZ_CHECK(x.n_shards && x.n_shards <= CHECKPOINT_MAX_SHARDS && x.n_places && x.n_places <= CHECKPOINT_MAX_TENSORS);
        for (size_t i = 0; i < x.n_shards; i++) {
            size_t len = strlen(x.shard[i]);
            FUZZ_CHECK(len && len <= CHECKPOINT_MAX_NAME && x.shard[i][0] != '.' && !strchr(x.shard[i], '/'));
            for (size_t j = 0; j < i; j++)
                FUZZ_CHECK(strcmp(x.shard[i], x.shard[j]));
        }
        for (size_t i = 0; i < x.n_places; i++)
            FUZZ_CHECK(x.place[i].tensor && x.place[i].shard < x.n_shards);
    }
    checkpoint_index_finish(&x);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const seed[] = {
        ("{\"metadata\":{\"total_size\":12},\"weight_map\":{\"a.weight\":\"model-00001-of-00002.safetensors\","
         "\"b.weight\":\"model-00002-of-00002.safetensors\",\"c\\u00e9\":\"model-00001-of-00002.safetensors\"}}"),
        "{\"weight_map\":{\"a\":\"../x\",\"b\":\"\",\"c\":\".hidden\",\"d\":\"x\\u0000y\"}}",
        "{\"weight_map\":{\"a\":\"x\",\"a\":\"y\"}}",
    };
    if ((size_t)i >= sizeof seed / sizeof *seed || strlen(seed[i]) > cap)
        return 0;
    memcpy(buf, seed[i], strlen(seed[i]));
    return strlen(seed[i]);
}
