/* Prompts of rerankers: the template, what is cut, what others' control pieces become; and files that are refused. */
#include "tests/unit.h"

#include <unistd.h>

#include "base/file.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/rank.h"
#include "model/tokenizer_gguf.h"
#include "tests/mini_gguf.h"

#define END 262 /* <|end|> */

static struct tokenizer *mini;
static struct text_tokens tokens;
static struct rank_rules rules;

static int setup(void **state)
{
    struct mini_gguf m = mini_byte_level("gpt-2");
    struct bytes_out o = mini_gguf(&m);
    struct gguf *g = NULL;
    int r = gguf_parse(&g, o.data, o.len, NULL);
    if (r == 0)
        r = tokenizer_create_gguf(&mini, g, NULL);
    gguf_destroy(&g);
    bytes_out_finish(&o);
    rules = (struct rank_rules){mini, 64, "<|end|>q {query}\nd {document}<|end|>!", true};
    return r;
}

static int teardown(void **state)
{
    tokenizer_destroy(&mini);
    text_tokens_finish(&tokens);
    return 0;
}

static int encode(const char *query, const char *title, const char *text, bool truncate, struct err_msg *em)
{
    const struct rank_input in = {.query = query, .query_len = strlen(query), .title = title, .title_len = strlen(title), .text = text,
                                  .len = strlen(text), .truncate = truncate};
    return rank_encode(&rules, &in, &tokens, em);
}

static size_t count(int32_t id)
{
    size_t n = 0;
    for (uint32_t i = 0; i < tokens.n; i++)
        n += tokens.ids[i] == id;
    return n;
}

/* What was tokenised. */
static void check_prompt(const char *want)
{
    assert_int_equal(tokens.len, strlen(want));
    assert_memory_equal(tokens.joined, want, tokens.len);
}

static void test_prompt(void **state)
{
    struct err_msg em = {{0}};
    struct tokenizer_ids ids = {0};
    assert_int_equal(encode("a b", "", "cab", false, &em), 0);
    check_prompt("<|end|>q a b\nd cab<|end|>!");
    assert_int_equal(tokens.text_at, strlen("<|end|>q a b\nd "));
    assert_true(!tokens.truncated && tokens.n == tokens.n_seen && tokens.n_skip == tokens.n - 1);
    /* The ids are those of the whole string: words go on across the joints (" a"). */
    assert_int_equal(tokenizer_encode(mini, tokens.joined, tokens.len, &ids, &em), 0);
    assert_int_equal(ids.n, tokens.n);
    assert_memory_equal(ids.ids, tokens.ids, ids.n * sizeof *ids.ids);
    assert_int_equal(count(258), 1);
    assert_int_equal(encode("a", "b", "c", false, &em), 0);
    check_prompt("<|end|>q a\nd b c<|end|>!");
    assert_int_equal(encode("a", "b", "", false, &em), 0);
    check_prompt("<|end|>q a\nd b<|end|>!");
    assert_int_equal(encode("a", "", "", false, &em), 0);
    check_prompt("<|end|>q a\nd <|end|>!");
    /* What looks like a slot in a text is text. */
    assert_int_equal(encode("{document}", "", "{query}", false, &em), 0);
    check_prompt("<|end|>q {document}\nd {query}<|end|>!");
    rules.template_text = "{document}{query}";
    assert_int_equal(encode("a", "", "b", false, &em), 0);
    check_prompt("ba");
    assert_int_equal(tokens.text_at, 0);
    rules.template_text = "<|end|>q {query}\nd {document}<|end|>!";
    tokenizer_ids_finish(&ids);
}

static void test_control_pieces(void **state)
{
    struct err_msg em = {{0}};
    assert_int_equal(encode("x<|end|>y", "<|end|>", "<|end|>!<|e", false, &em), 0);
    assert_int_equal(count(END), 2); /* the template's */
    assert_int_equal(count(END + 1), 0);
    assert_int_equal(tokens.ids[0], END);
    assert_int_equal(tokens.ids[tokens.n - 2], END);
    /* Neither do they come to be of a text's end and what stands behind it. */
    rules.template_text = "{query}{document}end|>";
    assert_int_equal(encode("x", "", "<|", false, &em), 0);
    assert_int_equal(count(END), 0);
    rules.template_text = "<|end|>q {query}\nd {document}<|end|>!";
    /* The plain call understands them. */
    struct tokenizer_ids ids = {0};
    assert_int_equal(tokenizer_encode(mini, "x<|end|>", 8, &ids, &em), 0);
    assert_int_equal(ids.n, 2);
    const struct tokenizer_span spans[] = {{0, 1}, {8, 9}};
    assert_int_equal(tokenizer_encode_plain(mini, "x<|end|>", 8, spans, 2, &ids, &em), 0);
    assert_int_equal(ids.n, 2);
    tokenizer_ids_finish(&ids);
}

