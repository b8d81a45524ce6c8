#include "daemon/find_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/paths.h"

#define MODEL_FILE "latent-mini-q8_0.gguf"

int find_model(char *out, size_t size, struct err_msg *em)
{
    static const char *const beside[] = {"/../share/latentd/", "/../models/", "/../../models/"};
    char exe[PATHS_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = '\0';
    for (unsigned i = 0; slash && i < sizeof beside / sizeof *beside; i++) {
        snprintf(out, size, "%s%s" MODEL_FILE, exe, beside[i]);
        char *real = access(out, R_OK) == 0 ? realpath(out, NULL) : NULL;
        if (real) {
            snprintf(out, size, "%s", real);
            free(real);
            return 0;
        }
    }
    snprintf(out, size, "%s/" MODEL_FILE, LATENTD_DATADIR);
    if (access(out, R_OK) == 0)
        return 0;
    return err_set(em, LT_ENOTFOUND, "no model: %s is not there; name one with --model FILE", out);
}
