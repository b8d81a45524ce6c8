#!/bin/sh
# Every fuzz target with clang's libFuzzer and sanitizers, from its own seeds on, for so many seconds each:
#   tests/all/fuzz.sh [SECONDS] [TARGET…]
# An input that fails stays in build-fuzz/failed, and `build-fuzz/tests/fuzz/fuzz_TARGET FILE` repeats it.
set -u
cd "$(dirname "$0")/../.." || exit 2
command -v clang >/dev/null || { echo "clang is missing"; exit 77; }
seconds=${1:-20}
[ $# = 0 ] || shift
build=build-fuzz
if [ ! -f $build/build.ninja ]; then
    CC=clang meson setup $build --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false -Dfuzzer=true \
        -Dc_args=-fsanitize=fuzzer-no-link >/dev/null || exit 1
fi
mkdir -p $build/failed $build/seeds
[ $# != 0 ] || set -- $(sed -n "s/^  \['\([a-z_]*\)', .*/\1/p" tests/fuzz/meson.build)
failed=0
for t in "$@"; do
    ninja -C $build "tests/fuzz/fuzz_$t" >$build/build.log 2>&1 || { tail -n 20 $build/build.log; exit 1; }
    mkdir -p "$build/seeds/$t"
    LATENTD_FUZZ_SEEDS=$build/seeds/$t "$build/tests/fuzz/fuzz_$t" || exit 1
    if "$build/tests/fuzz/fuzz_$t" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=4096 -artifact_prefix="$build/failed/$t-" \
        "$build/seeds/$t" >"$build/$t.log" 2>&1; then
        sed -n "s/^Done \([0-9]*\) runs.*/$t: \1 runs/p" "$build/$t.log"
    else
        failed=$((failed + 1))
        echo "$t failed:"
        grep -E 'ERROR|does not hold|runtime error|SUMMARY' "$build/$t.log" | head -n 5
    fi
done
[ $failed = 0 ]