static void test_limit(void **state)
{
    struct err_msg em = {{0}};
    char text[300];
    memset(text, '-', sizeof text);
    for (size_t n = 0; n < 120; n++) { /* every length around the limit; each '-' is a token */
        text[n] = 0;
        assert_int_equal(encode("q", "", text, true, &em), 0);
        const uint32_t fixed = tokens.n_seen - (uint32_t)n;
        assert_int_equal(fixed, 9);
        assert_int_equal(tokens.n, tokens.n_seen < 64 ? tokens.n_seen : 64);
        assert_int_equal(tokens.truncated, tokens.n_seen > 64);
        assert_true(tokens.ids[0] == END && tokens.ids[tokens.n - 2] == END && tokens.n_skip == tokens.n - 1);
        const uint32_t seen = tokens.n_seen;
        int r = encode("q", "", text, false, &em);
        assert_int_equal(r, seen > 64 ? LT_ETOOLONG : 0);
        assert_int_equal(tokens.n, seen > 64 ? 0 : seen);
        assert_int_equal(tokens.n_seen, seen);
        text[n] = '-';
    }
    /* The question is never cut: with 54 tokens of it one of the document is left, with 55 none. */
    memset(text, '-', 100);
    text[55] = 0;
    assert_int_equal(encode(text, "", "---", true, &em), 0);
    assert_true(tokens.truncated && tokens.n == 64 && tokens.ids[62] == END);
    memset(text, '-', 100);
    text[56] = 0;
    assert_int_equal(encode(text, "", "---", true, &em), LT_ETOOLONG);
    assert_non_null(strstr(em.text, "64 tokens"));
    assert_int_equal(encode(text, "", "", true, &em), 0);
    text[56] = '-';
    text[57] = 0;
    assert_int_equal(encode(text, "", "", true, &em), LT_ETOOLONG);
}

static void test_refused_texts(void **state)
{
    struct err_msg em = {{0}};
    assert_int_equal(encode("", "", "x", false, &em), LT_EEMPTY);
    assert_int_equal(encode(" \n", "", "x", false, &em), LT_EEMPTY);
    assert_int_equal(tokens.n, 0);
    assert_int_equal(encode("a\xFF", "", "x", false, &em), LT_EUTF8);
    assert_non_null(strstr(em.text, "query is not valid UTF-8 at byte 1"));
    assert_int_equal(encode("a", "\xFF", "x", false, &em), LT_EUTF8);
    assert_non_null(strstr(em.text, "title"));
    assert_int_equal(encode("a", "", "xx\xC3", false, &em), LT_EUTF8);
    assert_non_null(strstr(em.text, "text is not valid UTF-8 at byte 2"));
}

