/* Chunks of any bytes: within the limit, at characters, ascending. The first three bytes give the limit, the overlap and
 * the title's length. */
#include "tests/fuzz/fuzz.h"

#include "base/utf8.h"
#include "model/chunk.h"
#include "tests/mini_tokenizer.h"

static void check_spans(struct text_rules r, uint32_t limit, const char *title, size_t title_len, const char *text,
                        size_t len, const struct chunk_span *spans, size_t n)
{
    struct text_tokens tokens = {0};
    r.token_limit = limit;
    for (size_t i = 0; i < n; i++) {
        uint32_t start = spans[i].start, end = spans[i].end;
        struct text_input in = {.text = text + start, .len = end - start, .title = title, .title_len = title_len};
        FUZZ_CHECK(start <= end && end <= len && (start < end || len == 0));
        FUZZ_CHECK(i == 0 || (start > spans[i - 1].start && end > spans[i - 1].end));
        FUZZ_CHECK(text_encode_rules(&r, &in, &tokens, NULL) == 0);
    }
    text_tokens_finish(&tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *mini;
    struct chunk_span *spans = NULL;
    size_t n = 0, used = 0;
    if (!mini) {
        char *json = mini_tokenizer(NULL, NULL);
        FUZZ_CHECK(json && tokenizer_create(&mini, json, strlen(json), NULL) == 0);
        free(json);
    }
    if (size < 3)
        return 0;
    struct text_rules r = {.tokenizer = mini, .token_limit = 512, .bos = 1, .eos = 2};
    struct chunk_params p = {.max_tokens = CHUNK_TOKENS_MIN + data[0] % 64u, .overlap_tokens = data[1]};
    const char *title = (const char *)data + 3, *text;
    size_t title_len = data[2] < size - 3 ? data[2] : size - 3, len = size - 3 - title_len;
    text = title + title_len;
    int e = chunk_text_rules(&r, title, title_len, text, len, &p, &spans, &n, &used, NULL);
    bool valid = utf8_check(title, title_len) == UTF8_VALID && utf8_check(text, len) == UTF8_VALID;
    FUZZ_CHECK((e == LT_EUTF8) == !valid);
    FUZZ_CHECK(e == 0 || e == LT_EUTF8 || e == LT_EEMPTY);
    if (e == 0) {
        FUZZ_CHECK(n > 0 && used <= title_len);
        check_spans(r, p.max_tokens, title, used, text, len, spans, n);
        free(spans);
    }
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const seeds[] = {
        "\x08\x10\x05TitleOne sentence. Two \"sentences.\" Three, approx. 3.5 words!\n\nA paragraph\n \nand another.\n\n\n",
        "\x01\x20\x01 \xE6\x97\xA5\xE6\x9C\xAC\xE3\x80\x82\xC4\xB0\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7\xEF\xB8\x8F</s>"
        "                                        e\xCC\x81\xCC\x81 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    if (i >= 2 || strlen(seeds[i]) > cap)
        return 0;
    memcpy(buf, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
