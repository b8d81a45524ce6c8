#include "proto/session.h"

#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/message.h"
#include "proto/noise.h"

#define RECORD_HEADER_BYTES 2
#define READ_BYTES 65536 /* what an open session likes to be read at once */

static const uint8_t magic[8] = {'l', 'a', 't', 'e', 'n', 't', 'd', 0};

enum mode { MODE_PLAIN = 0, MODE_NOISE = 1 };

enum state {
    WAIT_HELLO,     /* 16 bytes, from either side */
    WAIT_MESSAGE_1, /* server */
    WAIT_MESSAGE_2, /* client */
    WAIT_MESSAGE_3, /* server */
    WAIT_ADMISSION, /* server: the owner decides */
    OPEN_STATE,
    DEAD,
};

struct session {
    bool server, plain_allowed, stranger;
    enum state state;
    enum mode mode;
    const struct key_pair *key;
    uint8_t server_public[KEY_BYTES];
    uint8_t prologue[2 * PROTO_HELLO_BYTES]; /* the client's hello, the server's */
    uint8_t fixed[NOISE_MESSAGE_3_BYTES];    /* the handshake part being read: all sizes are fixed */
    size_t n_fixed;
    struct noise *noise;
    struct frame_reader frames;
    /* Records of an open encrypted session. */
    uint8_t *record; /* NOISE_MESSAGE_MAX bytes, allocated when the session opens */
    uint8_t record_header[RECORD_HEADER_BYTES];
    size_t n_header, n_record, record_len;
    struct bytes_in plain; /* what of the opened record has not been read yet */
};

/* ---- hello ------------------------------------------------------------------------------- */

/* offset 0: magic, 8 bytes; 8: version, u16; 10: mode, u8; 11: zero; 12: reason, u32. */
static void hello_put(uint8_t out[static PROTO_HELLO_BYTES], enum mode mode, int reason)
{
    memcpy(out, magic, sizeof magic);
    out[8] = PROTO_VERSION & 0xFF;
    out[9] = PROTO_VERSION >> 8;
    out[10] = (uint8_t)mode;
    out[11] = 0;
    uint32_t code = (uint32_t)-reason;
    for (int i = 0; i < 4; i++)
        out[12 + i] = (uint8_t)(code >> (8 * i));
}

struct hello {
    uint16_t version;
    uint8_t mode, zero;
    uint32_t reason;
};

static int hello_get(const uint8_t raw[static PROTO_HELLO_BYTES], struct hello *h)
{
    struct bytes_in in = bytes_in(raw, PROTO_HELLO_BYTES);
    const uint8_t *m = bytes_take(&in, sizeof magic);
    h->version = bytes_u16(&in);
    h->mode = bytes_u8(&in);
    h->zero = bytes_u8(&in);
    h->reason = bytes_u32(&in);
    return memcmp(m, magic, sizeof magic) || h->zero ? LT_EPROTO : 0;
}

/* ---- lifetime ---------------------------------------------------------------------------- */

static size_t state_bytes(enum state st)
{
    switch (st) {
    case WAIT_HELLO:
        return PROTO_HELLO_BYTES;
    case WAIT_MESSAGE_1:
        return NOISE_MESSAGE_1_BYTES;
    case WAIT_MESSAGE_2:
        return NOISE_MESSAGE_2_BYTES;
    case WAIT_MESSAGE_3:
        return NOISE_MESSAGE_3_BYTES;
    default:
        return 0;
    }
}

int session_create_server(struct session **out, const struct session_server *p)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return LT_ENOMEM;
    s->server = true;
    s->key = p->key;
    s->plain_allowed = p->plain_allowed;
    s->stranger = p->stranger;
    *out = s;
    return 0;
}

int session_create_client(struct session **out, const struct session_client *p, struct bytes_out *bytes)
{
    if ((p->key != NULL) != (p->server_public != NULL))
        return LT_EINVAL;
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return LT_ENOMEM;
    s->key = p->key;
    s->mode = p->key ? MODE_NOISE : MODE_PLAIN;
    if (p->key)
        memcpy(s->server_public, p->server_public, KEY_BYTES);
    hello_put(s->prologue, s->mode, 0);
    bytes_put(bytes, s->prologue, PROTO_HELLO_BYTES);
    if (bytes->bad) {
        free(s);
        return LT_ENOMEM;
    }
    *out = s;
    return 0;
}

