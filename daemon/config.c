#include "daemon/config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_SETTINGS_MAX 64

struct reader {
    FILE *f;
    struct settings *s;
    unsigned line; /* the one inih works on */
    unsigned set_at[CONFIG_SETTINGS_MAX]; /* the line of each setting of the table; 0: none yet */
    int read_errno;
    int r;
    struct err_msg em;
};

/* inih asks for one line and then calls on_value for it, so that counting here gives the line of every value. Blanks at its beginning,
 * by which inih would take it for the end of the last value, are left out. A section's line, which it would keep to itself, is an error. */
static char *next_line(char *buf, int n, void *arg)
{
    struct reader *rd = arg;
    if (rd->r < 0)
        return NULL;
    size_t len = 0;
    for (int ch = 0; ch != '\n' && len + 1 < (size_t)n && (ch = getc(rd->f)) != EOF;)
        buf[len++] = (char)ch;
    buf[len] = 0;
    if (ferror(rd->f) || !len) {
        rd->read_errno = ferror(rd->f) ? errno : 0;
        return NULL;
    }
    rd->line++;
    if (len >= CONFIG_LINE_MAX)
        rd->r = err_set(&rd->em, LT_EINVAL, "line is longer than %d bytes", CONFIG_LINE_MAX);
    else if (memchr(buf, 0, len))
        rd->r = err_set(&rd->em, LT_EINVAL, "a NUL byte: no text in UTF-8");
    if (rd->r < 0)
        return NULL;
    const char *from = buf;
    if (rd->line == 1 && len >= 3 && memcmp(buf, "\xEF\xBB\xBF", 3) == 0)
        from += 3;
    from += strspn(from, " \t\v\f\r");
    memmove(buf, from, len - (size_t)(from - buf) + 1);
    if (buf[0] == '[') {
        rd->r = err_set(&rd->em, LT_EINVAL, "'%.50s': there are no sections, only `name = value` lines", strtok(buf, "\r\n"));
        return NULL;
    }
    return buf;
}

/* With it the value would be another one, a folder of a strange name say. */
static int no_comment(const char *name, const char *value, struct err_msg *em)
{
    return strstr(value, " #") || strstr(value, "\t#") ? err_set(em, LT_EINVAL, "%s: behind a value a comment begins with ; and not with #", name) : 0;
}

/* A name that comes again would silently undo its first line. */
static int once(struct reader *rd, const char *name)
{
    for (unsigned i = 0; i < settings_count && i < CONFIG_SETTINGS_MAX; i++) {
        if (strcmp(settings_table[i].name, name) != 0)
            continue;
        if (rd->set_at[i])
            return err_set(&rd->em, LT_EINVAL, "%s is set in line %u already", name, rd->set_at[i]);
        rd->set_at[i] = rd->line;
    }
    return 0;
}

static int on_value(void *arg, const char *section, const char *name, const char *value)
{
    struct reader *rd = arg;
    if (rd->r < 0)
        return 0;
    (void)section; /* next_line lets none through */
    if ((rd->r = once(rd, name)) == 0 && (rd->r = no_comment(name, value, &rd->em)) == 0)
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
    if (rd.read_errno)
        return err_set(em, err_from_errno(rd.read_errno), "%.300s: %s", path, strerror(rd.read_errno));
    if (rd.r < 0)
        return err_set(em, LT_EINVAL, "%.200s:%u: %.200s", path, rd.line, rd.em.text);
    if (bad_line != 0)
        return err_set(em, LT_EINVAL, "%.200s:%d: not a `name = value` line", path, bad_line);
    return 0;
}
