#!/bin/sh
# x86 CPUs that have less than this machine's, by qemu: the index's distances and the CPU device's kernels where an instruction that the CPU
# lacks ends the program, and on two of them the whole daemon, from a text to a hit.
#   tests/all/cpus.sh [BUILD-FOLDER]
set -u
cd "$(dirname "$0")/../.." || exit 2
build=$(realpath "${1:-build-check}") qemu=qemu-x86_64-static
[ "$(uname -m)" = x86_64 ] || { echo "not on $(uname -m)"; exit 77; }
command -v $qemu >/dev/null || { echo "$qemu is missing"; exit 77; }
[ -x "$build/tests/kernels/kernels" ] || { echo "$build: not built"; exit 77; }
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT

# quiet COMMAND… : says what it said where it fails
quiet() {
    "$@" >"$tmp/said" 2>&1 || { echo "failed: $*"; tail -n 40 "$tmp/said"; exit 1; }
}

# kernels CPU NAME : NAME is what the CPU device is to choose
kernels() {
    echo "$1: $2"
    quiet $qemu -cpu "$1" "$build/tests/unit/index/test_distance"
    quiet $qemu -cpu "$1" "$build/tests/unit/model/test_ops_cpu" 'test_f*'
    quiet $qemu -cpu "$1" "$build/tests/kernels/kernels" --device cpu --brief --single embed_rows rms_norm layer_norm rope swiglu gated pool
    grep -q "^device: .* threads*, $2[,)]" "$tmp/said" || { echo "another was chosen:"; grep '^device' "$tmp/said"; exit 1; }
}

# daemon CPU : a private one, which ends with its last client
daemon() {
    echo "$1: the daemon"
    printf '#!/bin/sh\nexec %s -cpu %s "%s" "$@"\n' $qemu "$1" "$build/daemon/latentd" >"$tmp/latentd"
    chmod +x "$tmp/latentd"
    set -- --private "$tmp/data-$1"
    export LATENTD_PROGRAM="$tmp/latentd"
    quiet "$build/clients/cli/latent" "$@" collection create pets
    quiet "$build/clients/cli/latent" "$@" add -c pets "$tmp/cat.txt" "$tmp/ship.txt"
    quiet "$build/clients/cli/latent" "$@" search -c pets -k 1 'where does the cat sit?'
    grep -q 'cat\.txt' "$tmp/said" || { echo "another was found:"; cat "$tmp/said"; exit 1; }
}

echo 'The cat sat on the mat.' >"$tmp/cat.txt"
echo 'A ship sails on the sea.' >"$tmp/ship.txt"
kernels qemu64 c        # neither SSE4 nor AVX
kernels Nehalem c       # SSE4.2
kernels SandyBridge c   # AVX
kernels Haswell avx2
kernels Haswell,-f16c c # AVX2 without the conversions of 16 bits, as a virtual machine may have it
kernels Haswell,-xsave c # registers that the system does not keep
daemon qemu64
daemon Haswell
