#!/bin/bash
# The shaders as the compilers of AMD's and Intel's drivers see them, without such a GPU: Debian 13 in a chroot, whose Mesa makes up devices of
# AMD's by itself and Intel's over a library that answers in the kernel's place, built there from Debian's source of the same Mesa. What is
# checked in is built there, and bench_kernels and kernels run on each device over a layer (tests/tools/layer_still.c) that lets kernels be
# compiled and nothing be run. tests/all/vendors.py judges what the compilers say of each: it builds, soon, and keeps its values in registers.
#   tests/all/vendors.sh [--table] [GPU…]      --table prints each kernel too
# LATENTD_DEBIAN13_VENDORS names a chroot that has all of that already, or a folder to make it in and keep it.
set -u
cd "$(dirname "$0")/../.." || exit 2
[ "$(id -u)" = 0 ] || { echo "a chroot needs root"; exit 77; }
git rev-parse --git-dir >/dev/null 2>&1 || { echo "not a clone"; exit 77; }
. dist/packages.sh
table=
[ "${1:-}" != --table ] || { table=$1; shift; }
amd="polaris10 vega10 navi10 navi21 navi31 gfx1201"
intel="skl tgl dg2 lnl lnl-fragments"
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
    # shellcheck disable=SC2086
    { in_root apt-get update -qq && in_root apt-get install -y -qq --no-install-recommends $PACKAGES_BUILD libcmocka-dev python3 mesa-vulkan-drivers \
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
    still="VK_ADD_LAYER_PATH=$in/build/tests/tools VK_INSTANCE_LAYERS=VK_LAYER_LATENTD_still MESA_SHADER_CACHE_DISABLE=true"
    # shellcheck disable=SC2086
    in_root env $still "$@" "$in/build/tests/bench/bench_kernels" --device vulkan --types f32,f16,q8_0,q4_K --rows 512,32,8,4,1 --warm 0 --ms 1 \
        --kernels no --log debug $cases >"$tmp/out" 2>"$tmp/$gpu" || { tail -n 3 "$tmp/$gpu"; echo "$gpu: bench_kernels failed"; return 1; }
    # shellcheck disable=SC2086
    in_root env $still "$@" "$in/build/tests/kernels/kernels" --device vulkan --brief --single --log debug >"$tmp/out" 2>>"$tmp/$gpu"
    [ $? = 1 ] && grep -q '^l2_normalize ' "$tmp/out" || { tail -n 3 "$tmp/$gpu"; echo "$gpu: kernels failed"; return 1; }
}

failed=0 judged=()
for gpu in ${*:-$amd $intel}; do
    case " $amd " in
    *" $gpu "*) compile "$gpu" VK_DRIVER_FILES=/usr/share/vulkan/icd.d/radeon_icd.json RADV_FORCE_FAMILY="$gpu" || failed=1 ;;
    *) # where an invocation holds 8 values of a left matrix and 16 of a right one, no value is held twice, and both may be laid out beforehand
        case $gpu in *-fragments) words=STILL_WORDS=8,16 ;; *) words= ;; esac
        compile "$gpu" VK_DRIVER_FILES=/usr/share/vulkan/icd.d/intel_icd.json INTEL_STUB_GPU_PLATFORM="${gpu%-fragments}" LD_PRELOAD="$shim" $words || failed=1 ;;
    esac
    judged+=("$tmp/$gpu")
done
python3 tests/all/vendors.py $table "${judged[@]}" || failed=1
exit $failed
