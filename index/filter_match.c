/* Filters: a tree against one metadata object, read in place without building anything.
 *
 * The bytes were checked when they were stored, but the reader trusts nothing: every step is bounded by the
 * end, nesting by MATCH_DEPTH_MAX, and what cannot be read counts as absent. AND and OR chains lean left, so
 * running them recurses on the left as deep as the chain is long: bounded by FILTER_NODES_MAX. */
#include <string.h>

#include "base/utf8.h"
#include "index/filter_tree.h"

#define MATCH_DEPTH_MAX 64

struct cursor {
    const char *p, *end;
};

static void skip_space(struct cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
        c->p++;
}

static bool take(struct cursor *c, char ch)
{
    skip_space(c);
    if (c->p >= c->end || *c->p != ch)
        return false;
    c->p++;
    return true;
}

/* The raw bytes between the quotes of the string at c. */
static bool take_string(struct cursor *c, const char **s, size_t *len, bool *escaped)
{
    *escaped = false;
    if (!take(c, '"'))
        return false;
    const char *start = c->p;
    while (c->p < c->end && *c->p != '"') {
        if (*c->p == '\\') {
            *escaped = true;
            c->p++;
        }
        c->p++;
    }
    if (c->p >= c->end)
        return false;
    *s = start;
    *len = (size_t)(c->p - start);
    c->p++;
    return true;
}

/* Steps over one value; brackets are counted, so it does not recurse. */
static bool skip_value(struct cursor *c)
{
    unsigned depth = 0;
    do {
        const char *s;
        size_t len;
        bool e;
        skip_space(c);
        if (c->p >= c->end)
            return false;
        char ch = *c->p;
        if (ch == '"') {
            if (!take_string(c, &s, &len, &e))
                return false;
        } else if (ch == '{' || ch == '[') {
            depth++;
            c->p++;
        } else if (ch == '}' || ch == ']') {
            if (!depth)
                return false;
            depth--;
            c->p++;
        } else if (ch == ',' || ch == ':') {
            if (!depth)
                return false;
            c->p++;
        } else {
            const char *start = c->p;
            while (c->p < c->end && !strchr(",]}: \t\r\n", *c->p)) /* a NUL ends it too */
                c->p++;
            if (c->p == start)
                return false;
        }
    } while (depth);
    return true;
}

static unsigned hex4(const char *s)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        char h = s[i];
        v = v << 4 | (unsigned)(h >= 'a' ? h - 'a' + 10 : h >= 'A' ? h - 'A' + 10 : h - '0');
    }
    return v;
}

/* The next character of an escaped string, as UTF-8; its length. */
static size_t unescape(const char **p, const char *end, char out[static 4])
{
    const char *s = *p;
    if (*s != '\\' || s + 1 >= end) {
        out[0] = *s;
        *p = s + 1;
        return 1;
    }
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *known = s[1] ? strchr(from, s[1]) : NULL;
    if (s[1] != 'u' || end - s < 6) {
        out[0] = known ? to[known - from] : s[1];
        *p = s + 2;
        return 1;
    }
    uint32_t cp = hex4(s + 2) & 0xFFFF;
    *p = s + 6;
    if (cp >= 0xD800 && cp < 0xDC00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        uint32_t low = hex4(*p + 2) & 0xFFFF;
        if (low >= 0xDC00 && low < 0xE000) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
            *p += 6;
        }
    }
    if (cp >= 0xD800 && cp < 0xE000)
        cp = 0xFFFD;
    return utf8_encode(cp, out);
}

/* memcmp order of a JSON string's characters against plain bytes. */
static int compare_string(const char *s, size_t len, bool escaped, const char *b, size_t b_len)
{
    if (!escaped) {
        int d = memcmp(s, b, len < b_len ? len : b_len);
        return d ? d : (len > b_len) - (len < b_len);
    }
    const char *end = s + len;
    size_t at = 0;
    while (s < end) {
        char ch[4];
        size_t n = unescape(&s, end, ch);
        for (size_t i = 0; i < n; i++, at++) {
            if (at >= b_len)
                return 1;
            if (ch[i] != b[at])
                return (unsigned char)ch[i] < (unsigned char)b[at] ? -1 : 1;
        }
    }
    return at < b_len ? -1 : 0;
}

static bool starts_with(struct cursor c, const struct filter_value *v)
{
    const char *s, *end;
    size_t len, at = 0;
    bool escaped;
    if (!take_string(&c, &s, &len, &escaped))
        return false;
    if (!escaped)
        return len >= v->len && memcmp(s, v->s, v->len) == 0;
    for (end = s + len; s < end && at < v->len;) {
        char ch[4];
        size_t n = unescape(&s, end, ch);
        for (size_t i = 0; i < n && at < v->len; i++, at++)
            if (ch[i] != v->s[at])
                return false;
    }
    return at == v->len;
}

