#include "model/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "model/checkpoint_index.h"

#define INDEX_NAME "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"

struct shard {
    char *name; /* within the folder */
    struct file_map map;
    struct safetensors *tensors;
};

struct checkpoint {
    const char *dir; /* of the running open */
    struct shard *shard;
    size_t n_shards;
};

static int open_shard(struct checkpoint *c, const char *name, struct err_msg *em)
{
    char path[4096];
    struct err_msg why = {0};
    struct shard *grown = reallocarray(c->shard, c->n_shards + 1, sizeof *grown);
    if (!grown)
        return err_set(em, LT_ENOMEM, "no memory for %zu shards", c->n_shards + 1);
    c->shard = grown;
    struct shard *s = &c->shard[c->n_shards];
    *s = (struct shard){.name = strdup(name)};
    if (!s->name)
        return err_set(em, LT_ENOMEM, "no memory for %zu shards", c->n_shards + 1);
    c->n_shards++;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", c->dir, name) >= sizeof path)
        return err_set(em, LT_ELIMIT, "%.200s…: path too long", path);
    int r = file_map(path, &s->map, em);
    if (r < 0)
        return r;
    if ((r = safetensors_parse(&s->tensors, s->map.data, s->map.len, &why)) < 0)
        return err_set(em, r, "%s: %s", path, why.text);
    return 0;
}

static int open_indexed(struct checkpoint *c, const struct checkpoint_index *x, struct err_msg *em)
{
    int r;
    for (size_t i = 0; i < x->n_shards; i++)
        if ((r = open_shard(c, x->shard[i], em)) < 0)
            return r;
    for (size_t i = 0; i < x->n_places; i++) {
        const struct shard *s = &c->shard[x->place[i].shard];
        if (!safetensors_find(s->tensors, x->place[i].tensor))
            return err_set(em, LT_EFORMAT, "%s/%s: lacks tensor %.100s, which the index places there", c->dir, s->name,
                           x->place[i].tensor);
    }
    return 0;
}

/* A tensor that lies in two shards could be read from either. */
static int check_unique(struct checkpoint *c, struct err_msg *em)
{
    for (size_t i = 1; i < c->n_shards; i++)
        for (size_t t = 0; t < safetensors_count(c->shard[i].tensors); t++) {
            const char *name = safetensors_at(c->shard[i].tensors, t)->name;
            for (size_t j = 0; j < i; j++)
                if (safetensors_find(c->shard[j].tensors, name))
                    return err_set(em, LT_EFORMAT, "%s: tensor %.100s is in both %s and %s", c->dir, name,
                                   c->shard[j].name, c->shard[i].name);
        }
    return 0;
}

static int open_all(struct checkpoint *c, struct err_msg *em)
{
    char path[4096];
    char *text = NULL;
    size_t len;
    struct checkpoint_index index;
    if ((size_t)snprintf(path, sizeof path, "%s/" INDEX_NAME, c->dir) >= sizeof path)
        return err_set(em, LT_ELIMIT, "%.200s…: path too long", path);
    int r = file_read(path, CHECKPOINT_INDEX_MAX, &text, &len, em);
    if (r == LT_ENOTFOUND)
        return open_shard(c, SINGLE_NAME, em);
    if (r < 0)
        return r;
    if ((r = checkpoint_index_parse(&index, path, text, len, em)) == 0 && (r = open_indexed(c, &index, em)) == 0)
        r = check_unique(c, em);
    checkpoint_index_finish(&index);
    free(text);
    return r;
}

int checkpoint_open(struct checkpoint **out, const char *dir, struct err_msg *em)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(em, LT_ENOMEM, "no memory");
    c->dir = dir;
    int r = open_all(c, em);
    c->dir = NULL;
    if (r < 0)
        checkpoint_destroy(&c);
    else
        *out = c;
    return r;
}

int checkpoint_whole(const struct checkpoint *c, struct err_msg *em)
{
    for (size_t i = 0; i < c->n_shards; i++)
        if (file_map_lost(&c->shard[i].map))
            return err_set(em, LT_ECORRUPT, "%s/%s: cut short while it was read", c->dir, c->shard[i].name);
    return 0;
}

void checkpoint_destroy(struct checkpoint **cp)
{
    struct checkpoint *c = cp ? *cp : NULL;
    if (!c)
        return;
    for (size_t i = 0; i < c->n_shards; i++) {
        safetensors_destroy(&c->shard[i].tensors);
        file_unmap(&c->shard[i].map);
        free(c->shard[i].name);
    }
    free(c->shard);
    free(c);
    *cp = NULL;
}

const struct safetensors_entry *checkpoint_find(const struct checkpoint *c, const char *name)
{
    const struct safetensors_entry *e = NULL;
    for (size_t i = 0; !e && i < c->n_shards; i++)
        e = safetensors_find(c->shard[i].tensors, name);
    return e;
}

const struct safetensors_entry *checkpoint_at(const struct checkpoint *c, size_t i)
{
    for (size_t s = 0; s < c->n_shards; s++) {
        if (i < safetensors_count(c->shard[s].tensors))
            return safetensors_at(c->shard[s].tensors, i);
        i -= safetensors_count(c->shard[s].tensors);
    }
    return NULL;
}

void checkpoint_done_with(const struct safetensors_entry *e, size_t len)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)e->data + page - 1) & ~(page - 1), end = ((uintptr_t)e->data + len) & ~(page - 1);
    if (end > first)
        madvise((void *)first, end - first, MADV_DONTNEED);
}
