#include "clients/cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define REDRAW_NS 100000000u
#define BAR_CELLS 24

void progress_start(struct progress *p, const char *unit, uint64_t total)
{
    *p = (struct progress){.unit = unit, .total = total, .start_ns = clock_ns()};
    p->terminal = isatty(STDERR_FILENO);
}

double progress_seconds(const struct progress *p)
{
    return (double)(clock_ns() - p->start_ns) / 1e9;
}

void progress_duration(double seconds, char out[static 32])
{
    unsigned long s = seconds < 0 ? 0 : seconds > 1e8 ? 100000000 : (unsigned long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 32, "%lu h %02lu min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, 32, "%lu min %02lu s", s / 60, s % 60);
    else
        snprintf(out, 32, "%lu s", s);
}

void progress_update(struct progress *p, uint64_t count, uint64_t done)
{
    uint64_t now = clock_ns();
    if (!p->terminal || (p->drawn && now - p->shown_ns < REDRAW_NS))
        return;
    p->shown_ns = now;
    p->drawn = true;
    double seconds = progress_seconds(p);
    double rate = seconds > 0 ? (double)count / seconds : 0;
    if (!p->total) {
        fprintf(stderr, "\r\033[K%llu %s, %.0f/s", (unsigned long long)count, p->unit, rate);
        fflush(stderr);
        return;
    }
    double share = done >= p->total ? 1 : (double)done / (double)p->total;
    char bar[BAR_CELLS + 1], left[32];
    int full = (int)(share * BAR_CELLS);
    memset(bar, '.', BAR_CELLS);
    memset(bar, '#', (size_t)full);
    bar[BAR_CELLS] = 0;
    progress_duration(share > 0 ? seconds / share - seconds : 0, left);
    fprintf(stderr, "\r\033[K[%s] %3.0f %%  %llu %s  %.0f/s  %s left", bar, share * 100,
            (unsigned long long)count, p->unit, rate, share > 0 ? left : "?");
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->drawn)
        fprintf(stderr, "\r\033[K");
    p->drawn = false;
}
