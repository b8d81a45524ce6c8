#include "index/segment.h"

#include "base/file.h"
#include "index/graph_int.h"

void segment_unmap(struct segment **s)
{
    *s = NULL;
}

int segment_load(struct graph *g, struct core **c, struct graph_report *rep, struct err_msg *em)
{
    int r = file_make_dirs(g->dir, 0700);
    if (r < 0)
        return err_set(em, r, "%s: %s", g->dir, err_text(r));
    *c = core_create(&g->p);
    return *c ? 0 : err_set(em, LT_ENOMEM, "no memory for a graph");
}

int graph_checkpoint(struct graph *g, uint64_t seq, struct err_msg *em)
{
    return err_set(em, LT_EUNSUPPORTED, "the graph is in memory only");
}

int segment_check(const struct graph *g, struct graph_report *rep)
{
    return 0;
}

int graph_scrub(struct graph *g, uint32_t max_blocks, uint32_t *n_checked, struct graph_report *rep)
{
    *n_checked = 0;
    return 0;
}

int graph_erase(const char *dir, struct err_msg *em)
{
    return 0;
}
