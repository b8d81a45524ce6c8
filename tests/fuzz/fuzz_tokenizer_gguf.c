/* A GGUF file's tokeniser: any bytes as a file, and what is accepted encodes any text; any bytes as a text for good ones. The
 * first byte of the input says which. */
#include "tests/fuzz/fuzz.h"

#include "base/utf8.h"
#include "model/tokenizer_gguf.h"
#include "tests/mini_gguf.h"

static const char sample[] = "The abc 123 it's\n\n  a\xC3\xA9\xE6\x97\xA5 <|end|></s> aaaaaaaa x\tab";

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

static struct tokenizer *create(const void *data, size_t len)
{
    struct tokenizer *t = NULL;
    struct gguf *g = NULL;
    if (gguf_parse(&g, data, len, NULL) == 0)
        (void)!tokenizer_create_gguf(&t, g, NULL);
    gguf_destroy(&g);
    return t;
}

enum { GOOD = 7 };

static struct bytes_out good_file(int i)
{
    static const char *const pre[] = {"gpt-2", "default", "smollm", "llama-bpe", "qwen2"};
    struct mini_gguf m = i < 5 ? mini_byte_level(pre[i]) : i < 6 ? mini_sentencepiece() : mini_spelled("gemma4", NULL);
    return mini_gguf(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *good[GOOD];
    if (!size)
        return 0;
    for (int i = 0; i < GOOD && !good[i]; i++) {
        struct bytes_out o = good_file(i);
        good[i] = create(o.data, o.len);
        bytes_out_finish(&o);
        FUZZ_CHECK(good[i]);
    }
    if (data[0] < 128) {
        check_encode(good[data[0] % GOOD], (const char *)data + 1, size - 1);
        return 0;
    }
    struct tokenizer *t = create(data + 1, size - 1);
    if (t)
        check_encode(t, sample, sizeof sample - 1);
    tokenizer_destroy(&t);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    if (i < GOOD) {
        buf[0] = (uint8_t)i;
        memcpy(buf + 1, sample, sizeof sample - 1);
        return sizeof sample;
    }
    if (i >= 2 * GOOD)
        return 0;
    struct bytes_out o = good_file(i - GOOD);
    size_t len = o.bad || o.len + 1 > cap ? 0 : o.len + 1;
    buf[0] = 128;
    if (len)
        memcpy(buf + 1, o.data, o.len);
    bytes_out_finish(&o);
    return len;
}
