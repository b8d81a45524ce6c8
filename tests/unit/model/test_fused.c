/* Files whose layers keep several projections as one tensor: their parts by the usual names, and forged ones refused. */
#include "tests/unit.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "model/fused.h"
#include "model/gguf.h"
#include "model/model.h"

enum { HIDDEN = 32, FFN = 48, LAYERS = 4 };

static void fixture(char path[4096])
{
    const char *src = getenv("LATENTD_SRC");
    snprintf(path, 4096, "%s/tests/golden/decoders/modernbert.gguf", src ? src : ".");
}

static void test_parts(void **state)
{
    static const struct {
        const char *part, *whole;
        uint64_t first, rows;
    } parts[] = {{"attn_q", "attn_qkv", 0, HIDDEN}, {"attn_k", "attn_qkv", HIDDEN, HIDDEN}, {"attn_v", "attn_qkv", 2 * HIDDEN, HIDDEN},
                 {"ffn_gate", "ffn_up", 0, FFN}, {"ffn_up", "ffn_up", FFN, FFN}};
    struct err_msg em;
    struct file_map map = {0};
    struct gguf *g = NULL;
    struct fused *f = NULL;
    const struct model_info info = {.n_layers = LAYERS, .hidden = HIDDEN, .ffn = FFN, .n_heads = 4, .n_kv_heads = 4, .head_dim = 8};
    char path[4096], name[64];
    fixture(path);
    assert_int_equal(file_map(path, &map, &em), 0);
    assert_int_equal(gguf_parse(&g, map.data, map.len, &em), 0);
    assert_int_equal(fused_create(&f, g, &info, &em), 0);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
            snprintf(name, sizeof name, "blk.%u.%s.weight", layer, parts[p].whole);
            const struct tensor *whole = gguf_tensor(g, name);
            snprintf(name, sizeof name, "blk.%u.%s.weight", layer, parts[p].part);
            const struct tensor *t = fused_tensor(f, name);
            assert_true(t && whole);
            assert_string_equal(t->name, name);
            assert_true(t->type == whole->type && t->cols == HIDDEN && t->rows == parts[p].rows && t->len_bytes == t->rows * HIDDEN * 2);
            assert_ptr_equal(t->data, (const uint8_t *)whole->data + parts[p].first * HIDDEN * 2);
        }
    }
    static const char *const others[] = {"blk.4.attn_q.weight", "blk.0.attn_qkv.weight", "blk.0.attn_q.bias", "blk.0.", "blk.x.attn_q.weight",
                                         "token_embd.weight", "blk.99999999999.attn_q.weight", ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_null(fused_tensor(f, others[i]));
    assert_null(fused_tensor(NULL, "blk.0.attn_q.weight"));
    fused_destroy(&f);
    assert_null(f);
    gguf_destroy(&g);
    file_unmap(&map);
}

/* The fixture with some bytes behind the first `find` replaced, opened */
static int open_changed(const char *find, size_t behind, const void *with, size_t n, struct err_msg *em)
{
    struct file_map map = {0};
    struct model *m = NULL;
    char path[4096], changed[] = "/tmp/test_fused.XXXXXX";
    fixture(path);
    assert_int_equal(file_map(path, &map, em), 0);
    uint8_t *copy = malloc(map.len), *at;
    assert_non_null(copy);
    memcpy(copy, map.data, map.len);
    assert_non_null(at = memmem(copy, map.len, find, strlen(find)));
    memcpy(at + strlen(find) + behind, with, n);
    const int fd = mkstemp(changed);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, copy, map.len), map.len);
    close(fd);
    const int r = model_open(&m, changed, em);
    model_destroy(&m);
    unlink(changed);
    free(copy);
    file_unmap(&map);
    return r;
}

static void test_forged(void **state)
{
    struct err_msg em;
    const uint64_t fewer = 2 * FFN - 1, less = 3 * HIDDEN - 1, narrow = HIDDEN / 2;
    const uint32_t layers = LAYERS + 1, heads = 3, period = 0;
    assert_int_equal(open_changed("GGUF", 0, "", 0, &em), 0);
    /* behind a name: the number of dimensions, columns, rows */
    assert_int_equal(open_changed("blk.2.ffn_up.weight", 4 + 8, &fewer, 8, &em), LT_EFORMAT);
    assert_non_null(strstr(em.text, "blk.2.ffn_up.weight is 95 x 32, must be 96 x 32"));
    assert_int_equal(open_changed("blk.3.attn_qkv.weight", 4 + 8, &less, 8, &em), LT_EFORMAT);
    assert_int_equal(open_changed("blk.0.attn_qkv.weight", 4, &narrow, 8, &em), LT_EFORMAT);
    assert_int_equal(open_changed("blk.1.attn_qk", 0, "x", 1, &em), LT_EFORMAT);
    assert_non_null(strstr(em.text, "blk.1.attn_qkv.weight is missing"));
    assert_int_equal(open_changed("token_embd_nor", 0, "x", 1, &em), LT_EFORMAT);
    assert_non_null(strstr(em.text, "token_embd_norm.weight is missing"));
    /* behind a key: its type, the value */
    assert_int_equal(open_changed("modern-bert.block_count", 4, &layers, 4, &em), LT_EFORMAT);
    assert_int_equal(open_changed("modern-bert.attention.head_count", 4, &heads, 4, &em), LT_EFORMAT);
    assert_int_equal(open_changed("modern-bert.attention.sliding_window_pattern", 4, &period, 4, &em), LT_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts), cmocka_unit_test(test_forged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
