/* Filters: from text to a tree, by recursive descent with a bounded depth. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "index/filter_tree.h"

struct parser {
    struct filter *f;
    const char *s; /* the expression */
    size_t len, pos;
    size_t used; /* of f->text */
    unsigned depth;
    struct err_msg *em;
};

static int parse_or(struct parser *p, uint32_t *out);

/* An error at the current position that shows what stands there. */
static int expected(struct parser *p, const char *what)
{
    size_t left = p->len - p->pos, show = left < 20 ? left : 20;
    while (show < left && show && ((unsigned char)p->s[p->pos + show] & 0xC0) == 0x80)
        show--;
    if (!left)
        return err_set(p->em, LT_EFORMAT, "filter: at byte %zu: expected %s, found the end", p->pos, what);
    return err_set(p->em, LT_EFORMAT, "filter: at byte %zu: expected %s, found \"%.*s\"", p->pos, what, (int)show,
                   p->s + p->pos);
}

/* Room for one more element; the arrays are bounded together by FILTER_NODES_MAX. */
static int grow(struct parser *p, void *array, uint32_t n, uint32_t *cap, size_t size)
{
    void **a = array;
    if (n < *cap)
        return 0;
    if (n >= FILTER_NODES_MAX)
        return err_set(p->em, LT_ELIMIT, "filter: at byte %zu: more than %u tests and values", p->pos,
                       FILTER_NODES_MAX);
    uint32_t c = *cap ? *cap * 2 : 16;
    void *m = realloc(*a, c * size);
    if (!m)
        return err_set(p->em, LT_ENOMEM, "filter: no memory");
    *a = m;
    *cap = c;
    return 0;
}

static int add_node(struct parser *p, struct filter_node node, uint32_t *out)
{
    struct filter *f = p->f;
    int r = grow(p, &f->nodes, f->n_nodes, &f->cap_nodes, sizeof *f->nodes);
    if (r < 0)
        return r;
    *out = f->n_nodes;
    f->nodes[f->n_nodes++] = node;
    return 0;
}

static void skip_space(struct parser *p)
{
    while (p->pos < p->len && strchr(" \t\r\n", p->s[p->pos]) && p->s[p->pos])
        p->pos++;
}

static bool name_char(char c, bool first)
{
    return isalpha((unsigned char)c) || c == '_' || (!first && (isdigit((unsigned char)c) || c == '-'));
}

/* The word that starts here, without taking it. */
static size_t word_len(const struct parser *p)
{
    size_t n = 0;
    while (p->pos + n < p->len && name_char(p->s[p->pos + n], n == 0))
        n++;
    return n;
}

static bool take_word(struct parser *p, const char *word)
{
    skip_space(p);
    size_t n = word_len(p);
    if (n != strlen(word) || strncasecmp(p->s + p->pos, word, n) != 0)
        return false;
    p->pos += n;
    return true;
}

static bool take(struct parser *p, const char *symbol)
{
    skip_space(p);
    size_t n = strlen(symbol);
    if (p->len - p->pos < n || memcmp(p->s + p->pos, symbol, n) != 0)
        return false;
    p->pos += n;
    return true;
}

