/* liblatent and a daemon that answers anything: a call ends, and what it gives can be read in full. The first byte of the input says which
 * call, the second where the answer is cut into two frames; the rest is what those say behind the request's id. */
#include "tests/fuzz/fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "clients/c/latent_int.h"

#define INPUT_MAX 60000u /* what a socket takes without a reader */
#define N_CALLS 11

static volatile size_t sum; /* so that reading is not left out */

static void see(const char *s)
{
    FUZZ_CHECK(s);
    sum += strlen(s);
}

static void see_array(const void *p, size_t n, size_t size)
{
    for (size_t i = 0; i < n * size; i++)
        sum += ((const uint8_t *)p)[i];
}

static void see_collections(const struct latent_collection *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        see(c[i].name);
        see(c[i].degraded_reason);
        see(c[i].fingerprint);
        see(c[i].index_kind);
        see(c[i].compaction_error);
    }
}

static void see_strings(const char *const *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        see(s[i]);
}

static void see_job(const struct latent_job *j)
{
    const char *const all[] = {j->collection, j->label, j->current, j->last_error};
    see_strings(all, 4);
}

static void *call_status(struct latent *c)
{
    struct latent_status *s = NULL;
    if (latent_status(c, &s) < 0)
        return NULL;
    const char *const all[] = {s->version, s->read_only_reason, s->device, s->device_kind, s->device_note, s->model, s->model_path,
                               s->fingerprint, s->pooling, s->weight_type, s->query_template, s->data_dir, s->server_key, s->mask, s->warning};
    see_strings(all, sizeof all / sizeof *all);
    see_collections(s->collections, s->n_collections);
    if (s->reranker)
        see(s->reranker->device_note);
    return s;
}

static void *call_collections(struct latent *c, bool list)
{
    struct latent_collection_list *l = NULL;
    struct latent_collection *one = NULL;
    if (!list) {
        if (latent_collection_info(c, "c", &one) == 0)
            see_collections(one, 1);
        return one;
    }
    if (latent_collection_list(c, &l) == 0)
        see_collections(l->collections, l->n);
    return l;
}

static void *call_add(struct latent *c)
{
    const struct latent_document docs[] = {{.id = "a", .text = "x"}, {.id = "b", .text = "y"}};
    struct latent_add_result *r = NULL;
    if (latent_add(c, &(struct latent_add){.collection = "c", .documents = docs, .n_documents = 2}, &r) < 0)
        return NULL;
    for (size_t i = 0; i < r->n_errors; i++) {
        FUZZ_CHECK(r->errors[i].code < 0);
        see(r->errors[i].id);
        see(r->errors[i].message);
    }
    see_array(r->cut, r->n_cut, sizeof *r->cut);
    return r;
}

static void *call_get(struct latent *c)
{
    struct latent_get_result *r = NULL;
    if (latent_get(c, "c", (const char *const[]){"a", "b"}, 2, &r) < 0)
        return NULL;
    for (size_t i = 0; i < r->n_documents; i++) {
        see(r->documents[i].id);
        see(r->documents[i].text);
        see(r->documents[i].title);
        see(r->documents[i].metadata);
    }
    see_strings(r->missing, r->n_missing);
    return r;
}

static void *call_delete(struct latent *c)
{
    struct latent_delete_result *r = NULL;
    if (latent_delete(c, "c", (const char *const[]){"a", "b"}, 2, &r) == 0)
        see_strings(r->missing, r->n_missing);
    return r;
}

static void *call_search(struct latent *c)
{
    struct latent_search_result *r = NULL;
    if (latent_search(c, &(struct latent_search){.collection = "c", .query = "q", .k = 3}, &r) < 0)
        return NULL;
    for (size_t i = 0; i < r->n_hits; i++) {
        const struct latent_hit *h = &r->hits[i];
        const char *const all[] = {h->id, h->title, h->text, h->metadata};
        see_strings(all, 4);
        FUZZ_CHECK(h->rank == i + 1);
    }
    FUZZ_CHECK(r->n_reranked <= r->n_hits);
    const char *const all[] = {r->degraded_reason, r->filter, r->used_template, r->instruct};
    see_strings(all, 4);
    return r;
}

static void *call_embed(struct latent *c)
{
    const struct latent_embed_input in[] = {{.text = "a"}, {.text = "b"}};
    struct latent_embed_result *r = NULL;
    if (latent_embed(c, &(struct latent_embed){.inputs = in, .n_inputs = 2}, &r) < 0)
        return NULL;
    FUZZ_CHECK(r->n == 2);
    for (size_t i = 0; i < r->n; i++) {
        FUZZ_CHECK(r->embeddings[i].vector || r->embeddings[i].code);
        if (r->embeddings[i].vector)
            see_array(r->embeddings[i].vector, r->dim, sizeof(float));
        else
            see(r->embeddings[i].message);
    }
    return r;
}

