/* A Hugging Face checkpoint folder: config.json, safetensors shards with their index, tokenizer.json.
 * Thread-safety: safe once open. */
#ifndef MODEL_CHECKPOINT_H
#define MODEL_CHECKPOINT_H

#include "model/model.h"
#include "model/safetensors.h"

struct checkpoint;

/* Maps and parses every shard; config.json is checked later, by checkpoint_config.
 * Errors: LT_ENOTFOUND (the file in the message), LT_EFORMAT, LT_ELIMIT … each with the file's name. */
int checkpoint_open(struct checkpoint **c, const char *dir, struct err_msg *em);
void checkpoint_destroy(struct checkpoint **c);
/* LT_ECORRUPT when a shard was cut short while it was read: zeros came instead. */
int checkpoint_whole(const struct checkpoint *c, struct err_msg *em);

/* All shards' tensors; NULL when there is none of that name, or i is past the last. */
const struct safetensors_entry *checkpoint_find(const struct checkpoint *c, const char *name);
const struct safetensors_entry *checkpoint_at(const struct checkpoint *c, size_t i);

/* Tells the kernel that the pages of an entry's first len bytes will not be read again. */
void checkpoint_done_with(const struct safetensors_entry *e, size_t len);

/* What config.json says about prefixes; filled by checkpoint_config. */
struct checkpoint_texts {
    char query_prefix[4097];
    char instruct_template[4097];
};

/* Reads config.json (and tokenizer_config.json where there is one) as NV-Embed's: fields that are absent take the released
 * defaults. info's strings are not set.
 * Errors: LT_EFORMAT, LT_EUNSUPPORTED: the field in the message. */
int checkpoint_config(const char *dir, struct model_info *info, struct checkpoint_texts *texts, struct err_msg *em);
/* The same from bytes; tokenizer_config may be NULL. */
int checkpoint_config_parse(const char *config, size_t len, const char *tokenizer_config, size_t tokenizer_len,
                            struct model_info *info, struct checkpoint_texts *texts, struct err_msg *em);

#endif
