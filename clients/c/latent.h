/* liblatent: the C client library of latentd.
 *
 *     struct latent *c = latent_new();
 *     struct latent_search_result *r;
 *     if (latent_connect_default(c) == 0 &&
 *         latent_search(c, &(struct latent_search){.collection = "notes", .query = "late trains"}, &r) == 0) {
 *         for (size_t i = 0; i < r->n_hits; i++)
 *             printf("%.3f %s\n", r->hits[i].score, r->hits[i].id);
 *         latent_free(r);
 *     } else {
 *         fprintf(stderr, "%s\n", latent_error(c));
 *     }
 *     latent_destroy(&c);
 *
 * Rules that hold everywhere:
 * - Functions return 0 or a negative LATENT_E… code; latent_error gives the words. Nothing is
 *   printed, no signal is raised (SIGPIPE neither), the process is never ended.
 * - Arguments are borrowed for the call. In a params struct zero is the default, and `reserved`
 *   stays zero. Strings end with NUL and are UTF-8.
 * - A result is one piece of memory, freed with latent_free; what it points to lives as long.
 *   Pointers to strings in results are never NULL.
 * - Calls block up to the connection's timeout. After LATENT_ETIMEOUT the connection stays usable.
 *   After LATENT_ECONN, LATENT_EPROTO and LATENT_EAUTH it is closed, and what was in flight is dropped: connect again when you like.
 * - Thread-safety: one thread at a time per connection; different connections are independent.
 */
#ifndef LATENT_H
#define LATENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LATENT_API __attribute__((visibility("default")))
#else
#define LATENT_API
#endif

/* The library's interface; its soname follows the first number. */
#define LATENT_VERSION_MAJOR 0
#define LATENT_VERSION_MINOR 1

enum latent_code {
    LATENT_OK = 0,
    LATENT_EINVAL = -1,
    LATENT_ENOMEM = -2,
    LATENT_EIO = -3,
    LATENT_ENOTFOUND = -4,
    LATENT_EEXIST = -5,
    LATENT_EFORMAT = -6,
    LATENT_ELIMIT = -7,
    LATENT_EUTF8 = -8,
    LATENT_ETOOLONG = -9,     /* a text is over the model's token limit */
    LATENT_EEMPTY = -10,      /* nothing to embed */
    LATENT_EDIM = -11,
    LATENT_ENAN = -12,
    LATENT_EMODEL = -13,      /* the collection belongs to another model */
    LATENT_EDEVICE = -14,
    LATENT_EDEVICELOST = -15,
    LATENT_EBUSY = -16,
    LATENT_ENOSPC = -17,
    LATENT_EPERM = -18,
    LATENT_EAUTH = -19,
    LATENT_EPROTO = -20,
    LATENT_EVERSION = -21,
    LATENT_ETIMEOUT = -22,
    LATENT_ECANCELLED = -23,
    LATENT_EUNSUPPORTED = -24,
    LATENT_ESHUTDOWN = -25,
    LATENT_ECORRUPT = -26,
    LATENT_ELOCKED = -27,
    LATENT_ECONN = -28,       /* no daemon there, or the connection broke */
    LATENT_ELOADING = -29,
    LATENT_ERATE = -30,
    LATENT_EINTERNAL = -31
};

/* A connection to a daemon, open or not. */
struct latent;

/* ---- connections ------------------------------------------------------------------------- */

/* A connection object, not connected; NULL when memory is short. */
LATENT_API struct latent *latent_new(void);
/* Closes and frees, and nulls the pointer; NULL is accepted. Results live on. */
LATENT_API void latent_destroy(struct latent **c);

/* Each of these closes what was open before.
 * Errors: LATENT_ECONN (nobody listens), LATENT_EAUTH (the daemon is not the one whose key was named, or
 * demands a key), LATENT_EPERM, LATENT_EVERSION, LATENT_ETIMEOUT, LATENT_EINVAL; of a key file those of reading it.
 * A daemon does not say that it takes a key: where it refuses this one, the first call tells, with LATENT_EAUTH. */

/* path NULL: the default socket (LATENTD_SOCKET, the user's runtime folder, then the system's). */
LATENT_API int latent_connect_unix(struct latent *c, const char *path);
/* server_key: 44 characters of base64, the daemon's public key, as `latent status` prints it.
 * key_file: the client's own key, made by `latent key generate`. */
