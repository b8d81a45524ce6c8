#include "tests/unit.h"

#include <jansson.h>

#include "model/tokenizer.h"
#include "model/unicode_lower.h"
#include "tests/mini_tokenizer.h"
#include "tests/unit/model/shared_tokenizer.h"

static struct tokenizer *mini(const char *find, const char *with)
{
    struct tokenizer *t = NULL;
    struct err_msg em = {0};
    char *json = mini_tokenizer(find, with);
    assert_non_null(json);
    if (tokenizer_create(&t, json, strlen(json), &em) < 0)
        fail_msg("%s", em.text);
    free(json);
    return t;
}

/* Ids as "1 2 3", so that a failure shows both. */
static void check_ids(const struct tokenizer *t, const char *text, const char *want)
{
    struct tokenizer_ids ids = {0};
    char got[4096] = "";
    size_t n = 0;
    assert_int_equal(tokenizer_encode(t, text, strlen(text), &ids, NULL), 0);
    for (size_t i = 0; i < ids.n && n < sizeof got - 16; i++)
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%d", i ? " " : "", ids.ids[i]);
    assert_string_equal(got, want);
    tokenizer_ids_finish(&ids);
}

static void test_mini(void **state)
{
    struct tokenizer *t = mini(NULL, NULL);
    const struct tokenizer_info *info = tokenizer_info(t);
    assert_int_equal(info->n_vocab, 279);
    assert_int_equal(info->bos, 1);
    assert_int_equal(info->eos, -1);
    assert_int_equal(info->unk, 0);
    assert_true(info->lowercase);
    assert_int_equal(tokenizer_find(t, "</s>", 4), 2);
    assert_int_equal(tokenizer_find(t, "abc", 3), 271);
    assert_int_equal(tokenizer_find(t, "zzz", 3), -1);
    check_ids(t, "", "");
    check_ids(t, "a", "270");          /* the mark and a */
    check_ids(t, "ABC", "259 271");    /* "a b" comes before the mark's merge */
    check_ids(t, " ab", "272 269");    /* two marks merge before the mark and ab */
    check_ids(t, "x\xC3\xA4\n", "259 123 268 13");
    check_ids(t, "a</s>a<s></s>b", "270 2 270 1 2 259 261");
    check_ids(t, "</S>", "259 63 50 118 65"); /* matched before lower-casing, so this is text */
    check_ids(t, "cde", "259 273 264");
    check_ids(t, "\xC4\xB0", "259 108 207 138"); /* i and a dot above */
    tokenizer_destroy(&t);
    tokenizer_destroy(&t);
}

static void test_variants(void **state)
{
    struct tokenizer *t = mini("\"normalizer\":{", "\"normalizer\":null,\"x\":{");
    check_ids(t, "ab ab", "269 35 269");
    tokenizer_destroy(&t);
    t = mini("\"a b\"", "[\"a\", \"b\"]"); /* newer files have pairs */
    check_ids(t, "ab ab", "275 275");
    tokenizer_destroy(&t);
    t = mini("\"ignore_merges\":false", "\"ignore_merges\":true");
    check_ids(t, "ab", "275"); /* the whole segment is a piece */
    check_ids(t, "abc", "259 271");
    tokenizer_destroy(&t);
    t = mini("\"byte_fallback\":true", "\"byte_fallback\":false");
    check_ids(t, "axyza", "270 0 260"); /* unknown characters are one */
    tokenizer_destroy(&t);
    t = mini("\"fuse_unk\":true,\"byte_fallback\":true", "\"byte_fallback\":false");
    check_ids(t, "axyza", "270 0 0 0 260");
    tokenizer_destroy(&t);
    t = mini(",\"<0x78>\":123", ""); /* one byte has no piece: bytes overtake the unknown one, as in the library */
    check_ids(t, "axyzxa", "270 124 125 0 260");
    check_ids(t, "xyx", "259 124 0");
    tokenizer_destroy(&t);
    t = mini("{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],",
             "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"<s>\"}}],");
    assert_int_equal(tokenizer_info(t)->eos, 1);
    tokenizer_destroy(&t);
    t = mini("\"post_processor\":{", "\"post_processor\":null,\"x\":{");
    assert_int_equal(tokenizer_info(t)->bos, -1);
    tokenizer_destroy(&t);
}

