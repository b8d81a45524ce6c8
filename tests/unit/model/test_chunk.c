#include "tests/unit.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "model/chunk.h"
#include "tests/mini_tokenizer.h"
#include "tests/unit/model/shared_tokenizer.h"

static struct tokenizer *mini, *real; /* real: NULL where the shared data is not there */
static struct text_tokens tokens;

static int setup(void **state)
{
    char *json = mini_tokenizer(NULL, NULL);
    int r = json ? tokenizer_create(&mini, json, strlen(json), NULL) : -1;
    free(json);
    real = shared_tokenizer(SHARED_LATENT_MINI);
    return r;
}

static int teardown(void **state)
{
    tokenizer_destroy(&mini);
    tokenizer_destroy(&real);
    text_tokens_finish(&tokens);
    return 0;
}

static struct text_rules rules_of(const struct tokenizer *t)
{
    return (struct text_rules){.tokenizer = t, .token_limit = 512, .bos = 1, .eos = 2};
}

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool at_char(const char *s, size_t len, size_t at)
{
    return at == len || ((unsigned char)s[at] & 0xC0) != 0x80;
}

/* Everything that must hold for any text; returns the number of chunks. */
static size_t check(const struct tokenizer *t, const char *title, const char *text, size_t len, uint32_t max,
                    uint32_t overlap)
{
    struct text_rules r = rules_of(t);
    struct chunk_params p = {.max_tokens = max, .overlap_tokens = overlap};
    struct chunk_span *spans = NULL;
    struct err_msg em = {0};
    size_t n = 0, used = 0, covered = 0;
    if (chunk_text_rules(&r, title, strlen(title), text, len, &p, &spans, &n, &used, &em) < 0)
        fail_msg("%s", em.text);
    assert_true(n > 0 && used <= strlen(title));
    r.token_limit = max;
    for (size_t i = 0; i < n; i++) {
        uint32_t start = spans[i].start, end = spans[i].end;
        struct text_input in = {.text = text + start, .len = end - start, .title = title, .title_len = used};
        assert_true(start < end && end <= len);
        assert_true(at_char(text, len, start) && at_char(text, len, end));
        if (i) {
            assert_true(start > spans[i - 1].start && end > spans[i - 1].end);
            if (overlap == CHUNK_OVERLAP_NONE)
                assert_true(start >= spans[i - 1].end);
        }
        if (text_encode_rules(&r, &in, &tokens, &em) < 0) /* within the limit, not cut */
            fail_msg("chunk %zu: %s", i, em.text);
        if (i && start < spans[i - 1].end) {
            in = (struct text_input){.text = text + start, .len = spans[i - 1].end - start};
            assert_int_equal(text_encode_rules(&r, &in, &tokens, &em), 0);
            uint32_t most = overlap ? overlap : CHUNK_OVERLAP_DEFAULT;
            assert_true(tokens.n <= most + 5); /* BOS, EOS, a mark, and what other neighbours change */
        }
        for (; covered < start; covered++)
            assert_true(blank(text[covered]));
        covered = end;
    }
    for (; covered < len; covered++)
        assert_true(blank(text[covered]));
    free(spans);
    return n;
}

static void repeat(struct bytes_out *o, const char *s, int n)
{
    for (int i = 0; i < n; i++)
        bytes_printf(o, "%s", s);
}

static const char *const kinds[] = {
    "A sentence of words, approx. 3.5 of them. Another one! \"A third?\" he said.\n\nA new paragraph begins. ",
    "static int f(int x)\n{\n\tif (x > 0)\n\t\treturn g(x, \"a. B\");\n\treturn -1;\n}\n\n",
    "services:\n  web:\n    image: \"nginx:1.25\"\n    ports: [\"80:80\", \"443:443\"]\n",
    "https://example.org/a/b-c_d/e?f=1&g=2#h https://example.net/0123456789abcdef/ ",
    "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xAE\xE6\x96\x87\xE7\xAB\xA0\xE3\x80\x82\xE4\xB8\xAD\xE6\x96\x87\xEF\xBC\x81",
    "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD\xE2\x9D\xA4\xEF\xB8\x8F",
    "aGVsbG8gd29ybGQhIHRoaXMgaXMgYmFzZTY0",
    "\n \n\t  \n", "a", "\xC4\xB0", "</s>", "<s> x </s>", "e\xCC\x81\xCC\x81", "word ", ". ", ".\n",
};

static void test_kinds(void **state)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct bytes_out o = {0};
        bytes_printf(&o, "start ");
        repeat(&o, kinds[k], 2500 / (int)strlen(kinds[k]));
        static const uint32_t limits[] = {16, 17, 33, 128, 512}, overlaps[] = {0, 3, 20, 1000, CHUNK_OVERLAP_NONE};
        for (size_t i = 0; i < 5; i++)
            for (size_t j = 0; j < 5; j++) {
                check(mini, "", (char *)o.data, o.len, limits[i], overlaps[j]);
                check(mini, "A title", (char *)o.data, o.len, limits[i], overlaps[j]);
                if (real)
                    check(real, "A title", (char *)o.data, o.len, limits[i], overlaps[j]);
            }
        bytes_out_finish(&o);
    }
}

