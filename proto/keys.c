#include "proto/keys.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "proto/maxima.h"

/* A word of the line, or of a list in it. */
struct word {
    const char *p;
    size_t len;
};

static bool word_is(struct word w, const char *s)
{
    return w.len == strlen(s) && !memcmp(w.p, s, w.len);
}

/* When w is NAME=…, cuts NAME= off. */
static bool word_option(struct word *w, const char *name)
{
    size_t n = strlen(name);
    if (w->len < n || memcmp(w->p, name, n))
        return false;
    w->p += n;
    w->len -= n;
    return true;
}

/* The next word up to a separator; false at the end. */
static bool word_next(struct word *rest, struct word *w, const char *separators)
{
    while (rest->len && strchr(separators, *rest->p)) {
        rest->p++;
        rest->len--;
    }
    *w = (struct word){rest->p, 0};
    while (w->len < rest->len && !strchr(separators, rest->p[w->len]))
        w->len++;
    rest->p += w->len;
    rest->len -= w->len;
    return w->len > 0;
}

static int parse_number(struct word w, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;
    if (!w.len || w.len > 9)
        return LT_EFORMAT;
    for (size_t i = 0; i < w.len; i++) {
        if (w.p[i] < '0' || w.p[i] > '9')
            return LT_EFORMAT;
        v = 10 * v + (uint64_t)(w.p[i] - '0');
    }
    if (v > max)
        return LT_EFORMAT;
    *out = (uint32_t)v;
    return 0;
}

static int parse_rights(struct key_entry *e, struct word list)
{
    struct word w;
    while (word_next(&list, &w, ",")) {
        if (word_is(w, "query"))
            e->rights |= KEY_QUERY;
        else if (word_is(w, "ingest"))
            e->rights |= KEY_INGEST;
        else if (word_is(w, "admin"))
            e->rights |= KEY_QUERY | KEY_INGEST | KEY_ADMIN;
        else
            return LT_EFORMAT;
    }
    return e->rights ? 0 : LT_EFORMAT;
}

static bool name_valid(struct word w)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (!w.len || w.len > PROTO_COLLECTION_NAME_MAX || *w.p == '.')
        return false;
    for (size_t i = 0; i < w.len; i++)
        if (!memchr(good, w.p[i], sizeof good - 1))
            return false;
    return true;
}

static int parse_collections(struct key_entry *e, struct word list)
{
    struct word w;
    e->all_collections = word_is(list, "*");
    if (e->all_collections)
        return 0;
    if (!(e->collections = calloc(KEYS_COLLECTIONS_MAX, sizeof *e->collections)))
        return LT_ENOMEM;
    while (word_next(&list, &w, ",")) {
        if (!name_valid(w) || e->n_collections == KEYS_COLLECTIONS_MAX)
            return LT_EFORMAT;
        if (!(e->collections[e->n_collections] = strndup(w.p, w.len)))
            return LT_ENOMEM;
        e->n_collections++;
    }
    return e->n_collections ? 0 : LT_EFORMAT;
}

static int parse_rate(struct key_entry *e, struct word w)
{
    if (w.len < 3 || memcmp(w.p + w.len - 2, "/s", 2))
        return LT_EFORMAT;
    w.len -= 2;
    int r = parse_number(w, KEYS_RATE_MAX, &e->rate);
    return r == 0 && !e->rate ? LT_EFORMAT : r;
}

/* YYYY-MM-DD, the first day on which the key is refused. */
static int parse_expires(struct key_entry *e, struct word w)
{
    uint32_t y, m, d;
    if (w.len != 10 || w.p[4] != '-' || w.p[7] != '-' || parse_number((struct word){w.p, 4}, 9999, &y) ||
        parse_number((struct word){w.p + 5, 2}, 12, &m) || parse_number((struct word){w.p + 8, 2}, 31, &d) ||
        y < 1970 || !m || !d)
        return LT_EFORMAT;
    struct tm tm = {.tm_year = (int)y - 1900, .tm_mon = (int)m - 1, .tm_mday = (int)d};
    time_t t = timegm(&tm);
    /* timegm moves 31 February to March instead of refusing it. */
    if (tm.tm_mon != (int)m - 1 || t <= 0)
        return LT_EFORMAT;
    e->expires_s = t;
    return 0;
}

