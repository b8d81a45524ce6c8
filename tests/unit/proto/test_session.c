/* Both sides of a connection joined in memory: plain and Noise, in portions of every size, and what each side refuses. */
#include "tests/unit.h"

#include "proto/session.h"

struct side {
    struct session *s;
    struct bytes_out out; /* for the other side */
    struct bytes_out got; /* messages, joined with '|' */
    int error, opened;
    int admit; /* server: 0 admit, else refuse with this code */
};

static struct key_pair server_key, client_key, other_key;

static int make_keys(void **state)
{
    return key_pair_generate(&server_key) || key_pair_generate(&client_key) || key_pair_generate(&other_key);
}

static int drop_keys(void **state)
{
    key_pair_finish(&server_key);
    key_pair_finish(&client_key);
    key_pair_finish(&other_key);
    return 0;
}

static void deliver(struct side *to, const uint8_t *data, size_t len)
{
    struct bytes_in in = bytes_in(data, len);
    struct session_frame f;
    struct err_msg em;
    int event;
    while (!to->error && (event = session_feed(to->s, &in, &to->out, &f, &em)) != SESSION_MORE) {
        if (event < 0)
            to->error = event;
        else if (event == SESSION_OPEN)
            to->opened++;
        else if (event == SESSION_PEER && to->admit)
            to->error = session_refuse(to->s, to->admit, "no", &to->out) < 0 ? -1 : to->admit;
        else if (event == SESSION_PEER)
            assert_int_equal(session_admit(to->s), 0);
        else if (event == SESSION_FRAME) {
            bytes_put(&to->got, f.data, f.len);
            bytes_put_u8(&to->got, '|');
        }
    }
}

/* Moves bytes back and forth, step at a time, until nothing moves. */
static void run(struct side *a, struct side *b, size_t step)
{
    size_t at_a = 0, at_b = 0;
    while (at_a < a->out.len || at_b < b->out.len) {
        size_t n = a->out.len - at_a < step ? a->out.len - at_a : step;
        uint8_t copy[4096];
        memcpy(copy, a->out.data + at_a, n > sizeof copy ? n = sizeof copy : n);
        at_a += n;
        deliver(b, copy, n);
        n = b->out.len - at_b < step ? b->out.len - at_b : step;
        if (n)
            memcpy(copy, b->out.data + at_b, n > sizeof copy ? n = sizeof copy : n);
        at_b += n;
        deliver(a, copy, n);
    }
    a->out.len = b->out.len = 0;
}

static void finish(struct side *s)
{
    session_destroy(&s->s);
    bytes_out_finish(&s->out);
    bytes_out_finish(&s->got);
    *s = (struct side){0};
}

static void start(struct side *c, struct side *d, const struct session_client *pc, const struct session_server *pd)
{
    assert_int_equal(session_create_client(&c->s, pc, &c->out), 0);
    assert_int_equal(session_create_server(&d->s, pd), 0);
}

static void talk(struct side *c, struct side *d, size_t step)
{
    static char big[200000];
    memset(big, 'x', sizeof big);
    run(c, d, step);
    assert_int_equal(c->error | d->error, 0);
    assert_true(session_is_open(c->s) && session_is_open(d->s));
    assert_int_equal(session_send(c->s, "ask", 3, &c->out), 0);
    assert_int_equal(session_send(c->s, big, sizeof big, &c->out), 0);
    assert_int_equal(session_send(d->s, "answer", 6, &d->out), 0);
    run(c, d, step);
    assert_int_equal(c->error | d->error, 0);
    assert_int_equal(d->got.len, 3 + 1 + sizeof big + 1);
    assert_memory_equal(d->got.data, "ask|xxx", 7);
    assert_int_equal(c->got.len, 7);
    assert_memory_equal(c->got.data, "answer|", 7);
}

static void test_plain(void **state)
{
    for (size_t step = 1; step < 5000; step = step * 3 + 1) {
        struct side c = {0}, d = {0};
        start(&c, &d, &(struct session_client){0}, &(struct session_server){.plain_allowed = true});
        talk(&c, &d, step);
        assert_false(session_is_sealed(c.s));
        finish(&c);
        finish(&d);
    }
}

static void test_noise(void **state)
{
    for (size_t step = 1; step < 5000; step = step * 3 + 1) {
        struct side c = {0}, d = {0};
        start(&c, &d, &(struct session_client){.key = &client_key, .server_public = server_key.public},
              &(struct session_server){.key = &server_key});
        talk(&c, &d, step);
        assert_true(session_is_sealed(c.s));
        assert_memory_equal(session_peer_key(d.s), client_key.public, KEY_BYTES);
        finish(&c);
        finish(&d);
    }
}

static void test_refusals(void **state)
{
    struct side c = {0}, d = {0};
    /* plain where only keys are served: the client hears why */
    start(&c, &d, &(struct session_client){0}, &(struct session_server){.key = &server_key});
    run(&c, &d, 4096);
    assert_int_equal(c.error, LT_EAUTH);
    assert_int_equal(d.error, LT_EAUTH);
    finish(&c);
    finish(&d);
    /* plain on a Unix socket, by a user who may not use it; with the server's key it takes more than that */
    start(&c, &d, &(struct session_client){0}, &(struct session_server){.plain_allowed = true, .stranger = true});
    run(&c, &d, 4096);
    assert_true(c.error == LT_EPERM && d.error == LT_EPERM && !session_is_open(d.s));
    finish(&c);
    finish(&d);
    /* another server's key */
    start(&c, &d, &(struct session_client){.key = &client_key, .server_public = other_key.public},
          &(struct session_server){.key = &server_key});
    run(&c, &d, 4096);
    assert_true(d.error < 0 && !session_is_open(c.s));
    finish(&c);
    finish(&d);
    /* a key that the server does not admit: the reason comes encrypted, as a response without an id */
    d.admit = LT_EAUTH;
    start(&c, &d, &(struct session_client){.key = &client_key, .server_public = server_key.public},
          &(struct session_server){.key = &server_key});
    run(&c, &d, 4096);
    assert_true(c.got.len > 1);
    finish(&c);
    finish(&d);
}

/* A byte changed anywhere after the hellos ends the session. */
static void test_changed_bytes(void **state)
{
    struct side c = {0}, d = {0};
    start(&c, &d, &(struct session_client){.key = &client_key, .server_public = server_key.public},
          &(struct session_server){.key = &server_key});
    run(&c, &d, 4096);
    assert_int_equal(session_send(c.s, "ask", 3, &c.out), 0);
    c.out.data[c.out.len - 1] ^= 1;
    run(&c, &d, 4096);
    assert_true(d.error < 0);
    assert_int_equal(d.got.len, 0);
    finish(&c);
    finish(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_changed_bytes),
    };
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
