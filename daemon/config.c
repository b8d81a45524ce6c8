#include "daemon/config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

struct reader {
    FILE *f;
    struct settings *s;
    unsigned line; /* the one inih works on */
    int r;
    struct err_msg em;
};

/* inih asks for one line and then calls on_value for it, so that counting here gives the line of every value. */
static char *next_line(char *buf, int n, void *arg)
{
    struct reader *rd = arg;
    if (rd->r < 0 || !fgets(buf, n, rd->f))
        return NULL;
    rd->line++;
    size_t len = strlen(buf);
    if (len >= CONFIG_LINE_MAX) {
        rd->r = err_set(&rd->em, LT_EINVAL, "line is longer than %d bytes", CONFIG_LINE_MAX);
        return NULL;
    }
    return buf;
}

static int on_value(void *arg, const char *section, const char *name, const char *value)
{
    struct reader *rd = arg;
    if (rd->r < 0)
        return 0;
    if (section[0])
        rd->r = err_set(&rd->em, LT_EINVAL, "unknown section [%.50s]", section);
    else
        rd->r = settings_set(rd->s, name, value, &rd->em);
    return rd->r == 0;
}

int config_read(const char *path, struct settings *s, struct err_msg *em)
{
    struct reader rd = {.f = fopen(path, "re"), .s = s};
    if (!rd.f)
        return err_set(em, err_from_errno(errno), "%.300s: %s", path, strerror(errno));
    int bad_line = ini_parse_stream(next_line, &rd, on_value, &rd);
    fclose(rd.f);
    if (rd.r < 0)
        return err_set(em, LT_EINVAL, "%.200s:%u: %.200s", path, rd.line, rd.em.text);
    if (bad_line != 0)
        return err_set(em, LT_EINVAL, "%.200s:%d: not a `name = value` line", path, bad_line);
    return 0;
}