static int parse_option(struct key_entry *e, struct word w, unsigned *seen, struct err_msg *em)
{
    static const char *const names[] = {"collections=", "rate=", "expires="};
    static const char *const takes[] = {"64 names of collections at most, joined by commas, or *", "N/s, N from 1 to 1000000", "a day, YYYY-MM-DD"};
    _Static_assert(KEYS_COLLECTIONS_MAX == 64 && KEYS_RATE_MAX == 1000000, "said in words");
    static int (*const parse[])(struct key_entry *, struct word) = {parse_collections, parse_rate, parse_expires};
    for (unsigned i = 0; i < 3; i++) {
        struct word value = w;
        if (!word_option(&value, names[i]))
            continue;
        if (*seen & 1u << i)
            return err_set(em, LT_EFORMAT, "%s twice", names[i]);
        *seen |= 1u << i;
        int r = parse[i](e, value);
        if (r == LT_ENOMEM)
            return err_set(em, r, "%s %s", names[i], err_text(r));
        return r < 0 ? err_set(em, r, "%s takes %s, not \"%.*s\"", names[i], takes[i], (int)(value.len < 40 ? value.len : 40), value.p) : 0;
    }
    /* Not ignored: a misspelt `collections=` would otherwise open them all. */
    return err_set(em, LT_EFORMAT, "unknown word \"%.*s\" (a comment starts with #)",
                   (int)(w.len < 40 ? w.len : 40), w.p);
}

static int parse_comment(struct key_entry *e, struct word w, struct err_msg *em)
{
    while (w.len && strchr("# \t", *w.p)) {
        w.p++;
        w.len--;
    }
    if (w.len > KEYS_COMMENT_MAX)
        return err_set(em, LT_ELIMIT, "a comment of %zu bytes; at most %d", w.len, KEYS_COMMENT_MAX);
    memcpy(e->comment, w.p, w.len);
    e->comment[w.len] = 0;
    return 0;
}

int key_entry_parse(struct key_entry *e, const char *line, size_t len, struct err_msg *em)
{
    *e = (struct key_entry){0};
    struct word rest = {line, len}, w, comment = {line, 0};
    unsigned seen = 0;
    int r;
    if (len > KEYS_LINE_MAX)
        return err_set(em, LT_ELIMIT, "a line of %zu bytes; at most %d", len, KEYS_LINE_MAX);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < ' ' && line[i] != '\t')
            return err_set(em, LT_EFORMAT, "a control character at column %zu", i + 1);
    const char *hash = memchr(line, '#', len);
    if (hash) {
        rest.len = (size_t)(hash - line);
        comment = (struct word){hash, len - rest.len};
    }
    word_next(&rest, &w, " \t");
    if (key_parse_named("the public key", w.p, w.len, e->public, em) < 0)
        return LT_EFORMAT;
    if (!word_next(&rest, &w, " \t"))
        return err_set(em, LT_EFORMAT, "after the key come its rights: query, ingest, admin, joined by commas");
    if (parse_rights(e, w) < 0)
        return err_set(em, LT_EFORMAT, "\"%.*s\" are no rights: query, ingest, admin, joined by commas", (int)(w.len < 40 ? w.len : 40), w.p);
    while (word_next(&rest, &w, " \t"))
        if ((r = parse_option(e, w, &seen, em)) < 0)
            goto fail;
    if (!(seen & 1))
        e->all_collections = true;
    if ((r = parse_comment(e, comment, em)) < 0)
        goto fail;
    return 0;
fail:
    key_entry_finish(e);
    return r;
}

void key_entry_finish(struct key_entry *e)
{
    for (uint32_t i = 0; i < e->n_collections; i++)
        free(e->collections[i]);
    free(e->collections);
    *e = (struct key_entry){0};
}

void keys_finish(struct keys *k)
{
    for (uint32_t i = 0; i < k->n; i++)
        key_entry_finish(&k->entries[i]);
    free(k->entries);
    *k = (struct keys){0};
}

/* Takes the entry over. */
static int keys_append(struct keys *k, struct key_entry *e, uint32_t *cap, struct err_msg *em)
{
    const struct key_entry *same = keys_find(k, e->public);
    if (same)
        return err_set(em, LT_EFORMAT, "the key of line %u again", same->line);
    if (k->n == KEYS_MAX)
        return err_set(em, LT_ELIMIT, "more than %d keys", KEYS_MAX);
    if (k->n == *cap) {
        uint32_t want = *cap ? 2 * *cap : 16;
        struct key_entry *more = realloc(k->entries, want * sizeof *more);
        if (!more)
            return err_set(em, LT_ENOMEM, "out of memory");
        k->entries = more;
        *cap = want;
    }
    k->entries[k->n++] = *e;
    *e = (struct key_entry){0};
    return 0;
}

static bool line_is_blank(const char *p, size_t len)
{
    size_t i = 0;
    while (i < len && (p[i] == ' ' || p[i] == '\t'))
        i++;
    return i == len || p[i] == '#';
}

