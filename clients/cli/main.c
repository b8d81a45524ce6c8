/* latent: the command line of latentd. This file reads the global options, finds the command and connects. */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/paths.h"
#include "base/refused.h"
#include "base/version.h"
#include "clients/cli/cli.h"
#include "clients/cli/json_out.h"
#include "clients/cli/text_out.h"

/* Looks at a daemon that was started, of about 50 ms each. */
#define SAY_WAITING_AFTER 20
#define AGAIN_MS 5000 /* who interrupts does not want to wait for a daemon that hangs */

static const struct cli_command *const commands[] = {
    &cli_status_command, &cli_collection_command, &cli_add_command,   &cli_get_command,
    &cli_delete_command, &cli_search_command,     &cli_embed_command, &cli_explain_command,
    &cli_import_command, &cli_selftest_command,
    &cli_eval_command,   &cli_job_command,        &cli_key_command,
    &cli_backup_command, &cli_check_command,      &cli_bench_command,  &cli_rerank_command,
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(FILE *f)
{
    fputs("Usage: latent [OPTIONS] COMMAND [ARGUMENTS]\n\n"
          "The command line of latentd, the vector search daemon.\n\nCommands:\n",
          f);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(f, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nOptions:\n"
          "  --socket PATH         the daemon's Unix socket (default: the per-user socket)\n"
          "  --private DIR         a daemon of DIR's own: joined where it runs, started where it does not; it ends\n"
          "                        10 s after its last client\n"
          "  --model FILE          with --private: the model of one that is started\n"
          "  --connect HOST:PORT   a daemon on TCP; needs --server-key and --key\n"
          "  --server-key KEY      its public key, as its `latent status` and its log print it\n"
          "  --key FILE            this client's key, made by `latent key generate`\n"
          "  -h, --help; --version\n\n"
          "`latent COMMAND --help` tells more. Exit status: 0 done, 1 some items or the request\n"
          "refused, 2 used wrongly or no daemon.\n",
          f);
}

int cli_usage_error(const struct cli_command *cmd, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "latent %s: ", cmd->name);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry: latent %s --help\n", cmd->name);
    return CLI_USAGE;
}

bool cli_wants_help(const struct cli_command *cmd, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(cmd->usage, stdout);
            return true;
        }
    }
    return false;
}

/* What getopt_long did not take; "latent NAME" before it. */
static void say_option(const char *before, int o, char **argv, const struct option *options)
{
    const char *name = refused_option(argv, options);
    if (o == ':')
        fprintf(stderr, "%s: %s needs a value\n", before, name);
    else if (strchr(name, '=') && optopt)
        fprintf(stderr, "%s: %.*s takes no value\n", before, (int)strcspn(name, "="), name);
    else
        fprintf(stderr, "%s: no option %s\n", before, name);
    fprintf(stderr, "Try: %s --help\n", before);
}

int cli_option(const struct cli_command *cmd, int argc, char **argv, const char *shorts, const struct option *options)
{
    char before[64];
    opterr = 0;
    int o = getopt_long(argc, argv, shorts, options, NULL);
    if (o != '?' && o != ':')
        return o;
    snprintf(before, sizeof before, "latent %s", cmd->name);
    say_option(before, o, argv, options);
    return '?';
}

bool cli_number(const struct cli_command *cmd, const char *option, const char *text, uint64_t lo,
                uint64_t hi, uint64_t *out)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || v < lo || v > hi) {
        cli_usage_error(cmd, "%s takes a whole number from %llu to %llu, not '%s'", option,
                        (unsigned long long)lo, (unsigned long long)hi, text);
        return false;
    }
    *out = v;
    return true;
}

void cli_say_reembed(void)
{
    fprintf(stderr, "To have this model embed it again: latent collection reembed NAME\n");
}

int cli_fail(struct cli *c, const char *what)
{
    int code = latent_error_code(c->connection);
    text_say("latent: %s: %s (%s)", what, latent_error(c->connection), latent_code_name(code));
    if (code == LATENT_ENOTFOUND && strncmp(latent_error(c->connection), "no collection ", 14) == 0)
        fprintf(stderr, "Those there are: latent collection list. A new one: latent collection create NAME\n");
    if (code == LATENT_EMODEL)
        cli_say_reembed();
    return code == LATENT_ECONN ? CLI_USAGE : CLI_REFUSED;
}

