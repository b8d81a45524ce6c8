/* latent add */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/plural.h"
#include "clients/cli/batches.h"
#include "clients/cli/cli.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/long_arg.h"
#include "clients/cli/progress.h"
#include "clients/cli/text_out.h"

#define LABEL_BYTES 256 /* at most, by the protocol */

struct add_args {
    const char *collection, *jsonl;
    enum latent_on_long on_long;
    bool async;
    char **paths;
    int n_paths;
};

static bool is_jsonl(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && strcmp(dot, ".jsonl") == 0;
}

static bool parse(struct add_args *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"collection", required_argument, NULL, 'c'}, {"jsonl", required_argument, NULL, 'j'},
        {"on-long", required_argument, NULL, 'l'},    {"async", no_argument, NULL, 'a'},
        {0},
    };
    for (int o; (o = cli_option(&cli_add_command, argc, argv, ":c:", options)) != -1;) {
        switch (o) {
        case 'c':
            a->collection = optarg;
            break;
        case 'j':
            if (a->jsonl)
                return cli_usage_error(&cli_add_command, "--jsonl takes one file; several go through standard input: cat FILE… | latent add --jsonl -"), false;
            a->jsonl = optarg;
            break;
        case 'l':
            if (!long_parse(&cli_add_command, optarg, &a->on_long))
                return false;
            break;
        case 'a':
            a->async = true;
            break;
        default:
            return false;
        }
    }
    a->paths = argv + optind;
    a->n_paths = argc - optind;
    if (!a->collection)
        return cli_usage_error(&cli_add_command, "into which collection? -c NAME"), false;
    if (!a->jsonl && !a->n_paths)
        return cli_usage_error(&cli_add_command, "nothing to add: --jsonl FILE or PATH…"), false;
    for (int i = 0; a->jsonl && i < a->n_paths; i++) /* `--jsonl *.jsonl` */
        if (is_jsonl(a->paths[i]))
            return cli_usage_error(&cli_add_command, "%s would be added as one text: --jsonl takes one file; several go through standard input: "
                                   "cat FILE… | latent add --jsonl -", a->paths[i]), false;
    return true;
}

static void show_progress(void *arg, const struct batches_totals *t)
{
    progress_update(arg, t->accepted, t->bytes_done, t->current);
}

static uint64_t file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

/* Bytes of everything that will be read; 0 when some of it cannot be known (standard input). */
static uint64_t total_bytes(const struct add_args *a)
{
    uint64_t total = 0;
    if (a->jsonl && !(total = file_bytes(a->jsonl)))
        return 0;
    for (int i = 0; i < a->n_paths; i++)
        total += file_bytes(a->paths[i]);
    return total;
}

/* The JSON lines, or NULL after it has been said why there are none. */
static FILE *open_jsonl(const char *path)
{
    struct stat st;
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (f && fstat(fileno(f), &st) == 0 && S_ISDIR(st.st_mode)) {
        fclose(f);
        f = NULL;
        errno = EISDIR;
    }
    if (!f)
        fprintf(stderr, "latent: %s: %s\n", path, strerror(errno));
    return f;
}

static void close_jsonl(FILE *f)
{
    if (f && f != stdin)
        fclose(f);
}

static int add_jsonl(struct batches *b, FILE *f, const char *path)
{
    char *line = NULL, where[4200];
    size_t cap = 0, len = 0;
    int code = 0, got;
    for (uint64_t n = 1; code == 0 && !interrupt_came() && (got = docs_line(f, &line, &cap, &len)) != 0; n++) {
        struct err_msg em = {{0}};
        struct doc d;
        if (interrupt_came())
            break; /* in a line, perhaps */
        snprintf(where, sizeof where, "%s:%llu", f == stdin ? "stdin" : path, (unsigned long long)n);
        if (got == LT_ELIMIT) {
            batches_item_failed(b, where, NULL, "line is longer than 16 MiB", LATENT_ELIMIT, len);
        } else if (got < 0) {
            fprintf(stderr, "%s: %s\n", where, got == LT_EIO ? "read error" : err_text(got));
            code = got;
        } else if (strspn(line, " \t") == len) {
            continue; /* blank */
        } else if ((got = doc_parse(&d, line, len, &em)) < 0) {
            batches_item_failed(b, where, NULL, em.text, got, len + 1);
        } else {
            code = batches_add(b, &d, where, len + 1);
        }
    }
    free(line);
    return code;
}

