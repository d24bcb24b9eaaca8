#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# EXT4_IOC_MOVE_EXT: files get the blocks of others and keep their contents, whoever else is at work, and
# whatever happens. e4defrag(8) is its user.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

# e4defrag wants to see a file system of type ext4.
seen_as_ext4() {
	rm -f /etc/mtab
	sed "s/ $FSTYPE / ext4 /" /proc/self/mounts >/etc/mtab
}
defrag() { seen_as_ext4 && e4defrag -v "$@"; }
extents() { filefrag "$1" | grep -oE '[0-9]+ extent' | cut -d ' ' -f 1; }
sum() { md5sum <"$1"; }
from_disk() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
}
# donor SIZE: a file with space and nothing in it.
donor() {
	rm -f "$MNT/donor"
	fallocate -l "$1" "$MNT/donor"
}

one() { # one NAME MKFS...
	local name=$1 old free
	shift
	on "$name" "$@"
	dd if=/dev/urandom of="$MNT/file" bs=64k count=12 status=none
	dd if=/dev/urandom of="$MNT/file" bs=1 count=777 oflag=append conv=notrunc status=none
	donor 800k
	old=$(sum "$MNT/file")
	check "$name: block by block to another place" mext scatter "$MNT/file" "$MNT/donor"
	check "$name: many pieces ($(extents "$MNT/file"))" test "$(extents "$MNT/file")" -gt 150
	equal "$name: contents" "$(sum "$MNT/file")" "$old"
	from_disk
	equal "$name: contents from disk" "$(sum "$MNT/file")" "$old"
	equal "$name: what the donor has" "$(tr -d '\0' <"$MNT/donor" | wc -c)" 0
	clean "$name: in pieces"
	rm "$MNT/donor"
	sync
	free=$(stat -f -c %f "$MNT")
	check "$name: e4defrag" defrag "$MNT/file"
	check "$name: few pieces ($(extents "$MNT/file"))" test "$(extents "$MNT/file")" -le 2
	equal "$name: contents of the whole" "$(sum "$MNT/file")" "$old"
	from_disk
	equal "$name: from disk" "$(sum "$MNT/file")" "$old"
	check "$name: space ($free)" test "$(stat -f -c %f "$MNT")" -ge "$free"
	clean "$name: in one piece"
	equal "$name: mounted again" "$(sum "$MNT/file")" "$old"
	umount "$MNT"
	mount -t ext4 -o ro /dev/ram0 "$MNT"
	equal "$name: what C ext4 reads" "$(sum "$MNT/file")" "$old"
	umount "$MNT"
}

type e4defrag >/dev/null || not_ok "e4defrag" "there is none"
one "4k" -b 4096
one "1k" -b 1024
one "no journal" -b 4096 -O ^has_journal
one "small nodes, no checksums" -b 1024 -O ^metadata_csum,^64bit

# Holes are passed over, what is unwritten stays so; a donor that has been written to.
on "kinds" -b 4096
dd if=/dev/urandom of="$WORK/random" bs=64k count=4 status=none
fallocate -l 256k "$MNT/file"
dd if="$WORK/random" of="$MNT/file" bs=4k count=8 seek=8 conv=notrunc status=none
fallocate -p -o 64k -l 32k "$MNT/file"
tr '\0' '\356' </dev/zero | dd of="$MNT/donor" bs=4k count=64 iflag=fullblock status=none
fallocate -p -o 128k -l 32k "$MNT/donor"
old=$(sum "$MNT/file")
sync
map() { xfs_io -r -c fiemap "$1" | awk 'NR > 1 {print $2, $3 == "hole" ? "hole" : ""}'; }
before=$(map "$MNT/file")
# Without 8 blocks that the file does not have, and 8 that the donor does not.
equal "kinds: how many" "$(mext move "$MNT/file" "$MNT/donor" 0 0 64)" "moved: 48 -"
equal "kinds: contents" "$(sum "$MNT/file")" "$old"
from_disk
equal "kinds: contents from disk" "$(sum "$MNT/file")" "$old"
equal "kinds: holes" "$(map "$MNT/file" | grep -c hole)" "$(grep -c hole <<<"$before")"
equal "kinds: what the donor keeps where the file has nothing" \
	"$(tr -d '\0' <"$MNT/donor" | wc -c)" 32768
mext move "$MNT/file" "$MNT/donor" 0 0 64 >/dev/null
equal "kinds: back again" "$(sum "$MNT/file")" "$old"
clean "kinds"
equal "kinds: mounted again" "$(sum "$MNT/file")" "$old"

# What a mapping has been given behind the end of the file does not become contents.
printf 'short' >"$MNT/tail"
donor 4k
equal "tail" "$(mext move "$MNT/tail" "$MNT/donor" 0 0 1)" "moved: 1 -"
truncate -s 4k "$MNT/tail"
from_disk
equal "tail: zeroes" "$(tr -d '\0' <"$MNT/tail")" short
clean "tail"