void session_destroy(struct session **sp)
{
    struct session *s = sp ? *sp : NULL;
    if (!s)
        return;
    noise_destroy(&s->noise);
    frame_reader_finish(&s->frames);
    free(s->record);
    free(s);
    *sp = NULL;
}

/* ---- handshake --------------------------------------------------------------------------- */

static int open_session(struct session *s)
{
    if (s->mode == MODE_NOISE && !(s->record = malloc(NOISE_MESSAGE_MAX)))
        return LT_ENOMEM;
    s->state = OPEN_STATE;
    return SESSION_OPEN;
}

static int start_noise(struct session *s)
{
    return noise_create(&s->noise, &(struct noise_params){
        .initiator = !s->server,
        .local = s->key,
        .remote_public = s->server ? NULL : s->server_public,
        .prologue = s->prologue,
        .prologue_len = sizeof s->prologue,
    });
}

static int put_noise_message(struct session *s, struct bytes_out *out, size_t len)
{
    uint8_t *p = bytes_room(out, len);
    if (!p)
        return LT_ENOMEM;
    int r = noise_write(s->noise, "", 0, p, len);
    return r < 0 ? r : 0;
}

/* The reason why the server will not go on with this hello; 0: it will. */
static int hello_judge(const struct session *s, int parsed, const struct hello *h, struct err_msg *em)
{
    if (parsed < 0)
        return err_set(em, LT_EPROTO, "not latentd's protocol");
    if (!h->version)
        return err_set(em, LT_EVERSION, "protocol version 0");
    if (h->mode > MODE_NOISE || h->reason)
        return err_set(em, LT_EPROTO, "a malformed hello");
    if (h->mode == MODE_PLAIN && !s->plain_allowed)
        return err_set(em, LT_EAUTH, "this address is served only to clients with a key");
    if (h->mode == MODE_PLAIN && s->stranger)
        return err_set(em, LT_EPERM, "this user may not use the socket");
    if (h->mode == MODE_NOISE && !s->key)
        return err_set(em, LT_EUNSUPPORTED, "this address is served without keys");
    return 0;
}

static int server_hello(struct session *s, struct bytes_out *out, struct err_msg *em)
{
    struct hello h;
    int r = hello_judge(s, hello_get(s->fixed, &h), &h, em);
    memcpy(s->prologue, s->fixed, PROTO_HELLO_BYTES);
    s->mode = r == 0 ? h.mode : MODE_PLAIN;
    hello_put(s->prologue + PROTO_HELLO_BYTES, s->mode, r);
    bytes_put(out, s->prologue + PROTO_HELLO_BYTES, PROTO_HELLO_BYTES);
    if (r == 0 && out->bad)
        r = LT_ENOMEM;
    if (r < 0)
        return r;
    if (s->mode == MODE_PLAIN)
        return open_session(s);
    s->state = WAIT_MESSAGE_1;
    return start_noise(s);
}

static int client_hello(struct session *s, struct bytes_out *out, struct err_msg *em)
{
    struct hello h;
    if (hello_get(s->fixed, &h) < 0)
        return err_set(em, LT_EPROTO, "what answers there is not latentd");
    if (h.reason) {
        int code = h.reason <= INT32_MAX ? -(int)h.reason : LT_EPROTO;
        return err_set(em, code, "the daemon refuses the connection: %s",
                       code == LT_EAUTH ? "it demands a key" :
                       code == LT_EPERM ? "this user may not use its socket" :
                       code == LT_EUNSUPPORTED ? "it has no keys set up there" : err_text(code));
    }
    if (h.version != PROTO_VERSION)
        return err_set(em, LT_EVERSION, "the daemon speaks protocol version %u, this client %u", h.version,
                       PROTO_VERSION);
    if (h.mode != s->mode)
        return err_set(em, LT_EPROTO, "the daemon chose another kind of session");
    memcpy(s->prologue + PROTO_HELLO_BYTES, s->fixed, PROTO_HELLO_BYTES);
    if (s->mode == MODE_PLAIN)
        return open_session(s);
    s->state = WAIT_MESSAGE_2;
    int r = start_noise(s);
    return r < 0 ? r : put_noise_message(s, out, NOISE_MESSAGE_1_BYTES);
}

