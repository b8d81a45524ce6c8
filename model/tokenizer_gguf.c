/* The keys `tokenizer.ggml.*` of a GGUF file into the tables of tokenizer_impl.h.
 *
 * Three kinds are read. "llama" is SentencePiece: pieces with scores; what merges first is the pair that makes the piece of
 * highest score. That is the same as byte-pair merging with a rank for each pair that spells a piece, so the pairs are made
 * here. "gpt2" is byte-level: pieces are spelled in 256 characters, one for each byte, and are stored as those
 * bytes; merges are listed; a pre-tokeniser cuts the text. "gemma4", and gpt2 with such a pre-tokeniser, has SentencePiece's
 * pieces, as they are spelled, and listed merges, none of which joins a line end with anything else. */
#include "model/tokenizer_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"
#include "model/tokenizer_impl.h"

#define KEY "tokenizer.ggml."
#define SPELLED_MAX (1ull << 32) /* Gemma's pieces need about 5e7 */

/* Of tokenizer.ggml.token_type. */
enum piece_type { PIECE_NORMAL = 1, PIECE_UNKNOWN = 2, PIECE_CONTROL = 3, PIECE_USER = 4 };

struct pair {
    int32_t left, right, id;
    uint32_t rank;
};

struct reader {
    struct tokenizer *t;
    const struct gguf *g;
    struct err_msg *em;
    size_t n;              /* pieces */
    const char **piece;    /* as the file has them, borrowed */
    uint32_t *len;
    const uint8_t *type;   /* i32 each; NULL: all normal */
    const uint8_t *score;  /* f32 each; SentencePiece only */
    bool plain;            /* pieces and merges are spelled as they are, not in characters for bytes */
    uint64_t spelled;      /* bytes looked up to spell pieces by others */
    struct pair *pair;
    size_t n_pairs, cap_pairs;
};

static int32_t type_of(const struct reader *r, size_t i)
{
    if (!r->type)
        return PIECE_NORMAL;
    struct bytes_in in = bytes_in(r->type + 4 * i, 4);
    return (int32_t)bytes_u32(&in);
}

static float score_of(const struct reader *r, size_t i)
{
    struct bytes_in in = bytes_in(r->score + 4 * i, 4);
    return bytes_f32(&in);
}

/* Matched in the raw text before anything else. */
static bool is_added(const struct reader *r, size_t i)
{
    int32_t type = type_of(r, i);
    return r->len[i] && (type == PIECE_UNKNOWN || type == PIECE_CONTROL || type == PIECE_USER);
}

/* ---- the arrays ---- */

static int read_pieces(struct reader *r)
{
    struct bytes_in in;
    int e = gguf_strings(r->g, KEY "tokens", &in, &r->n, r->em);
    if (e < 0)
        return e;
    if (!r->n || r->n > TOKENIZER_VOCAB_MAX)
        return err_set(r->em, LT_ELIMIT, "tokenizer: %zu pieces, must be 1 to %u", r->n, TOKENIZER_VOCAB_MAX);
    r->piece = calloc(r->n, sizeof *r->piece);
    r->len = calloc(r->n, sizeof *r->len);
    if (!r->piece || !r->len)
        return LT_ENOMEM;
    for (size_t i = 0; i < r->n; i++) {
        uint64_t len = bytes_u64(&in);
        if (len > TOKENIZER_PIECE_MAX)
            return err_set(r->em, LT_ELIMIT, "tokenizer: piece %zu has %llu bytes, at most %d", i, (unsigned long long)len,
                           TOKENIZER_PIECE_MAX);
        r->piece[i] = (const char *)bytes_take(&in, (size_t)len);
        r->len[i] = (uint32_t)len;
        if (in.bad || utf8_check(r->piece[i], len) != UTF8_VALID)
            return err_set(r->em, LT_EFORMAT, "tokenizer: piece %zu is not UTF-8 text", i);
    }
    r->t->info.n_vocab = (uint32_t)r->n;
    r->t->n_pieces = (int32_t)r->n;
    return 0;
}

/* An array of 4-byte values, one a piece; *data stays NULL where it is absent. */
static int read_column(struct reader *r, const char *key, enum gguf_type type, const uint8_t **data)
{
    size_t n;
    int e = gguf_array(r->g, key, type, data, &n, r->em);
    if (e == LT_ENOTFOUND)
        return 0;
    if (e == 0 && n != r->n)
        return err_set(r->em, LT_EFORMAT, "tokenizer: %s has %zu values for %zu pieces", key, n, r->n);
    return e;
}

