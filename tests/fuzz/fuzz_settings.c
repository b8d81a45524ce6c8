/* latentd.conf: any bytes; what is taken keeps to the bounds that the table of settings states. */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "daemon/config.h"

static void check_numbers(const struct settings *s)
{
    for (unsigned i = 0; i < settings_count; i++) {
        const struct setting *t = &settings_table[i];
        uint64_t v;
        memcpy(&v, (const char *)s + t->offset, sizeof v);
        FUZZ_CHECK(!t->number || (v >= t->min && v <= t->max));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct settings s;
    struct err_msg em = {""};
    int fd = memfd_create("conf", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    settings_init(&s);
    const int r = config_read(path, &s, &em);
    FUZZ_CHECK(r == 0 || (r == LT_EINVAL && em.text[0]));
    check_numbers(&s);
    settings_finish(&s);
    close(fd);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const seeds[] = {
        "# comment\n\ndata = /a b/c\nthreads=3\n; other comment\nlisten = [::1]:7650\nsocket-keys = yes\n",
        "\xEF\xBB\xBF" "data = /x  ; where it is\r\n  threads = 4 ; both\r\nmask = full\npooling=last\nlog-level=debug\n",
        "memory = 100\nallow-users = a,4242\nallow-group = video\nidle-exit = 10\nsample-every = 64\ndevice: cpu\n",
        "[section]\ndata = 1\n",
    };
    if (i >= 4 || strlen(seeds[i]) > cap)
        return 0;
    memcpy(buf, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
