/* Writes a checkpoint folder in NV-Embed's layout with random weights: make_checkpoint DIR [name=number…] [type=f16|bf16|f32]
 *
 * Names: hidden layers heads kv_heads head_dim ffn vocab positions latents latent_heads latent_head_dim shard_bytes seed. What is
 * not named is as released: without any it is 304 tensors, 7,851,016,192 weights in four shards, 15.7 GB. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/checkpoint_maker.h"

static void show(double fraction)
{
    static int last = -1;
    if ((int)(fraction * 100) != last)
        fprintf(stderr, "\r%3d %%", last = (int)(fraction * 100));
}

static bool set(struct checkpoint_shape *s, const char *arg)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16};
    const struct {
        const char *name;
        uint32_t *value;
    } number[] = {{"hidden", &s->hidden},       {"layers", &s->layers},   {"heads", &s->heads},
                  {"kv_heads", &s->kv_heads},   {"head_dim", &s->head_dim}, {"ffn", &s->ffn},
                  {"vocab", &s->vocab},         {"positions", &s->positions}, {"latents", &s->latents},
                  {"latent_heads", &s->latent_heads}, {"latent_head_dim", &s->latent_head_dim}};
    const char *eq = strchr(arg, '=');
    if (!eq)
        return false;
    const size_t len = (size_t)(eq - arg);
    for (size_t i = 0; len == 4 && !strncmp(arg, "type", 4) && i < 3; i++) {
        s->type = types[i];
        if (!strcmp(eq + 1, tensor_type_name(types[i])))
            return true;
    }
    for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
        if (strlen(number[i].name) == len && !strncmp(arg, number[i].name, len)) {
            *number[i].value = (uint32_t)strtoul(eq + 1, NULL, 10);
            return true;
        }
    }
    uint64_t *wide = !strncmp(arg, "seed=", 5) ? &s->seed : !strncmp(arg, "shard_bytes=", 12) ? &s->shard_bytes : NULL;
    if (wide)
        *wide = strtoull(eq + 1, NULL, 10);
    return wide != NULL;
}

int main(int argc, char **argv)
{
    struct checkpoint_shape shape = {.type = TENSOR_F16, .seed = 1};
    struct err_msg em;
    for (int i = 2; i < argc; i++)
        if (!set(&shape, argv[i])) {
            fprintf(stderr, "make_checkpoint: %s is not known\n", argv[i]);
            return 2;
        }
    if (argc < 2) {
        fputs("usage: make_checkpoint DIR [name=number...] [type=f16|bf16|f32]\n", stderr);
        return 2;
    }
    int r = checkpoint_make(argv[1], &shape, show, &em);
    fputc('\n', stderr);
    if (r < 0)
        fprintf(stderr, "make_checkpoint: %s\n", em.text);
    return r < 0;
}
