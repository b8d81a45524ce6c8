/* Filters: conditions on a document's metadata.
 *
 *   filter  = or
 *   or      = and { "or" and }
 *   and     = not { "and" not }
 *   not     = "not" not | "(" or ")" | test
 *   test    = field op literal
 *           | field [ "not" ] "in" "(" literal { "," literal } ")"      brackets [ ] do as well
 *           | field [ "not" ] "startswith" text
 *           | "exists" field | field "exists"
 *           | field                                                      the field is true
 *   op      = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
 *   field   = name { "." name }          nested objects; name = [A-Za-z_][A-Za-z0-9_-]*
 *           | '`' any characters '`'     one key of the top level, as it is
 *   literal = text | number | true | false | null
 *   text    = "'" … "'" | '"' … '"'      the quote itself is doubled, or \ before it
 *
 * Keywords in any case; && || ! do as well as and, or, not.
 *
 * Meaning. A field that is an array matches where one of its elements does (so `tags = 'a'` finds ["a","b"]).
 * Numbers compare as numbers: whole ones of 64 bits exactly, others as the double nearest to what is written, so that 19.99 is
 * 19.989999999999998. Texts (and dates written as 2024-05-31) compare by bytes, false before true; values of different types are never equal
 * and neither is before the other, so both `<` and `>` are false. `=` on an absent field is false, hence
 * `!=` (exactly `not =`) is true. null equals only null; an absent field is not null. `exists`: present, null too.
 *
 * Limits: FILTER_LEN_MAX bytes, FILTER_DEPTH_MAX nested parentheses and nots, FILTER_NODES_MAX tests and literals.
 */
#ifndef INDEX_FILTER_H
#define INDEX_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define FILTER_LEN_MAX 16384u
#define FILTER_DEPTH_MAX 64u
#define FILTER_NODES_MAX 4096u

/* Thread-safety: safe once parsed. */
struct filter;

/* Errors: LT_EFORMAT (em: what was expected, at which byte), LT_ELIMIT, LT_EUTF8, LT_EEMPTY, LT_ENOMEM. */
int filter_parse(struct filter **f, const char *expr, size_t len, struct err_msg *em);
void filter_destroy(struct filter **f);

/* Does a document with this metadata (a JSON object; len 0: none) pass? Bytes that are not JSON are
 * read as far as they go, never beyond, and give false for what cannot be read. */
bool filter_match(const struct filter *f, const char *metadata, size_t len);

#endif
