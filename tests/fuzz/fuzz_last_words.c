/* A daemon's last words: a code of the list, and a reason in its bounds. */
#include "tests/fuzz/fuzz.h"

#include "clients/c/last_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char said[2048];
    struct err_msg em = {""};
    size_t n = size < sizeof said ? size : sizeof said - 1;
    memcpy(said, data, n);
    said[n] = 0;
    int r = last_words(said, &em);
    FUZZ_CHECK(r <= 0 && strcmp(err_name(r), "LT_E?") != 0);
    FUZZ_CHECK(memchr(em.text, 0, sizeof em.text) && (r < 0 || !em.text[0]));
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const seeds[] = {
        "2026-01-31T12:00:00.123Z info  daemon: ready after 0.3 s\n2026-01-31T12:00:00.123Z error daemon: LT_EFORMAT: /m.gguf: not one\n",
        "latentd: unknown option --x\nTry latentd --help.\n",
    };
    if (i > 1 || strlen(seeds[i]) > cap)
        return 0;
    memcpy(buf, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
