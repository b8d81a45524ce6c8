/* The pipeline cache on disk: one file per driver, checked before use and, when bad, ignored.
 *
 * Little-endian. Offset, size, meaning, validity:
 *    0   8  magic "LTVKPC1\n"
 *    8  32  key: which device, driver and build of ours wrote it; equal to the reader's
 *   40   8  length of the data in bytes, at most PIPELINE_CACHE_MAX; ends the file exactly
 *   48   8  XXH3-64 of the data
 *   56   …  data, as vkGetPipelineCacheData gave it */
#ifndef GPU_PIPELINE_CACHE_H
#define GPU_PIPELINE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PIPELINE_CACHE_KEY 32
#define PIPELINE_CACHE_MAX (64u << 20)

struct gpu;

/* Borrows the data from a file's bytes. Errors: LT_EFORMAT damaged, LT_EVERSION another driver's or build's. */
int pipeline_cache_parse(const void *file, size_t len, const uint8_t key[static PIPELINE_CACHE_KEY],
                         const uint8_t **data, size_t *data_len);
/* The file for data, malloc'ed; NULL without memory. */
uint8_t *pipeline_cache_format(const void *data, size_t data_len, const uint8_t key[static PIPELINE_CACHE_KEY],
                               size_t *len);

/* Creates the cache, from the file in dir when that is good; dir NULL: only in memory. */
int pipeline_cache_init(struct gpu *g, const char *dir, struct err_msg *em);
/* Writes the file when there are new pipelines; failure is logged and otherwise ignored. */
void pipeline_cache_save(struct gpu *g);
void pipeline_cache_finish(struct gpu *g);

#endif
