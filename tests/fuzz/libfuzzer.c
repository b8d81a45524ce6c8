/* What a fuzz target's own seeds become for libFuzzer, which knows files only: with LATENTD_FUZZ_SEEDS=FOLDER a target writes them there,
 * 0, 1, …, and ends. */
#include "tests/fuzz/fuzz.h"

#define SEED_MAX (1u << 20)

#pragma weak fuzz_seed

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *folder = getenv("LATENTD_FUZZ_SEEDS");
    (void)argc;
    (void)argv;
    if (!folder)
        return 0;
    uint8_t *seed = malloc(SEED_MAX);
    size_t len;
    if (!seed)
        exit(2);
    for (int i = 0; fuzz_seed && (len = fuzz_seed(i, seed, SEED_MAX)) > 0; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%d", folder, i);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(seed, 1, len, f) != len || fclose(f) != 0) {
            perror(path);
            exit(2);
        }
    }
    free(seed);
    exit(0);
}
