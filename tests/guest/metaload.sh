#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 4
# slice: 1
# timeout: 600
#
# The same random changes of names and inodes (tests/tools/metaload.c) on both drivers: each operation has to go
# alike, and the trees have to be the same in the end, read by either driver, and clean. In the middle each file
# system is unmounted and mounted again. Fifty seeds, spread over the formats.
#
#     SEED=N          the first of the seeds is N * 1000 + 1
#     MATRIX=REGEX    only the configurations whose name matches
#     LONG=1          ten times as many operations

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
operations=600
[ -z "${LONG:-}" ] || operations=6000

# NAME OPTIONS MKFS-ARGUMENTS...     (- for no options)
configurations() {
	cat <<'LIST'
4k           -              -t ext4 -b 4096
1k           -              -t ext4 -b 1024
64k          -              -t ext4 -b 65536
2k           -              -t ext4 -b 2048
ext3         -              -t ext3 -b 4096
ext3-1k      -              -t ext3 -b 1024
inode-128    -              -t ext4 -b 4096 -I 128 -O ^project
inode-1024   -              -t ext4 -b 4096 -I 1024
inline       -              -t ext4 -b 4096 -O inline_data
inline-1k    -              -t ext4 -b 1024 -O inline_data -I 512
bigalloc     -              -t ext4 -b 4096 -O bigalloc -C 16384
no-journal   -              -t ext4 -b 4096 -O ^has_journal
no-journal-1k -             -t ext4 -b 1024 -O ^has_journal,^orphan_file
ea-inode     -              -t ext4 -b 4096 -O ea_inode
ea-inline-1k -              -t ext4 -b 1024 -O ea_inode,inline_data
no-csum      -              -t ext4 -b 4096 -O ^metadata_csum
gdt-csum     -              -t ext4 -b 1024 -O ^metadata_csum,uninit_bg
no-index     -              -t ext4 -b 1024 -O ^dir_index
no-filetype  -              -t ext4 -b 4096 -O ^filetype
orphan-list  -              -t ext4 -b 4096 -O ^orphan_file
meta-bg      -              -t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode
no-flex      -              -t ext4 -b 1024 -g 1024 -O ^flex_bg
project      -              -t ext4 -b 4096 -O project -I 256
dirsync      dirsync        -t ext4 -b 4096
writeback    data=writeback,commit=1 -t ext4 -b 4096
LIST
}

# once TYPE SEED OPTIONS DEVICE: makes the tree; its log and what it looks like are in $WORK.
once() {
	local type=$1 seed=$2 options=$3 dev=$4
	mount -t "$type" -o "$options" "$dev" "$MNT" || return 1
	metaload --seed "$seed" --ops $operations --log "$WORK/log.$type" --settle \
		--at $((operations / 2)) "umount '$MNT' && mount -t $type -o '$options' $dev '$MNT'" "$MNT" >"$WORK/said" || return 1
	umount "$MNT"
}

# tree TYPE DEVICE OUTPUT
tree() { census_of "$1" "$2" "" "$3" --portable --no-data 2>"$WORK/err"; }

# keep FILE NAME: for whoever looks into it.
keep() {
	[ -w /out ] || return 0
	mkdir -p /out/differences
	cp "$1" "/out/differences/metaload-$seed.$2"
}

one() { # NAME SEED OPTIONS MKFS...
	local name="seed $2, $1" seed=$2 options=$3 at what by
	shift 3
	[ "$options" != - ] || options=defaults
	for what in /dev/ram0 /dev/ram1; do
		make_fs $what 128M "$@" || {
			not_ok "$name" "mkfs: $(tail -n 1 "$WORK/mke2fs")"
			return
		}
	done
	once ext4 "$seed" "$options" /dev/ram0 || { not_ok "$name" "C ext4 does not come to the end"; umount "$MNT"; return; }
	mv "$WORK/log.ext4" "$WORK/log.c"
	log_mark
	once "$FSTYPE" "$seed" "$options" /dev/ram1 || {
		not_ok "$name" "does not come to its end: $(tail -n 1 "$WORK/log.$FSTYPE")"
		log_since | tail -n 5 | sed 's/^/#   /'
		umount "$MNT"
		return
	}
	if ! cmp -s "$WORK/log.c" "$WORK/log.$FSTYPE"; then
		not_ok "$name" "the operations went differently; first C ext4's:"
		diff "$WORK/log.c" "$WORK/log.$FSTYPE" | grep '^[<>]' | cut -c 1-300 | sort -k 2n -s | head -n 6 | sed 's/^/#   /'
		keep "$WORK/log.c" "log.ext4"
		keep "$WORK/log.$FSTYPE" "log.$FSTYPE"
		return
	fi
	check "$name: clean" e2fsck -fn /dev/ram1
	e2fsck -fn /dev/ram0 >/dev/null 2>&1 || not_ok "$name" "C ext4's is not clean"
	tree ext4 /dev/ram0 "$WORK/tree" || { not_ok "$name" "C ext4 cannot read its own"; return; }
	for what in "$FSTYPE /dev/ram1" "ext4 /dev/ram1" "$FSTYPE /dev/ram0"; do
		by=${what% *}
		at=${what#* }
		if ! tree "$by" "$at" "$WORK/tree.other"; then
			not_ok "$name: $by reads $at" "$(tail -n 1 "$WORK/err")"
		elif ! cmp -s "$WORK/tree" "$WORK/tree.other"; then
			not_ok "$name: $by reads $at" "another tree than C ext4 reads from /dev/ram0"
			differences "$WORK/tree" "$WORK/tree.other"
			keep "$WORK/tree" "tree.ext4"
			keep "$WORK/tree.other" "tree.$FSTYPE"
			keep "$WORK/log.c" "log"
			return
		fi
	done
	ok "$name"
}

mapfile -t lines < <(configurations)
shard=${SHARD:-0/1}
for ((i = 1; i <= 50; i++)); do
	[ $((i % ${shard#*/})) -eq "${shard%/*}" ] || continue
	read -r name options mkfs <<<"${lines[$(((i - 1) % ${#lines[@]}))]}"
	[[ $name =~ ${MATRIX:-.} ]] || continue
	start=$EPOCHREALTIME
	# shellcheck disable=SC2086
	one "$name" $((SEED * 1000 + i)) "$options" $mkfs
	[ -z "${VERBOSE:-}" ] || echo "# $name: $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
done
finish
