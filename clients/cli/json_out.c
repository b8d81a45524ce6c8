#include "clients/cli/json_out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"

#define FLOAT_DIGITS JSON_REAL_PRECISION(9)
#define DOUBLE_DIGITS JSON_REAL_PRECISION(17) /* enough for all; most need 15 */
#define MOST_DIGITS JSON_REAL_PRECISION(15)

static int failure;

static void fail(int why)
{
    if (!failure)
        failure = why;
}

int json_out_failure(void)
{
    return failure;
}

void json_out_bytes(const char *s, size_t len)
{
    if (fwrite(s, 1, len, stdout) < len)
        fail(errno);
}

void json_out(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | FLOAT_DIGITS) : NULL;
    if (text) {
        json_out_bytes(text, strlen(text));
        json_out_bytes("\n", 1);
    } else {
        fail(ENOMEM);
    }
    free(text);
    json_decref(o);
}

char *json_exact(const json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT | MOST_DIGITS);
    json_t *back = text ? json_loads(text, 0, NULL) : NULL;
    if (text && (!back || !json_equal((json_t *)o, back))) {
        free(text);
        text = json_dumps(o, JSON_COMPACT | DOUBLE_DIGITS);
    }
    json_decref(back);
    return text;
}

void json_out_document(json_t *o, const char *metadata)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | FLOAT_DIGITS) : NULL;
    json_t *m = metadata[0] ? json_loads(metadata, 0, NULL) : NULL;
    char *exact = m ? json_exact(m) : NULL;
    if (text && (exact || !m)) {
        json_out_bytes(text, strlen(text) - 1); /* but its last brace */
        json_out_bytes(",\"metadata\":", 12);
        json_out_bytes(exact ? exact : "{}", exact ? strlen(exact) : 2);
        json_out_bytes("}\n", 2);
    } else {
        fail(ENOMEM);
    }
    free(exact);
    json_decref(m);
    free(text);
    json_decref(o);
}

json_t *json_text(const char *s)
{
    size_t len = strlen(s), bad = utf8_check(s, len);
    if (bad == UTF8_VALID)
        return json_stringn_nocheck(s, len);
    struct bytes_out b = {0};
    while (bad != UTF8_VALID) {
        bytes_put(&b, s, bad);
        bytes_put_str(&b, "\xEF\xBF\xBD");
        s += bad + 1;
        len -= bad + 1;
        bad = utf8_check(s, len);
    }
    bytes_put(&b, s, len);
    json_t *o = b.bad ? NULL : json_stringn_nocheck((const char *)b.data, b.len);
    bytes_out_finish(&b);
    return o;
}

void json_out_vector(const float *v, size_t dim)
{
    char number[32];
    json_out_bytes("[", 1);
    for (size_t i = 0; i < dim && !failure; i++)
        json_out_bytes(number, (size_t)snprintf(number, sizeof number, i ? ",%.9g" : "%.9g", (double)v[i]));
    json_out_bytes("]", 1);
}
