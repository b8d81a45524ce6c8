/* What is known of devices by measurement: the numbers from which gpu/tuning.c makes ways and tiles, a column for each kind of device.
 * All else follows from a device's limits, within which any of these numbers gives valid tiles and right results, but for their rounding.
 *
 * LATENTD_VULKAN_TUNING changes numbers for a process, "few_matrices=4,groups_wanted=1024": for finding a column's numbers on a new device
 * (tests/bench/tune_gpu.py). */
#ifndef GPU_TUNING_TABLE_H
#define GPU_TUNING_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* name, of most GPUs, of NVIDIA's, AMD's, Intel's, of software devices, least, most; all powers of two. No AMD or Intel device has been at hand:
 * their numbers are those with which the drivers' compilers do best (tests/all/vendors.sh). */
#define TUNING_NUMBERS(X)                                                                                                        \
    /* rows of x up to which what is read of w counts, and k is divided to have enough groups at work */                         \
    X(few_rows, 64, 64, 64, 64, 64, 1, 256)                                                                                      \
    /* groups that are enough: four for each of a large device's 132 processors */                                               \
    X(groups_wanted, 512, 512, 512, 512, 512, 1, 65536)                                                                          \
    /* values of k in a part at least: a K type's block, four tiles */                                                           \
    X(part_least, 256, 256, 256, 256, 256, 256, 65536)                                                                           \
    /* MiB of parts' sums at most, so that they stay in a large device's cache */                                                \
    X(parts_mib, 16, 16, 16, 16, 16, 1, 1024)                                                                                    \
    /* columns of a right matrix at least, for cooperative matrices to be taken: those of 8 the drivers of Intel's before Xe2 make of other instructions,\
     * and on Arc our kernels for them spilled hundreds of registers */                                                          \
    X(coop_columns, 8, 8, 8, 16, 8, 8, 32)                                                                                       \
    /* invocations of the subgroups that have matrices, where a device has a choice: Intel's have more registers each in smaller ones */\
    X(coop_lanes, 128, 128, 128, 16, 128, 8, 128)                                                                                \
    /* sums of an invocation in matrices: half of NVIDIA's registers, a quarter or less of others'; software compiles each */    \
    X(coop_sums, 64, 128, 64, 32, 16, 8, 256)                                                                                    \
    /* the same of few rows by tiles, and the depth of those, in eights: more is fetched ahead for fewer sums */                 \
    X(coop_few_sums, 64, 128, 64, 16, 16, 8, 256)                                                                                \
    X(coop_few_depth, 8, 8, 8, 4, 8, 4, 8)                                                                                       \
    /* and a subgroup's matrices along x's rows at least: the sums of a single one Intel's compiler keeps in memory */           \
    X(coop_few_least, 1, 1, 1, 2, 1, 1, 2)                                                                                       \
    /* subgroups of a group: by tiles in shared memory, by fragments, of few rows, in attention */                               \
    X(coop_subgroups, 4, 4, 4, 16, 4, 1, 32)                                                                                     \
    X(fragment_subgroups, 4, 4, 4, 4, 4, 1, 32)                                                                                  \
    X(few_subgroups, 4, 4, 4, 4, 4, 1, 32)                                                                                       \
    X(attention_subgroups, 4, 4, 4, 4, 4, 1, 32)                                                                                 \
    /* steps fetched ahead, by fragments: a layer takes 12.6 ms with one, 11.6 with two on an H200 */                            \
    X(fragment_ahead, 1, 2, 1, 1, 1, 1, 2)                                                                                       \
    /* tiles of w's rows, by fragments, next to each other while x's go by */                                                    \
    X(fragment_panel, 16, 16, 16, 16, 16, 1, 1024)                                                                               \
    /* of few rows: matrices of a subgroup along w's rows, eights of a row that an invocation takes in a turn, and turns of a round, which the next one \
     * is fetched beside: 4 and 2 make it a block of the K types on NVIDIA's. Two matrices, which read x half as often as \
     * one, have not been timed on NVIDIA's; the compiler of Mesa's driver has 160 registers for them */                          \
    X(few_matrices, 2, 2, 2, 2, 2, 1, 8)                                                                                         \
    X(few_eights, 2, 4, 2, 2, 2, 2, 4)                                                                                           \
    X(few_sets, 1, 2, 1, 1, 1, 1, 2)                                                                                             \
    /* sums of an invocation in attention by matrices; a head for which there are more goes the way without */                   \
    X(attention_sums, 256, 256, 32, 8, 256, 8, 256)                                                                             \
    /* invocations of a group in attention without matrices, and of those beside each other along keys; rows and keys of an invocation, and sums of its\
     * output at most: with 64 Intel's compiler spilled 142 registers of a head of 256; heads with their keys in common that a group takes */\
    X(attention_group, 128, 128, 128, 128, 32, 16, 1024)                                                                        \
    X(attention_across, 16, 16, 16, 16, 8, 4, 64)                                                                                \
    X(attention_rows, 4, 4, 4, 4, 8, 1, 16)                                                                                      \
    X(attention_row_keys, 2, 2, 2, 2, 4, 1, 16)                                                                                  \
    X(attention_values, 64, 64, 64, 32, 256, 4, 256)                                                                             \
    X(attention_share, 4, 4, 4, 4, 4, 1, 16)                                                                                     \
    /* rows of x of an invocation, of few by integer dot products */                                                             \
    X(dot_rows, 8, 8, 8, 4, 8, 1, 8)                                                                                             \
    /* sums of an invocation each way, in large tiles of f32 on a card */                                                        \
    X(f32_sums, 8, 8, 8, 4, 8, 4, 8)                                                                                             \
    /* keys of an attention tile: 64 take a quarter longer than 32 on an H200, where fewer groups share a processor then */      \
    X(attention_keys, 32, 32, 32, 32, 16, 8, 128)                                                                                \
    /* invocations of a group that has a row: between products, and elsewhere */                                                 \
    X(finish_group, 512, 512, 512, 512, 128, 16, 1024)                                                                           \
    X(row_group, 128, 128, 128, 128, 16, 8, 1024)

struct tuning_table {
#define NUMBER(name, ...) uint32_t name;
    TUNING_NUMBERS(NUMBER)
#undef NUMBER
};

/* The column for a device of that vendor (PCI's number), with the changes; NULL: those of the environment's LATENTD_VULKAN_TUNING.
 * Errors: LT_EINVAL: no number is called so, or not a power of two within its bounds; the message names them. */
int tuning_table_fill(struct tuning_table *t, uint32_t vendor, bool software, const char *changes, struct err_msg *em);

#endif
