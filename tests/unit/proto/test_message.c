/* Messages: round trips, and the checks that stand before the unpacker. */
#include "tests/unit.h"

#include "proto/message.h"

static struct pool *pool;

static int make_pool(void **state)
{
    pool = pool_create(PROTO_MESSAGE_BUDGET);
    return pool ? 0 : -1;
}

static int drop_pool(void **state)
{
    pool_destroy(&pool);
    return 0;
}

static struct bytes_out packed(const ProtobufCMessage *m)
{
    struct bytes_out o = {0};
    struct err_msg em;
    assert_int_equal(message_pack(m, &o, &em), 0);
    return o;
}

static void test_round_trip(void **state)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT, *back;
    Latent__V1__SearchRequest s = LATENT__V1__SEARCH_REQUEST__INIT;
    struct message_nul *nuls;
    struct err_msg em;
    uint64_t id = 0;
    r.id = 42;
    s.collection = (char *)"notes";
    s.query = (char *)"late trains";
    s.k = 3;
    r.body_case = LATENT__V1__REQUEST__BODY_SEARCH;
    r.search = &s;
    struct bytes_out o = packed(&r.base);
    assert_int_equal(message_unpack_request(pool, o.data, o.len, &back, &nuls, &id, &em), 0);
    assert_null(nuls);
    assert_int_equal(id, 42);
    assert_string_equal(back->search->query, "late trains");
    assert_string_equal(message_collection(back), "notes");
    assert_int_equal(message_right(back->body_case), KEY_QUERY);
    assert_string_equal(message_kind_name(back->body_case), "search");
    /* every prefix is refused or is a shorter message, never a crash */
    for (size_t n = 0; n < o.len; n++)
        (void)message_unpack_request(pool, o.data, n, &back, &nuls, &id, &em);
    bytes_out_finish(&o);
}

