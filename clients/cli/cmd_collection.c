/* latent collection create|list|info|drop|reembed */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli/cli.h"
#include "clients/cli/collection_out.h"
#include "clients/cli/long_arg.h"
#include "clients/cli/reembed.h"

static void print_one(const struct latent_collection *k, bool json)
{
    if (json) {
        json_out(collection_json(k));
        return;
    }
    collection_print_table(k, 1);
    collection_print_details(k);
}

static bool parse_metric(const char *s, enum latent_metric *metric)
{
    for (int m = LATENT_METRIC_COSINE; m <= LATENT_METRIC_L2; m++) {
        if (strcmp(s, collection_metric_name((enum latent_metric)m)) == 0) {
            *metric = (enum latent_metric)m;
            return true;
        }
    }
    cli_usage_error(&cli_collection_command, "--metric takes cosine, ip or l2, not '%s'", s);
    return false;
}

static bool parse_codes(const char *s, enum latent_codes *codes)
{
    static const char *const names[] = {"auto", "int8", "f32", "1bit"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(s, names[i]) == 0) {
            *codes = (enum latent_codes)i;
            return true;
        }
    }
    cli_usage_error(&cli_collection_command, "--codes takes int8, 1bit, f32 or auto, not '%s'", s);
    return false;
}

struct collection_args {
    struct latent_collection_params params;
    enum latent_on_long on_long;
    bool json, any_reembed_option;
    bool any_create_option;
};

static bool parse(struct collection_args *a, int argc, char **argv)
{
    enum { OPT_DIM = 256, OPT_METRIC, OPT_VECTORS_ONLY, OPT_M, OPT_EFC, OPT_CODES, OPT_TEMPORARY, OPT_JSON, OPT_ON_LONG };
    static const struct option options[] = {
        {"dim", required_argument, NULL, OPT_DIM},
        {"metric", required_argument, NULL, OPT_METRIC},
        {"vectors-only", no_argument, NULL, OPT_VECTORS_ONLY},
        {"m", required_argument, NULL, OPT_M},
        {"ef-construction", required_argument, NULL, OPT_EFC},
        {"codes", required_argument, NULL, OPT_CODES},
        {"temporary", no_argument, NULL, OPT_TEMPORARY},
        {"json", no_argument, NULL, OPT_JSON},
        {"on-long", required_argument, NULL, OPT_ON_LONG},
        {0},
    };
    const struct cli_command *cmd = &cli_collection_command;
    for (int o; (o = cli_option(cmd, argc, argv, ":", options)) != -1;) {
        uint64_t v = 0;
        if (o != OPT_JSON && o != OPT_ON_LONG)
            a->any_create_option = true;
        switch (o) {
        case OPT_DIM:
            if (!cli_number(cmd, "--dim", optarg, 1, 16384, &v))
                return false;
            a->params.dim = (uint32_t)v;
            break;
        case OPT_METRIC:
            if (!parse_metric(optarg, &a->params.metric))
                return false;
            break;
        case OPT_VECTORS_ONLY:
            a->params.vectors_only = true;
            break;
        case OPT_M:
            if (!cli_number(cmd, "--m", optarg, 4, 128, &v))
                return false;
            a->params.m = (uint32_t)v;
            break;
        case OPT_EFC:
            if (!cli_number(cmd, "--ef-construction", optarg, 1, 4096, &v))
                return false;
            a->params.ef_construction = (uint32_t)v;
            break;
        case OPT_CODES:
            if (!parse_codes(optarg, &a->params.codes))
                return false;
            break;
        case OPT_TEMPORARY:
            a->params.temporary = true;
            break;
        case OPT_JSON:
            a->json = true;
            break;
        case OPT_ON_LONG:
            a->any_reembed_option = true;
            if (!long_parse(cmd, optarg, &a->on_long))
                return false;
            break;
        default:
            return false;
        }
    }
    return true;
}

