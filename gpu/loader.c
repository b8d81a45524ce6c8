#include "gpu/loader.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>

#define LIBRARY "libvulkan.so.1"

#define F(name) PFN_##name name;
LOADER_FUNCTIONS(F)
#undef F

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct err_msg why; /* empty: all is there */

static void open_once(void)
{
    static const struct {
        const char *name;
        void **at;
    } functions[] = {
#define F(name) {#name, (void **)&name},
        LOADER_FUNCTIONS(F)
#undef F
    };
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL); /* for as long as the process lives */
    if (!library) {
        err_set(&why, LT_ENOTFOUND, "Vulkan: %s", dlerror());
        return;
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (!(*functions[i].at = dlsym(library, functions[i].name))) {
            err_set(&why, LT_ENOTFOUND, "Vulkan: " LIBRARY " has no %s", functions[i].name);
            return;
        }
    }
}

int loader_open(struct err_msg *em)
{
    pthread_once(&once, open_once);
    return why.text[0] ? err_set(em, LT_ENOTFOUND, "%s", why.text) : 0;
}
