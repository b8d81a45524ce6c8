/* A progress line on a terminal: share, rate, time left; and one summary at the end.
 * Thread-safety: unsafe. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *unit;   /* "documents" */
    uint64_t total;     /* 0: unknown; counts or bytes, as `done` in progress_update */
    uint64_t start_ns;
    uint64_t shown_ns;  /* when the line was last drawn */
    bool terminal;      /* stderr is one: draw */
    bool drawn;
};

/* total: of whatever `done` counts (bytes of a file, for example); 0 when it is not known. */
void progress_start(struct progress *p, const char *unit, uint64_t total);

/* count: units finished, for the rate; done: share of total, for percentage and time left. Draws at most ten
 * times a second. */
void progress_update(struct progress *p, uint64_t count, uint64_t done);

/* Removes the line, so that the caller's summary stands alone. */
void progress_end(struct progress *p);

/* Seconds since the start. */
double progress_seconds(const struct progress *p);

/* "1 h 02 min", "3 min 20 s", "12 s" into out. */
void progress_duration(double seconds, char out[static 32]);

#endif
