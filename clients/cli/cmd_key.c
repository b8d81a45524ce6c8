/* latent key generate|list|add|revoke: files only, no daemon needed. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/paths.h"
#include "clients/cli/cli.h"
#include "clients/cli/json_out.h"
#include "proto/keys.h"

#define LINE_MAX_BYTES (KEYS_LINE_MAX + 2)

struct key_args {
    const char *verb, *subject; /* KEY for add and revoke */
    const char *out, *file, *rights, *collections, *rate, *expires, *comment;
    bool json;
    char default_file[PATHS_MAX + 32];
};

/* An option of another verb's would look as if it were heeded: `revoke KEY --rights ingest` takes all rights. */
static bool options_fit(const struct key_args *a)
{
    const struct {
        const char *name, *value, *verbs;
    } options[] = {{"-o", a->out, "generate"},         {"--file", a->file, "list, add and revoke"},    {"--rights", a->rights, "add"},
                   {"--rate", a->rate, "add"},         {"--collections", a->collections, "add"},       {"--expires", a->expires, "add"},
                   {"--comment", a->comment, "add"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].value && !strstr(options[i].verbs, a->verb))
            return cli_usage_error(&cli_key_command, "%s goes with %s, not with %s", options[i].name, options[i].verbs, a->verb), false;
    return true;
}

static bool parse(struct key_args *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"file", required_argument, NULL, 'f'},        {"rights", required_argument, NULL, 'r'},
        {"collections", required_argument, NULL, 'c'}, {"rate", required_argument, NULL, 'n'},
        {"expires", required_argument, NULL, 'e'},     {"comment", required_argument, NULL, 'm'},
        {"json", no_argument, NULL, 'j'},              {0},
    };
    for (int o; (o = cli_option(&cli_key_command, argc, argv, ":o:", options)) != -1;) {
        const char **to = o == 'o'   ? &a->out
                          : o == 'f' ? &a->file
                          : o == 'r' ? &a->rights
                          : o == 'c' ? &a->collections
                          : o == 'n' ? &a->rate
                          : o == 'e' ? &a->expires
                          : o == 'm' ? &a->comment
                                     : NULL;
        if (to)
            *to = optarg;
        else if (o == 'j')
            a->json = true;
        else
            return false;
    }
    uint64_t rate;
    if (a->rate && !cli_number(&cli_key_command, "--rate", a->rate, 1, KEYS_RATE_MAX, &rate))
        return false;
    int n = argc - optind;
    a->verb = n > 0 ? argv[optind] : "";
    a->subject = n > 1 ? argv[optind + 1] : NULL;
    bool wants_key = strcmp(a->verb, "add") == 0 || strcmp(a->verb, "revoke") == 0;
    if (n < 1 || n > 2 || (n == 2) != wants_key)
        return cli_usage_error(&cli_key_command, "generate, list, add KEY or revoke KEY"), false;
    return strcmp(a->verb, "generate") == 0 || strcmp(a->verb, "list") == 0 || wants_key
               ? options_fit(a) : (cli_usage_error(&cli_key_command, "no such verb: '%s'", a->verb), false);
}

/* The authorized-keys file of the per-user daemon, unless --file names another. */
static bool default_file(struct key_args *a)
{
    char dir[PATHS_MAX];
    if (a->file)
        return true;
    if (paths_data_dir(dir) < 0)
        return fprintf(stderr, "latent: no data folder: name the file with --file\n"), false;
    snprintf(a->default_file, sizeof a->default_file, "%s/authorized_keys", dir);
    a->file = a->default_file;
    return true;
}

static int said(const struct err_msg *em)
{
    fprintf(stderr, "latent: %s\n", em->text);
    return CLI_REFUSED;
}

static int generate(struct key_args *a)
{
    struct err_msg em = {{0}};
    struct key_pair k = {0};
    char text[KEY_TEXT_BYTES];
    if (!a->out)
        return cli_usage_error(&cli_key_command, "generate writes a file: -o FILE");
    int r = key_pair_generate(&k);
    if (r < 0)
        err_set(&em, r, "cannot make a key: %s", err_text(r));
    else
        r = key_file_create(a->out, &k, &em);
    if (r == 0) {
        key_text(k.public, text);
        if (a->json)
            json_out(json_pack("{s:s, s:o}", "public_key", text, "file", json_text(a->out)));
        else
            printf("%s\n", text);
        fprintf(stderr, "Secret key in %s; on the daemon's side: latent key add %s\n", a->out, text);
    }
    key_pair_finish(&k);
    return r < 0 ? said(&em) : CLI_DONE;
}