static void test_starts(void **state)
{
    struct tokenizer *t = mini(NULL, NULL);
    struct tokenizer_ids ids = {0};
    const char text[] = "abc \xE6\x97\xA5 d</s>\xC4\xB0 fg";
    static const uint32_t want[] = {0, 0, 3, 4, 4, 4, 7, 8, 9, 13, 13, 13, 13, 15, 16};
    assert_int_equal(tokenizer_encode(t, text, strlen(text), &ids, NULL), 0);
    assert_int_equal(ids.n, sizeof want / sizeof *want);
    assert_memory_equal(ids.starts, want, sizeof want);
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(&t);
}

static void test_refused_texts(void **state)
{
    struct tokenizer *t = mini(NULL, NULL);
    struct tokenizer_ids ids = {0};
    struct err_msg em;
    assert_int_equal(tokenizer_encode(t, "abc\xED\xA0\x80", 6, &ids, &em), LT_EUTF8);
    assert_non_null(strstr(em.text, "byte 3"));
    assert_int_equal(ids.n, 0);
    assert_int_equal(tokenizer_encode(t, "a", (size_t)TOKENIZER_TEXT_MAX + 1, &ids, &em), LT_ELIMIT);
    assert_int_equal(tokenizer_encode(t, "a\0b", 3, &ids, &em), 0);
    assert_int_equal(ids.n, 3);
    assert_int_equal(ids.ids[1], 3); /* <0x00> */
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(&t);
}

struct forged {
    const char *find, *with;
    int code;
    const char *says;
};

