/* cpu_env COMMAND…: runs it with LATENTD_CPU_MASK as it is. Where the mask takes nothing away that this CPU has, COMMAND would do once more what it
 * does without the mask: then exit status 77 (skipped). */
#include "base/cpu.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Features are read once in a process, so another one reads them without the mask. False: errno says why not */
static bool unmasked(unsigned *features)
{
    int status;
    unsigned *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return false;
    const pid_t child = fork();
    if (child == 0) {
        unsetenv("LATENTD_CPU_MASK");
        *shared = cpu_features();
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    *features = *shared;
    return WIFEXITED(status);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: cpu_env COMMAND [ARGUMENT...]\n", stderr);
        return 2;
    }
    unsigned whole;
    const char *mask = getenv("LATENTD_CPU_MASK");
    if (!unmasked(&whole)) {
        perror("cpu_env");
        return 2;
    }
    if (mask && whole == cpu_features()) {
        printf("skipped: this CPU has nothing that mask %s takes away\n", mask);
        return 77;
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 2;
}
