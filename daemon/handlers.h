/* The handlers, one for each request. They start on the loop thread and must not block it; what takes time goes to
 * other threads. Each ends in request_finish. on_X.c holds those of an area. */
#ifndef DAEMON_HANDLERS_H
#define DAEMON_HANDLERS_H

struct request;

void on_status(struct request *rq);
void on_collection_create(struct request *rq);
void on_collection_list(struct request *rq);
void on_collection_info(struct request *rq);
void on_collection_drop(struct request *rq);
void on_collection_replace(struct request *rq);
void on_add(struct request *rq);
void on_get(struct request *rq);
void on_delete(struct request *rq);
void on_search(struct request *rq);
void on_embed(struct request *rq);
void on_explain(struct request *rq);
void on_rerank(struct request *rq);
void on_job_open(struct request *rq);
void on_job_close(struct request *rq);
void on_job_list(struct request *rq);
void on_job_cancel(struct request *rq);

#endif
