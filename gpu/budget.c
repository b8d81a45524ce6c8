#include "gpu/budget.h"

void budget_learn(struct budget *b, double work, uint64_t ns)
{
    if (!(work > 0) || !ns)
        return;
    double fits = work * BUDGET_AIM_NS / (double)ns;
    if (ns > BUDGET_AIM_NS) {
        /* One outlier, a driver that compiles a kernel for example, costs no more than three steps back up. */
        if (fits < b->work / 8)
            fits = b->work / 8;
        if (fits < b->work)
            b->work = fits;
    } else if (work > b->work / 2 && fits > b->work) {
        /* Only a submission that was about full says that more would do. */
        b->work = fits < 2 * b->work ? fits : 2 * b->work;
    }
    if (b->work < BUDGET_LEAST)
        b->work = BUDGET_LEAST;
}
