/* A scanner stands at a word's first character and finds its end. What a pattern tests with a look-ahead, "white space
 * not followed by something else", comes out as: of a run of white space the last character goes with what follows,
 * unless the run is all there is. */
#include "model/tokenizer_words.h"

#include <string.h>

#include "base/utf8.h"
#include "model/unicode_class.h"

struct names {
    const char *name;
    enum words_kind kind;
    bool whole_first;
};

static const struct names known[] = {
    {"default", WORDS_DEFAULT, false},
    {"gpt-2", WORDS_GPT2, false},
    {"phi-2", WORDS_GPT2, false},
    {"jina-es", WORDS_GPT2, false},
    {"jina-de", WORDS_GPT2, false},
    {"jina-v2-es", WORDS_GPT2, false},
    {"jina-v2-de", WORDS_GPT2, false},
    {"modern-bert", WORDS_GPT2, false},
    {"mpt", WORDS_GPT2, false},
    {"olmo", WORDS_GPT2, false},
    {"jais", WORDS_GPT2, false},
    {"a.x-4.0", WORDS_GPT2, false},
    {"gigachat", WORDS_GPT2, false},
    {"mellum", WORDS_GPT2, false},
    {"trillion", WORDS_GPT2, false},
    {"smollm", WORDS_SMOLLM, false},
    {"starcoder", WORDS_SMOLLM, false},
    {"refact", WORDS_SMOLLM, false},
    {"command-r", WORDS_SMOLLM, false},
    {"codeshell", WORDS_SMOLLM, false},
    {"exaone", WORDS_SMOLLM, false},
    {"minerva-7b", WORDS_SMOLLM, false},
    {"llama3", WORDS_LLAMA3, true},
    {"llama-v3", WORDS_LLAMA3, true},
    {"llama-bpe", WORDS_LLAMA3, true},
    {"falcon3", WORDS_LLAMA3, true},
    {"falcon-h1", WORDS_LLAMA3, true},
    {"pixtral", WORDS_LLAMA3, true},
    {"midm-2.0", WORDS_LLAMA3, true},
    {"lfm2", WORDS_LLAMA3, true},
    {"jina-v5-nano", WORDS_LLAMA3, true},
    {"dbrx", WORDS_LLAMA3, false},
    {"smaug-bpe", WORDS_LLAMA3, false},
    {"qwen2", WORDS_QWEN2, false},
    {"deepseek-r1-qwen", WORDS_QWEN2, false},
    {"stablelm2", WORDS_QWEN2, false},
    {"megrez", WORDS_QWEN2, false},
    {"kormo", WORDS_QWEN2, false},
    {"f2llmv2", WORDS_QWEN2, false},
    {"gemma4", WORDS_LINES, false},
    {"granite-embed-multi-311m", WORDS_LINES, false}, /* what the converter takes Gemma 3's for without a tokenizer.model */
};

static const struct names *find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == len && !memcmp(known[i].name, name, len))
            return &known[i];
    return NULL;
}

enum words_kind words_kind_find(const char *name, size_t len)
{
    const struct names *n = find(name, len);
    return n ? n->kind : WORDS_NONE;
}

bool words_whole_first(const char *name, size_t len)
{
    const struct names *n = find(name, len);
    return n && n->whole_first;
}

/* The character at `at`; past the end its kind is END. */
#define END ((enum unicode_class)99)
struct cursor {
    const char *text;
    uint32_t end;
    uint32_t at, next; /* of the current character, and behind it */
    uint32_t cp;
    enum unicode_class kind;
};

static void look(struct cursor *c, uint32_t at)
{
    c->at = c->next = at;
    c->cp = 0;
    c->kind = END;
    if (at >= c->end)
        return;
    c->next = at + (uint32_t)utf8_decode(c->text + at, c->end - at, &c->cp);
    c->kind = unicode_class(c->cp);
}

static struct cursor cursor_at(const char *text, uint32_t at, uint32_t end)
{
    struct cursor c = {.text = text, .end = end};
    look(&c, at);
    return c;
}

/* Past as many characters of one kind as there are. */
static uint32_t skip(struct cursor *c, enum unicode_class kind)
{
    while (c->kind == kind)
        look(c, c->next);
    return c->at;
}

/* Neither white space nor letter nor number. */
static bool is_sign(const struct cursor *c)
{
    return c->kind == UNICODE_OTHER || c->kind == UNICODE_PUNCT;
}

static uint32_t skip_signs(struct cursor *c)
{
    while (is_sign(c))
        look(c, c->next);
    return c->at;
}

