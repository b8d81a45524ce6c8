#include "clients/cli/search_args.h"

#include <stdlib.h>
#include <string.h>

static const char *const mode_names[] = {"hybrid", "dense", "text"};
static const char *const fusion_names[] = {"rank", "score"};

/* Which of n names s is; n: none. */
static int place(const char *s, const char *const *names, int n)
{
    int i = 0;
    while (i < n && strcmp(s, names[i]) != 0)
        i++;
    return i;
}

bool search_mode_parse(const struct cli_command *cmd, const char *s, enum latent_mode *mode)
{
    const int i = place(s, mode_names, 3);
    *mode = (enum latent_mode)i;
    return i < 3 || (cli_usage_error(cmd, "--mode takes hybrid, dense or text, not '%s'", s), false);
}

const char *search_mode_name(enum latent_mode mode)
{
    return (unsigned)mode < 3 ? mode_names[mode] : "?";
}

bool search_fusion_parse(const struct cli_command *cmd, const char *s, enum latent_fusion *fusion)
{
    const int i = place(s, fusion_names, 2);
    *fusion = (enum latent_fusion)i;
    return i < 2 || (cli_usage_error(cmd, "--fusion takes rank or score, not '%s'", s), false);
}

const char *search_fusion_name(enum latent_fusion fusion)
{
    return (unsigned)fusion < 2 ? fusion_names[fusion] : "?";
}

static int receive_oldest(struct search_batch *b)
{
    unsigned at = b->first;
    struct latent_search_result *r = NULL;
    int code = latent_search_finish(b->conn, b->ids[at], &r);
    if (code == 0 || latent_is_connected(b->conn))
        code = b->done(b->arg, b->query_ids[at], code == 0 ? r : NULL);
    latent_free(r);
    free(b->query_ids[at]);
    b->query_ids[at] = NULL;
    b->first = (at + 1) % SEARCH_BATCH_IN_FLIGHT;
    b->n--;
    return code;
}

int search_batch_add(struct search_batch *b, const struct latent_search *s, const char *query_id)
{
    int code = 0;
    if (b->n == SEARCH_BATCH_IN_FLIGHT && (code = receive_oldest(b)) < 0)
        return code;
    unsigned at = (b->first + b->n) % SEARCH_BATCH_IN_FLIGHT;
    if (!(b->query_ids[at] = strdup(query_id)))
        return LATENT_ENOMEM;
    if ((code = latent_search_begin(b->conn, s, &b->ids[at])) < 0) {
        free(b->query_ids[at]);
        b->query_ids[at] = NULL;
        return code;
    }
    b->n++;
    return 0;
}

int search_batch_finish(struct search_batch *b)
{
    int code = 0;
    while (b->n && code == 0)
        code = receive_oldest(b);
    return code;
}

void search_batch_destroy(struct search_batch *b)
{
    for (int i = 0; i < SEARCH_BATCH_IN_FLIGHT; i++) {
        free(b->query_ids[i]);
        b->query_ids[i] = NULL;
    }
    b->n = 0;
}
