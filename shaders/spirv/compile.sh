#!/bin/sh
# Compiles the shaders whose SPIR-V is in the tree, with the glslang of Debian 13 (Debian 12's does not know GL_KHR_cooperative_matrix):
#   shaders/spirv/compile.sh [DIR]
# writes matmul_coop_TYPE.spv.h and MANIFEST into DIR, by default beside this script. MANIFEST holds the compiler's version, its flags,
# and the sha256 of every source, include and result; a test compares the hashes, tests/all/spirv.sh compiles anew and compares all.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-shaders/spirv}
flags="-V -g0 --target-env vulkan1.2"
sources="shaders/matmul_coop.comp shaders/params_matmul.h shaders/lib/weights8.glsl shaders/lib/weights8_half.glsl"
types="f16w bf16w q8w q4 q5 q4k q5k q6k"
for type in $types; do
    upper=$(echo "$type" | tr '[:lower:]' '[:upper:]')
    # shellcheck disable=SC2086
    glslangValidator $flags --quiet -Ishaders "-DWEIGHT_$upper=1" --vn "spirv_matmul_coop_$type" --depfile "$out/.depends" \
        -o "$out/.compiled" shaders/matmul_coop.comp
    # Twelve words a line instead of the compiler's eight.
    awk '/^\t?[ \t]*0x/ { n = split($1, w, ","); for (i = 1; i <= n; i++) if (w[i] != "") line(w[i]); next }
         function line(x) { printf "%s%s", k % 12 ? "," : k ? ",\n\t" : "\t", x; k++ }
         { if (k) printf "\n"; k = 0; sub(/[ \t]+$/, ""); sub(/^[ \t]+/, ""); print }' "$out/.compiled" >"$out/matmul_coop_$type.spv.h"
    for f in $(sed 's/^[^:]*://' "$out/.depends"); do # an include that is missing from the list would go unnoticed
        case " $sources " in
        *" ${f#./} "*) ;;
        *) echo "compile.sh: $f is not among the sources" >&2; exit 1 ;;
        esac
    done
done
rm -f "$out/.depends" "$out/.compiled"
{
    glslangValidator --version | sed -n 's/^Glslang Version: /compiler glslang /p'
    echo "flags $flags"
    # shellcheck disable=SC2086
    sha256sum $sources
    (cd "$out" && sha256sum matmul_coop_*.spv.h | sed 's,  ,  shaders/spirv/,')
} >"$out/MANIFEST"
