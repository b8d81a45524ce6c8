/* As much of cmocka as the kernels' tests use, for builds where no library of that architecture is at hand. */
#ifndef TESTS_TOOLS_AARCH64_CMOCKA_H
#define TESTS_TOOLS_AARCH64_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define check_or_exit(ok, what) \
    ((ok) ? (void)0 : (printf("%s:%d: %s\n", __FILE__, __LINE__, what), exit(1)))
#define assert_true(x) check_or_exit((x), #x)
#define assert_int_equal(a, b) check_or_exit((a) == (b), #a " == " #b)
#define assert_string_equal(a, b) check_or_exit(strcmp(a, b) == 0, #a " == " #b)
#define print_message printf

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};
#define cmocka_unit_test(f) {#f, f}

static inline int run_group(const struct CMUnitTest *tests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        void *state = NULL;
        tests[i].run(&state);
        printf("%s passed\n", tests[i].name);
    }
    return 0;
}
#define cmocka_run_group_tests(tests, setup, teardown) run_group(tests, sizeof(tests) / sizeof *(tests))

#endif
