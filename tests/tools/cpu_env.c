/* cpu_env COMMAND…: runs it with LATENTD_CPU_MASK as it is. Where the mask takes nothing away that this CPU has, COMMAND would do once more what it
 * does without the mask: then exit status 77 (skipped). */
#include "base/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Features are read once in a process, so another one reads them without the mask; they fit its exit status. */
static int unmasked(void)
{
    int status;
    const pid_t child = fork();
    if (child == 0) {
        unsetenv("LATENTD_CPU_MASK");
        _exit((int)(cpu_features() & 0xFF));
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: cpu_env COMMAND [ARGUMENT...]\n", stderr);
        return 2;
    }
    const int whole = unmasked();
    const char *mask = getenv("LATENTD_CPU_MASK");
    if (whole < 0) {
        perror("cpu_env");
        return 2;
    }
    if (mask && whole == (int)cpu_features()) {
        printf("skipped: this CPU has nothing that mask %s takes away\n", mask);
        return 77;
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 2;
}
