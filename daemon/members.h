/* Who belongs to a group by the accounts. These may be asked of a server far away, which may be slow or gone: a thread of its own asks, and
 * nobody waits for the answer but who needs it.
 * Thread-safety: unsafe, loop thread. */
#ifndef DAEMON_MEMBERS_H
#define DAEMON_MEMBERS_H

#include <uv.h>

#include "base/err.h"

/* The asker's, until done. */
struct member_question {
    unsigned uid, gid;
    bool is_member; /* the answer */
    void (*done)(struct member_question *q); /* from the loop */
    struct member_question *next;
};

struct members;

/* The thread starts with the first question. */
int members_create(struct members **m, uv_loop_t *loop, struct err_msg *em);

/* Never blocks, never fails: where there can be no thread the answer is no. */
void members_ask(struct members *m, struct member_question *q);

/* Takes an open question back: it is the asker's again, and done is not called. */
void members_withdraw(struct members *m, struct member_question *q);

/* No question is open. The loop must run once more before members_destroy, which waits for no server either. */
void members_close(struct members *m);
void members_destroy(struct members **m);

#endif