static int add_files(struct batches *b, const struct add_args *a)
{
    int code = 0;
    for (int i = 0; i < a->n_paths && code == 0 && !interrupt_came(); i++) {
        struct err_msg em = {{0}};
        struct doc d;
        if (is_jsonl(a->paths[i]))
            text_say("latent: %s: is added as one text; with --jsonl its lines are documents", a->paths[i]);
        int r = doc_from_file(&d, a->paths[i], &em);
        uint64_t bytes = file_bytes(a->paths[i]);
        if (r < 0)
            batches_item_failed(b, a->paths[i], NULL, em.text, r, bytes);
        else
            code = batches_add(b, &d, a->paths[i], bytes);
    }
    return code;
}

static void summary(const struct batches_totals *t, const struct add_args *a, double seconds)
{
    char took[32];
    progress_duration(seconds, took);
    fprintf(stderr, "%llu document%s added to %s (%llu chunk%s, %llu token%s) in %s",
            (unsigned long long)t->accepted, plural(t->accepted), a->collection, (unsigned long long)t->chunks,
            plural(t->chunks), (unsigned long long)t->tokens, plural(t->tokens), took);
    if (seconds > 0.05)
        fprintf(stderr, ", %.0f/s", (double)t->accepted / seconds);
    if (t->unchanged)
        fprintf(stderr, "; %llu unchanged, not embedded again", (unsigned long long)t->unchanged);
    if (t->truncated)
        fprintf(stderr, "; %llu cut at the token limit", (unsigned long long)t->truncated);
    if (t->failed)
        fprintf(stderr, "; %llu failed", (unsigned long long)t->failed);
    fputs(a->async ? "; durable, not all searchable yet\n" : "\n", stderr);
}

/* After an end before the end, of what was sent and not answered. job: as the daemon has it; NULL: it could not be asked. */
static void say_the_rest(const struct batches_totals *t, const struct add_args *a, const struct latent_job *job)
{
    if (job && job->state == LATENT_JOB_CANCELLED)
        fprintf(stderr, "%llu document%s of the job stay%s in %s; those that search did not find yet were dropped.\n",
                (unsigned long long)job->searchable, plural(job->searchable), job->searchable == 1 ? "s" : "", a->collection);
    else if (job && job->accepted > t->accepted)
        fprintf(stderr, "In all %llu of its documents are in %s, %llu chunk%s of them not searchable yet.\n", (unsigned long long)job->accepted,
                a->collection, (unsigned long long)job->pending_chunks, plural(job->pending_chunks));
    else if (!job && t->unanswered)
        fprintf(stderr, "Up to %llu more that were on their way may be in %s, too.\n", (unsigned long long)t->unanswered, a->collection);
}

/* What the job is called: the file's name, or its end where it is long. A byte that is no UTF-8 is none of a label either. */
static void job_label(const char *path, char out[static LABEL_BYTES + 1])
{
    char *text = NULL;
    size_t len = 0, cut;
    FILE *f = open_memstream(&text, &len);
    if (f)
        text_out(f, path, strlen(path), "");
    const bool good = f && fclose(f) == 0;
    for (cut = good && len > LABEL_BYTES ? len - LABEL_BYTES + strlen("…") : 0; cut && ((unsigned char)text[cut] & 0xC0) == 0x80; cut++)
        continue; /* between characters */
    snprintf(out, LABEL_BYTES + 1, "%s%s", cut ? "…" : "", good ? text + cut : "");
    free(text);
}

