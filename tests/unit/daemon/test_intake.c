/* Room for frames under way: never more than there is but for one alone, first come first served, and nobody keeps it from others for nothing. */
#include "tests/unit.h"

#include "daemon/intake.h"

enum { N = 12 };

static void test_order(void **state)
{
    struct intake in = {.limit = 100};
    struct intake_place p[4] = {{0}};
    assert_true(intake_enter(&in, &p[0], 60, 1));
    assert_false(intake_enter(&in, &p[1], 50, 1)); /* no room */
    assert_false(intake_enter(&in, &p[2], 10, 1)); /* there would be, but it came later */
    assert_true(p[1].waits && p[2].waits && !p[0].waits);
    assert_null(intake_next(&in, 2));
    intake_leave(&in, &p[0]);
    assert_ptr_equal(intake_next(&in, 2), &p[1]);
    assert_ptr_equal(intake_next(&in, 2), &p[2]);
    assert_null(intake_next(&in, 2));
    assert_int_equal(in.taken, 60);
    assert_true(intake_enter(&in, &p[3], 40, 3));
    intake_leave(&in, &p[0]); /* it has none */
    assert_int_equal(in.taken, 100);
    for (int i = 1; i < 4; i++)
        intake_leave(&in, &p[i]);
    assert_true(in.taken == 0 && !in.holders && !in.waiters);
}

/* One that stops waiting is in nobody's way. */
static void test_given_up(void **state)
{
    struct intake in = {.limit = 100};
    struct intake_place p[3] = {{0}};
    assert_true(intake_enter(&in, &p[0], 90, 1));
    assert_false(intake_enter(&in, &p[1], 20, 1));
    assert_false(intake_enter(&in, &p[2], 5, 1));
    intake_leave(&in, &p[1]);
    assert_ptr_equal(intake_next(&in, 1), &p[2]);
    assert_int_equal(in.taken, 95);
}

static void test_one_alone(void **state)
{
    struct intake in = {.limit = 100};
    struct intake_place p[3] = {{0}};
    assert_true(intake_enter(&in, &p[0], 1000, 1));
    assert_false(intake_enter(&in, &p[1], 1, 1));
    in.limit = 5000; /* it has grown */
    assert_ptr_equal(intake_next(&in, 1), &p[1]);
    in.limit = 10;
    assert_false(intake_enter(&in, &p[2], 1, 1));
    intake_leave(&in, &p[1]);
    assert_null(intake_next(&in, 1));
    intake_leave(&in, &p[0]);
    assert_ptr_equal(intake_next(&in, 1), &p[2]);
}

static void test_late(void **state)
{
    struct intake in = {.limit = 100 << 20};
    struct intake_place p[3] = {{0}};
    assert_true(intake_enter(&in, &p[0], 60 << 20, 1000));
    assert_true(intake_enter(&in, &p[1], 30 << 20, 2000));
    assert_null(intake_late(&in, 1000000000)); /* nobody waits */
    assert_false(intake_enter(&in, &p[2], 30 << 20, 3000));
    assert_null(intake_late(&in, 1000 + INTAKE_PATIENCE_MS));
    assert_ptr_equal(intake_late(&in, 1001 + INTAKE_PATIENCE_MS), &p[0]);
    p[0].got = 1000 * INTAKE_BYTES_PER_MS; /* slow, but it comes */
    assert_null(intake_late(&in, 2000 + INTAKE_PATIENCE_MS));
    assert_ptr_equal(intake_late(&in, 2001 + INTAKE_PATIENCE_MS), &p[1]);
    intake_leave(&in, &p[1]);
    assert_ptr_equal(intake_next(&in, 50000), &p[2]);
    assert_null(intake_late(&in, 1000000000));
}

/* Clients at random: the sum is what its holders have, and within the limit unless one has all of it; and all get in in the end. */
static void test_random(void **state)
{
    struct intake in = {.limit = 1000};
    struct intake_place p[N] = {{0}};
    uint64_t seed = unit_seed();
    unsigned n_in = 0, n_asked = 0;
    for (int step = 0; step < 20000; step++) {
        struct intake_place *one = &p[unit_rand(&seed) % N];
        if (one->bytes) {
            n_asked -= one->waits;
            intake_leave(&in, one);
        } else {
            const bool got = intake_enter(&in, one, 1 + unit_rand(&seed) % 1500, (uint64_t)step);
            n_in += got;
            n_asked += !got;
        }
        for (struct intake_place *next; (next = intake_next(&in, (uint64_t)step)); n_in++)
            n_asked--;
        size_t sum = 0, holders = 0, waiters = 0;
        for (int i = 0; i < N; i++) {
            sum += p[i].waits ? 0 : p[i].bytes;
            holders += p[i].bytes && !p[i].waits;
            waiters += p[i].waits;
        }
        assert_int_equal(sum, in.taken);
        assert_true(sum <= in.limit || holders == 1);
        assert_int_equal(waiters, n_asked);
        assert_true(holders || !waiters);
    }
    assert_true(n_in > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_given_up), cmocka_unit_test(test_one_alone),
                                       cmocka_unit_test(test_late), cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