/* The line at p without its newline and carriage return; *next is where the following starts. */
static size_t line_cut(const char *p, const char *end, const char **next)
{
    const char *nl = memchr(p, '\n', (size_t)(end - p));
    size_t n = (size_t)((nl ? nl : end) - p);
    *next = nl ? nl + 1 : end;
    return n && p[n - 1] == '\r' ? n - 1 : n;
}

int keys_parse(struct keys *k, const char *text, size_t len, struct err_msg *em)
{
    *k = (struct keys){0};
    if (len > KEYS_FILE_MAX)
        return err_set(em, LT_ELIMIT, "%zu bytes of keys; at most %u", len, KEYS_FILE_MAX);
    int r = keys_init();
    uint32_t cap = 0, number = 1;
    const char *next;
    for (const char *p = text, *end = text + len; r == 0 && p < end; p = next, number++) {
        size_t n = line_cut(p, end, &next);
        if (line_is_blank(p, n))
            continue;
        struct err_msg why = {{0}};
        struct key_entry e;
        if ((r = key_entry_parse(&e, p, n, &why)) == 0) {
            e.line = number;
            r = keys_append(k, &e, &cap, &why);
            key_entry_finish(&e);
        }
        if (r < 0)
            err_set(em, r, "line %u: %s", number, why.text);
    }
    if (r < 0)
        keys_finish(k);
    return r;
}

static int file_guard(const char *path, struct err_msg *em)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set(em, err_from_errno(errno), "%s: %s", path, strerror(errno));
    if (st.st_mode & 022)
        return err_set(em, LT_EPERM, "%s: others may write to it; `chmod go-w` it", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_set(em, LT_EPERM, "%s: belongs to another user", path);
    return 0;
}

/* The file's text; empty when there is none. */
static int read_text(const char *path, char **text, size_t *len, struct err_msg *em)
{
    *text = NULL;
    *len = 0;
    int r = file_guard(path, em);
    if (r == LT_ENOTFOUND)
        return 0;
    if (r == 0 && (r = file_read(path, KEYS_FILE_MAX, text, len, em)) == LT_EPERM)
        err_set(em, r, "%s: user %ld may not read it; it holds no secrets: `chmod 644` it", path, (long)geteuid());
    return r;
}

static int parse_named(const char *path, struct keys *k, const char *text, size_t len, struct err_msg *em)
{
    struct err_msg why = {{0}};
    int r = keys_parse(k, text ? text : "", len, &why);
    return r < 0 ? err_set(em, r, "%.200s: %.250s", path, why.text) : 0;
}

int keys_read(const char *path, struct keys *k, struct err_msg *em)
{
    char *text;
    size_t len;
    *k = (struct keys){0};
    int r = read_text(path, &text, &len, em);
    if (r == 0)
        r = parse_named(path, k, text, len, em);
    free(text);
    return r;
}

const struct key_entry *keys_find(const struct keys *k, const uint8_t public[static KEY_BYTES])
{
    const struct key_entry *found = NULL;
    for (uint32_t i = 0; i < k->n; i++)
        if (key_equal(k->entries[i].public, public))
            found = &k->entries[i];
    return found;
}

int key_entry_check(const struct key_entry *e, enum key_right right, const char *collection,
                    int64_t now_s, struct err_msg *em)
{
    if (e->expires_s && now_s >= e->expires_s)
        return err_set(em, LT_EAUTH, "this key has expired");
    if ((e->rights & (unsigned)right) != (unsigned)right)
        return err_set(em, LT_EPERM, "this key lacks the right to %s",
                       right == KEY_QUERY ? "query" : right == KEY_INGEST ? "ingest" : "admin");
    if (!collection || e->all_collections)
        return 0;
    for (uint32_t i = 0; i < e->n_collections; i++)
        if (!strcmp(e->collections[i], collection))
            return 0;
    return err_set(em, LT_EPERM, "this key may not use collection \"%.64s\"", collection);
}

