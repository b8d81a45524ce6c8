#!/bin/sh
# Compiles the shaders whose SPIR-V is in the tree, with the glslang of Debian 13 (Debian 12's does not know GL_KHR_cooperative_matrix):
#   shaders/spirv/compile.sh [DIR]
# writes NAME.spv.h of each and MANIFEST into DIR, by default beside this script. MANIFEST holds the compiler's version, its flags,
# and the sha256 of every source, include and result; a test compares the hashes, tests/all/spirv.sh compiles anew and compares all.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-shaders/spirv}
flags="-V -g0 --target-env vulkan1.2"
sources="shaders/matmul_coop.comp shaders/params_matmul.h shaders/lib/weights8.glsl shaders/lib/weights8_half.glsl
    shaders/attention_coop.comp shaders/params_attention.h
    shaders/lib/coop_store.glsl shaders/fragments.comp shaders/fragment_probe.comp shaders/matmul_fragments.comp shaders/params_fragments.h
    shaders/matmul_few.comp
    shaders/lib/fragment.glsl shaders/lib/matrices.glsl shaders/lib/weights_run.glsl"
types="f16w bf16w q8w q4 q5 q4k q5k q6k"

# compile NAME SHADER [FLAG…]
compile() {
    name=$1 shader=$2
    shift 2
    # shellcheck disable=SC2086
    glslangValidator $flags --quiet -Ishaders "$@" --vn "spirv_$name" --depfile "$out/.depends" -o "$out/.compiled" "$shader"
    # Sixteen words a line instead of the compiler's eight.
    awk '/^\t?[ \t]*0x/ { n = split($1, w, ","); for (i = 1; i <= n; i++) if (w[i] != "") line(w[i]); next }
         function line(x) { printf "%s%s", k % 16 ? "," : k ? ",\n\t" : "\t", x; k++ }
         { if (k) printf "\n"; k = 0; sub(/[ \t]+$/, ""); sub(/^[ \t]+/, ""); print }' "$out/.compiled" >"$out/$name.spv.h"
    for f in $(sed 's/^[^:]*://' "$out/.depends"); do # an include that is missing from the list would go unnoticed
        echo "$sources" | tr -s ' ' '\n' | grep -qx "${f#./}" || { echo "compile.sh: $f is not among the sources" >&2; exit 1; }
    done
}

for type in $types; do
    upper=$(echo "$type" | tr '[:lower:]' '[:upper:]')
    compile "matmul_coop_$type" shaders/matmul_coop.comp "-DWEIGHT_$upper=1"
    compile "fragments_$type" shaders/fragments.comp "-DWEIGHT_$upper=1"
    compile "matmul_few_$type" shaders/matmul_few.comp "-DWEIGHT_$upper=1"
done
compile fragments_x shaders/fragments.comp -DFRAGMENTS_X=1
compile fragments_spread shaders/fragments.comp -DFRAGMENTS_SPREAD=1
compile fragment_probe shaders/fragment_probe.comp
compile matmul_fragments shaders/matmul_fragments.comp
compile attention_coop shaders/attention_coop.comp
rm -f "$out/.depends" "$out/.compiled"
{
    glslangValidator --version | sed -n 's/^Glslang Version: /compiler glslang /p'
    echo "flags $flags"
    # shellcheck disable=SC2086
    sha256sum $sources
    (cd "$out" && sha256sum ./*.spv.h | sed 's,  ./,  shaders/spirv/,')
} >"$out/MANIFEST"
