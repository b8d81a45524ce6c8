#!/bin/sh
# The NEON kernels: compiled with Debian's cross compiler and run under qemu, with and without the dot product extension.
set -u
cd "$(dirname "$0")/../.." || exit 2
cc=aarch64-linux-gnu-gcc
for tool in $cc qemu-aarch64-static; do
    command -v $tool >/dev/null || { echo "$tool is missing"; exit 77; }
done
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
$cc -std=gnu11 -D_GNU_SOURCE -O3 -Wall -Wextra -Wno-unused-parameter -Werror -static -I. -Itests/tools/aarch64 -o "$tmp/test_distance" \
    tests/unit/index/test_distance.c index/distance*.c index/sketch.c base/cpu.c -lm || exit 1
for cpu in cortex-a76 cortex-a53; do # with dot products, and without
    for mask in ffff 0; do
        echo "$cpu, LATENTD_CPU_MASK=$mask"
        LATENTD_CPU_MASK=$mask qemu-aarch64-static -cpu $cpu "$tmp/test_distance" || exit 1
    done
done
