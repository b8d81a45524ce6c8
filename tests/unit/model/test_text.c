#include "tests/unit.h"

#include <jansson.h>

#include "base/file.h"
#include "model/text.h"
#include "tests/mini_tokenizer.h"
#include "tests/unit/model/shared_tokenizer.h"

#define NV_TEMPLATE "Instruct: {}\nQuery: "

static struct tokenizer *mini;
static struct text_rules rules;
static struct text_tokens tokens;

static int setup(void **state)
{
    char *json = mini_tokenizer(NULL, NULL);
    int r = json ? tokenizer_create(&mini, json, strlen(json), NULL) : -1;
    free(json);
    rules = (struct text_rules){.tokenizer = mini, .token_limit = 64, .bos = 1, .eos = 2, .query_prefix = "ab: ",
                                .instruct_template = "h {}\nf: "};
    return r;
}

static int teardown(void **state)
{
    tokenizer_destroy(&mini);
    text_tokens_finish(&tokens);
    return 0;
}

static void check(const struct text_input *in, const char *want, unsigned n_skip)
{
    char got[1024] = "";
    struct err_msg em = {0};
    if (text_encode_rules(&rules, in, &tokens, &em) < 0)
        fail_msg("%s", em.text);
    for (size_t i = 0, n = 0; i < tokens.n; i++)
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%d", i ? " " : "", tokens.ids[i]);
    assert_string_equal(got, want);
    assert_int_equal(tokens.n_skip, n_skip);
}

static struct text_input passage(const char *title, const char *text)
{
    return (struct text_input){.text = text, .len = strlen(text), .title = title, .title_len = title ? strlen(title) : 0};
}

static struct text_input query(const char *instruct, const char *text)
{
    return (struct text_input){.text = text, .len = strlen(text), .query = true, .instruct = instruct};
}

static void test_forms(void **state)
{
    struct text_input in = passage(NULL, "cd");
    check(&in, "1 259 273 2", 0);
    in = passage("d", "cd");
    check(&in, "1 259 263 259 273 2", 0);
    in = passage("d", "");
    check(&in, "1 259 263 2", 0);
    in = passage(" ", "cd ");
    check(&in, "1 259 273 259 2", 0);
    in = query(NULL, "cd");
    check(&in, "1 275 61 259 273 2", 3); /* ▁ab : ▁ alone, so BOS, ▁ab and : stay out */
    in = query("", "cd");
    check(&in, "1 259 273 2", 0);
    in = query("e", "cd");
    check(&in, "1 259 267 259 264 13 265 61 259 273 2", 8);
    in = query(NULL, "cd");
    in.title = "d";
    in.title_len = 1;
    check(&in, "1 275 61 259 273 2", 3); /* queries have no title */
}

/* A model with a form for passages, and one that pools what goes before a query. */
static void test_other_models(void **state)
{
    struct text_rules kept = rules;
    struct text_input in = passage("d", "cd");
    rules.passage_template = "a{}b: ";
    check(&in, "1 270 263 261 61 259 273 2", 0);
    in = passage(NULL, "cd");
    check(&in, "1 270 113 114 113 264 261 61 259 273 2", 0); /* none */
    in = passage(" ", "cd");
    check(&in, "1 270 113 114 113 264 261 61 259 273 2", 0);
    rules.passage_template = "ab: ";
    in = passage(NULL, "cd");
    check(&in, "1 275 61 259 273 2", 0); /* one without a place for a title */
    in = passage("d", "cd");
    check(&in, "1 275 61 259 263 259 273 2", 0); /* goes before it */
    in = query(NULL, "cd");
    check(&in, "1 275 61 259 273 2", 3); /* queries have their own */
    rules.pool_prefix = true;
    check(&in, "1 275 61 259 273 2", 0);
    rules = kept;
}

static void check_cut_offsets(const struct text_input *in, const char *prompt, size_t text_at, const char *want, size_t want_used)
{
    char got[256] = "";
    uint32_t offsets[64], used = 0;
    assert_int_equal(text_encode_rules(&rules, in, &tokens, NULL), 0);
    assert_int_equal(tokens.len, strlen(prompt));
    assert_memory_equal(tokens.joined, prompt, tokens.len);
    assert_int_equal(tokens.text_at, text_at);
    assert_int_equal(text_offsets(&rules, &tokens, offsets, &used, NULL), 0);
    for (size_t i = 0, n = 0; i < tokens.n; i++)
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%u", i ? " " : "", offsets[i]);
    assert_string_equal(got, want);
    assert_int_equal(used, want_used);
}

