#!/usr/bin/env bash
# A Debian 12 machine with real systemd in an emulator, the node installed there as a user installs it, and a plug to pull:
# `kill -9` of the emulator is what a power cut is to everything inside. For `make torture`, and for people.
#
#   scripts/plug.sh base                   the machine without the node, once (debootstrap, about 400 MB under target/parts)
#   scripts/plug.sh install BINARY DISK    a disk of that machine with the node installed: binary, unit and config.toml
#   scripts/plug.sh run DISK PORT          powers it on and becomes the emulator; the node answers on 127.0.0.1:PORT
#
# The disk is the emulator's with cache=none: what the machine has not written out is lost with it. What it has written and not yet
# synced survives here, as it need not on a real disk; the storage tests have a disk that forgets it.
set -euo pipefail
cd "$(dirname "$0")/.."

PARTS=$PWD/target/parts
BASE=$PARTS/plug-1
PACKAGES=systemd,systemd-sysv,udev,dbus,linux-image-cloud-amd64,libssl3,zlib1g,libgcc-s1
# The node listens on loopback only, so the machine needs a door for the forwarded port: systemd's own proxy, as a user would put one.
DOOR=7481

need() {
    command -v "$1" >/dev/null || { echo "plug: $1 is missing; install it with: apt-get install -y --no-install-recommends $2" >&2; exit 69; }
}

as_root_only() {
    [ "$(id -u)" = 0 ] || { echo "plug: a machine's files have owners of their own, so this needs root; run it with sudo" >&2; exit 69; }
}

base() {
    [ -f "$BASE/whole" ] && return
    as_root_only
    need debootstrap debootstrap
    mkdir -p "$PARTS"
    exec 8>"$PARTS/plug.lock"
    flock 8
    if [ ! -f "$BASE/whole" ]; then
        # The mirror that this machine itself installs from.
        local mirror
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | head -n 1)
        echo "plug: a Debian 12 from ${mirror:=http://deb.debian.org/debian}" >&2
        rm -rf "$BASE"
        debootstrap --variant=minbase --include="$PACKAGES" bookworm "$BASE/root" "$mirror" >"$PARTS/plug.log" 2>&1 ||
            { tail -n 5 "$PARTS/plug.log" >&2; echo "plug: could not be built; see $PARTS/plug.log. Is the mirror in reach?" >&2; exit 69; }
        settle "$BASE/root"
        touch "$BASE/whole"
    fi
    exec 8>&-
}

# What an administrator does to a new machine: a name, an address, a console without a login, and the door.
settle() {
    local root=$1
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
    echo plug >"$root/etc/hostname"
    printf '127.0.0.1 localhost plug\n' >"$root/etc/hosts"
    printf '/dev/vda / ext4 defaults 0 1\n' >"$root/etc/fstab"
    printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/wired.network"
    printf '[Socket]\nListenStream=%s\n[Install]\nWantedBy=sockets.target\n' "$DOOR" >"$root/etc/systemd/system/door.socket"
    printf '[Unit]\nRequires=door.socket\n[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd --connections-max=1024 127.0.0.1:7480\n' \
        >"$root/etc/systemd/system/door.service"
    # What the units say goes to the console, where whoever runs the machine can read it.
    mkdir -p "$root/etc/systemd/journald.conf.d"
    printf '[Journal]\nForwardToConsole=yes\nMaxLevelConsole=info\n' >"$root/etc/systemd/journald.conf.d/console.conf"
    systemctl --root "$root" enable systemd-networkd.service door.socket >/dev/null 2>&1
    systemctl --root "$root" mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer \
        e2scrub_reap.service e2scrub_all.timer getty@tty1.service serial-getty@ttyS0.service getty-static.service >/dev/null 2>&1
}

install_node() {
    local binary=$1 disk=$2 root
    as_root_only
    need mke2fs e2fsprogs
    base
    root=$disk.root
    rm -rf "$root" "$disk"
    cp -a --reflink=auto "$BASE/root" "$root"
    # As the head of systemd/shelfd.service says.
    install -m 755 "$binary" "$root/usr/bin/shelfd"
    # Only what finds a function by its address, which nobody does here, and a disk the smaller.
    if command -v strip >/dev/null; then strip --strip-debug "$root/usr/bin/shelfd"; fi
    install -D -m 644 config.toml "$root/etc/shelfd/config.toml"
    install -m 644 systemd/shelfd.service "$root/etc/systemd/system/"
    systemctl --root "$root" enable shelfd.service >/dev/null 2>&1
    mke2fs -q -t ext4 -d "$root" "$disk" 1500M >/dev/null
    rm -rf "$root"
}

run() {
    local disk=$1 port=$2 kernel initrd
    need qemu-system-x86_64 qemu-system-x86
    base
    kernel=$(ls "$BASE"/root/boot/vmlinuz-* | tail -n 1)
    initrd=$(ls "$BASE"/root/boot/initrd.img-* | tail -n 1)
    exec qemu-system-x86_64 -accel tcg -m 768 -nographic -no-reboot \
        -kernel "$kernel" -initrd "$initrd" -append "root=/dev/vda rw console=ttyS0 quiet" \
        -drive "file=$disk,if=virtio,format=raw,cache=none" \
        -netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$port-:$DOOR" -device virtio-net-pci,netdev=net
}

case ${1:-} in
base) base ;;
install) install_node "$2" "$3" ;;
run) run "$2" "$3" ;;
*) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//'; exit 64 ;;
esac
