/* Filters: the first line is the expression, the rest the metadata it is asked about. */
#include "tests/fuzz/fuzz.h"

#include "index/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    size_t n = end ? (size_t)(end - data) : size;
    struct filter *f = NULL;
    struct err_msg em;
    if (filter_parse(&f, (const char *)data, n, &em) < 0)
        return 0;
    FUZZ_CHECK(n <= FILTER_LEN_MAX);
    (void)filter_match(f, (const char *)data + n, size - n);
    (void)filter_match(f, "", 0);
    filter_destroy(&f);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const seeds[] = {
        ("kind = 'a' and not (n < 3 or tags in ('x', \"y\", 2.5, true, null)) or exists a.b\n"
         "{\"kind\":\"a\",\"n\":4,\"tags\":[\"x\",{\"y\":[1,2]}],\"a\":{\"b\":null}}"),
        "p startswith 'a\u00e9' or q not startswith \"\"\n{\"p\":\"a\\u00e9b\",\"q\":[\"\"]}",
        "`odd key` >= -1e3 && !flag || name not in [\"it''s\"]\n{\"odd key\":1,\"flag\":false,\"name\":\"\\u00e9\"}",
    };
    if (i > 2 || strlen(seeds[i]) > cap)
        return 0;
    memcpy(buf, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
