/* Rows of a table in each storage type. Dequantising has one rounding at most: 1e-7 relative. */
#include <math.h>

#include "model/conformance/conform.h"

static void one(struct conform *k, enum tensor_type type, uint64_t cols, uint32_t n)
{
    enum { VOCABULARY = 50 };
    struct conform_batch b;
    const size_t row_bytes = tensor_row_bytes(type, cols);
    conform_case(k, "embed_rows %s cols %llu n %u", tensor_type_name(type), (unsigned long long)cols, n);
    uint8_t *data = malloc(VOCABULARY * row_bytes);
    float *want = conform_fill(k, n * cols, FILL_ZERO), *v = conform_fill(k, cols * VOCABULARY, FILL_NORMAL);
    float *may = conform_fill(k, n * cols, FILL_ZERO);
    if (!data)
        exit(1);
    conform_encode(type, v, VOCABULARY * cols, data);
    const struct tensor t = {"table", type, VOCABULARY, cols, data, VOCABULARY * row_bytes};
    struct ops_mat *table = NULL;
    struct err_msg em = {""};
    struct ops_buf *y = conform_buf(k, NULL, n, cols);
    if (k->o->v->table_create(k->o, &t, &table, &em)) {
        conform_fail(k, "table_create: %s", em.text);
    } else {
        conform_begin(k, &b, n, 20, 0);
        conform_ok(k, k->o->v->embed_rows(k->o, table, y), "embed_rows");
        conform_end(k, &b);
        for (uint32_t i = 0; i < n; i++) {
            tensor_row_f32(&t, (uint64_t)b.ids[i], want + i * cols);
            conform_held(k, type, want + i * cols, cols, may + i * cols);
        }
        for (size_t i = 0; i < n * cols; i++)
            may[i] += 1e-7f * fabsf(want[i]);
        conform_forget(&b);
        conform_compare(k, y, want, n, cols, 1e-12, 1, may);
        k->o->v->mat_destroy(k->o, &table);
    }
    conform_drop(k, y);
    free(data);
    free(want);
    free(may);
    free(v);
}

void check_embed_rows(struct conform *k)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0};
    static const uint64_t cols[] = {32, 64, 96, 384, 1, 3, 17};
    static const uint32_t rows[] = {1, 2, 33, 300};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
                if (tensor_row_bytes(types[t], cols[c]))
                    one(k, types[t], cols[c], rows[r]);
    static const enum tensor_type few_bits[] = {TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1,  TENSOR_Q2_K, TENSOR_Q3_K,
                                                TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_IQ4_NL, TENSOR_IQ4_XS};
    for (size_t t = 0; t < sizeof few_bits / sizeof *few_bits; t++)
        for (uint64_t c = 32; c <= 768; c += c < 256 ? 224 : 512)
            if (tensor_row_bytes(few_bits[t], c))
                one(k, few_bits[t], c, 33);
}
