/* GGUF files with nothing but a small tokeniser's keys, for tests: byte-level (256 bytes and some merges), SentencePiece, or its
 * pieces with listed merges. */
#ifndef TESTS_MINI_GGUF_H
#define TESTS_MINI_GGUF_H

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"
#include "model/gguf.h"

struct mini_gguf {
    const char *model, *pre; /* NULL: the key is left out */
    const char *const *tokens;
    size_t n_tokens;
    const float *scores;  /* NULL: none */
    const int32_t *types; /* NULL: none */
    size_t n_columns;     /* of scores and types; 0: n_tokens */
    const char *const *merges;
    size_t n_merges;
    bool no_prefix;
};

static inline void mini_str(struct bytes_out *o, const char *s)
{
    bytes_put_u64(o, strlen(s));
    bytes_put_str(o, s);
}

static inline void mini_array(struct bytes_out *o, const char *key, enum gguf_type elem, size_t n)
{
    mini_str(o, key);
    bytes_put_u32(o, GGUF_ARRAY);
    bytes_put_u32(o, elem);
    bytes_put_u64(o, n);
}

/* The caller finishes the buffer. */
static inline struct bytes_out mini_gguf(const struct mini_gguf *m)
{
    struct bytes_out o = {0};
    const size_t columns = m->n_columns ? m->n_columns : m->n_tokens;
    bytes_put_str(&o, "GGUF");
    bytes_put_u32(&o, 3);
    bytes_put_u64(&o, 0);
    bytes_put_u64(&o, (m->model != NULL) + (m->pre != NULL) + (m->tokens != NULL) + (m->scores != NULL) + (m->types != NULL) +
                          (m->merges != NULL) + 1);
    if (m->model) {
        mini_str(&o, "tokenizer.ggml.model");
        bytes_put_u32(&o, GGUF_STRING);
        mini_str(&o, m->model);
    }
    if (m->pre) {
        mini_str(&o, "tokenizer.ggml.pre");
        bytes_put_u32(&o, GGUF_STRING);
        mini_str(&o, m->pre);
    }
    if (m->tokens) {
        mini_array(&o, "tokenizer.ggml.tokens", GGUF_STRING, m->n_tokens);
        for (size_t i = 0; i < m->n_tokens; i++)
            mini_str(&o, m->tokens[i]);
    }
    if (m->scores) {
        mini_array(&o, "tokenizer.ggml.scores", GGUF_F32, columns);
        for (size_t i = 0; i < columns; i++)
            bytes_put_f32(&o, m->scores[i]);
    }
    if (m->types) {
        mini_array(&o, "tokenizer.ggml.token_type", GGUF_I32, columns);
        for (size_t i = 0; i < columns; i++)
            bytes_put_u32(&o, (uint32_t)m->types[i]);
    }
    if (m->merges) {
        mini_array(&o, "tokenizer.ggml.merges", GGUF_STRING, m->n_merges);
        for (size_t i = 0; i < m->n_merges; i++)
            mini_str(&o, m->merges[i]);
    }
    mini_str(&o, "tokenizer.ggml.add_space_prefix");
    bytes_put_u32(&o, GGUF_BOOL);
    bytes_put_u8(&o, !m->no_prefix);
    return o;
}

/* The character that spells byte b in a byte-level vocabulary. */
static inline void mini_byte_char(unsigned b, char out[static 5])
{
    uint32_t cp = 0x100, i = 0;
    const bool own = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    for (unsigned k = 0; k < b; k++)
        i += !((k >= 0x21 && k <= 0x7E) || (k >= 0xA1 && k <= 0xAC) || k >= 0xAE);
    out[utf8_encode(own ? b : cp + i, out)] = 0;
}

