#!/bin/sh
# The kernels on cooperative matrices that a driver offers itself: Debian 13 in a chroot, with the Mesa of its backports, whose llvmpipe has
# them. What is checked in is built there, and the suites run that `check` on Debian 12 skips.
# LATENTD_DEBIAN13_MESA names a chroot that has all of that already.
set -u
cd "$(dirname "$0")/../.." || exit 2
[ "$(id -u)" = 0 ] || { echo "a chroot needs root"; exit 77; }
git rev-parse --git-dir >/dev/null 2>&1 || { echo "not a clone"; exit 77; }
. dist/packages.sh
tmp=$(mktemp -d) || exit 2
root=${LATENTD_DEBIAN13_MESA:-}
work=
finish() {
    [ -z "$root" ] || umount "$root/proc" 2>/dev/null
    rm -rf --one-file-system "$tmp" ${work:+"$work"}
}
trap finish EXIT
in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
if [ -z "$root" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is missing"; exit 77; }
    root=$tmp/debian13
    debootstrap --variant=minbase trixie "$root" >"$tmp/log" 2>&1 || { tail -n 5 "$tmp/log"; echo "no Debian 13 to be had"; exit 77; }
    mirror=$(awk '$1 == "deb" { print $2; exit }' "$root/etc/apt/sources.list")
    echo "deb $mirror trixie-backports main" >"$root/etc/apt/sources.list.d/backports.list"
    # shellcheck disable=SC2086
    { in_root apt-get update -qq && in_root apt-get install -y -qq --no-install-recommends $PACKAGES_BUILD libcmocka-dev vulkan-validationlayers python3 git &&
        in_root apt-get install -y -qq --no-install-recommends -t trixie-backports mesa-vulkan-drivers; } >"$tmp/log" 2>&1 ||
        { tail -n 5 "$tmp/log"; echo "no Debian 13 with its backports to be had"; exit 77; }
fi
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc" || exit 2
work=$(mktemp -d "$root/tmp/latentd.XXXXXX") || exit 2
in=${work#"$root"}
git archive HEAD | tar -x -C "$work" || exit 2
in_root sh -c "cd '$in' && meson setup build --buildtype=release -Db_ndebug=false -Dfaults=true && ninja -C build" >"$tmp/log" 2>&1 ||
    { tail -n 20 "$tmp/log"; echo "does not build"; exit 1; }
# Debian 13's layers (1.4.309) take a matrix that is loaded from a buffer for a write to it: without what they believe of shaders' accesses.
in_root env VK_KHRONOS_VALIDATION_SYNCVAL_SHADER_ACCESSES_HEURISTIC=0 LATENTD_REQUIRE_VULKAN=1 sh -c "
    cd '$in' && names=\$(meson test -C build --list 2>/dev/null | sed 's/.* \/ //' | grep -E 'llvmpipe-coop|ops_vulkan_late-llvmpipe|ops_vulkan_matrices') &&
    meson test -C build --no-rebuild --print-errorlogs --timeout-multiplier 3 \$names" >"$tmp/log" 2>&1
r=$?
skipped=$(sed -n 's/^Skipped: *\([0-9]*\).*/\1/p' "$tmp/log")
grep -E '^ *[0-9]+/[0-9]+ ' "$tmp/log"
[ $r = 0 ] || { tail -n 100 "$tmp/log"; exit 1; }
[ "$skipped" = 0 ] || { echo "$skipped suites were skipped: this Mesa offers no cooperative matrices"; exit 77; }
