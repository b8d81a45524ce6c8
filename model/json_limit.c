#include "model/json_limit.h"

int json_limit_check(const char *what, const char *text, size_t len, size_t max_depth, size_t max_values,
                     struct err_msg *em)
{
    size_t depth = 0, values = 1;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            values++;
            if (++depth > max_depth)
                return err_set(em, LT_ELIMIT, "%s: nested deeper than %zu", what, max_depth);
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        } else if (c == ',') {
            values++;
        }
    }
    if (values > max_values)
        return err_set(em, LT_ELIMIT, "%s: more than %zu values", what, max_values);
    return 0;
}
