/* Token ids of many texts, for comparisons with other libraries: a tokenizer.json or a GGUF file's tokeniser reads (u32 length, bytes) records on standard
 * input, writes (u32 count, i32 ids) records, little-endian as the machine is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "model/tokenizer_gguf.h"

/* By the file's first bytes. */
static int load(const char *path, struct tokenizer **t, struct err_msg *em)
{
    struct file_map map = {0};
    struct gguf *g = NULL;
    char *json = NULL;
    size_t len;
    int r = file_map(path, &map, em);
    if (r == 0 && map.len > 4 && !memcmp(map.data, GGUF_MAGIC, 4)) {
        if ((r = gguf_parse(&g, map.data, map.len, em)) == 0)
            r = tokenizer_create_gguf(t, g, em);
    } else if (r == 0 && (r = file_read(path, TOKENIZER_JSON_MAX, &json, &len, em)) == 0) {
        r = tokenizer_create(t, json, len, em);
    }
    free(json);
    gguf_destroy(&g);
    file_unmap(&map);
    return r;
}

int main(int argc, char **argv)
{
    struct err_msg em = {0};
    struct tokenizer *t = NULL;
    struct tokenizer_ids ids = {0};
    char *text = NULL;
    uint32_t n;
    int status = 1;
    if (argc != 2) {
        fprintf(stderr, "usage: dump_ids tokenizer.json|model.gguf < texts > ids\n");
        return 2;
    }
    if (load(argv[1], &t, &em) < 0)
        goto out;
    while (fread(&n, sizeof n, 1, stdin) == 1) {
        char *p = n <= TOKENIZER_TEXT_MAX ? realloc(text, n + 1u) : NULL;
        if (!p || fread(p, 1, n, stdin) != n) {
            snprintf(em.text, sizeof em.text, "a record is cut short or too long");
            goto out;
        }
        text = p;
        if (tokenizer_encode(t, text, n, &ids, &em) < 0)
            goto out;
        uint32_t count = (uint32_t)ids.n;
        fwrite(&count, sizeof count, 1, stdout);
        fwrite(ids.ids, sizeof *ids.ids, ids.n, stdout);
    }
    status = fflush(stdout) ? 1 : 0;
out:
    if (status)
        fprintf(stderr, "dump_ids: %s\n", em.text);
    free(text);
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(&t);
    return status;
}