/* Bytes of the contraction at `at` ('s 't 'm 'd 're 've 'll), or 0. */
static uint32_t contraction(const char *s, uint32_t left, bool any_case)
{
    if (left < 2 || s[0] != '\'')
        return 0;
    const char a = any_case ? (char)(s[1] | 0x20) : s[1], b = left < 3 ? 0 : any_case ? (char)(s[2] | 0x20) : s[2];
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* A run of white space that no other rule takes, from c on. */
static uint32_t end_of_space(struct cursor c)
{
    uint32_t first = c.at, last = c.at;
    while (c.kind == UNICODE_SPACE) {
        last = c.at;
        look(&c, c.next);
    }
    return c.kind != END && last > first ? last : c.at;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static uint32_t end_of_gpt2(const char *text, uint32_t at, uint32_t end)
{
    uint32_t n = contraction(text + at, end - at, false);
    if (n)
        return at + n;
    struct cursor c = cursor_at(text, at, end), word = c;
    if (c.cp == ' ')
        look(&word, c.next);
    if (word.kind == UNICODE_LETTER || word.kind == UNICODE_NUMBER)
        return skip(&word, word.kind);
    return is_sign(&word) ? skip_signs(&word) : end_of_space(c);
}

/* Of a run of white space from c on: behind its last line end; 0: it has none. */
static uint32_t line_ends(struct cursor c)
{
    uint32_t last = 0;
    for (; c.kind == UNICODE_SPACE; look(&c, c.next))
        if (c.cp == '\r' || c.cp == '\n')
            last = c.next;
    return last;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
 * \s+(?!\S)|\s+ */
static uint32_t end_of_llama3(const char *text, uint32_t at, uint32_t end, uint32_t digits)
{
    uint32_t n = contraction(text + at, end - at, true);
    if (n)
        return at + n;
    struct cursor c = cursor_at(text, at, end), word = c;
    if (c.kind == UNICODE_LETTER)
        return skip(&word, UNICODE_LETTER);
    if (c.kind == UNICODE_NUMBER) {
        for (uint32_t i = 0; i < digits && word.kind == UNICODE_NUMBER; i++)
            look(&word, word.next);
        return word.at;
    }
    if (c.cp != '\r' && c.cp != '\n') {
        look(&word, c.next);
        if (word.kind == UNICODE_LETTER)
            return skip(&word, UNICODE_LETTER);
    }
    if (c.cp != ' ')
        word = c;
    if (is_sign(&word)) {
        skip_signs(&word);
        while (word.cp == '\r' || word.cp == '\n')
            look(&word, word.next);
        return word.at;
    }
    n = line_ends(c);
    return n ? n : end_of_space(c);
}

/* ---- patterns that set single runs apart and leave the rest as it is ---- */

static bool is_number(const struct cursor *c)
{
    return c->kind == UNICODE_NUMBER;
}

/* [\p{P}\$\+<=>\^~\|] */
static bool is_default_sign(const struct cursor *c)
{
    return c->kind == UNICODE_PUNCT || (c->kind != END && c->cp && c->cp < 0x80 && strchr("$+<=>^~|", (int)c->cp));
}

static bool is_ascii_digit(const struct cursor *c)
{
    return c->cp >= '0' && c->cp <= '9';
}

struct apart {
    bool (*is)(const struct cursor *c);
    uint32_t least, most; /* characters of one match */
};

/* The next match at or after `at`: [*from, *to); both are `end` when there is none. */
static void find_apart(const struct apart *p, const char *text, uint32_t at, uint32_t end, uint32_t *from, uint32_t *to)
{
    struct cursor c = cursor_at(text, at, end);
    while (c.kind != END) {
        uint32_t n = 0;
        *from = c.at;
        while (n < p->most && p->is(&c)) {
            look(&c, c.next);
            n++;
        }
        *to = c.at;
        if (n >= p->least)
            return;
        if (!n)
            look(&c, c.next);
    }
    *from = *to = end;
}

/* ---- a kind's patterns, one after the other ---- */

enum step_kind { STEP_APART, STEP_GPT2, STEP_LLAMA3 };
struct step {
    enum step_kind kind;
    struct apart apart;
    uint32_t digits;
};

#define STEPS_MAX 4
static const struct {
    uint32_t n;
    struct step step[STEPS_MAX];
} plans[] = {
    [WORDS_NONE] = {0, {{STEP_GPT2, {NULL, 0, 0}, 0}}},
    [WORDS_DEFAULT] = {4,
                       {{STEP_APART, {is_default_sign, 1, UINT32_MAX}, 0},
                        {STEP_GPT2, {NULL, 0, 0}, 0},
                        {STEP_APART, {is_number, 1, UINT32_MAX}, 0},
                        {STEP_APART, {is_ascii_digit, 3, 3}, 0}}},
    [WORDS_GPT2] = {1, {{STEP_GPT2, {NULL, 0, 0}, 0}}},
    [WORDS_SMOLLM] = {2, {{STEP_APART, {is_number, 1, 1}, 0}, {STEP_GPT2, {NULL, 0, 0}, 0}}},
    [WORDS_LLAMA3] = {1, {{STEP_LLAMA3, {NULL, 0, 0}, 3}}},
    [WORDS_QWEN2] = {1, {{STEP_LLAMA3, {NULL, 0, 0}, 1}}},
    [WORDS_LINES] = {0, {{STEP_GPT2, {NULL, 0, 0}, 0}}}, /* the tokeniser's own: see tokenizer_gguf.c */
};

struct split {
    enum words_kind kind;
    const char *text;
    int (*word)(void *arg, uint32_t from, uint32_t to);
    void *arg;
};

static int split(const struct split *s, uint32_t i, uint32_t at, uint32_t end)
{
    int r = 0;
    if (i >= STEPS_MAX || i >= plans[s->kind].n)
        return at < end ? s->word(s->arg, at, end) : 0;
    const struct step *step = &plans[s->kind].step[i];
    while (at < end && r == 0) {
        uint32_t from = at, to;
        if (step->kind == STEP_APART)
            find_apart(&step->apart, s->text, at, end, &from, &to);
        else if (step->kind == STEP_GPT2)
            to = end_of_gpt2(s->text, at, end);
        else
            to = end_of_llama3(s->text, at, end, step->digits);
        if (from > at)
            r = split(s, i + 1, at, from);
        if (r == 0 && to > from)
            r = split(s, i + 1, from, to);
        at = to;
    }
    return r;
}

int words_split(enum words_kind kind, const char *text, uint32_t from, uint32_t to,
                int (*word)(void *arg, uint32_t from, uint32_t to), void *arg)
{
    const struct split s = {kind, text, word, arg};
    return split(&s, 0, from, to);
}
