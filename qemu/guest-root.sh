#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes the guest's root file system if it is not there yet, and prints its path.
#
#     usage: qemu/guest-root.sh [xfstests]
#
# It is a squashfs with a small Debian trixie: a shell and the tools that file system tests use. It
# contains nothing of the project: its init mounts the project's folder from the host and goes on
# there (qemu/guest-init.sh). The one for xfstests has, beyond that, the programs and libraries that
# those tests use (not xfstests itself); it is made only for who runs them.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/lib.sh"

PACKAGES=(
	bash coreutils util-linux util-linux-extra mount kmod procps findutils diffutils grep sed gawk
	gzip bzip2 xz-utils zstd tar cpio less
	e2fsprogs xfsprogs dmsetup fio attr acl strace libcap2-bin quota xxd
)
case ${1:-} in
'') ;;
xfstests) PACKAGES+=(bc bsdextrautils file hostname libgdbm6t64 liburing2 psmisc uuid-runtime) ;;
*) die "guest-root.sh: no root $1" ;;
esac

read -r -d '' INIT <<'STUB' || :
#!/bin/sh
# The first program of the guest: a writable root (a tmpfs over the squashfs) and the project's folder.
# Everything else is in the project's qemu/guest-init.sh.
mount -t tmpfs -o mode=755 root /run
mkdir /run/upper /run/work /run/new
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work root /run/new
mount -t 9p -o trans=virtio,version=9p2000.L,msize=507904,cache=mmap,ro src /run/new/src
mount --move /dev /run/new/dev
cd /run/new && pivot_root . mnt && exec /bin/bash /src/qemu/guest-init.sh
STUB

image=$CACHE/guest-$(key "guest 3" "$SUITE" "$INIT" "${PACKAGES[@]}").squashfs

# Runs in the build root: its apt knows the mirror and the keys.
# shellcheck disable=SC2016
BUILD='
set -euo pipefail
out=$1 init=$2 include=$3 suite=$4
work=$(mktemp -d)
trap "rm -rf $work" EXIT
grep -v "^$" /etc/apt/sources.list | grep -v -- -backports >"$work/sources"
cp /etc/apt/apt.conf.d/99mmdebstrap "$work/apt.conf"
printf "%s\n" "$init" >"$work/init"
export TMPDIR=$work
mmdebstrap --mode=root --variant=minbase --format=tar --include="$include" \
	--aptopt="$work/apt.conf" \
	--dpkgopt=path-exclude="/usr/share/doc/*" --dpkgopt=path-exclude="/usr/share/man/*" \
	--dpkgopt=path-exclude="/usr/share/locale/*" \
	--customize-hook="install -m 755 $work/init \$1/sbin/rext4-init" \
	--customize-hook="mkdir -p \$1/src \$1/lib/modules \$1/out \$1/usr/lib/rext4/dev" \
	--customize-hook="ln -s /proc/self/fd \$1/usr/lib/rext4/dev/fd" \
	--customize-hook="ln -s /proc/self/fd/0 \$1/usr/lib/rext4/dev/stdin" \
	--customize-hook="ln -s /proc/self/fd/1 \$1/usr/lib/rext4/dev/stdout" \
	--customize-hook="ln -s /proc/self/fd/2 \$1/usr/lib/rext4/dev/stderr" \
	--customize-hook="ln -sf /proc/self/mounts \$1/etc/mtab" \
	--customize-hook="rm -rf \$1/var/lib/apt/lists/* \$1/usr/share/i18n \$1/usr/lib/python3*" \
	"$suite" "$work/root.tar" - <"$work/sources"
sqfstar -comp zstd -Xcompression-level 9 -no-progress "$out" <"$work/root.tar"
'

if [ ! -f "$image" ]; then
	lock guest-root
	if [ ! -f "$image" ]; then
		rm -f "$CACHE"/guest-*.tmp.*
		progress "guest root" "installing packages" 0 : \
			"$PROJECT/qemu/enter.sh" -- bash -c "$BUILD" guest-root \
			"$image.tmp.$$" "$INIT" "$(IFS=,; echo "${PACKAGES[*]}")" "$SUITE"
		mv -T "$image.tmp.$$" "$image"
	fi
	unlock
fi
echo "$image"
