/* A progress line on a terminal: share, rate, bytes, time left, and the item at hand; cut where the terminal ends.
 * Thread-safety: unsafe. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *unit;   /* "documents" */
    uint64_t total;     /* 0: unknown; counts or bytes, as `done` in progress_update */
    bool bytes;         /* `done` is bytes, to be shown */
    uint64_t start_ns;
    uint64_t shown_ns;  /* when the line was last drawn */
    bool terminal;      /* stderr is one: draw */
    bool drawn;
};

/* total: of whatever `done` counts, bytes (of a file, for example) or not; 0 when it is not known. */
void progress_start(struct progress *p, const char *unit, uint64_t total, bool bytes);

/* count: units finished, for the rate; done: share of total, for percentage and time left; item: what is at hand, NULL or empty
 * when that is not known. Draws at most ten times a second. */
void progress_update(struct progress *p, uint64_t count, uint64_t done, const char *item);

/* Removes the line, so that the caller's summary stands alone. */
void progress_end(struct progress *p);

/* Seconds since the start. */
double progress_seconds(const struct progress *p);

/* "1.2 of 34 MiB", or "1.2 MiB" where total is 0, into out. */
void progress_bytes(uint64_t done, uint64_t total, char out[static 48]);

/* Of how much must be done before it says how long the rest takes: of the first of a few small files and a large one it does not. */
#define PROGRESS_SHARE_TOLD 0.01

/* "1 h 02 min", "3 min 20 s", "12 s" into out. */
void progress_duration(double seconds, char out[static 32]);

#endif
