/* A connection's bytes on the daemon's side and on the client's: plain, and Noise from the first byte. Whatever comes, only whole frames
 * within the limit come out, and before the session is open nothing is asked for beyond fixed sizes. */
#include "tests/fuzz/fuzz.h"

#include "proto/session.h"

/* One of the two is NULL. */
static void feed(const struct session_server *p, const struct session_client *client, const uint8_t *data, size_t size)
{
    struct session *s = NULL;
    struct bytes_out out = {0};
    struct session_frame f;
    struct err_msg em;
    if ((p ? session_create_server(&s, p) : session_create_client(&s, client, &out)) < 0) {
        bytes_out_finish(&out);
        return;
    }
    struct bytes_in in = bytes_in(data, size);
    int event;
    while ((event = session_feed(s, &in, &out, &f, &em)) > 0) {
        if (event == SESSION_FRAME)
            FUZZ_CHECK(session_is_open(s) && f.len > 0 && f.len <= PROTO_FRAME_MAX);
        if (event == SESSION_PEER && session_admit(s) < 0)
            break;
        FUZZ_CHECK(session_is_open(s) || session_want(s) <= 64);
    }
    bytes_out_finish(&out);
    session_destroy(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct key_pair key;
    if (!key.secret) {
        uint8_t secret[KEY_BYTES] = {1, 2, 3};
        if (key_pair_from_secret(&key, secret) < 0)
            return 0;
    }
    feed(&(struct session_server){.plain_allowed = true}, NULL, data, size);
    feed(&(struct session_server){.key = &key}, NULL, data, size);
    feed(NULL, &(struct session_client){0}, data, size);
    feed(NULL, &(struct session_client){.key = &key, .server_public = key.public}, data, size);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const uint8_t hello[PROTO_HELLO_BYTES] = {'l', 'a', 't', 'e', 'n', 't', 'd', 0, PROTO_VERSION};
    static const uint8_t frames[] = {3, 0, 0, 0, 'a', 'b', 'c', 1, 0, 0, 0, 'z'};
    if (i > 1 || cap < 200)
        return 0;
    memcpy(buf, hello, sizeof hello);
    buf[10] = (uint8_t)i;
    if (i == 0) {
        memcpy(buf + sizeof hello, frames, sizeof frames);
        return sizeof hello + sizeof frames;
    }
    memset(buf + sizeof hello, 9, 48 + 64 + 40);
    return sizeof hello + 48 + 64 + 40;
}
