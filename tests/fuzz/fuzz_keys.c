/* The authorized-keys file: what is accepted formats to lines that parse to the same. */
#include "tests/fuzz/fuzz.h"

#include "proto/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keys k = {0};
    struct err_msg em;
    if (keys_parse(&k, (const char *)data, size, &em) < 0)
        return 0;
    for (uint32_t i = 0; i < k.n; i++) {
        char line[KEYS_LINE_MAX + 64];
        struct key_entry e = {0};
        if (key_entry_format(&k.entries[i], line, sizeof line) < 0)
            continue;
        FUZZ_CHECK(key_entry_parse(&e, line, strcspn(line, "\n"), &em) == 0);
        FUZZ_CHECK(key_equal(e.public, k.entries[i].public) && e.rights == k.entries[i].rights && e.rate == k.entries[i].rate);
        FUZZ_CHECK(keys_find(&k, e.public) != NULL);
        key_entry_finish(&e);
    }
    keys_finish(&k);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const seeds[] = {
        "# keys\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= query,ingest collections=a,b rate=5/s expires=2027-01-31 # c\n",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= admin collections=*\n\n  \t\n",
    };
    if (i > 1 || strlen(seeds[i]) > cap)
        return 0;
    memcpy(buf, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
