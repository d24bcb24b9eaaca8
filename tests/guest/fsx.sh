#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 2
# slice: 1
# timeout: 900
#
# fsx: random reads, writes, stores to a mapping, truncations, holes and space set aside in a file, each read
# compared with what should be there; on file systems of all kinds. fsx itself knows no direct I/O: half of its reads and
# writes are made to go past the page cache by tests/tools/direct.c. A file that is `squeezed` has less memory (a
# cgroup's) than it and fsx would fill, so that its pages are written and dropped at any moment.
#
#     SEED=N         another seed
#     OPS=N          so many operations on each (default 4000)
#     LONG=1         a million operations in all, each file's with seeds that were not used before

[ -z "${LONG:-}" ] || SEED=${SEED:-$(date +%s)}

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
ops=${OPS:-4000} rounds=1
[ -z "${LONG:-}" ] || ops=${OPS:-17000} rounds=5
shard=${SHARD:-0/1}
group=/sys/fs/cgroup/fsx

config() { # LENGTH
	cat <<CONFIG
flen = $1

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
}
config 1500000 >"$WORK/usual"
config 8000000 >"$WORK/squeezed"
# A file that stays in its inode, or leaves it sooner or later.
config 850 | sed 's/^max .*/max = 300/' >"$WORK/inline-out"
sed -E 's/^(mapwrite|punch_hole|posix_fallocate) .*/\1 = 0/' "$WORK/inline-out" >"$WORK/inline"

# fsx twice holds what the file should be; with the rest of its memory this leaves less than the file for its pages.
echo +memory >/sys/fs/cgroup/cgroup.subtree_control && mkdir -p $group && echo 20M >$group/memory.max ||
	not_ok "a cgroup for what is squeezed" "cannot be made"
events() { awk '$1 == "max" {print $2}' $group/memory.events; }

exercise() { # NAME CONFIG SEED
	local name=$1 config=$2 seed=$3 before
	rm -f "$WORK/direct"
	before=$(events)
	(
		[ "$config" != squeezed ] || echo $BASHPID >$group/cgroup.procs
		export LD_PRELOAD=/share/bin/direct.so DIRECT_SEED=$seed DIRECT_LOG=$WORK/direct
		exec /share/fsx/fsx -f "$WORK/$config" -N "$ops" -S "$seed" "$MNT/file"
	) >"$WORK/out" 2>&1 </dev/null
	if [ $? -ne 0 ]; then
		not_ok "$name" "$(tail -n 1 "$WORK/out")"
		tail -n 30 "$WORK/out" | sed 's/^/#   /'
		return
	fi
	total=$((total + ops))
	ok "$name"
	# In an inode there is no whole sector.
	[[ $config = inline* ]] || [ "$(awk '{print $1}' "$WORK/direct")" -gt $((ops / 20)) ] ||
		not_ok "$name, direct" "too few went past the page cache: $(cat "$WORK/direct")"
	[ "$config" != squeezed ] || [ "$(events)" -gt "$before" ] || not_ok "$name, squeezed" "there was memory enough"
}

number=0 total=0
while read -r name config mkfs; do
	number=$((number + 1))
	[ $((number % ${shard#*/})) -eq "${shard%/*}" ] || continue
	for ((round = 0; round < rounds; round++)); do
		# shellcheck disable=SC2086
		make_fs /dev/ram0 64M $mkfs </dev/null
		mount -w -t "$FSTYPE" /dev/ram0 "$MNT" || { not_ok "$name" "does not mount"; continue; }
		seed=$((SEED * 1000 + round * 50 + number))
		# Of many rounds, every other one under pressure.
		how=$config
		[ $((round % 2)) -eq 0 ] || [ "$config" != usual ] || how=squeezed
		exercise "$name, $how, $ops operations, seed $seed" "$how" $seed
		umount "$MNT"
		check "$name, e2fsck" e2fsck -fn /dev/ram0
	done
done <<'LIST'
4k usual -t ext4 -b 4096
1k usual -t ext4 -b 1024
64k usual -t ext4 -b 65536
ext3 usual -t ext3 -b 1024
ext2 usual -t ext2 -b 4096
bigalloc usual -t ext4 -b 4096 -O bigalloc -C 65536
bigalloc-1k usual -t ext4 -b 1024 -O bigalloc -C 8192
nojournal usual -t ext4 -b 4096 -O ^has_journal
inline inline -t ext4 -b 4096 -I 1024 -O inline_data
inline-out inline-out -t ext4 -b 1024 -I 1024 -O inline_data
4k-squeezed squeezed -t ext4 -b 4096
ext3-squeezed squeezed -t ext3 -b 1024
LIST
rmdir $group
echo "# fsx: $total operations"
finish
