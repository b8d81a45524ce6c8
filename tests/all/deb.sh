#!/bin/sh
# Builds the Debian packages of what is checked in here and runs their test (dist/debian/tests/smoke) on what is in them, unpacked beside
# the system; lintian, where it is installed, must find no errors but the maintainer's address, which nobody has.
set -u
cd "$(dirname "$0")/../.." || exit 2
command -v dh >/dev/null || { echo "debhelper is missing"; exit 77; }
git rev-parse --git-dir >/dev/null 2>&1 || { echo "not a clone"; exit 77; }
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
dist/deb.sh "$tmp/debs" >"$tmp/log" 2>&1 || { tail -n 20 "$tmp/log"; exit 1; }
for deb in "$tmp"/debs/*.deb; do
    case $deb in
    *-dbgsym_*) ;;
    *) dpkg-deb -x "$deb" "$tmp/root" || exit 1 ;;
    esac
done
# Root's settings are read where the package has them.
[ -f "$tmp/root/etc/latentd/latentd.conf" ] || exit 1
[ "$(id -u)" != 0 ] || "$tmp/root/usr/bin/latentd" --help | grep -q " /etc/latentd/latentd.conf" || { echo "latentd reads other settings"; exit 1; }
# The socket is enabled (it would not be once anything else had been noted about it), all is stopped with the package, and an upgrade stops nothing but
# to start it again.
dpkg-deb -e "$tmp"/debs/latentd_*.deb "$tmp/control" || exit 1
first=$(grep -oE "deb-systemd-helper (enable|update-state) 'latentd.socket'" "$tmp/control/postinst" | head -n 1)
[ "$first" = "deb-systemd-helper enable 'latentd.socket'" ] || { echo "installing does not enable the socket"; exit 1; }
grep -q "stop.*'latentd.service'" "$tmp/control/prerm" || { echo "removing leaves the daemon running"; exit 1; }
[ ! -e "$tmp/control/preinst" ] || { echo "upgrading stops what it does not start"; exit 1; }
! grep -q "invoke \$_dh_action.*latentd.socket" "$tmp/control/postinst" || { echo "upgrading takes the socket from a daemon that runs"; exit 1; }
lib=$(dirname "$(find "$tmp/root" -name liblatent.so.0)")
mkdir "$tmp/run"
PATH="$tmp/root/usr/bin:$PATH" LD_LIBRARY_PATH="$lib" PKG_CONFIG_SYSROOT_DIR="$tmp/root" PKG_CONFIG_PATH="$lib/pkgconfig" \
    LATENTD_EXAMPLE="$tmp/root/usr/share/doc/liblatent-dev/examples/example.c" AUTOPKGTEST_TMP="$tmp/run" \
    dist/debian/tests/smoke || exit 1
if command -v lintian >/dev/null; then
    if lintian --allow-root "$tmp"/debs/*.deb 2>&1 | grep '^E:' | grep -v bogus-mail-host; then
        exit 1
    fi
fi
