/* Writes a GGUF file, version 3, front to back: keys, tensor list, then each tensor's bytes in the order listed.
 *
 * The file grows without a name (where the file system knows none, as PATH.tmp) and takes its own only in gguf_write_commit,
 * after a sync; until then an existing file of that name stays as it is. Errors stick: after the first, every call returns it and gguf_write_commit refuses.
 * Thread-safety: unsafe. */
#ifndef MODEL_GGUF_WRITE_H
#define MODEL_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/gguf.h"

struct gguf_writer;

/* Errors: LT_EIO, LT_EPERM, LT_ENOSPC, LT_ENOTFOUND (no such folder), LT_EINVAL (what is there is no file). */
int gguf_write_create(struct gguf_writer **w, const char *path, struct err_msg *em);
/* Without a commit before it, removes what was written. */
void gguf_write_destroy(struct gguf_writer **w);

/* First the keys … */
void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_write_i32(struct gguf_writer *w, const char *key, int32_t v);
void gguf_write_f32(struct gguf_writer *w, const char *key, float v);
void gguf_write_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_write_str(struct gguf_writer *w, const char *key, const char *s, size_t len);
/* A string of len zeros ('0'); *offset is where they lie, for gguf_write_patch. */
void gguf_write_blank(struct gguf_writer *w, const char *key, size_t len, uint64_t *offset);
/* An array of u32, i32 or f32; data NULL writes zeros. *offset (may be NULL) is where the elements lie, for gguf_write_patch. */
void gguf_write_array(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *data, size_t count,
                      uint64_t *offset);
/* … then the list of tensors … (rows 1: a vector, listed with one dimension) */
void gguf_write_tensor(struct gguf_writer *w, const char *name, enum tensor_type type, uint64_t rows, uint64_t cols);
/* … then their bytes: any number of calls, padding between tensors is added here. */
int gguf_write_data(struct gguf_writer *w, const void *data, size_t len, struct err_msg *em);

/* After all data: writes out what is buffered; the file at gguf_write_tmp_path is then complete and readable. */
int gguf_write_flush(struct gguf_writer *w, struct err_msg *em);
const char *gguf_write_tmp_path(const struct gguf_writer *w);
/* Overwrites len bytes at offset. */
int gguf_write_patch(struct gguf_writer *w, uint64_t offset, const void *data, size_t len, struct err_msg *em);
/* Syncs and renames; LT_EINVAL when tensors' bytes are missing. */
int gguf_write_commit(struct gguf_writer *w, struct err_msg *em);

#endif