static void *call_rerank(struct latent *c)
{
    struct latent_rerank_result *r = NULL;
    if (latent_rerank(c, &(struct latent_rerank){.query = "q", .texts = (const char *const[]){"a", "b"}, .n_texts = 2}, &r) < 0)
        return NULL;
    FUZZ_CHECK(r->n == 2);
    for (size_t i = 0; i < r->n; i++)
        if (r->scores[i].code)
            see(r->scores[i].message);
    return r;
}

static void *call_explain(struct latent *c)
{
    struct latent_explain_result *r = NULL;
    if (latent_explain(c, &(struct latent_explain){.text = "some text"}, &r) < 0)
        return NULL;
    for (size_t i = 0; i < r->n_texts; i++) {
        const struct latent_explained_text *t = &r->texts[i];
        see(t->prompt);
        see_array(t->ids, t->n_tokens, sizeof *t->ids);
        for (size_t j = 0; j < t->n_tokens; j++)
            FUZZ_CHECK(t->offsets[j] <= strlen(t->prompt));
        FUZZ_CHECK(t->start <= t->end && t->text_at <= strlen(t->prompt));
    }
    const char *const all[] = {r->used_template, r->model, r->fingerprint, r->weight_type, r->device, r->device_kind, r->pooling, r->mask};
    see_strings(all, 8);
    return r;
}

static void *call_jobs(struct latent *c, bool list)
{
    struct latent_job_list *l = NULL;
    struct latent_job *j = NULL;
    if (!list) {
        if (latent_job_open(c, "c", "l", 0, 0, &j) == 0)
            see_job(j);
        return j;
    }
    if (latent_job_list(c, &l) == 0)
        for (size_t i = 0; i < l->n; i++)
            see_job(&l->jobs[i]);
    return l;
}

static void *call(struct latent *c, unsigned which)
{
    switch (which) {
    case 0: return call_status(c);
    case 1:
    case 2: return call_collections(c, which == 1);
    case 3: return call_add(c);
    case 4: return call_get(c);
    case 5: return call_delete(c);
    case 6: return call_search(c);
    case 7: return call_embed(c);
    case 8: return call_rerank(c);
    case 9: return call_explain(c);
    default: return call_jobs(c, which == 10);
    }
}