bool cli_names_daemon(const struct cli *c, const char *command, const char *say)
{
    const char *option = c->private_dir  ? "--private"
                         : c->connect    ? "--connect"
                         : c->server_key ? "--server-key"
                         : c->key_file   ? "--key"
                         : c->model      ? "--model"
                                         : NULL;
    if (option)
        fprintf(stderr, "latent %s: %s is for a daemon, and this runs without one; what it takes comes behind it, %s say: latent %s --help\n",
                command, option, say, command);
    return option != NULL;
}

static int connect_tcp(struct cli *c)
{
    const char *colon = strrchr(c->connect, ':');
    char host[256];
    size_t n = colon ? (size_t)(colon - c->connect) : 0;
    const char *from = c->connect;
    if (n >= 2 && from[0] == '[' && from[n - 1] == ']') { /* [::1]:7000 */
        from++;
        n -= 2;
    }
    if (!n || n >= sizeof host || !colon[1]) {
        fprintf(stderr, "latent: --connect takes HOST:PORT, not '%s'\n", c->connect);
        return LATENT_EINVAL;
    }
    memcpy(host, from, n);
    host[n] = 0;
    int r = latent_connect_tcp(c->connection, host, colon + 1, c->server_key, c->key_file);
    if (r < 0)
        text_say("latent: %s: %s (%s)", c->connect, latent_error(c->connection), latent_code_name(r));
    return r;
}

/* A daemon that has just been started, by the first connection to its socket perhaps, is worth waiting for. */
static bool on_waiting(void *arg, enum latent_phase phase, uint32_t percent)
{
    struct cli *c = arg;
    if (!c->said_waiting)
        fprintf(stderr, "latent: waiting for latentd, which is still loading\n");
    return c->said_waiting = true;
}

/* A small model is there in less than the time in which one reads why there is no answer yet. */
static bool on_waiting_private(void *arg, enum latent_phase phase, uint32_t percent)
{
    struct cli *c = arg;
    return ++c->n_waited < SAY_WAITING_AFTER || on_waiting(arg, phase, percent);
}

static int connect_private(struct cli *c)
{
    struct latent_private p = {.data = c->private_dir, .model = c->model, .waiting = on_waiting_private, .waiting_arg = c};
    int r = latent_connect_private(c->connection, &p);
    if (r < 0)
        text_say("latent: %s (%s)", latent_error(c->connection), latent_code_name(r));
    return r;
}

/* The place where a daemon of the user's would be is somebody else's, so nobody was asked. */
static bool squatted(const struct cli *c)
{
    char path[PATHS_MAX];
    return !c->socket_path && paths_socket(path) == 0 && paths_socket_ours(path) == LT_EPERM;
}

struct latent *cli_connect(struct cli *c)
{
    if (c->connection && latent_is_connected(c->connection))
        return c->connection;
    if (!c->server_key != !c->key_file || (c->connect && !c->key_file)) {
        fprintf(stderr, "latent: %s needs --server-key KEY and --key FILE\n",
                c->connect ? "--connect" : "an encrypted session");
        return NULL;
    }
    if ((c->private_dir && (c->socket_path || c->connect || c->key_file)) || (c->model && !c->private_dir)) {
        fprintf(stderr, c->model && !c->private_dir ? "latent: --model FILE goes with --private DIR; latentd has its own\n"
                                                    : "latent: --private goes without --socket, --connect and --key\n");
        return NULL;
    }
    if (!c->connection && !(c->connection = latent_new())) {
        fprintf(stderr, "latent: out of memory\n");
        return NULL;
    }
    latent_set_waiting(c->connection, on_waiting, c);
    if (c->private_dir)
        return connect_private(c) < 0 ? NULL : c->connection;
    if (c->connect)
        return connect_tcp(c) < 0 ? NULL : c->connection;
    int r = c->key_file
                ? latent_connect_unix_key(c->connection, c->socket_path, c->server_key, c->key_file)
                : latent_connect_unix(c->connection, c->socket_path);
    if (r == 0)
        return c->connection;
    const char *socket = c->socket_path ? c->socket_path : getenv("LATENTD_SOCKET");
    text_say("latent: %s (%s)", latent_error(c->connection), latent_code_name(r));
    if (r == LATENT_ECONN && strstr(latent_error(c->connection), "closed the connection"))
        fprintf(stderr, "It may have as many clients as it takes (connections in latentd.conf(5)), or be stopping; its log says which\n");
    else if (r == LATENT_ECONN && socket)
        text_say("Start one with: latentd --socket %s", socket);
    else if (r == LATENT_ECONN)
        fprintf(stderr, "Start one with: latentd\n");
    else if (r == LATENT_EPERM && !c->key_file && !squatted(c))
        fprintf(stderr, "Its daemon names who else may use it: allow-users and allow-group in latentd.conf(5)\n");
    return NULL;
}