static void check_offsets(const struct text_input *in, const char *prompt, size_t text_at, const char *want)
{
    check_cut_offsets(in, prompt, text_at, want, strlen(prompt));
}

/* What was tokenised, and where in it each id begins; ids as in the tests around. */
static void test_prompt(void **state)
{
    const struct text_rules kept = rules;
    struct text_input in = query(NULL, "cd");
    check_offsets(&in, "ab: cd", 4, "0 0 2 3 4 6");
    assert_string_equal(text_template(&rules, &in), "ab: ");
    in = query("", "cd");
    check_offsets(&in, "cd", 0, "0 0 0 2");
    assert_string_equal(text_template(&rules, &in), "");
    in = query("e", "cd");
    check_offsets(&in, "h e\nf: cd", 7, "0 0 0 1 2 3 4 5 6 7 9");
    assert_string_equal(text_template(&rules, &in), "h {}\nf: ");
    in = passage("d", "cd");
    check_offsets(&in, "d cd", 2, "0 0 0 1 2 4");
    assert_string_equal(text_template(&rules, &in), "");
    in = passage(NULL, "cd</s>a"); /* a piece of its own within the text */
    check_offsets(&in, "cd</s>a", 0, "0 0 0 2 6 7");
    in = passage(NULL, "\xC3\xA9"); /* bytes of one character */
    check_offsets(&in, "\xC3\xA9", 0, "0 0 0 0 2");
    rules.passage_template = "a{}b: ";
    in = passage("d", "cd");
    check_offsets(&in, "adb: cd", 5, "0 0 1 2 3 4 5 7");
    assert_string_equal(text_template(&rules, &in), "a{}b: ");
    rules = kept;
    rules.token_limit = 6;
    in = passage(NULL, "c e c e");
    in.truncate = true;
    check_cut_offsets(&in, "c e c e", 0, "0 0 0 1 2 3", 4);
    rules.keep_eos = true;
    check_cut_offsets(&in, "c e c e", 0, "0 0 0 1 2 3", 3); /* of EOS: what was cut off */
    rules = kept;
    rules.bos = rules.eos = -1;
    in = passage(NULL, "cd");
    check_offsets(&in, "cd", 0, "0 0");
    rules.instruct_template = "";
    in = query("e", "cd");
    assert_string_equal(text_template(&rules, &in), TEXT_INSTRUCT_TEMPLATE);
    rules = kept;
}

/* Special pieces in a query's text, and a query that is cut. */
static void test_query_to_the_letter(void **state)
{
    struct text_input in = query("e", "cd</s>a");
    check(&in, "1 259 267 259 264 13 265 61 259 273 2 270 2", 8);
    uint32_t kept = rules.token_limit;
    in = query("e", "cd cd cd cd");
    in.truncate = true;
    rules.token_limit = 12;
    check(&in, "1 259 267 259 264 13 265 61 259 273 259 273", 8);
    assert_true(tokens.truncated);
    rules.token_limit = 8; /* exactly the instruction: nothing is left to pool */
    struct err_msg em;
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EEMPTY);
    rules.token_limit = kept;
}

static void test_cut(void **state)
{
    struct text_input in = passage(NULL, "c e c e");
    rules.token_limit = 6;
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, NULL), LT_ETOOLONG);
    assert_true(tokens.n == 0 && tokens.n_seen == 10);
    in.truncate = true;
    check(&in, "1 259 262 259 264 259", 0); /* BOS and the first limit - 1, no EOS */
    assert_true(tokens.truncated);
    assert_int_equal(tokens.n_seen, 10);
    rules.token_limit = 10;
    check(&in, "1 259 262 259 264 259 262 259 264 2", 0);
    assert_false(tokens.truncated);
    rules.token_limit = 9; /* only EOS is lost */
    check(&in, "1 259 262 259 264 259 262 259 264", 0);
    assert_true(tokens.truncated);
    rules.token_limit = 64;
}

