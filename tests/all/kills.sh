#!/bin/sh
# kill -9 a thousand times at each level (the short forms run in ./check): at the index library, and at the whole daemon.
#   tests/all/kills.sh [BUILD-FOLDER [KILLS]]      LATENTD_SEED sets the seed, which both print
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build-check} kills=${2:-1000}
[ -x "$build/tests/faults/test_kills" ] || { echo "$build: not built"; exit 77; }
"$build/tests/faults/test_kills" "$kills" 2>&1 | grep -v ' info  '
LATENTD_BUILD=$(realpath "$build") LATENTD_KILLS=$kills LATENTD_FAULTS=yes python3 tests/system/test_durability.py Durability.test_kill
