#include "clients/cli/collection_out.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clients/cli/text_out.h"

const char *collection_metric_name(enum latent_metric metric)
{
    return metric == LATENT_METRIC_IP ? "ip" : metric == LATENT_METRIC_L2 ? "l2" : "cosine";
}

json_t *collection_json(const struct latent_collection *k)
{
    json_t *compaction = json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:o}", "running", (int)k->compacting, "unsaved", (json_int_t)k->unsaved,
        "last_ms", (json_int_t)k->compacted_ms, "bytes", (json_int_t)k->compacted_bytes,
        "failed_since_ms", (json_int_t)k->compaction_failed_ms, "error", json_text(k->compaction_error));
    return json_pack(
        "{s:o, s:I, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:b, s:o, s:o, s:I, s:o}",
        "name", json_text(k->name), "dim", (json_int_t)k->dim, "metric",
        collection_metric_name(k->metric), "vectors_only", (int)k->vectors_only, "fingerprint",
        k->fingerprint, "documents", (json_int_t)k->documents, "chunks", (json_int_t)k->chunks,
        "pending_chunks", (json_int_t)k->pending_chunks, "bytes_store", (json_int_t)k->bytes_store,
        "bytes_index", (json_int_t)k->bytes_index, "accepted_seq", (json_int_t)k->accepted_seq,
        "searchable_seq", (json_int_t)k->searchable_seq, "m", (json_int_t)k->m, "ef_construction",
        (json_int_t)k->ef_construction, "index_kind", k->index_kind, "degraded", (int)k->degraded,
        "degraded_reason", json_text(k->degraded_reason), "recall",
        k->recall_samples ? json_real((double)k->recall) : json_null(), "recall_samples",
        (json_int_t)k->recall_samples, "compaction", compaction);
}

/* Bytes in the unit a reader likes, three digits. */
static void print_bytes(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1000 && u + 1 < sizeof units / sizeof units[0]) {
        v /= 1024;
        u++;
    }
    printf("%6.*f %-3s", v < 10 && u ? 1 : 0, v, units[u]);
}

static void when(int64_t ms, char text[static 32])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    if (!localtime_r(&t, &tm) || !strftime(text, 32, "%Y-%m-%d %H:%M:%S", &tm))
        strcpy(text, "?");
}

void collection_print_table(const struct latent_collection *k, size_t n)
{
    char text[32];
    printf("%-24s %10s %10s %8s %5s %-7s %-10s %10s %10s\n", "COLLECTION", "DOCUMENTS", "CHUNKS",
           "PENDING", "DIM", "METRIC", "INDEX", "STORE", "GRAPH");
    for (size_t i = 0; i < n; i++) {
        printf("%-24s %10llu %10llu %8llu %5u %-7s %-10s ", k[i].name,
               (unsigned long long)k[i].documents, (unsigned long long)k[i].chunks,
               (unsigned long long)k[i].pending_chunks, k[i].dim,
               collection_metric_name(k[i].metric), k[i].index_kind);
        print_bytes(k[i].bytes_store);
        putchar(' ');
        print_bytes(k[i].bytes_index);
        putchar('\n');
        if (k[i].degraded)
            text_line(stdout, "  degraded: %s", k[i].degraded_reason);
        if (k[i].compaction_failed_ms) {
            when(k[i].compaction_failed_ms, text);
            text_line(stdout, "  compaction has not succeeded since %s: %s", text, k[i].compaction_error);
        }
    }
}

void collection_print_details(const struct latent_collection *k)
{
    char text[32];
    if (k->recall_samples)
        printf("recall:      %.3f in %u sampled searches\n", (double)k->recall, k->recall_samples);
    else
        printf("recall:      no search sampled yet\n");
    printf("compaction:  %s", k->compacting ? "running" : k->compaction_failed_ms ? "failing" : "idle");
    if (k->compacted_ms) {
        when(k->compacted_ms, text);
        printf(", last success %s", text);
    } else {
        printf(", none since the daemon's start");
    }
    printf(", written ");
    print_bytes(k->compacted_bytes);
    printf(", %llu changes not in the graph's files\n", (unsigned long long)k->unsaved);
}
