#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 2
# slice: 1
# timeout: 900
#
# fio: contents with checksums, written by several jobs at once through psync, libaio, io_uring and mappings; random and
# in order, past the page cache and through it. Some jobs share a file, each with places of its own, so that direct
# writes have dirty pages as neighbours; others have a file of their own and read back while they write. All of it
# is verified at the end of the writing, and from the device by C ext4.
#
#     SEED=N, MATRIX=REGEX    another seed; only formats that match
#     LONG=1                  much more of it

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
times=1
[ -z "${LONG:-}" ] || times=10
size=$((64 * times))M

# In KiB, what each job with a file of its own writes; a multiple of all sizes here.
unit=$((1024 * times))

# One file of several jobs. It is verified when they are through, since reading ahead would make folios that reach
# into what others write.
shared() { # BLOCK
	local block=$1 stripe=$(($1 > 16384 ? $1 : 16384)) share number=0 engine direct depth

	cat <<JOB
[global]
directory=$MNT
randseed=$SEED
verify=crc32c
verify_fatal=1
verify_state_save=0
fallocate=truncate
end_fsync=1
JOB
	# In turns, a stripe each: the first half of the shared file.
	while read -r engine direct depth; do
		cat <<JOB
[stripes-$engine-$direct]
filename=shared
ioengine=$engine
direct=$direct
iodepth=$depth
rw=write:$((stripe * 3))
bs=$stripe
offset=$((stripe * number))
size=$((unit * 2048 - stripe * number))
io_size=$((unit * 512))
do_verify=0
JOB
		number=$((number + 1))
	done <<'ENGINES'
psync 0 1
libaio 1 4
io_uring 1 4
io_uring 0 4
ENGINES
	# In any order, a part each: the second half.
	share=$((unit * 512))
	number=0
	while read -r engine direct depth; do
		cat <<JOB
[parts-$engine-$direct]
filename=shared
ioengine=$engine
direct=$direct
iodepth=$depth
rw=randwrite
bs=$block
offset=$((unit * 2048 + share * number))
size=$share
do_verify=0
JOB
		number=$((number + 1))
	done <<'ENGINES'
libaio 1 8
psync 0 1
io_uring 1 8
psync 1 1
ENGINES
}

# Files of their own, verified while they are written.
own() { # BLOCK
	local block=$1
	cat <<JOB
[odd]
filename=odd
ioengine=psync
rw=randwrite
bsrange=512-48k
bs_unaligned=1
size=${unit}k
verify_backlog=16
[mapped]
filename=mapped
ioengine=mmap
rw=randwrite
bs=4k
size=${unit}k
verify_backlog=32
[direct]
filename=direct
ioengine=libaio
direct=1
iodepth=8
rw=randwrite
bs=$block
size=${unit}k
verify_backlog=16
verify_async=1
[ring]
filename=ring
ioengine=io_uring
iodepth=8
rw=randwrite
bs=$block
size=${unit}k
verify_backlog=16
[set-aside]
filename=set-aside
ioengine=io_uring
direct=1
iodepth=8
fallocate=$fallocate
rw=write
bs=$block
size=${unit}k
verify_backlog=16
[append]
filename=append
ioengine=psync
fallocate=none
rw=write
bs=512
size=$((unit / 2))k
verify_backlog=16
[dsync]
filename=dsync
ioengine=psync
direct=1
sync=dsync
rw=randwrite
bs=$block
size=$((unit / 4))k
JOB
}

# fio NAME OPTIONS...: a run of all jobs.
run() {
	local name=$1
	shift
	if fio --output-format=terse --output="$WORK/terse" "$@" "$WORK/jobs" >"$WORK/said" 2>&1; then
		ok "$name"
	else
		not_ok "$name" "$(grep -m 1 . "$WORK/said")"
		head -n 20 "$WORK/said" | sed 's/^/#   /'
		return 1
	fi
}

last='' number=0
shard=${SHARD:-0/1}
while read -r name block mkfs; do
	number=$((number + 1))
	[[ $name =~ ${MATRIX:-.} ]] && [ $((number % ${shard#*/})) -eq "${shard%/*}" ] || continue
	fallocate=native
	[[ $name != ext[23] ]] || fallocate=none
	# shellcheck disable=SC2086
	make_fs /dev/ram0 "${size:-64M}" $mkfs </dev/null && mount -t "$FSTYPE" /dev/ram0 "$MNT" ||
		{ not_ok "$name" "cannot be mounted"; continue; }
	{ shared "$block"; own "$block"; } >"$WORK/jobs"
	run "$name, written and verified" </dev/null
	# fio reports what it wrote in KiB; fewer would be a test of nothing.
	written=$(awk -F ';' '{n += $47} END {print int(n)}' "$WORK/terse")
	check "$name, $written KiB were written" test "$written" -ge $((unit * 8))
	sed -i '/^do_verify=0$/d' "$WORK/jobs"
	run "$name, verified again" --verify_only </dev/null
	umount "$MNT"
	check "$name, e2fsck" e2fsck -fn /dev/ram0
	mount -t ext4 /dev/ram0 "$MNT"
	run "$name, by C ext4" --verify_only </dev/null
	umount "$MNT"
	last=$name
done <<'LIST'
4k 4096 -t ext4 -b 4096
1k 1024 -t ext4 -b 1024
64k 65536 -t ext4 -b 65536
ext3 1024 -t ext3 -b 1024
ext2 4096 -t ext2 -b 4096
bigalloc 4096 -t ext4 -b 4096 -O bigalloc -C 16384
nojournal 4096 -t ext4 -b 4096 -O ^has_journal
LIST

# That a wrong byte would have been found, in what the last one left.
if [ -n "$last" ]; then
	mount -t "$FSTYPE" /dev/ram0 "$MNT"
	printf xxxxxxxx | dd of="$MNT/shared" bs=8 seek=$(((unit * 1024 + 5000) / 8)) conv=notrunc status=none
	if fio --output="$WORK/terse" --verify_only "$WORK/jobs" >"$WORK/said" 2>&1; then
		not_ok "a wrong byte is found" "fio verified it"
	else
		check "a wrong byte is found" grep -qE 'crc32c: verify failed|verify: bad' "$WORK/said" "$WORK/terse"
	fi
fi
finish
