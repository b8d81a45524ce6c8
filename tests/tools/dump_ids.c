/* Token ids of many texts, for compare_tokenizer.py: reads (u32 length, bytes) records on standard
 * input, writes (u32 count, i32 ids) records, little-endian as the machine is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/tokenizer.h"

int main(int argc, char **argv)
{
    struct err_msg em = {0};
    struct tokenizer *t = NULL;
    struct tokenizer_ids ids = {0};
    char *json = NULL, *text = NULL;
    size_t len = 0;
    uint32_t n;
    int status = 1;
    if (argc != 2) {
        fprintf(stderr, "usage: dump_ids tokenizer.json < texts > ids\n");
        return 2;
    }
    if (file_read(argv[1], TOKENIZER_JSON_MAX, &json, &len, &em) < 0 ||
        tokenizer_create(&t, json, len, &em) < 0)
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
    free(json);
    free(text);
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(&t);
    return status;
}
