#!/bin/bash
# The shaders as the compilers of AMD's, Intel's and NVIDIA's free drivers see them, without such a GPU: Debian 13 in a chroot with its backports'
# Mesa, over libraries that answer in the kernel's place. Debian has AMD's and NVIDIA's; Intel's is built there from Debian's source of its older Mesa.
# What is checked in is built there, and bench_kernels and kernels run on each device over a layer (tests/tools/layer_still.c) that lets kernels be
# compiled and nothing be run. tests/all/vendors.py judges what the compilers say of each: it builds, soon, and keeps its values in registers.
#   tests/all/vendors.sh [--table] [GPU…]      --table prints each kernel too
# LATENTD_DEBIAN13_VENDORS names a chroot that has all of that already, or a folder to make it in and keep it.
# A GPU's name may end in what gpu/probe.c is to find there: -fragments, that no value of a matrix is held twice, as by Mesa's NVK; -few, that they lie
# as NVIDIA's own driver has them, for the kernels of few rows.
set -u
cd "$(dirname "$0")/../.." || exit 2
[ "$(id -u)" = 0 ] || { echo "a chroot needs root"; exit 77; }
git rev-parse --git-dir >/dev/null 2>&1 || { echo "not a clone"; exit 77; }
. dist/packages.sh
table=
[ "${1:-}" != --table ] || { table=$1; shift; }
amd="polaris10 vega10 navi10 navi21 navi31 gfx1201"
intel="skl tgl dg2 lnl lnl-fragments"
nvidia="gp102 tu116 tu104-few ga102-fragments ga102-few"
declare -A chipset=([gp102]=132 [tu116]=168 [tu104]=164 [ga102]=172) # as nouveau numbers them
tmp=$(mktemp -d) || exit 2
root=${LATENTD_DEBIAN13_VENDORS:-$tmp/debian13}
work=
finish() {
    umount "$root/proc" 2>/dev/null
    rm -rf --one-file-system "$tmp" ${work:+"$work"}
}
trap finish EXIT
in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
missing() { tail -n 5 "$tmp/log"; echo "no $1 to be had"; exit 77; }
shim=/opt/mesa/build/src/intel/tools/libintel_noop_drm_shim.so

