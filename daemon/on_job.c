/* Jobs: ingest that can be seen and cancelled. */
#include <stdlib.h>
#include <string.h>

#include "daemon/feed.h"
#include "daemon/handlers.h"
#include "daemon/job_holds.h"
#include "daemon/request.h"

struct job_change {
    struct request *rq;
    struct writer_op op;
    uint64_t job;
    bool cancelled; /* it was, durably: what is left of its documents is dropped in any case */
    bool more;      /* some are left */
};

static void job_message(struct request *rq, const struct index_job *j, char *current, size_t size,
                        Latent__V1__Job *out)
{
    latent__v1__job__init(out);
    current[0] = 0;
    if (rq->core->feed)
        feed_current(rq->core->feed, j->job, current, size);
    out->job = j->job;
    out->collection = (char *)j->collection;
    out->label = (char *)j->label;
    out->state = (Latent__V1__JobState)j->state;
    out->accepted = j->accepted;
    out->searchable = j->searchable;
    out->failed = j->failed;
    out->pending_chunks = j->pending_chunks;
    out->total_documents = j->total_documents;
    out->total_bytes = j->total_bytes;
    out->created_ms = j->created_ms;
    out->current = current;
    out->last_error = (char *)j->last_error;
    out->received_bytes = j->received_bytes;
    out->done_bytes = j->done_bytes;
}

static void reply_job(struct request *rq, const struct index_job *j)
{
    char current[INDEX_ID_MAX + 1];
    Latent__V1__Job out;
    Latent__V1__Response resp = request_response();
    job_message(rq, j, current, sizeof current, &out);
    resp.body_case = LATENT__V1__RESPONSE__BODY_JOB;
    resp.job = &out;
    request_reply(rq, &resp, false);
}

/* The job of a number, if the sender may do to its collection what it asks for. */
static int find(struct request *rq, struct index_reader *reader, uint64_t job, struct index_job *out,
                struct err_msg *em)
{
    struct index_job *list = NULL;
    size_t n = 0;
    int r = job ? index_job_list(reader, job, &list, &n, em) : LT_ENOTFOUND;
    if (r == 0 && n == 0)
        r = LT_ENOTFOUND;
    if (r == LT_ENOTFOUND)
        err_set(em, r, "no job %llu", (unsigned long long)job);
    if (r == 0)
        r = request_check(rq, message_right(rq->msg->body_case), list[0].collection, em);
    if (r == LT_EPERM) /* the collection's name is not for everybody */
        err_set(em, r, "this key may not use the collection of job %llu", (unsigned long long)job);
    if (r == 0)
        *out = list[0];
    free(list);
    return r;
}

static void list(struct work_item *w, void *reader)
{
    struct request *rq = request_of_work(w);
    struct err_msg em = {""};
    struct index_job *jobs = NULL;
    size_t n = 0;
    int r = index_job_list(reader, 0, &jobs, &n, &em);
    if (r < 0) {
        request_fail(rq, r, em.text[0] ? &em : NULL);
        return;
    }
    Latent__V1__JobListReply out = LATENT__V1__JOB_LIST_REPLY__INIT;
    Latent__V1__Response resp = request_response();
    Latent__V1__Job *messages = calloc(n ? n : 1, sizeof *messages), **refs = calloc(n ? n : 1, sizeof *refs);
    char (*current)[INDEX_ID_MAX + 1] = calloc(n ? n : 1, sizeof *current);
    if (messages && refs && current) {
        for (size_t i = 0; i < n; i++) {
            if (request_check(rq, KEY_QUERY, jobs[i].collection, NULL) < 0)
                continue;
            job_message(rq, &jobs[i], current[out.n_jobs], sizeof *current, &messages[out.n_jobs]);
            refs[out.n_jobs] = &messages[out.n_jobs];
            out.n_jobs++;
        }
        out.jobs = refs;
        resp.body_case = LATENT__V1__RESPONSE__BODY_JOB_LIST;
        resp.job_list = &out;
        request_reply(rq, &resp, false);
    } else {
        r = LT_ENOMEM;
    }
    free(messages);
    free(refs);
    free(current);
    free(jobs);
    if (r < 0)
        request_fail(rq, r, NULL);
    else
        request_finish(rq);
}

