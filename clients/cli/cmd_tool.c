/* latent import, selftest, bench, backup and check: latentd does the work (it has the model's and the index's code), so this runs `latentd import …`. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clients/cli/cli.h"

/* latentd beside this program: the same folder once installed, ../../daemon in a build tree. */
static void try_beside(const char *relative, char **argv)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    size_t room = sizeof path - (size_t)(slash + 1 - path);
    if (slash && strlen(relative) < room) {
        memcpy(slash + 1, relative, strlen(relative) + 1);
        if (access(path, X_OK) == 0)
            execv(path, argv);
    }
}

int cli_run_tool(struct cli *c, int argc, char **argv)
{
    if (cli_names_daemon(c, argv[0], "--data DIR"))
        return CLI_USAGE;
    char **args = calloc((size_t)argc + 2, sizeof *args);
    if (!args) {
        fprintf(stderr, "latent: out of memory\n");
        return CLI_REFUSED;
    }
    static char name[] = "latentd";
    args[0] = name;
    memcpy(args + 1, argv, (size_t)argc * sizeof *args); /* argv[0] is the command */
    try_beside("latentd", args);
    try_beside("../../daemon/latentd", args);
    execvp("latentd", args);
    fprintf(stderr, "latent: cannot run latentd, which does this: %s\n", strerror(errno));
    free(args);
    return CLI_REFUSED;
}

const struct cli_command cli_import_command = {
    "import", "turn a Hugging Face checkpoint folder into a model file",
    "Usage: latent import DIR -o FILE.gguf [--type f32|f16|bf16|q8_0|q4_K]\n\n"
    "Runs `latentd import`. DIR is a Hugging Face checkpoint folder in NV-Embed's layout: config.json,\n"
    "safetensors in one or more shards, tokenizer.json. A folder without a tokenizer imports too; its\n"
    "model then serves token ids only (`latent embed --ids`). FILE appears when it is complete.\n\n"
    "  -o FILE.gguf    where to\n"
    "  --type TYPE     how weights are stored (default q8_0); rows that the type cannot hold become f16\n",
    cli_run_tool};

const struct cli_command cli_selftest_command = {
    "selftest", "check this machine's devices against the reference",
    "Usage: latent selftest [--device D] [--model FILE]\n\n"
    "Runs `latentd selftest`: every operation's conformance cases, then the model's golden vectors, on the devices that D\n"
    "means (default auto: all that would be tried). Prints a table; exit status 1 when a device fails.\n",
    cli_run_tool};

const struct cli_command cli_bench_command = {
    "bench", "measure the model on a device",
    "Usage: latent bench [--device D] [--model FILE] [--texts N] [--tokens N] [--rounds N] [--profile]\n\n"
    "Runs `latentd bench`: the time of a call that embeds N texts (default 16) of N tokens (default 128), the median of\n"
    "N rounds (default 7), and tokens per second.\n\n"
    "  --profile       on a Vulkan device, what each kernel takes, by the device's clock\n",
    cli_run_tool};

const struct cli_command cli_backup_command = {
    "backup", "copy a data folder, of a running daemon as well",
    "Usage: latent backup [--data DIR] [--config FILE] TO\n\n"
    "Runs `latentd backup`: copies the data folder to TO, which is not there yet, as it is at one moment. What was\n"
    "acknowledged before is in it; the daemon goes on meanwhile. TO is a data folder itself: `latentd --data TO` serves\n"
    "it, `latent check --data TO` verifies it. To restore it, stop the daemon and put it in its folder's place.\n\n"
    "  --data DIR      the folder (default: the one latentd would use)\n"
    "  --config FILE   take the folder from these settings\n",
    cli_run_tool};

const struct cli_command cli_check_command = {
    "check", "verify a data folder, and mend it",
    "Usage: latent check [--data DIR] [--config FILE] [--repair]\n\n"
    "Runs `latentd check`: verifies the folder of a daemon that does not run. The database, the words, every\n"
    "graph and that they agree; one line for each problem; exit status 1 where there are some.\n\n"
    "  --data DIR      the folder (default: the one latentd would use)\n"
    "  --config FILE   take the folder from these settings\n"
    "  --repair        make words and graphs anew from the database, set right what contradicts itself,\n"
    "                  name what cannot be mended\n",
    cli_run_tool};