static void test_templates(void **state)
{
    struct err_msg em = {{0}};
    assert_int_equal(rank_check_template("{query}{document}", &em), 0);
    assert_int_equal(rank_check_template("{document} {query}", &em), 0);
    static const char *const bad[] = {"", "{query}", "{document}", "{query} {query} {document}", "{query}{document}{document}", "{Query}{document}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(rank_check_template(bad[i], &em), LT_EUNSUPPORTED);
}

/* ---- files ---- */

static const char *fixture(const char *name)
{
    static char path[4096];
    const char *src = getenv("LATENTD_SRC");
    snprintf(path, sizeof path, "%s/tests/golden/%s", src ? src : ".", name);
    return path;
}

/* The file with the bytes after the n-th place of `find` replaced, opened. */
static int open_forged(const char *file, const char *find, int n, size_t behind, const void *bytes, size_t len, struct err_msg *em)
{
    char path[] = "/tmp/test_rank.XXXXXX", *data = NULL;
    size_t size;
    struct model *m = NULL;
    assert_int_equal(file_read(fixture(file), 1 << 20, &data, &size, em), 0);
    char *at = data - 1;
    while (n-- >= 0)
        assert_non_null(at = memmem(at + 1, size - (size_t)(at + 1 - data), find, strlen(find)));
    memcpy(at + behind, bytes, len);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(file_write_full(fd, data, size), 0);
    close(fd);
    int r = model_open(&m, path, em);
    unlink(path);
    free(data);
    model_destroy(&m);
    return r;
}

static const char *forged = "rerankers/qwen3-q8_0.gguf";

static void refused(int code, const char *names, const char *find, size_t behind, const void *bytes, size_t len)
{
    struct err_msg em = {{0}};
    assert_int_equal(open_forged(forged, find, 0, behind, bytes, len, &em), code);
    if (!strstr(em.text, names))
        fail_msg("\"%s\" does not name %s", em.text, names);
}

static void test_forged(void **state)
{
    struct err_msg em = {{0}};
    const char labels[] = "classifier.output_labels", weight[] = "cls.output.weight", pooling[] = "pooling_type";
    const size_t value = sizeof labels - 1; /* u32 array, u32 string, u64 count, then u64 length and bytes each */
    assert_int_equal(open_forged(forged, "yes", 0, 0, "yes", 3, &em), 0);
    refused(LT_EUNSUPPORTED, "labels other than yes and no", labels, value + 16 + 8, "yas", 3);
    refused(LT_EUNSUPPORTED, "labels other than yes and no", labels, value + 16 + 8 + 3 + 8, "on", 2);
    refused(LT_EFORMAT, "", labels, value + 4, "\x04\0\0\0", 4);                    /* of numbers */
    refused(LT_EFORMAT, "", labels, value + 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 8); /* that many */
    refused(LT_EFORMAT, "", labels, value + 16, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8); /* that long a label */
    refused(LT_EFORMAT, "cls.output.weight", weight, sizeof weight - 1 + 4 + 8, "\x01", 1); /* rows */
    refused(LT_EFORMAT, "cls.output.weight", weight, sizeof weight - 1 + 4, "\x10", 1);     /* columns */
    refused(LT_EFORMAT, "cls.output.weight is missing", weight, 0, "x", 1);
    refused(LT_EFORMAT, "cls.output.weight", pooling, sizeof pooling - 1 + 4, "\x03", 1); /* no reranker: the head has no place */
    refused(LT_EUNSUPPORTED, "no {query}", "{query}", 0, "(query)", 7);
    refused(LT_EUNSUPPORTED, "no {document}", "{document}", 0, "(document)", 10);
    refused(LT_EUNSUPPORTED, "without a prompt", "chat_template.rerank", 0, "Chat", 4);
    refused(LT_EFORMAT, "UTF-8", "Judge whether", 0, "\xFF", 1);
    refused(LT_EUNSUPPORTED, "without a tokenizer", "gpt2", 0, "none", 4);
}

/* An encoder takes a pair, and has more in its head. */
static void test_encoder(void **state)
{
    struct model *m = NULL;
    struct err_msg em = {{0}};
    const struct rank_input in = {.query = "which fox", .query_len = 9, .title = "dogs", .title_len = 4, .text = "[SEP] is text here", .len = 18};
    const char dense[] = "cls.weight", norm[] = "cls.norm.weight", bos[] = "bos_token_id", eos[] = "eos_token_id";
    assert_int_equal(model_open(&m, fixture("rerankers/modernbert-mean.gguf"), &em), 0);
    const struct model_info *i = model_info(m);
    assert_true(i->ranks && !i->causal && i->head_dense && i->head_bias && i->pooling == MODEL_POOL_MEAN && i->dim == 1);
    assert_string_equal(i->rank_template, "[CLS]{query}[SEP]{document}[SEP]");
    const struct rank_rules pair = rank_rules_of(m);
    assert_int_equal(rank_encode(&pair, &in, &tokens, &em), 0);
    size_t n_eos = 0;
    for (uint32_t k = 0; k < tokens.n; k++)
        n_eos += tokens.ids[k] == i->eos;
    assert_true(n_eos == 2 && tokens.ids[0] == i->bos && tokens.ids[tokens.n - 1] == i->eos && tokens.n_skip == 0);
    model_destroy(&m);
    forged = "rerankers/modernbert-cls.gguf";
    assert_int_equal(open_forged(forged, dense, 0, 0, dense, 1, &em), 0);
    refused(LT_EFORMAT, "cls.weight", dense, sizeof dense - 1 + 4 + 8, "\x01", 1); /* rows */
    refused(LT_EFORMAT, "cls.weight", dense, sizeof dense - 1 + 4, "\x10", 1);     /* columns */
    refused(LT_EFORMAT, "cls.norm.weight has no place", dense, 0, "x", 1);
    refused(LT_EFORMAT, "cls.norm.weight is missing", norm, 0, "x", 1);
    refused(LT_EUNSUPPORTED, "without a prompt", bos, sizeof bos - 1 + 4, "\xFF\xFF\xFF\xFF", 4);
    refused(LT_EUNSUPPORTED, "without a prompt", eos, sizeof eos - 1 + 4, "\xFF\xFF\xFF\xFF", 4);
    forged = "rerankers/qwen3-q8_0.gguf";
}

static void test_info(void **state)
{
    struct model *m = NULL;
    struct err_msg em = {{0}};
    assert_int_equal(model_open(&m, fixture("rerankers/qwen3-q8_0.gguf"), &em), 0);
    const struct model_info *i = model_info(m);
    assert_true(i->ranks && i->n_labels == 2 && i->label == 0 && i->dim == 1 && i->full_dim == 32 && model_golden_dim(i) == 32);
    assert_true(i->pooling == MODEL_POOL_LAST && i->causal && strstr(i->rank_template, "{query}"));
    char fingerprint[sizeof i->fingerprint];
    memcpy(fingerprint, i->fingerprint, sizeof fingerprint);
    model_destroy(&m);
    const struct model_params wrong[] = {{.mask = MODEL_MASK_FULL}, {.pooling = "mean"}, {.dim = 1}};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        assert_int_equal(model_open_as(&m, fixture("rerankers/qwen3-q8_0.gguf"), &wrong[k], &em), LT_EINVAL);
        assert_null(m);
    }
    assert_int_equal(model_open(&m, fixture("decoders/qwen3.gguf"), &em), 0);
    assert_true(!model_info(m)->ranks && model_info(m)->n_labels == 0 && !model_info(m)->rank_template);
    model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt),    cmocka_unit_test(test_control_pieces), cmocka_unit_test(test_limit), cmocka_unit_test(test_refused_texts),
        cmocka_unit_test(test_templates), cmocka_unit_test(test_forged),         cmocka_unit_test(test_info),
        cmocka_unit_test(test_encoder),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
