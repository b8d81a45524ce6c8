/* A lock's text: what is read is made again, byte for byte but for leading zeros of the pid. */
#include "tests/fuzz/fuzz.h"

#include "base/lock_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lock_text t, again;
    char text[LOCK_TEXT_MAX];
    if (lock_text_parse(&t, (const char *)data, size) < 0)
        return 0;
    FUZZ_CHECK(t.pid > 0 && strlen(t.socket) < PATHS_MAX && (!t.socket[0] || t.socket[0] == '/'));
    size_t n = lock_text_make(text, t.pid, t.socket);
    FUZZ_CHECK(n <= size && lock_text_parse(&again, text, n) == 0);
    FUZZ_CHECK(again.pid == t.pid && strcmp(again.socket, t.socket) == 0);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const seeds[] = {"4711\n", "1\n/run/latentd/latentd.sock\n"};
    if (i > 1 || strlen(seeds[i]) > cap)
        return 0;
    memcpy(buf, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