# A crash when contents have been copied to the donor's blocks, of which the disk may not know yet that the donor
# has nothing in them: it does not show what is the other's.
delays=/sys/kernel/debug/rext4/delay
is_mounted /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
copied() { # copied NAME COMMAND...: the command makes the donor unwritten, or does not
	local name=$1
	shift
	on "copied, $name" -b 4096
	tr '\0' '\141' </dev/zero | dd of="$MNT/file" bs=4k count=64 iflag=fullblock status=none
	tr '\0' '\356' </dev/zero | dd of="$MNT/donor" bs=4k count=64 iflag=fullblock status=none
	sync
	"$@"
	echo 3000 >$delays/copied
	mext move "$MNT/file" "$MNT/donor" 0 0 64 >"$WORK/mext" 2>&1 &
	sleep 1.5
	xfs_io -x -c shutdown "$MNT"
	echo 0 >$delays/copied
	wait $!
	check "copied, $name: cut short" grep -qv 'moved: 64' "$WORK/mext"
	umount "$MNT"
	mount -t "$FSTYPE" /dev/ram0 "$MNT" || not_ok "copied, $name" "does not mount"
	equal "copied, $name: the file" "$(tr -d '\141' <"$MNT/file" | wc -c) $(wc -c <"$MNT/file")" "0 262144"
	equal "copied, $name: the donor" "$(tr -d '\0\356' <"$MNT/donor" | wc -c)" 0
	clean "copied, $name"
}
if [ -e $delays/copied ]; then
	copied "written" true
	copied "zeroed" xfs_io -c 'fzero 0 256k' "$MNT/donor"
	copied "new" fallocate -l 512k "$MNT/donor"
else
	skip "copied" "this kernel has no fault injection"
fi

# The same questions to both drivers.
answers() { # answers TYPE MKFS...
	local type=$1
	shift
	make_fs /dev/ram0 64M -t ext4 "$@"
	mount -t "$type" /dev/ram0 "$MNT" >/dev/null || return 1
	dd if=/dev/zero of="$MNT/file" bs=4k count=20 status=none
	dd if=/dev/zero of="$MNT/file" bs=1 count=1 oflag=append conv=notrunc status=none
	donor 200k
	sync
	mext ask "$MNT/file" "$MNT/donor" "$WORK/other"
	chmod u+s "$MNT/donor"
	mext move "$MNT/file" "$MNT/donor" 0 0 1
	chmod u-s "$MNT/donor"
	: >"$MNT/empty"
	mext move "$MNT/file" "$MNT/empty" 0 0 1
	mext move "$MNT/empty" "$MNT/donor" 0 0 1
	if grep -q . /proc/swaps; then
		dd if=/dev/zero of="$MNT/swap" bs=64k count=16 status=none
		chmod 600 "$MNT/swap"
		mkswap -q "$MNT/swap"
		swapon "$MNT/swap"
		mext move "$MNT/file" "$MNT/swap" 0 0 1
		mext move "$MNT/swap" "$MNT/donor" 0 0 1
		swapoff "$MNT/swap"
	fi
	exec 5<>"$MNT/donor"
	chattr +i "$MNT/donor"
	mext move "$MNT/file" /proc/self/fd/5 0 0 1 2>&1
	chattr -i "$MNT/donor"
	exec 5>&-
	umount "$MNT"
}
is_mounted "$MNT" && umount "$MNT"
for features in default ^extents,^64bit bigalloc inline_data; do
	args=()
	[ "$features" = default ] || args=(-O "$features")
	answers ext4 "${args[@]}" >"$WORK/c" 2>&1
	answers "$FSTYPE" "${args[@]}" >"$WORK/r" 2>&1
	check "$features: $(wc -l <"$WORK/c") answers as those of C ext4" diff "$WORK/c" "$WORK/r"
	[ "$(wc -l <"$WORK/r")" -ge 20 ] || not_ok "$features: answers" "$(cat "$WORK/r")"
done

# Others write meanwhile: to the page cache, to a mapping, directly.
busy() { # busy NAME MKFS...
	local name=$1 pid turns=0
	shift
	on "$name" "$@"
	dd if=/dev/urandom of="$MNT/file" bs=64k count=8 status=none
	mext busy "$MNT/file" 12 >"$WORK/busy" &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		donor 512k
		mext scatter "$MNT/file" "$MNT/donor" >>"$WORK/busy" || break
		rm "$MNT/donor"
		defrag "$MNT/file" >/dev/null 2>&1
		turns=$((turns + 1))
	done
	wait $pid && ok "$name: writers ($turns turns)" || not_ok "$name: writers" "$(head -n 3 "$WORK/busy")"
	equal "$name: nothing to say" "$(cat "$WORK/busy")" ""
	check "$name: turns" test $turns -gt 0
	sum=$(sum "$MNT/file")
	clean "$name"
	equal "$name: mounted again" "$(sum "$MNT/file")" "$sum"
}
busy "busy, 4k" -b 4096
busy "busy, 1k" -b 1024

# The end comes in the middle.
on "crash" -b 4096
dd if=/dev/urandom of="$MNT/file" bs=64k count=40 status=none
old=$(sum "$MNT/file")
for delay in 0.2 0.5 0.9 1.4; do
	donor 2560k
	sync
	mext scatter "$MNT/file" "$MNT/donor" >"$WORK/scatter" &
	sleep $delay
	fsprobe shutdown "$MNT" 2
	wait $! && not_ok "crash after $delay s" "it had been done before"
	umount "$MNT"
	mount -t "$FSTYPE" /dev/ram0 "$MNT"
	equal "crash after $delay s: contents" "$(sum "$MNT/file")" "$old"
	clean "crash after $delay s"
	defrag "$MNT/file" >/dev/null
done

# Who writes to the blocks that the file had must not be seen in it, had it come to nothing.
donor 2560k
sync
check "blocks that were the file's are written to" mext hazard "$MNT/file" "$MNT/donor"
umount "$MNT"
mount -t "$FSTYPE" /dev/ram0 "$MNT"
equal "contents after that" "$(sum "$MNT/file")" "$old"
clean "after that"
finish