struct latent *cli_connect_patient(struct cli *c)
{
    struct latent *conn = cli_connect(c);
    if (conn)
        latent_set_timeout(conn, 0);
    return conn;
}

struct latent *cli_connect_again(struct cli *c)
{
    latent_close(c->connection);
    latent_set_timeout(c->connection, AGAIN_MS);
    return cli_connect(c);
}

/* Reads the options before the command; returns the index of the command, 0 after --help and --version,
 * -1 for a mistake. */
static int global_options(struct cli *c, int argc, char **argv)
{
    enum { OPT_SOCKET = 256, OPT_PRIVATE, OPT_MODEL, OPT_CONNECT, OPT_SERVER_KEY, OPT_KEY, OPT_VERSION };
    static const struct option options[] = {
        {"socket", required_argument, NULL, OPT_SOCKET},
        {"private", required_argument, NULL, OPT_PRIVATE},
        {"model", required_argument, NULL, OPT_MODEL},
        {"connect", required_argument, NULL, OPT_CONNECT},
        {"server-key", required_argument, NULL, OPT_SERVER_KEY},
        {"key", required_argument, NULL, OPT_KEY},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, OPT_VERSION},
        {0},
    };
    opterr = 0;
    for (;;) {
        int o = getopt_long(argc, argv, "+:h", options, NULL);
        switch (o) {
        case OPT_SOCKET:
            c->socket_path = optarg;
            break;
        case OPT_PRIVATE:
            c->private_dir = optarg;
            break;
        case OPT_MODEL:
            c->model = optarg;
            break;
        case OPT_CONNECT:
            c->connect = optarg;
            break;
        case OPT_SERVER_KEY:
            c->server_key = optarg;
            break;
        case OPT_KEY:
            c->key_file = optarg;
            break;
        case 'h':
            print_help(stdout);
            return 0;
        case OPT_VERSION:
            puts("latent " LATENTD_VERSION);
            return 0;
        case -1:
            if (optind < argc)
                return optind;
            print_help(stderr);
            return -1;
        default:
            say_option("latent", o, argv, options);
            return -1;
        }
    }
}

/* A full disk or a closed pipe must not look like success; who closed the pipe (`head`, say) knows, and is told nothing. */
static int finish_output(int status)
{
    const int late = fflush(stdout) != 0 ? errno : 0, why = json_out_failure() ? json_out_failure() : late;
    if (!why && !ferror(stdout))
        return status;
    if (why != EPIPE)
        fprintf(stderr, "latent: cannot write the output: %s\n", why ? strerror(why) : "write error");
    return status ? status : CLI_REFUSED;
}

int main(int argc, char **argv)
{
    static char help[] = "--help";
    struct cli c = {0};
    file_keep_standard();
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    int at = global_options(&c, argc, argv);
    if (at <= 0)
        return at == 0 ? finish_output(CLI_DONE) : CLI_USAGE;
    if (strcmp(argv[at], "help") == 0) {
        if (at + 1 == argc) {
            print_help(stdout);
            return finish_output(CLI_DONE);
        }
        argv[at] = argv[at + 1]; /* latent help NAME is latent NAME --help */
        argv[at + 1] = help;
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const struct cli_command *cmd = commands[i];
        if (strcmp(argv[at], cmd->name) != 0)
            continue;
        argc -= at;
        argv += at;
        if (cli_wants_help(cmd, argc, argv))
            return finish_output(CLI_DONE);
        optind = 0; /* glibc: start over for the command's own options */
        int status = cmd->run(&c, argc, argv);
        latent_destroy(&c.connection);
        return finish_output(status);
    }
    fprintf(stderr, "latent: no command '%s'\nTry: latent --help\n", argv[at]);
    return CLI_USAGE;
}
