/* Search within a program, without a service: latent_example_private DIR QUERY keeps three notes in DIR and finds the nearest. */
#include <latent.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    const struct latent_document notes[] = {
        {.id = "tea", .text = "Pour boiling water over the leaves and wait four minutes."},
        {.id = "trains", .text = "The night train to the coast was two hours late again."},
        {.id = "backups", .text = "Copies are made every Sunday and kept for a year."},
    };
    struct latent *c = latent_new();
    struct latent_add_result *added = NULL;
    struct latent_search_result *found = NULL;
    int r = latent_connect_private(c, &(struct latent_private){.data = argv[1]}); /* starts a latentd for DIR, or joins the one there */
    if (r == 0 && (r = latent_collection_create(c, "notes", NULL, NULL)) == LATENT_EEXIST)
        r = 0; /* of an earlier run */
    if (r == 0)
        r = latent_add(c, &(struct latent_add){.collection = "notes", .documents = notes, .n_documents = 3}, &added);
    if (r == 0)
        r = latent_search(c, &(struct latent_search){.collection = "notes", .query = argc > 2 ? argv[2] : "hot drinks"}, &found);
    if (r < 0)
        fprintf(stderr, "%s\n", latent_error(c));
    for (size_t i = 0; found && i < found->n_hits; i++)
        printf("%.4f %s\n", found->hits[i].score, found->hits[i].id);
    latent_free(added);
    latent_free(found);
    latent_destroy(&c); /* the daemon ends a while after its last client has gone */
    return r < 0;
}