/* Mixtures of all kinds, with titles of any length. */
static void test_random(void **state)
{
    uint64_t seed = unit_seed();
    for (int round = 0; round < 150; round++) {
        struct bytes_out o = {0};
        char title[200];
        size_t n_title = unit_rand(&seed) % sizeof title;
        memset(title, 'e', sizeof title);
        for (size_t i = 3; i < n_title; i += 4)
            title[i] = ' ';
        title[n_title] = 0;
        repeat(&o, "x", 1);
        while (o.len < 3000)
            repeat(&o, kinds[unit_rand(&seed) % (sizeof kinds / sizeof *kinds)], 1 + (int)(unit_rand(&seed) % 5));
        check(real && round % 2 ? real : mini, title, (char *)o.data, o.len, 16 + (uint32_t)(unit_rand(&seed) % 200),
              (uint32_t)(unit_rand(&seed) % 100));
        bytes_out_finish(&o);
    }
}

static void spans_are(const char *text, uint32_t max, uint32_t overlap, const char *const *want, size_t n_want)
{
    struct text_rules r = rules_of(mini);
    struct chunk_params p = {.max_tokens = max, .overlap_tokens = overlap};
    struct chunk_span *spans;
    size_t n;
    assert_int_equal(chunk_text_rules(&r, NULL, 0, text, strlen(text), &p, &spans, &n, NULL, NULL), 0);
    for (size_t i = 0; i < n && i < n_want; i++) {
        char got[512];
        snprintf(got, sizeof got, "%.*s", (int)(spans[i].end - spans[i].start), text + spans[i].start);
        assert_string_equal(got, want[i]);
    }
    assert_int_equal(n, n_want);
    free(spans);
}

/* With the small vocabulary nearly every byte is an id, so the places can be reckoned by hand. */
static void test_places(void **state)
{
    spans_are("Iiiii iiiiiii.\n\nIiiii iiii. Iiii i.", 30, CHUNK_OVERLAP_NONE,
              (const char *const[]){"Iiiii iiiiiii.", "Iiiii iiii. Iiii i."}, 2);
    spans_are("Iiii i iii. Iiiii i iiiiii iiii iiii.", 30, CHUNK_OVERLAP_NONE,
              (const char *const[]){"Iiii i iii. Iiiii i iiiiii", "iiii iiii."}, 2);
    spans_are("Iiii iiiiii. Iiii i iii. Iiii iiiii iiii.", 34, CHUNK_OVERLAP_NONE,
              (const char *const[]){"Iiii iiiiii. Iiii i iii.", "Iiii iiiii iiii."}, 2);
    spans_are("Iiii iiiiiii iiiiii. I iii. Iiii iiiii iiii.", 34, 8,
              (const char *const[]){"Iiii iiiiiii iiiiii. I iii.", "I iii. Iiii iiiii iiii."}, 2);
    spans_are("iiii: iiiii iiiii i\niii: iiiii iiiiii ii\nii: iii", 34, CHUNK_OVERLAP_NONE,
              (const char *const[]){"iiii: iiiii iiiii i", "iii: iiiii iiiiii ii\nii: iii"}, 2);
    spans_are("  iii  ", 16, 0, (const char *const[]){"  iii  "}, 1);
}

static void test_refused(void **state)
{
    struct text_rules r = rules_of(mini);
    struct chunk_params p = {.max_tokens = 15};
    struct chunk_span *spans = NULL;
    struct err_msg em;
    size_t n;
    assert_int_equal(chunk_text_rules(&r, "", 0, "abc", 3, &p, &spans, &n, NULL, &em), LT_EINVAL);
    p.max_tokens = 513;
    assert_int_equal(chunk_text_rules(&r, "", 0, "abc", 3, &p, &spans, &n, NULL, &em), LT_EINVAL);
    p.max_tokens = 0;
    assert_int_equal(chunk_text_rules(&r, "", 0, " \n", 2, &p, &spans, &n, NULL, &em), LT_EEMPTY);
    assert_int_equal(chunk_text_rules(&r, "a\xFF", 2, "b", 1, &p, &spans, &n, NULL, &em), LT_EUTF8);
    assert_int_equal(chunk_text_rules(&r, "a", 1, "b\xFF", 2, &p, &spans, &n, NULL, &em), LT_EUTF8);
    assert_null(spans);
}

/* A title alone, longer than the limit: one chunk of it, cut. */
static void test_title_only(void **state)
{
    struct text_rules r = rules_of(mini);
    struct chunk_span *spans;
    size_t n, used;
    char title[2000];
    memset(title, 'e', sizeof title);
    assert_int_equal(chunk_text_rules(&r, title, sizeof title, "", 0, NULL, &spans, &n, &used, NULL), 0);
    assert_int_equal(n, 1);
    assert_true(used > 200 && used < 512);
    free(spans);
}

/* Megabytes without a space, and of spaces, end in time. */
static void test_large(void **state)
{
    size_t len = 1u << 20;
    char *s = malloc(len);
    assert_non_null(s);
    memset(s, 'a', len);
    check(mini, "t", s, len, 512, 0);
    memset(s + 1, ' ', len - 2);
    assert_int_equal(check(mini, "t", s, len, 512, 0), 2);
    for (size_t i = 0; i < len; i++)
        s[i] = ".\n a"[i % 4];
    check(mini, "t", s, len, 512, 0);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),      cmocka_unit_test(test_random),  cmocka_unit_test(test_places),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_title_only), cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
