#include "index/segment_out.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/err.h"
#include "base/fault.h"
#include "index/segment.h"

int segment_write_at(int fd, const void *data, size_t len, uint64_t at)
{
    const char *p = data;
    while (len) {
        ssize_t n = fault("graph.segment.write") ? (errno = ENOSPC, -1) : pwrite(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_from_errno(n < 0 ? errno : EIO);
        p += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    return 0;
}

int seg_out_begin(struct seg_out *o, uint64_t at, uint64_t n_blocks)
{
    o->at = o->run_at = at;
    o->max_sums = n_blocks;
    o->run = malloc(SEGMENT_RUN + SEGMENT_BLOCK);
    o->sums = malloc((n_blocks + 1) * sizeof *o->sums);
    return o->run && o->sums ? 0 : LT_ENOMEM;
}

void seg_out_finish(struct seg_out *o)
{
    free(o->run);
    free(o->sums);
    o->run = NULL;
    o->sums = NULL;
}

/* The finished bytes before `end` go to the file; those behind it begin the next run. */
static void write_run(struct seg_out *o, uint64_t end)
{
    const size_t n = (size_t)(end - o->run_at), rest = (size_t)(o->at - end);
    if (n && o->err == 0)
        o->err = segment_write_at(o->fd, o->run, n, o->run_at);
    memmove(o->run, o->run + n, rest);
    o->run_at = end;
}

static uint8_t *block(const struct seg_out *o)
{
    return o->run + (o->at - o->run_at);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static void end_block(struct seg_out *o)
{
    if (!o->n || o->err < 0)
        return;
    if (o->n_sums == o->max_sums) { /* more free slots than were counted */
        o->err = LT_ECORRUPT;
        return;
    }
    o->sums[o->n_sums++] = XXH3_64bits(block(o), o->n);
    const bool hole = all_zero(block(o), o->n);
    if (hole)
        write_run(o, o->at);
    o->at += o->n;
    o->n = 0;
    const uint64_t whole = o->at & ~(uint64_t)(SEGMENT_RUN - 1);
    if (hole)
        o->run_at = o->at;
    else if (whole > o->run_at)
        write_run(o, whole);
}

void seg_out_add(struct seg_out *o, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len && o->err == 0) {
        size_t k = SEGMENT_BLOCK - o->n < len ? SEGMENT_BLOCK - o->n : len;
        if (p) {
            memcpy(block(o) + o->n, p, k);
            p += k;
        } else {
            memset(block(o) + o->n, 0, k);
        }
        o->n += k;
        len -= k;
        if (o->n == SEGMENT_BLOCK)
            end_block(o);
    }
}

void seg_out_end(struct seg_out *o)
{
    end_block(o);
    write_run(o, o->at);
}
