#include "clients/cli/docs.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/utf8.h"
#include "clients/cli/json_out.h"

#define VECTOR_DIM_MAX 65536
#define WHITE " \t\n\v\f\r" /* what the daemon counts as none */

void doc_finish(struct doc *d)
{
    free(d->id);
    free(d->text);
    free(d->title);
    free(d->metadata);
    free(d->vector);
    *d = (struct doc){0};
}

/* Bytes of UTF-8's byte order mark before a text. */
static size_t mark_bytes(const char *s, size_t len)
{
    return len >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

static int not_utf8(const char *s, size_t len, size_t bad, struct err_msg *em)
{
    if (len >= 2 && (memcmp(s, "\xFF\xFE", 2) == 0 || memcmp(s, "\xFE\xFF", 2) == 0))
        return err_set(em, LT_EUTF8, "UTF-16, not UTF-8: iconv -f UTF-16 -t UTF-8 converts it");
    return err_set(em, LT_EUTF8, "not valid UTF-8 at byte %zu", bad);
}

/* A string field: copies it, or "" when it is absent and may be. */
static int take_string(json_t *o, const char *key, char **out, struct err_msg *em)
{
    json_t *v = json_object_get(o, key);
    if (v && !json_is_string(v) && !json_is_null(v))
        return err_set(em, LT_EFORMAT, "\"%s\" is not a string", key);
    *out = strdup(json_is_string(v) ? json_string_value(v) : "");
    return *out ? 0 : err_set(em, LT_ENOMEM, "no memory for \"%s\"", key);
}

static int take_id(json_t *o, struct doc *d, struct err_msg *em)
{
    json_t *v = json_object_get(o, "id");
    if (json_is_integer(v)) {
        char num[32];
        snprintf(num, sizeof num, "%lld", (long long)json_integer_value(v));
        d->id = strdup(num);
        return d->id ? 0 : err_set(em, LT_ENOMEM, "no memory for the id");
    }
    if (!v)
        return err_set(em, LT_EFORMAT, "no \"id\"");
    int r = take_string(o, "id", &d->id, em);
    if (r == 0 && !d->id[0])
        r = err_set(em, LT_EFORMAT, "\"id\" is empty");
    return r;
}

static int take_metadata(json_t *o, struct doc *d, struct err_msg *em)
{
    json_t *v = json_object_get(o, "metadata");
    if (v && !json_is_object(v) && !json_is_null(v))
        return err_set(em, LT_EFORMAT, "\"metadata\" is not an object");
    d->metadata = json_is_object(v) ? json_exact(v) : strdup("");
    return d->metadata ? 0 : err_set(em, LT_ENOMEM, "no memory for \"metadata\"");
}

static int take_vector(json_t *o, struct doc *d, struct err_msg *em)
{
    json_t *v = json_object_get(o, "vector");
    if (!v || json_is_null(v))
        return 0;
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n == 0 || n > VECTOR_DIM_MAX)
        return err_set(em, LT_EFORMAT, "\"vector\" is not an array of 1 to %d numbers",
                       VECTOR_DIM_MAX);
    d->vector = malloc(n * sizeof *d->vector);
    if (!d->vector)
        return err_set(em, LT_ENOMEM, "no memory for \"vector\"");
    d->dim = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        json_t *x = json_array_get(v, i);
        if (!json_is_number(x))
            return err_set(em, LT_EFORMAT, "\"vector\"[%zu] is not a number", i);
        d->vector[i] = (float)json_number_value(x);
        if (!isfinite(d->vector[i]))
            return err_set(em, LT_ENAN, "\"vector\"[%zu] does not fit a 32-bit float", i);
    }
    return 0;
}