/* A whole fixed part has come. Returns an event. */
static int handshake_step(struct session *s, struct bytes_out *out, struct err_msg *em)
{
    int r;
    uint8_t none[1];
    switch (s->state) {
    case WAIT_HELLO:
        return s->server ? server_hello(s, out, em) : client_hello(s, out, em);
    case WAIT_MESSAGE_1:
        if ((r = noise_read(s->noise, s->fixed, NOISE_MESSAGE_1_BYTES, none, 0)) < 0)
            return err_set(em, r, "the client does not know this daemon's key");
        s->state = WAIT_MESSAGE_3;
        return put_noise_message(s, out, NOISE_MESSAGE_2_BYTES);
    case WAIT_MESSAGE_2:
        if ((r = noise_read(s->noise, s->fixed, NOISE_MESSAGE_2_BYTES, none, 0)) < 0)
            return err_set(em, r, "the daemon does not have the key that was named for it");
        r = put_noise_message(s, out, NOISE_MESSAGE_3_BYTES);
        return r < 0 ? r : open_session(s);
    case WAIT_MESSAGE_3:
        if ((r = noise_read(s->noise, s->fixed, NOISE_MESSAGE_3_BYTES, none, 0)) < 0)
            return err_set(em, r, "the client's key could not be verified");
        s->state = WAIT_ADMISSION;
        return SESSION_PEER;
    default:
        return err_set(em, LT_EPROTO, "bytes before the peer was admitted");
    }
}

static int feed_handshake(struct session *s, struct bytes_in *in, struct bytes_out *out, struct err_msg *em)
{
    while (s->state < WAIT_ADMISSION) {
        size_t want = state_bytes(s->state) - s->n_fixed, left = bytes_left(in);
        size_t n = want < left ? want : left;
        const uint8_t *p = bytes_take(in, n);
        if (n)
            memcpy(s->fixed + s->n_fixed, p, n);
        s->n_fixed += n;
        if (n < want)
            return SESSION_MORE;
        s->n_fixed = 0;
        int r = handshake_step(s, out, em);
        if (r != 0)
            return r;
    }
    return bytes_left(in) ? err_set(em, LT_EPROTO, "the session is waiting for admission") : SESSION_MORE;
}

/* ---- open sessions ----------------------------------------------------------------------- */

/* Reads on until a record is open. 1: s->plain has bytes; 0: more are needed. */
static int next_record(struct session *s, struct bytes_in *in, struct err_msg *em)
{
    while (s->n_header < RECORD_HEADER_BYTES && bytes_left(in))
        s->record_header[s->n_header++] = bytes_u8(in);
    if (s->n_header < RECORD_HEADER_BYTES)
        return 0;
    s->record_len = (size_t)s->record_header[0] | (size_t)s->record_header[1] << 8;
    if (s->record_len <= NOISE_TAG_BYTES)
        return err_set(em, LT_EPROTO, "a record of %zu bytes", s->record_len);
    size_t want = s->record_len - s->n_record, left = bytes_left(in);
    size_t n = want < left ? want : left;
    const uint8_t *p = bytes_take(in, n);
    if (n)
        memcpy(s->record + s->n_record, p, n);
    s->n_record += n;
    if (n < want)
        return 0;
    int r = noise_open(s->noise, s->record, s->record_len, s->record);
    if (r < 0)
        return err_set(em, r, "a record that was changed on the way");
    s->plain = bytes_in(s->record, (size_t)r);
    s->n_header = s->n_record = 0;
    return 1;
}

static int feed_open(struct session *s, struct bytes_in *in, struct session_frame *frame, struct err_msg *em)
{
    int r;
    if (s->mode == MODE_PLAIN) {
        r = frame_next(&s->frames, in, &frame->data, &frame->len, em);
        return r == 1 ? SESSION_FRAME : r;
    }
    for (;;) {
        if (bytes_left(&s->plain)) {
            r = frame_next(&s->frames, &s->plain, &frame->data, &frame->len, em);
            if (r != 0)
                return r == 1 ? SESSION_FRAME : r;
        }
        if ((r = next_record(s, in, em)) <= 0)
            return r;
    }
}

