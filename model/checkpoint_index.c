#include "model/checkpoint_index.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "model/json_limit.h"

#define MAX_DEPTH 8
#define MAX_VALUES (1u << 20)

/* Nothing that could leave the folder, name another kind of file or hide in a message. */
static bool plain_name(const char *name, size_t len)
{
    if (!len || len > CHECKPOINT_MAX_NAME || *name == '.' || strlen(name) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] == '/' || (unsigned char)name[i] < ' ')
            return false;
    return true;
}

static int shard_number(struct checkpoint_index *x, const char *what, const char *name, uint32_t *number,
                        struct err_msg *em)
{
    /* Shards are listed in runs, so the last one is the likeliest. */
    for (size_t i = x->n_shards; i-- > 0;) {
        if (!strcmp(x->shard[i], name)) {
            *number = (uint32_t)i;
            return 0;
        }
    }
    if (x->n_shards == CHECKPOINT_MAX_SHARDS)
        return err_set(em, LT_ELIMIT, "%s: more than %d shards", what, CHECKPOINT_MAX_SHARDS);
    char **grown = reallocarray(x->shard, x->n_shards + 1, sizeof *grown);
    if (grown)
        x->shard = grown;
    if (!grown || !(x->shard[x->n_shards] = strdup(name)))
        return err_set(em, LT_ENOMEM, "%s: no memory", what);
    *number = (uint32_t)x->n_shards++;
    return 0;
}

static int read_map(struct checkpoint_index *x, const char *what, json_t *map, struct err_msg *em)
{
    const char *tensor;
    json_t *v;
    int r;
    const size_t n = json_object_size(map);
    if (!json_is_object(map) || !n)
        return err_set(em, LT_EFORMAT, "%s: has no weight_map", what);
    if (n > CHECKPOINT_MAX_TENSORS)
        return err_set(em, LT_ELIMIT, "%s: %zu tensors, at most %d", what, n, CHECKPOINT_MAX_TENSORS);
    x->place = calloc(n, sizeof *x->place);
    if (!x->place)
        return err_set(em, LT_ENOMEM, "%s: no memory for %zu tensors", what, n);
    json_object_foreach(map, tensor, v) {
        struct checkpoint_place *p = &x->place[x->n_places];
        if (!json_is_string(v) || !plain_name(json_string_value(v), json_string_length(v)))
            return err_set(em, LT_EFORMAT, "%s: %.100s is not in a plain file name", what, tensor);
        if ((r = shard_number(x, what, json_string_value(v), &p->shard, em)) < 0)
            return r;
        if (!(p->tensor = strdup(tensor)))
            return err_set(em, LT_ENOMEM, "%s: no memory for %zu tensors", what, n);
        x->n_places++;
    }
    return 0;
}

int checkpoint_index_parse(struct checkpoint_index *x, const char *what, const char *text, size_t len,
                           struct err_msg *em)
{
    json_error_t why;
    *x = (struct checkpoint_index){0};
    if (len > CHECKPOINT_INDEX_MAX)
        return err_set(em, LT_ELIMIT, "%s: %zu bytes, at most %u", what, len, CHECKPOINT_INDEX_MAX);
    int r = json_limit_check(what, text, len, MAX_DEPTH, MAX_VALUES, em);
    if (r < 0)
        return r;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (json_is_object(root))
        r = read_map(x, what, json_object_get(root, "weight_map"), em);
    else
        r = err_set(em, LT_EFORMAT, "%s: %s", what, root ? "not a JSON object" : why.text);
    json_decref(root);
    return r;
}

void checkpoint_index_finish(struct checkpoint_index *x)
{
    for (size_t i = 0; i < x->n_shards; i++)
        free(x->shard[i]);
    for (size_t i = 0; i < x->n_places; i++)
        free(x->place[i].tensor);
    free(x->shard);
    free(x->place);
    *x = (struct checkpoint_index){0};
}