/* A model that pools the last token, say, was trained with EOS there: a text that is cut has it, too. */
static void test_cut_before_eos(void **state)
{
    const struct text_rules kept = rules;
    struct text_input in = passage(NULL, "c e c e");
    in.truncate = rules.keep_eos = true;
    rules.token_limit = 6;
    check(&in, "1 259 262 259 264 2", 0);
    assert_true(tokens.truncated && tokens.n_seen == 10);
    rules.token_limit = 9;
    check(&in, "1 259 262 259 264 259 262 259 2", 0);
    assert_true(tokens.truncated);
    rules.token_limit = 10;
    check(&in, "1 259 262 259 264 259 262 259 264 2", 0);
    assert_false(tokens.truncated);
    rules.token_limit = 6;
    rules.bos = -1;
    check(&in, "259 262 259 264 259 2", 0);
    rules.eos = -1; /* there is none to keep */
    check(&in, "259 262 259 264 259 262", 0);
    rules = kept;
}

/* What a chat has behind the text: with a template only, and kept in a cut. */
static void test_suffix(void **state)
{
    static const int32_t suffix[] = {3, 4};
    const struct text_rules kept = rules;
    struct text_input in = passage(NULL, "c e c e");
    rules.suffix = suffix;
    rules.n_suffix = 2;
    check(&in, "1 259 262 259 264 259 262 259 264 2", 0); /* no template for passages */
    rules.passage_template = "h";
    rules.query_prefix = "f";
    in = passage(NULL, "c");
    check(&in, "1 259 267 262 3 4 2", 0);
    check_offsets(&in, "hc", 1, "0 0 0 1 2 2 2");
    in = query(NULL, "c");
    rules.pool_prefix = rules.keep_eos = true;
    check(&in, "1 259 265 262 3 4 2", 0);
    in = query("", "c");
    check(&in, "1 259 262 2", 0);
    in = passage(NULL, "c e c e");
    in.truncate = true;
    rules.token_limit = 8;
    check(&in, "1 259 267 262 259 3 4 2", 0);
    assert_true(tokens.truncated && tokens.n_seen == 13 && tokens.n_behind == 3);
    check_cut_offsets(&in, "hc e c e", 1, "0 0 0 1 2 3 3 3", 3);
    rules.eos = -1;
    check(&in, "1 259 267 262 259 264 3 4", 0);
    rules.token_limit = 5;
    struct err_msg em;
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EINVAL);
    rules = kept;
}

static void test_refused(void **state)
{
    struct err_msg em;
    struct text_input in = passage(NULL, "");
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EEMPTY);
    in = passage("", " \n\t");
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EEMPTY);
    in = (struct text_input){0};
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EEMPTY);
    in = query(NULL, "");
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EEMPTY);
    in = passage("a\xFF", "b");
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EUTF8);
    assert_non_null(strstr(em.text, "title is not valid UTF-8 at byte 1"));
    in = passage("a", "bc\xC3");
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EUTF8);
    assert_non_null(strstr(em.text, "text is not valid UTF-8 at byte 2"));
    in = query("\xC0", "bc");
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EUTF8);
    in = query("a very long instruction that takes up all the room there is, and then some", "bc");
    in.truncate = true;
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EEMPTY);
    assert_int_equal(tokens.n, 0);
    rules.instruct_template = "no place";
    in = query("e", "cd");
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), LT_EUNSUPPORTED);
    rules.instruct_template = ""; /* NV-Embed's, then: its 19 bytes and the mark, less the last space */
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, &em), 0);
    assert_int_equal(tokens.n_skip, strlen("Instruct: e\nQuery: ") + 1);
    rules.instruct_template = "h {}\nf: ";
}

