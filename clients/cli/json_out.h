/* JSON on standard output, one object a line. Thread-safety: unsafe. */
#ifndef CLI_JSON_OUT_H
#define CLI_JSON_OUT_H

#include <jansson.h>
#include <stddef.h>

/* Prints o and a newline, keys in the order they were set and real numbers with the digits of a float, and releases o. What fails,
 * and o NULL (out of memory), is kept for json_out_failure. */
void json_out(json_t *o);

/* Prints n bytes as they are, a part of a line. Failures as above. */
void json_out_bytes(const char *s, size_t n);

/* As json_out, followed by a document's metadata (a JSON object as text; "": an empty one) as the key "metadata", none of whose digits
 * is lost. */
void json_out_document(json_t *o, const char *metadata);

/* Why something could not be printed, for main to say once: an errno, ENOMEM, or 0. A loop that would go on for long ends when it is
 * not 0. */
int json_out_failure(void);

/* o on one line, its real numbers with as many digits as give the same ones back: 0.1 stays 0.1. Free it; NULL: out of memory. */
char *json_exact(const json_t *o);

/* A JSON string of UTF-8 text; what is no UTF-8 becomes U+FFFD. */
json_t *json_text(const char *s);

/* dim floats with the digits that give the same float back. Written directly, since an embedding has thousands. */
void json_out_vector(const float *v, size_t dim);

#endif
