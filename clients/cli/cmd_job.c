/* latent job list|cancel */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "clients/cli/cli.h"
#include "clients/cli/json_out.h"
#include "clients/cli/progress.h"
#include "clients/cli/text_out.h"

static const char *state_name(enum latent_job_state s)
{
    static const char *const names[] = {"open", "running", "done", "cancelled", "failed", "abandoned"};
    return (unsigned)s < sizeof names / sizeof names[0] ? names[s] : "?";
}

/* Bytes done of how many there are, as far as anybody knows; 0: nobody does. */
static uint64_t all_bytes(const struct latent_job *j)
{
    return j->state == LATENT_JOB_OPEN && j->total_bytes ? j->total_bytes : j->received_bytes;
}

static void print_text(const char *before, const char *text)
{
    fputs(before, stdout);
    text_out(stdout, text, strlen(text), "");
    putchar('\n');
}

/* Of one under way: what it is at, and how long it takes at the rate so far. */
static void print_progress(const struct latent_job *j)
{
    char left[32];
    const bool by_bytes = j->state == LATENT_JOB_OPEN && j->total_bytes;
    const uint64_t total = by_bytes ? j->total_bytes : j->state == LATENT_JOB_RUNNING ? j->accepted : j->total_documents;
    const uint64_t done = by_bytes ? j->done_bytes : j->searchable + j->failed;
    const double seconds = (double)(clock_wall_ms() - j->created_ms) / 1000;
    if (j->state != LATENT_JOB_OPEN && j->state != LATENT_JOB_RUNNING)
        return;
    if (*j->current)
        print_text("        at ", j->current);
    if (total > done && done && seconds > 0) {
        const double share = (double)done / (double)total;
        progress_duration(seconds / share - seconds, left);
        printf("        %.0f %%", 100 * share);
        if (share >= PROGRESS_SHARE_TOLD)
            printf(", about %s left", left);
        putchar('\n');
    }
}

static void print_job(const struct latent_job *j, bool json)
{
    if (json) {
        json_out(json_pack("{s:I, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "job",
                           (json_int_t)j->job, "collection", json_text(j->collection), "label",
                           json_text(j->label), "state", state_name(j->state), "accepted",
                           (json_int_t)j->accepted, "searchable", (json_int_t)j->searchable,
                           "failed", (json_int_t)j->failed, "pending_chunks",
                           (json_int_t)j->pending_chunks, "total_documents",
                           (json_int_t)j->total_documents, "total_bytes",
                           (json_int_t)j->total_bytes, "received_bytes", (json_int_t)j->received_bytes,
                           "done_bytes", (json_int_t)j->done_bytes, "created_ms", (json_int_t)j->created_ms,
                           "current", json_text(j->current), "last_error", json_text(j->last_error)));
        return;
    }
    printf("%6llu  %-9s  %-20s %8llu accepted %8llu searchable %6llu failed %8llu chunks waiting",
           (unsigned long long)j->job, state_name(j->state), j->collection,
           (unsigned long long)j->accepted, (unsigned long long)j->searchable,
           (unsigned long long)j->failed, (unsigned long long)j->pending_chunks);
    print_text("  ", j->label);
    const bool ended = j->state == LATENT_JOB_DONE || j->state == LATENT_JOB_FAILED || j->state == LATENT_JOB_CANCELLED;
    if (all_bytes(j) && !ended) {
        char bytes[48];
        progress_bytes(j->done_bytes, all_bytes(j), bytes);
        printf("        %s done\n", bytes);
    }
    print_progress(j);
    if (*j->last_error)
        print_text("        last failure: ", j->last_error);
}

static int list(struct cli *c, bool json)
{
    struct latent *conn = cli_connect(c);
    struct latent_job_list *l;
    if (!conn)
        return CLI_USAGE;
    if (latent_job_list(conn, &l) < 0)
        return cli_fail(c, "job list");
    for (size_t i = 0; i < l->n; i++)
        print_job(&l->jobs[i], json);
    latent_free(l);
    return CLI_DONE;
}

static int run(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    const struct cli_command *cmd = &cli_job_command;
    bool json = false;
    for (int o; (o = cli_option(cmd, argc, argv, ":", options)) != -1;) {
        if (o != 'j')
            return CLI_USAGE;
        json = true;
    }
    int n = argc - optind;
    if (n == 1 && strcmp(argv[optind], "list") == 0)
        return list(c, json);
    uint64_t id;
    if (n != 2 || strcmp(argv[optind], "cancel") != 0)
        return cli_usage_error(cmd, "list, or cancel JOB");
    if (!cli_number(cmd, "JOB", argv[optind + 1], 1, UINT64_MAX, &id))
        return CLI_USAGE;
    struct latent *conn = cli_connect(c);
    struct latent_job *j;
    if (!conn)
        return CLI_USAGE;
    if (latent_job_cancel(conn, id, &j) < 0)
        return cli_fail(c, argv[optind + 1]);
    print_job(j, json);
    latent_free(j);
    return CLI_DONE;
}

const struct cli_command cli_job_command = {
    "job", "list and cancel ingest jobs",
    "Usage: latent job list [--json]\n"
    "       latent job cancel JOB [--json]\n\n"
    "Every `latent add` is a job. It survives the end of the client and of the daemon; cancelling\n"
    "drops what is not embedded yet. The list tells bytes done and in all, and of a job under way the\n"
    "document at hand. One whose client died is abandoned once all that it sent is embedded.\n",
    run};
