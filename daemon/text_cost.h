/* What texts take while they are tokenised, besides the message that they came in: counted before it is taken.
 * Thread-safety: unsafe. */
#ifndef DAEMON_TEXT_COST_H
#define DAEMON_TEXT_COST_H

#include <stddef.h>

#include "base/err.h"

struct request;

/* Of all texts of a request, which are tokenised one after the other. Zeroed: none yet. */
struct text_cost {
    size_t longest, word; /* bytes: of the longest text, of the longest word */
    size_t copies;        /* bytes that are taken besides */
};

/* Another text. Cheap enough for the loop: most bytes are not looked at. */
void text_cost_take(struct text_cost *c, const char *text, size_t len);

/* Counts it with the request until that is freed; whoever owns it. `what` is to be done with the texts, in one word.
 * Errors: LT_ELIMIT: it is more than the memory limit leaves for requests; LT_EBUSY: too much is in work for that. */
int text_cost_charge(const struct text_cost *c, struct request *rq, const char *what, struct err_msg *em);

#endif
