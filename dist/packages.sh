# Sourced by ./quickstart and ./check: Debian packages, installed only where they are missing.

PACKAGES_BUILD="build-essential meson ninja-build pkg-config glslang-tools libvulkan-dev libdnnl-dev
    libsodium-dev libsqlite3-dev libprotobuf-c-dev protobuf-c-compiler libuv1-dev libjansson-dev
    libinih-dev libxxhash-dev"
# SwiftShader, the second Vulkan implementation, comes with Chromium.
# systemd-analyze looks over the units.
PACKAGES_TEST="libcmocka-dev systemd mesa-vulkan-drivers vulkan-validationlayers chromium python3 man-db git"
PACKAGES_ALL="clang libclang-rt-dev libomp-dev debootstrap python3-venv python3-dev zstd unzip debhelper"
# Debian 12 has no cross compiler from arm64 to itself.
[ "$(dpkg --print-architecture)" = arm64 ] || PACKAGES_ALL="$PACKAGES_ALL gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"
[ "$(dpkg --print-architecture)" != amd64 ] || PACKAGES_ALL="$PACKAGES_ALL qemu-system-x86"
# Packages of Node from elsewhere have npm in them, and conflict with Debian's.
command -v npm >/dev/null || PACKAGES_ALL="$PACKAGES_ALL npm"

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "Needs root for: $*  (neither root nor sudo here)" >&2
        return 1
    fi
}

# packages_need NAME… : installs those that are missing, and says so.
packages_need() {
    missing=
    for p in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
    done
    [ -n "$missing" ] || return 0
    echo "Installing Debian packages:$missing"
    if ! as_root apt-get update -qq >/dev/null; then
        echo "apt-get update failed; trying with the package lists that are here" >&2
    fi
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null && return 0
    printf '%s\n' "They could not be installed. By hand, as root:" "  apt-get install --no-install-recommends$missing" >&2
    return 1
}
