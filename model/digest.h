/* Digests of a model file's tensors: what the fingerprint is made of, so that a file need not be read whole to be opened.
 *
 * A tensor's digest is BLAKE2b-256 of its bytes. The importer stores them; for a file without them they are computed, and kept
 * in a cache folder under the file's identity (device, inode, size, times). Whoever has time compares them with the bytes:
 * model/verify.h.
 * Thread-safety: safe. */
#ifndef MODEL_DIGEST_H
#define MODEL_DIGEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/gguf.h"

#define DIGEST_BYTES 32
#define DIGEST_HEX (2 * DIGEST_BYTES)
#define DIGEST_KEY "latentd.tensor_digests"

/* Of t's bytes, DIGEST_BYTES, in steps, so that it can be given up: false when *stop became true meanwhile. stop may be NULL. */
bool digest_tensor(const struct tensor *t, const atomic_bool *stop, uint8_t *out);

/* The digests of all tensors in order of name, from the file's own key, else from the cache, else computed on all CPUs.
 *
 * path       the file, for its identity
 * cache_dir  NULL: no cache
 * out        gguf_n_tensors × DIGEST_BYTES
 * fresh      true when they were computed from the bytes now
 *
 * Errors: LT_EFORMAT (a key that is not n × 64 hex digits), LT_ENOMEM. A cache that cannot be read or written is done without. */
int digest_all(const struct gguf *g, const char *path, const char *cache_dir, uint8_t *out, bool *fresh, struct err_msg *em);

#endif
