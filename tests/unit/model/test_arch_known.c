/* Models whose files leave open what a vector depends on: completed by name, but not against the file's own keys. */
#include "tests/unit.h"

#include "model/arch_known.h"
#include "tests/mini_gguf.h"

struct file {
    const char *arch, *name;
    int pooling;            /* -1: no such key */
    int causal;             /* likewise */
    uint32_t hidden;
    bool ranks, other_eos;  /* other_eos: the file has one of its own, which is not added */
    uint32_t dense;
};

static void put_key(struct bytes_out *o, const char *arch, const char *key, enum gguf_type type)
{
    char full[80];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    mini_str(o, full);
    bytes_put_u32(o, type);
}

/* What arch_read would have made of it, completed. */
static struct model_info apply(const struct file *f)
{
    static const char *const tokens[] = {"a", "</s>", "<|endoftext|>", "<|im_end|>", "<eos>"};
    struct model_info i = {.foreign = true, .pooling = f->pooling == 3 ? MODEL_POOL_LAST : MODEL_POOL_MEAN, .hidden = f->hidden, .has_tokenizer = true,
                           .bos = -1, .eos = f->other_eos ? 3 : -1, .ranks = f->ranks,
                           .causal = f->causal < 0 ? !strstr(f->arch, "embed") && !strstr(f->arch, "bert") : f->causal, .window = strstr(f->arch, "gemma") ? 257 : 0,
                           .embed_scale = strstr(f->arch, "gemma") ? 8 : 0, .dense = {f->dense, f->dense}};
    struct bytes_out o = {0};
    struct gguf *g = NULL;
    struct err_msg em = {{0}};
    snprintf(i.name, sizeof i.name, "%s", f->name);
    bytes_put_str(&o, "GGUF");
    bytes_put_u32(&o, 3);
    bytes_put_u64(&o, 0);
    bytes_put_u64(&o, 2u + (f->pooling >= 0) + (f->causal >= 0));
    put_key(&o, "general", "architecture", GGUF_STRING);
    mini_str(&o, f->arch);
    mini_array(&o, "tokenizer.ggml.tokens", GGUF_STRING, 5);
    for (int t = 0; t < 5; t++)
        mini_str(&o, tokens[t]);
    if (f->pooling >= 0) {
        put_key(&o, f->arch, "pooling_type", GGUF_U32);
        bytes_put_u32(&o, (uint32_t)f->pooling);
    }
    if (f->causal >= 0) {
        put_key(&o, f->arch, "attention.causal", GGUF_BOOL);
        bytes_put_u8(&o, (uint8_t)f->causal);
    }
    assert_int_equal(gguf_parse(&g, o.data, o.len, &em), 0);
    assert_int_equal(arch_known_apply(g, &i, &em), 0);
    gguf_destroy(&g);
    bytes_out_finish(&o);
    assert_true(i.pool_prefix && i.query_prefix && i.instruct_template);
    return i;
}