/* Compares the scalar at c with v: -1, 0, 1; 2: not comparable. */
static int compare(struct cursor c, const struct filter_value *v)
{
    const char *s;
    size_t len;
    bool escaped;
    int order;
    long double number;
    skip_space(&c);
    size_t left = (size_t)(c.end - c.p);
    if (!left)
        return 2;
    switch (*c.p) {
    case '"':
        if (v->type != FILTER_STRING || !take_string(&c, &s, &len, &escaped))
            return 2;
        order = compare_string(s, len, escaped, v->s, v->len);
        return (order > 0) - (order < 0);
    case 't':
    case 'f':
        return v->type == FILTER_BOOL ? (*c.p == 't') - v->truth : 2;
    case 'n':
        return v->type == FILTER_NULL ? 0 : 2;
    default:
        if (v->type != FILTER_NUMBER || !filter_number(c.p, left, &number))
            return 2;
        return (number > v->number) - (number < v->number);
    }
}

static enum filter_type type_of(struct cursor c)
{
    skip_space(&c);
    const char ch = c.p < c.end ? *c.p : 0;
    return ch == '"' ? FILTER_STRING : ch == 't' || ch == 'f' ? FILTER_BOOL : ch == 'n' ? FILTER_NULL : FILTER_NUMBER;
}

/* Does the scalar at c equal one of n's literals? */
static bool is_one_of(const struct filter *f, const struct filter_node *n, struct cursor c)
{
    const enum filter_type type = type_of(c);
    uint32_t low = n->b, end = n->b + n->n;
    while (low < end) {
        const uint32_t mid = low + (end - low) / 2;
        const struct filter_value *v = &f->values[mid];
        const int order = type == v->type ? compare(c, v) : type < v->type ? -1 : 1;
        if (order == 0 || order == 2)
            return order == 0;
        if (order < 0)
            end = mid;
        else
            low = mid + 1;
    }
    return false;
}

static bool holds(enum filter_op op, int order)
{
    switch (op) {
    case FILTER_LT:
        return order == -1;
    case FILTER_LE:
        return order == -1 || order == 0;
    case FILTER_GT:
        return order == 1;
    default:
        return order == 1 || order == 0;
    }
}

static bool test_value(const struct filter *f, const struct filter_node *n, struct cursor c, int depth)
{
    if (n->op == FILTER_EXISTS)
        return true;
    skip_space(&c);
    if (c.p < c.end && *c.p == '[' && depth < MATCH_DEPTH_MAX) {
        c.p++;
        skip_space(&c);
        while (c.p < c.end && *c.p != ']') {
            if (test_value(f, n, c, depth + 1))
                return true;
            if (!skip_value(&c) || !take(&c, ','))
                return false;
        }
        return false;
    }
    if (n->op == FILTER_STARTS)
        return starts_with(c, &f->values[n->b]);
    return n->op == FILTER_EQ ? is_one_of(f, n, c) : holds(n->op, compare(c, &f->values[n->b]));
}

/* Follows the keys from the value at c; an array on the way stands for each of its elements. */
static bool test_path(const struct filter *f, const struct filter_node *n, struct cursor c, uint32_t key,
                      uint32_t last, int depth)
{
    const char *s;
    size_t len;
    bool escaped;
    if (key == last)
        return test_value(f, n, c, depth);
    if (depth >= MATCH_DEPTH_MAX)
        return false;
    skip_space(&c);
    if (c.p < c.end && *c.p == '[') {
        c.p++;
        skip_space(&c);
        while (c.p < c.end && *c.p != ']') {
            if (test_path(f, n, c, key, last, depth + 1))
                return true;
            if (!skip_value(&c) || !take(&c, ','))
                return false;
        }
        return false;
    }
    if (!take(&c, '{'))
        return false;
    while (take_string(&c, &s, &len, &escaped) && take(&c, ':')) {
        const struct filter_key *k = &f->keys[key];
        if (compare_string(s, len, escaped, k->s, k->len) == 0)
            return test_path(f, n, c, key + 1, last, depth + 1);
        if (!skip_value(&c) || !take(&c, ','))
            return false;
    }
    return false;
}

static bool run(const struct filter *f, uint32_t node, const char *s, size_t len)
{
    const struct filter_node *n = &f->nodes[node];
    switch (n->op) {
    case FILTER_OR:
        return run(f, n->a, s, len) || run(f, n->b, s, len);
    case FILTER_AND:
        return run(f, n->a, s, len) && run(f, n->b, s, len);
    case FILTER_NOT:
        return !run(f, n->a, s, len);
    default: {
        const struct filter_field *field = &f->fields[n->a];
        struct cursor c = {s, s + len};
        return len && test_path(f, n, c, field->first_key, field->first_key + field->n_keys, 0);
    }
    }
}

bool filter_match(const struct filter *f, const char *metadata, size_t len)
{
    return run(f, f->root, metadata, len);
}
