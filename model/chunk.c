/* The text is tokenised once; the ids' offsets are the places where it may be cut, each with a level
 * that says how good a cut it is. A chunk takes as many ids as fit, then goes back to the best level in its
 * second half. Since a piece of a text has not exactly the ids it has in the whole, each chunk is then
 * encoded as it will be for the model, and made shorter when it is over. */
#include "model/chunk.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum level {
    LEVEL_NONE,      /* within a character */
    LEVEL_CLUSTER,   /* between a character and its accent, emoji joiner … */
    LEVEL_CHARACTER,
    LEVEL_MARK,      /* behind punctuation, before or behind an ideograph */
    LEVEL_WORD,
    LEVEL_LINE,
    LEVEL_SENTENCE,
    LEVEL_PARAGRAPH,
    LEVELS,
};

struct chunker {
    const struct text_rules *rules;
    const char *title, *text;
    size_t title_len, len;
    uint32_t max_tokens, overlap;
    uint32_t budget;           /* ids that the text of a chunk may have, about */
    struct tokenizer_ids ids;  /* of the whole text */
    uint8_t *level;            /* ids.n + 1: of a cut before this id */
    struct text_tokens tokens; /* of the chunk under test */
    struct chunk_span *spans;
    size_t n_spans, cap;
    struct err_msg *em;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The code point that ends before `at`, 0 at the start. */
static uint32_t before(const char *s, size_t at)
{
    uint32_t cp = 0;
    size_t i = at;
    while (i > 0 && at - i < 4 && ((unsigned char)s[i - 1] & 0xC0) == 0x80)
        i--;
    if (i > 0)
        utf8_decode(s + i - 1, at - i + 1, &cp);
    return cp;
}

static bool is_ideographic(uint32_t cp)
{
    return (cp >= 0x2E80 && cp < 0xD7B0) || (cp >= 0xF900 && cp < 0xFB00) || (cp >= 0xFF00 && cp < 0xFFF0) ||
           (cp >= 0x20000 && cp < 0x32000);
}

/* Ends a sentence without a space behind it. */
static bool is_full_stop(uint32_t cp)
{
    return cp == 0x3002 || cp == 0xFF01 || cp == 0xFF1F || cp == 0xFF0E || cp == 0xFF61 || cp == 0x0964;
}

/* Belongs to the character before it: accents, variation selectors, joiners, skin tones. */
static bool extends(uint32_t cp)
{
    return (cp >= 0x300 && cp < 0x370) || cp == 0x200D || (cp >= 0xFE00 && cp < 0xFE10) || cp == 0x20E3 ||
           (cp >= 0x1F3FB && cp < 0x1F400) || (cp >= 0xE0000 && cp < 0xE1000) || (cp >= 0x1AB0 && cp < 0x1B00);
}

/* A sentence ends before `at`, where white space stands: . ! ? … and closing quotes or brackets, and
 * no small letter begins what follows ("approx. 3", "e.g. this"). */
static bool ends_sentence(const char *s, size_t len, size_t at)
{
    size_t i = at, next = at;
    uint32_t cp;
    while ((cp = before(s, i)) != 0 && (cp == '"' || cp == '\'' || cp == ')' || cp == ']' || cp == 0x201D ||
                                        cp == 0x2019 || cp == 0xBB || cp == 0x300D || cp == 0x300F) && at - i < 8)
        i -= cp < 0x80 ? 1 : cp < 0x800 ? 2 : 3;
    if (cp != '.' && cp != '!' && cp != '?' && cp != 0x2026 && !is_full_stop(cp))
        return false;
    while (next < len && next - at < 16 && is_space(s[next]))
        next++;
    return next == len || s[next] < 'a' || s[next] > 'z';
}

/* A line break at `at`, then another with only blanks between. */
static bool ends_paragraph(const char *s, size_t len, size_t at)
{
    size_t i = at + (s[at] == '\r');
    if (i >= len || s[i] != '\n')
        return false;
    for (i++; i < len && i - at < 128 && is_space(s[i]); i++)
        if (s[i] == '\n')
            return true;
    return false;
}

static uint8_t level_at(const char *s, size_t len, size_t at)
{
    uint32_t cp, last = before(s, at);
    if (at == 0 || at >= len)
        return LEVEL_PARAGRAPH;
    if (is_space(s[at])) {
        if (last < 0x80 && is_space((char)last) && last != '\n') /* the cut belongs before the first blank */
            return LEVEL_WORD;
        if (ends_paragraph(s, len, at))
            return LEVEL_PARAGRAPH;
        if (ends_sentence(s, len, at))
            return LEVEL_SENTENCE;
        return s[at] == '\n' || s[at] == '\r' ? LEVEL_LINE : LEVEL_WORD;
    }
    utf8_decode(s + at, len - at, &cp);
    if (last == '\n')
        return LEVEL_LINE;
    if (last < 0x80 && is_space((char)last))
        return LEVEL_WORD;
    if (extends(cp) || last == 0x200D)
        return LEVEL_CLUSTER;
    if (is_full_stop(last) && !is_full_stop(cp) && cp != 0x300D && cp != 0x300F)
        return LEVEL_SENTENCE;
    bool word_char = (last >= '0' && last <= '9') || (last >= 'A' && last <= 'Z') || (last >= 'a' && last <= 'z') ||
                     last >= 0x80;
    return !word_char || is_ideographic(cp) || is_ideographic(last) ? LEVEL_MARK : LEVEL_CHARACTER;
}

static int no_memory(struct chunker *c)
{
    return err_set(c->em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
}

static int find_levels(struct chunker *c)
{
    size_t n = c->ids.n;
    if (!(c->level = malloc(n + 1)))
        return no_memory(c);
    for (size_t i = 0; i < n; i++)
        c->level[i] = i && c->ids.starts[i] == c->ids.starts[i - 1]
                          ? LEVEL_NONE
                          : level_at(c->text, c->len, c->ids.starts[i]);
    c->level[n] = LEVEL_PARAGRAPH;
    return 0;
}

static size_t offset_of(const struct chunker *c, size_t id)
{
    return id < c->ids.n ? c->ids.starts[id] : c->len;
}

static int add_span(struct chunker *c, size_t start, size_t end)
{
    if (c->n_spans == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 8;
        struct chunk_span *p = realloc(c->spans, cap * sizeof *p);
        if (!p)
            return no_memory(c);
        c->spans = p;
        c->cap = cap;
    }
    c->spans[c->n_spans++] = (struct chunk_span){(uint32_t)start, (uint32_t)end};
    return 0;
}

/* Tokens that the model would see for text[start, end) with the title. */
static int count_tokens(struct chunker *c, size_t start, size_t end, uint32_t *n)
{
    struct text_input in = {.text = c->text + start, .len = end - start, .title = c->title,
                            .title_len = c->title_len, .truncate = true};
    int e = text_encode_rules(c->rules, &in, &c->tokens, c->em);
    *n = c->tokens.n_seen;
    return e;
}

/* The best place to end a chunk of the ids from `from` on, with at most `most` of them and behind `least`. */
static size_t best_cut(const struct chunker *c, size_t from, size_t most, size_t least)
{
    size_t found[LEVELS] = {0}, last = from + most, middle = from + most / 2, i;
    if (last >= c->ids.n)
        return c->ids.n;
    for (i = last; i > least && (i >= middle || !found[LEVEL_CHARACTER]); i--) {
        uint8_t level = c->level[i];
        for (uint8_t k = LEVEL_CLUSTER; k <= level; k++)
            if (!found[k])
                found[k] = i;
        if (level == LEVEL_PARAGRAPH)
            break;
    }
    for (uint8_t k = LEVELS - 1; k > LEVEL_NONE; k--)
        if (found[k])
            return found[k];
    return 0;
}

/* Where the chunk behind a cut begins: whole sentences back, else lines, else words. */
static size_t overlap_start(const struct chunker *c, size_t from, size_t cut)
{
    size_t found[LEVELS] = {0};
    for (size_t i = cut; i > from + 1 && cut - i < c->overlap;) {
        i--;
        if (c->level[i] >= LEVEL_WORD)
            for (uint8_t k = LEVEL_WORD; k <= c->level[i]; k++)
                found[k] = i;
    }
    return found[LEVEL_SENTENCE] ? found[LEVEL_SENTENCE]
           : found[LEVEL_LINE]   ? found[LEVEL_LINE]
           : found[LEVEL_WORD]   ? found[LEVEL_WORD]
                                 : cut;
}

/* White space around a chunk is not part of it. */
static size_t skip_space(const struct chunker *c, size_t at)
{
    while (at < c->len && is_space(c->text[at]))
        at++;
    return at;
}

/* The longest chunk of text from id `from` (its text begins at `start`) that fits, ending behind id `least`: *cut and
 * *end say where. *cut is 0 when there is none. */
static int fit(struct chunker *c, size_t from, size_t start, size_t least, size_t *cut, size_t *end)
{
    size_t most = c->budget;
    uint32_t tokens = 0;
    int e;
    while (most && (*cut = best_cut(c, from, most, least))) {
        *end = offset_of(c, *cut);
        while (*end > start && is_space(c->text[*end - 1]))
            (*end)--;
        if (*end == start)
            return 0;
        if ((e = count_tokens(c, start, *end, &tokens)) < 0 || tokens <= c->max_tokens)
            return e;
        size_t less = tokens - c->max_tokens;
        if (most > *cut - from)
            most = *cut - from;
        most = most > less ? most - less : 0;
    }
    *cut = 0;
    return 0;
}

static int cut_all(struct chunker *c)
{
    size_t from = 0, ended = 0, n = c->ids.n, last_start = 0, last_end = 0;
    while (ended < n) {
        size_t start = skip_space(c, offset_of(c, from)), end = 0, cut = 0;
        int e;
        if (c->n_spans && start <= last_start) /* the overlap was white space only */
            start = skip_space(c, offset_of(c, from = ended));
        if (start >= c->len)
            break;
        while (offset_of(c, from + 1) <= start)
            from++;
        if ((e = fit(c, from, start, from > ended ? from : ended, &cut, &end)) < 0)
            return e;
        if ((!cut || (c->n_spans && end <= last_end)) && from < ended) { /* nothing new fits behind the overlap */
            from = ended;
            continue;
        }
        if (!cut)
            return err_set(c->em, LT_EINVAL, "chunks of %u tokens have no room for the text at byte %zu",
                           c->max_tokens, start);
        if (end > start && (e = add_span(c, start, end)) < 0)
            return e;
        last_start = start;
        last_end = end;
        ended = cut;
        from = cut < n ? overlap_start(c, from, cut) : cut;
    }
    return 0;
}

/* Cuts the title to half of the limit, and derives the budget that it leaves. */
static int plan(struct chunker *c)
{
    const struct text_rules *r = c->rules;
    struct tokenizer_ids ids = {0};
    uint32_t specials = (r->bos >= 0) + r->n_suffix + (r->eos >= 0), half = (c->max_tokens - specials) / 2;
    int e = tokenizer_encode(r->tokenizer, c->title, c->title_len, &ids, c->em);
    if (e < 0)
        return err_set(c->em, e, "the title: %s", e == LT_EUTF8 ? "not valid UTF-8" : err_text(e));
    if (ids.n > half) {
        size_t cut = half;
        while (cut > 0 && ids.starts[cut] == ids.starts[cut - 1])
            cut--;
        c->title_len = cut ? ids.starts[cut] : 0;
        ids.n = cut;
    }
    if (text_is_blank(c->title, c->title_len))
        ids.n = c->title_len = 0;
    c->budget = c->max_tokens - specials - (uint32_t)ids.n;
    if (c->overlap > c->budget / 4)
        c->overlap = c->budget / 4;
    tokenizer_ids_finish(&ids);
    return 0;
}

/* The text alone to ids: those that there are, where nothing stood before it. They are of a large text, so only one of both stays. */
static int encode_text(struct chunker *c)
{
    struct text_tokens *t = &c->tokens;
    if (t->text_at == 0 && t->len == c->len) {
        c->ids = t->scratch;
        t->scratch = (struct tokenizer_ids){0};
    }
    const bool there = c->ids.n > 0;
    text_tokens_finish(t);
    return there ? 0 : tokenizer_encode(c->rules->tokenizer, c->text, c->len, &c->ids, c->em);
}

int chunk_text_rules(const struct text_rules *rules, const char *title, size_t title_len, const char *text,
                     size_t len, const struct chunk_params *p, struct chunk_span **spans, size_t *n,
                     size_t *title_used, struct err_msg *em)
{
    uint32_t limit = rules->token_limit, want = p ? p->max_tokens : 0, overlap = p ? p->overlap_tokens : 0;
    struct chunker c = {.rules = rules, .title = title ? title : "", .title_len = title ? title_len : 0, .text = text,
                        .len = len, .max_tokens = want ? want : limit, .em = em};
    struct text_input whole = {.text = text, .len = len, .title = title, .title_len = c.title_len, .truncate = true};
    int e;
    c.overlap = overlap == CHUNK_OVERLAP_NONE ? 0 : overlap ? overlap : CHUNK_OVERLAP_DEFAULT;
    if (c.max_tokens < CHUNK_TOKENS_MIN || c.max_tokens > limit)
        return err_set(em, LT_EINVAL, "chunks of %u tokens: from %d to the model's limit of %u are possible",
                       c.max_tokens, CHUNK_TOKENS_MIN, limit);
    if ((e = text_encode_rules(rules, &whole, &c.tokens, em)) < 0)
        goto out;
    if (c.tokens.n_seen <= c.max_tokens || text_is_blank(text, len)) {
        if (c.tokens.n_seen > c.max_tokens && (e = plan(&c)) < 0)
            goto out;
        e = c.title_len || !text_is_blank(text, len)
                ? add_span(&c, 0, len)
                : err_set(em, LT_EEMPTY, "the text is empty, and what fits of the title is blank");
        goto out;
    }
    if ((e = plan(&c)) < 0 || (e = encode_text(&c)) < 0 || (e = find_levels(&c)) < 0)
        goto out;
    e = cut_all(&c);
out:
    free(c.level);
    tokenizer_ids_finish(&c.ids);
    text_tokens_finish(&c.tokens);
    if (e < 0) {
        free(c.spans);
        return e;
    }
    *spans = c.spans;
    *n = c.n_spans;
    if (title_used)
        *title_used = c.title_len;
    return 0;
}