LATENT_API int latent_connect_tcp(struct latent *c, const char *host, const char *port, const char *server_key, const char *key_file);
/* latent_connect_unix with the default path. */
LATENT_API int latent_connect_default(struct latent *c);
/* An encrypted session over a Unix socket whose daemon demands keys. */
LATENT_API int latent_connect_unix_key(struct latent *c, const char *path, const char *server_key, const char *key_file);
LATENT_API void latent_close(struct latent *c);
LATENT_API bool latent_is_connected(const struct latent *c);

/* For connecting and for each later call, in milliseconds; 0: no limit. Default 300,000; for
 * connecting at most 15,000 of it are used (for latent_connect_private all of it). The daemon is told, so that it gives up as well. */
LATENT_API void latent_set_timeout(struct latent *c, uint32_t timeout_ms);

/* The last error of this connection: code, words for a person (never NULL, valid until the next
 * call on c), and whether the same call may succeed later. c NULL: out of memory. */
LATENT_API int latent_error_code(const struct latent *c);
LATENT_API const char *latent_error(const struct latent *c);
LATENT_API bool latent_error_retryable(const struct latent *c);
/* A code's name ("LATENT_ENOTFOUND") and general words; static storage. */
LATENT_API const char *latent_code_name(int code);
LATENT_API const char *latent_code_text(int code);

/* Frees any result. NULL is accepted. */
LATENT_API void latent_free(void *result);

/* ---- status ------------------------------------------------------------------------------ */

enum latent_phase {
    LATENT_PHASE_STARTING,
    LATENT_PHASE_LOADING_MODEL,
    LATENT_PHASE_OPENING_STORE,
    LATENT_PHASE_RECOVERING,
    LATENT_PHASE_READY,
    LATENT_PHASE_STOPPING
};

/* What the graph's nodes carry. AUTO: int8 from 32 dimensions on, f32 below. 1BIT takes a fifth of int8's memory at 384
 * dimensions, and wants a larger ef for the same recall. Hits have exact scores in any case. */
enum latent_codes { LATENT_CODES_AUTO, LATENT_CODES_INT8, LATENT_CODES_F32, LATENT_CODES_1BIT };

enum latent_metric { LATENT_METRIC_COSINE, LATENT_METRIC_IP, LATENT_METRIC_L2 };

struct latent_collection {
    const char *name;
    uint32_t dim;
    enum latent_metric metric;
    bool vectors_only;
    bool degraded;              /* answers come from an exact scan while the graph is rebuilt */
    const char *degraded_reason;
    const char *fingerprint;    /* of the model; empty with vectors_only */
    const char *index_kind;     /* "hnsw-int8", "hnsw-1bit", "hnsw-f32", "exact" */
    uint64_t documents, chunks;
    uint64_t pending_chunks;    /* durable, not searchable yet */
    uint64_t bytes_store, bytes_index;
    uint64_t accepted_seq, searchable_seq;
    uint32_t m, ef_construction;
    float recall;               /* of sampled searches, which the daemon repeats exactly: the last 256 of its run */
    uint32_t recall_samples;    /* how many; recall is 0 without any */
    uint64_t unsaved;           /* changes that the graph's files lack; the store has them */
    uint64_t compacted_bytes;   /* written by compaction since the daemon's start */
    int64_t compacted_ms;       /* its last success, wall clock; 0: none since the start */
    int64_t compaction_failed_ms; /* since when it is due and does not succeed; 0: all is well */
    const char *compaction_error; /* why */
    bool compacting;            /* just now */
    uint64_t reserved[4];
};

/* The model behind latent_rerank. */
struct latent_reranker {
    const char *model, *model_path, *fingerprint, *weight_type;
    const char *device, *device_kind, *device_note;
    uint32_t token_limit;       /* of query, text and template together */
    uint32_t reserved0;
    uint64_t memory_bytes;      /* that weights and a batch take on the device, as planned at the start */
    uint64_t query_depth, bulk_depth, texts_done; /* texts waiting, of small and of large requests; done since the start */
    uint64_t reserved[4];
};