int doc_parse(struct doc *d, const char *line, size_t len, struct err_msg *em)
{
    *d = (struct doc){0};
    size_t bad = utf8_check(line, len);
    if (bad != UTF8_VALID)
        return not_utf8(line, len, bad, em);
    json_error_t je;
    json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &je);
    if (!o)
        return err_set(em, LT_EFORMAT, "not JSON: %s (byte %d)", je.text, je.position);
    int r;
    if (!json_is_object(o)) {
        r = err_set(em, LT_EFORMAT, "not a JSON object");
        goto out;
    }
    if ((r = take_id(o, d, em)) < 0 || (r = take_vector(o, d, em)) < 0)
        goto out;
    if (!d->vector && !json_object_get(o, "text")) {
        r = err_set(em, LT_EFORMAT, "no \"text\"");
        goto out;
    }
    if ((r = take_string(o, "text", &d->text, em)) < 0 ||
        (r = take_string(o, "title", &d->title, em)) < 0)
        goto out;
    d->text_len = strlen(d->text);
    r = take_metadata(o, d, em);
out:
    json_decref(o);
    if (r < 0)
        doc_finish(d);
    return r;
}

/* The Markdown heading ("# Title") that the text begins with, or the last part of the path. */
static char *title_of(const char *path, const char *text)
{
    const char *p = text;
    while (*p == '\n' || *p == '\r' || *p == ' ')
        p++;
    if (p[0] == '#' && strspn(p, "#") <= 6) {
        p += strspn(p, "#");
        if (*p == ' ') {
            p += strspn(p, " ");
            size_t n = strcspn(p, "\r\n");
            if (n && n <= 512)
                return strndup(p, n);
        }
    }
    const char *slash = strrchr(path, '/');
    return strdup(slash ? slash + 1 : path);
}

int doc_from_file(struct doc *d, const char *path, struct err_msg *em)
{
    *d = (struct doc){0};
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return err_set(em, LT_EINVAL, "a folder: name the files in it");
    int r = file_read(path, DOCS_LINE_MAX, &d->text, &d->text_len, em);
    size_t n = strlen(path);
    if (r < 0 && strncmp(em->text, path, n) == 0 && strncmp(em->text + n, ": ", 2) == 0) /* who prints it names the file */
        memmove(em->text, em->text + n + 2, strlen(em->text + n + 2) + 1);
    if (r < 0)
        return r;
    size_t bad = utf8_check(d->text, d->text_len);
    if (bad != UTF8_VALID) {
        r = not_utf8(d->text, d->text_len, bad, em);
        goto out;
    }
    if (memchr(d->text, 0, d->text_len)) {
        r = err_set(em, LT_EFORMAT, "holds a NUL character: not a text file");
        goto out;
    }
    const size_t mark = mark_bytes(d->text, d->text_len);
    memmove(d->text, d->text + mark, d->text_len - mark + 1);
    d->text_len -= mark;
    if (strspn(d->text, WHITE) == d->text_len) { /* its name alone would be embedded, which nobody wrote to be found */
        r = err_set(em, LT_EEMPTY, "the text is empty");
        goto out;
    }
    d->id = strdup(path);
    d->title = title_of(path, d->text);
    d->metadata = strdup("");
    if (!d->id || !d->title || !d->metadata)
        r = err_set(em, LT_ENOMEM, "no memory");
out:
    if (r < 0)
        doc_finish(d);
    return r;
}

int docs_line(FILE *f, char **line, size_t *cap, size_t *len)
{
    const bool first = !*line;
    size_t n = 0;
    int c;
    while ((c = getc_unlocked(f)) != EOF && c != '\n') {
        if (n < DOCS_LINE_MAX && n + 2 > *cap) { /* one for the NUL */
            size_t want = *cap < 4096 ? 8192 : *cap * 2;
            char *p = realloc(*line, want);
            if (!p)
                return LT_ENOMEM;
            *line = p;
            *cap = want;
        }
        if (n < DOCS_LINE_MAX)
            (*line)[n] = (char)c;
        n++;
    }
    if (ferror(f))
        return LT_EIO;
    if (c == EOF && !n)
        return 0;
    *len = n;
    if (n > DOCS_LINE_MAX) /* its end has been read, and not kept */
        return LT_ELIMIT;
    if (!*line && !(*line = malloc(*cap = 64)))
        return LT_ENOMEM;
    while (n > 0 && (*line)[n - 1] == '\r')
        n--;
    const size_t mark = first ? mark_bytes(*line, n) : 0;
    memmove(*line, *line + mark, n - mark);
    (*line)[n - mark] = 0;
    *len = n - mark;
    return 1;
}
