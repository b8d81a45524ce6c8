/* A tokenizer.json small enough for tests: specials, 256 byte pieces, U+2581, a … h, a dozen merges,
 * the normaliser of the default model. */
#ifndef TESTS_MINI_TOKENIZER_H
#define TESTS_MINI_TOKENIZER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MINI_FLAGS                                                                                 \
    "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true"
#define MINI_FIRST_PIECE 259 /* id of the first piece behind the bytes */

/* The pieces behind the bytes, ids from MINI_FIRST_PIECE on. */
static const char *const mini_pieces[] = {"\xE2\x96\x81", "a", "b", "c", "d", "e", "f", "g", "h", "\xC3\xA4",
                                          "ab", "\xE2\x96\x81\x61", "abc", "\xE2\x96\x81\xE2\x96\x81", "cd", "de",
                                          "\xE2\x96\x81\x61\x62", "aa", "aaaa", "fg"};
static const char mini_merges[] =
    "\"a b\",\"\xE2\x96\x81 a\",\"ab c\",\"\xE2\x96\x81 \xE2\x96\x81\",\"c d\",\"d e\",\"\xE2\x96\x81 ab\",\"a a\","
    "\"aa aa\",\"f g\"";

/* malloc'ed JSON in which the first `find` is replaced by `with` (NULL: nothing is); NULL when `find` is not there. */
static inline char *mini_tokenizer(const char *find, const char *with)
{
    size_t cap = 32768, n = 0;
    char *s = malloc(2 * cap);
    if (!s)
        return NULL;
#define MINI_PUT(...) n += (size_t)snprintf(s + n, cap - n, __VA_ARGS__)
    MINI_PUT("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":["
             "{\"id\":0,\"content\":\"<unk>\"," MINI_FLAGS "},"
             "{\"id\":1,\"content\":\"<s>\"," MINI_FLAGS "},{\"id\":2,\"content\":\"</s>\"," MINI_FLAGS "}],"
             "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},"
             "{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"},"
             "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}]},"
             "\"pre_tokenizer\":null,\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
             "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
             "\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[1],\"tokens\":[\"<s>\"]}}},"
             "\"decoder\":null,\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\","
             "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,"
             "\"byte_fallback\":true,\"ignore_merges\":false,\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2");
    for (int b = 0; b < 256; b++)
        MINI_PUT(",\"<0x%02X>\":%d", (unsigned)b, b + 3);
    for (size_t i = 0; i < sizeof mini_pieces / sizeof *mini_pieces; i++)
        MINI_PUT(",\"%s\":%d", mini_pieces[i], (int)i + MINI_FIRST_PIECE);
    MINI_PUT("},\"merges\":[%s]}}", mini_merges);
#undef MINI_PUT
    if (find) {
        char *at = strstr(s, find);
        size_t a = strlen(find), b = strlen(with);
        if (!at || b > cap) {
            free(s);
            return NULL;
        }
        memmove(at + b, at + a, strlen(at + a) + 1);
        memcpy(at, with, b);
    }
    return s;
}

#endif
