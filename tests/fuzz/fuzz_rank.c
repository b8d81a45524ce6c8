/* Rerankers: any two texts become a prompt within its limit whose control pieces are the template's; any template that passes has its places; any
 * bytes as a GGUF file: what arch_read accepts of its labels is consistent. The first byte of the input says which. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "model/arch.h"
#include "model/rank.h"
#include "model/tokenizer_gguf.h"
#include "tests/mini_gguf.h"

#define END 262 /* <|end|> */
#define LIMIT 48

static struct tokenizer *create(void)
{
    struct mini_gguf m = mini_byte_level("qwen2");
    struct bytes_out o = mini_gguf(&m);
    struct tokenizer *t = NULL;
    struct gguf *g = NULL;
    if (gguf_parse(&g, o.data, o.len, NULL) == 0)
        (void)!tokenizer_create_gguf(&t, g, NULL);
    gguf_destroy(&g);
    bytes_out_finish(&o);
    return t;
}

static void check_prompt(const struct rank_rules *r, const char *data, size_t len, bool truncate, unsigned n_end)
{
    struct text_tokens t = {0};
    const size_t third = len / 3;
    const struct rank_input in = {.query = data, .query_len = third, .title = data + third, .title_len = third, .text = data + 2 * third,
                                  .len = len - 2 * third, .truncate = truncate};
    const bool good = utf8_check(in.query, in.query_len) == UTF8_VALID && utf8_check(in.title, in.title_len) == UTF8_VALID &&
                      utf8_check(in.text, in.len) == UTF8_VALID;
    const int e = rank_encode(r, &in, &t, NULL);
    FUZZ_CHECK((e == LT_EUTF8) == !good && (e == 0 || e == LT_EUTF8 || e == LT_EEMPTY || e == LT_ETOOLONG));
    FUZZ_CHECK((e == 0) == (t.n > 0) && t.n <= LIMIT && (t.truncated ? truncate && t.n < t.n_seen : e != 0 || t.n == t.n_seen));
    for (uint32_t i = 0; i < t.n; i++) {
        FUZZ_CHECK(t.ids[i] >= 0 && t.ids[i] < MINI_BYTE_TOKENS);
        n_end -= t.ids[i] == END;
    }
    FUZZ_CHECK(e < 0 || (n_end == 0 && t.n_skip == t.n - 1 && t.text_at <= t.len));
    text_tokens_finish(&t);
}

static void check_template(const struct tokenizer *mini, const char *data, size_t len)
{
    char *s = strndup(data, len);
    FUZZ_CHECK(s);
    const struct rank_rules r = {mini, LIMIT, s, true};
    struct text_tokens t = {0};
    const struct rank_input in = {.query = "q", .query_len = 1, .text = "text", .len = 4, .truncate = true};
    if (rank_check_template(s, NULL) == 0 && utf8_check(s, strlen(s)) == UTF8_VALID) {
        const int e = rank_encode(&r, &in, &t, NULL);
        FUZZ_CHECK(e == 0 || e == LT_ETOOLONG);
        FUZZ_CHECK(t.len == strlen(s) - strlen("{query}{document}") + 5 && !memcmp(t.joined + t.text_at, "text", 4));
    }
    text_tokens_finish(&t);
    free(s);
}

static void check_file(const uint8_t *data, size_t len)
{
    struct gguf *g = NULL;
    struct model_info i = {0};
    if (gguf_parse(&g, data, len, NULL) == 0 && arch_read(g, &i, NULL) == 0)
        FUZZ_CHECK(i.ranks ? i.n_labels >= 1 && i.n_labels <= 2 && i.label < i.n_labels && i.causal && i.has_tokenizer : !i.n_labels);
    gguf_destroy(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *mini;
    if (!mini)
        mini = create();
    FUZZ_CHECK(mini);
    const struct rank_rules plain = {mini, LIMIT, "<|end|>{query}|{document}<|end|>", true};
    if (!size)
        return 0;
    if (data[0] < 128)
        check_prompt(&plain, (const char *)data + 1, size - 1, data[0] & 1, 2);
    else if (data[0] < 160)
        check_template(mini, (const char *)data + 1, size - 1);
    else
        check_file(data + 1, size - 1);
    return 0;
}

static void put_number(struct bytes_out *o, const char *key, uint32_t v)
{
    mini_str(o, key);
    bytes_put_u32(o, GGUF_U32);
    bytes_put_u32(o, v);
}

static void put_text(struct bytes_out *o, const char *key, const char *s)
{
    mini_str(o, key);
    bytes_put_u32(o, GGUF_STRING);
    mini_str(o, s);
}

/* A file with all that arch_read asks for. */
static struct bytes_out file(const char *first, const char *second)
{
    struct bytes_out o = {0};
    bytes_put_str(&o, "GGUF");
    bytes_put_u32(&o, 3);
    bytes_put_u64(&o, 1);
    bytes_put_u64(&o, 10);
    put_text(&o, "general.architecture", "qwen3");
    put_number(&o, "qwen3.context_length", 64);
    put_number(&o, "qwen3.embedding_length", 8);
    put_number(&o, "qwen3.block_count", 1);
    put_number(&o, "qwen3.feed_forward_length", 8);
    put_number(&o, "qwen3.attention.head_count", 2);
    mini_str(&o, "qwen3.attention.layer_norm_rms_epsilon");
    bytes_put_u32(&o, GGUF_F32);
    bytes_put_f32(&o, 1e-6f);
    put_number(&o, "qwen3.pooling_type", 4);
    mini_array(&o, "qwen3.classifier.output_labels", GGUF_STRING, second ? 2 : 1);
    mini_str(&o, first);
    if (second)
        mini_str(&o, second);
    put_text(&o, "tokenizer.ggml.model", "gpt2");
    mini_str(&o, "token_embd.weight");
    bytes_put_u32(&o, 2);
    bytes_put_u64(&o, 8);
    bytes_put_u64(&o, 4);
    bytes_put_u32(&o, TENSOR_F32);
    bytes_put_u64(&o, 0);
    uint8_t *p = bytes_room(&o, (-o.len & 31) + 128);
    if (p)
        memset(p, 0, o.len - (size_t)(p - o.data));
    return o;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const texts[] = {"\x01" "a<|end|> ab<|e \xC3\xA9" "nd|>123 the text", "\x02" "?|end|>t<|end|", "\x80" "{query} {document}",
                                        "\x80" "<|end|>{document}: {query}?"};
    if (i < 4) {
        memcpy(buf, texts[i], strlen(texts[i]));
        return strlen(texts[i]);
    }
    if (i > 6)
        return 0;
    struct bytes_out o = i == 4 ? file("yes", "no") : i == 5 ? file("no", "yes") : file("LABEL_0", NULL);
    size_t len = o.bad || o.len + 1 > cap ? 0 : o.len + 1;
    buf[0] = 255;
    if (len)
        memcpy(buf + 1, o.data, o.len);
    bytes_out_finish(&o);
    return len;
}
