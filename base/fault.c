#include "base/fault.h"

#ifdef LATENTD_FAULTS
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAULT_MAX 16

struct fault_point {
    char name[48];
    long after; /* passes left before it acts */
    char action[200];
    bool spent;
};

static struct fault_point points[FAULT_MAX];
static int n_points;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void parse(void)
{
    const char *env = getenv("LATENTD_FAULT");
    char *copy = env ? strdup(env) : NULL;
    char *save = NULL;
    for (char *item = copy ? strtok_r(copy, ",", &save) : NULL; item && n_points < FAULT_MAX;
         item = strtok_r(NULL, ",", &save)) {
        struct fault_point *f = &points[n_points];
        char *eq = strchr(item, '=');
        if (!eq)
            continue;
        *eq = 0;
        char *colon = strchr(item, ':');
        if (colon) {
            *colon = 0;
            f->after = strtol(colon + 1, NULL, 10);
        }
        snprintf(f->name, sizeof f->name, "%s", item);
        snprintf(f->action, sizeof f->action, "%s", eq + 1);
        n_points++;
    }
    free(copy);
}

bool fault(const char *name)
{
    bool act = false;
    pthread_once(&once, parse);
    if (!n_points)
        return false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_points; i++) {
        struct fault_point *f = &points[i];
        if (f->spent || strcmp(f->name, name) != 0)
            continue;
        if (f->after-- > 0)
            continue;
        f->after = 0;
        if (*f->action == '/') {
            act |= access(f->action, F_OK) == 0;
            continue;
        }
        if (strcmp(f->action, "kill") == 0)
            kill(getpid(), SIGKILL);
        f->spent = strcmp(f->action, "always") != 0;
        act = true;
    }
    pthread_mutex_unlock(&lock);
    return act;
}

bool fault_item(const char *name, const char *item)
{
    char full[sizeof points[0].name];
    pthread_once(&once, parse);
    return n_points && snprintf(full, sizeof full, "%s.%s", name, item) < (int)sizeof full && fault(full);
}
#endif
