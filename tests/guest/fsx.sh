#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 2
# slice: 1
# timeout: 900
#
# fsx: random reads, writes, stores to a mapping, truncations, holes and space set aside in a file, each read
# compared with what should be there; on file systems of all kinds.
#
#     SEED=N         another seed
#     OPS=N          so many operations on each (default 4000)
#     LONG=1         a million operations on each

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
ops=${OPS:-4000}
[ -z "${LONG:-}" ] || ops=1000000
shard=${SHARD:-0/1}

cat >"$WORK/fsx.toml" <<'CONFIG'
flen = 1500000

[opsize]
min = 1
max = 70000

[weights]
close_open = 1
read = 10
write = 10
mapread = 5
mapwrite = 5
truncate = 4
punch_hole = 3
posix_fallocate = 3
sendfile = 1
copy_file_range = 2
invalidate = 1
fsync = 0.3
fdatasync = 0.3
CONFIG

number=0
while read -r name mkfs; do
	number=$((number + 1))
	[ $((number % ${shard#*/})) -eq "${shard%/*}" ] || continue
	# shellcheck disable=SC2086
	make_fs /dev/ram0 64M $mkfs </dev/null
	mount -w -t "$FSTYPE" /dev/ram0 "$MNT" || { not_ok "$name" "does not mount"; continue; }
	seed=$((SEED * 1000 + number))
	config=$WORK/fsx.toml
	if [[ $name = inline* ]]; then
		# A file that stays in its inode, or leaves it sooner or later.
		config=$WORK/$name.toml
		sed 's/^flen .*/flen = 850/; s/^max .*/max = 300/' "$WORK/fsx.toml" >"$config"
		[ "$name" = inline-out ] || sed -i -E 's/^(mapwrite|punch_hole|posix_fallocate) .*/\1 = 0/' "$config"
	fi
	if /share/fsx/fsx -f "$config" -N "$ops" -S $seed "$MNT/file" >"$WORK/out" 2>&1 </dev/null; then
		ok "$name, $ops operations, seed $seed"
	else
		not_ok "$name, $ops operations, seed $seed" "$(tail -n 1 "$WORK/out")"
		tail -n 30 "$WORK/out" | sed 's/^/#   /'
	fi
	umount "$MNT"
	check "$name, e2fsck" e2fsck -fn /dev/ram0
done <<'LIST'
4k -t ext4 -b 4096
1k -t ext4 -b 1024
64k -t ext4 -b 65536
ext3 -t ext3 -b 1024
ext2 -t ext2 -b 4096
bigalloc -t ext4 -b 4096 -O bigalloc -C 65536
bigalloc-1k -t ext4 -b 1024 -O bigalloc -C 8192
nojournal -t ext4 -b 4096 -O ^has_journal
inline -t ext4 -b 4096 -I 1024 -O inline_data
inline-out -t ext4 -b 1024 -I 1024 -O inline_data
LIST
finish
