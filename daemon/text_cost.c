#include "daemon/text_cost.h"

#include "daemon/request.h"

/* Most is taken while the longest text is cut into tokens and words: 6 times its bytes where those are words, 12 where each byte becomes a
 * token. What no white space divides may be a single word to a tokenizer whose merges cross everything else in it: a text of 15 MiB of one
 * letter took 36 times its bytes. */
#define LONGEST_TIMES 12
#define WORD_TIMES 32
/* Shorter words weigh nothing. */
#define WORD_LEAST (4u << 10)

/* Bytes of the longest word, 0 where all are shorter than WORD_LEAST. Only every so-manieth byte is looked at, and those before it up to
 * white space, since this runs in the loop. */
static size_t longest_word(const char *s, size_t len)
{
    size_t longest = WORD_LEAST - 1, from = 0;
    while (len - from > longest) {
        size_t i = from + longest + 1;
        while (i > from && (unsigned char)s[i - 1] > ' ')
            i--;
        if (i > from) { /* the word of `from` is no longer one */
            from = i;
            continue;
        }
        for (i = from + longest + 1; i < len && (unsigned char)s[i] > ' '; i++)
            continue;
        longest = i - from;
        from = i;
    }
    return longest < WORD_LEAST ? 0 : longest;
}

void text_cost_take(struct text_cost *c, const char *text, size_t len)
{
    const size_t word = longest_word(text, len);
    c->longest = len > c->longest ? len : c->longest;
    c->word = word > c->word ? word : c->word;
}

int text_cost_charge(const struct text_cost *c, struct request *rq, const char *what, struct err_msg *em)
{
    const uint64_t limit = rq->core->memory.request_bytes;
    const size_t bytes = c->copies + c->longest * LONGEST_TIMES + c->word * WORD_TIMES;
    if (bytes > 2 * limit)
        return err_set(em, LT_ELIMIT, "a text of %zu bytes takes, with what comes with it, about %zu MiB to %s: the memory limit leaves %llu", c->longest,
                       bytes >> 20, what, (unsigned long long)limit >> 19);
    return request_charge(rq, bytes) ? 0 : err_set(em, LT_EBUSY, "too much is in work already");
}
