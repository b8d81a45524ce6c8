#!/bin/sh
# The compiled shaders in the tree are those that MANIFEST names, from the sources as they are. After a change of one of those:
# shaders/spirv/compile.sh on Debian 13. Whether the compiler makes the same again, tests/all/spirv.sh finds out.
cd "$(dirname "$0")/.." || exit 2
manifest=shaders/spirv/MANIFEST failed=0
grep -q '^compiler glslang [0-9]' $manifest || { echo "no compiler is named"; failed=1; }
grep -q '^flags -V ' $manifest || { echo "no flags are named"; failed=1; }
grep -E '^[0-9a-f]{64}  ' $manifest | sha256sum -c --quiet || failed=1
for f in shaders/spirv/*.spv.h; do
    grep -q "  $f\$" $manifest || { echo "$f is not in the manifest"; failed=1; }
done
# Every source and include is in it, too.
for f in $(for s in matmul_coop attention_coop fragments fragment_probe matmul_fragments matmul_few; do echo shaders/$s.comp; sed -n 's,^#include "\(.*\)",shaders/\1,p' shaders/$s.comp; done); do
    grep -q "  $f\$" $manifest || { echo "$f is not in the manifest"; failed=1; }
done
[ "$(grep -cE '^[0-9a-f]{64}  shaders/spirv/' $manifest)" = 29 ] || { echo "not 29 compiled shaders"; failed=1; }
exit $failed