static const struct forged forged[] = {
    {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", LT_EUNSUPPORTED, "Unigram"},
    {"\"type\":\"BPE\"", "\"type\":7", LT_EUNSUPPORTED, "only BPE"},
    {"\"dropout\":null", "\"dropout\":0.1", LT_EUNSUPPORTED, "dropout"},
    {"\"continuing_subword_prefix\":null", "\"continuing_subword_prefix\":\"##\"", LT_EUNSUPPORTED, "continuing"},
    {"\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", LT_EUNSUPPORTED, "end_of_word_suffix"},
    {"\"unk_token\":\"<unk>\"", "\"unk_token\":\"nope\"", LT_EFORMAT, "unk_token"},
    {"\"unk_token\":\"<unk>\"", "\"unk_token\":[]", LT_EFORMAT, "unk_token"},
    {"\"fuse_unk\":true", "\"fuse_unk\":1", LT_EFORMAT, "fuse_unk"},
    {"\"byte_fallback\":true", "\"byte_fallback\":\"yes\"", LT_EFORMAT, "byte_fallback"},
    {"\"unk_token\":\"<unk>\",", "\"unk_token\":null,\"x\":", LT_EFORMAT, "line"},
    {"\"pre_tokenizer\":null", "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}", LT_EUNSUPPORTED, "ByteLevel"},
    {"\"Lowercase\"", "\"NFKC\"", LT_EUNSUPPORTED, "NFKC"},
    {"\"normalizers\":[", "\"normalizers\":7,\"x\":[", LT_EFORMAT, "normalizers"},
    {"\"prepend\":\"\xE2\x96\x81\"", "\"prepend\":\"\"", LT_EUNSUPPORTED, "prepend"},
    {"\"prepend\":\"\xE2\x96\x81\"", "\"prepend\":\"123456789\"", LT_EUNSUPPORTED, "prepend"},
    {"\"prepend\":\"\xE2\x96\x81\"", "\"prepend\":7", LT_EFORMAT, "prepend"},
    {"\"String\":\" \"", "\"Regex\":\" \"", LT_EUNSUPPORTED, "pattern"},
    {"\"String\":\" \"", "\"String\":\"  \"", LT_EUNSUPPORTED, "pattern"},
    {"\"content\":\"\xE2\x96\x81\"", "\"content\":null", LT_EFORMAT, "content"},
    {"{\"type\":\"Lowercase\"}",
     "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaa\"},"
     "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaa\"},"
     "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaa\"}",
     LT_EUNSUPPORTED, "more than 64"},
    {"{\"type\":\"Lowercase\"}",
     "{\"type\":\"Lowercase\"},{\"type\":\"Lowercase\"},{\"type\":\"Lowercase\"},{\"type\":\"Lowercase\"},"
     "{\"type\":\"Lowercase\"},{\"type\":\"Lowercase\"},{\"type\":\"Lowercase\"},{\"type\":\"Lowercase\"}",
     LT_EUNSUPPORTED, "steps"},
    {"\"added_tokens\":[", "\"added_tokens\":7,\"x\":[", LT_EFORMAT, "added_tokens"},
    {"\"added_tokens\":[", "\"added_tokens\":[7,", LT_EFORMAT, "added_tokens"},
    {"\"single_word\":false", "\"single_word\":true", LT_EUNSUPPORTED, "single_word"},
    {"\"lstrip\":false", "\"lstrip\":true", LT_EUNSUPPORTED, "lstrip"},
    {"\"rstrip\":false", "\"rstrip\":0", LT_EFORMAT, "rstrip"},
    {"\"normalized\":false", "\"normalized\":true", LT_EUNSUPPORTED, "normalized"},
    {"\"content\":\"<s>\"", "\"content\":\"\"", LT_EFORMAT, "empty"},
    {"\"content\":\"<s>\"", "\"content\":\"<unk>\"", LT_EFORMAT, "twice"},
    {"\"content\":\"<s>\"", "\"content\":\"new\"", LT_EFORMAT, "another id"},
    {"{\"id\":1,", "{\"id\":2,", LT_EFORMAT, "another id"},
    {"{\"id\":1,", "{\"id\":-1,", LT_EFORMAT, "id of"},
    {"{\"id\":1,", "{\"id\":1048576,", LT_EFORMAT, "id of"},
    {"{\"id\":1,", "{\"id\":1.5,", LT_EFORMAT, "id of"},
    {"\"TemplateProcessing\"", "\"BertProcessing\"", LT_EUNSUPPORTED, "BertProcessing"},
    {"\"single\":[", "\"single\":7,\"x\":[", LT_EFORMAT, "single"},
    {"\"single\":[", "\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},", LT_EUNSUPPORTED, "more than one"},
    {"\"single\":[", "\"single\":[{},", LT_EFORMAT, "single[0]"},
    {"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}", "{\"SpecialToken\":7}", LT_EFORMAT, "special_tokens"},
    {",{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}", "", LT_EFORMAT, "lacks the text"},
    {"\"ids\":[1]", "\"ids\":[1,2]", LT_EFORMAT, "special_tokens"},
    {"\"ids\":[1]", "\"ids\":[279]", LT_EFORMAT, "special_tokens"},
    {"\"vocab\":{", "\"vocab\":[],\"x\":{", LT_EFORMAT, "vocab"},
    {"\"vocab\":{", "\"vocab\":{},\"x\":{", LT_EFORMAT, "vocab"},
    {"\"<unk>\":0", "\"<unk>\":\"0\"", LT_EFORMAT, "id of"},
    {"\"<unk>\":0", "\"<unk>\":1", LT_EFORMAT, "twice"},
    {"\"<unk>\":0", "\"<unk>\":0,\"<unk>\":0", LT_EFORMAT, "duplicate"},
    {"\"<unk>\":0", "\"\xFF\":0", LT_EFORMAT, "line"},
    {"\"merges\":[", "\"merges\":7,\"x\":[", LT_EFORMAT, "merges"},
    {"\"a b\"", "\"a b c\"", LT_EFORMAT, "merges[0]"},
    {"\"a b\"", "\"ab\"", LT_EFORMAT, "merges[0]"},
    {"\"a b\"", "\" b\"", LT_EFORMAT, "merges[0]"},
    {"\"a b\"", "[\"a\"]", LT_EFORMAT, "merges[0]"},
    {"\"a b\"", "[\"a\", \"zz\"]", LT_EFORMAT, "not in the vocabulary"},
    {"\"a b\"", "[\"a\", 1]", LT_EFORMAT, "merges[0]"},
    {"\"a b\"", "\"a h\"", LT_EFORMAT, "not in the vocabulary"},
    {"\"a b\"", "\"a zz\"", LT_EFORMAT, "not in the vocabulary"},
    {"\"model\":{", "\"model\":null,\"x\":{", LT_EFORMAT, "model"},
    {"\"decoder\":null", "\"decoder\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]", LT_ELIMIT, "deeper"},
    {"{", "[{", LT_EFORMAT, "line"},
};

static void test_forged(void **state)
{
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        const struct forged *f = &forged[i];
        struct tokenizer *t = NULL;
        struct err_msg em = {0};
        char *json = mini_tokenizer(f->find, f->with);
        if (!json)
            fail_msg("%s is not in the file", f->find);
        int r = tokenizer_create(&t, json, strlen(json), &em);
        if (r != f->code || !strstr(em.text, f->says))
            fail_msg("%s -> %s: %s, \"%s\"", f->find, f->with, r ? err_name(r) : "accepted", em.text);
        assert_null(t);
        free(json);
    }
}

