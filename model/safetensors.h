/* Reads the bytes of one safetensors file: u64 header length, a JSON header, then the tensors' data.
 *
 * Offsets are checked against the file, against each other and against each tensor's shape before any is given out.
 * Thread-safety: safe once parsed. */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/tensor.h"

#define SAFETENSORS_MAX_HEADER (64u << 20) /* bytes */
#define SAFETENSORS_MAX_TENSORS 65536
#define SAFETENSORS_MAX_DIMS 8

struct safetensors_entry {
    const char *name;   /* lives as long as its safetensors */
    char dtype[8];      /* "F16", as in the file */
    bool usable;        /* F32, F16 or BF16: then type holds */
    enum tensor_type type;
    uint32_t n_dims;
    uint64_t dims[SAFETENSORS_MAX_DIMS];
    const uint8_t *data; /* borrows from the bytes parsed; any alignment */
    size_t len_bytes;
};

struct safetensors;

/* Parses len bytes, borrowed until safetensors_destroy.
 * Errors: LT_EFORMAT (which tensor, which field), LT_EUNSUPPORTED (a dtype of unknown size), LT_ELIMIT, LT_ENOMEM. */
int safetensors_parse(struct safetensors **s, const void *data, size_t len, struct err_msg *em);
void safetensors_destroy(struct safetensors **s);

size_t safetensors_count(const struct safetensors *s);
/* In order of name. */
const struct safetensors_entry *safetensors_at(const struct safetensors *s, size_t i);
const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name);

#endif