#define MINI_BYTE_TOKENS 264
/* 256 bytes, then "ab", "abc", " a" (spelled with U+0120), " ab", "12", "é"'s two bytes, and two special pieces: ids 262, 263. */
static inline struct mini_gguf mini_byte_level(const char *pre)
{
    static char bytes[256][5];
    static const char *tokens[MINI_BYTE_TOKENS];
    static int32_t types[MINI_BYTE_TOKENS];
    static const char *const more[] = {"ab", "abc", "\xC4\xA0" "a", "\xC4\xA0" "ab", "12", "\xC3\x83\xC2\xA9", "<|end|>", "<|e"};
    static const char *const merges[] = {"a b", "ab c", "\xC4\xA0 a", "\xC4\xA0 ab", "1 2", "\xC3\x83 \xC2\xA9"};
    for (unsigned b = 0; b < 256; b++) {
        mini_byte_char(b, bytes[b]);
        tokens[b] = bytes[b];
        types[b] = 1;
    }
    for (int i = 0; i < 8; i++) {
        tokens[256 + i] = more[i];
        types[256 + i] = i < 6 ? 1 : 3;
    }
    return (struct mini_gguf){.model = "gpt2", .pre = pre, .tokens = tokens, .n_tokens = MINI_BYTE_TOKENS, .types = types,
                              .merges = merges, .n_merges = 6};
}

#define MINI_PIECE_TOKENS 271
/* <unk>, <s>, </s>, 256 bytes, then U+2581, a, b, c, "ab" (score -2), "bc" (-1), "U+2581 a" (-3), "abc" (-3), "x" as a part of "xa"
 * only: ids from 259. */
static inline struct mini_gguf mini_sentencepiece(void)
{
    static char bytes[256][8];
    static const char *tokens[MINI_PIECE_TOKENS];
    static float scores[MINI_PIECE_TOKENS];
    static int32_t types[MINI_PIECE_TOKENS];
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    static const char *const more[] = {"\xE2\x96\x81", "a", "b", "c", "ab", "bc", ("\xE2\x96\x81" "a"), "abc", "xa", "aa", "aaaa", "\xC3\xA9"};
    static const float score[] = {-9, -9, -9, -9, -2, -1, -3, -3, -4, -5, -5, -9};
    for (int i = 0; i < 3; i++) {
        tokens[i] = first[i];
        types[i] = i ? 3 : 2;
    }
    for (unsigned b = 0; b < 256; b++) {
        snprintf(bytes[b], sizeof bytes[b], "<0x%02X>", b);
        tokens[3 + b] = bytes[b];
        types[3 + b] = 6;
    }
    for (int i = 0; i < 12; i++) {
        tokens[259 + i] = more[i];
        scores[259 + i] = score[i];
        types[259 + i] = 1;
    }
    return (struct mini_gguf){.model = "llama", .tokens = tokens, .n_tokens = MINI_PIECE_TOKENS, .scores = scores, .types = types};
}

#define MINI_SPELLED_TOKENS (MINI_PIECE_TOKENS + 5)
/* SentencePiece's pieces and listed merges; then 1, 2 and 4 line ends, one before a letter, and two spaces, matched in the raw text. */
static inline struct mini_gguf mini_spelled(const char *model, const char *pre)
{
    static const char *tokens[MINI_SPELLED_TOKENS];
    static int32_t types[MINI_SPELLED_TOKENS];
    static const char *const more[] = {"\n", "\n\n", "\n\n\n\n", "\nb", "  "};
    static const char *const merges[] = {"\xE2\x96\x81 a", "\n b", "b c", "a bc", "\n \n", "\xE2\x96\x81 \xE2\x96\x81", "x a"};
    const struct mini_gguf m = mini_sentencepiece();
    for (int i = 0; i < MINI_SPELLED_TOKENS; i++) {
        tokens[i] = i < MINI_PIECE_TOKENS ? m.tokens[i] : more[i - MINI_PIECE_TOKENS];
        types[i] = i < MINI_PIECE_TOKENS ? m.types[i] : i + 1 < MINI_SPELLED_TOKENS ? 1 : 4;
    }
    return (struct mini_gguf){.model = model, .pre = pre, .tokens = tokens, .n_tokens = MINI_SPELLED_TOKENS, .types = types, .merges = merges,
                              .n_merges = sizeof merges / sizeof *merges};
}

#endif
