/* The pre-tokenisers of byte-level vocabularies: a text is cut into words before any merge, and no merge crosses a cut.
 *
 * Each is known by the name that llama.cpp's converter writes to `tokenizer.ggml.pre`. Their published patterns are
 * regular expressions; here they are scanners, one pass and no backtracking. Where a name has several patterns, each cuts
 * the pieces that the one before it left.
 * Thread-safety: safe. */
#ifndef MODEL_TOKENIZER_WORDS_H
#define MODEL_TOKENIZER_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum words_kind {
    WORDS_NONE,    /* a text is one word */
    WORDS_DEFAULT, /* "default", and files that name none */
    WORDS_GPT2,    /* "gpt-2" and those alike */
    WORDS_SMOLLM,  /* "smollm" and those alike: GPT-2's after every digit is set apart */
    WORDS_LLAMA3,  /* "llama-bpe" and those alike: digits in threes, white space with what follows */
    WORDS_QWEN2,   /* "qwen2" and those alike: as Llama 3's with single digits */
    WORDS_LINES,   /* "gemma4" and those alike: not byte-level, only runs of line ends are set apart */
};

/* WORDS_NONE for a name that is not known. */
enum words_kind words_kind_find(const char *name, size_t len);
/* Whether a vocabulary of this kind takes a word that is a piece as it is, whatever the merges say. BOS goes before a text of
 * such a kind, where the file does not say. */
bool words_whole_first(const char *name, size_t len);

/* Calls word with each word's bytes [from, to), in order and without gaps, until it returns something else than 0;
 * returns that. text is valid UTF-8. */
int words_split(enum words_kind kind, const char *text, uint32_t from, uint32_t to,
                int (*word)(void *arg, uint32_t from, uint32_t to), void *arg);

#endif
