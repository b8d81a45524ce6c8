/* A look at SQLite's write-ahead log before SQLite reads it.
 *
 * SQLite takes a log up to the first frame whose checksum differs, and drops the rest without a word. That is right for a crash in the
 * middle of a commit, whose frames are the last in the file. It is a loss when the frame is in the middle: what stands behind it was
 * synced, and acknowledged. The two can be told apart, since each frame's checksum goes on from the one before it: frames that fit each
 * other behind the broken one, a commit among them and another transaction after that, were written after the broken one had been synced.
 * (Damage in the last transaction of all looks like a crash.)
 *
 * Format: https://www.sqlite.org/fileformat2.html, section 4. Thread-safety: safe. */
#ifndef INDEX_LOG_CHECK_H
#define INDEX_LOG_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_report {
    uint64_t at;     /* byte at which the first broken frame begins; 0: the log's own header */
    uint64_t n_lost; /* commits from there on; one more or less where the broken frame's own head cannot tell */
};

/* The bytes of a log, or of anything. True: damaged in the middle, rep is filled. False: sound, torn at its end, or no log. */
bool log_check(const uint8_t *data, size_t len, struct log_report *rep);

#endif
