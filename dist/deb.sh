#!/bin/sh
# Builds Debian packages of what git has here, into a folder: dist/deb.sh FOLDER. Needs debhelper and what dist/debian/control names.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
[ $# = 1 ] && [ "${1#-}" = "${1:--}" ] || { echo "Usage: dist/deb.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/latentd"
(cd "$here" && git ls-files -z | xargs -0 cp --parents -t "$work/latentd")
cp -r "$work/latentd/dist/debian" "$work/latentd/debian"
(cd "$work/latentd" && dpkg-buildpackage -b -us -uc)
cp "$work"/*.deb "$out"
ls "$out"/*.deb
