/* What `latent add` reads: any bytes as JSON lines, as a text file, and as a vector on the command line. */
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/utf8.h"
#include "clients/cli/docs.h"
#include "clients/cli/vector_arg.h"

static void check_floats(const float *v, uint32_t dim)
{
    FUZZ_CHECK(dim > 0);
    for (uint32_t i = 0; i < dim; i++)
        FUZZ_CHECK(isfinite(v[i]));
}

static void check_doc(const struct doc *d)
{
    FUZZ_CHECK(d->id && d->id[0] && d->text && strlen(d->text) == d->text_len && d->title && d->metadata);
    FUZZ_CHECK(utf8_check(d->id, strlen(d->id)) == UTF8_VALID && utf8_check(d->text, d->text_len) == UTF8_VALID &&
               utf8_check(d->title, strlen(d->title)) == UTF8_VALID && utf8_check(d->metadata, strlen(d->metadata)) == UTF8_VALID);
    FUZZ_CHECK(!d->metadata[0] || d->metadata[0] == '{');
    if (d->vector)
        check_floats(d->vector, d->dim);
}

static void check_lines(FILE *f, size_t size)
{
    char *line = NULL;
    size_t cap = 0, len = 0, n = 0;
    int r;
    while ((r = docs_line(f, &line, &cap, &len)) != 0) {
        struct doc d;
        FUZZ_CHECK(r == 1 && len < cap && line[len] == '\0' && ++n <= size);
        if (doc_parse(&d, line, len, NULL) == 0)
            check_doc(&d);
        doc_finish(&d);
    }
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct doc d;
    float *v = NULL;
    uint32_t dim = 0;
    int fd = memfd_create("docs", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    FILE *f = fopen(path, "re");
    FUZZ_CHECK(f);
    check_lines(f, size);
    fclose(f);
    if (doc_from_file(&d, path, NULL) == 0)
        check_doc(&d);
    doc_finish(&d);
    close(fd);
    char *text = strndup((const char *)data, size);
    FUZZ_CHECK(text);
    if (vector_parse(text, &v, &dim, NULL) == 0)
        check_floats(v, dim);
    free(v);
    free(text);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const char *const seeds[] = {
        "\xEF\xBB\xBF{\"id\":\"a\",\"text\":\"x \xC3\xA4\",\"title\":\"T\",\"metadata\":{\"n\":[1,2.5e3,null,\"\\u00e9\"]}}\r\n\n{\"id\":-7,\"vector\":[1,-2.5e-3]}",
        "\n## A heading  \nand a text\n",
        "[0.5, 1e300, -0]",
        "{\"id\":\"\\ud800\",\"text\":null,\"title\":null,\"metadata\":null,\"vector\":null}\n{\"id\":1,\"id\":2}\n",
    };
    if (i >= 4 || strlen(seeds[i]) > cap)
        return 0;
    memcpy(buf, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