static void test_names(void **state)
{
    static const struct {
        const char *arch, *name;
        bool causal;
        enum model_pooling pooling;
        int32_t eos; /* -1: none is added */
        const char *query, *passage;
    } cases[] = {
        {"qwen3", "Qwen3 Embedding 0.6B", true, MODEL_POOL_LAST, 2, "answer the query\nQuery:", NULL},
        {"qwen3", "Qwen3-EMBEDDING-8B-f16", true, MODEL_POOL_LAST, 2, "answer the query\nQuery:", NULL},
        {"qwen3", "Qwen3 8B", true, MODEL_POOL_MEAN, -1, "", NULL},
        {"llama", "e5-mistral-7b-instruct", true, MODEL_POOL_LAST, 1, "answer the query\nQuery: ", NULL},
        {"llama", "E5 Mistral 7B Instruct", true, MODEL_POOL_LAST, 1, "answer the query\nQuery: ", NULL},
        {"llama", "SFR Embedding Mistral", true, MODEL_POOL_LAST, 1, "\nQuery: ", NULL},
        {"llama", "SFR-Embedding-2_R", true, MODEL_POOL_LAST, 1, "\nQuery: ", NULL},
        {"llama", "Linq Embed Mistral", true, MODEL_POOL_LAST, 1, "\nQuery: ", NULL},
        {"llama", "Bge En Icl", true, MODEL_POOL_LAST, 1, "<instruct>Given a web search query, retrieve relevant passages that answer the query.\n<query>",
         NULL},
        {"llama", "Mistral 7B Instruct v0.3", true, MODEL_POOL_MEAN, -1, "", NULL},
        {"qwen2", "gte-Qwen2-1.5B-instruct", false, MODEL_POOL_LAST, 2, "\nQuery: ", NULL},
        {"qwen2", "Gte Qwen1.5 7B Instruct", false, MODEL_POOL_LAST, 2, "\nQuery: ", NULL},
        {"qwen2", "Inf Retriever V1 1.5b", false, MODEL_POOL_LAST, 2, "\nQuery: ", NULL},
        {"qwen2", "Nomic Embed Code", true, MODEL_POOL_LAST, -1, "Represent this query for searching relevant code: ", NULL},
        {"qwen2", "Qwen2 1.5B Instruct", true, MODEL_POOL_MEAN, -1, "", NULL},
        {"qwen2", "KaLM Embedding Multilingual Mini Instruct v2.5", false, MODEL_POOL_MEAN, -1, "\nQuery: ", NULL},
        {"qwen2", "KaLM Embedding Multilingual Mini v1", true, MODEL_POOL_MEAN, -1, "", NULL},
        {"qwen2", "Jina Code Embeddings 0.5b", true, MODEL_POOL_LAST, -1, "given the following query:\n", "Candidate code snippet:\n"},
        {"qwen2vl", "Jina Embeddings V4 Text Retrieval", true, MODEL_POOL_MEAN, -1, "Query: ", "Passage: "},
        {"qwen3", "Jina Embeddings V5 Text Small Retrieval", true, MODEL_POOL_LAST, -1, "Query: ", "Document: "},
        {"eurobert", "Jina Embeddings V5 Text Nano Retrieval", false, MODEL_POOL_LAST, -1, "Query: ", "Document: "},
        {"modern-bert", "Modernbert Embed Base", false, MODEL_POOL_MEAN, -1, "search_query: ", "search_document: "},
        {"modern-bert", "Gte Modernbert Base", false, MODEL_POOL_CLS, -1, "", NULL},
        {"modern-bert", "Granite Embedding Small English R2", false, MODEL_POOL_CLS, -1, "", NULL},
        {"modern-bert", "ModernBERT base", false, MODEL_POOL_MEAN, -1, "", NULL},
        {"eurobert", "EuroBERT 210m", false, MODEL_POOL_MEAN, -1, "", NULL},
        {"qwen3vl", "Qwen3 VL Embedding 2B", true, MODEL_POOL_LAST, -1, "relevant to the user's query.<|im_end|>\n<|im_start|>user\n",
         "<|im_start|>system\nRepresent the user's input.<|im_end|>\n<|im_start|>user\n"},
        {"gemma2", "Bge Multilingual Gemma2", true, MODEL_POOL_LAST, 4, "<instruct>Given a web search query, retrieve relevant passages that answer the "
         "query.\n<query>", NULL},
        {"qwen3", "Harrier Oss V1 0.6b", true, MODEL_POOL_LAST, -1, "\nQuery: ", NULL},
        {"qwen3", "F2LLM v2 0.6B", true, MODEL_POOL_LAST, -1, "\nQuery: ", NULL},
        {"qwen3", "Pplx Embed V1 0.6b", false, MODEL_POOL_MEAN, -1, "", NULL},
        {"llama-embed", "Llama Embed Nemotron 8B", false, MODEL_POOL_MEAN, -1, "\nQuery: ", NULL},
        {"llama-embed", "Llama Nemotron Embed 1b V2", false, MODEL_POOL_MEAN, -1, "query: ", "passage: "},
        {"gemma-embedding", "Embeddinggemma 300M", false, MODEL_POOL_MEAN, -1, "task: search result | query: ", "title: {} | text: "},
        {"gemma-embedding", "KaLM Embedding Gemma3 12B 2511", false, MODEL_POOL_LAST, -1, "\nQuery: ", NULL},
        {"gemma-embedding", "Some Gemma3 Embedder", false, MODEL_POOL_MEAN, -1, "", NULL},
    };
    assert_string_equal(apply(&(struct file){"qwen3vl", "Qwen3-VL-Embedding-8B", -1, -1, 64, false, true, 0}).text_suffix,
                        "<|im_end|>\n<|im_start|>assistant\n");
    assert_string_equal(apply(&(struct file){"llama", "bge-en-icl", -1, -1, 64, false, true, 0}).text_suffix, "\n<response>");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const struct file f = {cases[c].arch, cases[c].name, -1, -1, 64, false, true, 0};
        const struct model_info i = apply(&f);
        const size_t n = strlen(i.query_prefix), tail = strlen(cases[c].query);
        if (i.causal != cases[c].causal || i.pooling != cases[c].pooling || i.add_eos != (cases[c].eos >= 0) ||
            (i.add_eos && i.eos != cases[c].eos) || n < tail || strcmp(i.query_prefix + n - tail, cases[c].query) || (n && !tail) ||
            (!i.passage_template != !cases[c].passage) || (i.passage_template && strcmp(i.passage_template, cases[c].passage)))
            fail_msg("%s: causal %d, pooling %d, EOS %d (added %d), \"%s\", \"%s\"", f.name, i.causal, i.pooling, i.eos, i.add_eos, i.query_prefix,
                     i.passage_template ? i.passage_template : "");
    }
}

static void test_own_keys(void **state)
{
    struct model_info i = apply(&(struct file){"qwen2", "gte-Qwen2-7B-instruct", 1, 1, 64, false, false, 0});
    assert_true(i.causal && i.pooling == MODEL_POOL_MEAN);
    i = apply(&(struct file){"llama", "e5-mistral-7b-instruct", 0, -1, 64, false, false, 0}); /* 0: none */
    assert_int_equal(i.pooling, MODEL_POOL_LAST);
    /* Any Qwen3 that pools the last token and calls itself so; EmbeddingGemma's size under another name. */
    i = apply(&(struct file){"qwen3", "Octen Embedding 4B", 3, -1, 64, false, false, 0});
    assert_true(!i.add_eos && strstr(i.query_prefix, "\nQuery:"));
    i = apply(&(struct file){"gemma-embedding", "my-finetune", 1, -1, 768, false, false, 0});
    assert_true(i.passage_template && strstr(i.lacks, "dense_2"));
    i = apply(&(struct file){"gemma-embedding", "embeddinggemma-300m", 1, -1, 768, false, false, 3072});
    assert_true(i.passage_template && !i.lacks);
    /* Gemma's window goes with the mask. */
    i = apply(&(struct file){"gemma-embedding", "Harrier Oss V1 270m", -1, -1, 640, false, false, 0});
    assert_true(i.causal && i.window == 512 && i.pooling == MODEL_POOL_LAST && !i.passage_template);
    i = apply(&(struct file){"qwen3", "Qwen3 Embedding Reranker", 4, -1, 64, true, false, 0});
    assert_string_equal(i.query_prefix, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_own_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
