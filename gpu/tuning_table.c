#include "gpu/tuning_table.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { VENDOR_NVIDIA = 0x10DE, VENDOR_AMD = 0x1002, VENDOR_INTEL = 0x8086 };

static const struct number {
    const char *name;
    size_t at; /* in the table */
    uint32_t others, nvidia, amd, intel, software, least, most;
} numbers[] = {
#define NUMBER(name, ...) {#name, offsetof(struct tuning_table, name), __VA_ARGS__},
    TUNING_NUMBERS(NUMBER)
#undef NUMBER
};
#define N_NUMBERS (sizeof numbers / sizeof *numbers)

static uint32_t *in_table(struct tuning_table *t, const struct number *n)
{
    return (uint32_t *)(void *)((char *)t + n->at);
}

static uint32_t column(const struct number *n, uint32_t vendor, bool software)
{
    if (software)
        return n->software;
    return vendor == VENDOR_NVIDIA ? n->nvidia : vendor == VENDOR_AMD ? n->amd : vendor == VENDOR_INTEL ? n->intel : n->others;
}

static int no_such_number(const char *name, size_t len, struct err_msg *em)
{
    char names[N_NUMBERS * 24] = ""; /* of names shorter than 22 characters */
    for (size_t i = 0; i < N_NUMBERS; i++) {
        strcat(names, i ? ", " : "");
        strcat(names, numbers[i].name);
    }
    return err_set(em, LT_EINVAL, "LATENTD_VULKAN_TUNING: no number is called \"%.*s\"; there are: %s", (int)(len < 40 ? len : 40), name, names);
}

/* One NAME=VALUE of len characters. */
static int change(struct tuning_table *t, const char *text, size_t len, struct err_msg *em)
{
    const char *equals = memchr(text, '=', len);
    const size_t name = equals ? (size_t)(equals - text) : len;
    for (size_t i = 0; i < N_NUMBERS; i++) {
        const struct number *n = &numbers[i];
        if (strlen(n->name) != name || memcmp(n->name, text, name) != 0)
            continue;
        char *end;
        const unsigned long v = equals && equals[1] >= '0' && equals[1] <= '9' ? strtoul(equals + 1, &end, 10) : 0;
        if (v < n->least || v > n->most || v & (v - 1) || end != text + len)
            return err_set(em, LT_EINVAL, "LATENTD_VULKAN_TUNING: %s is a power of two from %u to %u", n->name, n->least, n->most);
        *in_table(t, n) = (uint32_t)v;
        return 0;
    }
    return no_such_number(text, name, em);
}

int tuning_table_fill(struct tuning_table *t, uint32_t vendor, bool software, const char *changes, struct err_msg *em)
{
    if (!changes)
        changes = getenv("LATENTD_VULKAN_TUNING");
    for (size_t i = 0; i < N_NUMBERS; i++) {
        const struct number *n = &numbers[i];
        *in_table(t, n) = column(n, vendor, software);
    }
    while (changes && *changes) {
        const size_t len = strcspn(changes, ",");
        const int r = change(t, changes, len, em);
        if (r < 0)
            return r;
        changes += len + (changes[len] == ',');
    }
    return 0;
}
