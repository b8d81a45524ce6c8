/* The tokeniser: owns the tables, cuts a text at its added tokens, normalises and looks up the
 * characters between them, and hands stretches that no merge can leave to tokenizer_bpe.c.
 *
 * The models this reads have no pre-tokenizer: to them a whole text is one word. Merging all of it
 * with one queue would be slow, so the merges themselves say where the text can be cut: between
 * two characters that no merge joins (struct tokenizer, joins). The result is the same by construction. */
#include "model/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/tokenizer_impl.h"

/* ---- tables ---- */

static uint32_t hash_bytes(const char *s, size_t len)
{
    uint64_t h = 0xCBF29CE484222325u ^ len;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001B3u;
    return (uint32_t)(h ^ h >> 32);
}

int piece_map_init(struct piece_map *m, size_t n_pieces)
{
    m->n_slots = 16;
    while (m->n_slots < n_pieces * 2)
        m->n_slots *= 2;
    m->slots = calloc(m->n_slots, sizeof *m->slots);
    return m->slots ? 0 : LT_ENOMEM;
}

/* The slot that holds the piece, or the free one where it would go. */
static struct piece_slot *piece_slot(const struct piece_map *m, const char *s, size_t len)
{
    uint32_t i = hash_bytes(s, len) & (m->n_slots - 1);
    while (m->slots[i].s && (m->slots[i].len != len || memcmp(m->slots[i].s, s, len) != 0))
        i = (i + 1) & (m->n_slots - 1);
    return &m->slots[i];
}

bool piece_map_put(struct piece_map *m, const char *s, uint32_t len, int32_t id)
{
    struct piece_slot *slot = piece_slot(m, s, len);
    if (slot->s)
        return false;
    *slot = (struct piece_slot){s, len, id};
    return true;
}

int32_t piece_map_find(const struct piece_map *m, const char *s, size_t len)
{
    const struct piece_slot *slot = piece_slot(m, s, len);
    return slot->s ? slot->id : -1;
}

static int char_map_page(struct char_map *m)
{
    if (m->n_pages == m->cap) {
        uint32_t cap = m->cap ? m->cap * 2 : 8;
        void *p = realloc(m->pages, cap * sizeof *m->pages);
        if (!p)
            return LT_ENOMEM;
        m->pages = p;
        m->cap = cap;
    }
    memset(m->pages[m->n_pages], 0xFF, sizeof *m->pages);
    return (int)m->n_pages++;
}

int char_map_init(struct char_map *m)
{
    return char_map_page(m) < 0 ? LT_ENOMEM : 0; /* page 0 stays empty */
}

int char_map_put(struct char_map *m, uint32_t cp, int32_t id)
{
    if (!m->page_of[cp >> 8]) {
        int page = char_map_page(m);
        if (page < 0)
            return page;
        m->page_of[cp >> 8] = (uint16_t)page;
    }
    m->pages[m->page_of[cp >> 8]][cp & 0xFF] = id;
    return 0;
}

static int added_order(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    if (x->s[0] != y->s[0])
        return (unsigned char)x->s[0] < (unsigned char)y->s[0] ? -1 : 1;
    return x->len != y->len ? (x->len > y->len ? -1 : 1) : memcmp(x->s, y->s, x->len);
}

void tokenizer_index_added(struct tokenizer *t)
{
    if (!t->n_added)
        return;
    qsort(t->added, t->n_added, sizeof *t->added, added_order);
    for (uint32_t b = 0, i = 0; b <= 256; b++) {
        while (i < t->n_added && (unsigned char)t->added[i].s[0] < b)
            i++;
        t->added_at[b] = (uint16_t)i;
    }
    t->added_lead = (unsigned char)t->added[0].s[0];
    if (t->added[t->n_added - 1].s[0] != t->added[0].s[0])
        t->added_lead = -1;
}

int tokenizer_byte_of_piece(const char *s, size_t len)
{
    static const char hex[] = "0123456789ABCDEF";
    if (len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    const char *hi = memchr(hex, s[3], 16), *lo = memchr(hex, s[4], 16);
    return hi && lo ? (int)((hi - hex) << 4 | (lo - hex)) : -1;
}

static uint8_t class_of(const char *s, size_t len, bool last)
{
    static const char mark[] = "\xE2\x96\x81";
    const char *at = last ? s + len - 3 : s;
    if (len >= 3 && !memcmp(at, mark, 3))
        return JOIN_CLASS_MARK;
    return (uint8_t)(last ? s[len - 1] : s[0]);
}

void tokenizer_note_join(struct tokenizer *t, const char *left, size_t n_left, const char *right, size_t n_right)
{
    const uint8_t x = class_of(left, n_left, true), y = class_of(right, n_right, false);
    t->joins[x][y >> 5] |= 1u << (y & 31);
}

/* ---- life ---- */

struct tokenizer *tokenizer_alloc(void)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    memset(t->byte_id, 0xFF, sizeof t->byte_id);
    t->info.unk = t->info.bos = t->info.eos = -1;
    t->added_lead = -2;
    t->n_pieces = INT32_MAX;
    return t;
}

