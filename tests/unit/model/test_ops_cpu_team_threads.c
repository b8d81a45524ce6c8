/* A team whose members come late or not at all, and meet. */
#include "tests/unit.h"

#include <time.h>

#include "model/ops_cpu_team.h"

enum { MEMBERS = 4, STEPS = 20, PIECES = 7, RUNS = 60 };

struct work {
    struct team *team;
    atomic_uint taken[STEPS], done[STEPS];
    atomic_uint times[STEPS][PIECES]; /* that a piece was done */
    unsigned plain[STEPS];            /* written by one member in a step, read by all in the next */
    atomic_uint wrong, begun;
    uint64_t seed;
};

static void nap(uint64_t us)
{
    nanosleep(&(struct timespec){0, (long)us * 1000}, NULL);
}

static void take(void *arg, unsigned member)
{
    struct work *w = arg;
    uint64_t s = w->seed + member;
    atomic_fetch_add(&w->begun, 1);
    if (unit_rand(&s) % 4 == 0)
        nap(unit_rand(&s) % 200);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned piece;
        if (step && w->plain[step - 1] != step)
            atomic_fetch_add(&w->wrong, 1);
        while ((piece = atomic_fetch_add(&w->taken[step], 1)) < PIECES) {
            if (piece == 0)
                w->plain[step] = step + 1;
            if (unit_rand(&s) % 64 == 0)
                nap(100); /* longer than anybody spins */
            atomic_fetch_add(&w->times[step][piece], 1);
            team_count(w->team, &w->done[step], 1);
        }
        if (!team_wait(w->team, member, &w->done[step], PIECES)) {
            if (member == 0)
                atomic_fetch_add(&w->wrong, 1);
            return;
        }
    }
}

static void test_help(void **state)
{
    uint64_t s = unit_seed();
    struct work *w = calloc(1, sizeof *w);
    struct team *team;
    assert_non_null(w);
    assert_int_equal(team_create(&team, MEMBERS, NULL), 0);
    for (unsigned run = 0; run < RUNS; run++) {
        memset(w, 0, sizeof *w);
        w->team = team;
        w->seed = unit_rand(&s);
        team_help(team, 1 + run % MEMBERS, take, w);
        assert_int_equal(w->wrong, 0);
        assert_in_range(w->begun, 1, 1 + run % MEMBERS);
        for (unsigned step = 0; step < STEPS; step++)
            for (unsigned p = 0; p < PIECES; p++)
                assert_int_equal(w->times[step][p], 1);
    }
    team_destroy(&team);
    free(w);
}

static void meet(void *arg, unsigned member)
{
    struct work *w = arg;
    atomic_fetch_add(&w->begun, 1);
    for (unsigned step = 0; step < STEPS; step++) {
        if (member == step % MEMBERS)
            w->plain[step] = step + 1;
        team_barrier(w->team);
        if (w->plain[step] != step + 1)
            atomic_fetch_add(&w->wrong, 1);
    }
}

/* All come, also after runs that left some out. */
static void test_run(void **state)
{
    struct work *w = calloc(1, sizeof *w);
    assert_non_null(w);
    assert_int_equal(team_create(&w->team, MEMBERS, NULL), 0);
    for (unsigned run = 0; run < RUNS; run++) {
        memset(w->plain, 0, sizeof w->plain);
        memset(w->taken, 0, sizeof w->taken);
        memset(w->done, 0, sizeof w->done);
        w->begun = 0;
        team_run(w->team, MEMBERS, meet, w);
        assert_int_equal(w->begun, MEMBERS);
        assert_int_equal(w->wrong, 0);
        memset(w->plain, 0, sizeof w->plain);
        team_help(w->team, MEMBERS, take, w);
        assert_int_equal(w->wrong, 0);
    }
    team_destroy(&w->team);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_help), cmocka_unit_test(test_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
