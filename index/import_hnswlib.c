/* A collection made of an index file of hnswlib's: rows into the store as any writer would put them, then the graph at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "index/graph_import.h"
#include "index/store.h"

#define GROUP 1000u /* documents per commit */

/* Documents in the order of the elements; labels[i] is the chunk of element i, or for a deleted one a number beyond them all. */
static int put_documents(struct index *ix, const struct hnswlib_file *f, const char *name, uint64_t *labels, uint64_t *n_put,
                         struct err_msg *em)
{
    float *v = malloc(f->dim * sizeof *v);
    int r = v ? 0 : err_set(em, LT_ENOMEM, "no memory for a vector");
    *n_put = 0;
    for (uint32_t i = 0; i < f->n && r == 0; i++) {
        char id[24];
        labels[i] = (1ull << 62) + i;
        if (hnswlib_deleted(f, i))
            continue;
        hnswlib_vector(f, i, v);
        int len = snprintf(id, sizeof id, "%llu", (unsigned long long)hnswlib_label(f, i));
        struct index_doc d = {.collection = name, .id = id, .id_len = (size_t)len, .vectors = v, .dim = f->dim};
        labels[i] = ix->next_chunk;
        struct err_msg why = {""};
        if ((r = index_put(ix, &d, &why)) < 0) {
            err_set(em, r, "label %s: %.300s", id, why.text);
            break;
        }
        if (++*n_put % GROUP == 0)
            r = index_commit(ix, NULL, em);
    }
    free(v);
    return r == 0 ? index_commit(ix, NULL, em) : r;
}

/* The writer alone is here: nobody searches the collection yet. */
static int fill_graph(struct index *ix, struct collection *c, const struct hnswlib_file *f, const uint64_t *labels,
                      struct err_msg *em)
{
    int r = graph_import(c->graph, f, labels);
    if (r < 0)
        return err_set(em, r, "graph: %s", err_text(r));
    atomic_store(&c->graph_seq, atomic_load(&ix->committed_seq));
    atomic_store(&c->behind, false);
    return refill_checkpoint(ix, c, false, em);
}

int index_import_hnswlib(struct index *ix, const struct index_import *p, uint64_t *n, struct err_msg *em)
{
    struct file_map map = {0};
    struct hnswlib_file f = {0};
    struct index_collection_params cp = {.name = p->name, .dim = p->dim, .metric = p->metric, .vectors_only = true, .codes = p->codes};
    struct err_msg why = {""};
    struct collection *c = NULL;
    uint64_t *labels = NULL;
    int r = file_map(p->path, &map, em);
    if (r < 0)
        return r;
    if ((r = hnswlib_open(&f, map.data, map.len, p->dim, &why)) < 0) {
        err_set(em, r, "%.200s: %.300s", p->path, why.text);
        goto out;
    }
    cp.m = f.m;
    cp.ef_construction = f.ef_construction;
    if ((r = index_create(ix, &cp, em)) < 0)
        goto out;
    c = collection_find(ix, p->name);
    collection_release(c); /* the writer alone takes collections out */
    atomic_store(&c->behind, true); /* commits leave the graph alone */
    if (!(labels = malloc((f.n + 1u) * sizeof *labels)))
        r = err_set(em, LT_ENOMEM, "no memory for %u labels", f.n);
    if (r == 0)
        r = put_documents(ix, &f, p->name, labels, n, em);
    if (r == 0)
        r = fill_graph(ix, c, &f, labels, em);
    if (r < 0) {
        if (ix->in_group)
            group_rollback(ix);
        (void)index_drop(ix, p->name, NULL); /* nothing half imported stays */
    }
out:
    free(labels);
    hnswlib_finish(&f);
    file_unmap(&map);
    return r;
}
