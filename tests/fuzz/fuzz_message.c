/* Requests and responses: what passes the checks unpacks, and packs to something that passes again. */
#include "tests/fuzz/fuzz.h"

#include "proto/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pool *p = pool_create(PROTO_MESSAGE_BUDGET), *q = pool_create(PROTO_MESSAGE_BUDGET);
    Latent__V1__Request *r, *again;
    Latent__V1__Response *s;
    struct message_nul *nuls;
    struct bytes_out o = {0};
    struct err_msg em;
    uint64_t id;
    if (p && q && message_unpack_request(p, data, size, &r, &nuls, &id, &em) == 0) {
        FUZZ_CHECK(r->id != 0 && r->id == id);
        FUZZ_CHECK(pool_used(p) <= PROTO_MESSAGE_BUDGET);
        (void)message_collection(r);
        (void)message_right(r->body_case);
        FUZZ_CHECK(message_pack(&r->base, &o, &em) == 0);
        FUZZ_CHECK(message_unpack_request(q, o.data, o.len, &again, &nuls, &id, &em) == 0);
        FUZZ_CHECK(!nuls); /* strings end with them */
        FUZZ_CHECK(again->body_case == r->body_case);
    }
    if (p)
        (void)message_unpack_response(p, data, size, &s, &em);
    bytes_out_finish(&o);
    pool_destroy(&p);
    pool_destroy(&q);
    return 0;
}

static size_t pack(const ProtobufCMessage *m, uint8_t *buf, size_t cap)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    return n <= cap ? protobuf_c_message_pack(m, buf) : 0;
}

/* A response, which the harness reads as well. */
static size_t pack_explained(uint8_t *buf, size_t cap)
{
    Latent__V1__Response r = LATENT__V1__RESPONSE__INIT;
    Latent__V1__ExplainReply reply = LATENT__V1__EXPLAIN_REPLY__INIT;
    Latent__V1__ExplainedText text = LATENT__V1__EXPLAINED_TEXT__INIT, *texts[] = {&text};
    uint32_t ids[] = {1, 300, 2}, offsets[] = {0, 0, 4};
    text.prompt = (char *)"abcd";
    text.end = 4;
    text.ids = ids;
    text.offsets = offsets;
    text.n_ids = text.n_offsets = 3;
    text.bos = text.eos = true;
    reply.texts = texts;
    reply.n_texts = 1;
    reply.used_template = (char *)"query: ";
    reply.model = (char *)"m";
    r.id = 7;
    r.body_case = LATENT__V1__RESPONSE__BODY_EXPLAIN;
    r.explain = &reply;
    return pack(&r.base, buf, cap);
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__AddRequest add = LATENT__V1__ADD_REQUEST__INIT;
    Latent__V1__Document doc = LATENT__V1__DOCUMENT__INIT, *docs[] = {&doc, &doc};
    Latent__V1__SearchRequest search = LATENT__V1__SEARCH_REQUEST__INIT;
    Latent__V1__EmbedRequest embed = LATENT__V1__EMBED_REQUEST__INIT;
    Latent__V1__EmbedInput input = LATENT__V1__EMBED_INPUT__INIT, *inputs[] = {&input};
    Latent__V1__ExplainRequest explain = LATENT__V1__EXPLAIN_REQUEST__INIT;
    uint32_t ids[] = {1, 2, 300000};
    uint8_t vector[8] = {0};
    r.id = 7;
    doc.id = (char *)"a";
    doc.text = (char *)"some text";
    doc.metadata = (char *)"{\"n\":1}";
    add.collection = search.collection = (char *)"c";
    add.documents = docs;
    add.n_documents = 2;
    search.query = (char *)"q";
    search.vector = (ProtobufCBinaryData){sizeof vector, vector};
    input.ids = ids;
    input.n_ids = 3;
    embed.inputs = inputs;
    embed.n_inputs = 1;
    switch (i) {
    case 0:
        r.body_case = LATENT__V1__REQUEST__BODY_ADD;
        r.add = &add;
        break;
    case 1:
        r.body_case = LATENT__V1__REQUEST__BODY_SEARCH;
        r.search = &search;
        break;
    case 2:
        r.body_case = LATENT__V1__REQUEST__BODY_EMBED;
        r.embed = &embed;
        break;
    case 3:
        explain.text = (char *)"some text";
        explain.title = (char *)"a title";
        explain.instruct = (char *)"find";
        explain.query = true;
        explain.on_long = LATENT__V1__ON_LONG__ON_LONG_TRUNCATE;
        r.body_case = LATENT__V1__REQUEST__BODY_EXPLAIN;
        r.explain = &explain;
        break;
    case 4:
        return pack_explained(buf, cap);
    default:
        return 0;
    }
    return pack(&r.base, buf, cap);
}
