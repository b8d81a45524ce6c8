/* Runs a fuzz target without a fuzzer: every seed as it is, every short prefix of it, then deterministic mutations.
 *
 *     fuzz_X [-n MUTATIONS] [-s SEED] [FILE|FOLDER…]
 *
 * Seeds are the target's own (fuzz_seed) and the files named. The last input is kept in fuzz_X.last in the working
 * folder when LATENTD_FUZZ_KEEP is set, to repeat a crash with. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_INPUT_BYTES (1u << 20)
#define MAX_SEEDS 256
#define MAX_PREFIXES 4096 /* seeds up to this length are cut at every byte, longer ones at this many places */

#pragma weak fuzz_seed

static struct {
    uint8_t *data;
    size_t len;
} seeds[MAX_SEEDS];
static size_t n_seeds;
static const char *keep;
static unsigned long long n_runs;

static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* In memory of exactly its size, so that a sanitizer sees a read past the end. */
static void run(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy)
        exit(2);
    memcpy(copy, data, len);
    if (keep) {
        FILE *f = fopen(keep, "wb");
        if (f) {
            fwrite(copy, 1, len, f);
            fclose(f);
        }
    }
    LLVMFuzzerTestOneInput(copy, len);
    n_runs++;
    free(copy);
}

static void add_seed(const uint8_t *data, size_t len)
{
    if (n_seeds == MAX_SEEDS || len > MAX_INPUT_BYTES)
        return;
    seeds[n_seeds].data = malloc(len ? len : 1);
    if (!seeds[n_seeds].data)
        exit(2);
    memcpy(seeds[n_seeds].data, data, len);
    seeds[n_seeds++].len = len;
}

static void add_file(const char *path)
{
    static uint8_t buf[MAX_INPUT_BYTES];
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(2);
    }
    add_seed(buf, fread(buf, 1, sizeof buf, f));
    fclose(f);
}

static void add_path(const char *path)
{
    struct stat st;
    DIR *dir = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    if (!dir) {
        add_file(path);
        return;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        char file[4096];
        if (e->d_name[0] != '.' && snprintf(file, sizeof file, "%s/%s", path, e->d_name) < (int)sizeof file)
            add_file(file);
    }
    closedir(dir);
}

/* Bytes that parsers stumble over, little-endian. */
static const uint64_t nasty[] = {0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
                                 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 0x4000000000000000};

static size_t mutate(uint8_t *p, size_t len, size_t cap, uint64_t *rng)
{
    for (uint64_t n = 1 + next(rng) % 4; n; n--) {
        size_t at = len ? next(rng) % len : 0, m;
        switch (next(rng) % 7) {
        case 0: /* flip a bit */
            if (len)
                p[at] ^= (uint8_t)(1u << next(rng) % 8);
            break;
        case 1: /* any byte */
            if (len)
                p[at] = (uint8_t)next(rng);
            break;
        case 2: /* a nasty number of 1, 2, 4 or 8 bytes */
            m = (size_t)1 << next(rng) % 4;
            if (len >= m) {
                at = next(rng) % (len - m + 1);
                memcpy(p + at, &nasty[next(rng) % (sizeof nasty / sizeof *nasty)], m);
            }
            break;
        case 3: /* cut the end */
            len = at;
            break;
        case 4: /* remove a run */
            m = len ? next(rng) % (len - at) % 64 : 0;
            memmove(p + at, p + at + m, len - at - m);
            len -= m;
            break;
        case 5: /* repeat a run */
            m = len ? next(rng) % (len - at) % 64 : 0;
            if (len + m <= cap) {
                memmove(p + at + m, p + at, len - at);
                len += m;
            }
            break;
        case 6: /* a run from another seed */
            if (n_seeds && len) {
                size_t other = next(rng) % n_seeds;
                m = next(rng) % (len - at) % 256;
                if (seeds[other].len > m)
                    memcpy(p + at, seeds[other].data + next(rng) % (seeds[other].len - m), m);
            }
            break;
        }
    }
    return len;
}

int main(int argc, char **argv)
{
    static uint8_t buf[2 * MAX_INPUT_BYTES];
    unsigned long long mutations = 20000;
    uint64_t rng = 1;
    int opt;
    while ((opt = getopt(argc, argv, "n:s:")) != -1) {
        if (opt == 'n')
            mutations = strtoull(optarg, NULL, 0);
        else if (opt == 's')
            rng = strtoull(optarg, NULL, 0);
        else
            return 2;
    }
    char keep_path[4096];
    if (getenv("LATENTD_FUZZ_KEEP") && snprintf(keep_path, sizeof keep_path, "%s.last", argv[0]) < (int)sizeof keep_path)
        keep = keep_path;
    for (int i = optind; i < argc; i++)
        add_path(argv[i]);
    for (int i = 0; fuzz_seed && i < MAX_SEEDS; i++) {
        size_t len = fuzz_seed(i, buf, MAX_INPUT_BYTES);
        if (!len)
            break;
        add_seed(buf, len);
    }
    run(buf, 0);
    for (size_t i = 0; i < n_seeds; i++) {
        size_t step = seeds[i].len / MAX_PREFIXES + 1;
        run(seeds[i].data, seeds[i].len);
        for (size_t len = 1; len < seeds[i].len; len += step)
            run(seeds[i].data, len);
    }
    for (unsigned long long i = 0; i < mutations; i++) {
        size_t len = 0;
        if (n_seeds) {
            size_t s = i % n_seeds;
            len = seeds[s].len;
            memcpy(buf, seeds[s].data, len);
        } else {
            len = next(&rng) % 512;
            for (size_t j = 0; j < len; j++)
                buf[j] = (uint8_t)next(&rng);
        }
        run(buf, mutate(buf, len, sizeof buf, &rng));
    }
    printf("%s: %zu seeds, %llu inputs\n", argv[0], n_seeds, n_runs);
    for (size_t i = 0; i < n_seeds; i++)
        free(seeds[i].data);
    return 0;
}