struct latent_status {
    const char *version;
    enum latent_phase phase;
    uint32_t percent;           /* of the phase */
    bool read_only;
    const char *read_only_reason;
    const char *device, *device_kind, *device_note;
    const char *model, *model_path, *fingerprint, *pooling, *weight_type, *query_template;
    uint32_t dim;
    uint32_t token_limit;
    bool has_tokenizer;
    const struct latent_collection *collections;
    size_t n_collections;
    uint64_t query_depth, bulk_depth, pending_chunks, writes_waiting, tokens_done, texts_done;
    uint64_t uptime_ms;
    uint32_t pid;
    const char *data_dir;
    const char *server_key;     /* for clients with keys; empty: they are not served */
    const char *mask;           /* "causal" or "full": what a token sees */
    const char *warning;        /* what needs a look though everything is answered; empty: nothing */
    const struct latent_reranker *reranker; /* NULL: there is none */
    uint64_t batches_done;      /* in which the device took tokens_done and texts_done */
    /* Memory of the daemon's own, in bytes; all 0 while it loads. */
    uint64_t memory_limit, memory_least, memory_used; /* least: no smaller limit is taken */
    uint64_t memory_model, memory_reranker; /* at most */
    uint64_t memory_store, memory_requests, memory_graphs; /* now; store and graphs: with what words and filters keep between searches */
    const char *memory_source;  /* where the limit comes from, for people */
    bool memory_scarce;         /* near the limit: clients wait, and the daemon makes room */
};

LATENT_API int latent_status(struct latent *c, struct latent_status **out);

/* Told by a call that waits for a daemon, about every 50 ms and in its thread: which phase it is in, and how much of that is done.
 * It does not use the connection. False: wait no longer. */
typedef bool latent_waiting(void *arg, enum latent_phase phase, uint32_t percent);

/* A daemon that has just been started answers LATENT_ELOADING to everything but latent_status. With a function set here, calls wait
 * for it to be ready, however long that takes, and are then answered like any other; they return LATENT_ELOADING when the function
 * says so. NULL, as it is at first: they return it at once. What is begun and not called (latent_search_begin …) never waits. */
LATENT_API void latent_set_waiting(struct latent *c, latent_waiting *waiting, void *arg);

/* ---- a daemon of one's own ---------------------------------------------------------------- */

struct latent_private {
    const char *data;           /* its data folder, made if missing; the user's own, and not open to all */
    const char *model;          /* model file; NULL: the one that came with latentd */
    const char *device;         /* as latentd's --device; NULL: auto */
    const char *program;        /* latentd; NULL: LATENTD_PROGRAM, the installed one, the first in PATH */
    const char *const *options; /* more of latentd's options, such as "--threads", "2", and a NULL; NULL: none. Its folder is / */
    latent_waiting *waiting;    /* told while the daemon starts and loads; false: LATENT_ECANCELLED. NULL: nothing is told */
    void *waiting_arg;
    uint32_t idle_s;            /* the daemon ends when nobody has been connected for so many seconds; 0: 10 */
    uint32_t reserved0;
    uint64_t reserved[4];
};

/* Connects to the latentd that has the data folder, and starts one where none has: search within a program, without a service. Programs
 * that name the same folder share one daemon, whichever comes first (it keeps the options of that one); so does a latentd of the user's
 * that is there already. It listens on a Unix socket in the folder, whose path may be of any length, and reads no file of settings.
 *
 * Lifetime: the daemon is no child of the program and outlives it, SIGKILL included, until its last client has gone for idle_s seconds and
 * the texts that were accepted are embedded (or something stands in the way of that). It writes its log to latentd.log in the folder. A
 * process that a service manager supervises takes its daemon along when it is stopped with all that it has started; nothing
 * acknowledged is lost then either.
 * The caller's process is left as it is: no signal, SIGCHLD included, no child to wait for, no thread, no handler, no folder changed, and
 * one more descriptor, the connection's, with close-on-exec. (In a process that takes over orphans, PR_SET_CHILD_SUBREAPER or
 * number 1, the daemon is an orphan like others.)
 * After LATENT_ECONN, the daemon having been killed say, call it again.
 *
 * Blocks: until the daemon is ready, as long as the connection's timeout allows for all of it together; the daemon goes on after
 * LATENT_ETIMEOUT, and a second call finds it.
 * Errors: LATENT_ENOTFOUND (no latentd, no such model), LATENT_EPERM (the folder is another user's or open to all, or its daemon is
 * another user's), LATENT_ELOCKED (something else has the folder, `latent check` say), LATENT_EMODEL (the daemon there serves another
 * model), LATENT_ETIMEOUT, LATENT_ECANCELLED, LATENT_EINVAL; what latentd said when it could not start, with its code. */
