/* latent: what its commands share. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "clients/c/latent.h"

/* Exit statuses. */
enum cli_status {
    CLI_DONE = 0,
    CLI_REFUSED = 1, /* some items, or the request as a whole */
    CLI_USAGE = 2,   /* used wrongly, or no daemon */
};

/* Global options and how to reach the daemon. Thread-safety: unsafe. */
struct cli {
    const char *socket_path;  /* --socket; NULL: the per-user socket */
    const char *private_dir;  /* --private DIR: its own daemon, started if need be */
    const char *model;        /* --model FILE, for that */
    const char *connect;      /* --connect HOST:PORT */
    const char *server_key;   /* --server-key */
    const char *key_file;     /* --key */
    unsigned n_waited;        /* looks at a private daemon that is not ready yet */
    bool said_waiting;        /* for a daemon that is still loading */
    struct latent *connection; /* opened by cli_connect, closed by main */
};

struct cli_command {
    const char *name;
    const char *summary; /* one line for `latent --help` */
    const char *usage;   /* the text of `latent NAME --help` */
    int (*run)(struct cli *c, int argc, char **argv); /* argv[0] is the command's name; an enum cli_status */
};

/* Runs latentd as `latentd argv[0] …`, where it is; does not return when that works. */
int cli_run_tool(struct cli *c, int argc, char **argv);

extern const struct cli_command cli_status_command, cli_collection_command, cli_add_command,
    cli_get_command, cli_delete_command, cli_search_command, cli_embed_command, cli_import_command, cli_selftest_command,
    cli_eval_command, cli_key_command, cli_job_command, cli_check_command, cli_bench_command, cli_explain_command, cli_backup_command,
    cli_rerank_command;

/* For what runs without a daemon, on files of this machine: true, after an error on stderr, where an option before the command says which one.
 * say: an option that names such a file. */
bool cli_names_daemon(const struct cli *c, const char *command, const char *say);

/* Connects on first use; calls on the connection wait for a daemon that is still loading. NULL: it has said on stderr why, and how to start a
 * daemon; return CLI_USAGE. */
struct latent *cli_connect(struct cli *c);

/* The same, and no call has a deadline: for what a model may take any time for. */
struct latent *cli_connect_patient(struct cli *c);

/* Anew, after interrupt_came has cut the connection, and with little patience. As above. */
struct latent *cli_connect_again(struct cli *c);

/* "latent NAME: text" on stderr, and "try latent NAME --help". Returns CLI_USAGE. */
int cli_usage_error(const struct cli_command *cmd, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Prints the connection's last error with its code; returns the exit status for it. */
int cli_fail(struct cli *c, const char *what);

/* After LATENT_EMODEL: what to do about it. */
void cli_say_reembed(void);

/* getopt_long with a short list that begins with ':'. An option that is unknown or lacks its value is said on stderr, as by
 * cli_usage_error, and comes back as '?': return CLI_USAGE. */
int cli_option(const struct cli_command *cmd, int argc, char **argv, const char *shorts, const struct option *options);

/* Handles --help or -h among the command's options: prints the usage and returns true. */
bool cli_wants_help(const struct cli_command *cmd, int argc, char **argv);

/* Numbers of options: false, after an error on stderr, for anything but lo..hi. */
bool cli_number(const struct cli_command *cmd, const char *option, const char *text, uint64_t lo,
                uint64_t hi, uint64_t *out);

#endif
