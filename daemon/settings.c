#include "daemon/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/paths.h"

#define TEXT(name, field, arg, help) {name, offsetof(struct settings, field), false, 0, 0, arg, help}
#define NUMBER(name, field, min, max, arg, help) {name, offsetof(struct settings, field), true, min, max, arg, help}

const struct setting settings_table[] = {
    TEXT("data", data, "DIR", "folder for documents and index"),
    TEXT("socket", socket, "PATH", "Unix socket to serve"),
    TEXT("listen", listen, "HOST:PORT", "also serve authenticated clients over TCP (Noise)"),
    TEXT("model", model, "FILE", "model file (.gguf); default: the one that came with latentd"),
    TEXT("reranker", reranker, "FILE", "reranker file (.gguf) for `latent rerank` and `latent search --rerank`; default: none"),
    TEXT("mask", mask, "causal|full", "what a token sees; default: as the model file says"),
    TEXT("pooling", pooling, "mean|last|cls", "how a text's tokens become one vector; default: as the file says"),
    NUMBER("dim", dim, 0, 65536, "N", "keep the first N values of each vector (Matryoshka models); 0: all"),
    TEXT("device", device, "DEVICE", "auto, cpu, vulkan, or part of a device's name, or its UUID"),
    TEXT("log-level", log_level, "LEVEL", "error, warn, info or debug"),
    TEXT("authorized-keys", authorized_keys, "FILE", "clients' keys; default: authorized_keys in the data folder"),
    TEXT("allow-users", allow_users, "LIST", "further users of the Unix socket, comma-separated"),
    TEXT("allow-group", allow_group, "GROUP", "group whose members may use the Unix socket"),
    TEXT("socket-keys", socket_keys, "yes|no", "demand keys on the Unix socket too; default: no"),
    NUMBER("threads", threads, 0, 1024, "N", "CPU threads of the model; 0: all that this process may use"),
    NUMBER("device-memory", device_memory_mb, 0, 1 << 24, "MIB",
           "memory of the device that models may take, the reranker included; 0: most of it, half on the CPU"),
    NUMBER("searchers", searchers, 0, 256, "N", "threads that search; 0: chosen by processors"),
    NUMBER("index-threads", index_threads, 0, 64, "N", "threads that insert vectors; 0: all that this process may use"),
    NUMBER("memory", memory_mb, 0, 1 << 24, "MIB", "most memory of its own; 0: three quarters of what control group and machine leave"),
    NUMBER("connections", connections, 1, 65536, "N", "clients at a time"),
    NUMBER("idle-exit", idle_exit, 0, 1 << 30, "SECONDS", "end when no client has been connected for so long; 0: never"),
    NUMBER("sample-every", sample_every, 0, 1 << 30, "N", "repeat one in N searches exactly, at leisure, to know recall; 0: none"),
};
const unsigned settings_count = sizeof settings_table / sizeof *settings_table;

void settings_init(struct settings *s)
{
    *s = (struct settings){.connections = 512, .sample_every = 100};
}

void settings_finish(struct settings *s)
{
    for (unsigned i = 0; i < settings_count; i++)
        if (!settings_table[i].number)
            free(*(char **)((char *)s + settings_table[i].offset));
    memset(s, 0, sizeof *s);
}

static int set_number(const struct setting *t, uint64_t *field, const char *value, struct err_msg *em)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(value, &end, 10);
    if (errno || end == value || *end || value[0] == '-' || v < t->min || v > t->max)
        return err_set(em, LT_EINVAL, "%s must be a number from %llu to %llu, not '%.100s'", t->name,
                       (unsigned long long)t->min, (unsigned long long)t->max, value);
    *field = v;
    return 0;
}

/* Settings with few values. */
static const struct choice {
    const char *name, *say, *values[5];
} choices[] = {
    {"log-level", "error, warn, info or debug", {"error", "warn", "info", "debug"}},
    {"mask", "causal or full", {"causal", "full"}},
    {"pooling", "mean, last or cls", {"mean", "last", "cls"}},
    {"socket-keys", "yes or no", {"yes", "no"}},
};

