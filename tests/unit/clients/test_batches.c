/* Batches of a daemon that refuses them for now: they are sent again for as long as the message says, however long each answer takes. The
 * daemon and the time are made up here. */
#include "tests/unit.h"

#include <time.h>

#include "clients/cli/batches.h"

static uint64_t now_ns, answer_ns; /* an answer takes so long */
static unsigned n_sent;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_nanosleep(const struct timespec *t, struct timespec *left);
int __wrap_latent_add_begin(struct latent *c, const struct latent_add *add, uint64_t *id);
int __wrap_latent_add_finish(struct latent *c, uint64_t id, struct latent_add_result **out);
bool __wrap_latent_is_connected(const struct latent *c);
bool __wrap_latent_error_retryable(const struct latent *c);
const char *__wrap_latent_error(const struct latent *c);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    *ts = (struct timespec){.tv_sec = (time_t)(now_ns / 1000000000), .tv_nsec = (long)(now_ns % 1000000000)};
    return 0;
}

int __wrap_nanosleep(const struct timespec *t, struct timespec *left)
{
    now_ns += (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec;
    return 0;
}

int __wrap_latent_add_begin(struct latent *c, const struct latent_add *add, uint64_t *id)
{
    *id = ++n_sent;
    return 0;
}

int __wrap_latent_add_finish(struct latent *c, uint64_t id, struct latent_add_result **out)
{
    now_ns += answer_ns;
    return LATENT_ENOSPC;
}

bool __wrap_latent_is_connected(const struct latent *c)
{
    return true;
}

bool __wrap_latent_error_retryable(const struct latent *c)
{
    return true;
}

const char *__wrap_latent_error(const struct latent *c)
{
    return "no room";
}

static void test_tries(void **state)
{
    static const uint64_t answers_ns[] = {0, 5000000, 500000000, 3000000000u, 300000000000u};
    for (size_t i = 0; i < sizeof answers_ns / sizeof *answers_ns; i++) {
        struct batches b = {.collection = "c"};
        struct doc d;
        struct err_msg em;
        static const char line[] = "{\"id\":\"a\",\"text\":\"text\"}";
        now_ns = 1000000000;
        answer_ns = answers_ns[i];
        n_sent = 0;
        assert_int_equal(doc_parse(&d, line, sizeof line - 1, &em), 0);
        assert_int_equal(batches_add(&b, &d, "stdin:1", sizeof line), 0);
        assert_int_equal(batches_finish(&b), LATENT_ENOSPC);
        batches_destroy(&b);
        const uint64_t took_ns = now_ns - 1000000000 - answer_ns; /* since it was said */
        assert_true(took_ns >= 60000000000u);
        assert_true(took_ns <= 60000000000u + 100000000 + answer_ns); /* the last one began in time */
        assert_true(n_sent >= 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