static int list(struct cli *c, bool json)
{
    struct latent *conn = cli_connect(c);
    struct latent_collection_list *l;
    if (!conn)
        return CLI_USAGE;
    if (latent_collection_list(conn, &l) < 0)
        return cli_fail(c, "collection list");
    if (json) {
        for (size_t i = 0; i < l->n; i++)
            json_out(collection_json(&l->collections[i]));
    } else {
        collection_print_table(l->collections, l->n);
    }
    latent_free(l);
    return CLI_DONE;
}

static int run(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd = &cli_collection_command;
    struct collection_args a = {0};
    if (argc > 1 && strcmp(argv[1], "import-hnswlib") == 0)
        return cli_run_tool(c, argc - 1, argv + 1);
    if (!parse(&a, argc, argv))
        return CLI_USAGE;
    int n = argc - optind;
    if (n < 1)
        return cli_usage_error(cmd, "create, list, info, drop, reembed or import-hnswlib?");
    const char *verb = argv[optind], *name = n > 1 ? argv[optind + 1] : NULL;
    bool create = strcmp(verb, "create") == 0, is_list = strcmp(verb, "list") == 0;
    bool info = strcmp(verb, "info") == 0, drop = strcmp(verb, "drop") == 0;
    bool anew = strcmp(verb, "reembed") == 0;
    if (!create && !is_list && !info && !drop && !anew)
        return cli_usage_error(cmd, "no verb '%s': create, list, info, drop, reembed or import-hnswlib", verb);
    if (n != (is_list ? 1 : 2))
        return cli_usage_error(cmd, is_list ? "list takes no name" : "%s takes one NAME", verb);
    if (a.any_create_option && !create)
        return cli_usage_error(cmd, "%s takes no option but --json", verb);
    if (a.any_reembed_option && !anew)
        return cli_usage_error(cmd, "--on-long goes with reembed");
    if (is_list)
        return list(c, a.json);
    if (anew)
        return reembed(c, name, a.on_long);
    struct latent *conn = cli_connect(c);
    if (!conn)
        return CLI_USAGE;
    struct latent_collection *k = NULL;
    int r = create ? latent_collection_create(conn, name, &a.params, &k)
            : info ? latent_collection_info(conn, name, &k)
                   : latent_collection_drop(conn, name);
    if (r < 0)
        return cli_fail(c, name);
    if (k)
        print_one(k, a.json);
    latent_free(k);
    return CLI_DONE;
}

const struct cli_command cli_collection_command = {
    "collection", "create, list, info, drop, reembed: sets of documents",
    "Usage: latent collection create NAME [OPTIONS]\n"
    "       latent collection list\n"
    "       latent collection info NAME\n"
    "       latent collection drop NAME\n"
    "       latent collection reembed NAME [--on-long chunk|truncate|error]\n"
    "       latent collection import-hnswlib FILE --space cosine|ip|l2 --dim N [--name NAME] [--data DIR]\n\n"
    "A collection holds documents and is searched as a whole. NAME: 1 to 64 letters, digits,\n"
    "'.', '_' and '-', not starting with '.'. import-hnswlib runs `latentd import-hnswlib`, which makes a\n"
    "collection of an index that hnswlib saved, while no daemon runs (--help tells more).\n"
    "reembed has the model that the daemon runs now embed all documents of a collection that is another\n"
    "model's. It fills NAME.reembed, which takes NAME's place at the end: until then NAME is found by its\n"
    "words as before. Ended early, the same command goes on where it was.\n\n"
    "  --dim N              vector length (default: the model's)\n"
    "  --metric M           cosine (default), ip or l2\n"
    "  --vectors-only       vectors come with the documents, nothing is embedded\n"
    "  --m N                links per node of the graph (default 16)\n"
    "  --ef-construction N  candidates looked at per insertion (default 200)\n"
    "  --codes KIND         what nodes carry: int8 (default), 1bit (least memory; ask with a larger ef),\n"
    "                       f32; hits have exact scores in any case\n"
    "  --temporary          dropped when the daemon starts again\n"
    "  --json               JSON, one object a line\n",
    run};