LATENT_API int latent_connect_private(struct latent *c, const struct latent_private *p);

/* ---- collections ------------------------------------------------------------------------- */

struct latent_collection_params {
    uint32_t dim;               /* at most 16,384; 0: the model's */
    enum latent_metric metric;
    bool vectors_only;          /* vectors come with the documents, nothing is embedded */
    bool temporary;             /* dropped at the daemon's next start */
    uint32_t m, ef_construction; /* 4 to 128, at most 4,096; 0: 16 and 200 */
    enum latent_codes codes;
    uint64_t reserved[4];
};

struct latent_collection_list {
    const struct latent_collection *collections;
    size_t n;
};

/* params NULL: defaults; out NULL: not wanted. Errors: LATENT_EEXIST, LATENT_EINVAL (the name). */
LATENT_API int latent_collection_create(struct latent *c, const char *name, const struct latent_collection_params *params,
                                        struct latent_collection **out);
LATENT_API int latent_collection_list(struct latent *c, struct latent_collection_list **out);
/* Errors: LATENT_ENOTFOUND. */
LATENT_API int latent_collection_info(struct latent *c, const char *name, struct latent_collection **out);
LATENT_API int latent_collection_drop(struct latent *c, const char *name);
/* The collection `by` takes the name of `name`, which is dropped, in one step: for what was made anew
 * from it, by another model say. accepted_seq: that of `name` before its documents were read; out
 * NULL: not wanted. Errors: LATENT_ENOTFOUND, LATENT_EINVAL; LATENT_EBUSY: `name` has changed since, or
 * not all of `by` is searchable yet. */
LATENT_API int latent_collection_replace(struct latent *c, const char *name, const char *by,
                                         uint64_t accepted_seq, struct latent_collection **out);

/* ---- documents --------------------------------------------------------------------------- */

/* What happens to a text over the model's limit. Queries and embed know no chunks: there
 * LATENT_LONG_CHUNK is LATENT_LONG_ERROR. */
enum latent_on_long { LATENT_LONG_CHUNK, LATENT_LONG_TRUNCATE, LATENT_LONG_ERROR };
enum latent_wait { LATENT_WAIT_SEARCHABLE, LATENT_WAIT_ACCEPTED };

struct latent_document {
    const char *id;             /* 1 to 512 bytes; replaces the document of the same id */
    const char *text;
    const char *title;          /* NULL or empty: none */
    const char *metadata;       /* a JSON object as text; NULL or empty: none */
    const float *vector;        /* dim floats, for collections with vectors_only; NULL: none */
    uint32_t dim;
    uint32_t source_bytes;      /* what it counts in its job; 0: bytes of id, text, title, metadata and vector */
    const void *reserved[2];
};

struct latent_add {
    const char *collection;
    const struct latent_document *documents;
    size_t n_documents;         /* at most 4096, and 16 MiB of everything */
    enum latent_on_long on_long;
    enum latent_wait wait;
    uint64_t job;               /* from latent_job_open; 0: none */
    uint64_t reserved[4];
};

struct latent_item_error {
    size_t index;               /* position among the documents of the call */
    const char *id;
    int code;
    bool retryable;
    const char *message;
};

struct latent_add_result {
    uint64_t accepted_seq;      /* durable up to here */
    uint64_t searchable_seq;    /* found by search up to here */
    uint32_t accepted;          /* documents that went in; the others are in errors */
    uint32_t truncated;
    uint64_t chunks, tokens;    /* tokens of what is embedded */
    const struct latent_item_error *errors;
    size_t n_errors;
    const uint32_t *cut;        /* positions of the truncated documents among those of the call */
    size_t n_cut;
    uint32_t unchanged;         /* of the accepted: title and text were there already, nothing was embedded again */
    uint32_t reserved0;
};

