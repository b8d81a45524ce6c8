/* JSON on standard output, one object a line. Thread-safety: unsafe. */
#ifndef CLI_JSON_OUT_H
#define CLI_JSON_OUT_H

#include <jansson.h>
#include <stddef.h>

/* Prints o and a newline, keys in the order they were set, and releases o. NULL (out of memory) is said on stderr. */
void json_out(json_t *o);

/* A JSON string of UTF-8 text; what is no UTF-8 becomes U+FFFD. */
json_t *json_text(const char *s);

/* A document's metadata (a JSON object as text): parsed, or an empty object. */
json_t *json_metadata(const char *s);

/* dim floats with the digits that give the same float back. Written directly, since an embedding has thousands. */
void json_out_vector(const float *v, size_t dim);

#endif