/* ---- byte-level spelling ---- */

/* The byte that a character of a byte-level piece stands for, -1: none. Printable Latin-1 stands for itself, the other
 * bytes for U+0100 and on, in order. */
static int byte_of_char(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7E) || (cp >= 0xA1 && cp <= 0xAC) || (cp >= 0xAE && cp <= 0xFF))
        return (int)cp;
    if (cp >= 0x100 && cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp >= 0x121 && cp <= 0x142)
        return (int)(cp - 0x121 + 0x7F);
    return cp == 0x143 ? 0xAD : -1;
}

/* A piece's bytes into out (at least len); their number, or -1 where it is spelled otherwise. */
static int decode_bytes(const char *s, size_t len, char *out)
{
    int n = 0;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        i += utf8_decode(s + i, len - i, &cp);
        int b = byte_of_char(cp);
        if (b < 0)
            return -1;
        out[n++] = (char)b;
    }
    return n;
}

/* ---- pieces and added tokens ---- */

static int put_byte_pieces(struct reader *r)
{
    struct tokenizer *t = r->t;
    size_t total = 1;
    for (size_t i = 0; i < r->n; i++)
        total += r->len[i];
    char *at = t->arena = malloc(total);
    if (!at)
        return LT_ENOMEM;
    for (size_t i = r->n; i-- > 0;) { /* of equal pieces the last counts */
        int n = decode_bytes(r->piece[i], r->len[i], at);
        if (n <= 0)
            continue;
        if (piece_map_put(&t->pieces, at, (uint32_t)n, (int32_t)i) && n == 1)
            t->byte_id[(unsigned char)*at] = (int32_t)i;
        at += n;
    }
    return 0;
}

static int put_text_pieces(struct reader *r)
{
    struct tokenizer *t = r->t;
    size_t total = 1;
    for (size_t i = 0; i < r->n; i++)
        total += r->len[i];
    char *at = t->arena = malloc(total);
    if (!at)
        return LT_ENOMEM;
    for (size_t i = r->n; i-- > 0;) {
        const uint32_t n = r->len[i];
        uint32_t cp;
        memcpy(at, r->piece[i], n);
        if (!n || !piece_map_put(&t->pieces, at, n, (int32_t)i))
            continue;
        const int byte = tokenizer_byte_of_piece(at, n);
        if (byte >= 0)
            t->byte_id[byte] = (int32_t)i;
        else if (utf8_decode(at, n, &cp) == n && char_map_put(&t->chars, cp, (int32_t)i) < 0)
            return LT_ENOMEM;
        at += n;
    }
    return 0;
}

static int put_added(struct reader *r)
{
    struct tokenizer *t = r->t;
    size_t n = 0, bytes = 1;
    for (size_t i = 0; i < r->n; i++)
        if (is_added(r, i)) {
            n++;
            bytes += r->len[i];
        }
    if (n > TOKENIZER_ADDED_MAX)
        return err_set(r->em, LT_ELIMIT, "tokenizer: %zu special pieces, at most %d", n, TOKENIZER_ADDED_MAX);
    if (!n)
        return 0;
    t->added = calloc(n, sizeof *t->added);
    char *at = t->added_arena = malloc(bytes);
    if (!t->added || !at)
        return LT_ENOMEM;
    for (size_t i = 0; i < r->n; i++) {
        if (!is_added(r, i))
            continue;
        memcpy(at, r->piece[i], r->len[i]);
        t->added[t->n_added++] = (struct added_token){at, r->len[i], (int32_t)i, type_of(r, i) == PIECE_CONTROL};
        piece_map_put(&t->pieces, at, r->len[i], (int32_t)i);
        at += r->len[i];
    }
    tokenizer_index_added(t);
    return 0;
}

/* ---- merges ---- */

static int add_pair(struct reader *r, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    if (r->n_pairs == r->cap_pairs) {
        size_t cap = r->cap_pairs ? r->cap_pairs * 2 : 4096;
        struct pair *p = realloc(r->pair, cap * sizeof *p);
        if (!p)
            return LT_ENOMEM;
        r->pair = p;
        r->cap_pairs = cap;
    }
    r->pair[r->n_pairs++] = (struct pair){left, right, id, rank};
    return 0;
}

