#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 2
# slice: 1
# timeout: 600
#
# Files whose contents are in the inode (inline_data): written by either driver and read by the other; each way in
# which they come to have blocks; attributes beside them; what is there after a crash; two who write at once.
#
#     SEED=N, MATRIX=REGEX    another seed; only formats and parts that match

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
ours=/dev/ram0 theirs=/dev/ram1
shard=${SHARD:-0/1}
number=0
turn() {
	number=$((number + 1))
	[[ $1 =~ ${MATRIX:-.} ]] && [ $((number % ${shard#*/})) -eq "${shard%/*}" ]
}

on() { # DRIVER DEVICE
	mount -w -t "$1" "$2" "$MNT" || not_ok "mount $1" "$(dmesg | tail -n 1)"
}
clean() { # NAME DEVICE
	local out
	if out=$(e2fsck -fn "$2" 2>&1); then
		ok "$1, e2fsck"
	else
		not_ok "$1, e2fsck" "complains"
		sed 's/^/#   /' <<<"$out" | head -n 12
	fi
}
sums() { (cd "$MNT" && md5sum f* && stat -c '%s %n' f*); }
is_inline() { [[ $(lsattr "$1" | cut -d ' ' -f 1) == *N* ]]; }
inline_files() { lsattr "$MNT" | awk '$1 ~ /N/' | wc -l; }
fresh() { # SIZE MKFS...
	make_fs $ours "$@" && on "$FSTYPE" $ours
}
# bytes FILE LEN [CHARACTER]
bytes() { head -c "$2" /dev/zero | tr '\0' "${3:-x}" >"$1"; }

# --- the same changes, by both drivers ---

# changes SEED MOST BLOCK: a folder of commands for xfs_io, for each file. MOST is a little more than fits the inode.
changes() {
	rm -rf "$WORK/changes"
	mkdir "$WORK/changes"
	awk -v seed="$1" -v most="$2" -v block="$3" -v folder="$WORK/changes" 'BEGIN {
		srand(seed)
		for (file = 0; file < 12; file++) {
			out = folder "/f" file
			size = 0
			for (i = 0; i < 20; i++) {
				# Some files never come out of the inode, others go up to three blocks.
				far = file % 4 == 3 && rand() < 0.2 ? 3 * block : most
				if (file % 4 == 0) far = int(most * 0.6)
				offset = int(rand() * far)
				len = 1 + int(rand() * (far - offset))
				fill = 1 + int(rand() * 254)
				what = i == 0 && file % 4 != 1 ? 0 : rand()
				if (what < 0.50) command = sprintf("pwrite -S %d %d %d", fill, offset, len)
				else if (what < 0.63) {
					offset = size
					if (file % 4 == 0 && offset + len > far) len = far > offset ? far - offset : 1
					command = sprintf("pwrite -S %d %d %d", fill, offset, len)
				}
				else if (what < 0.85) { command = sprintf("truncate %d", offset); size = offset; len = 0 }
				else if (what < 0.91 && file % 4 == 2 && size > 0) {
					offset = int(rand() * (size < 1024 ? size : 1024))
					len = 1 + int(rand() * (size - offset < 200 ? size - offset - 1 : 200))
					command = sprintf("mmap -rw 0 4096\nmwrite -S %d %d %d\nmunmap", fill, offset, len)
				}
				else if (what < 0.96) { command = "fsync"; len = 0 }
				else { command = "fdatasync"; len = 0 }
				if (offset + len > size && len > 0) size = offset + len
				print command >out
			}
			close(out)
		}
	}'
}
play() {
	local file
	for file in "$WORK"/changes/*; do
		xfs_io -f "$MNT/${file##*/}" <"$file" >/dev/null 2>"$WORK/err" && [ ! -s "$WORK/err" ] ||
			not_ok "$file" "$(head -n 1 "$WORK/err")"
	done
}
either() { # NAME MOST BLOCK MKFS...
	local name=$1 most=$2 block=$3 n
	shift 3
	changes $((SEED * 100)) "$most" "$block"
	# What is to be there: C ext4's inline files are not always on disk as they were in memory.
	make_fs $ours 32M -t ext4
	on ext4 $ours
	play
	sums >"$WORK/expected"
	umount "$MNT"
	for device in $ours $theirs; do make_fs "$device" 32M "$@"; done
	on "$FSTYPE" $ours
	play
	check "$name, as it should be" diff "$WORK/expected" <(sums)
	n=$(inline_files)
	[ "$n" -ge 3 ] && [ "$n" -lt 12 ] || not_ok "$name, some files are inline" "$n of 12"
	echo 3 >/proc/sys/vm/drop_caches
	check "$name, as it was written" diff "$WORK/expected" <(sums)
	umount "$MNT"
	clean "$name, written" $ours
	on ext4 $ours
	check "$name, read by C ext4" diff "$WORK/expected" <(sums)
	umount "$MNT"
	on ext4 $theirs
	play
	umount "$MNT"
	on ext4 $theirs
	sums >"$WORK/written"
	umount "$MNT"
	on "$FSTYPE" $theirs
	check "$name, read of C ext4's" diff "$WORK/written" <(sums)
	changes $((SEED * 100 + 1)) "$most" "$block"
	play
	sums >"$WORK/written"
	umount "$MNT"
	clean "$name, changes of C ext4's" $theirs
	on ext4 $theirs
	check "$name, changes read by C ext4" diff "$WORK/written" <(sums)
	umount "$MNT"
}
while read -r name most block mkfs; do
	# shellcheck disable=SC2086
	turn "$name" && either "$name" "$most" "$block" $mkfs </dev/null
done <<'LIST'
4k 160 4096 -t ext4 -b 4096 -I 256 -O inline_data
1k 160 1024 -t ext4 -b 1024 -I 256 -O inline_data
1k-inodes 1100 1024 -t ext4 -b 1024 -I 1024 -O inline_data,ea_inode
block-maps 160 1024 -t ext4 -b 1024 -I 256 -O inline_data,^extent,^64bit
bigalloc 160 1024 -t ext4 -b 1024 -I 256 -O inline_data,bigalloc -C 8192
nojournal 400 4096 -t ext4 -b 4096 -I 512 -O inline_data,^has_journal
LIST

# --- how much fits, and what is shown ---

fits() { # DRIVER: for each length, whether it is inline, its blocks and its extents
	local len
	for len in 0 1 60 61 127 128 129 4096; do
		bytes "$MNT/f$len" $len
		sync "$MNT/f$len"
		echo "$len $(stat -c '%s %b' "$MNT/f$len") $(lsattr "$MNT/f$len" | cut -d ' ' -f 1)" \
			"$(filefrag -v "$MNT/f$len" | awk '/inline/ {print "inline", $4, $6}')" \
			"$(xfs_io -r -c 'seek -a -r 0' "$MNT/f$len" | tr '\n' ' ')"
	done
}
if turn fits; then
	for driver in "$FSTYPE" ext4; do
		make_fs $ours 32M -t ext4 -b 4096 -I 256 -O inline_data
		on "$driver" $ours
		fits >"$WORK/fits.$driver"
		umount "$MNT"
	done
	check "what fits is shown as C ext4 does" diff "$WORK/fits.ext4" "$WORK/fits.$FSTYPE"
fi

# --- ways out of the inode ---

if turn out; then
	fresh 32M -t ext4 -b 4096 -I 256 -O inline_data
	grown() { # NAME EXPECTED COMMAND...: what comes of a file of 100 bytes
		local name=$1 expected=$2 file=$MNT/f$1
		shift 2
		bytes "$file" 100
		is_inline "$file" || not_ok "$name" "is not inline at first"
		cat "$file" >/dev/null
		"$@" "$file" >/dev/null 2>&1 || not_ok "$name" "$* fails"
		is_inline "$file" && not_ok "$name" "is inline still"
		equal "out by $name" "$(od -An -v -t x1 "$file" | tr -d ' \n' | md5sum)" \
			"$(perl -e "print unpack('H*', $expected)" | md5sum)"
	}
	append() { bytes "$WORK/more" 200 y; cat "$WORK/more" >>"$1"; }
	grown write "'x' x 50 . 'z' x 200" xfs_io -c "pwrite -S 0x7a 50 200"
	grown append "'x' x 100 . 'y' x 200" append
	grown far "'x' x 100 . \"\\0\" x 8900 . 'z' x 10" xfs_io -c "pwrite -S 0x7a 9000 10"
	grown store "'x' x 20 . 'z' x 30 . 'x' x 50" xfs_io -c "mmap -rw 0 100" -c "mwrite -S 0x7a 20 30" -c munmap
	grown truncate "'x' x 100 . \"\\0\" x 4900" truncate -s 5000
	grown direct "'z' x 4096" xfs_io -d -c "pwrite -S 0x7a 0 4096"
	bytes "$WORK/value" 40 v
	bytes "$MNT/few" 40
	setfattr -n user.a -v "$(cat "$WORK/value")" "$MNT/few"
	check "a short file stays inline beside an attribute" is_inline "$MNT/few"
	xfs_io -c "pwrite -S 0x7a 40 40" "$MNT/few" >/dev/null
	equal "one with no room beside it leaves" "$(is_inline "$MNT/few" && echo inline; md5sum <"$MNT/few")" \
		"$(perl -e 'print "x" x 40, "z" x 40' | md5sum)"
	equal "and the attribute stays" "$(getfattr --only-values -n user.a "$MNT/few" 2>/dev/null)" "$(cat "$WORK/value")"
	bytes "$MNT/full" 128
	setfattr -n user.a -v "$(cat "$WORK/value")" "$MNT/full"
	equal "an attribute does not push contents out" \
		"$(is_inline "$MNT/full" && getfattr --only-values -n user.a "$MNT/full" 2>/dev/null; md5sum <"$MNT/full")" \
		"$(cat "$WORK/value"; perl -e 'print "x" x 128' | md5sum)"
	head -c 4000 /dev/zero | tr '\0' w >"$WORK/large"
	check "one that is too large is refused" bash -c '! setfattr -n user.b -v "$(cat "$WORK/large")" "$MNT/full" 2>"$WORK/err" &&
		grep -q "No space left" "$WORK/err"'
	equal "and nothing is damaged" "$(md5sum <"$MNT/full")" "$(perl -e 'print "x" x 128' | md5sum)"
	sums >"$WORK/written"
	umount "$MNT"
	clean "ways out" $ours
	on ext4 $ours
	check "ways out, read by C ext4" diff "$WORK/written" <(sums)
	umount "$MNT"
fi

# --- no space ---

if turn full; then
	fresh 6M -t ext4 -b 1024 -I 256 -O inline_data
	bytes "$MNT/small" 100
	dd if=/dev/zero of="$MNT/fill" bs=64k status=none 2>/dev/null
	sync
	dd if=/dev/zero of="$MNT/fill2" bs=1k status=none 2>/dev/null
	sync
	for how in "pwrite -S 0x7a 50 200" "truncate 5000"; do
		check "full: $how" bash -c '! xfs_io -c "$1" "$MNT/small" >"$WORK/out" 2>&1 && ! grep -q wrote "$WORK/out"' - "$how"
	done
	equal "full: the contents stay" "$(stat -c %s "$MNT/small") $(is_inline "$MNT/small" && echo inline) $(md5sum <"$MNT/small")" \
		"100 inline $(perl -e 'print "x" x 100' | md5sum)"
	rm "$MNT/fill"
	xfs_io -c "pwrite -S 0x7a 50 200" "$MNT/small" >/dev/null
	equal "full no more" "$(md5sum <"$MNT/small")" "$(perl -e 'print "x" x 50, "z" x 200' | md5sum)"
	umount "$MNT"
	clean "full" $ours
fi

# --- after a crash ---

if turn crash; then
	fresh 32M -t ext4 -b 4096 -I 256 -O inline_data
	bytes "$MNT/fsynced" 100
	bytes "$MNT/grown" 100
	bytes "$MNT/moving" 100
	sync
	xfs_io -c "pwrite -S 0x7a 90 20" -c fsync "$MNT/fsynced" >/dev/null
	xfs_io -c "pwrite -S 0x79 0 10" -c fdatasync "$MNT/fsynced" >/dev/null
	xfs_io -c "pwrite -S 0x7a 90 4000" -c fsync "$MNT/grown" >/dev/null
	xfs_io -c "pwrite -S 0x7a 100 4000" "$MNT/moving" >/dev/null
	xfs_io -s -f -c "pwrite -S 0x7a 0 30" "$MNT/osync" >/dev/null
	fsprobe shutdown "$MNT" 2 >/dev/null
	umount "$MNT"
	on "$FSTYPE" $ours
	equal "fsync" "$(md5sum <"$MNT/fsynced")" "$(perl -e 'print "y" x 10, "x" x 80, "z" x 20' | md5sum)"
	equal "fsync, out of the inode" "$(md5sum <"$MNT/grown")" "$(perl -e 'print "x" x 90, "z" x 4000' | md5sum)"
	equal "what it had stays" "$(head -c 100 "$MNT/moving" | md5sum)" "$(perl -e 'print "x" x 100' | md5sum)"
	equal "O_SYNC" "$(md5sum <"$MNT/osync")" "$(perl -e 'print "z" x 30' | md5sum)"
	umount "$MNT"
	clean "crash" $ours
fi

# --- the plug is pulled ---

# Files that get longer by 23 bytes at a time, in the inode and out of it; what is in them follows from file and place.
# write DIR: a mark in the log after each fsync, with a line in the file of marks: file and length.
# check DIR MARK: each file has at least what had been made durable by then, and nothing else.
cat >"$WORK/appends.pl" <<'PERL'
use strict; use IO::Handle;
my ($what, $dir, $marks, $last) = @ARGV;
sub text { my ($file, $from, $to) = @_; join "", map { chr(33 + ($_ * 7 + $file * 13 + int($_ / 50)) % 90) } $from .. $to - 1 }
my @files = 0 .. 9;
if ($what eq "write") {
	my $mark = 0;
	open my $said, ">", $marks or die;
	for my $turn (0 .. 11) {
		for my $file (@files) {
			open my $out, ">>", "$dir/p$file" or die;
			syswrite($out, text($file, $turn * 23, $turn * 23 + 23)) == 23 or die;
			next if ($turn + $file) % 4;
			$out->sync or die;
			print $said "$file ", $turn * 23 + 23, "\n";
			system("dmsetup", "message", "recorded", "0", "mark", ++$mark) == 0 or die;
		}
	}
} else {
	my @least = (0) x @files;
	open my $said, "<", $marks or die;
	while (<$said>) { last if $. > $last; my ($file, $size) = split; $least[$file] = $size }
	for my $file (@files) {
		my $found = "";
		if (open my $in, "<", "$dir/p$file") { local $/; $found = <$in> // "" }
		my $size = length $found;
		die "p$file has $size bytes of $least[$file]\n" if $size < $least[$file];
		die "p$file is wrong\n" if $found ne text($file, 0, $size);
	}
}
PERL
plug() { # NAME MKFS...
	local name=$1 stride n=0 done=0 index mark inline=0 judged=0
	shift
	for device in 0 1 2; do blkdiscard -f /dev/ram$device 2>/dev/null; done
	make_fs /dev/ram0 16M "$@"
	dd if=/dev/ram0 of=/dev/ram1 bs=1M count=16 status=none
	dmsetup create recorded --table "0 32768 log-writes /dev/ram0 /dev/ram2" && dmsetup mknodes
	on "$FSTYPE" /dev/mapper/recorded
	perl "$WORK/appends.pl" write "$MNT" "$WORK/marks" || not_ok "$name" "the workload does not come to its end"
	umount "$MNT"
	dmsetup remove --retry recorded
	replay-log points /dev/ram2 >"$WORK/points"
	stride=$(($(wc -l <"$WORK/points") / 8))
	[ "$stride" -gt 0 ] || { not_ok "$name" "too few points"; return; }
	while read -r index mark; do
		n=$((n + 1))
		[ $((n % stride)) -eq 0 ] || continue
		replay-log apply /dev/ram2 /dev/ram1 "$done" "$index" || break
		done=$index
		dd if=/dev/ram1 of=/dev/ram3 bs=1M count=16 status=none
		[ $((n / stride % 2)) -eq 0 ] || replay-log some /dev/ram2 /dev/ram3 "$index" "$SEED"
		mount -t "$FSTYPE" /dev/ram3 "$MNT" || { not_ok "$name, entry $index" "does not mount"; continue; }
		judged=$((judged + 1))
		inline=$((inline + $(lsattr "$MNT" | awk '$1 ~ /N/ && /p[0-9]$/' | wc -l)))
		perl "$WORK/appends.pl" check "$MNT" "$WORK/marks" "$mark" 2>"$WORK/err" ||
			not_ok "$name, entry $index, mark $mark" "$(cat "$WORK/err")"
		umount "$MNT"
		e2fsck -fn /dev/ram3 >"$WORK/fsck" 2>&1 ||
			not_ok "$name, entry $index, e2fsck" "$(grep -v '^Pass' "$WORK/fsck" | head -n 2 | tr '\n' ' ')"
	done <"$WORK/points"
	check "$name, $judged points, $inline inline files" test "$judged" -ge 6 -a "$inline" -ge 10
}
modprobe dm-log-writes || exit 1
turn plug && plug "plug" -t ext4 -b 4096 -I 256 -O inline_data
turn plug && plug "plug, block maps" -t ext4 -b 1024 -I 256 -O inline_data,^extent,^64bit

# --- stores and writes at the same time ---

if turn stores; then
	fresh 32M -t ext4 -b 1024 -I 256 -O inline_data
	for i in {1..16}; do
		{
			for fill in {1..30}; do echo "pwrite -S $fill 0 10"; done
			for len in {100..120}; do echo "pwrite -S 9 90 $((len - 90))"; done
		} >"$WORK/writes"
		bytes "$MNT/r$i" 100
		cat "$MNT/r$i" >/dev/null
		xfs_io "$MNT/r$i" <"$WORK/writes" >/dev/null &
		xfs_io -c "mmap -rw 0 100" -c "mwrite -S 0x7a 20 30" -c munmap "$MNT/r$i" >/dev/null
		wait
	done
	racing() {
		local i bad=0 expected
		expected=$(perl -e 'print chr(30) x 10, "x" x 10, "z" x 30, "x" x 40, chr(9) x 30' | md5sum)
		for i in {1..16}; do
			[ "$(md5sum <"$MNT/r$i")" = "$expected" ] || bad=$((bad + 1))
		done
		echo "$bad wrong"
	}
	equal "stores and writes, in memory" "$(racing)" "0 wrong"
	echo 3 >/proc/sys/vm/drop_caches
	equal "stores and writes, on disk" "$(racing)" "0 wrong"
	umount "$MNT"
	clean "stores and writes" $ours
fi

finish