/* Returns when the documents are found by search, or with LATENT_WAIT_ACCEPTED when they are
 * durable. 0 also when some or all documents were refused: look at errors. */
LATENT_API int latent_add(struct latent *c, const struct latent_add *add, struct latent_add_result **out);

struct latent_get_result {
    const struct latent_document *documents; /* found ones in the order asked; without vectors */
    size_t n_documents;
    const char *const *missing;
    size_t n_missing;
};

/* n: at most 10,000. LATENT_ELIMIT also where the documents take more than 64 MiB: ask for fewer of them. */
LATENT_API int latent_get(struct latent *c, const char *collection, const char *const *ids, size_t n, struct latent_get_result **out);

/* The next documents after the one with the id `after` (NULL or "": from the first), in the order of
 * their ids' bytes: up to n, at least 1 and at most 10,000; fewer when they are large. None in the
 * result: there are no more. So a whole collection can be read, page after page. */
LATENT_API int latent_get_after(struct latent *c, const char *collection, const char *after, size_t n, struct latent_get_result **out);

struct latent_delete_result {
    uint32_t deleted;
    uint64_t accepted_seq;
    const char *const *missing;
    size_t n_missing;
};

LATENT_API int latent_delete(struct latent *c, const char *collection, const char *const *ids, size_t n, struct latent_delete_result **out);

/* ---- search ------------------------------------------------------------------------------ */

enum latent_mode { LATENT_MODE_HYBRID, LATENT_MODE_DENSE, LATENT_MODE_TEXT };
/* How the lists of a hybrid search become one: by reciprocal ranks; or by scores, in standard deviations from their list's mean. */
enum latent_fusion { LATENT_FUSION_RANK, LATENT_FUSION_SCORE };
/* Why there are fewer than k hits. PENDING: chunks of the collection wait for their vectors, so that the same search may find more soon. */
enum latent_short { LATENT_SHORT_NONE, LATENT_SHORT_EXHAUSTED, LATENT_SHORT_FILTER, LATENT_SHORT_BUDGET, LATENT_SHORT_PENDING };

struct latent_search {
    const char *collection;
    const char *query;          /* text; NULL with a vector of one's own */
    const float *vector;        /* dim floats; NULL: the query is embedded */
    uint32_t dim;
    uint32_t k;                 /* 0: 10; at most 10,000 */
    enum latent_mode mode;
    uint32_t ef;                /* 0: default */
    const char *filter;         /* NULL or empty: none */
    const char *instruct;       /* NULL: the model's own instruction */
    bool chunks;                /* hits per chunk instead of the best chunk of each document */
    bool no_text;               /* leave text and metadata out */
    bool exact;                 /* scan instead of the graph */
    enum latent_on_long on_long;
    float dense_weight, text_weight; /* shares of meaning and words in the fusion of a hybrid search; both 0: 1 and 1 */
    uint32_t rerank;            /* so many candidates, at most 1,000, are put into the reranker's order; 0: none */
    enum latent_fusion fusion;
    uint64_t reserved[2];
};

struct latent_hit {
    const char *id;
    float score;                /* larger is nearer */
    uint32_t rank;              /* from 1 */
    uint32_t chunk;             /* within the document, from 0 */
    uint32_t start, end;        /* bytes in the document's text */
    float rerank_score;         /* the reranker's, of the first n_reranked hits */
    const char *title, *text, *metadata;
    const void *reserved[2];
};

struct latent_search_result {
    const struct latent_hit *hits; /* best first */
    size_t n_hits;
    enum latent_mode mode;
    uint32_t k, ef;
    enum latent_short short_reason;
    bool degraded;
    const char *degraded_reason;
    uint32_t tokens;
    bool truncated;
    uint64_t seq;
    const char *filter;         /* as asked; empty: none */
    float dense_weight, text_weight; /* as used; both 0 where nothing was fused */
    const char *used_template;  /* before the query, {} standing for the instruction; empty: none, or it was not embedded */
    const char *instruct;       /* as asked; empty: none, or the query was not embedded */
    bool chunks;                /* as asked */
    uint32_t n_reranked;        /* hits, the first of them, that are in the reranker's order */
    uint32_t rerank_cut;        /* candidates whose texts were cut for it */
    enum latent_fusion fusion;  /* as used */
};