int session_feed(struct session *s, struct bytes_in *in, struct bytes_out *out,
                 struct session_frame *frame, struct err_msg *em)
{
    int r;
    if (s->state == DEAD)
        return err_set(em, LT_ECONN, "the session has ended");
    if (s->state == OPEN_STATE) {
        r = feed_open(s, in, frame, em);
    } else {
        struct err_msg why = {{0}};
        r = feed_handshake(s, in, out, &why);
        if (r < 0)
            err_set(em, r, "%s", why.text[0] ? why.text : err_text(r));
    }
    if (r < 0)
        s->state = DEAD;
    return r;
}

struct bytes_out session_take_frame(struct session *s)
{
    return frame_take(&s->frames);
}

size_t session_frame_need(const struct session *s, size_t *got)
{
    *got = s->frames.body.len;
    return frame_need(&s->frames);
}

size_t session_want(const struct session *s)
{
    if (s->state == OPEN_STATE)
        return READ_BYTES;
    size_t all = state_bytes(s->state);
    return all - (all ? s->n_fixed : 0);
}

bool session_is_open(const struct session *s)
{
    return s->state == OPEN_STATE;
}

bool session_is_sealed(const struct session *s)
{
    return s->mode == MODE_NOISE;
}

bool session_awaits_proof(const struct session *s)
{
    return s->state == WAIT_MESSAGE_2;
}

const uint8_t *session_peer_key(const struct session *s)
{
    return s->server && s->noise ? noise_remote(s->noise) : NULL;
}

int session_admit(struct session *s)
{
    if (s->state != WAIT_ADMISSION)
        return LT_EPROTO;
    int r = open_session(s);
    return r < 0 ? r : 0;
}

/* ---- sending ----------------------------------------------------------------------------- */

/* Cuts a frame into records: as long as can be, since boundaries mean nothing. */
static int put_records(struct session *s, const uint8_t header[static PROTO_FRAME_HEADER_BYTES],
                       const uint8_t *data, size_t len, struct bytes_out *out)
{
    size_t n_header = PROTO_FRAME_HEADER_BYTES;
    while (n_header + len) {
        size_t n = n_header + len < NOISE_PLAIN_MAX ? n_header + len : NOISE_PLAIN_MAX;
        bytes_put_u16(out, (uint16_t)(n + NOISE_TAG_BYTES));
        uint8_t *p = bytes_room(out, n + NOISE_TAG_BYTES);
        if (!p)
            return LT_ENOMEM;
        memcpy(p, header, n_header);
        memcpy(p + n_header, data, n - n_header);
        data += n - n_header;
        len -= n - n_header;
        n_header = 0;
        int r = noise_seal(s->noise, p, n, p);
        if (r < 0)
            return r;
    }
    return 0;
}

static int put_frame(struct session *s, const void *data, size_t len, struct bytes_out *out)
{
    if (s->mode == MODE_PLAIN)
        return frame_put(out, data, len);
    if (!len || len > PROTO_FRAME_MAX)
        return LT_ELIMIT;
    uint8_t header[PROTO_FRAME_HEADER_BYTES] = {(uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16),
                                                (uint8_t)(len >> 24)};
    return put_records(s, header, data, len, out);
}

int session_send(struct session *s, const void *data, size_t len, struct bytes_out *out)
{
    if (s->state != OPEN_STATE)
        return LT_EPROTO;
    int r = put_frame(s, data, len, out);
    /* A record that was sealed and not sent would leave the two sides' counters apart. */
    if (r < 0 && r != LT_ELIMIT)
        s->state = DEAD;
    return r;
}

int session_refuse(struct session *s, int code, const char *text, struct bytes_out *out)
{
    if (s->state != WAIT_ADMISSION && s->state != OPEN_STATE)
        return LT_EPROTO;
    Latent__V1__Response resp = LATENT__V1__RESPONSE__INIT;
    Latent__V1__Error e;
    struct bytes_out plain = {0};
    message_error_init(&e, code, text);
    resp.error = &e;
    int r = message_pack(&resp.base, &plain, NULL);
    if (r == 0)
        r = put_frame(s, plain.data, plain.len, out);
    bytes_out_finish(&plain);
    s->state = DEAD;
    return r;
}
