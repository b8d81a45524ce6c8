#!/bin/sh
# Compiles the shaders of shaders/spirv anew with Debian 13's glslang, in a chroot made for it, and compares byte for byte; Debian's
# spirv-val looks them over. LATENTD_DEBIAN13 names a chroot that has glslang-tools and spirv-tools instead.
set -u
cd "$(dirname "$0")/../.." || exit 2
[ "$(id -u)" = 0 ] || { echo "a chroot needs root"; exit 77; }
tmp=$(mktemp -d) || exit 2
trap 'rm -rf --one-file-system "$tmp"' EXIT
root=${LATENTD_DEBIAN13:-}
if [ -z "$root" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is missing"; exit 77; }
    root=$tmp/debian13
    debootstrap --variant=minbase --include=glslang-tools,spirv-tools trixie "$root" >"$tmp/log" 2>&1 ||
        { tail -n 5 "$tmp/log"; echo "no Debian 13 to be had"; exit 77; }
fi
work=$(mktemp -d "$root/tmp/latentd.XXXXXX") || exit 2
trap 'rm -rf --one-file-system "$work" "$tmp"' EXIT
mkdir "$work/out"
cp -r shaders "$work/shaders"
in=${work#"$root"}
chroot "$root" "$in/shaders/spirv/compile.sh" "$in/out" || { echo "does not compile"; exit 1; }
failed=0
for f in shaders/spirv/MANIFEST shaders/spirv/*.spv.h; do
    cmp "$f" "$work/out/${f##*/}" || failed=1
done
for type in f16w bf16w q8w q4 q5 q4k q5k q6k; do
    upper=$(echo $type | tr '[:lower:]' '[:upper:]')
    chroot "$root" sh -c "cd '$in' && glslangValidator -V -g0 --quiet --target-env vulkan1.2 -Ishaders -DWEIGHT_$upper=1 -o one.spv \
        shaders/matmul_coop.comp && spirv-val --target-env vulkan1.2 one.spv" || { echo "$type is not valid"; failed=1; }
done
chroot "$root" sh -c "cd '$in' && glslangValidator -V -g0 --quiet --target-env vulkan1.2 -Ishaders -o one.spv shaders/attention_coop.comp &&
    spirv-val --target-env vulkan1.2 one.spv" || { echo "attention is not valid"; failed=1; }
[ $failed = 0 ] && echo "nine shaders are the same again"
exit $failed
