/* A segment's file, written front to back in blocks, each with its checksum. Blocks of zeros stay holes.
 *
 * What it has goes to the file in whole runs, so that the kernel keeps such a run in one piece of its page cache and maps it as one
 * huge page: searches in a mapped graph miss the translation cache less (a million vectors of 384 dimensions: a tenth faster and more).
 *
 * Private to graph_*.c and segment*.c. Thread-safety: unsafe. */
#ifndef INDEX_SEGMENT_OUT_H
#define INDEX_SEGMENT_OUT_H

#include <stddef.h>
#include <stdint.h>

#define SEGMENT_RUN (2u << 20) /* bytes: a huge page of most CPUs; runs begin at multiples of it */

struct seg_out {
    int fd;
    uint64_t at;      /* of the block at hand */
    size_t n;         /* bytes in it */
    uint8_t *run;     /* from run_at on, the block at hand at its end; SEGMENT_RUN and a block */
    uint64_t run_at;  /* what lies before is in the file */
    uint64_t *sums;
    uint64_t n_sums, max_sums;
    int err;
};

/* The whole of data at a place of a file. Errors: LT_ENOSPC, LT_EIO. */
int segment_write_at(int fd, const void *data, size_t len, uint64_t at);

/* Blocks from `at` on, n_blocks at most. Returns 0 or LT_ENOMEM. The file is set by whoever opens it, and closed by them. */
int seg_out_begin(struct seg_out *o, uint64_t at, uint64_t n_blocks);
void seg_out_finish(struct seg_out *o);

/* data NULL: zeros. Trouble stays in o->err: as segment_write_at, LT_ECORRUPT: more blocks than said. */
void seg_out_add(struct seg_out *o, const void *data, size_t len);

/* The last block, and the last run to the file. */
void seg_out_end(struct seg_out *o);

#endif