static void print_entry(const struct key_entry *e, bool json)
{
    char line[LINE_MAX_BYTES], text[KEY_TEXT_BYTES];
    if (!json) {
        if (key_entry_format(e, line, sizeof line) == 0)
            fputs(line, stdout);
        return;
    }
    json_t *rights = json_array(), *collections = json_array();
    if (e->rights & KEY_QUERY)
        json_array_append_new(rights, json_string("query"));
    if (e->rights & KEY_INGEST)
        json_array_append_new(rights, json_string("ingest"));
    if (e->rights & KEY_ADMIN)
        json_array_append_new(rights, json_string("admin"));
    if (e->all_collections)
        json_array_append_new(collections, json_string("*"));
    for (uint32_t i = 0; !e->all_collections && i < e->n_collections; i++)
        json_array_append_new(collections, json_text(e->collections[i]));
    key_text(e->public, text);
    json_out(json_pack("{s:s, s:o, s:o, s:I, s:I, s:o}", "public_key", text, "rights", rights,
                       "collections", collections, "rate", (json_int_t)e->rate, "expires_s",
                       (json_int_t)e->expires_s, "comment", json_text(e->comment)));
}

static int list(struct key_args *a)
{
    struct err_msg em = {{0}};
    struct keys k = {0};
    struct stat st;
    if (!default_file(a))
        return CLI_REFUSED;
    if (keys_read(a->file, &k, &em) < 0)
        return said(&em);
    for (uint32_t i = 0; i < k.n; i++)
        print_entry(&k.entries[i], a->json);
    if (!k.n) /* another file may have been meant */
        fprintf(stderr, "%s: %s\n", a->file, stat(a->file, &st) == 0 ? "no keys" : "there is no such file, and so no key");
    keys_finish(&k);
    return CLI_DONE;
}

/* The new line goes through the file's own parser, so that it holds the same rules and limits. */
static int add(struct key_args *a)
{
    struct err_msg em = {{0}};
    struct key_entry e = {0};
    char line[LINE_MAX_BYTES];
    if (!default_file(a))
        return CLI_REFUSED;
    int n = snprintf(line, sizeof line, "%s %s", a->subject, a->rights ? a->rights : "query");
    struct {
        const char *before, *value, *after;
    } fields[] = {{" collections=", a->collections, ""},
                  {" rate=", a->rate, "/s"},
                  {" expires=", a->expires, ""},
                  {" # ", a->comment, ""}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].value && n >= 0 && (size_t)n < sizeof line)
            n += snprintf(line + n, sizeof line - (size_t)n, "%s%s%s", fields[i].before, fields[i].value,
                          fields[i].after);
    if (n < 0 || (size_t)n >= sizeof line)
        return fprintf(stderr, "latent: the line would be too long\n"), CLI_REFUSED;
    int r = key_entry_parse(&e, line, (size_t)n, &em);
    if (r == 0 && e.expires_s && e.expires_s <= clock_wall_ms() / 1000)
        r = err_set(&em, LT_EINVAL, "a key that expires on %s would be refused already: it is from that day on (UTC)", a->expires);
    char *slash = strrchr(a->file, '/');
    if (r == 0 && slash && a->file == a->default_file) {
        *slash = 0;
        r = file_make_dirs(a->file, 0700, &em);
        *slash = '/';
    }
    if (r == 0 && (r = keys_file_add(a->file, &e, &em)) == 0)
        print_entry(&e, a->json);
    key_entry_finish(&e);
    return r < 0 ? said(&em) : CLI_DONE;
}

static int revoke(struct key_args *a)
{
    struct err_msg em = {{0}};
    uint8_t public[KEY_BYTES];
    if (key_parse(a->subject, public) < 0)
        return cli_usage_error(&cli_key_command, "'%s' is no public key (44 characters of base64)", a->subject);
    if (!default_file(a))
        return CLI_REFUSED;
    if (keys_file_revoke(a->file, public, &em) < 0)
        return said(&em);
    return CLI_DONE;
}

static int run(struct cli *c, int argc, char **argv)
{
    struct key_args a = {0};
    if (cli_names_daemon(c, "key", "--file FILE") || !parse(&a, argc, argv))
        return CLI_USAGE;
    if (strcmp(a.verb, "generate") == 0)
        return generate(&a);
    if (strcmp(a.verb, "list") == 0)
        return list(&a);
    if (strcmp(a.verb, "add") == 0)
        return add(&a);
    return revoke(&a);
}

const struct cli_command cli_key_command = {
    "key", "generate, list, add, revoke: who may come in over TCP",
    "Usage: latent key generate -o FILE\n"
    "       latent key list [--file FILE]\n"
    "       latent key add KEY [OPTIONS]\n"
    "       latent key revoke KEY [--file FILE]\n\n"
    "generate makes a client's key pair: the secret goes to FILE (mode 0600), the public key is\n"
    "printed. list, add and revoke edit the daemon's authorized-keys file, which it reads again\n"
    "when it changes.\n\n"
    "  -o FILE             where generate writes\n"
    "  --file FILE         the authorized-keys file (default: in the per-user data folder)\n"
    "  --rights LIST       of query, ingest, admin; default query\n"
    "  --collections LIST  names, or * for all; default all\n"
    "  --rate N            requests a second\n"
    "  --expires DATE      YYYY-MM-DD, later than today; refused from that day on (UTC)\n"
    "  --comment TEXT\n"
    "  --json\n",
    run};
