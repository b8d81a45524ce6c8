#include "clients/c/last_words.h"

#include <string.h>

/* "LT_EFORMAT: text" is told with its code. */
static int coded(const char *text, struct err_msg *em)
{
#define X(name, number, retryable, words)                                                                                                \
    if (strncmp(text, "LT_" #name ": ", sizeof "LT_" #name ": " - 1) == 0)                                                               \
        return err_set(em, LT_##name, "%s", text + sizeof "LT_" #name ": " - 1);
    LT_ERRORS(X)
#undef X
    return err_set(em, LT_ECONN, "%s", text);
}

int last_words(char *said, struct err_msg *em)
{
    const char *error = NULL, *usage = NULL, *last = NULL;
    bool served = false;
    char *rest = NULL;
    for (char *line = strtok_r(said, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        const char *at = strstr(line, "Z error "), *text = at ? strstr(at, ": ") : NULL; /* base/log.h has the form */
        error = text ? text + 2 : error;
        usage = strncmp(line, "latentd: ", 9) == 0 ? line + 9 : usage;
        served |= strstr(line, " daemon: ready after ") != NULL;
        last = line;
    }
    if (error)
        return coded(error, em);
    if (usage)
        return err_set(em, LT_EINVAL, "%s", usage);
    return served ? 0 : err_set(em, LT_ECONN, "%s", last ? last : "it ended without a word");
}