int tokenizer_create(struct tokenizer **out, const char *json, size_t len, struct err_msg *em)
{
    struct tokenizer *t = tokenizer_alloc();
    if (!t)
        return err_set(em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
    int r = tokenizer_read_json(t, json, len, em);
    if (r < 0)
        tokenizer_destroy(&t);
    else
        *out = t;
    return r;
}

void tokenizer_destroy(struct tokenizer **out)
{
    struct tokenizer *t = *out;
    *out = NULL;
    if (!t)
        return;
    free(t->arena);
    free(t->added_arena);
    free(t->stand_in);
    free(t->pieces.slots);
    free(t->chars.pages);
    free(t->merges.slots);
    free(t->added);
    free(t);
}

const struct tokenizer_info *tokenizer_info(const struct tokenizer *t)
{
    return &t->info;
}

uint64_t tokenizer_bytes(const struct tokenizer *t)
{
    uint64_t pieces = 0;
    for (uint32_t i = 0; i < t->pieces.n_slots; i++)
        pieces += t->pieces.slots[i].s ? t->pieces.slots[i].len : 0;
    return sizeof *t + pieces + t->pieces.n_slots * sizeof *t->pieces.slots + t->chars.cap * sizeof *t->chars.pages +
           ((uint64_t)t->merges.mask + 1) * sizeof *t->merges.slots + t->n_added * sizeof *t->added + t->n_stand_in * sizeof *t->stand_in;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *piece, size_t len)
{
    return piece_map_find(&t->pieces, piece, len);
}

void tokenizer_ids_finish(struct tokenizer_ids *ids)
{
    free(ids->ids);
    free(ids->starts);
    memset(ids, 0, sizeof *ids);
}

/* ---- encoding ---- */

struct encoder {
    const struct tokenizer *t;
    struct tokenizer_ids *out;
    const char *text;
    struct bpe_word word;
    uint8_t last;      /* class of the last character of the word */
    uint32_t unk_len;  /* characters of a pending run of unknown ones; 0: none */
    uint32_t unk_start;
    char *whole;       /* ignore_merges: the segment's normalised bytes */
    size_t whole_len, whole_cap;
};

static int out_append(struct tokenizer_ids *o, const int32_t *ids, const uint32_t *starts, size_t n)
{
    if (!n)
        return 0;
    if (n > o->cap - o->n) {
        size_t cap = o->cap ? o->cap * 2 : 64;
        while (cap < o->n + n)
            cap *= 2;
        int32_t *p = realloc(o->ids, cap * sizeof *p);
        if (!p)
            return LT_ENOMEM;
        o->ids = p;
        uint32_t *q = realloc(o->starts, cap * sizeof *q);
        if (!q)
            return LT_ENOMEM;
        o->starts = q;
        o->cap = cap;
    }
    memcpy(o->ids + o->n, ids, n * sizeof *ids);
    memcpy(o->starts + o->n, starts, n * sizeof *starts);
    o->n += n;
    return 0;
}

static int push(struct encoder *e, int32_t id, uint32_t start)
{
    struct bpe_word *w = &e->word;
    int r;
    if (w->n == w->cap && (r = bpe_word_reserve(w, 1)) < 0)
        return r;
    if (w->n && start < w->starts[w->n - 1]) /* an unknown piece behind bytes, see push_missing */
        start = w->starts[w->n - 1];
    w->ids[w->n] = id;
    w->starts[w->n++] = start;
    return 0;
}

static int push_unk(struct encoder *e)
{
    if (!e->unk_len)
        return 0;
    e->unk_len = 0;
    return push(e, e->t->info.unk, e->unk_start);
}

/* A character that no merge took, and that is no piece itself: its bytes where there are pieces for them, else the
 * unknown piece, else nothing. */
static int append_stand_in(struct encoder *e, int32_t id, uint32_t start)
{
    const struct tokenizer *t = e->t;
    const uint32_t at = (uint32_t)(id - t->n_pieces);
    char s[4];
    const size_t n = at < t->n_stand_in ? utf8_encode(t->stand_in[at], s) : 0;
    bool bytes = t->byte_fallback;
    for (size_t i = 0; i < n && bytes; i++)
        bytes = t->byte_id[(unsigned char)s[i]] >= 0;
    int r = 0;
    for (size_t i = 0; i < n && bytes && r == 0; i++)
        r = out_append(e->out, &t->byte_id[(unsigned char)s[i]], &start, 1);
    if (!bytes && t->info.unk >= 0)
        r = out_append(e->out, &t->info.unk, &start, 1);
    return r;
}

/* The word is line ends that are one piece together. */
static bool take_lines(const struct tokenizer *t, struct bpe_word *w)
{
    if (w->n < 2 || w->n > t->n_lines || t->lines[w->n - 1] < 0)
        return false;
    for (uint32_t i = 0; i < w->n; i++)
        if (w->ids[i] != t->lines[0])
            return false;
    w->ids[0] = t->lines[w->n - 1];
    w->n = 1;
    return true;
}

/* Merges the word and moves it to the output. */
static int flush(struct encoder *e)
{
    struct bpe_word *w = &e->word;
    const int32_t n_pieces = e->t->n_pieces;
    int r = take_lines(e->t, w) ? 0 : bpe_merge(&e->t->merges, w);
    for (uint32_t i = 0, end; i < w->n && r == 0; i = end) {
        for (end = i; end < w->n && w->ids[end] < n_pieces;)
            end++;
        r = out_append(e->out, w->ids + i, w->starts + i, end - i);
        if (r == 0 && end < w->n) {
            r = append_stand_in(e, w->ids[end], w->starts[end]);
            end++;
        }
    }
    w->n = 0;
    return r;
}

/* A character that the vocabulary lacks: its bytes, or the unknown piece. The library adds the bytes
 * before a pending unknown piece; ids must be the same, so this does too. */
static int push_missing(struct encoder *e, const char *s, size_t n, uint32_t start)
{
    const struct tokenizer *t = e->t;
    int r;
    bool bytes = t->byte_fallback;
    for (size_t i = 0; i < n && bytes; i++)
        bytes = t->byte_id[(unsigned char)s[i]] >= 0;
    if (bytes) {
        for (size_t i = 0; i < n; i++)
            if ((r = push(e, t->byte_id[(unsigned char)s[i]], start)) < 0)
                return r;
        return 0;
    }
    if (t->info.unk < 0)
        return 0;
    if (e->unk_len && !t->fuse_unk && (r = push_unk(e)) < 0)
        return r;
    if (!e->unk_len)
        e->unk_start = start;
    e->unk_len++;
    return 0;
}

static int keep_whole(struct encoder *e, const char *s, size_t n)
{
    if (n > e->whole_cap - e->whole_len) {
        size_t cap = (e->whole_cap + n) * 2;
        char *p = realloc(e->whole, cap);
        if (!p)
            return LT_ENOMEM;
        e->whole = p;
        e->whole_cap = cap;
    }
    memcpy(e->whole + e->whole_len, s, n);
    e->whole_len += n;
    return 0;
}

/* Adds one normalised character that stems from the one at `start`. */
static int add_char(struct encoder *e, uint32_t cp, uint32_t start)
{
    const struct tokenizer *t = e->t;
    char s[4];
    size_t n = utf8_encode(cp, s);
    bool mark = cp == JOIN_SPACE_MARK;
    int r;
    if (e->word.n && !tokenizer_joins(t, e->last, mark ? JOIN_CLASS_MARK : (uint8_t)s[0]) &&
        (r = flush(e)) < 0)
        return r;
    e->last = mark ? JOIN_CLASS_MARK : (uint8_t)s[n - 1];
    if (t->ignore_merges && (r = keep_whole(e, s, n)) < 0)
        return r;
    int32_t id = char_map_find(&t->chars, cp);
    if (id < 0)
        return push_missing(e, s, n, start);
    if (e->unk_len && (r = push_unk(e)) < 0)
        return r;
    return push(e, id, start);
}

static int end_segment(struct encoder *e, uint32_t start)
{
    const struct tokenizer *t = e->t;
    int32_t id = -1;
    int r = push_unk(e);
    if (r < 0)
        return r;
    if (t->ignore_merges && (id = piece_map_find(&t->pieces, e->whole ? e->whole : "", e->whole_len)) >= 0) {
        e->word.n = 0;
        return out_append(e->out, &id, &start, 1);
    }
    return flush(e);
}

/* A word of a byte-level vocabulary. A byte without a piece keeps its neighbours apart and leaves no id. */
static int encode_word(void *arg, uint32_t from, uint32_t to)
{
    struct encoder *e = arg;
    const struct tokenizer *t = e->t;
    int r = 0;
    if (t->ignore_merges || to - from == 1) {
        const int32_t id = piece_map_find(&t->pieces, e->text + from, to - from);
        if (id >= 0)
            return out_append(e->out, &id, &from, 1);
    }
    for (uint32_t i = from, start = from; i < to && r == 0; i++) {
        const unsigned char b = (unsigned char)e->text[i];
        if ((b & 0xC0) != 0x80)
            start = i;
        r = push(e, t->byte_id[b] >= 0 ? t->byte_id[b] : t->n_pieces, start);
    }
    return r == 0 ? flush(e) : r;
}

/* One segment between added tokens: text[from, to), not empty. */
static int encode_segment(struct encoder *e, const char *text, uint32_t from, uint32_t to)
{
    const struct norm *norm = &e->t->norm;
    int r = 0;
    if (e->t->words != WORDS_NONE)
        return words_split(e->t->words, text, from, to, encode_word, e);
    e->whole_len = 0;
    for (uint32_t i = 0; i < norm->n_prefix && r == 0; i++)
        r = add_char(e, norm->prefix[i], from);
    for (uint32_t i = from; i < to && r == 0;) {
        uint32_t cp = (unsigned char)text[i], start = i;
        if (cp < 0x80) {
            i++;
            if (norm->ascii[cp] != NORM_MANY) {
                r = add_char(e, norm->ascii[cp], start);
                continue;
            }
        } else {
            i += (uint32_t)utf8_decode(text + i, to - i, &cp);
        }
        uint32_t out[NORM_EXPAND_MAX], n = norm_expand(norm, cp, out);
        for (uint32_t k = 0; k < n && r == 0; k++)
            r = add_char(e, out[k], start);
    }
    return r == 0 ? end_segment(e, from) : r;
}

/* Spans in which control pieces are text. */
struct plain {
    const struct tokenizer_span *spans;
    size_t n;
};

static bool is_plain(const struct plain *p, size_t from, size_t to)
{
    for (size_t i = 0; i < p->n; i++)
        if (from < p->spans[i].to && p->spans[i].from < to)
            return true;
    return false;
}

/* The next added token at or after `at`: the leftmost, the longest of those; NULL when there is none. */
static const struct added_token *next_added(const struct tokenizer *t, const struct plain *p, const char *text, size_t len,
                                            size_t at, size_t *found)
{
    while (t->added_lead != -2 && at < len) {
        if (t->added_lead >= 0) {
            const char *lead = memchr(text + at, t->added_lead, len - at);
            if (!lead)
                break;
            at = (size_t)(lead - text);
        }
        unsigned b = (unsigned char)text[at];
        for (unsigned i = t->added_at[b]; i < t->added_at[b + 1]; i++) {
            const struct added_token *a = &t->added[i];
            if (a->len <= len - at && !memcmp(text + at, a->s, a->len) && !(a->control && is_plain(p, at, at + a->len))) {
                *found = at;
                return a;
            }
        }
        at++;
    }
    return NULL;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, struct tokenizer_ids *out,
                     struct err_msg *em)
{
    return tokenizer_encode_plain(t, text, len, NULL, 0, out, em);
}

int tokenizer_encode_behind(const struct tokenizer *t, const char *text, struct tokenizer_ids *out, struct err_msg *em)
{
    char *joined = NULL;
    out->n = 0;
    if (asprintf(&joined, "a%s", text) < 0)
        return err_set(em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
    const int r = tokenizer_encode(t, joined, strlen(joined), out, em);
    size_t before = 0;
    free(joined);
    if (r < 0)
        return r;
    while (before < out->n && !out->starts[before])
        before++;
    out->n -= before;
    memmove(out->ids, out->ids + before, out->n * sizeof *out->ids);
    memmove(out->starts, out->starts + before, out->n * sizeof *out->starts);
    for (size_t i = 0; i < out->n; i++)
        out->starts[i]--;
    return 0;
}

int tokenizer_encode_plain(const struct tokenizer *t, const char *text, size_t len, const struct tokenizer_span *plain, size_t n_plain,
                           struct tokenizer_ids *out, struct err_msg *em)
{
    const struct plain p = {plain, n_plain};
    struct encoder e = {.t = t, .out = out, .text = text};
    int r = 0;
    out->n = 0;
    if (len > TOKENIZER_TEXT_MAX)
        return err_set(em, LT_ELIMIT, "a text of %zu bytes, at most %u are taken", len, TOKENIZER_TEXT_MAX);
    size_t wrong = utf8_check(text, len);
    if (wrong != UTF8_VALID)
        return err_set(em, LT_EUTF8, "not valid UTF-8 at byte %zu", wrong);
    for (size_t at = 0; at < len && r == 0;) {
        size_t found = len;
        const struct added_token *a = next_added(t, &p, text, len, at, &found);
        if (found > at)
            r = encode_segment(&e, text, (uint32_t)at, (uint32_t)found);
        at = found;
        if (a && r == 0) {
            uint32_t start = (uint32_t)at;
            r = out_append(out, &a->id, &start, 1);
            at += a->len;
        }
    }
    bpe_word_finish(&e.word);
    free(e.whole);
    if (r < 0) {
        out->n = 0;
        err_set(em, r, "%s", err_text(r));
    }
    return r;
}