/* A frame with the first request's id and these bytes. */
static void put_frame(struct bytes_out *o, const uint8_t *data, size_t len)
{
    bytes_put_u32(o, (uint32_t)len + 2);
    bytes_put_u8(o, 8);
    bytes_put_u8(o, 1);
    bytes_put(o, data, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t hello[PROTO_HELLO_BYTES] = {'l', 'a', 't', 'e', 'n', 't', 'd', 0, PROTO_VERSION};
    struct bytes_out o = {0};
    struct session_frame f;
    int pair[2];
    if (size < 2 || size > INPUT_MAX)
        return 0;
    struct latent *c = latent_new();
    FUZZ_CHECK(c && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    const size_t len = size - 2, cut = data[1] * len / 256;
    if (cut)
        put_frame(&o, data + 2, cut);
    put_frame(&o, data + 2 + cut, len - cut);
    FUZZ_CHECK(!o.bad && send(pair[1], o.data, o.len, MSG_NOSIGNAL) == (ssize_t)o.len && shutdown(pair[1], SHUT_WR) == 0);
    c->fd = pair[0];
    struct bytes_in in = bytes_in(hello, sizeof hello);
    FUZZ_CHECK(session_create_client(&c->session, &(struct session_client){0}, &c->out) == 0);
    FUZZ_CHECK(session_feed(c->session, &in, &c->out, &f, NULL) >= 0 && session_is_open(c->session));
    void *result = call(c, data[0] % (N_CALLS + 1));
    if (!result)
        see(latent_error(c));
    latent_free(result);
    latent_destroy(&c);
    close(pair[1]);
    bytes_out_finish(&o);
    return 0;
}

static size_t packed(unsigned which, unsigned cut, Latent__V1__Response *r, Latent__V1__Response__BodyCase kind, uint8_t *buf, size_t cap)
{
    r->body_case = kind;
    buf[0] = (uint8_t)which;
    buf[1] = (uint8_t)cut;
    return protobuf_c_message_get_packed_size(&r->base) + 2 <= cap ? protobuf_c_message_pack(&r->base, buf + 2) + 2 : 0;
}

#define STR(s) ((char *)(uintptr_t)(s))

static size_t seed_documents(int i, uint8_t *buf, size_t cap)
{
    Latent__V1__Response r = LATENT__V1__RESPONSE__INIT;
    Latent__V1__Error error = LATENT__V1__ERROR__INIT;
    Latent__V1__ItemError item = LATENT__V1__ITEM_ERROR__INIT, *items[] = {&item};
    Latent__V1__AddReply add = LATENT__V1__ADD_REPLY__INIT;
    Latent__V1__Document doc = LATENT__V1__DOCUMENT__INIT, *docs[] = {&doc};
    Latent__V1__GetReply get = LATENT__V1__GET_REPLY__INIT;
    Latent__V1__DeleteReply gone = LATENT__V1__DELETE_REPLY__INIT;
    Latent__V1__Hit hit = LATENT__V1__HIT__INIT, *hits[] = {&hit, &hit};
    Latent__V1__SearchReply search = LATENT__V1__SEARCH_REPLY__INIT;
    uint32_t cut[] = {1};
    char *missing[] = {STR("b")};
    error.code = 10;
    error.message = STR("nothing to embed");
    item.id = doc.id = hit.id = STR("a");
    item.error = &error;
    add.accepted = 1;
    add.errors = items;
    add.n_errors = 1;
    add.cut = cut;
    add.n_cut = 1;
    doc.text = hit.text = STR("text");
    hit.end = 4;
    get.documents = docs;
    get.n_documents = 1;
    get.missing = gone.missing = missing;
    get.n_missing = gone.n_missing = 1;
    search.hits = hits;
    search.n_hits = 2;
    search.reranked = 1;
    switch (i) {
    case 3: return r.add = &add, packed(3, 0, &r, LATENT__V1__RESPONSE__BODY_ADD, buf, cap);
    case 4: return r.get = &get, packed(4, 0, &r, LATENT__V1__RESPONSE__BODY_GET, buf, cap);
    case 5: return r.delete_ = &gone, packed(5, 0, &r, LATENT__V1__RESPONSE__BODY_DELETE, buf, cap);
    default: return r.search = &search, packed(6, 128, &r, LATENT__V1__RESPONSE__BODY_SEARCH, buf, cap);
    }
}

static size_t seed_texts(int i, uint8_t *buf, size_t cap)
{
    Latent__V1__Response r = LATENT__V1__RESPONSE__INIT;
    Latent__V1__Embedding e = LATENT__V1__EMBEDDING__INIT, *es[] = {&e, &e};
    Latent__V1__EmbedReply embed = LATENT__V1__EMBED_REPLY__INIT;
    Latent__V1__RerankReply rerank = LATENT__V1__RERANK_REPLY__INIT;
    Latent__V1__ExplainedText text = LATENT__V1__EXPLAINED_TEXT__INIT, *texts[] = {&text};
    Latent__V1__ExplainReply explain = LATENT__V1__EXPLAIN_REPLY__INIT;
    float scores[] = {1, 2};
    uint32_t numbers[] = {1, 2};
    uint8_t vector[8] = {0, 0, 128, 63};
    e.vector = (ProtobufCBinaryData){sizeof vector, vector};
    embed.embeddings = es;
    embed.n_embeddings = 2;
    embed.dim = 2;
    rerank.scores = scores;
    rerank.tokens = rerank.tokens_seen = numbers;
    rerank.n_scores = rerank.n_tokens = rerank.n_tokens_seen = 2;
    text.prompt = STR("abc");
    text.ids = text.offsets = numbers;
    text.n_ids = text.n_offsets = 2;
    text.end = 3;
    explain.texts = texts;
    explain.n_texts = 1;
    switch (i) {
    case 7: return r.embed = &embed, packed(7, 0, &r, LATENT__V1__RESPONSE__BODY_EMBED, buf, cap);
    case 8: return r.rerank = &rerank, packed(8, 0, &r, LATENT__V1__RESPONSE__BODY_RERANK, buf, cap);
    default: return r.explain = &explain, packed(9, 0, &r, LATENT__V1__RESPONSE__BODY_EXPLAIN, buf, cap);
    }
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    Latent__V1__Response r = LATENT__V1__RESPONSE__INIT;
    Latent__V1__StatusReply status = LATENT__V1__STATUS_REPLY__INIT;
    Latent__V1__RerankerStatus reranker = LATENT__V1__RERANKER_STATUS__INIT;
    Latent__V1__Collection c = LATENT__V1__COLLECTION__INIT, *cs[] = {&c};
    Latent__V1__CollectionListReply list = LATENT__V1__COLLECTION_LIST_REPLY__INIT;
    Latent__V1__Job job = LATENT__V1__JOB__INIT, *js[] = {&job};
    Latent__V1__JobListReply jobs = LATENT__V1__JOB_LIST_REPLY__INIT;
    c.name = job.collection = STR("c");
    status.collections = list.collections = cs;
    status.n_collections = list.n_collections = 1;
    status.reranker = &reranker;
    jobs.jobs = js;
    jobs.n_jobs = 1;
    switch (i) {
    case 0: return r.status = &status, packed(0, 0, &r, LATENT__V1__RESPONSE__BODY_STATUS, buf, cap);
    case 1: return r.collection_list = &list, packed(1, 0, &r, LATENT__V1__RESPONSE__BODY_COLLECTION_LIST, buf, cap);
    case 2: return r.collection = &c, packed(2, 0, &r, LATENT__V1__RESPONSE__BODY_COLLECTION, buf, cap);
    case 3:
    case 4:
    case 5:
    case 6: return seed_documents(i, buf, cap);
    case 7:
    case 8:
    case 9: return seed_texts(i, buf, cap);
    case 10: return r.job_list = &jobs, packed(10, 0, &r, LATENT__V1__RESPONSE__BODY_JOB_LIST, buf, cap);
    case 11: return r.job = &job, packed(11, 0, &r, LATENT__V1__RESPONSE__BODY_JOB, buf, cap);
    default: return 0;
    }
}
