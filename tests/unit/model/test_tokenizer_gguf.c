/* Tokenisers from GGUF keys: words, merges by rank and by score, special pieces, missing bytes, and every forged field. */
#include "tests/unit.h"

#include "model/tokenizer_gguf.h"
#include "model/tokenizer_words.h"
#include "model/unicode_class.h"
#include "tests/mini_gguf.h"

static int create(const struct mini_gguf *m, struct tokenizer **t, struct err_msg *em)
{
    struct bytes_out o = mini_gguf(m);
    struct gguf *g = NULL;
    int r = gguf_parse(&g, o.data, o.len, em);
    if (r == 0)
        r = tokenizer_create_gguf(t, g, em);
    gguf_destroy(&g);
    bytes_out_finish(&o);
    return r;
}

static void check_ids(const struct tokenizer *t, const char *text, const int32_t *want, size_t n)
{
    struct tokenizer_ids ids = {0};
    struct err_msg em = {{0}};
    assert_int_equal(tokenizer_encode(t, text, strlen(text), &ids, &em), 0);
    if (ids.n != n || memcmp(ids.ids, want, n * sizeof *want))
        for (size_t i = 0; i < ids.n; i++)
            print_message("\"%s\": id %zu is %d\n", text, i, ids.ids[i]);
    assert_int_equal(ids.n, n);
    assert_memory_equal(ids.ids, want, n * sizeof *want);
    for (size_t i = 0; i < ids.n; i++)
        assert_true(ids.starts[i] < strlen(text) && (!i || ids.starts[i] >= ids.starts[i - 1]));
    tokenizer_ids_finish(&ids);
}
#define CHECK_IDS(t, text, ...)                                                                                        \
    check_ids(t, text, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void test_byte_level(void **state)
{
    struct mini_gguf m = mini_byte_level("gpt-2");
    struct tokenizer *t = NULL;
    struct err_msg em = {{0}};
    assert_int_equal(create(&m, &t, &em), 0);
    CHECK_IDS(t, "abc", 257);
    CHECK_IDS(t, "abab", 256, 256);
    CHECK_IDS(t, "x ab", 'x', 259);
    CHECK_IDS(t, "x  ab", 'x', ' ', 259); /* the last of two spaces goes with the word */
    CHECK_IDS(t, "1212", 260, 260);
    CHECK_IDS(t, "\xC3\xA9", 261);
    CHECK_IDS(t, "a<|end|>b", 'a', 262, 'b');
    CHECK_IDS(t, "<|end", 263, 'n', 'd'); /* the longest that is there */
    CHECK_IDS(t, "it's", 'i', 't', '\'', 's');
    assert_int_equal(tokenizer_find(t, " ab", 3), 259);
    tokenizer_destroy(&t);
}

static void test_sentencepiece(void **state)
{
    struct mini_gguf m = mini_sentencepiece();
    struct tokenizer *t = NULL;
    struct err_msg em = {{0}};
    enum { MARK = 259, A, B, C, AB, BC, MARK_A, ABC, XA, AA, AAAA, E_ACUTE };
    assert_int_equal(create(&m, &t, &em), 0);
    CHECK_IDS(t, "abc", MARK_A, BC); /* bc scores best, then the mark and a */
    CHECK_IDS(t, "ab", MARK, AB);
    CHECK_IDS(t, "b abc", MARK, B, MARK_A, BC);
    CHECK_IDS(t, "aaaaa", MARK_A, AAAA);
    CHECK_IDS(t, "bxa", MARK, B, XA);              /* x is no piece, but a piece starts with it */
    CHECK_IDS(t, "bx", MARK, B, 3 + 'x');          /* alone it is its byte */
    CHECK_IDS(t, "b\xC3\xA9\xC3\xBC", MARK, B, E_ACUTE, 3 + 0xC3, 3 + 0xBC);
    CHECK_IDS(t, "b</s>b", MARK, B, 2, MARK, B);   /* the text behind a special piece starts afresh */
    tokenizer_destroy(&t);
    m.no_prefix = true;
    assert_int_equal(create(&m, &t, &em), 0);
    CHECK_IDS(t, "ab", AB);
    CHECK_IDS(t, "b b", B, MARK, B);
    tokenizer_destroy(&t);
}

/* A text that stands behind another gets no space before it, and what follows a special piece in it starts afresh. */
static void test_behind(void **state)
{
    const struct mini_gguf m = mini_sentencepiece();
    struct tokenizer *t = NULL;
    struct tokenizer_ids ids = {0};
    struct err_msg em = {{0}};
    enum { MARK = 259, A, B };
    assert_int_equal(create(&m, &t, &em), 0);
    assert_int_equal(tokenizer_encode_behind(t, "\nb</s>b", &ids, &em), 0);
    const int32_t want[] = {3 + '\n', B, 2, MARK, B};
    const uint32_t starts[] = {0, 1, 2, 6, 6};
    assert_int_equal(ids.n, 5);
    assert_memory_equal(ids.ids, want, sizeof want);
    assert_memory_equal(ids.starts, starts, sizeof starts);
    assert_int_equal(tokenizer_encode_behind(t, "", &ids, &em), 0);
    assert_int_equal(ids.n, 0);
    assert_int_equal(tokenizer_encode_behind(t, "\n\xFF", &ids, &em), LT_EUTF8);
    assert_int_equal(ids.n, 0);
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(&t);
}

static void test_spelled(void **state)
{
    static const char *const kinds[][2] = {{"gemma4", NULL}, {"gpt2", "gemma4"}, {"gpt2", "granite-embed-multi-311m"}};
    enum { A = 260, B, C, BC = 264, MARK_A, ABC, LINE = MINI_PIECE_TOKENS, LINE_2, LINE_4, SPACES = LINE + 4 };
    struct err_msg em = {{0}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct mini_gguf m = mini_spelled(kinds[i][0], kinds[i][1]);
        struct tokenizer *t = NULL;
        assert_int_equal(create(&m, &t, &em), 0);
        CHECK_IDS(t, "abc", ABC);
        CHECK_IDS(t, "a abc", A, MARK_A, BC); /* no prefix; the merge listed first is made first */
        CHECK_IDS(t, "\nb", LINE, B);         /* no merge across */
        CHECK_IDS(t, "b\n\n\nc", B, LINE_2, LINE, C);
        CHECK_IDS(t, "b\n\n\n\nc", B, LINE_4, C); /* a piece, though no merge makes it */
        CHECK_IDS(t, "b  c", B, SPACES, C);
        CHECK_IDS(t, "x\xC3\xBC", 3 + 'x', 3 + 0xC3, 3 + 0xBC);
        tokenizer_destroy(&t);
    }
}

static void test_without_a_byte(void **state)
{
    struct mini_gguf m = mini_byte_level("gpt-2");
    const char *tokens[MINI_BYTE_TOKENS];
    struct tokenizer *t = NULL;
    struct err_msg em = {{0}};
    memcpy(tokens, m.tokens, sizeof tokens);
    tokens['z'] = "zz"; /* so that z has no piece */
    m.tokens = tokens;
    assert_int_equal(create(&m, &t, &em), 0);
    CHECK_IDS(t, "azb", 'a', 'b'); /* it leaves no id, and keeps a and b apart */
    tokenizer_destroy(&t);
}

struct words {
    const char *text;
    char joined[256];
};

static int collect(void *arg, uint32_t from, uint32_t to)
{
    struct words *w = arg;
    size_t n = strlen(w->joined);
    snprintf(w->joined + n, sizeof w->joined - n, "%s%.*s", n ? "|" : "", (int)(to - from), w->text + from);
    return 0;
}

static void test_words(void **state)
{
    static const struct {
        const char *pre, *text, *want;
    } cases[] = {
        {"gpt-2", "Hello  world's 123abc!?\n\n x ", "Hello| | world|'s| 123|abc|!?|\n\n| x| "},
        {"gpt-2", "'S 's'll \t\ta", "'|S| '|s|'ll| \t|\t|a"},
        {"smollm", "a 12b 3", "a| |1|2|b| |3"},
        {"default", "x<=12345, y", "x|<=|123|45|,| y"},
        {"llama-bpe", "it'S 12345 (foo)  bar\r\n\r\n  baz\n", "it|'S| |123|45| (|foo|)| | bar|\r\n\r\n| | baz|\n"},
        {"llama-bpe", "!!\n\nx", "!!\n\n|x"},
        {"qwen2", "it's 123 \n  x", "it|'s| |1|2|3| \n| | x"},
        {"qwen2", "\xE6\x97\xA5\xE6\x9C\xAC\xE3\x80\x80\xC2\xBD\xE2\x80\x94z",
         "\xE6\x97\xA5\xE6\x9C\xAC|\xE3\x80\x80|\xC2\xBD|\xE2\x80\x94z"},
        {"f2llmv2", "it's 123", "it|'s| |1|2|3"},
        {"kormo", "it's 123", "it|'s| |1|2|3"},
        {"a.x-4.0", "it'S 123", "it|'|S| 123"},
        {"mellum", "it'S 123", "it|'|S| 123"},
        {"gigachat", "it'S 123", "it|'|S| 123"},
        {"trillion", "it'S 123", "it|'|S| 123"},
        {"jina-v5-nano", "it'S 1234", "it|'S| |123|4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct words w = {.text = cases[i].text};
        enum words_kind kind = words_kind_find(cases[i].pre, strlen(cases[i].pre));
        assert_int_not_equal(kind, WORDS_NONE);
        assert_int_equal(words_split(kind, w.text, 0, (uint32_t)strlen(w.text), collect, &w), 0);
        assert_string_equal(w.joined, cases[i].want);
    }
    assert_int_equal(words_kind_find("no-such", 7), WORDS_NONE);
    assert_true(words_whole_first("llama-bpe", 9) && !words_whole_first("qwen2", 5));
}

static void test_classes(void **state)
{
    assert_string_equal(unicode_class_version(), "15.1.0");
    static const struct {
        uint32_t cp;
        enum unicode_class kind;
    } cases[] = {{'a', UNICODE_LETTER}, {'Z', UNICODE_LETTER}, {'[', UNICODE_PUNCT}, {'@', UNICODE_PUNCT}, {'{', UNICODE_PUNCT},
                 {'0', UNICODE_NUMBER}, {'9', UNICODE_NUMBER}, {'$', UNICODE_OTHER}, {0, UNICODE_OTHER}, {'\t', UNICODE_SPACE},
                 {0x85, UNICODE_SPACE}, {0xA0, UNICODE_SPACE}, {0xBD, UNICODE_NUMBER}, {0x3000, UNICODE_SPACE},
                 {0x4E00, UNICODE_LETTER}, {0x9FFF, UNICODE_LETTER}, {0x301, UNICODE_OTHER}, {0x1F642, UNICODE_OTHER},
                 {0x10FFFF, UNICODE_OTHER}, {0x2014, UNICODE_PUNCT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(unicode_class(cases[i].cp), cases[i].kind);
}

static void refused(const struct mini_gguf *m, int code, const char *names)
{
    struct tokenizer *t = NULL;
    struct err_msg em = {{0}};
    assert_int_equal(create(m, &t, &em), code);
    assert_null(t);
    assert_non_null(strstr(em.text, names));
}

static void test_forged(void **state)
{
    const struct mini_gguf bytes = mini_byte_level("gpt-2"), pieces = mini_sentencepiece();
    struct mini_gguf m;
    const char *tokens[MINI_BYTE_TOKENS];
    float scores[MINI_PIECE_TOKENS];
    static const char *const merges[][1] = {{"ab"}, {"a  b"}, {"a q1"}, {" b"}, {"a "}, {"a \xE6\x97\xA5"}, {""}};
    m = bytes, m.model = NULL, refused(&m, LT_EFORMAT, "tokenizer.ggml.model");
    m = bytes, m.model = "bert", refused(&m, LT_EUNSUPPORTED, "\"bert\"");
    m = bytes, m.pre = "unheard-of", refused(&m, LT_EUNSUPPORTED, "\"unheard-of\"");
    m = bytes, m.tokens = NULL, refused(&m, LT_EFORMAT, "tokenizer.ggml.tokens");
    m = bytes, m.n_tokens = 0, m.types = NULL, refused(&m, LT_ELIMIT, "0 pieces");
    m = bytes, m.merges = NULL, refused(&m, LT_EFORMAT, "tokenizer.ggml.merges");
    m = bytes, m.n_columns = 3, refused(&m, LT_EFORMAT, "3 values");
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++)
        m = bytes, m.merges = merges[i], m.n_merges = 1, refused(&m, LT_EFORMAT, "merge 0");
    memcpy(tokens, bytes.tokens, sizeof tokens);
    tokens[7] = "\xFF";
    m = bytes, m.tokens = tokens, refused(&m, LT_EFORMAT, "piece 7");
    char *longest = malloc(TOKENIZER_PIECE_MAX + 2);
    assert_non_null(longest);
    memset(longest, 'a', TOKENIZER_PIECE_MAX + 1);
    longest[TOKENIZER_PIECE_MAX + 1] = 0;
    tokens[7] = longest;
    m = bytes, m.tokens = tokens, refused(&m, LT_ELIMIT, "piece 7");
    free(longest);
    const struct mini_gguf plain = mini_spelled("gemma4", NULL);
    static const char *const no_pair[][1] = {{"ab"}, {" b"}, {"a "}, {""}};
    for (size_t i = 0; i < sizeof no_pair / sizeof *no_pair; i++)
        m = plain, m.merges = no_pair[i], m.n_merges = 1, refused(&m, LT_EFORMAT, "merge 0");
    const char *lacking[MINI_SPELLED_TOKENS];
    memcpy(lacking, plain.tokens, sizeof lacking);
    lacking[3 + 'q'] = "qq";
    m = plain, m.tokens = lacking, refused(&m, LT_EUNSUPPORTED, "0x71");
    m = pieces, m.scores = NULL, refused(&m, LT_EFORMAT, "scores");
    memcpy(scores, pieces.scores, sizeof scores);
    static const float wrong[] = {__builtin_nanf(""), __builtin_inff(), -1e38f};
    for (int i = 0; i < 3; i++) {
        scores[265] = wrong[i];
        m = pieces, m.scores = scores, refused(&m, LT_EFORMAT, "piece 265");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level), cmocka_unit_test(test_sentencepiece), cmocka_unit_test(test_behind), cmocka_unit_test(test_without_a_byte),
        cmocka_unit_test(test_words),      cmocka_unit_test(test_classes),       cmocka_unit_test(test_forged),
        cmocka_unit_test(test_spelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