/* After a signal, over a new connection: the job, to which nothing comes any more; NULL: nobody tells. */
static struct latent_job *ask_again(struct cli *c, uint64_t number)
{
    struct latent_job *job = NULL;
    struct latent *conn = cli_connect_again(c);
    if (conn)
        latent_job_close(conn, number, &job);
    return job;
}

static int run(struct cli *c, int argc, char **argv)
{
    struct add_args a = {0};
    char label[LABEL_BYTES + 1];
    if (!parse(&a, argc, argv))
        return CLI_USAGE;
    struct latent *conn = cli_connect_patient(c);
    if (!conn)
        return CLI_USAGE;
    FILE *jsonl = NULL;
    if (a.jsonl && !(jsonl = open_jsonl(a.jsonl)))
        return CLI_REFUSED;
    struct progress p;
    struct batches b = {.conn = conn, .collection = a.collection, .on_long = a.on_long,
                        .wait = a.async ? LATENT_WAIT_ACCEPTED : LATENT_WAIT_SEARCHABLE,
                        .progress = show_progress, .progress_arg = &p, .stopped = interrupt_came};
    uint64_t total = total_bytes(&a);
    struct latent_job *job = NULL;
    job_label(a.jsonl ? a.jsonl : a.paths[0], label);
    interrupt_watch(latent_fd(conn));
    if (latent_job_open(conn, a.collection, label, 0, total, &job) < 0) {
        close_jsonl(jsonl);
        if (interrupt_came())
            interrupt_die(); /* nothing has been sent */
        return cli_fail(c, a.collection);
    }
    b.job = job->job;
    latent_free(job);
    progress_start(&p, "documents", total, true);
    int code = jsonl ? add_jsonl(&b, jsonl, a.jsonl) : 0;
    close_jsonl(jsonl);
    if (code == 0)
        code = add_files(&b, &a);
    const int refused = batches_finish(&b);
    code = code ? code : refused;
    job = NULL;
    if (!interrupt_came() && latent_is_connected(conn) && latent_job_close(conn, b.job, &job) < 0 && code == 0)
        code = latent_error_code(conn);
    progress_end(&p);
    const bool interrupted = code < 0 && interrupt_came();
    if (interrupted) {
        fprintf(stderr, "latent: interrupted\n");
        job = ask_again(c, b.job);
    }
    a.async = a.async && code == 0;
    summary(&b.totals, &a, progress_seconds(&p));
    if (code < 0 && code != LATENT_ENOTFOUND) /* nothing is in a collection that was dropped meanwhile */
        say_the_rest(&b.totals, &a, job);
    latent_free(job);
    if (b.totals.other_model)
        cli_say_reembed();
    batches_destroy(&b);
    if (code == LATENT_ECONN || interrupted)
        fprintf(stderr, "What was added stays. Run it again%s: what is there is not embedded again.\n",
                interrupted ? " to go on" : " when the daemon is back");
    if (interrupted)
        interrupt_die();
    if (code == LATENT_ECONN)
        return CLI_USAGE;
    return code < 0 || b.totals.failed ? CLI_REFUSED : CLI_DONE;
}

const struct cli_command cli_add_command = {
    "add", "add documents: JSON lines, text and Markdown files",
    "Usage: latent add -c COLLECTION [--jsonl FILE|-] [PATH…]\n\n"
    "Adds documents; the same id again replaces, and with the same title and text it is not embedded\n"
    "again: what was ended early can be repeated. A JSON line is {\"id\",\"text\",\"title\"?,\n"
    "\"metadata\"?,\"vector\"?}; of a text or Markdown file the path is the id, and the title a heading that it\n"
    "begins with, else its name. The title goes before the text, for meaning and for words. An item that\n"
    "fails is named with its line and reason, the rest goes in, and the exit status is 1.\n\n"
    "  -c, --collection NAME\n"
    "  --jsonl FILE          JSON lines; - is standard input\n"
    "  --on-long WHAT        a text over the model's token limit: chunk (default), truncate, error\n"
    "  --async               return when the texts are durable, before search finds them\n",
    run};