static int put_pairs(struct reader *r)
{
    if (merge_map_init(&r->t->merges, r->n_pairs) < 0)
        return LT_ENOMEM;
    for (size_t i = 0; i < r->n_pairs; i++)
        merge_map_put(&r->t->merges, r->pair[i].left, r->pair[i].right, r->pair[i].rank, r->pair[i].id);
    return 0;
}

/* Spaces in pieces of their own kind are written as such, but not in merges, which then name no piece: those never apply, since the text of such
 * pieces is matched before all else. */
static int plain_merge(struct reader *r, size_t i, const char *s, size_t len, const char *sp)
{
    struct tokenizer *t = r->t;
    char both[TOKENIZER_PIECE_MAX];
    const size_t a = (size_t)(sp - s), b = len - a - 1;
    if (!b)
        return err_set(r->em, LT_EFORMAT, "tokenizer: merge %zu is not two pieces with a space between", i);
    memcpy(both, s, a);
    memcpy(both + a, sp + 1, b);
    const int32_t left = piece_map_find(&t->pieces, both, a), right = piece_map_find(&t->pieces, both + a, b);
    const int32_t id = piece_map_find(&t->pieces, both, a + b);
    if (left < 0 || right < 0 || id < 0 || (both[a - 1] == '\n') != (both[a] == '\n'))
        return 0;
    tokenizer_note_join(t, both, (uint32_t)a, both + a, (uint32_t)b);
    return add_pair(r, left, right, (uint32_t)i, id);
}

static int listed_merge(struct reader *r, size_t i, const char *s, size_t len)
{
    const struct tokenizer *t = r->t;
    char both[TOKENIZER_PIECE_MAX];
    const char *sp = len && len <= sizeof both ? memchr(s + 1, ' ', len - 1) : NULL;
    if (!sp || utf8_check(s, len) != UTF8_VALID)
        return err_set(r->em, LT_EFORMAT, "tokenizer: merge %zu is not two pieces with a space between", i);
    if (r->plain)
        return plain_merge(r, i, s, len, sp);
    int a = decode_bytes(s, (size_t)(sp - s), both);
    int b = a < 0 ? -1 : decode_bytes(sp + 1, len - (size_t)(sp + 1 - s), both + a);
    int32_t left = -1, right = -1, id = -1;
    if (a > 0 && b > 0) {
        left = piece_map_find(&t->pieces, both, (size_t)a);
        right = piece_map_find(&t->pieces, both + a, (size_t)b);
        id = piece_map_find(&t->pieces, both, (size_t)(a + b));
    }
    if (left < 0 || right < 0 || id < 0)
        return err_set(r->em, LT_EFORMAT, "tokenizer: merge %zu names a piece that is not in the vocabulary", i);
    return add_pair(r, left, right, (uint32_t)i, id);
}

static int read_merges(struct reader *r)
{
    struct bytes_in in;
    size_t n;
    int e = gguf_strings(r->g, KEY "merges", &in, &n, r->em);
    if (e < 0)
        return e;
    if (n > TOKENIZER_MERGES_MAX)
        return err_set(r->em, LT_ELIMIT, "tokenizer: %zu merges, at most %u", n, TOKENIZER_MERGES_MAX);
    for (size_t i = 0; i < n; i++) {
        size_t len = (size_t)bytes_u64(&in);
        const char *s = (const char *)bytes_take(&in, len);
        if (!s || (e = listed_merge(r, i, s, len)) < 0)
            return s ? e : err_set(r->em, LT_EFORMAT, "tokenizer: merge %zu is cut short", i);
    }
    return put_pairs(r);
}

struct scored {
    float score;
    int32_t id;
};

