/* What is made of a probe's findings; no driver is needed. */
#include "tests/unit.h"

#include "gpu/vk.h"

enum { LANES = 32, PLACES = 16 * 16 };

static uint32_t found[LANES * PLACES];

/* As an m16n8k16 instruction's second matrix, two of which are beside each other: written out, not computed as the code under test does. */
static void fill(void)
{
    static const uint32_t k[8] = {0, 1, 8, 9, 0, 1, 8, 9}, columns[8] = {0, 0, 0, 0, 8, 8, 8, 8};
    memset(found, 0xff, sizeof found); /* what an invocation does not hold is not looked at */
    for (uint32_t t = 0; t < LANES; t++)
        for (uint32_t i = 0; i < 8; i++)
            found[t * PLACES + i] = (t / 4 + columns[i]) * 16 + t % 4 * 2 + k[i];
}

static void places_of_a_right_matrix_are_recognised(void **state)
{
    const struct gpu_coop c = {16, 16, 16, 32, true, 4};
    fill();
    assert_true(probe_placed(&c, found));
    for (uint32_t t = 0; t < LANES; t++) {
        for (uint32_t i = 0; i < 8; i++) {
            const uint32_t was = found[t * PLACES + i];
            found[t * PLACES + i] = was ^ 1;
            assert_false(probe_placed(&c, found));
            found[t * PLACES + i] = was;
        }
    }
    assert_true(probe_placed(&c, found));
    /* two invocations change places; values of one do; nothing is held */
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t a = found[i];
        found[i] = found[PLACES + i], found[PLACES + i] = a;
    }
    assert_false(probe_placed(&c, found));
    fill();
    found[2] = 1 * 16, found[4] = 8;
    assert_false(probe_placed(&c, found));
    memset(found, 0, sizeof found);
    assert_false(probe_placed(&c, found));
}

static void other_matrices_are_left_alone(void **state)
{
    static const struct gpu_coop others[] = {{16, 16, 16, 64, true, 4}, {16, 8, 16, 32, true, 4},  {16, 16, 8, 32, true, 4}, {8, 16, 16, 32, true, 4},
                                             {16, 16, 16, 32, true, 0}, {16, 16, 16, 32, true, 2}, {0}};
    fill();
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(probe_placed(&others[i], found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(places_of_a_right_matrix_are_recognised), cmocka_unit_test(other_matrices_are_left_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