static void test_too_large(void **state)
{
    struct tokenizer *t = NULL;
    size_t n = 2 * ((size_t)TOKENIZER_JSON_VALUES + 2);
    char *s = malloc(n);
    assert_non_null(s);
    for (size_t i = 0; i < n; i++)
        s[i] = i % 2 ? ',' : '1';
    s[0] = '[';
    assert_int_equal(tokenizer_create(&t, s, n, NULL), LT_ELIMIT);
    assert_int_equal(tokenizer_create(&t, s, (size_t)TOKENIZER_JSON_MAX + 1, NULL), LT_ELIMIT);
    assert_int_equal(tokenizer_create(&t, s, 0, NULL), LT_EFORMAT);
    free(s);
}

/* Merging as the definition says, on a whole text at once. */
struct naive {
    int32_t left, right, id;
};
static size_t naive_bpe(const struct naive *m, size_t n_merges, int32_t *ids, size_t n)
{
    for (;;) {
        size_t best = n_merges, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t k = 0; k < best; k++)
                if (m[k].left == ids[i] && m[k].right == ids[i + 1]) {
                    best = k;
                    at = i;
                }
        if (best == n_merges)
            return n;
        ids[at] = m[best].id;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

/* A random vocabulary over "abc " and texts around the length where the heap takes over. */
static void test_against_naive(void **state)
{
    uint64_t seed = unit_seed();
    for (int round = 0; round < 60; round++) {
        char pieces[44][32] = {"a", "b", "c", " "}, json[8192];
        struct naive merges[40];
        size_t n_pieces = 4, n_merges = 0, n;
        for (int tries = 0; tries < 2000 && n_merges < 40; tries++) {
            size_t l = unit_rand(&seed) % n_pieces, r = unit_rand(&seed) % n_pieces, k;
            if (strlen(pieces[l]) + strlen(pieces[r]) > 12 || (pieces[r][0] == ' ' && unit_rand(&seed) % 4))
                continue;
            char both[32];
            snprintf(both, sizeof both, "%.15s%.15s", pieces[l], pieces[r]);
            memcpy(pieces[n_pieces], both, sizeof both);
            for (k = 0; k < n_pieces && strcmp(pieces[k], pieces[n_pieces]) != 0; k++)
                ;
            if (k < n_pieces)
                continue;
            merges[n_merges++] = (struct naive){(int32_t)l, (int32_t)r, (int32_t)n_pieces++};
        }
        n = (size_t)snprintf(json, sizeof json, "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"a\",\"vocab\":{");
        for (size_t i = 0; i < n_pieces; i++)
            n += (size_t)snprintf(json + n, sizeof json - n, "%s\"%s\":%zu", i ? "," : "", pieces[i], i);
        n += (size_t)snprintf(json + n, sizeof json - n, "},\"byte_fallback\":true,\"merges\":[");
        for (size_t i = 0; i < n_merges; i++)
            n += (size_t)snprintf(json + n, sizeof json - n, "%s[\"%s\",\"%s\"]", i ? "," : "",
                                  pieces[merges[i].left], pieces[merges[i].right]);
        snprintf(json + n, sizeof json - n, "]}}");
        struct tokenizer *t = NULL;
        struct tokenizer_ids ids = {0};
        struct err_msg em = {0};
        if (tokenizer_create(&t, json, strlen(json), &em) < 0)
            fail_msg("%s", em.text);
        for (int k = 0; k < 20; k++) {
            char text[200];
            int32_t want[200];
            size_t len = unit_rand(&seed) % sizeof text;
            for (size_t i = 0; i < len; i++) {
                want[i] = (int32_t)(unit_rand(&seed) % 4);
                text[i] = pieces[want[i]][0];
            }
            size_t n_want = naive_bpe(merges, n_merges, want, len);
            assert_int_equal(tokenizer_encode(t, text, len, &ids, NULL), 0);
            assert_int_equal(ids.n, n_want);
            if (n_want)
                assert_memory_equal(ids.ids, want, n_want * sizeof *want);
        }
        tokenizer_ids_finish(&ids);
        tokenizer_destroy(&t);
    }
}

/* A long text without a place to cut takes n log n: this would not end otherwise. */
static void test_long(void **state)
{
    struct tokenizer *t = mini(NULL, NULL);
    struct tokenizer_ids ids = {0};
    size_t len = 4u << 20;
    char *s = malloc(len);
    assert_non_null(s);
    memset(s, 'a', len);
    assert_int_equal(tokenizer_encode(t, s, len, &ids, NULL), 0);
    assert_int_equal(ids.n, len / 4 + 2); /* the mark takes one a; fours, a two and a one remain */
    free(s);
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(&t);
}

static void test_lower(void **state)
{
    uint32_t out[2];
    assert_string_equal(unicode_lower_version(), "17.0.0");
    assert_int_equal(unicode_lower('Z', out), 1);
    assert_int_equal(out[0], 'z');
    unicode_lower(0x3A3, out); /* sigma, never the final one */
    assert_int_equal(out[0], 0x3C3);
    unicode_lower(0x1E9E, out); /* capital sharp s */
    assert_int_equal(out[0], 0xDF);
    unicode_lower(0x16EA0, out); /* new in 17.0.0 */
    assert_int_equal(out[0], 0x16EBB);
    unicode_lower(0x10FFFF, out);
    assert_int_equal(out[0], 0x10FFFF);
    unicode_lower(0x4E00, out);
    assert_int_equal(out[0], 0x4E00);
}

/* ---- the library's ids, from tests/tools/compare_tokenizer.py ---- */

static uint64_t fnv(const void *p, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * 0x100000001B3u;
    return h;
}

static void check_fixture(const struct tokenizer *t, int column)
{
    char path[4096], line[8192];
    struct tokenizer_ids ids = {0};
    int n_lines = 0;
    snprintf(path, sizeof path, "%s/tests/golden/tokenizer.txt", getenv("LATENTD_SRC"));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        size_t n[2];
        unsigned long long hash[2];
        int used = 0;
        assert_int_equal(sscanf(line, "%zu %llx %zu %llx %n", &n[0], &hash[0], &n[1], &hash[1], &used), 4);
        json_t *text = json_loads(line + used, JSON_DECODE_ANY, NULL);
        assert_non_null(text);
        assert_int_equal(tokenizer_encode(t, json_string_value(text), json_string_length(text), &ids, NULL), 0);
        n_lines++;
        if (ids.n != n[column] || fnv(ids.ids, ids.n * sizeof *ids.ids) != hash[column])
            fail_msg("line %d differs: %s", n_lines, line + used);
        json_decref(text);
    }
    fclose(f);
    assert_true(n_lines > 1500);
    tokenizer_ids_finish(&ids);
}

static void test_fixture_latent_mini(void **state)
{
    struct tokenizer *t = shared_tokenizer(SHARED_LATENT_MINI);
    if (!t)
        skip();
    check_fixture(t, 0);
    tokenizer_destroy(&t);
}

static void test_fixture_nv_embed(void **state)
{
    struct tokenizer *t = shared_tokenizer(SHARED_NV_EMBED);
    if (!t)
        skip();
    check_fixture(t, 1);
    check_ids(t, "This is a test</s>", "851 349 264 1369 2");
    check_ids(t,
              "Instruct: Given a question, retrieve passages that answer the question\nQuery: are judo throws "
              "allowed in wrestling?</s>",
              "560 1356 28747 12628 264 2996 28725 20132 1455 1291 369 4372 272 2996 13 3294 28747 460 4612 28709 "
              "4965 4670 297 17619 1905 28804 2");
    tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mini),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_refused_texts),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_against_naive),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_lower),
        cmocka_unit_test(test_fixture_latent_mini),
        cmocka_unit_test(test_fixture_nv_embed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
