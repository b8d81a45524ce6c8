/* Reads the bytes of a GGUF file (versions 2 and 3, little-endian): typed keys and tensors. See model/FORMAT.md.
 *
 * Every count and length is checked against the bytes that are there before it is used; duplicates, misaligned,
 * overlapping and overlong tensors are refused. A parsed file's tensors can be read without further checks.
 * Thread-safety: safe once parsed. */
#ifndef MODEL_GGUF_H
#define MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "model/tensor.h"

#define GGUF_MAGIC "GGUF"
#define GGUF_VERSION 3
#define GGUF_ALIGNMENT 32      /* where general.alignment is absent */
#define GGUF_MIN_ALIGNMENT 8
#define GGUF_MAX_ALIGNMENT 65536
#define GGUF_MAX_KEYS 65536
#define GGUF_MAX_TENSORS 65536
#define GGUF_MAX_KEY 65535     /* bytes, as the specification has it */
#define GGUF_MAX_TENSOR_NAME 255

/* Numbers in the file. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_N_TYPES,
};

struct gguf;

/* Parses len bytes.
 *
 * data    borrowed until gguf_destroy
 *
 * Errors: LT_EFORMAT (offset in the message), LT_EUNSUPPORTED (version, tensor type or rank), LT_ELIMIT, LT_ENOMEM. */
int gguf_parse(struct gguf **g, const void *data, size_t len, struct err_msg *em);
void gguf_destroy(struct gguf **g);

size_t gguf_n_keys(const struct gguf *g);
size_t gguf_n_tensors(const struct gguf *g);
/* In order of name, i < gguf_n_tensors. Lives as long as the gguf. */
const struct tensor *gguf_tensor_at(const struct gguf *g, size_t i);
/* NULL when there is none. */
const struct tensor *gguf_tensor(const struct gguf *g, const char *name);

/* Values by key. Errors: LT_ENOTFOUND (no such key; *out untouched), LT_EFORMAT (of another type, or out of range),
 * both named in the message. Integers of any width are accepted where the value fits. */
static inline int gguf_maybe(int r) /* of one that may be absent: that is no error */
{
    return r == LT_ENOTFOUND ? 0 : r;
}
int gguf_u32(const struct gguf *g, const char *key, uint32_t *out, struct err_msg *em);
int gguf_i32(const struct gguf *g, const char *key, int32_t *out, struct err_msg *em);
int gguf_f32(const struct gguf *g, const char *key, float *out, struct err_msg *em);
int gguf_bool(const struct gguf *g, const char *key, bool *out, struct err_msg *em);
/* *s is not terminated and borrows from the file's bytes. */
int gguf_str(const struct gguf *g, const char *key, const char **s, size_t *len, struct err_msg *em);
/* A text of at most max bytes, UTF-8 without NUL, as a string that the caller frees; "" when there is no such key. Further errors: LT_ELIMIT. */
int gguf_text(const struct gguf *g, const char *key, size_t max, char **out, struct err_msg *em);
/* An array of exactly this element type (no strings); *data is not aligned. */
int gguf_array(const struct gguf *g, const char *key, enum gguf_type elem, const uint8_t **data, size_t *count,
               struct err_msg *em);
/* An array of strings: in stands before the first; each is a u64 length and that many bytes, all there. */
int gguf_strings(const struct gguf *g, const char *key, struct bytes_in *in, size_t *count, struct err_msg *em);

#endif
