#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 8
# slice: 2
# timeout: 400
#
# Every mkfs option that changes the format: C ext4 fills a file system, then both drivers mount
# it read-only and have to show the same (see tests/tools/census.c for what is compared), and
# e2fsck has to find it clean afterwards.
#
#     MATRIX=REGEX    only the configurations whose name matches
#     SHARD=i/n       the i-th of n parts (i from 0)

. "$(dirname "$0")/lib.sh"

# NAME SIZE MOUNT-OPTIONS FILL-OPTIONS MKFS-ARGUMENTS...     (- for none)
configurations() {
	cat <<'LIST'
default          128M - -                 -t ext4 -b 4096
block-1k         160M - -                 -t ext4 -b 1024
block-2k         128M - -                 -t ext4 -b 2048
block-8k         256M - -                 -t ext4 -b 8192
block-16k        256M - -                 -t ext4 -b 16384
block-32k        384M - --extents=300     -t ext4 -b 32768
block-64k        512M - --extents=200     -t ext4 -b 65536
block-64k-nocsum 512M - --extents=200     -t ext4 -b 65536 -O ^metadata_csum
32bit            128M - -                 -t ext4 -b 4096 -O ^64bit
32bit-1k         160M - -                 -t ext4 -b 1024 -O ^64bit
desc-32-nocsum   128M - -                 -t ext4 -b 4096 -O ^64bit,^metadata_csum,^uninit_bg
no-flex          128M - -                 -t ext4 -b 4096 -O ^flex_bg
many-groups      128M - -                 -t ext4 -b 1024 -g 512 -G 4 -N 8192
many-groups-4k   128M - -                 -t ext4 -b 4096 -g 1024 -O ^flex_bg -N 8192
meta-bg          160M - -                 -t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode -N 8192
meta-bg-32bit    160M - -                 -t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode,^64bit,^flex_bg -N 8192
sparse-super2    160M - -                 -t ext4 -b 1024 -O sparse_super2
no-sparse        160M - -                 -t ext4 -b 1024 -O ^sparse_super,^resize_inode
no-resize-inode  128M - -                 -t ext4 -b 4096 -O ^resize_inode
gdt-csum         128M - -                 -t ext4 -b 4096 -O uninit_bg,^metadata_csum
no-csum          128M - -                 -t ext4 -b 4096 -O ^metadata_csum,^uninit_bg
csum-by-uuid     128M - -                 -t ext4 -b 4096 -O ^metadata_csum_seed
no-huge-file     128M - -                 -t ext4 -b 4096 -O ^huge_file
no-dir-nlink     128M - -                 -t ext4 -b 4096 -O ^dir_nlink
no-filetype      128M - -                 -t ext4 -b 4096 -O ^filetype
no-dir-index     128M - -                 -t ext4 -b 4096 -O ^dir_index
no-ext-attr      128M - -                 -t ext4 -b 4096 -O ^ext_attr
no-extents       128M - -                 -t ext4 -b 4096 -O ^extent,^64bit
no-extents-1k    160M - -                 -t ext4 -b 1024 -O ^extent,^64bit
no-journal       128M - -                 -t ext4 -b 4096 -O ^has_journal
no-orphan-file   128M - -                 -t ext4 -b 4096 -O ^orphan_file
fast-commit      128M - -                 -t ext4 -b 4096 -O fast_commit
mmp              128M - -                 -t ext4 -b 4096 -O mmp
stable-inodes    128M - -                 -t ext4 -b 4096 -O stable_inodes
deep-1k          160M - --extents=30000  -t ext4 -b 1024 -N 8000
large-dir-1k     160M - --names=5000      -t ext4 -b 1024 -O large_dir -N 40000
hash-legacy      128M - -                 -t ext4 -b 4096
hash-tea         128M - -                 -t ext4 -b 4096
hash-unsigned    128M - -                 -t ext4 -b 4096
inline-data      128M - -                 -t ext4 -b 4096 -O inline_data
inline-data-1k   160M - -                 -t ext4 -b 1024 -O inline_data
inline-inode-1k  128M - -                 -t ext4 -b 4096 -O inline_data -I 1024
inline-64k       512M - --extents=200     -t ext4 -b 65536 -O inline_data
ea-inode         128M - -                 -t ext4 -b 4096 -O ea_inode
ea-inline-1k     160M - -                 -t ext4 -b 1024 -O ea_inode,inline_data
bigalloc         256M - --extents=300     -t ext4 -b 4096 -O bigalloc -C 16384
bigalloc-1k      256M - --extents=300     -t ext4 -b 1024 -O bigalloc -C 65536
quota            128M - -                 -t ext4 -b 4096 -O quota
project          128M prjquota -          -t ext4 -b 4096 -O quota,project -E quotatype=usrquota:grpquota:prjquota
verity           128M - --verity          -t ext4 -b 4096 -O verity
verity-1k        160M - --verity          -t ext4 -b 1024 -O verity
inode-128        128M - -                 -t ext4 -b 4096 -I 128 -O ^project
inode-512        128M - -                 -t ext4 -b 4096 -I 512
inode-1024       128M - -                 -t ext4 -b 4096 -I 1024
inode-4096       192M - -                 -t ext4 -b 4096 -I 4096 -N 8192
ext2             128M - -                 -t ext2 -b 4096
ext2-1k          160M - -                 -t ext2 -b 1024
ext2-inode-128   128M - -                 -t ext2 -b 4096 -I 128
ext3             128M - -                 -t ext3 -b 4096
ext3-1k          160M - -                 -t ext3 -b 1024
ext3-upgraded    128M - -                 -t ext3 -b 4096
rev-0            160M - -                 -t ext2 -I 128 -O none -b 1024
rev-0-4k         128M - -                 -t ext2 -I 128 -O none -b 4096
LIST
}

