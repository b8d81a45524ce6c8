/* The tokeniser's insides, shared by its files: tokenizer_json.c and tokenizer_gguf.c read them, tokenizer_normal.c,
 * tokenizer_words.c and tokenizer_bpe.c run them, tokenizer.c owns and joins them. */
#ifndef MODEL_TOKENIZER_IMPL_H
#define MODEL_TOKENIZER_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/tokenizer.h"
#include "model/tokenizer_words.h"

/* ---- vocabulary ---- */

/* Strings to ids, open addressing; the strings are borrowed. */
struct piece_slot {
    const char *s; /* NULL: free */
    uint32_t len;
    int32_t id;
};
struct piece_map {
    struct piece_slot *slots;
    uint32_t n_slots; /* a power of two, at least twice the pieces */
};
int piece_map_init(struct piece_map *m, size_t n_pieces);
/* False when the piece is there already. */
bool piece_map_put(struct piece_map *m, const char *s, uint32_t len, int32_t id);
int32_t piece_map_find(const struct piece_map *m, const char *s, size_t len);

/* Code points to the ids of one-character pieces: pages of 256, page 0 all -1. */
struct char_map {
    uint16_t page_of[0x1100];
    int32_t (*pages)[256];
    uint32_t n_pages, cap;
};
int char_map_init(struct char_map *m);
int char_map_put(struct char_map *m, uint32_t cp, int32_t id);
static inline int32_t char_map_find(const struct char_map *m, uint32_t cp)
{
    return m->pages[m->page_of[cp >> 8]][cp & 0xFF];
}

/* ---- merges ---- */

/* A pair of ids to its rank and the id it becomes, open addressing. */
struct merge_slot {
    uint64_t key; /* left << 32 | right; MERGE_FREE: free */
    uint32_t rank;
    int32_t id;
};
#define MERGE_FREE UINT64_MAX
#define MERGE_NONE UINT32_MAX
struct merge_map {
    struct merge_slot *slots;
    uint32_t mask, shift;
};
int merge_map_init(struct merge_map *m, size_t n_merges);
void merge_map_put(struct merge_map *m, int32_t left, int32_t right, uint32_t rank, int32_t id);

static inline const struct merge_slot *merge_map_find(const struct merge_map *m, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint32_t i = (uint32_t)(key * 0x9E3779B97F4A7C15u >> m->shift);
    while (m->slots[i].key != key) {
        if (m->slots[i].key == MERGE_FREE)
            return NULL;
        i = (i + 1) & m->mask;
    }
    return &m->slots[i];
}

/* Classes of characters for the table of joins: first or last byte of their UTF-8, and one of its own for
 * U+2581, whose first byte it would otherwise share with quotation marks and dashes. 0xFF occurs in no UTF-8. */
#define JOIN_SPACE_MARK 0x2581
#define JOIN_CLASS_MARK 0xFF

/* ---- normaliser ---- */

enum norm_kind {
    NORM_LOWERCASE,
    NORM_PREPEND, /* once, before a segment that is not empty */
    NORM_REPLACE, /* one character by some */
};
#define NORM_STEPS_MAX 8
#define NORM_CONTENT_MAX 8 /* code points */
#define NORM_EXPAND_MAX 64 /* code points that one character, or the prefix, may become */
struct norm_step {
    enum norm_kind kind;
    uint32_t pattern;
    uint32_t content[NORM_CONTENT_MAX];
    uint32_t n_content;
};
struct norm {
    struct norm_step steps[NORM_STEPS_MAX];
    uint32_t n_steps;
    uint32_t prefix[NORM_EXPAND_MAX]; /* what stands before every segment, already normalised */
    uint32_t n_prefix;
    uint32_t ascii[128]; /* the one code point an ASCII character becomes; NORM_MANY: look it up */
};
#define NORM_MANY UINT32_MAX
/* Derives prefix and ascii from the steps. LT_EUNSUPPORTED when they would expand too much. */
int norm_prepare(struct norm *n, struct err_msg *em);
/* Writes what cp becomes; at most NORM_EXPAND_MAX code points. */
uint32_t norm_expand(const struct norm *n, uint32_t cp, uint32_t out[static NORM_EXPAND_MAX]);

/* ---- the whole ---- */

#define LINES_MAX 64 /* Gemma has pieces of up to 31 */

struct added_token {
    const char *s;
    uint32_t len;
    int32_t id;
    bool control; /* stands for no text of its own */
};

struct tokenizer {
    struct tokenizer_info info;
    char *arena;       /* the pieces' bytes */
    char *added_arena; /* the added tokens', where they are not in arena; NULL: they are */
    struct piece_map pieces;
    struct char_map chars;
    int32_t byte_id[256]; /* -1: not in the vocabulary */
    enum words_kind words; /* WORDS_NONE: characters are merged, else bytes, word by word */
    /* Ids from n_pieces on stand for characters that are no pieces but that merges start from; stand_in[i] is the
     * character of id n_pieces + i. */
    int32_t n_pieces;
    uint32_t *stand_in;
    uint32_t n_stand_in;
    bool byte_fallback, fuse_unk, ignore_merges;
    /* Where a run of so many line ends is a piece it is that one, whatever the merges say: lines[n - 1], -1 none; n_lines 0: no such rule */
    int32_t lines[LINES_MAX];
    uint32_t n_lines;
    struct merge_map merges;
    struct norm norm;
    /* joins[a] bit b: some merge has a left piece that ends in class a and a right one that starts in b.
     * Where the bit is clear no merge can cross, so the text is cut there and each cut merged alone. */
    uint32_t joins[256][8];
    struct added_token *added; /* by first byte, then longest first */
    uint32_t n_added;
    uint16_t added_at[257]; /* added[added_at[b]] … are those that start with byte b */
    int added_lead;         /* the one first byte they share; -1: several; -2: there are none */
};

static inline bool tokenizer_joins(const struct tokenizer *t, uint8_t a, uint8_t b)
{
    return t->joins[a][b >> 5] >> (b & 31) & 1;
}

/* An empty one; tokenizer_destroy frees it. NULL without memory. */
struct tokenizer *tokenizer_alloc(void);
/* Sorts added[0 … n_added) and fills in what finds them. */
void tokenizer_index_added(struct tokenizer *t);
/* The byte that a piece <0x00> … <0xFF> stands for, or -1. */
int tokenizer_byte_of_piece(const char *s, size_t len);
/* A merge joins these two pieces: their touching ends go to joins. */
void tokenizer_note_join(struct tokenizer *t, const char *left, size_t n_left, const char *right, size_t n_right);

int tokenizer_read_json(struct tokenizer *t, const char *json, size_t len, struct err_msg *em);

/* ---- BPE on one stretch ---- */

/* Symbols of a stretch of text that merges cannot leave. A zeroed struct is empty. */
struct bpe_word {
    int32_t *ids;
    uint32_t *starts;
    uint32_t n, cap;
    /* room for the long form, grown on use */
    uint32_t *prev, *next, *rank;
    uint64_t *heap;
    uint32_t long_cap, heap_n, heap_cap;
};
void bpe_word_finish(struct bpe_word *w);
int bpe_word_reserve(struct bpe_word *w, uint32_t more);
/* Merges the symbols in place. LT_ENOMEM. */
int bpe_merge(const struct merge_map *m, struct bpe_word *w);

#endif
