#!/bin/sh
# The Debian packages under a real systemd: they are built for Debian 13 in a chroot made for it, and installed, used, upgraded, removed and
# purged in a virtual machine by tests/all/systemd_guest.inc. It does without KVM, which many machines have only by name, and takes minutes;
# nothing in it is timed. LATENTD_VM names a folder in which the chroots are kept for the next time.
set -u
cd "$(dirname "$0")/../.." || exit 2
unset MAKEFLAGS MAKELEVEL MFLAGS
missing() {
    [ ! -f "$tmp/log" ] || tail -n 5 "$tmp/log"
    echo "$1"
    exit 77
}
tmp=$(mktemp -d) || exit 2
vm=${LATENTD_VM:-$tmp}
finish() {
    umount -q "$vm/build/proc" "$vm/root/proc"
    rm -rf --one-file-system "$tmp"
}
trap finish EXIT
[ "$(id -u)" = 0 ] || missing "a chroot needs root"
[ "$(dpkg --print-architecture)" = amd64 ] || missing "the machine is made for amd64 only"
for tool in debootstrap qemu-system-x86_64 mke2fs dpkg-deb; do
    command -v $tool >/dev/null || missing "$tool is missing"
done
git rev-parse --git-dir >/dev/null 2>&1 || missing "not a clone"

inside() {
    where=$1
    shift
    chroot "$vm/$where" env LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/root "$@" >"$tmp/log" 2>&1 </dev/null
}
# A chroot, made once: NAME PACKAGES.
debian13() {
    if [ ! -e "$vm/$1.made" ]; then
        rm -rf --one-file-system "${vm:?}/$1"
        debootstrap --variant=minbase trixie "$vm/$1" >"$tmp/log" 2>&1 || missing "no Debian 13 to be had"
        touch "$vm/$1.made"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$vm/$1/usr/sbin/policy-rc.d" # nothing is started in it
    chmod 755 "$vm/$1/usr/sbin/policy-rc.d"
    mount -t proc proc "$vm/$1/proc" || missing "proc cannot be mounted"
    # shellcheck disable=SC2086
    inside "$1" apt-get update || missing "no package lists"
    inside "$1" apt-get install -y --no-install-recommends $2 || missing "$2 are not to be had"
}
failed() {
    tail -n 20 "$tmp/log"
    echo "$1"
    exit 1
}

debian13 build "build-essential debhelper git"
rm -rf "$vm/build/src" "$vm/build/debs"
mkdir "$vm/build/src"
git ls-files -z | xargs -0 cp --parents -t "$vm/build/src" || exit 2
inside build sh -c "cd /src && git init -q && git add -f ." || failed "git fails"
inside build apt-get build-dep -y --no-install-recommends /src/dist || missing "the packages to build with are not to be had"
inside build env DEB_BUILD_OPTIONS="nocheck noautodbgsym" /src/dist/deb.sh /debs || failed "the packages are not built"
umount "$vm/build/proc"

debian13 root "systemd systemd-sysv udev dbus-user-session libpam-systemd initramfs-tools linux-image-cloud-amd64"
rm -rf "$vm/root/debs"
mkdir "$vm/root/debs"
cp "$vm"/build/debs/latentd_*.deb "$vm/root/debs/old.deb" || exit 1
cp "$vm"/build/debs/liblatent0_*.deb "$vm/root/debs/lib.deb" || exit 1
# The next version is the same in all but its number.
dpkg-deb -R "$vm/root/debs/old.deb" "$tmp/next" && sed -i 's/^Version: .*/&+next/' "$tmp/next/DEBIAN/control" &&
    dpkg-deb -b --root-owner-group "$tmp/next" "$vm/root/debs/new.deb" >/dev/null || exit 1
for deb in lib old; do
    needs=$(dpkg-deb -f "$vm/root/debs/$deb.deb" Depends | sed 's/liblatent0[^,]*,* *//; s/, *$//')
    inside root apt-get satisfy -y --no-install-recommends "$needs" || missing "what the packages depend on is not to be had"
done
inside root sh -c "id alice || useradd -m -s /bin/sh alice" || exit 2
cp tests/all/systemd_guest.inc "$vm/root/usr/local/sbin/guest" && chmod 755 "$vm/root/usr/local/sbin/guest" || exit 2
cat >"$vm/root/etc/systemd/system/guest.service" <<'X'
[Unit]
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Environment=HOME=/root
ExecStart=/usr/local/sbin/guest
StandardOutput=file:/dev/ttyS1
StandardError=inherit
[Install]
WantedBy=multi-user.target
X
inside root systemctl enable guest.service || failed "the guest's unit is not enabled"
rm "$vm/root/usr/sbin/policy-rc.d"
umount "$vm/root/proc"
mke2fs -q -t ext4 -d "$vm/root" "$tmp/disk" 4G >"$tmp/log" 2>&1 || failed "no disk"

timeout 1800 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -display none -nodefaults -no-reboot \
    -serial "file:$tmp/console" -serial "file:$tmp/said" -kernel "$vm"/root/boot/vmlinuz-* -initrd "$vm"/root/boot/initrd.img-* \
    -append "console=ttyS0 root=/dev/vda rw panic=-1 quiet mitigations=off" -drive "file=$tmp/disk,if=virtio,format=raw,cache=unsafe" \
    -device virtio-rng-pci >"$tmp/log" 2>&1
tr -d '\r' <"$tmp/said"
if ! grep -q "^all is well" "$tmp/said"; then
    [ -s "$tmp/said" ] || tail -n 20 "$tmp/console" "$tmp/log"
    exit 1
fi