/* Each part alone and the parts together: a byte more than the tokeniser takes is named as what it is, and takes no tokenising. */
static void test_beyond_the_tokeniser(void **state)
{
    const size_t most = TOKENIZER_TEXT_MAX;
    struct err_msg em;
    char *s = malloc(most + 2);
    assert_non_null(s);
    memset(s, 'a', most + 1);
    s[most + 1] = 0;
    struct text_input title = {.text = "b", .len = 1, .title = s, .title_len = most + 1}, text = {.text = s, .len = most + 1};
    const struct {
        struct text_input in;
        const char *says;
    } cases[] = {
        {title, "the title has 67108865 bytes, at most 67108864 are taken"},
        {query(s, "b"), "the instruction has 67108865 bytes, at most 67108864 are taken"},
        {text, "the text has 67108865 bytes, at most 67108864 are taken"},
        {query(s + 1, "b"), "67108871 bytes with the instruction, at most 67108864 are taken"},
        {{.text = s, .len = most, .title = "bc", .title_len = 2}, "67108867 bytes with the title, at most 67108864 are taken"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tokens.n = tokens.n_seen = 7;
        assert_int_equal(text_encode_rules(&rules, &cases[i].in, &tokens, &em), LT_ELIMIT);
        assert_non_null(strstr(em.text, cases[i].says));
        assert_true(tokens.n == 0 && tokens.n_seen == 0);
    }
    free(s);
    text_tokens_finish(&tokens);
}

/* Every case of the default model: ids and masked positions. */
static void test_latent_mini_cases(void **state)
{
    struct tokenizer *t = shared_tokenizer(SHARED_LATENT_MINI);
    char path[4096];
    json_t *root, *c;
    size_t i;
    if (!t)
        skip();
    struct text_rules r = {.tokenizer = t, .token_limit = 512, .bos = 1, .eos = 2, .query_prefix = "query: "};
    snprintf(path, sizeof path, "%s/models/latent-mini/cases.json", getenv("LATENTD_SRC"));
    root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    assert_true(json_array_size(json_object_get(root, "cases")) >= 7);
    json_array_foreach(json_object_get(root, "cases"), i, c) {
        const json_t *text = json_object_get(c, "text"), *ids = json_object_get(c, "ids");
        struct text_input in = {.text = json_string_value(text), .len = json_string_length(text),
                                .query = json_is_true(json_object_get(c, "query"))};
        assert_int_equal(text_encode_rules(&r, &in, &tokens, NULL), 0);
        assert_int_equal(tokens.n, json_array_size(ids));
        for (size_t k = 0; k < tokens.n; k++)
            assert_int_equal(tokens.ids[k], json_integer_value(json_array_get(ids, k)));
        assert_int_equal(tokens.n_skip, json_integer_value(json_object_get(c, "instruction_len")));
    }
    json_decref(root);
    tokenizer_destroy(&t);
}

/* The ids and the mask that NV-Embed's own code gives for its card's first query. */
static void test_nv_embed_query(void **state)
{
    static const int32_t want[] = {1,    560,  1356,  28747, 12628, 264, 2996,  28725, 20132, 1455, 1291,  369, 4372, 272,
                                   2996, 13,   3294,  28747, 460,   4612, 28709, 4965,  4670,  297,  17619, 1905, 28804, 2};
    struct tokenizer *t = shared_tokenizer(SHARED_NV_EMBED);
    if (!t)
        skip();
    struct text_rules r = {.tokenizer = t, .token_limit = 32768, .bos = 1, .eos = 2, .instruct_template = NV_TEMPLATE};
    struct text_input in = query("Given a question, retrieve passages that answer the question",
                                 "are judo throws allowed in wrestling?");
    assert_int_equal(text_encode_rules(&r, &in, &tokens, NULL), 0);
    assert_int_equal(tokens.n, sizeof want / sizeof *want);
    assert_memory_equal(tokens.ids, want, sizeof want);
    assert_int_equal(tokens.n_skip, 18);
    in.instruct = NULL;
    assert_int_equal(text_encode_rules(&r, &in, &tokens, NULL), 0);
    assert_int_equal(tokens.n_skip, 0);
    tokenizer_destroy(&t);
}

/* A large text's memory is given back, an ordinary one's is kept for the next; either way the next has its ids. */
static void test_trim(void **state)
{
    static char large[512 << 10];
    memset(large, 'd', sizeof large - 1);
    struct text_input in = passage(NULL, large);
    in.truncate = true;
    assert_int_equal(text_encode_rules(&rules, &in, &tokens, NULL), 0);
    text_tokens_trim(&tokens);
    assert_true(!tokens.joined && !tokens.ids && !tokens.scratch.ids);
    in = passage("d", "cd");
    check(&in, "1 259 263 259 273 2", 0);
    const char *kept = tokens.joined;
    text_tokens_trim(&tokens);
    assert_true(kept && tokens.joined == kept && tokens.n == 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_cut), cmocka_unit_test(test_cut_before_eos), cmocka_unit_test(test_suffix),
        cmocka_unit_test(test_other_models), cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_query_to_the_letter),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_beyond_the_tokeniser), cmocka_unit_test(test_trim),
        cmocka_unit_test(test_latent_mini_cases),
        cmocka_unit_test(test_nv_embed_query),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
