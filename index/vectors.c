#include "index/vectors.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "index/store.h"

#define PAGE 4096u
#define LEAF_ROOM (PAGE - 8)    /* behind a leaf's head */
#define ROW_EXTRA 13u           /* pointer, sizes, rowid and record head around a blob, at most */
#define LOCAL_MAX (PAGE - 35)   /* a longer row goes to pages of its own but for LOCAL_MIN */
#define LOCAL_MIN 489u
#define OVERFLOW_ROOM (PAGE - 4)

/* Bytes of pages that a row with so many bytes takes. */
static uint32_t cost(uint32_t bytes)
{
    if (bytes + ROW_EXTRA > LOCAL_MAX)
        return (bytes - LOCAL_MIN + OVERFLOW_ROOM - 1) / OVERFLOW_ROOM * PAGE + LOCAL_MIN;
    return PAGE / (LEAF_ROOM / (bytes + ROW_EXTRA));
}

uint32_t vectors_head_bytes(uint32_t dim)
{
    uint32_t whole = dim * 4, best = whole, least = cost(whole) - cost(whole) / 10;
    for (uint32_t k = 1; k <= 8; k++) { /* as many heads as fill a page */
        uint32_t head = (LEAF_ROOM / k - ROW_EXTRA) / 4 * 4;
        if (head + ROW_EXTRA > LOCAL_MAX)
            head = (LOCAL_MAX - ROW_EXTRA) / 4 * 4;
        if (head < whole && cost(head) + cost(whole - head) < least) {
            best = head;
            least = cost(head) + cost(whole - head);
        }
    }
    return best;
}

static int add(struct index *ix, enum store_stmt id, uint64_t chunk, const void *data, size_t len, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, id, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "ib", (int64_t)chunk, data, len);
    return sql_run(st, em);
}

int vectors_add(struct index *ix, uint64_t chunk, const float *v, uint32_t dim, struct err_msg *em)
{
    uint32_t head = vectors_head_bytes(dim), whole = dim * 4;
    int r = add(ix, ST_VECTOR_ADD, chunk, v, head, em);
    return r < 0 || head == whole ? r : add(ix, ST_TAIL_ADD, chunk, (const char *)v + head, whole - head, em);
}

int vectors_delete(struct index *ix, uint64_t first, uint64_t last, struct err_msg *em)
{
    static const enum store_stmt both[] = {ST_VECTOR_DELETE, ST_TAIL_DELETE};
    int r = 0;
    for (int i = 0; i < 2 && r == 0; i++) {
        sqlite3_stmt *st = store_stmt(ix, both[i], em);
        if (!st)
            return LT_EIO;
        sql_bind(st, "ii", (int64_t)first, (int64_t)last);
        r = sql_run(st, em);
    }
    return r;
}

const float *vectors_read(sqlite3_stmt *st, int at, uint32_t dim, float *buf)
{
    const void *head = sqlite3_column_blob(st, at), *tail = sqlite3_column_blob(st, at + 1);
    size_t n = (size_t)sqlite3_column_bytes(st, at), m = (size_t)sqlite3_column_bytes(st, at + 1);
    if (!head || n + m != (size_t)dim * sizeof *buf)
        return NULL;
    memcpy(buf, head, n);
    if (m)
        memcpy((char *)buf + n, tail, m);
    return buf;
}

int vectors_check(const float *v, uint32_t dim, enum metric metric, struct err_msg *em)
{
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++)
        sum += (double)v[i] * v[i];
    /* What is stored here a graph has to take, which adds up in another order. */
    if (!(sum < 0.999 * GRAPH_SUM2_MAX))
        return err_set(em, LT_ENAN, "vector holds NaN, Inf or numbers too large");
    if (metric == METRIC_COSINE && !(sum > 1e-30))
        return err_set(em, LT_ENAN, "vector has zero length");
    return 0;
}

bool vectors_is_own_score(enum metric metric, const float *v, uint32_t dim, float score)
{
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++)
        sum += (double)v[i] * v[i];
    double want = metric == METRIC_COSINE ? 1 : metric == METRIC_IP ? sum : 0;
    return fabs(score - want) <= 1e-4 * (metric == METRIC_COSINE ? 1 : sum) + FLT_MIN; /* f32 may take for nothing what is less */
}
