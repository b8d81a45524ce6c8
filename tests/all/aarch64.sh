#!/bin/sh
# arm64, compiled with Debian's cross compiler and run under qemu, on CPUs with and without the dot product extension: the index's distances, and,
# against arm64's packages of Debian 12, everything is built and the CPU device's kernels are run.
set -u
cd "$(dirname "$0")/../.." || exit 2
cc=aarch64-linux-gnu-gcc
for tool in $cc qemu-aarch64-static debootstrap; do
    command -v $tool >/dev/null || { echo "$tool is missing"; exit 77; }
done
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
$cc -std=gnu11 -D_GNU_SOURCE -O3 -Wall -Wextra -Wno-unused-parameter -Werror -static -I. -Itests/tools/aarch64 -o "$tmp/test_distance" \
    tests/unit/index/test_distance.c index/distance*.c index/sketch.c base/cpu.c -lm || exit 1
for cpu in cortex-a76 cortex-a53; do # with dot products, and without
    for mask in ffff 0; do
        echo "$cpu, LATENTD_CPU_MASK=$mask"
        LATENTD_CPU_MASK=$mask qemu-aarch64-static -cpu $cpu "$tmp/test_distance" || exit 1
    done
done

root=$tmp/root
mkdir "$root" "$tmp/packages"
debootstrap --arch=arm64 --variant=minbase --download-only --include=libc6-dev,libgcc-12-dev,libgomp1,libvulkan-dev,libdnnl-dev,libsodium-dev,\
libsqlite3-dev,libprotobuf-c-dev,libuv1-dev,libjansson-dev,libinih-dev,libxxhash-dev,libcmocka-dev bookworm "$tmp/packages" >"$tmp/log" 2>&1 ||
    { tail -3 "$tmp/log"; echo "Debian's packages for arm64 are not to be had"; exit 77; }
for deb in "$tmp"/packages/var/cache/apt/archives/*.deb; do
    dpkg-deb -x "$deb" "$root" || exit 1
done
cat >"$tmp/cross.ini" <<END
[binaries]
c = ['$cc', '--sysroot=$root']
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64-static', '-L', '$root']
[properties]
sys_root = '$root'
pkg_config_libdir = '$root/usr/lib/aarch64-linux-gnu/pkgconfig:$root/usr/share/pkgconfig'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END
meson setup "$tmp/build" --cross-file "$tmp/cross.ini" --buildtype=release -Dwerror=true -Db_ndebug=false >"$tmp/log" 2>&1 &&
    ninja -C "$tmp/build" >"$tmp/log" 2>&1 || { tail -20 "$tmp/log"; exit 1; }
for cpu in cortex-a76 cortex-a53; do
    for products in test_products 'test_f*'; do # to the bit
        qemu-aarch64-static -L "$root" -cpu $cpu "$tmp/build/tests/unit/model/test_ops_cpu" "$products" || exit 1
    done
    qemu-aarch64-static -L "$root" -cpu $cpu "$tmp/build/tests/kernels/kernels" --device cpu --brief matmul attention rms_norm rope swiglu || exit 1
done