int key_entry_format(const struct key_entry *e, char *out, size_t size)
{
    char key[KEY_TEXT_BYTES];
    struct bytes_out b = {.max = KEYS_LINE_MAX};
    key_text(e->public, key);
    bytes_printf(&b, "%s ", key);
    if (e->rights & KEY_ADMIN)
        bytes_put_str(&b, "admin");
    else
        bytes_printf(&b, "%s%s%s", e->rights & KEY_QUERY ? "query" : "",
                     (e->rights & KEY_QUERY) && (e->rights & KEY_INGEST) ? "," : "",
                     e->rights & KEY_INGEST ? "ingest" : "");
    for (uint32_t i = 0; !e->all_collections && i < e->n_collections; i++)
        bytes_printf(&b, "%s%s", i ? "," : " collections=", e->collections[i]);
    if (e->rate)
        bytes_printf(&b, " rate=%u/s", e->rate);
    if (e->expires_s) {
        time_t t = e->expires_s;
        struct tm tm;
        gmtime_r(&t, &tm);
        bytes_printf(&b, " expires=%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    }
    bytes_printf(&b, "%s%s\n", e->comment[0] ? " # " : "", e->comment);
    int r = b.bad || b.len >= size ? LT_ELIMIT : 0;
    /* What comes out must go in again: a comment with a newline, say, must not become a second line. */
    struct key_entry again;
    if (r == 0 && key_entry_parse(&again, (char *)b.data, b.len - 1, NULL) < 0)
        r = LT_EINVAL;
    else if (r == 0)
        key_entry_finish(&again);
    if (r == 0) {
        memcpy(out, b.data, b.len);
        out[b.len] = 0;
    }
    bytes_out_finish(&b);
    return r;
}

/* Of several that edit a file at once each waits for the one before: else what one has added or revoked could come undone by another.
 * It is the folder that is locked, for as long as the descriptor is open, since the file itself is replaced. Where a file system has no
 * such locks there is none. */
static int edit_begin(const char *path, struct err_msg *em)
{
    int fd = file_open_parent(path);
    if (fd < 0)
        return err_set(em, fd, "%s: cannot open its folder: %s", path, err_text(fd));
    while (flock(fd, LOCK_EX) < 0 && errno == EINTR)
        ;
    return fd;
}

static void edit_end(int lock)
{
    if (lock >= 0)
        close(lock);
}

int keys_file_add(const char *path, const struct key_entry *e, struct err_msg *em)
{
    char *text = NULL, line[KEYS_LINE_MAX + 2];
    size_t len;
    struct keys k = {0};
    struct bytes_out b = {.max = KEYS_FILE_MAX};
    const int lock = edit_begin(path, em);
    int r = lock < 0 ? lock : read_text(path, &text, &len, em);
    if (r < 0 || (r = parse_named(path, &k, text, len, em)) < 0)
        goto out;
    const struct key_entry *same = keys_find(&k, e->public);
    if (same) {
        r = err_set(em, LT_EEXIST, "%s: line %u has this key", path, same->line);
        goto out;
    }
    if ((r = key_entry_format(e, line, sizeof line)) < 0) {
        err_set(em, r, "the entry cannot be written as one line");
        goto out;
    }
    bytes_put(&b, text ? text : "", len);
    if (len && text[len - 1] != '\n')
        bytes_put_u8(&b, '\n');
    bytes_put_str(&b, line);
    r = b.bad ? err_set(em, LT_ELIMIT, "%s: would pass %u bytes", path, KEYS_FILE_MAX)
              : file_edit(path, b.data, b.len, 0600, em);
out:
    bytes_out_finish(&b);
    keys_finish(&k);
    free(text);
    edit_end(lock);
    return r;
}

int keys_file_revoke(const char *path, const uint8_t public[static KEY_BYTES], struct err_msg *em)
{
    char *text = NULL;
    size_t len;
    struct keys k = {0};
    struct bytes_out b = {.max = KEYS_FILE_MAX};
    const int lock = edit_begin(path, em);
    int r = lock < 0 ? lock : read_text(path, &text, &len, em);
    if (r < 0 || (r = parse_named(path, &k, text, len, em)) < 0)
        goto out;
    const struct key_entry *e = keys_find(&k, public);
    if (!e) {
        r = err_set(em, LT_ENOTFOUND, "%s: does not have this key", path);
        goto out;
    }
    uint32_t number = 1;
    const char *next;
    bytes_put(&b, "", 0);
    for (const char *p = text, *end = text + len; p < end; p = next, number++) {
        line_cut(p, end, &next);
        if (number != e->line)
            bytes_put(&b, p, (size_t)(next - p));
    }
    r = b.bad ? err_set(em, LT_ENOMEM, "out of memory") : file_edit(path, b.data, b.len, 0600, em);
out:
    bytes_out_finish(&b);
    keys_finish(&k);
    free(text);
    edit_end(lock);
    return r;
}

bool key_rate_take(struct key_rate *r, uint32_t rate, uint64_t now_ns)
{
    if (!rate)
        return true;
    if (!r->last_ns)
        r->tokens = rate;
    else if (now_ns > r->last_ns)
        r->tokens += (double)(now_ns - r->last_ns) * 1e-9 * rate;
    r->last_ns = now_ns;
    if (r->tokens > rate)
        r->tokens = rate;
    if (r->tokens < 1)
        return false;
    r->tokens -= 1;
    return true;
}
