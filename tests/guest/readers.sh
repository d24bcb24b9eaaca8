#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Reading in every other way and by many at once: splice, sendfile, execution, O_NOATIME, what a
# read-only mount refuses, swap files, concurrent readers under memory pressure, fio's verification.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0

both() { # NAME COMMAND...: the same answer from both drivers
	local name=$1 c r
	shift
	mount -t ext4 -o ro $dev "$MNT" && c=$("$@" 2>&1)
	umount "$MNT"
	mount -t "$FSTYPE" -o ro $dev "$MNT" && r=$("$@" 2>&1)
	umount "$MNT"
	if [ "$r" = "$c" ] && [ -n "$c" ]; then
		ok "$name"
	else
		# Word by word: what C ext4 says, and what differs from it.
		not_ok "$name" "$(diff <(tr ' ' '\n' <<<"$c") <(tr ' ' '\n' <<<"$r") | grep '^[<>]' | tr '\n' ' ')"
	fi
}

for config in "4k -b 4096" "1k -b 1024" "64k -b 65536" "block-maps -b 4096 -O ^extent,^64bit" "inline -b 4096 -O inline_data"; do
	read -r name mkfs <<<"$config"
	# shellcheck disable=SC2086
	make_fs $dev 512M -t ext4 $mkfs
	mount -t ext4 $dev "$MNT"
	fill --seed "$SEED" --only files "$MNT" >/dev/null
	fill --seed "$SEED" --only extents --extents 200 "$MNT" >/dev/null
	fill --seed "$SEED" --only names --names 50 "$MNT" >/dev/null
	cp "$(command -v fsprobe)" "$MNT/program"
	printf '#!/bin/sh\necho "script $1"\n' >"$MNT/script"
	chmod 755 "$MNT/script"
	fallocate -l 1M "$MNT/swap"
	dd if=/dev/zero of="$MNT/swap" bs=64k count=16 conv=notrunc status=none
	mkswap -q "$MNT/swap" 2>/dev/null
	umount "$MNT"
	for file in files/one files/block+1 files/3m files/inline-59 files/inline-128 extents/punched extents/unwritten extents/unwritten-tail files/only-size; do
		both "ways of reading $file, $name" fsprobe ways "$MNT/$file"
	done
	for file in files/one files/3m extents/punched extents/unwritten-tail names; do
		both "what $file answers, $name" fsioctl ask "$MNT/$file"
	done
	both "what is refused, $name" fsprobe readonly "$MNT" files/one
	both "swap file, $name" fsprobe readonly "$MNT" swap
	both "atime, $name" fsprobe atime "$MNT/files/3m"
	both "a program, $name" sh -c "'$MNT/program' ways '$MNT/program'"
	both "a script, $name" "$MNT/script" here
	equal "stress, $name" "$(mount -t "$FSTYPE" -o ro $dev "$MNT" && stress "$MNT" "${SECONDS_EACH:-6}" 4 "$SEED" | tee "$WORK/stress" | grep -o 'mismatches=.*')" "mismatches=0"
	head -n 5 "$WORK/stress" | sed 's/^/# /'
	umount "$MNT"
done

# Verity: what the tree says, by ioctl; and the number that 32-bit programs have for the generation.
make_fs $dev 64M -t ext4 -b 4096 -O verity
mount -t ext4 $dev "$MNT"
fill --seed "$SEED" --verity --only files "$MNT" >/dev/null
umount "$MNT"
for file in verity/1 verity/5000 verity/1m files/one; do
	both "what $file answers" fsioctl ask "$MNT/$file"
done
check "one more mount" mount -t "$FSTYPE" -o ro $dev "$MNT"
equal "the generation for 32-bit programs" "$(fsioctl version32 "$MNT/files/one")" \
	"$(debugfs -R 'stat files/one' $dev 2>/dev/null | sed -n 's/.*Generation: \([0-9]*\).*/\1/p')"
umount "$MNT"

# fio writes with C ext4 and verifies through the driver under test, buffered and direct.
make_fs $dev 256M -t ext4 -b 4096
mount -t ext4 $dev "$MNT"
job=(--directory="$MNT" --name=v --filesize=16m --numjobs=4 --bs=4k --verify=crc32c --minimal --thread)
fio "${job[@]}" --rw=randwrite --do_verify=0 >"$WORK/fio" 2>&1 || not_ok "fio writes" "$(tail -n 1 "$WORK/fio")"
umount "$MNT"
mount -t "$FSTYPE" -o ro $dev "$MNT"
(while sleep 0.1; do echo 3 >/proc/sys/vm/drop_caches; done) &
dropper=$!
for how in "read 0 psync" "randread 0 mmap" "randread 1 psync" "read 1 io_uring"; do
	read -r rw direct engine <<<"$how"
	check "fio verifies: $how" fio "${job[@]}" --rw="$rw" --direct="$direct" --ioengine="$engine" --readonly
done
kill $dropper
wait $dropper 2>/dev/null
umount "$MNT"
finish