static int best_first(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Id of a part of a piece; a character that is no piece itself gets a stand-in, so that merges can start from it. */
static int part_id(struct reader *r, const char *s, uint32_t len, int32_t *id)
{
    struct tokenizer *t = r->t;
    uint32_t cp;
    *id = piece_map_find(&t->pieces, s, len);
    if (*id >= 0 || utf8_decode(s, len, &cp) != len)
        return 0;
    if ((*id = char_map_find(&t->chars, cp)) >= 0)
        return 0;
    if (!(t->n_stand_in & (t->n_stand_in - 1))) {
        uint32_t *p = realloc(t->stand_in, (t->n_stand_in ? 2 * (size_t)t->n_stand_in : 1) * sizeof *p);
        if (!p)
            return LT_ENOMEM;
        t->stand_in = p;
    }
    *id = t->n_pieces + (int32_t)t->n_stand_in;
    t->stand_in[t->n_stand_in++] = cp;
    return char_map_put(&t->chars, cp, *id);
}

static int spell_piece(struct reader *r, int32_t id, uint32_t rank)
{
    const char *s = r->piece[id];
    const uint32_t len = r->len[id];
    uint32_t cp;
    int e = 0;
    r->spelled += (uint64_t)len * len;
    if (r->spelled > SPELLED_MAX)
        return err_set(r->em, LT_ELIMIT, "tokenizer: the pieces are too long to be spelled by one another");
    for (uint32_t i = (uint32_t)utf8_decode(s, len, &cp), n; i < len && e == 0; i += n) {
        int32_t left, right;
        n = (uint32_t)utf8_decode(s + i, len - i, &cp);
        if ((e = part_id(r, s, i, &left)) < 0 || (e = part_id(r, s + i, len - i, &right)) < 0)
            return e;
        if (left >= 0 && right >= 0) {
            tokenizer_note_join(r->t, s, i, s + i, len - i);
            e = add_pair(r, left, right, rank, id);
        }
        if (r->n_pairs > TOKENIZER_MERGES_MAX)
            return err_set(r->em, LT_ELIMIT, "tokenizer: the pieces can be spelled in more than %u ways",
                           TOKENIZER_MERGES_MAX);
    }
    return e;
}

/* Every way to spell a piece by two others, ranked by the piece's score; equal scores have equal rank. */
static int make_merges(struct reader *r)
{
    struct scored *order = calloc(r->n, sizeof *order);
    uint32_t rank = 0;
    int e = order ? 0 : LT_ENOMEM;
    for (size_t i = 0; i < r->n && e == 0; i++) {
        order[i] = (struct scored){score_of(r, i), (int32_t)i};
        if (!(order[i].score > -1e30f && order[i].score < 1e30f))
            e = err_set(r->em, LT_EFORMAT, "tokenizer: piece %zu has score %g", i, (double)order[i].score);
    }
    if (e == 0)
        qsort(order, r->n, sizeof *order, best_first);
    for (size_t i = 0; i < r->n && e == 0; i++) {
        const int32_t id = order[i].id;
        rank += i && order[i].score != order[i - 1].score;
        if (r->len[id] && piece_map_find(&r->t->pieces, r->piece[id], r->len[id]) == id)
            e = spell_piece(r, id, rank);
    }
    free(order);
    if (e == 0)
        e = put_pairs(r);
    /* Bytes and the unknown piece do not spell their own text: where one stands nothing may be cut. */
    bool cut = true;
    for (int b = 0; b < 256; b++)
        cut = cut && r->t->byte_id[b] >= 0;
    if (!cut)
        memset(r->t->joins, 0xFF, sizeof r->t->joins);
    return e;
}

/* ---- the kinds ---- */

static int flag(struct reader *r, const char *key, bool absent, bool *out)
{
    *out = absent;
    return gguf_maybe(gguf_bool(r->g, key, out, r->em));
}

static int read_sentencepiece(struct reader *r)
{
    struct tokenizer *t = r->t;
    struct norm *norm = &t->norm;
    bool prefix;
    int e = read_column(r, KEY "scores", GGUF_F32, &r->score);
    if (e < 0)
        return e;
    if (!r->score)
        return err_set(r->em, LT_EFORMAT, "tokenizer: key " KEY "scores is missing");
    t->byte_fallback = t->fuse_unk = true;
    int32_t unk = 0;
    if ((e = tokenizer_gguf_id(r->g, KEY "unknown_token_id", &unk, r->em)) < 0 || (e = put_text_pieces(r)) < 0 || (e = make_merges(r)) < 0 ||
        (e = flag(r, KEY "add_space_prefix", true, &prefix)) < 0)
        return e;
    t->info.unk = unk >= 0 && (size_t)unk < r->n ? unk : -1;
    for (int b = 0; b < 256; b++)
        if (t->byte_id[b] < 0 && t->info.unk < 0)
            return err_set(r->em, LT_EUNSUPPORTED, "tokenizer: neither an unknown piece nor pieces for all bytes");
    if (prefix)
        norm->steps[norm->n_steps++] = (struct norm_step){NORM_PREPEND, 0, {JOIN_SPACE_MARK}, 1};
    norm->steps[norm->n_steps++] = (struct norm_step){NORM_REPLACE, ' ', {JOIN_SPACE_MARK}, 1};
    return 0;
}

static int read_plain(struct reader *r)
{
    struct tokenizer *t = r->t;
    char run[LINES_MAX];
    int e;
    r->plain = t->byte_fallback = true;
    t->words = WORDS_NONE;
    if ((e = put_text_pieces(r)) < 0 || (e = read_merges(r)) < 0)
        return e;
    for (int b = 0; b < 256; b++)
        if (t->byte_id[b] < 0)
            return err_set(r->em, LT_EUNSUPPORTED, "tokenizer: no piece for byte 0x%02X", (unsigned)b);
    memset(run, '\n', sizeof run);
    t->n_lines = LINES_MAX;
    for (uint32_t n = 1; n <= LINES_MAX; n++)
        t->lines[n - 1] = piece_map_find(&t->pieces, run, n);
    t->norm.steps[t->norm.n_steps++] = (struct norm_step){NORM_REPLACE, ' ', {JOIN_SPACE_MARK}, 1};
    return 0;
}

static int read_byte_level(struct reader *r)
{
    struct tokenizer *t = r->t;
    const char *pre = "default";
    size_t len = strlen(pre);
    int e = gguf_str(r->g, KEY "pre", &pre, &len, r->em);
    if (e < 0 && e != LT_ENOTFOUND)
        return e;
    t->words = words_kind_find(pre, len);
    t->ignore_merges = words_whole_first(pre, len);
    if (t->words == WORDS_NONE)
        return err_set(r->em, LT_EUNSUPPORTED, "tokenizer: the pre-tokeniser \"%.*s\" (" KEY "pre) is not known",
                       (int)(len < 40 ? len : 40), pre);
    if (t->words == WORDS_LINES)
        return read_plain(r);
    if ((e = put_byte_pieces(r)) < 0)
        return e;
    return read_merges(r);
}

static int read_all(struct reader *r)
{
    struct tokenizer *t = r->t;
    const char *model;
    size_t len;
    int e = gguf_str(r->g, KEY "model", &model, &len, r->em);
    if (e < 0 || (e = read_pieces(r)) < 0 || (e = read_column(r, KEY "token_type", GGUF_I32, &r->type)) < 0)
        return e;
    if (piece_map_init(&t->pieces, 2 * r->n) < 0 || char_map_init(&t->chars) < 0)
        return LT_ENOMEM;
    if (len == 5 && !memcmp(model, "llama", 5))
        e = read_sentencepiece(r);
    else if (len == 4 && !memcmp(model, "gpt2", 4))
        e = read_byte_level(r);
    else if (len == 6 && !memcmp(model, "gemma4", 6))
        e = read_plain(r);
    else
        e = err_set(r->em, LT_EUNSUPPORTED, "tokenizer: kind \"%.*s\" (" KEY "model) is not supported, only llama, gpt2 and gemma4",
                    (int)(len < 40 ? len : 40), model);
    if (e == 0)
        e = norm_prepare(&t->norm, r->em);
    return e < 0 ? e : put_added(r);
}

int tokenizer_create_gguf(struct tokenizer **out, const struct gguf *g, struct err_msg *em)
{
    struct tokenizer *t = tokenizer_alloc();
    struct reader r = {.t = t, .g = g, .em = em};
    int e = t ? read_all(&r) : LT_ENOMEM;
    free(r.piece);
    free(r.len);
    free(r.pair);
    if (e == LT_ENOTFOUND)
        e = LT_EFORMAT; /* the message names the key */
    if (e == LT_ENOMEM)
        err_set(em, e, "%s", err_text(e));
    if (e < 0)
        tokenizer_destroy(&t);
    else
        *out = t;
    return e;
}

int tokenizer_gguf_id(const struct gguf *g, const char *key, int32_t *id, struct err_msg *em)
{
    uint32_t v = UINT32_MAX;
    const int e = gguf_u32(g, key, &v, em);
    if (e == 0 && v != UINT32_MAX)
        *id = v < INT32_MAX ? (int32_t)v : INT32_MAX;
    return gguf_maybe(e);
}

int tokenizer_gguf_blob(const struct gguf *g, const char *key, const uint8_t **data, size_t *len, struct err_msg *em)
{
    struct bytes_in in;
    size_t n;
    int e = gguf_strings(g, key, &in, &n, em);
    if (e < 0)
        return e;
    const uint8_t *start = in.p;
    for (size_t i = 0; i < n; i++)
        bytes_take(&in, (size_t)bytes_u64(&in));
    *data = start;
    *len = (size_t)(in.p - start);
    return 0;
}