void on_job_list(struct request *rq)
{
    request_submit(rq, rq->core->searchers, list);
}

/* ---- changes --------------------------------------------------------------------- */

static struct job_change *change_of(struct writer_op *op)
{
    return (struct job_change *)((char *)op - offsetof(struct job_change, op));
}

static void show(struct work_item *w, void *reader)
{
    struct request *rq = request_of_work(w);
    struct job_change *ch = rq->state;
    struct err_msg em = {""};
    struct index_job j;
    int r = find(rq, reader, ch->job, &j, &em);
    free(ch);
    if (r < 0) {
        request_fail(rq, r, em.text[0] ? &em : NULL);
        return;
    }
    reply_job(rq, &j);
    request_finish(rq);
}

static void changed(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em)
{
    struct job_change *ch = change_of(op);
    struct request *rq = ch->rq;
    (void)seq;
    if (ch->more && result == 0 && request_over(rq) == 0) {
        writer_submit(rq->core->writer, op); /* behind what others have sent meanwhile */
        return;
    }
    if (result == 0 || ch->cancelled) {
        if (rq->msg->body_case == LATENT__V1__REQUEST__BODY_JOB_OPEN && rq->core->holds)
            job_holds_add(rq->core->holds, ch->job, rq->sender);
        request_submit(rq, rq->core->searchers, show);
        return;
    }
    free(ch);
    request_fail(rq, result, em->text[0] ? em : NULL);
}

static int apply(struct writer_op *op, struct index *ix, struct err_msg *em)
{
    struct job_change *ch = change_of(op);
    const Latent__V1__Request *m = ch->rq->msg;
    if (m->body_case == LATENT__V1__REQUEST__BODY_JOB_OPEN)
        return index_job_open(ix, m->job_open->collection, m->job_open->label, m->job_open->total_documents,
                              m->job_open->total_bytes, &ch->job, em);
    if (m->body_case == LATENT__V1__REQUEST__BODY_JOB_CLOSE)
        return index_job_close(ix, ch->job, em);
    int r = index_job_cancel(ix, ch->job, em);
    if (r >= 0 && !ch->cancelled && ch->rq->core->feed)
        feed_cancel_job(ch->rq->core->feed, ch->job);
    ch->cancelled |= r >= 0;
    ch->more = r > 0;
    return r < 0 ? r : 0;
}

static void submit(struct request *rq, uint64_t job)
{
    struct job_change *ch = calloc(1, sizeof *ch);
    if (!ch) {
        request_fail(rq, LT_ENOMEM, NULL);
        return;
    }
    ch->rq = rq;
    ch->job = job;
    ch->op = (struct writer_op){.apply = apply, .done = changed, .alone = true};
    rq->state = ch;
    request_write(rq, &ch->op);
}

void on_job_open(struct request *rq)
{
    if (strlen(rq->msg->job_open->label) > PROTO_JOB_LABEL_MAX)
        request_failf(rq, LT_ELIMIT, "the label has more than %d bytes", PROTO_JOB_LABEL_MAX);
    else
        submit(rq, 0);
}

/* A job is named by number: before it is changed, its collection must be one of the sender's. */
static void change_checked(struct work_item *w, void *reader)
{
    struct request *rq = request_of_work(w);
    struct err_msg em = {""};
    struct index_job j;
    uint64_t job = rq->msg->body_case == LATENT__V1__REQUEST__BODY_JOB_CLOSE ? rq->msg->job_close->job
                                                                             : rq->msg->job_cancel->job;
    int r = find(rq, reader, job, &j, &em);
    if (r == 0)
        submit(rq, job);
    else
        request_fail(rq, r, em.text[0] ? &em : NULL);
}

void on_job_close(struct request *rq)
{
    request_submit(rq, rq->core->searchers, change_checked);
}

void on_job_cancel(struct request *rq)
{
    request_submit(rq, rq->core->searchers, change_checked);
}
