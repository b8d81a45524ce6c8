/* Searches a collection: latent_example COLLECTION QUERY; LATENTD_SOCKET names a daemon that is not the user's own. */
#include <latent.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct latent *c = latent_new();
    struct latent_search query = {.collection = argv[1], .query = argc == 3 ? argv[2] : NULL};
    struct latent_search_result *found = NULL;
    int failed = argc != 3 || latent_connect_default(c) < 0 || latent_search(c, &query, &found) < 0;
    if (failed)
        fprintf(stderr, "%s\n", argc == 3 ? latent_error(c) : "usage: latent_example COLLECTION QUERY");
    for (size_t i = 0; !failed && i < found->n_hits; i++)
        printf("%.4f %s\n", found->hits[i].score, found->hits[i].id);
    latent_free(found);
    latent_destroy(&c);
    return failed;
}
