#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes what kvm-xfstests (of xfstests-bld) needs to run its tests on rext4, and prints the command.
#
#     usage: tests/xfstests/kvm.sh FOLDER
#
# kvm-xfstests boots a kernel without modules from a root that is an ext4 file system, and only then unpacks the
# modules that it was given. So the folder gets an initrd as well, which loads rext4 with ext4=1 and then mounts that root:
# the name ext4 is rext4's from the start. C ext4 is left out of the modules.
#
# The kernel is the cached one, or the build tree KDIR: one that xfstests-bld's install-kconfig has configured, with
# CONFIG_RUST=y, CONFIG_EXT4_FS=m and CONFIG_BLK_DEV_INITRD=y beside, since systemd and the tests want more than the cached one has.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../../qemu/lib.sh"

[ $# -eq 1 ] || die "usage: tests/xfstests/kvm.sh FOLDER"
mkdir -p "$1"
folder=$(realpath "$1")
kdir=$("$PROJECT/qemu/kernel.sh" release)
module=$("$PROJECT/qemu/module.sh" release)
release=$(cat "$kdir/include/config/kernel.release")
! grep -qx 'CONFIG_EXT4_FS=y' "$kdir/.config" || die "C ext4 is built into the kernel $kdir: CONFIG_EXT4_FS=m is needed"

work=$(mktemp -d "$CACHE/run/disk.XXXXXX")
trap 'rm -rf "$work"' EXIT
order=$work/root/lib/modules/$release
mkdir -p "$order/kernel" "$order/extra" "$work/initrd/dev" "$work/initrd/root"
while read -r ko; do
	ko=${ko%.o}.ko
	[ "$ko" != fs/ext4/ext4.ko ] || continue
	mkdir -p "$order/kernel/$(dirname "$ko")"
	cp "$kdir/$ko" "$order/kernel/$ko"
done <"$kdir/modules.order"
cp "$module" "$order/extra/rext4.ko"
cp "$kdir"/modules.{order,builtin,builtin.modinfo} "$order/"
mkdir -p "$work/root/etc/modprobe.d"
echo 'options rext4 ext4=1' >"$work/root/etc/modprobe.d/rext4.conf"

# The order in which modprobe would load them, for who has no modprobe. Only lib/modules itself goes into the
# archive: its parents are the other root's.
# shellcheck disable=SC2016
"$PROJECT/qemu/enter.sh" --bind "$folder" -- bash -euo pipefail -c '
	work=$1 release=$2 folder=$3 project=$4
	find "$work/root" -name "*.ko" -exec llvm-strip --strip-debug {} +
	depmod -b "$work/root" "$release"
	modprobe -d "$work/root" -S "$release" --show-depends rext4 | while read -r how file _; do
		[ "$how" = insmod ] || continue
		cp "$file" "$work/initrd/"
		basename "$file"
	done >"$work/initrd/modules"
	tar -C "$work/root" --owner=0 --group=0 -cJf "$folder/modules.tar.xz" lib/modules etc/modprobe.d/rext4.conf
	gcc-14 -std=gnu11 -O2 -Wall -Wextra -Werror -static -o "$work/initrd/init" "$project/tests/xfstests/init.c"
	cd "$work/initrd" && find . | cpio --quiet -o -H newc | gzip >"$folder/initrd"
' kvm "$work" "$release" "$folder" "$PROJECT"
cp "$kdir/arch/x86/boot/bzImage" "$folder/"
echo "kvm-xfstests --kernel $folder/bzImage --modules $folder/modules.tar.xz --initrd $folder/initrd -c 4k -g quick"