static int check_choice(const struct choice *c, const char *value, struct err_msg *em)
{
    for (unsigned i = 0; c->values[i]; i++)
        if (strcmp(c->values[i], value) == 0)
            return 0;
    return err_set(em, LT_EINVAL, "%s must be %s, not '%.100s'", c->name, c->say, value);
}

static bool is_path(const struct setting *t)
{
    return strcmp(t->arg, "DIR") == 0 || strcmp(t->arg, "PATH") == 0 || strcmp(t->arg, "FILE") == 0;
}

int settings_set(struct settings *s, const char *name, const char *value, struct err_msg *em)
{
    const struct setting *t = settings_table, *end = settings_table + settings_count;
    while (t < end && strcmp(t->name, name) != 0)
        t++;
    if (t == end)
        return err_set(em, LT_ENOTFOUND, "unknown setting '%.100s'", name);
    void *field = (char *)s + t->offset;
    if (t->number)
        return set_number(t, field, value, em);
    if (!*value)
        return err_set(em, LT_EINVAL, "%s is empty", name);
    if (*value == '~' && is_path(t))
        return err_set(em, LT_EINVAL, "%s: %.200s: ~ is not expanded here; write the whole path (./~ for a folder of that name)", name, value);
    if ((*value == '"' || *value == '\'') && is_path(t))
        return err_set(em, LT_EINVAL, "%s: %.200s: quotes are not taken off here; write the path without them", name, value);
    for (unsigned i = 0; i < sizeof choices / sizeof *choices; i++)
        if (strcmp(name, choices[i].name) == 0 && check_choice(&choices[i], value, em) < 0)
            return LT_EINVAL;
    char *copy = strdup(value);
    if (!copy)
        return err_set(em, LT_ENOMEM, "out of memory");
    free(*(char **)field);
    *(char **)field = copy;
    return 0;
}

/* Its socket is where clients look for it, and it never stays for good. */
static int complete_private(struct settings *s, struct err_msg *em)
{
    char path[PATHS_MAX];
    if (s->socket)
        return err_set(em, LT_EINVAL, "with --private the socket is latentd.sock in the data folder; --socket goes not with it");
    if (snprintf(path, sizeof path, "%s/latentd.sock", s->data) >= (int)sizeof path)
        return err_set(em, LT_ELIMIT, "the data folder's name is too long");
    if (!s->idle_exit)
        s->idle_exit = SETTINGS_PRIVATE_IDLE_S;
    return settings_set(s, "socket", path, em);
}

/* Where it is when nobody says it. */
static int set_usual(struct settings *s, const char *name, int (*find)(char out[static PATHS_MAX]), struct err_msg *em)
{
    char path[PATHS_MAX];
    const int r = find(path);
    return r < 0 ? err_set(em, r, "%s: the path of its usual place is too long; name another", name) : settings_set(s, name, path, em);
}

int settings_complete(struct settings *s, struct err_msg *em)
{
    char path[PATHS_MAX];
    int r = 0;
    if (!s->data)
        r = set_usual(s, "data", paths_data_dir, em);
    if (r == 0 && s->is_private)
        r = complete_private(s, em);
    if (r == 0 && !s->socket)
        r = set_usual(s, "socket", paths_socket, em);
    if (r == 0 && !s->device)
        r = settings_set(s, "device", "auto", em);
    if (r == 0 && !s->log_level)
        r = settings_set(s, "log-level", "info", em);
    if (r == 0 && !s->socket_keys)
        r = settings_set(s, "socket-keys", "no", em);
    if (r == 0 && !s->authorized_keys) {
        if (strlen(s->data) + sizeof "/authorized_keys" > sizeof path)
            return err_set(em, LT_ELIMIT, "the data folder's name is too long");
        strcpy(path, s->data);
        strcat(path, "/authorized_keys");
        r = settings_set(s, "authorized-keys", path, em);
    }
    return r;
}
