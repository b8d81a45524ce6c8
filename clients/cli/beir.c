/* A BEIR folder's files, line by line, with every length bounded. */
#include "clients/cli/beir.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"

/* ---- lines ---- */

#define BLOCK_BYTES 65536u

struct lines {
    FILE *f;
    char *path, *buf;
    size_t at, end, cap; /* buf[at, end) is read and not yet given out */
    size_t max;          /* bytes of a line */
    size_t number;       /* of the line last given out */
    bool eof;
};

static void lines_finish(struct lines *l)
{
    if (l->f)
        fclose(l->f);
    free(l->path);
    free(l->buf);
    memset(l, 0, sizeof *l);
}

static int lines_open(struct lines *l, const char *path, size_t max, struct err_msg *em)
{
    memset(l, 0, sizeof *l);
    l->max = max;
    l->path = strdup(path);
    if (!l->path)
        return err_set(em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
    l->f = fopen(path, "re");
    if (!l->f)
        return err_set(em, err_from_errno(errno), "%s: %s", path, strerror(errno));
    return 0;
}

static int lines_fill(struct lines *l, struct err_msg *em)
{
    if (l->at)
        memmove(l->buf, l->buf + l->at, l->end - l->at);
    l->end -= l->at;
    l->at = 0;
    if (l->cap - l->end < BLOCK_BYTES) {
        size_t cap = l->cap * 2 + 2 * BLOCK_BYTES;
        char *p = realloc(l->buf, cap);
        if (!p)
            return err_set(em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
        l->buf = p;
        l->cap = cap;
    }
    size_t n = fread(l->buf + l->end, 1, BLOCK_BYTES, l->f);
    l->end += n;
    if (n == 0) {
        if (ferror(l->f))
            return err_set(em, LT_EIO, "%s: reading failed", l->path);
        l->eof = true;
    }
    return 0;
}

/* 1: a line without its end, valid until the next call; 0: no more. A line over the limit is skipped whole. */
static int lines_next(struct lines *l, char **line, size_t *len, struct err_msg *em)
{
    size_t seen = 0; /* bytes behind `at` that hold no line end */
    bool over = false;
    int r;
    for (;;) {
        char *nl = l->end > l->at + seen ? memchr(l->buf + l->at + seen, '\n', l->end - l->at - seen) : NULL;
        size_t n = nl ? (size_t)(nl - (l->buf + l->at)) : l->end - l->at;
        over = over || n > l->max;
        if (nl || (l->eof && (n || over))) {
            *line = l->buf + l->at;
            *len = n && (*line)[n - 1] == '\r' ? n - 1 : n;
            l->at += n + (nl != NULL);
            l->number++;
            if (over)
                return err_set(em, LT_ELIMIT, "%s:%zu: a line of more than %zu bytes", l->path, l->number, l->max);
            return 1;
        }
        if (l->eof)
            return 0;
        if (over)
            l->at = l->end; /* forget it, wait for its end */
        seen = l->end - l->at;
        if ((r = lines_fill(l, em)) < 0)
            return r;
    }
}

/* ---- documents and queries ---- */

struct beir_reader {
    struct lines lines;
    json_t *object; /* of the item last given out */
    char id[32];    /* a number as an id */
};

int beir_reader_open(struct beir_reader **out, const char *path, struct err_msg *em)
{
    struct beir_reader *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
    int e = lines_open(&r->lines, path, BEIR_LINE_MAX, em);
    if (e < 0)
        beir_reader_destroy(&r);
    else
        *out = r;
    return e;
}

void beir_reader_destroy(struct beir_reader **out)
{
    struct beir_reader *r = *out;
    *out = NULL;
    if (!r)
        return;
    json_decref(r->object);
    lines_finish(&r->lines);
    free(r);
}

static int wrong(const struct beir_reader *r, struct err_msg *em, int code, const char *what)
{
    return err_set(em, code, "%s:%zu: %s", r->lines.path, r->lines.number, what);
}

static int take_string(const struct beir_reader *r, const char *key, bool needed, const char **s, size_t *len,
                       struct err_msg *em)
{
    const json_t *v = json_object_get(r->object, key);
    *s = "";
    *len = 0;
    if (json_is_string(v)) {
        *s = json_string_value(v);
        *len = json_string_length(v);
        return 0;
    }
    if (!needed && (!v || json_is_null(v)))
        return 0;
    return err_set(em, LT_EFORMAT, "%s:%zu: \"%s\" is not a string", r->lines.path, r->lines.number, key);
}

static int take_item(struct beir_reader *r, struct beir_item *item, struct err_msg *em)
{
    const json_t *id = json_object_get(r->object, "_id");
    int e;
    if (!json_is_object(r->object))
        return wrong(r, em, LT_EFORMAT, "not a JSON object");
    item->line = r->lines.number;
    if (json_is_integer(id)) {
        item->id_len = (size_t)snprintf(r->id, sizeof r->id, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
        item->id = r->id;
    } else if ((e = take_string(r, "_id", true, &item->id, &item->id_len, em)) < 0) {
        return e;
    }
    if (!item->id_len || item->id_len > BEIR_ID_MAX)
        return wrong(r, em, item->id_len ? LT_ELIMIT : LT_EFORMAT, "\"_id\" is empty or longer than 1024 bytes");
    if ((e = take_string(r, "title", false, &item->title, &item->title_len, em)) < 0)
        return e;
    return take_string(r, "text", true, &item->text, &item->text_len, em);
}

int beir_reader_next(struct beir_reader *r, struct beir_item *item, struct err_msg *em)
{
    char *line;
    size_t len, bad;
    json_error_t je;
    int e;
    for (;;) {
        if ((e = lines_next(&r->lines, &line, &len, em)) <= 0)
            return e;
        if (r->lines.number == 1 && len >= 3 && !memcmp(line, "\xEF\xBB\xBF", 3)) {
            line += 3;
            len -= 3;
        }
        while (len && (*line == ' ' || *line == '\t')) {
            line++;
            len--;
        }
        if (len)
            break;
    }
    json_decref(r->object);
    r->object = NULL;
    if ((bad = utf8_check(line, len)) != UTF8_VALID)
        return err_set(em, LT_EUTF8, "%s:%zu: not valid UTF-8 at byte %zu of the line", r->lines.path, r->lines.number,
                       bad);
    if (!(r->object = json_loadb(line, len, 0, &je)))
        return err_set(em, LT_EFORMAT, "%s:%zu: column %d: %s", r->lines.path, r->lines.number, je.column, je.text);
    e = take_item(r, item, em);
    return e < 0 ? e : 1;
}

/* ---- judgements ---- */

struct judgement {
    uint32_t query, doc; /* offsets into the strings */
    int32_t grade;
    uint32_t line;
};

struct beir_qrels {
    struct bytes_out strings; /* NUL-terminated ids */
    struct judgement *all;    /* by query, then by document */
    size_t n, cap;
    size_t n_queries; /* with a grade > 0 */
};

static const char *string_at(const struct beir_qrels *q, uint32_t at)
{
    return (const char *)q->strings.data + at;
}

static int by_ids(const void *a, const void *b, void *arg)
{
    const struct judgement *x = a, *y = b;
    int c = strcmp(string_at(arg, x->query), string_at(arg, y->query));
    if (c == 0)
        c = strcmp(string_at(arg, x->doc), string_at(arg, y->doc));
    return c ? c : (x->line > y->line) - (x->line < y->line);
}

/* Splits a line into three fields in place; false when there are not three, or an id is empty or has NULs. */
static bool split_fields(char *line, size_t len, char *field[3])
{
    char *at = line, *end = line + len;
    for (int i = 0; i < 3; i++) {
        char *tab = i < 2 ? memchr(at, '\t', (size_t)(end - at)) : end;
        if (!tab || tab == at)
            return false;
        field[i] = at;
        *tab = 0;
        if (strlen(at) != (size_t)(tab - at))
            return false;
        at = tab + 1;
    }
    return strchr(field[2], '\t') == NULL;
}

static int add_line(struct beir_qrels *q, const struct lines *l, char *line, size_t len, struct err_msg *em)
{
    char copy[BEIR_QRELS_LINE_MAX + 1], *field[3], *end;
    memcpy(copy, line, len);
    if (!split_fields(copy, len, field))
        return err_set(em, LT_EFORMAT, "%s:%zu: not query-id, corpus-id and score with tabs between", l->path, l->number);
    if (strlen(field[0]) > BEIR_ID_MAX || strlen(field[1]) > BEIR_ID_MAX)
        return err_set(em, LT_ELIMIT, "%s:%zu: an id of more than %d bytes", l->path, l->number, BEIR_ID_MAX);
    long grade = strtol(field[2], &end, 10);
    if (*end || end == field[2]) {
        if (l->number == 1) /* the header */
            return 0;
        return err_set(em, LT_EFORMAT, "%s:%zu: the score is not a whole number", l->path, l->number);
    }
    if (grade < -BEIR_GRADE_MAX || grade > BEIR_GRADE_MAX)
        return err_set(em, LT_ELIMIT, "%s:%zu: a score beyond %d", l->path, l->number, BEIR_GRADE_MAX);
    if (q->n == q->cap) {
        size_t cap = q->cap ? q->cap * 2 : 1024;
        struct judgement *p = realloc(q->all, cap * sizeof *p);
        if (!p)
            return err_set(em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
        q->all = p;
        q->cap = cap;
    }
    if (q->n == BEIR_QRELS_MAX)
        return err_set(em, LT_ELIMIT, "%s:%zu: more than %u judgements", l->path, l->number, BEIR_QRELS_MAX);
    struct judgement *j = &q->all[q->n++];
    *j = (struct judgement){.grade = (int32_t)grade, .line = (uint32_t)l->number};
    j->query = (uint32_t)q->strings.len;
    bytes_put(&q->strings, field[0], strlen(field[0]) + 1);
    j->doc = (uint32_t)q->strings.len;
    bytes_put(&q->strings, field[1], strlen(field[1]) + 1);
    if (q->strings.bad)
        return err_set(em, LT_ELIMIT, "%s:%zu: the ids take more memory than is allowed", l->path, l->number);
    return 0;
}

/* Sorts, drops repeated lines, refuses contradictions, counts the queries. */
static int settle(struct beir_qrels *q, const char *path, struct err_msg *em)
{
    size_t out = 0, counted = 0;
    if (q->n)
        qsort_r(q->all, q->n, sizeof *q->all, by_ids, q);
    for (size_t i = 0; i < q->n; i++) {
        struct judgement *j = &q->all[i], *last = out ? &q->all[out - 1] : NULL;
        if (last && !strcmp(string_at(q, last->query), string_at(q, j->query)) &&
            !strcmp(string_at(q, last->doc), string_at(q, j->doc))) {
            if (last->grade != j->grade)
                return err_set(em, LT_EFORMAT, "%s:%u: another score for the same query and document as in line %u",
                               path, j->line, last->line);
            continue;
        }
        q->all[out++] = *j;
    }
    q->n = out;
    for (size_t i = 0; i < q->n; i++) {
        const char *id = string_at(q, q->all[i].query);
        if (q->all[i].grade > 0 && (!counted || strcmp(id, string_at(q, q->all[counted - 1].query)) != 0)) {
            counted = i + 1;
            q->n_queries++;
        }
    }
    return 0;
}

int beir_qrels_load(struct beir_qrels **out, const char *path, struct err_msg *em)
{
    struct beir_qrels *q = calloc(1, sizeof *q);
    struct lines l = {0};
    char *line;
    size_t len;
    int e;
    if (!q)
        return err_set(em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
    q->strings.max = 1u << 31;
    if ((e = lines_open(&l, path, BEIR_QRELS_LINE_MAX, em)) < 0)
        goto out;
    while ((e = lines_next(&l, &line, &len, em)) > 0)
        if (len && (e = add_line(q, &l, line, len, em)) < 0)
            goto out;
    if (e == 0)
        e = settle(q, path, em);
out:
    lines_finish(&l);
    if (e < 0)
        beir_qrels_destroy(&q);
    else
        *out = q;
    return e;
}

void beir_qrels_destroy(struct beir_qrels **out)
{
    struct beir_qrels *q = *out;
    *out = NULL;
    if (!q)
        return;
    bytes_out_finish(&q->strings);
    free(q->all);
    free(q);
}

/* First judgement that is not before (query, doc); doc "" finds the query's first. */
static size_t lower_bound(const struct beir_qrels *q, const char *query, const char *doc)
{
    size_t lo = 0, hi = q->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp(string_at(q, q->all[mid].query), query);
        if (c == 0)
            c = strcmp(string_at(q, q->all[mid].doc), doc);
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_of(const struct beir_qrels *q, size_t i, const char *query)
{
    return i < q->n && !strcmp(string_at(q, q->all[i].query), query);
}

size_t beir_qrels_queries(const struct beir_qrels *q)
{
    return q->n_queries;
}

size_t beir_qrels_relevant(const struct beir_qrels *q, const char *query)
{
    size_t n = 0;
    for (size_t i = lower_bound(q, query, ""); is_of(q, i, query); i++)
        n += q->all[i].grade > 0;
    return n;
}

int beir_qrels_grade(const struct beir_qrels *q, const char *query, const char *doc)
{
    size_t i = lower_bound(q, query, doc);
    return is_of(q, i, query) && !strcmp(string_at(q, q->all[i].doc), doc) ? q->all[i].grade : 0;
}

size_t beir_qrels_ideal(const struct beir_qrels *q, const char *query, int *out, size_t cap)
{
    size_t n = 0, kept = 0;
    for (size_t i = lower_bound(q, query, ""); is_of(q, i, query); i++) {
        int grade = q->all[i].grade;
        if (grade <= 0)
            continue;
        n++;
        if (kept < cap)
            kept++;
        else if (!cap || out[kept - 1] >= grade)
            continue;
        size_t k = kept - 1; /* insert, dropping the smallest */
        for (; k > 0 && out[k - 1] < grade; k--)
            out[k] = out[k - 1];
        out[k] = grade;
    }
    return n;
}
