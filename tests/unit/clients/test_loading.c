/* liblatent and a daemon that has just been started: which calls wait for it, and which do not. */
#include "tests/unit.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clients/c/latent.h"

/* The daemon, whose clients number their requests from 1: it is loading when it gets the first one, ready when it is asked for its status by the
 * second, and answers the third. */
static const uint8_t hello[16] = {'l', 'a', 't', 'e', 'n', 't', 'd', 0, 1};
static const uint8_t loading[] = {8, 0, 0, 0, 0x08, 1, 0x1A, 4, 0x08, 29, 0x18, 1};
static const uint8_t ready[] = {6, 0, 0, 0, 0x08, 2, 0x52, 2, 0x10, 4};
static const uint8_t added[] = {6, 0, 0, 0, 0x08, 3, 0x7A, 2, 0x18, 1};
static const uint8_t found[] = {5, 0, 0, 0, 0x08, 3, 0x92, 1, 0};

struct daemon {
    int fd;
    const uint8_t *last;
    unsigned n_requests;
};

/* One frame, of which only the length is read. */
static bool take_request(int fd)
{
    uint8_t head[4], body[4096];
    if (recv(fd, head, 4, MSG_WAITALL) != 4)
        return false;
    size_t n = head[0] | (size_t)head[1] << 8;
    return n <= sizeof body && recv(fd, body, n, MSG_WAITALL) == (ssize_t)n;
}

static void *serve(void *arg)
{
    struct daemon *d = arg;
    uint8_t theirs[16];
    int fd = accept(d->fd, NULL, NULL);
    const uint8_t *const answers[] = {loading, ready, d->last};
    if (recv(fd, theirs, 16, MSG_WAITALL) == 16 && send(fd, hello, 16, MSG_NOSIGNAL) == 16)
        while (take_request(fd)) {
            const uint8_t *answer = answers[d->n_requests < 3 ? d->n_requests : 2];
            d->n_requests++;
            (void)!send(fd, answer, 4u + answer[0], MSG_NOSIGNAL);
        }
    close(fd);
    return NULL;
}

static bool wait_on(void *arg, enum latent_phase phase, uint32_t percent)
{
    (*(unsigned *)arg)++;
    return true;
}

static int add(struct latent *c)
{
    struct latent_document d = {.id = "a", .text = "text"};
    struct latent_add_result *r = NULL;
    int code = latent_add(c, &(struct latent_add){.collection = "c", .documents = &d, .n_documents = 1}, &r);
    if (code == 0)
        assert_int_equal(r->accepted, 1);
    latent_free(r);
    return code;
}

static int search(struct latent *c)
{
    struct latent_search_result *r = NULL;
    int code = latent_search(c, &(struct latent_search){.collection = "c", .query = "q"}, &r);
    latent_free(r);
    return code;
}

static int search_begun(struct latent *c)
{
    struct latent_search_result *r = NULL;
    uint64_t id;
    int code = latent_search_begin(c, &(struct latent_search){.collection = "c", .query = "q"}, &id);
    code = code < 0 ? code : latent_search_finish(c, id, &r);
    latent_free(r);
    return code;
}

/* Requests that the daemon got, and what the call gave. */
static unsigned meet(int (*call)(struct latent *c), const uint8_t *last, bool waiting, unsigned *waited, int *code)
{
    char dir[] = "/tmp/latentd-test-XXXXXX";
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct daemon d = {.last = last};
    pthread_t thread;
    assert_non_null(mkdtemp(dir));
    snprintf(a.sun_path, sizeof a.sun_path, "%s/s", dir);
    d.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(d.fd >= 0);
    assert_int_equal(bind(d.fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(d.fd, 1), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, &d), 0);
    struct latent *c = latent_new();
    assert_int_equal(latent_connect_unix(c, a.sun_path), 0);
    *waited = 0;
    if (waiting)
        latent_set_waiting(c, wait_on, waited);
    *code = call(c);
    latent_destroy(&c);
    pthread_join(thread, NULL);
    close(d.fd);
    unlink(a.sun_path);
    rmdir(dir);
    return d.n_requests;
}

static void test_blocking_calls_wait(void **state)
{
    unsigned waited;
    int code;
    assert_int_equal(meet(add, added, true, &waited, &code), 3);
    assert_int_equal(code, 0);
    assert_int_equal(waited, 1);
    assert_int_equal(meet(search, found, true, &waited, &code), 3);
    assert_int_equal(code, 0);
    assert_int_equal(waited, 1);
}

static void test_others_do_not(void **state)
{
    unsigned waited;
    int code;
    assert_int_equal(meet(add, added, false, &waited, &code), 1);
    assert_int_equal(code, LATENT_ELOADING);
    assert_int_equal(meet(search_begun, found, true, &waited, &code), 1);
    assert_int_equal(code, LATENT_ELOADING);
    assert_int_equal(waited, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocking_calls_wait), cmocka_unit_test(test_others_do_not)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
