/* Imports a checkpoint folder without a daemon:  import_model DIR OUT.gguf TYPE */
#include <stdio.h>

#include "model/import.h"

int main(int argc, char **argv)
{
    struct import_params p = {0};
    struct import_report rep;
    struct err_msg em;
    if (argc != 4 || import_type(argv[3], &p.type) < 0) {
        fprintf(stderr, "usage: %s DIR OUT.gguf f32|f16|bf16|q8_0|q4_K\n", argv[0]);
        return 2;
    }
    int r = import_folder(argv[1], argv[2], &p, &rep, &em);
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", err_name(r), em.text);
        return 1;
    }
    printf("%s: %u tensors, %llu weights, %llu bytes, %u golden vectors, tokenizer: %s, stored as f16: %u %s\n%s\n",
           rep.name, rep.n_tensors, (unsigned long long)rep.n_params, (unsigned long long)rep.len_bytes, rep.n_goldens,
           rep.has_tokenizer ? "yes" : "no", rep.n_f16, rep.first_f16, rep.fingerprint);
    return 0;
}
