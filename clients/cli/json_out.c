#include "clients/cli/json_out.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"

void json_out(json_t *o)
{
    if (!o || json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) < 0)
        fprintf(stderr, "latent: cannot write JSON: out of memory or output closed\n");
    putchar('\n');
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

json_t *json_metadata(const char *s)
{
    json_t *o = s[0] ? json_loads(s, 0, NULL) : NULL;
    return o ? o : json_object();
}

void json_out_vector(const float *v, size_t dim)
{
    putchar('[');
    for (size_t i = 0; i < dim; i++)
        printf(i ? ",%.9g" : "%.9g", (double)v[i]);
    putchar(']');
}
