/* A model file as other programs leave it, with its matrices in any type. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "model/gguf.h"
#include "model/quantise.h"
#include "tests/golden/block_encode.h"
#include "tests/golden/golden.h"

static void die(const char *what, const char *why)
{
    fprintf(stderr, "golden_blocks: %s: %s\n", what, why);
    exit(1);
}

static enum tensor_type stored_as(const struct tensor *t, enum tensor_type type)
{
    return t->rows > 1 && tensor_row_bytes(type, t->cols) && !strstr(t->name, "latents") ? type : t->type;
}

static void put_tensor(const struct tensor *t, enum tensor_type type, struct bytes_out *out)
{
    if (stored_as(t, type) == t->type) {
        bytes_put(out, t->data, t->len_bytes);
        return;
    }
    float *row = malloc(t->cols * sizeof *row);
    for (uint64_t r = 0; row && r < t->rows; r++) {
        tensor_row_f32(t, r, row);
        for (uint64_t i = 0; golden_only_read(type) && i < t->cols; i += tensor_block_len(type))
            golden_block(type, row + i, out);
        uint8_t *at = golden_only_read(type) ? NULL : bytes_room(out, tensor_row_bytes(type, t->cols));
        if (at)
            out->bad |= quantise_row(type, row, NULL, t->cols, at) < 0;
    }
    out->bad |= !row;
    free(row);
}

static void pad(struct bytes_out *out)
{
    while (!out->bad && out->len % GGUF_ALIGNMENT)
        bytes_put_u8(out, 0);
}

static void skip_value(struct bytes_in *in, uint32_t type)
{
    static const uint8_t len[GGUF_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == GGUF_STRING) {
        bytes_take(in, bytes_u64(in));
    } else if (type == GGUF_ARRAY) {
        const uint32_t elem = bytes_u32(in);
        for (uint64_t n = bytes_u64(in); n && !in->bad; n--)
            skip_value(in, elem);
    } else {
        bytes_take(in, type < GGUF_N_TYPES ? len[type] : SIZE_MAX);
    }
}

/* All keys but those that say what the weights were; returns their number. */
static uint64_t put_keys(struct bytes_in *in, uint64_t n_keys, struct bytes_out *out)
{
    uint64_t kept = 0;
    while (n_keys-- && !in->bad) {
        const uint8_t *start = in->p;
        const uint64_t len = bytes_u64(in);
        const char *name = (const char *)bytes_take(in, len);
        skip_value(in, bytes_u32(in));
        if (in->bad || strncmp(name, "latentd.golden.", 15) == 0 || strncmp(name, "latentd.tensor_digests", len) == 0)
            continue;
        bytes_put(out, start, (size_t)(in->p - start));
        kept++;
    }
    return kept;
}

static void put_list(const struct gguf *g, enum tensor_type type, struct bytes_out *out)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        const enum tensor_type as = stored_as(t, type);
        bytes_put_u64(out, strlen(t->name));
        bytes_put_str(out, t->name);
        bytes_put_u32(out, t->rows > 1 ? 2 : 1);
        bytes_put_u64(out, t->cols);
        if (t->rows > 1)
            bytes_put_u64(out, t->rows);
        bytes_put_u32(out, as);
        bytes_put_u64(out, offset);
        offset += (t->rows * tensor_row_bytes(as, t->cols) + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
    }
}

static uint8_t *read_all(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    long n = -1;
    uint8_t *data = NULL;
    if (f && fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) > 0 && fseek(f, 0, SEEK_SET) == 0 && (data = malloc((size_t)n)))
        *len = fread(data, 1, (size_t)n, f);
    if (!data || *len != (size_t)n)
        die(path, "cannot be read");
    fclose(f);
    return data;
}

static void write_all(const char *path, const struct bytes_out *out)
{
    FILE *f = fopen(path, "wb");
    if (out->bad || !f || fwrite(out->data, 1, out->len, f) != out->len || fclose(f))
        die(path, "cannot be written");
}

char *golden_blocks(const char *dir, enum tensor_type type)
{
    char *path = golden_import(dir, TENSOR_F32);
    struct err_msg em;
    struct gguf *g = NULL;
    struct bytes_out keys = {0}, out = {0};
    size_t len = 0;
    uint8_t *data = read_all(path, &len);
    struct bytes_in in = bytes_in(data, len);
    if (gguf_parse(&g, data, len, &em) < 0)
        die(path, em.text);
    bytes_take(&in, 4 + 4 + 8);
    const uint64_t n_keys = bytes_u64(&in), kept = put_keys(&in, n_keys, &keys);
    bytes_put_str(&out, GGUF_MAGIC);
    bytes_put_u32(&out, GGUF_VERSION);
    bytes_put_u64(&out, gguf_n_tensors(g));
    bytes_put_u64(&out, kept);
    bytes_put(&out, keys.data, keys.len);
    put_list(g, type, &out);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        pad(&out);
        put_tensor(gguf_tensor_at(g, i), type, &out);
    }
    out.bad |= in.bad || keys.bad;
    write_all(path, &out);
    bytes_out_finish(&keys);
    bytes_out_finish(&out);
    gguf_destroy(&g);
    free(data);
    return path;
}
