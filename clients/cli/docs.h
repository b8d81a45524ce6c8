/* Documents for `latent add`: JSON lines, or text and Markdown files, one at a time. */
#ifndef CLI_DOCS_H
#define CLI_DOCS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define DOCS_LINE_MAX (16u << 20) /* bytes of a JSON line or a file; more is an error of that item */

/* One document; all owned, freed by doc_finish. */
struct doc {
    char *id, *text, *title, *metadata; /* title and metadata: "" where absent */
    size_t text_len;                    /* bytes */
    float *vector;                      /* NULL: to be embedded */
    uint32_t dim;
};
void doc_finish(struct doc *d);

/* Parses {"id","text","title"?,"metadata"?,"vector"?}. The id may be a number. With a vector, text may be absent.
 * Errors: LT_EFORMAT (not JSON, wrong field), LT_EUTF8 with the byte offset, LT_ELIMIT, LT_ENOMEM. */
int doc_parse(struct doc *d, const char *line, size_t len, struct err_msg *em);

/* Reads a whole file: id is the path as given, title a Markdown heading that it begins with, or else the file's name. A byte order mark, which some
 * editors put before a text and which is no part of it, is left out.
 * Errors: LT_EEMPTY: nothing but white space; as doc_parse's, and those of reading a file. */
int doc_from_file(struct doc *d, const char *path, struct err_msg *em);

/* Reads the next line of f into *line (NULL before the first; grown, caller frees at the end), without its newline, and the first
 * without a byte order mark. 1: a line; 0: the end;
 * LT_ELIMIT: longer than DOCS_LINE_MAX, *len of it, not kept in memory (the next call reads the next line); LT_EIO, LT_ENOMEM. */
int docs_line(FILE *f, char **line, size_t *cap, size_t *len);

#endif
