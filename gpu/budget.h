/* How much work one submission may carry, so that it takes no longer than BUDGET_MAX_NS: learnt from those before.
 *
 * Work is counted in operations, roughly; what matters is that the count grows with the time. A device is slower with some
 * kernels than with others and may be shared, so the budget falls at once where a submission was slow, and grows by small steps.
 * Thread-safety: unsafe. */
#ifndef GPU_BUDGET_H
#define GPU_BUDGET_H

#include <stdint.h>

#define BUDGET_MAX_NS 50000000  /* what a submission must stay below, as well as one can know beforehand */
#define BUDGET_AIM_NS 20000000  /* what it is sized for */
#define BUDGET_START 1e8        /* a few ms on the slowest devices there are */
#define BUDGET_LEAST 1e7

struct budget {
    double work; /* of one submission, at most */
};

static inline void budget_init(struct budget *b)
{
    b->work = BUDGET_START;
}

/* A submission of so much work took so long. */
void budget_learn(struct budget *b, double work, uint64_t ns);

#endif