static bool is_keyword(const char *s, size_t n)
{
    static const char *const words[] = {"and", "or", "not", "in", "exists", "true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == n && strncasecmp(words[i], s, n) == 0)
            return true;
    return false;
}

/* A quoted text, unescaped into f->text (which is as long as the expression, so it always fits). */
static int parse_quoted(struct parser *p, char quote, const char **s, size_t *len)
{
    size_t start = p->pos, from = p->used;
    for (p->pos++; p->pos < p->len; p->pos++) {
        char c = p->s[p->pos];
        char next = p->pos + 1 < p->len ? p->s[p->pos + 1] : 0;
        if (c == quote && next != quote) {
            p->pos++;
            *s = p->f->text + from;
            *len = p->used - from;
            return 0;
        }
        if (c == quote || (c == '\\' && quote != '`' && (next == '\\' || next == quote))) {
            p->pos++;
            c = next;
        }
        p->f->text[p->used++] = c;
    }
    p->pos = start;
    return expected(p, "a text that ends with its quote");
}

static int add_key(struct parser *p, const char *s, size_t len)
{
    struct filter *f = p->f;
    int r = grow(p, &f->keys, f->n_keys, &f->cap_keys, sizeof *f->keys);
    if (r == 0)
        f->keys[f->n_keys++] = (struct filter_key){s, len};
    return r;
}

static int parse_field(struct parser *p, uint32_t *out)
{
    int r;
    struct filter *f = p->f;
    skip_space(p);
    if ((r = grow(p, &f->fields, f->n_fields, &f->cap_fields, sizeof *f->fields)) < 0)
        return r;
    struct filter_field field = {f->n_keys, 0};
    if (p->pos < p->len && p->s[p->pos] == '`') {
        const char *s;
        size_t len;
        if ((r = parse_quoted(p, '`', &s, &len)) < 0 || (r = add_key(p, s, len)) < 0)
            return r;
    } else {
        do {
            size_t n = word_len(p);
            if (!n || (f->n_keys == field.first_key && is_keyword(p->s + p->pos, n)))
                return expected(p, "the name of a field");
            char *copy = f->text + p->used;
            memcpy(copy, p->s + p->pos, n);
            p->used += n;
            p->pos += n;
            if ((r = add_key(p, copy, n)) < 0)
                return r;
        } while (p->pos < p->len && p->s[p->pos] == '.' && ++p->pos);
    }
    field.n_keys = f->n_keys - field.first_key;
    *out = f->n_fields;
    f->fields[f->n_fields++] = field;
    return 0;
}

size_t filter_number(const char *s, size_t len, long double *out)
{
    char buf[64], *text;
    size_t n = 0, digits = 0;
    bool whole = true;
    long double v = 0;
    if (n < len && (s[n] == '-' || s[n] == '+'))
        n++;
    for (; n < len && isdigit((unsigned char)s[n]); n++, digits++)
        v = v * 10 + (s[n] - '0');
    if (n + 1 < len && s[n] == '.' && isdigit((unsigned char)s[n + 1]))
        for (n++, whole = false; n < len && isdigit((unsigned char)s[n]); n++)
            digits++;
    if (!digits)
        return 0;
    if (n < len && (s[n] == 'e' || s[n] == 'E')) {
        size_t e = n + 1;
        if (e < len && (s[e] == '-' || s[e] == '+'))
            e++;
        if (e < len && isdigit((unsigned char)s[e])) {
            whole = false;
            for (n = e; n < len && isdigit((unsigned char)s[n]); n++)
                ;
        }
    }
    if (whole && digits <= 18) { /* the common case, exact */
        *out = s[0] == '-' ? -v : v;
        return n;
    }
    /* The C locale's point is assured by the daemon, which sets none. */
    if (!(text = n < sizeof buf ? buf : malloc(n + 1)))
        return 0;
    memcpy(text, s, n);
    text[n] = 0;
    *out = whole ? strtold(text, NULL) : (long double)strtod(text, NULL);
    if (text != buf)
        free(text);
    return n;
}

static int parse_literal(struct parser *p, uint32_t *out)
{
    int r;
    struct filter *f = p->f;
    struct filter_value v = {.type = FILTER_STRING};
    skip_space(p);
    char c = p->pos < p->len ? p->s[p->pos] : 0;
    size_t n;
    if (c == '\'' || c == '"') {
        if ((r = parse_quoted(p, c, &v.s, &v.len)) < 0)
            return r;
    } else if ((n = filter_number(p->s + p->pos, p->len - p->pos, &v.number)) > 0) {
        v.type = FILTER_NUMBER;
        p->pos += n;
        if (word_len(p))
            return expected(p, "a space after the number");
    } else if (take_word(p, "true")) {
        v.type = FILTER_BOOL;
        v.truth = true;
    } else if (take_word(p, "false")) {
        v.type = FILTER_BOOL;
    } else if (take_word(p, "null")) {
        v.type = FILTER_NULL;
    } else {
        return expected(p, "a value ('text', number, true, false, null)");
    }
    if ((r = grow(p, &f->values, f->n_values, &f->cap_values, sizeof *f->values)) < 0)
        return r;
    *out = f->n_values;
    f->values[f->n_values++] = v;
    return 0;
}

/* By type, then as filter_match.c compares. */
static int in_order(const void *a, const void *b)
{
    const struct filter_value *x = a, *y = b;
    if (x->type != y->type)
        return x->type < y->type ? -1 : 1;
    if (x->type == FILTER_NUMBER)
        return (x->number > y->number) - (x->number < y->number);
    if (x->type == FILTER_BOOL)
        return x->truth - y->truth;
    const size_t len = x->len < y->len ? x->len : y->len;
    const int d = len ? memcmp(x->s, y->s, len) : 0;
    return d ? d : (x->len > y->len) - (x->len < y->len);
}

/* In order, so that a value is looked up among thousands in a few steps. */
static int parse_set(struct parser *p, struct filter_node *node)
{
    int r;
    uint32_t v;
    const char *close = ")";
    if (!take(p, "(")) {
        if (!take(p, "["))
            return expected(p, "( after in");
        close = "]";
    }
    do {
        if ((r = parse_literal(p, &v)) < 0)
            return r;
        if (!node->n++)
            node->b = v;
    } while (take(p, ","));
    if (!take(p, close))
        return expected(p, close[0] == ')' ? ", or )" : ", or ]");
    qsort(p->f->values + node->b, node->n, sizeof *p->f->values, in_order);
    return 0;
}

/* What a text starts with is a text. */
static int parse_prefix(struct parser *p, uint32_t *out)
{
    skip_space(p);
    if (p->pos >= p->len || (p->s[p->pos] != '\'' && p->s[p->pos] != '"'))
        return expected(p, "a text in quotes");
    return parse_literal(p, out);
}

static int negate(struct parser *p, uint32_t *node)
{
    return add_node(p, (struct filter_node){FILTER_NOT, *node, 0, 0}, node);
}

static int parse_test(struct parser *p, uint32_t *out)
{
    static const struct {
        const char *symbol;
        enum filter_op op;
        bool negated;
    } ops[] = {{"==", FILTER_EQ, false}, {"!=", FILTER_EQ, true}, {"<>", FILTER_EQ, true},
               {"<=", FILTER_LE, false}, {">=", FILTER_GE, false}, {"=", FILTER_EQ, false},
               {"<", FILTER_LT, false},  {">", FILTER_GT, false}};
    int r;
    struct filter_node node = {FILTER_EXISTS, 0, 0, 0};
    if (take_word(p, "exists")) {
        if ((r = parse_field(p, &node.a)) < 0)
            return r;
        return add_node(p, node, out);
    }
    if ((r = parse_field(p, &node.a)) < 0)
        return r;
    if (take_word(p, "exists"))
        return add_node(p, node, out);
    node.op = FILTER_EQ;
    size_t back = p->pos;
    bool negated = take_word(p, "not");
    if (take_word(p, "in")) {
        if ((r = parse_set(p, &node)) < 0 || (r = add_node(p, node, out)) < 0)
            return r;
        return negated ? negate(p, out) : 0;
    }
    if (take_word(p, "startswith")) {
        node.op = FILTER_STARTS;
        node.n = 1;
        if ((r = parse_prefix(p, &node.b)) < 0 || (r = add_node(p, node, out)) < 0)
            return r;
        return negated ? negate(p, out) : 0;
    }
    p->pos = back;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (take(p, ops[i].symbol)) {
            node.op = ops[i].op;
            node.n = 1;
            if ((r = parse_literal(p, &node.b)) < 0 || (r = add_node(p, node, out)) < 0)
                return r;
            return ops[i].negated ? negate(p, out) : 0;
        }
    /* A field alone: true. */
    struct filter *f = p->f;
    if ((r = grow(p, &f->values, f->n_values, &f->cap_values, sizeof *f->values)) < 0)
        return r;
    node.b = f->n_values;
    node.n = 1;
    f->values[f->n_values++] = (struct filter_value){.type = FILTER_BOOL, .truth = true};
    return add_node(p, node, out);
}

static int parse_not(struct parser *p, uint32_t *out)
{
    int r;
    skip_space(p);
    const size_t at = p->pos;
    const bool is_not = take_word(p, "not") || (p->pos + 1 < p->len && p->s[p->pos] == '!' && p->s[p->pos + 1] != '=' && take(p, "!"));
    if (!is_not && !take(p, "("))
        return parse_test(p, out);
    if (++p->depth > FILTER_DEPTH_MAX)
        return err_set(p->em, LT_ELIMIT, "filter: at byte %zu: nested deeper than %u", at, FILTER_DEPTH_MAX);
    if (is_not) {
        if ((r = parse_not(p, out)) == 0)
            r = negate(p, out);
    } else if ((r = parse_or(p, out)) == 0 && !take(p, ")")) {
        r = expected(p, "and, or, or )");
    }
    p->depth--;
    return r;
}

static int parse_and(struct parser *p, uint32_t *out)
{
    uint32_t right;
    int r = parse_not(p, out);
    while (r == 0 && (take_word(p, "and") || take(p, "&&")))
        if ((r = parse_not(p, &right)) == 0)
            r = add_node(p, (struct filter_node){FILTER_AND, *out, right, 0}, out);
    return r;
}

static int parse_or(struct parser *p, uint32_t *out)
{
    uint32_t right;
    int r = parse_and(p, out);
    while (r == 0 && (take_word(p, "or") || take(p, "||")))
        if ((r = parse_and(p, &right)) == 0)
            r = add_node(p, (struct filter_node){FILTER_OR, *out, right, 0}, out);
    return r;
}

int filter_parse(struct filter **out, const char *expr, size_t len, struct err_msg *em)
{
    int r;
    size_t at;
    *out = NULL;
    if (len > FILTER_LEN_MAX)
        return err_set(em, LT_ELIMIT, "filter: %zu bytes, at most %u", len, FILTER_LEN_MAX);
    if (len && (at = utf8_check(expr, len)) != UTF8_VALID)
        return err_set(em, LT_EUTF8, "filter: not valid UTF-8 at byte %zu", at);
    struct parser p = {.s = expr, .len = len, .em = em};
    skip_space(&p);
    if (p.pos == len)
        return err_set(em, LT_EEMPTY, "filter: empty");
    p.f = calloc(1, sizeof *p.f);
    if (!p.f || !(p.f->text = malloc(len))) {
        r = err_set(em, LT_ENOMEM, "filter: no memory");
        goto out;
    }
    if ((r = parse_or(&p, &p.f->root)) < 0)
        goto out;
    skip_space(&p);
    if (p.pos < len) {
        r = expected(&p, "and, or, or the end");
        goto out;
    }
    *out = p.f;
    p.f = NULL;
out:
    filter_destroy(&p.f);
    return r;
}

void filter_destroy(struct filter **pf)
{
    struct filter *f = pf ? *pf : NULL;
    if (!f)
        return;
    free(f->text);
    free(f->nodes);
    free(f->values);
    free(f->fields);
    free(f->keys);
    free(f);
    *pf = NULL;
}
