#include "daemon/options.h"

#include <getopt.h>
#include <string.h>

#include "base/paths.h"
#include "base/refused.h"
#include "daemon/config.h"

#define OPTIONS_MAX 32
enum { OPT_OPERAND = 1, OPT_HELP = 1000, OPT_VERSION, OPT_CONFIG, OPT_RECOVER, OPT_PRIVATE, OPT_SETTING }; /* OPT_SETTING and on: of settings_table */

void options_help(FILE *f)
{
    fputs("Usage: latentd [OPTION]…          serve until SIGTERM\n"
          "       latentd import DIR -o FILE  turn a Hugging Face checkpoint folder into a model file\n"
          "       latentd selftest            check this machine's devices against the reference\n"
          "       latentd bench [--profile]   measure the model on a device\n"
          "       latentd check [--repair]    verify the data folder, and mend it\n"
          "       latentd backup TO           copy the data folder, of a running daemon as well\n"
          "       latentd import-hnswlib FILE --space S --dim N  make a collection of an index that hnswlib saved\n\n"
          "  --config FILE             read settings from FILE (name = value; the names below)\n",
          f);
    for (unsigned i = 0; i < settings_count; i++) {
        const struct setting *t = &settings_table[i];
        char left[64];
        snprintf(left, sizeof left, "--%s %s", t->name, t->arg);
        fprintf(f, "  %-25s %s\n", left, t->help);
    }
    fputs("  --recover                 serve without model and graphs: documents can be read and deleted, not added\n"
          "  --private                 for one data folder's programs: serve latentd.sock in it, read no file of settings\n"
          "                            but --config's, end when they have gone (liblatent's latent_connect_private)\n"
          "  --help                    print this and exit\n"
          "  --version                 print the version and exit\n",
          f);
    char path[PATHS_MAX];
    fputs("\nDefaults:\n", f);
    if (paths_config_file(path) == 0)
        fprintf(f, "  config %s (if it is there)\n", path);
    if (paths_data_dir(path) == 0)
        fprintf(f, "  data   %s\n", path);
    if (paths_socket(path) == 0)
        fprintf(f, "  socket %s\n", path);
}

static void long_options(struct option out[static OPTIONS_MAX])
{
    unsigned n = 0;
    for (; n < settings_count; n++)
        out[n] = (struct option){settings_table[n].name, required_argument, NULL, OPT_SETTING + (int)n};
    out[n++] = (struct option){"config", required_argument, NULL, OPT_CONFIG};
    out[n++] = (struct option){"recover", no_argument, NULL, OPT_RECOVER};
    out[n++] = (struct option){"private", no_argument, NULL, OPT_PRIVATE};
    out[n++] = (struct option){"help", no_argument, NULL, OPT_HELP};
    out[n++] = (struct option){"version", no_argument, NULL, OPT_VERSION};
    out[n] = (struct option){0};
}

/* What getopt_long gives for an argument that is no option, and what is left behind "--". */
static int take_operand(const char *arg, const char **operand, struct err_msg *em)
{
    if (!operand)
        return err_set(em, LT_EINVAL, "unknown command '%.100s'", arg);
    if (*operand)
        return err_set(em, LT_EINVAL, "unexpected '%.100s'", arg);
    *operand = arg;
    return 0;
}

/* One pass over the arguments: the first finds --config and what takes no value, the second sets. */
static int pass(int argc, char **argv, const struct option *opts, struct settings *s, bool set, const char **config,
                const char **operand, enum options_action *action, struct err_msg *em)
{
    int r;
    optind = 0;
    opterr = 0;
    if (operand)
        *operand = NULL;
    for (int c; (c = getopt_long(argc, argv, "-:h", opts, NULL)) != -1;) {
        if (c == OPT_OPERAND && (r = take_operand(optarg, operand, em)) < 0)
            return r;
        else if (c == OPT_HELP || c == 'h')
            *action = OPTIONS_HELP;
        else if (c == OPT_VERSION)
            *action = OPTIONS_VERSION;
        else if (c == OPT_CONFIG)
            *config = optarg;
        else if (c == ':')
            return err_set(em, LT_EINVAL, "%s needs a value", refused_option(argv, opts));
        else if (c == '?')
            return err_set(em, LT_EINVAL, "unknown option %.100s", refused_option(argv, opts));
        else if (c == OPT_RECOVER)
            s->recover = true;
        else if (c == OPT_PRIVATE)
            s->is_private = true;
        else if (c >= OPT_SETTING && set && (r = settings_set(s, settings_table[c - OPT_SETTING].name, optarg, em)) < 0)
            return r;
    }
    for (r = 0; optind < argc && r == 0; optind++)
        r = take_operand(argv[optind], operand, em);
    return r;
}

int options_read(int argc, char **argv, struct settings *s, const char **operand, enum options_action *action, struct err_msg *em)
{
    struct option opts[OPTIONS_MAX];
    _Static_assert(OPTIONS_MAX > 24, "room for every setting");
    long_options(opts);
    const char *config = NULL;
    char path[PATHS_MAX];
    *action = OPTIONS_SERVE;
    int r = pass(argc, argv, opts, s, false, &config, operand, action, em);
    if (r < 0 || *action != OPTIONS_SERVE)
        return r;
    if (config) {
        r = config_read(config, s, em);
    } else if (!s->is_private && paths_config_file(path) == 0) {
        r = config_read(path, s, em);
        if (r == LT_ENOTFOUND)
            r = 0;
    }
    if (r == 0)
        r = pass(argc, argv, opts, s, true, &config, operand, action, em);
    return r == 0 ? settings_complete(s, em) : r;
}
