/* The tokeniser: any bytes as tokenizer.json, and any bytes as a text for a good one. The first byte
 * of the input says which. */
#include "tests/fuzz/fuzz.h"

#include "base/utf8.h"
#include "model/tokenizer.h"
#include "tests/mini_tokenizer.h"

static void check_encode(const struct tokenizer *t, const char *text, size_t len)
{
    struct tokenizer_ids ids = {0};
    int r = tokenizer_encode(t, text, len, &ids, NULL);
    size_t wrong = utf8_check(text, len);
    FUZZ_CHECK((r == LT_EUTF8) == (wrong != UTF8_VALID) && (r == 0 || r == LT_EUTF8));
    for (size_t i = 0; i < ids.n; i++) {
        FUZZ_CHECK(ids.ids[i] >= 0 && (uint32_t)ids.ids[i] < tokenizer_info(t)->n_vocab);
        FUZZ_CHECK(ids.starts[i] < len && (i == 0 || ids.starts[i] >= ids.starts[i - 1]));
        FUZZ_CHECK(((unsigned char)text[ids.starts[i]] & 0xC0) != 0x80);
    }
    tokenizer_ids_finish(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *good;
    struct tokenizer *t = NULL;
    const char *text = (const char *)data + 1;
    if (!good) {
        char *json = mini_tokenizer(NULL, NULL);
        FUZZ_CHECK(json && tokenizer_create(&good, json, strlen(json), NULL) == 0);
        free(json);
    }
    if (!size)
        return 0;
    if (data[0] & 1) {
        check_encode(good, text, size - 1);
    } else if (tokenizer_create(&t, text, size - 1, NULL) == 0) {
        check_encode(t, text, size - 1);
        tokenizer_destroy(&t);
    }
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const texts[] = {
        "The quick brown fox</s><s> ab abc  cde <unk>", "\xC4\xB0STANBUL \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x99\x82\n\t",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    char *json = NULL;
    const char *s;
    if (i < 3) {
        s = texts[i];
    } else if (i < 5) {
        json = i == 3 ? mini_tokenizer(NULL, NULL) : mini_tokenizer("\"byte_fallback\":true", "\"byte_fallback\":false");
        s = json;
    } else {
        return 0;
    }
    size_t len = s ? strlen(s) : 0;
    if (!s || len + 1 > cap)
        return 0;
    buf[0] = i < 3;
    memcpy(buf + 1, s, len);
    free(json);
    return len + 1;
}
