#include "model/arch_known.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "model/arch.h"

enum mask { MASK_FAMILY, MASK_CAUSAL, MASK_FULL };
enum pool { POOL_FAMILY, POOL_MEAN, POOL_LAST, POOL_CLS };

struct known {
    const char *words[2]; /* of the name, letters and digits only, in lower case */
    const char *arch;     /* NULL: any */
    enum mask mask;       /* where the file does not say */
    enum pool pool;       /* likewise */
    const char *eos;      /* the piece put behind every text, whatever the file says: it was trained on it; NULL: as the file says */
    const char *query, *instruct, *passage;
    const char *suffix;   /* behind a text that has one of these; NULL: nothing */
};

#define WEB "Given a web search query, retrieve relevant passages that answer the query"
#define INSTRUCT "Instruct: {}\nQuery: "
#define WEB_QUERY "Instruct: " WEB "\nQuery: "
#define KALM_QUERY "Instruct: Given a query, retrieve documents that answer the query\nQuery: "
/* The chat template's system message is the instruction. */
#define CHAT(instruct) "<|im_start|>system\n" instruct "<|im_end|>\n<|im_start|>user\n"
#define CHAT_END "<|im_end|>\n<|im_start|>assistant\n"
#define QWEN_EOS "<|endoftext|>"

/* The first that fits counts. */
static const struct known models[] = {
    {{"qwen3embedding"}, "qwen3", MASK_FAMILY, POOL_LAST, QWEN_EOS, "Instruct: " WEB "\nQuery:", "Instruct: {}\nQuery:", NULL},
    {{"qwen3vlembedding"}, "qwen3vl", MASK_FAMILY, POOL_LAST, NULL, CHAT("Retrieve images or text relevant to the user's query."), CHAT("{}"),
     CHAT("Represent the user's input."), CHAT_END},
    {{"e5mistral"}, "llama", MASK_FAMILY, POOL_LAST, "</s>", WEB_QUERY, INSTRUCT, NULL},
    {{"sfrembeddingmistral"}, "llama", MASK_FAMILY, POOL_LAST, "</s>", WEB_QUERY, INSTRUCT, NULL},
    {{"sfrembedding2"}, "llama", MASK_FAMILY, POOL_LAST, "</s>", WEB_QUERY, INSTRUCT, NULL},
    {{"linqembedmistral"}, "llama", MASK_FAMILY, POOL_LAST, "</s>", WEB_QUERY, INSTRUCT, NULL},
    {{"bgeenicl"}, "llama", MASK_FAMILY, POOL_LAST, "</s>", "<instruct>" WEB ".\n<query>", "<instruct>{}\n<query>", NULL, "\n<response>"},
    {{"gteqwen"}, "qwen2", MASK_FULL, POOL_LAST, QWEN_EOS, WEB_QUERY, INSTRUCT, NULL},
    {{"infretriever"}, "qwen2", MASK_FULL, POOL_LAST, QWEN_EOS, WEB_QUERY, INSTRUCT, NULL}, /* gte-Qwen2, trained on */
    {{"nomicembedcode"}, "qwen2", MASK_FAMILY, POOL_LAST, NULL, "Represent this query for searching relevant code: ", "", NULL},
    {{"harrier"}, NULL, MASK_CAUSAL, POOL_LAST, NULL, WEB_QUERY, INSTRUCT, NULL},
    {{"f2llm"}, "qwen3", MASK_FAMILY, POOL_LAST, NULL, WEB_QUERY, INSTRUCT, NULL},
    {{"pplxembed"}, "qwen3", MASK_FULL, POOL_MEAN, NULL, "", "", NULL},
    {{"bgemultilingualgemma2"}, "gemma2", MASK_FAMILY, POOL_LAST, "<eos>", "<instruct>" WEB ".\n<query>", "<instruct>{}\n<query>", NULL},
    {{"kalmembedding", "gemma3"}, NULL, MASK_FULL, POOL_LAST, NULL, KALM_QUERY, INSTRUCT, NULL},
    {{"kalmembedding", "v2"}, "qwen2", MASK_FULL, POOL_MEAN, NULL, KALM_QUERY, INSTRUCT, NULL},
    {{"bidirlm"}, NULL, MASK_FULL, POOL_MEAN, NULL, "", "", NULL},
    {{"jinaembeddingsv5", "retrieval"}, "qwen3", MASK_FAMILY, POOL_LAST, NULL, "Query: ", "", "Document: "},
    {{"jinaembeddingsv5", "retrieval"}, "eurobert", MASK_FAMILY, POOL_LAST, NULL, "Query: ", "", "Document: "},
    {{"modernbertembed"}, "modern-bert", MASK_FAMILY, POOL_MEAN, NULL, "search_query: ", "", "search_document: "},
    {{"gtemodernbert"}, "modern-bert", MASK_FAMILY, POOL_CLS, NULL, "", "", NULL},
    {{"graniteembedding"}, "modern-bert", MASK_FAMILY, POOL_CLS, NULL, "", "", NULL},
    {{"jinaembeddingsv4", "retrieval"}, "qwen2vl", MASK_FAMILY, POOL_MEAN, NULL, "Query: ", "", "Passage: "},
    {{"jinaembeddingsv4", "code"}, "qwen2vl", MASK_FAMILY, POOL_MEAN, NULL, "Query: ", "", "Passage: "},
    {{"jinacodeembeddings"}, "qwen2", MASK_FAMILY, POOL_LAST, NULL, "Find the most relevant code snippet given the following query:\n", "",
     "Candidate code snippet:\n"},
    {{"llamaembednemotron"}, "llama-embed", MASK_FULL, POOL_MEAN, NULL, "Instruct: Given a question, retrieve passages that answer the question\nQuery: ",
     INSTRUCT, NULL},
    {{"llamanemotronembed"}, "llama-embed", MASK_FULL, POOL_MEAN, NULL, "query: ", "", "passage: "},
    {{"embeddinggemma"}, "gemma-embedding", MASK_FULL, POOL_MEAN, NULL, "task: search result | query: ", "task: {} | query: ", "title: {} | text: "},
};