/* Errors: LATENT_ELIMIT where the hits take more than 16 MiB with their texts: fewer, or no_text; with `rerank` LATENT_EUNSUPPORTED:
 * the daemon has no reranker. */
LATENT_API int latent_search(struct latent *c, const struct latent_search *search, struct latent_search_result **out);

/* ---- several requests in flight ---------------------------------------------------------- */

/* Begin sends a request and returns without waiting for its answer (it waits while the daemon
 * takes no more bytes); *id names it. At most LATENT_IN_FLIGHT_MAX are open: then LATENT_EBUSY.
 * Finish waits for that request's answer; LATENT_EINVAL: it was begun by another function, and stays; LATENT_ENOTFOUND: none of that
 * number is in flight, it was finished already, say.
 * latent_next waits up to timeout_ms (0: only looks) until any begun request can be finished without waiting: returns 1 and its
 * id, or 0. Blocking calls may be mixed in; answers that come meanwhile are kept. */
#define LATENT_IN_FLIGHT_MAX 64

LATENT_API int latent_add_begin(struct latent *c, const struct latent_add *add, uint64_t *id);
LATENT_API int latent_add_finish(struct latent *c, uint64_t id, struct latent_add_result **out);
LATENT_API int latent_search_begin(struct latent *c, const struct latent_search *search, uint64_t *id);
LATENT_API int latent_search_finish(struct latent *c, uint64_t id, struct latent_search_result **out);
LATENT_API int latent_next(struct latent *c, uint32_t timeout_ms, uint64_t *id);
LATENT_API size_t latent_in_flight(const struct latent *c);
/* Asks the daemon to drop a begun request; it still has to be finished (LATENT_ECANCELLED, or its
 * answer when that was already on the way). */
LATENT_API int latent_cancel(struct latent *c, uint64_t id);
/* The socket, for poll; -1 when closed. Read and write only through the library. */
LATENT_API int latent_fd(const struct latent *c);

/* ---- embeddings -------------------------------------------------------------------------- */

struct latent_embed_input {
    const char *text;           /* or token ids as they are, not both (LATENT_EINVAL): */
    const uint32_t *ids;
    uint32_t n_ids;
    uint32_t instruction_len;   /* with ids, else LATENT_EINVAL: leading positions left out of the pool */
    const void *reserved[2];
};

struct latent_embed {
    const struct latent_embed_input *inputs;
    size_t n_inputs;            /* at most 10,000 */
    bool query;                 /* with the model's query template */
    enum latent_on_long on_long;
    const char *instruct;       /* with query, else LATENT_EINVAL; NULL: the model's own */
    uint64_t reserved[4];
};

struct latent_embedding {
    const float *vector;        /* dim floats of unit length; NULL: see code */
    uint32_t tokens;            /* used */
    uint32_t tokens_seen;       /* before cutting, and of a text that is too long */
    bool truncated;
    int code;                   /* 0, or why there is no vector */
    const char *message;
    const void *reserved[2];
};

struct latent_embed_result {
    const struct latent_embedding *embeddings; /* one per input, in order */
    size_t n;
    uint32_t dim;
};

LATENT_API int latent_embed(struct latent *c, const struct latent_embed *embed, struct latent_embed_result **out);

/* ---- reranking --------------------------------------------------------------------------- */

struct latent_rerank {
    const char *query;
    const char *const *texts;
    size_t n_texts;             /* at most 1,000; with the query once for each at most 32 MiB */
    enum latent_on_long on_long; /* LATENT_LONG_CHUNK is LATENT_LONG_ERROR; what is cut is the text, never the query */
    uint32_t reserved0;
    uint64_t reserved[4];
};

struct latent_rerank_score {
    float score;                /* larger is nearer, among texts for one query; 0 to 1 where the model says yes or no */
    uint32_t tokens;            /* used, those of the query and of the model's template included */
    uint32_t tokens_seen;       /* before cutting, and of a text that is too long */
    bool truncated;
    int code;                   /* 0, or why there is no score */
    const char *message;
    const void *reserved[2];
};

struct latent_rerank_result {
    const struct latent_rerank_score *scores; /* one per text, in order */
    size_t n;
};

