/* liblatent against a server that misbehaves: clear codes, no call without an end, nothing read out of bounds. */
#include "tests/unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clients/c/latent.h"

#define TIMEOUT_MS 300 /* for calls that nobody answers */
#define PATIENT_MS 60000 /* for the others, on any machine */

static const uint8_t hello[16] = {'l', 'a', 't', 'e', 'n', 't', 'd', 0, 1, 0, 0, 0, 0, 0, 0, 0};

/* What the server says: after the connection is there, and after the first bytes of a request. */
struct script {
    const uint8_t *greeting, *answer;
    size_t n_greeting, n_answer;
    bool stay;   /* keep the connection open until the client goes; otherwise close after the answer */
    bool tricky; /* a byte at a time */
    bool leave;  /* answer without a request, and be gone before the first call */
    int listener;
    bool silent; /* the client waits in vain: not for long then */
};

static void say(int fd, const uint8_t *data, size_t n, bool tricky)
{
    while (n) {
        ssize_t k = send(fd, data, tricky ? 1 : n, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        data += k;
        n -= (size_t)k;
    }
}

static void *serve(void *arg)
{
    const struct script *s = arg;
    uint8_t buf[4096];
    int fd = accept(s->listener, NULL, NULL);
    if (fd < 0)
        return NULL;
    say(fd, s->greeting, s->n_greeting, s->tricky);
    ssize_t n = s->n_answer || s->stay ? recv(fd, buf, sizeof hello, MSG_WAITALL) : 0; /* the client's hello */
    if (n > 0 && s->n_answer && (s->leave || recv(fd, buf, sizeof buf, 0) > 0))
        say(fd, s->answer, s->n_answer, s->tricky);
    while (s->stay && recv(fd, buf, sizeof buf, 0) > 0)
        ;
    close(fd);
    return NULL;
}

struct outcome {
    int connect, call, again;
    bool open; /* after the first call */
    char text[256];
};

/* A server that follows its script, and a client that has tried to connect to it. */
struct visit {
    struct script *s;
    char dir[32], path[64];
    pthread_t server;
    struct latent *c;
    int connect; /* what that gave */
};

static struct sockaddr_un listen_there(struct visit *v, int backlog)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(v->dir, "/tmp/latentd-test-XXXXXX");
    assert_non_null(mkdtemp(v->dir));
    snprintf(v->path, sizeof v->path, "%s/s", v->dir);
    strcpy(a.sun_path, v->path);
    v->s->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(v->s->listener >= 0);
    assert_int_equal(bind(v->s->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(v->s->listener, backlog), 0);
    return a;
}

static void begin(struct visit *v)
{
    listen_there(v, 1);
    assert_int_equal(pthread_create(&v->server, NULL, serve, v->s), 0);
    v->c = latent_new();
    assert_non_null(v->c);
    latent_set_timeout(v->c, v->s->silent && !v->s->n_greeting ? TIMEOUT_MS : PATIENT_MS);
    v->connect = latent_connect_unix(v->c, v->path);
    if (v->s->silent)
        latent_set_timeout(v->c, TIMEOUT_MS);
    if (v->s->leave)
        pthread_join(v->server, NULL);
}

static void end(struct visit *v)
{
    latent_destroy(&v->c);
    if (!v->s->leave)
        pthread_join(v->server, NULL);
    close(v->s->listener);
    unlink(v->path);
    rmdir(v->dir);
}

/* One connection, and two calls of the same kind where it comes to that. */
static struct outcome meet(struct script s)
{
    struct visit v = {.s = &s};
    struct outcome got = {0};
    struct latent_status *status = NULL;
    begin(&v);
    got.connect = v.connect;
    if (got.connect == 0) {
        got.call = latent_status(v.c, &status);
        if (got.call == 0)
            latent_free(status);
        snprintf(got.text, sizeof got.text, "%s", latent_error(v.c));
        got.open = latent_is_connected(v.c);
        latent_set_timeout(v.c, TIMEOUT_MS); /* nobody answers twice */
        got.again = latent_status(v.c, &status);
        if (got.again == 0)
            latent_free(status);
    }
    assert_non_null(latent_error(v.c));
    end(&v);
    return got;
}

static struct outcome answered(const void *answer, size_t n, bool stay)
{
    return meet((struct script){hello, answer, sizeof hello, n, stay, false, false, -1, false});
}

static void test_greetings(void **state)
{
    uint8_t other[16], version[16], flags[16];
    memcpy(other, hello, sizeof other);
    memcpy(version, hello, sizeof version);
    memcpy(flags, hello, sizeof flags);
    other[0] = 'L';
    version[8] = 9;
    flags[15] = 1;
    static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    assert_int_equal(meet((struct script){NULL, NULL, 0, 0, false, false, false, -1, false}).connect, LATENT_ECONN);
    assert_int_equal(meet((struct script){hello, NULL, 7, 0, false, false, false, -1, false}).connect, LATENT_ECONN);
    assert_int_equal(meet((struct script){NULL, NULL, 0, 0, true, false, false, -1, true}).connect, LATENT_ETIMEOUT);
    assert_int_equal(meet((struct script){other, NULL, 16, 0, true, false, false, -1, false}).connect, LATENT_EPROTO);
    assert_int_equal(meet((struct script){(const uint8_t *)http, NULL, sizeof http - 1, 0, true, false, false, -1, false}).connect,
                     LATENT_EPROTO);
    assert_int_equal(meet((struct script){version, NULL, 16, 0, true, false, false, -1, false}).connect, LATENT_EVERSION);
    assert_true(meet((struct script){flags, NULL, 16, 0, true, false, false, -1, false}).connect < 0);
}

static void test_frames(void **state)
{
    static const uint8_t empty[] = {0, 0, 0, 0}, huge[] = {255, 255, 255, 255}, half[] = {100, 0, 0, 0, 8, 1},
                         noise[] = {5, 0, 0, 0, 255, 255, 255, 255, 255}, deep[] = {3, 0, 0, 0, 0x52, 127, 1};
    assert_int_equal(answered(empty, sizeof empty, true).call, LATENT_EPROTO);
    struct outcome o = answered(huge, sizeof huge, true);
    assert_int_equal(o.call, LATENT_EPROTO);
    assert_false(o.open);
    assert_int_equal(o.again, LATENT_ECONN);
    assert_int_equal(answered(half, sizeof half, false).call, LATENT_ECONN);
    assert_int_equal(meet((struct script){hello, half, sizeof hello, sizeof half, true, false, false, -1, true}).call, LATENT_ETIMEOUT);
    assert_int_equal(answered(noise, sizeof noise, true).call, LATENT_EPROTO);
    assert_int_equal(answered(deep, sizeof deep, true).call, LATENT_EPROTO);
}

static void test_answers(void **state)
{
    /* id 1: an empty status reply; then nothing for the second call */
    static const uint8_t good[] = {4, 0, 0, 0, 8, 1, 0x52, 0};
    /* id 7, of which nobody knows; then id 1 */
    static const uint8_t stray[] = {4, 0, 0, 0, 8, 7, 0x52, 0, 4, 0, 0, 0, 8, 1, 0x52, 0};
    /* id 1, but a get reply; id 1 without a body */
    static const uint8_t other_kind[] = {5, 0, 0, 0, 8, 1, 0x82, 1, 0}, bare[] = {2, 0, 0, 0, 8, 1};
    /* id 1, error {code 4, "no", retryable}; error with a code that no list has; id 0: the connection itself */
    static const uint8_t refused[] = {12, 0, 0, 0, 8, 1, 0x1A, 8, 8, 4, 0x12, 2, 'n', 'o', 0x18, 1};
    static const uint8_t odd[] = {12, 0, 0, 0, 8, 1, 0x1A, 8, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x18, 1};
    static const uint8_t about_all[] = {8, 0, 0, 0, 0x1A, 6, 8, 16, 0x12, 2, 'n', 'o'};
    struct outcome o = answered(good, sizeof good, true);
    assert_int_equal(o.call, 0);
    assert_int_equal(o.again, LATENT_ETIMEOUT);
    assert_int_equal(answered(stray, sizeof stray, true).call, 0);
    o = answered(other_kind, sizeof other_kind, true);
    assert_true(o.call == LATENT_EPROTO && o.again == LATENT_ECONN && !o.open); /* as latent.h says of this code */
    o = answered(bare, sizeof bare, true);
    assert_true(o.call == LATENT_EPROTO && !o.open);
    o = answered(refused, sizeof refused, true);
    assert_int_equal(o.call, LATENT_ENOTFOUND);
    assert_string_equal(o.text, "no");
    assert_true(o.open);
    assert_int_equal(answered(odd, sizeof odd, true).call, LATENT_EINTERNAL);
    o = answered(about_all, sizeof about_all, true);
    assert_int_equal(o.call, LATENT_EBUSY);
    assert_false(o.open);
    /* the same, said and closed before the request goes out: the reason is still heard */
    o = meet((struct script){hello, about_all, sizeof hello, sizeof about_all, false, false, true, -1, false});
    assert_int_equal(o.call, LATENT_EBUSY);
    assert_string_equal(o.text, "no");
    assert_false(o.open);
    /* nobody answers: the call ends, the connection stays, the next call is no worse */
    o = meet((struct script){hello, NULL, sizeof hello, 0, true, false, false, -1, true});
    assert_int_equal(o.call, LATENT_ETIMEOUT);
    assert_true(o.open);
    assert_int_equal(o.again, LATENT_ETIMEOUT);
    /* a byte at a time is an answer like any other */
    assert_int_equal(meet((struct script){hello, good, sizeof hello, sizeof good, true, true, false, -1, false}).call, 0);
}

/* An explanation: one text with a prompt of one character, an id for it and an offset; then with one offset too many or none. */
static int explained(const void *answer, size_t n)
{
    struct latent_explain_result *r = NULL;
    struct script s = {hello, answer, sizeof hello, n, true, false, false, -1, false};
    struct visit v = {.s = &s};
    begin(&v);
    int code = latent_explain(v.c, &(struct latent_explain){.text = "a"}, &r);
    if (code == 0) {
        assert_int_equal(r->n_texts, 1);
        assert_true(r->texts[0].n_tokens == 1 && r->texts[0].ids[0] == 9 && r->texts[0].offsets[0] == 0);
        assert_string_equal(r->texts[0].prompt, "a");
        assert_string_equal(r->used_template, "");
    }
    assert_true(latent_is_connected(v.c) == (code != LATENT_EPROTO));
    latent_free(r);
    end(&v);
    return code;
}

static void test_explanations(void **state)
{
    static const uint8_t good[] = {16, 0, 0, 0, 8, 1, 0xD2, 1, 11, 0x0A, 9, 0x0A, 1, 'a', 0x2A, 1, 9, 0x32, 1, 0};
    static const uint8_t more[] = {17, 0, 0, 0, 8, 1, 0xD2, 1, 12, 0x0A, 10, 0x0A, 1, 'a', 0x2A, 1, 9, 0x32, 2, 0, 1};
    static const uint8_t none[] = {13, 0, 0, 0, 8, 1, 0xD2, 1, 8, 0x0A, 6, 0x0A, 1, 'a', 0x2A, 1, 9};
    assert_int_equal(explained(good, sizeof good), 0);
    assert_int_equal(explained(more, sizeof more), LATENT_EPROTO);
    assert_int_equal(explained(none, sizeof none), LATENT_EPROTO);
}

/* A request that is finished as one of another kind is the caller's mistake: nothing happens to it, nor to the connection. */
static void test_other_finish(void **state)
{
    struct script s = {hello, NULL, sizeof hello, 0, true, false, false, -1, true};
    struct visit v = {.s = &s};
    struct latent_document d = {.id = "a", .text = "text"};
    struct latent_search_result *found = NULL;
    struct latent_add_result *added = NULL;
    uint64_t id = 0, search;
    begin(&v);
    assert_int_equal(latent_add_begin(v.c, &(struct latent_add){.collection = "c", .documents = &d, .n_documents = 1}, &id), 0);
    assert_int_equal(latent_search_begin(v.c, &(struct latent_search){.collection = "c", .query = "q"}, &search), 0);
    assert_int_equal(latent_search_finish(v.c, id, &found), LATENT_EINVAL);
    assert_int_equal(latent_add_finish(v.c, search, &added), LATENT_EINVAL);
    assert_int_equal(latent_add_finish(v.c, search + 1, &added), LATENT_ENOTFOUND);
    assert_true(latent_is_connected(v.c) && latent_in_flight(v.c) == 2);
    assert_int_equal(latent_add_finish(v.c, id, &added), LATENT_ETIMEOUT);
    assert_int_equal(latent_in_flight(v.c), 1);
    end(&v);
}

/* The score of one text: code of the call, and of the text in *item. */
static int scored(const void *answer, size_t n, int *item)
{
    static const char *const texts[] = {"a"};
    struct latent_rerank_result *r = NULL;
    struct script s = {hello, answer, sizeof hello, n, true, false, false, -1};
    struct visit v = {.s = &s};
    begin(&v);
    int code = latent_rerank(v.c, &(struct latent_rerank){.query = "q", .texts = texts, .n_texts = 1}, &r);
    if (code == 0) {
        assert_int_equal(r->n, 1);
        assert_true(r->scores[0].score == 1 && r->scores[0].tokens == 5 && r->scores[0].tokens_seen == 7 && r->scores[0].message);
        *item = r->scores[0].code;
    }
    assert_true(latent_is_connected(v.c) == (code != LATENT_EPROTO));
    latent_free(r);
    end(&v);
    return code;
}

/* A score, tokens used and seen; then one score too many, no count of tokens, an error of the text, of another text, and one that says nothing. */
static void test_scores(void **state)
{
    static const uint8_t good[] = {17, 0, 0, 0, 8, 1, 0xCA, 1, 12, 0x0A, 4, 0, 0, 0x80, 0x3F, 0x12, 1, 5, 0x1A, 1, 7};
    static const uint8_t more[] = {21, 0, 0, 0, 8, 1, 0xCA, 1, 16, 0x0A, 8, 0, 0, 0x80, 0x3F, 0, 0, 0x80, 0x3F, 0x12, 1, 5, 0x1A, 1, 7};
    static const uint8_t none[] = {14, 0, 0, 0, 8, 1, 0xCA, 1, 9, 0x0A, 4, 0, 0, 0x80, 0x3F, 0x1A, 1, 7};
    static const uint8_t failed[] = {23, 0, 0, 0, 8, 1, 0xCA, 1, 18, 0x0A, 4, 0, 0, 0x80, 0x3F, 0x12, 1, 5, 0x1A, 1, 7, 0x22, 4, 0x1A, 2, 8, 9};
    static const uint8_t other[] = {25, 0, 0, 0, 8, 1, 0xCA, 1, 20, 0x0A, 4, 0, 0, 0x80, 0x3F, 0x12, 1, 5, 0x1A, 1, 7, 0x22, 6, 8, 1, 0x1A, 2, 8, 9};
    static const uint8_t empty[] = {19, 0, 0, 0, 8, 1, 0xCA, 1, 14, 0x0A, 4, 0, 0, 0x80, 0x3F, 0x12, 1, 5, 0x1A, 1, 7, 0x22, 0};
    int item = 1;
    assert_int_equal(scored(good, sizeof good, &item), 0);
    assert_int_equal(item, 0);
    assert_int_equal(scored(failed, sizeof failed, &item), 0);
    assert_int_equal(item, LATENT_ETOOLONG);
    assert_int_equal(scored(more, sizeof more, &item), LATENT_EPROTO);
    assert_int_equal(scored(none, sizeof none, &item), LATENT_EPROTO);
    assert_int_equal(scored(other, sizeof other, &item), LATENT_EPROTO);
    assert_int_equal(scored(empty, sizeof empty, &item), LATENT_EPROTO);
}

/* An answer with random damage: some code, and an end. */
static void test_damage(void **state)
{
    static const uint8_t answer[] = {44, 0, 0, 0, 8, 1, 0x52, 40, 0x0A, 3, '0', '.', '1', 0x10, 4, 0x32, 3, 'c', 'p', 'u',
                                     0x92, 1, 8, 0x0A, 1, 'n', 0x10, 0x80, 3, 0x18, 1, 0x9A, 1, 4, 8, 1, 0x10, 2,
                                     0xA2, 1, 3, 'd', 'i', 'r', 0x62, 2, 0x80, 3};
    assert_int_equal(sizeof answer, 48);
    uint64_t rng = unit_seed();
    for (int i = 0; i < 60; i++) {
        uint8_t bad[sizeof answer];
        memcpy(bad, answer, sizeof bad);
        for (uint64_t n = 1 + unit_rand(&rng) % 4; n; n--)
            bad[4 + unit_rand(&rng) % (sizeof bad - 4)] = (uint8_t)unit_rand(&rng);
        struct outcome o = answered(bad, sizeof bad, false);
        assert_true(o.connect == 0 && o.call <= 0 && o.call >= LATENT_EINTERNAL);
    }
}

/* A server key that is another's, and one that is none. */
static void test_server_key(void **state)
{
    struct latent *c = latent_new();
    assert_non_null(c);
    latent_set_timeout(c, TIMEOUT_MS);
    assert_int_equal(latent_connect_unix_key(c, "/nonexistent/s", "not a key", "/nonexistent/key"), LATENT_EINVAL);
    assert_true(latent_connect_unix_key(c, "/nonexistent/s", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "/nonexistent/key") < 0);
    assert_false(latent_is_connected(c));
    latent_destroy(&c);
}

#define FILLERS_MAX 16

/* A daemon that has not come to accept for a while: its queue is full. */
struct busy {
    struct visit v;
    int fillers[FILLERS_MAX];
    size_t n;
};

static void *accept_late(void *arg)
{
    struct busy *b = arg;
    uint8_t buf[64];
    for (size_t i = 0; i < b->n; i++)
        close(accept(b->v.s->listener, NULL, NULL));
    int fd = accept(b->v.s->listener, NULL, NULL);
    say(fd, hello, sizeof hello, false);
    while (recv(fd, buf, sizeof buf, 0) > 0)
        ;
    close(fd);
    return NULL;
}

static void test_full_queue(void **state)
{
    struct script s = {0};
    struct busy b = {.v.s = &s};
    struct sockaddr_un a = listen_there(&b.v, 0);
    for (;;) {
        assert_true(b.n < FILLERS_MAX);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_true(fd >= 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
            assert_int_equal(errno, EAGAIN);
            close(fd);
            break;
        }
        b.fillers[b.n++] = fd;
    }
    struct latent *c = b.v.c = latent_new();
    assert_non_null(c);
    latent_set_timeout(c, TIMEOUT_MS);
    assert_int_equal(latent_connect_unix(c, b.v.path), LATENT_ETIMEOUT);
    assert_non_null(strstr(latent_error(c), b.v.path));
    latent_set_timeout(c, PATIENT_MS);
    assert_int_equal(pthread_create(&b.v.server, NULL, accept_late, &b), 0);
    assert_int_equal(latent_connect_unix(c, b.v.path), 0);
    assert_true(latent_is_connected(c));
    for (size_t i = 0; i < b.n; i++)
        close(b.fillers[i]);
    end(&b.v);
}

static void test_nothing_to_destroy(void **state)
{
    struct latent *none = NULL;
    (void)state;
    latent_destroy(NULL);
    latent_destroy(&none);
    latent_free(NULL);
    assert_string_equal(latent_error(NULL), latent_code_text(LATENT_ENOMEM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_greetings), cmocka_unit_test(test_frames), cmocka_unit_test(test_answers),
                                       cmocka_unit_test(test_other_finish), cmocka_unit_test(test_damage), cmocka_unit_test(test_server_key),
                                       cmocka_unit_test(test_explanations), cmocka_unit_test(test_scores),
                                       cmocka_unit_test(test_full_queue), cmocka_unit_test(test_nothing_to_destroy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
