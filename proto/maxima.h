/* The protocol's numbers. PROTOCOL.md gives their reasons; text and numbers change in one commit. */
#ifndef PROTO_MAXIMA_H
#define PROTO_MAXIMA_H

#define PROTO_VERSION 1

/* Preamble. */
#define PROTO_HELLO_BYTES 16
#define PROTO_HANDSHAKE_TIMEOUT_MS 5000 /* from accept to the end of the handshake, in all */

/* Frames: 4 bytes of length, little-endian, then that many bytes of message. */
#define PROTO_FRAME_HEADER_BYTES 4
#define PROTO_FRAME_MAX (16u << 20) /* bytes of message, either way */

/* Messages. */
#define PROTO_MESSAGE_DEPTH 8            /* messages within messages; latent.proto needs 4 */
#define PROTO_MESSAGE_FIELDS (512u << 10) /* fields on the wire, all depths together */
#define PROTO_MESSAGE_REPEATED (64u << 10) /* elements of one repeated field, unless packed */
#define PROTO_MESSAGE_UNKNOWN 64         /* fields this version does not know, per message */
#define PROTO_MESSAGE_BUDGET (96u << 20) /* bytes of memory one unpacked message may take */

/* Requests. The daemon answers LT_ELIMIT where one is passed. */
#define PROTO_IN_FLIGHT_MAX 256          /* unanswered requests of one connection */
#define PROTO_ADD_DOCUMENTS_MAX 4096
#define PROTO_IDS_MAX 10000              /* get, delete */
#define PROTO_EMBED_INPUTS_MAX 10000
#define PROTO_EMBED_IDS_MAX 65536        /* token ids of one input, before the model's own limit */
#define PROTO_RERANK_TEXTS_MAX 1000      /* rerank; candidates of a search */
#define PROTO_RERANK_BYTES_MAX (32u << 20) /* texts, and the question once for each */
#define PROTO_EXPLAIN_TEXT_MAX (64u << 10) /* bytes */
#define PROTO_EXPLAIN_REPLY_MAX (2u << 20) /* bytes of prompts, ids and offsets */
#define PROTO_SEARCH_K_MAX 10000
#define PROTO_SEARCH_EF_MAX 100000
#define PROTO_DIM_MAX 65536
#define PROTO_COLLECTION_NAME_MAX 64     /* bytes, as the following ones */
#define PROTO_DOCUMENT_ID_MAX 512
#define PROTO_TITLE_MAX 4096
#define PROTO_METADATA_MAX (64u << 10)
#define PROTO_TEXT_MAX (15u << 20)
#define PROTO_QUERY_MAX (64u << 10)
#define PROTO_FILTER_MAX (16u << 10)
#define PROTO_INSTRUCT_MAX 4096
#define PROTO_JOB_LABEL_MAX 256

#endif
