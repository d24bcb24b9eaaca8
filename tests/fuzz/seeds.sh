#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes a corpus to start the `image` target from: small images of each layout.
#
#     usage: tests/fuzz/seeds.sh [FOLDER]         default tests/fuzz/corpus/image

set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
folder=${1:-$(dirname "$0")/corpus/image}
mkdir -p "$folder"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/dir"
for i in $(seq 40); do ln -s target "$tree/dir/name-$i-with-some-length"; done
head -c 30000 /dev/zero | tr '\0' x >"$tree/file"
truncate -s 5M "$tree/sparse"
printf x | dd of="$tree/sparse" bs=1 seek=3000000 conv=notrunc status=none
ln -s "$(printf '%0100d' 0)" "$tree/slow"
n=0
while read -r options; do
	n=$((n + 1))
	# shellcheck disable=SC2086
	mke2fs -q -F -N 64 -d "$tree" $options "$folder/seed-$n" 512k >/dev/null
	e2fsck -fyD "$folder/seed-$n" >/dev/null 2>&1 || [ $? -le 1 ]
done <<'LIST'
-t ext4 -b 1024 -O ^has_journal,^resize_inode,^metadata_csum
-t ext4 -b 1024 -O ^has_journal,^resize_inode
-t ext4 -b 1024 -O ^has_journal,^resize_inode,^metadata_csum,inline_data,ea_inode
-t ext4 -b 1024 -O ^has_journal,^resize_inode,^metadata_csum,^64bit,^flex_bg,meta_bg
-t ext4 -b 4096 -O ^has_journal,^resize_inode,^metadata_csum,quota,mmp
-t ext2 -b 1024 -O ^resize_inode
-t ext2 -b 1024 -r 0
LIST
echo "$n seeds in $folder"
