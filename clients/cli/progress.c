#include "clients/cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "clients/cli/text_out.h"

#define REDRAW_NS 100000000u
#define BAR_CELLS 24
#define LINE_BYTES 1024
#define COLUMNS 80 /* where the terminal does not say */

void progress_start(struct progress *p, const char *unit, uint64_t total, bool bytes)
{
    *p = (struct progress){.unit = unit, .total = total, .bytes = bytes, .start_ns = clock_ns()};
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

void progress_bytes(uint64_t done, uint64_t total, char out[static 48])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    const uint64_t most = total > done ? total : done;
    size_t u = 0;
    double unit = 1;
    for (; (double)most / unit >= 1000 && u + 1 < sizeof units / sizeof units[0]; u++)
        unit *= 1024;
    const double d = (double)done / unit, t = (double)total / unit;
    if (total)
        snprintf(out, 48, "%.*f of %.*f %s", d < 10 && u ? 1 : 0, d, t < 10 && u ? 1 : 0, t, units[u]);
    else
        snprintf(out, 48, "%.*f %s", d < 10 && u ? 1 : 0, d, units[u]);
}

/* The line so far, cut to the terminal's width: to so many characters, and nothing that moves the cursor. */
static void draw(char *line)
{
    struct winsize w;
    unsigned columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : COLUMNS;
    for (size_t bad; (bad = utf8_check(line, strlen(line))) != UTF8_VALID;)
        line[bad] = '?';
    for (char *c = line; *c; c++) {
        if ((*c & 0xC0) != 0x80 && columns-- == 1) {
            *c = 0;
            break;
        }
        memset(c, ' ', text_control(c, strnlen(c, 2)));
    }
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
}

void progress_update(struct progress *p, uint64_t count, uint64_t done, const char *item)
{
    uint64_t now = clock_ns();
    if (!p->terminal || (p->drawn && now - p->shown_ns < REDRAW_NS))
        return;
    p->shown_ns = now;
    p->drawn = true;
    char line[LINE_BYTES], left[32] = "?", bytes[50] = "";
    const double seconds = progress_seconds(p), rate = seconds > 0 ? (double)count / seconds : 0;
    const double share = !p->total ? 0 : done >= p->total ? 1 : (double)done / (double)p->total;
    size_t n = 0;
    if (p->total) {
        char bar[BAR_CELLS + 1] = "........................";
        _Static_assert(sizeof "........................" == sizeof bar, "a dot a cell");
        memset(bar, '#', (size_t)(share * BAR_CELLS));
        n = (size_t)snprintf(line, sizeof line, "[%s] %3.0f %%  ", bar, share * 100);
        if (share >= PROGRESS_SHARE_TOLD)
            progress_duration(seconds / share - seconds, left);
    }
    if (p->bytes)
        progress_bytes(done, p->total, bytes);
    n += (size_t)snprintf(line + n, sizeof line - n, "%llu %s  %.0f/s", (unsigned long long)count, p->unit, rate);
    if (*bytes)
        n += (size_t)snprintf(line + n, sizeof line - n, "  %s", bytes);
    if (p->total)
        n += (size_t)snprintf(line + n, sizeof line - n, "  %s left", left);
    if (item && *item)
        snprintf(line + n, sizeof line - n, "  at %.600s", item);
    draw(line);
}

void progress_end(struct progress *p)
{
    if (p->drawn)
        fprintf(stderr, "\r\033[K");
    p->drawn = false;
}