# What mkfs alone cannot do. (It has an option for revision 0, and refuses it whatever the features are.)
adjust() {
	case $1 in
	rev-0*) debugfs -w -R 'set_super_value rev_level 0' /dev/ram0 ;;
	hash-legacy | hash-tea) tune2fs -E hash_alg="${1#hash-}" /dev/ram0 ;;
	hash-unsigned) debugfs -w -R 'set_super_value flags 2' /dev/ram0 ;;
	ext3-upgraded)
		# Old files keep their block maps, new ones get extents.
		mount -t ext4 /dev/ram0 "$MNT" && fill --only extents "$MNT" && mv "$MNT/extents" "$MNT/old" &&
			umount "$MNT" && tune2fs -O extents,huge_file,dir_nlink,extra_isize,uninit_bg /dev/ram0 &&
			{ e2fsck -fp /dev/ram0 || [ $? -le 1 ]; }
		;;
	esac
}

one() {
	local name=$1 size=$2 options=$3 fill=$4
	shift 4
	[ "$options" != - ] || options=
	[ "$fill" != - ] || fill=
	if ! { make_fs /dev/ram0 "$size" "$@" && adjust "$name"; } >"$WORK/mkfs" 2>&1; then
		not_ok "matrix $name" "mkfs: $(tr '\n' ' ' <"$WORK/mkfs")"
		return
	fi
	if ! mount -t ext4 -o "$options" /dev/ram0 "$MNT" 2>"$WORK/err"; then
		not_ok "matrix $name" "C ext4 does not mount it: $(cat "$WORK/err")"
		return
	fi
	# shellcheck disable=SC2086
	fill --seed "$SEED" $fill "$MNT" >"$WORK/fill" 2>&1 || {
		not_ok "matrix $name" "fill: $(tail -n 2 "$WORK/fill" | head -n 1)"
		umount "$MNT"
		return
	}
	umount "$MNT"
	compare "matrix-$name" /dev/ram0 "" --max-file $((4 << 20))
	check "fsck-$name" e2fsck -fn /dev/ram0
	[ -z "${VERBOSE:-}" ] || sed 's/^/# /' "$WORK/fill"
}

load_drivers
load_ram_disks
shard=${SHARD:-0/1}
shard=${shard/-//}
n=0
while read -r name size options fill mkfs; do
	[[ $name =~ ${MATRIX:-.} ]] || continue
	n=$((n + 1))
	[ $((n % ${shard#*/})) -eq "${shard%/*}" ] || continue
	start=$EPOCHREALTIME
	# shellcheck disable=SC2086
	one "$name" "$size" "$options" "$fill" $mkfs </dev/null
	[ -z "${VERBOSE:-}" ] || echo "# $name: $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
done < <(configurations)
finish