if [ ! -e "$root/etc/debian_version" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is missing"; exit 77; }
    debootstrap --variant=minbase trixie "$root" >"$tmp/log" 2>&1 || missing "Debian 13"
    sed 's/^deb /deb-src /' "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/source.list"
fi
if ! in_root sh -c 'dpkg -s mesa-drm-shim >/dev/null 2>&1'; then
    sed 's/trixie main/trixie-backports main/' "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/backports.list"
    # shellcheck disable=SC2086
    { in_root apt-get update -qq && in_root apt-get install -y -qq --no-install-recommends $PACKAGES_BUILD libcmocka-dev python3 \
        mesa-vulkan-drivers/trixie-backports mesa-drm-shim/trixie-backports \
        dpkg-dev python3-mako python3-yaml python3-packaging libdrm-dev libexpat1-dev zlib1g-dev flex bison; } >"$tmp/log" 2>&1 || missing "Debian 13's packages"
fi
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc" || exit 2
if [ ! -e "$root$shim" ]; then
    off="glx egl gbm llvm zstd valgrind libunwind lmsensors shared-glapi gles1 gles2"
    # shellcheck disable=SC2046,SC2086
    in_root sh -c "rm -rf /opt/mesa && mkdir /opt/mesa && cd /opt/mesa && apt-get source -qq mesa/trixie &&
        meson setup build mesa-*/ --buildtype=release -Dtools=drm-shim,intel -Dvulkan-drivers= -Dgallium-drivers= -Dplatforms= \
        -Dopengl=false $(printf -- '-D%s=disabled ' $off) && ninja -C build ${shim#/opt/mesa/build/}" >"$tmp/log" 2>&1 || missing "stand-in for Intel's kernel driver"
fi

work=$(mktemp -d "$root/tmp/latentd.XXXXXX") || exit 2
in=${work#"$root"}
git archive HEAD | tar -x -C "$work" || exit 2
in_root sh -c "cd '$in' && meson setup build --buildtype=release -Db_ndebug=false && ninja -C build tests/bench/bench_kernels tests/kernels/kernels tests/tools/liblayer_still.so" \
    >"$tmp/log" 2>&1 || { tail -n 20 "$tmp/log"; echo "does not build"; exit 1; }
cases="products attention:1x512 attention:1x512x32 attention:1x512x64 attention:1x512x256 rms_norm swiglu layer"

# compile GPU NAME=VALUE… : what the layer and gpu/ say, in $tmp/GPU: of a decoder's operations in the sizes of NV-Embed, then of all cases of the
# kernels' checks, whose results are wrong here.
compile() {
    gpu=$1; shift
    still="VK_ADD_LAYER_PATH=$in/build/tests/tools VK_INSTANCE_LAYERS=VK_LAYER_LATENTD_still STILL_WORDS=$in/words MESA_SHADER_CACHE_DISABLE=true"
    # shellcheck disable=SC2086
    in_root env $still "$@" "$in/build/tests/bench/bench_kernels" --device vulkan --types f32,f16,q8_0,q4_K --rows 512,32,8,4,1 --warm 0 --ms 1 \
        --kernels no --log debug $cases >"$tmp/out" 2>"$tmp/$gpu" || { tail -n 3 "$tmp/$gpu"; echo "$gpu: bench_kernels failed"; return 1; }
    # shellcheck disable=SC2086
    in_root env $still "$@" "$in/build/tests/kernels/kernels" --device vulkan --brief --single --log debug >"$tmp/out" 2>>"$tmp/$gpu"
    [ $? = 1 ] && grep -q '^l2_normalize ' "$tmp/out" || { tail -n 3 "$tmp/$gpu"; echo "$gpu: kernels failed"; return 1; }
}

# found nvidia|nvk : what fragment_probe.comp finds with that driver of NVIDIA's GPUs: that an invocation holds 8 values of either matrix; and where each
# lies, which differs in the order of a left matrix' second rows and second columns.
found() {
    awk -v driver="$1" '
    function place(t, i, row, column) { return 16 * (int(t / 4) + 8 * row) + 2 * (t % 4) + i % 2 + 8 * column }
    BEGIN {
        print 8, 8
        for (right = 0; right < 2; right++)
            for (t = 0; t < 32; t++)
                for (i = 0; i < 256; i++) {
                    two = int(i / 2) % 2; four = int(i / 4)
                    print (i < 8 ? driver == "nvk" && !right ? place(t, i, two, four) : place(t, i, four, two) : 0)
                }
    }'
}

failed=0 judged=()
icd=VK_DRIVER_FILES=/usr/share/vulkan/icd.d
for gpu in ${*:-$amd $intel $nvidia}; do
    name=${gpu%%-*}
    case $gpu in
    *-few) found nvidia ;;
    lnl-fragments) echo 8 16 ;;
    *-fragments) found nvk ;;
    esac >"$work/words" || exit 2
    if [ "${chipset[$name]:-}" ]; then
        compile "$gpu" $icd/nouveau_icd.json LD_PRELOAD=libnouveau_noop_drm_shim.so NOUVEAU_CHIPSET="${chipset[$name]}"
    elif [[ " $amd " = *" $gpu "* ]]; then
        compile "$gpu" $icd/radeon_icd.json LD_PRELOAD=libamdgpu_noop_drm_shim.so AMDGPU_GPU_ID="$gpu"
    else
        compile "$gpu" $icd/intel_icd.json LD_PRELOAD="$shim" INTEL_STUB_GPU_PLATFORM="$name"
    fi || failed=1
    judged+=("$tmp/$gpu")
done
python3 tests/all/vendors.py $table "${judged[@]}" || failed=1
exit $failed