/* Their fine-tuned offspring has other names. */
static const struct known gemma_300m = {{NULL}, NULL, MASK_FULL, POOL_MEAN, NULL, "task: search result | query: ", "task: {} | query: ",
                                        "title: {} | text: "};
static const struct known qwen3_last = {{NULL}, NULL, MASK_FAMILY, POOL_LAST, NULL, "Instruct: " WEB "\nQuery:", "Instruct: {}\nQuery:", NULL};

/* Letters and digits of s, in lower case. */
static void fold(const char *s, size_t len, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < room; i++)
        if (isalnum((unsigned char)s[i]) && !((unsigned char)s[i] & 0x80))
            out[n++] = (char)tolower((unsigned char)s[i]);
    out[n] = 0;
}

static const struct known *find(const struct model_info *i, const char *arch, size_t len)
{
    char name[sizeof i->name], family[48];
    fold(i->name, strlen(i->name), name, sizeof name);
    snprintf(family, sizeof family, "%.*s", (int)(len < 40 ? len : 40), arch);
    for (const struct known *k = models; k < models + sizeof models / sizeof *models; k++)
        if ((!k->arch || !strcmp(k->arch, family)) && strstr(name, k->words[0]) && (!k->words[1] || strstr(name, k->words[1])))
            return k;
    if (!strcmp(family, "gemma-embedding") && i->hidden == 768)
        return &gemma_300m;
    return !strcmp(family, "qwen3") && i->pooling == MODEL_POOL_LAST && strstr(name, "embedding") ? &qwen3_last : NULL;
}

/* Id of a piece, -1 where there is none. */
static int32_t piece_id(const struct gguf *g, const char *piece, struct err_msg *em)
{
    struct bytes_in in;
    size_t n;
    if (gguf_strings(g, "tokenizer.ggml.tokens", &in, &n, em) < 0)
        return -1;
    for (size_t i = 0; i < n && i < INT32_MAX; i++) {
        const size_t len = (size_t)bytes_u64(&in);
        const void *s = bytes_take(&in, len);
        if (s && len == strlen(piece) && !memcmp(s, piece, len))
            return (int32_t)i;
    }
    return -1;
}

static void add_eos(const struct gguf *g, struct model_info *i, const char *piece, struct err_msg *em)
{
    const int32_t id = i->has_tokenizer ? piece_id(g, piece, em) : -1;
    if (id < 0)
        return;
    i->eos = id;
    i->add_eos = true;
}

static const enum model_pooling poolings[] = {[POOL_MEAN] = MODEL_POOL_MEAN, [POOL_LAST] = MODEL_POOL_LAST, [POOL_CLS] = MODEL_POOL_CLS};

/* Where the file has keys of its own, those count. */
static int apply_open(const struct gguf *g, struct model_info *i, const struct known *k, const char *arch, size_t len, struct err_msg *em)
{
    char key[96];
    bool causal;
    uint32_t pooling = 0;
    int e;
    snprintf(key, sizeof key, "%.*s.attention.causal", (int)(len < 40 ? len : 40), arch);
    e = gguf_bool(g, key, &causal, em);
    if (e < 0 && e != LT_ENOTFOUND)
        return e;
    if (e == LT_ENOTFOUND && k->mask != MASK_FAMILY)
        arch_set_mask(i, k->mask == MASK_CAUSAL);
    snprintf(key, sizeof key, "%.*s.pooling_type", (int)(len < 40 ? len : 40), arch);
    if ((e = gguf_maybe(gguf_u32(g, key, &pooling, em))) < 0)
        return e;
    if (!pooling && k->pool != POOL_FAMILY)
        i->pooling = poolings[k->pool];
    return 0;
}

int arch_known_apply(const struct gguf *g, struct model_info *i, struct err_msg *em)
{
    const char *arch;
    size_t len;
    int e = gguf_str(g, "general.architecture", &arch, &len, em);
    i->query_prefix = i->instruct_template = "";
    i->pool_prefix = true;
    if (e < 0 || i->ranks)
        return e;
    const struct known *k = find(i, arch, len);
    if (!k)
        return 0;
    if ((e = apply_open(g, i, k, arch, len, em)) < 0)
        return e;
    if (k->eos)
        add_eos(g, i, k->eos, em);
    if (i->embed_scale > 0 && k->passage && (!i->dense[0] || !i->dense[1]))
        i->lacks = "EmbeddingGemma's dense layers (dense_2, dense_3), without which its vectors are others and worse";
    i->query_prefix = k->query;
    i->instruct_template = k->instruct;
    i->passage_template = k->passage;
    i->text_suffix = k->suffix;
    return 0;
}