/* Who may do it, and the name in the log. */
static void test_kinds(void **state)
{
    static const struct {
        Latent__V1__Request__BodyCase kind;
        unsigned right;
        const char *name;
    } kinds[] = {{LATENT__V1__REQUEST__BODY_EXPLAIN, KEY_QUERY, "explain"}, {LATENT__V1__REQUEST__BODY_EMBED, KEY_QUERY, "embed"},
                 {LATENT__V1__REQUEST__BODY_ADD, KEY_INGEST, "add"},        {LATENT__V1__REQUEST__BODY_CANCEL, 0, "cancel"},
                 {LATENT__V1__REQUEST__BODY_COLLECTION_DROP, KEY_ADMIN, "collection_drop"},
                 {LATENT__V1__REQUEST__BODY_COLLECTION_REPLACE, KEY_ADMIN, "collection_replace"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(message_right(kinds[i].kind), kinds[i].right);
        assert_string_equal(message_kind_name(kinds[i].kind), kinds[i].name);
    }
}

static void refuse(const void *data, size_t len, int code, const char *says)
{
    Latent__V1__Request *r;
    struct message_nul *nuls;
    struct err_msg em = {{0}};
    uint64_t id = 99;
    assert_int_equal(message_unpack_request(pool, data, len, &r, &nuls, &id, &em), code);
    if (says && !strstr(em.text, says))
        fail_msg("'%s' does not say '%s'", em.text, says);
}

static void test_id_zero(void **state)
{
    static const uint8_t no_id[] = {0x52, 0x00}; /* status, without an id */
    refuse(no_id, sizeof no_id, LT_EPROTO, NULL);
    refuse("", 0, LT_EPROTO, NULL);
}

static void test_forged(void **state)
{
    static const uint8_t wrong_type[] = {0x08, 0x01, 0x9A, 0x01, 0x04, 0x0D, 1, 0, 0}; /* search.collection as 32 bits, cut */
    static const uint8_t twice[] = {0x08, 0x01, 0x08, 0x02, 0x52, 0x00};
    static const uint8_t nul[] = {0x08, 0x01, 0x6A, 0x03, 0x0A, 0x01, 0x00};  /* collection_drop.name = NUL */
    static const uint8_t bad_utf8[] = {0x08, 0x01, 0x6A, 0x03, 0x0A, 0x01, 0xFF};
    static const uint8_t long_len[] = {0x08, 0x01, 0x6A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F};
    static const uint8_t bad_prompt[] = {0x08, 0x01, 0xD2, 0x01, 0x05, 0x0A, 0x03, 'a', 0xFF, 'b'}; /* explain.text */
    static const uint8_t on_long[] = {0x08, 0x01, 0xD2, 0x01, 0x05, 0x0A, 0x01, 'a', 0x28, 0x03};
    static const uint8_t varint[] = {0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01};
    refuse(wrong_type, sizeof wrong_type, LT_EFORMAT, NULL);
    refuse(twice, sizeof twice, LT_EFORMAT, NULL);
    refuse(nul, sizeof nul, LT_EUTF8, NULL);
    refuse(bad_utf8, sizeof bad_utf8, LT_EUTF8, NULL);
    refuse(long_len, sizeof long_len, LT_EFORMAT, NULL);
    refuse(varint, sizeof varint, LT_EFORMAT, NULL);
    refuse(bad_prompt, sizeof bad_prompt, LT_EUTF8, "explain.text: not valid UTF-8 at byte 1");
    refuse(on_long, sizeof on_long, LT_EINVAL, "explain.on_long: unknown value 3");
}

/* Of documents and inputs to embed: told one by one, also within an id; elsewhere and in responses the message is refused. */
static void test_nul_of_an_item(void **state)
{
    static const uint8_t add[] = {0x08, 0x01, 0x7A, 0x1B,
                                  0x12, 0x06, 0x0A, 0x01, 'a', 0x12, 0x01, 'x',
                                  0x12, 0x08, 0x0A, 0x01, 'b', 0x12, 0x03, 'x', 0x00, 'y',
                                  0x12, 0x07, 0x0A, 0x02, 'c', 0x00, 0x22, 0x01, 0x00};
    static const uint8_t embed[] = {0x08, 0x01, 0x9A, 0x01, 0x05, 0x0A, 0x03, 0x0A, 0x01, 0x00};
    static const uint8_t collection[] = {0x08, 0x01, 0x7A, 0x04, 0x0A, 0x02, 'c', 0x00};
    static const uint8_t got[] = {0x08, 0x01, 0x82, 0x01, 0x05, 0x0A, 0x03, 0x12, 0x01, 0x00}; /* a response to get */
    static const struct {
        uint32_t index, at;
        const char *field;
    } expected[] = {{1, 1, "text"}, {2, 1, "id"}, {2, 0, "metadata"}};
    Latent__V1__Request *r;
    Latent__V1__Response *response;
    struct message_nul *nuls;
    struct err_msg em;
    uint64_t id;
    assert_int_equal(message_unpack_request(pool, add, sizeof add, &r, &nuls, &id, &em), 0);
    assert_int_equal(r->add->n_documents, 3);
    for (size_t i = 0; i < 3; i++, nuls = nuls->next) {
        assert_non_null(nuls);
        assert_int_equal(nuls->index, expected[i].index);
        assert_int_equal(nuls->at, expected[i].at);
        assert_string_equal(nuls->field, expected[i].field);
    }
    assert_null(nuls);
    assert_int_equal(message_unpack_request(pool, embed, sizeof embed, &r, &nuls, &id, &em), 0);
    assert_non_null(nuls);
    assert_string_equal(nuls->field, "text");
    assert_null(nuls->next);
    refuse(collection, sizeof collection, LT_EUTF8, "add.collection: a NUL byte at offset 1");
    assert_int_equal(message_unpack_response(pool, got, sizeof got, &response, &em), LT_EUTF8);
}

/* More elements than one repeated field may have. */
static void test_too_many(void **state)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__GetRequest g = LATENT__V1__GET_REQUEST__INIT;
    size_t n = PROTO_MESSAGE_REPEATED + 1;
    char **ids = malloc(n * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (char *)"x";
    r.id = 1;
    g.collection = (char *)"c";
    g.ids = ids;
    g.n_ids = n;
    r.body_case = LATENT__V1__REQUEST__BODY_GET;
    r.get = &g;
    struct bytes_out o = packed(&r.base);
    refuse(o.data, o.len, LT_ELIMIT, NULL);
    bytes_out_finish(&o);
    free(ids);
}

static void test_vectors(void **state)
{
    float v[3] = {1, -2.5f, 0}, back[3];
    uint8_t *wire = message_vector_view(pool, v, 3);
    ProtobufCBinaryData b = {12, wire};
    assert_int_equal(message_vector_get(&b, back, 3), 0);
    assert_memory_equal(v, back, sizeof v);
    assert_int_equal(message_vector_get(&b, back, 4), LT_EDIM);
    b.len = 11;
    assert_int_equal(message_vector_get(&b, back, 3), LT_EDIM);
}

/* What no client could read is put right, and nothing else is touched. */
static void test_mend(void **state)
{
    static const char cut[] = "no 'a\xE2\x82' \xFF\xFEx\xC3";
    char *missing[] = {(char *)"fine \xC3\xA4", (char *)"\x80\x80"};
    Latent__V1__Error error = LATENT__V1__ERROR__INIT;
    Latent__V1__ItemError item = LATENT__V1__ITEM_ERROR__INIT, *items[] = {&item};
    Latent__V1__AddReply add = LATENT__V1__ADD_REPLY__INIT;
    Latent__V1__GetReply get = LATENT__V1__GET_REPLY__INIT;
    Latent__V1__Response r = LATENT__V1__RESPONSE__INIT, *back;
    struct err_msg em;
    error.code = 4;
    error.message = (char *)cut;
    item.error = &error;
    add.errors = items;
    add.n_errors = 1;
    r.id = 1;
    r.body_case = LATENT__V1__RESPONSE__BODY_ADD;
    r.add = &add;
    message_mend(&r.base, pool);
    struct bytes_out o = packed(&r.base);
    assert_int_equal(message_unpack_response(pool, o.data, o.len, &back, &em), 0);
    assert_string_equal(back->add->errors[0]->error->message, "no 'a\uFFFD' \uFFFD\uFFFDx\uFFFD");
    bytes_out_finish(&o);
    error.message = NULL;
    message_mend(&r.base, pool);
    assert_null(error.message);
    get.missing = missing;
    get.n_missing = 2;
    const char *fine = missing[0];
    r.body_case = LATENT__V1__RESPONSE__BODY_GET;
    r.get = &get;
    message_mend(&r.base, pool);
    assert_ptr_equal(get.missing[0], fine);
    assert_string_equal(get.missing[1], "\uFFFD");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_id_zero), cmocka_unit_test(test_forged),
        cmocka_unit_test(test_too_many),   cmocka_unit_test(test_vectors), cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_mend),       cmocka_unit_test(test_nul_of_an_item),
    };
    return cmocka_run_group_tests(tests, make_pool, drop_pool);
}