/* How well each text answers the query, by a model that reads both together. Errors: LATENT_EUNSUPPORTED:
 * the daemon was started without one (latentd --reranker FILE); LATENT_EEMPTY in a score: no query. */
LATENT_API int latent_rerank(struct latent *c, const struct latent_rerank *rerank, struct latent_rerank_result **out);

/* ---- explained --------------------------------------------------------------------------- */

struct latent_explain {
    const char *text;           /* at most 65,536 bytes */
    const char *title;          /* of a document; NULL: none */
    const char *instruct;       /* with query; NULL: the model's own */
    bool query;                 /* as search takes it; false: as add takes a document's text */
    enum latent_on_long on_long;
    uint64_t reserved[4];
};

/* One sequence of tokens, which becomes one vector: the text, or one of its chunks. */
struct latent_explained_text {
    const char *prompt;         /* exactly what is tokenised: template, instruction or title, and text */
    const uint32_t *ids;        /* what the model is given, its own ids before and behind included */
    const uint32_t *offsets;    /* one an id: the byte of the prompt where its first character begins */
    size_t n_tokens;
    uint32_t text_at;           /* bytes of the prompt before the text */
    uint32_t start, end;        /* its bytes in the text that was asked about; a cut one has their beginning only */
    uint32_t pool_from;         /* positions before it are left out of the pool */
    uint32_t tokens_seen;       /* before cutting; more than n_tokens where it was cut */
    bool bos, eos;              /* the first id, the last id was put there by the model's rules */
    uint32_t prompt_used;       /* bytes of the prompt that the ids stand for: fewer than it has where it was cut */
    uint32_t reserved0;
    const void *reserved[1];
};

struct latent_explain_result {
    const struct latent_explained_text *texts;
    size_t n_texts;
    const char *used_template; /* before it or around it, {} standing for instruction or title; empty: none */
    const char *model, *fingerprint, *weight_type, *device, *device_kind, *pooling, *mask;
    uint32_t dim, token_limit;
};

/* What the model is given for a text; nothing is embedded. Errors: those of embedding it; LATENT_ELIMIT
 * also where the chunks are too many to tell. */
LATENT_API int latent_explain(struct latent *c, const struct latent_explain *explain, struct latent_explain_result **out);

/* ---- jobs -------------------------------------------------------------------------------- */

enum latent_job_state {
    LATENT_JOB_OPEN,
    LATENT_JOB_RUNNING,
    LATENT_JOB_DONE,
    LATENT_JOB_CANCELLED,
    LATENT_JOB_FAILED,
    LATENT_JOB_ABANDONED /* its clients went without closing it, and nothing waits; adding to it opens it again */
};

struct latent_job {
    uint64_t job;
    const char *collection, *label;
    enum latent_job_state state;
    uint32_t reserved0;
    uint64_t accepted, searchable, failed; /* documents; one that is sent again counts once in the first two */
    uint64_t pending_chunks;
    uint64_t total_documents, total_bytes; /* as announced; 0: unknown */
    int64_t created_ms;         /* since 1970 UTC */
    const char *current;        /* id of the document being embedded; may be empty */
    const char *last_error;     /* of the last document that failed, beginning with its id; empty: none */
    uint64_t received_bytes;    /* of the documents that came, in the unit of their source_bytes */
    uint64_t done_bytes;        /* of those that wait for nothing any more: of total_bytes, or, once closed, of received_bytes */
    uint64_t reserved[1];
};

struct latent_job_list {
    const struct latent_job *jobs;
    size_t n;
};

/* label: what `latent job list` shows; totals 0: unknown. */
LATENT_API int latent_job_open(struct latent *c, const char *collection, const char *label, uint64_t total_documents, uint64_t total_bytes,
                               struct latent_job **out);
/* No more documents will come. out NULL: not wanted, as with cancel. */
LATENT_API int latent_job_close(struct latent *c, uint64_t job, struct latent_job **out);
/* Drops the job's documents that are not searchable yet; returns when they have gone. Should it not, the rest goes by itself. */
LATENT_API int latent_job_cancel(struct latent *c, uint64_t job, struct latent_job **out);
LATENT_API int latent_job_list(struct latent *c, struct latent_job_list **out);

#ifdef __cplusplus
}
#endif

#endif
