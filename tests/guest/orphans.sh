#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 3
# slice: 1
# timeout: 900
#
# Inodes that a crash must not leave as they are: unlinked while open, or being truncated. Each driver leaves some
# behind (cut off by the shutdown ioctl, or copied while mounted) and each recovers them; entries that make no sense
# are survived; and files of every shape are deleted and truncated, which e2fsck has to find clean.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0
copy=/dev/ram1
other=/dev/ram2

shard=${SHARD:-all}
part() { [ "$shard" = all ] || [ "$shard" = "$1/3" ]; }

# field NAME: of the superblock of $dev.
field() { dumpe2fs -h "$dev" 2>/dev/null | sed -n "s/^$1: *//p"; }
clean() { check "$1, e2fsck" e2fsck -fn "${2:-$dev}"; }
# counts DEVICE: free blocks and inodes as the groups say, which e2fsck has found right.
counts() { dumpe2fs -h "$1" 2>/dev/null | grep -E "^Free (blocks|inodes):" | tr -s ' \n' ' '; }

# copy_device SIZE TO: $dev, as it is now.
copy_device() {
	local size=$1
	[ "$size" != 1G ] || size=1024M
	blkdiscard -f "$2" 2>/dev/null
	dd if=$dev of="$2" bs=1M count="${size%M}" conv=sparse status=none
}

# fill_tree: files of every shape in a new file system on $dev, made by C ext4.
fill_tree() {
	mount -t ext4 $dev "$MNT" || return 1
	for part in names extents xattrs inodes; do
		fill --seed "$SEED" --names 150 --extents 900 --only $part "$MNT" >/dev/null
	done
	mkdir "$MNT/empty"
	truncate -s 1G "$MNT/sparse"
	umount "$MNT"
}

# shapes: NAME SIZE MKFS-ARGUMENTS
shapes() {
	cat <<'LIST'
file     256M -t ext4 -b 4096
list     256M -t ext4 -b 4096 -O ^orphan_file
1k-list  128M -t ext4 -b 1024 -O ^orphan_file,^metadata_csum
ext3     128M -t ext3 -b 1024
ext3-4k  256M -t ext4 -b 4096 -O ^extent,^64bit,^metadata_csum
64k      1G   -t ext4 -b 65536
inline   256M -t ext4 -b 4096 -O inline_data -I 256
bigalloc 512M -t ext4 -b 4096 -O bigalloc -C 65536
ea       256M -t ext4 -b 1024 -O ea_inode
LIST
}

# hold_and_remove PATH...: opens and unlinks them; release lets go.
held=()
hold_and_remove() {
	local path fd dirs=() others=()
	for path in "$@"; do
		if [ -d "$path" ] && [ ! -L "$path" ]; then dirs+=("$path"); else others+=("$path"); fi
		if [ ! -L "$path" ] && { [ -f "$path" ] || [ -d "$path" ]; }; then
			exec {fd}<"$path"
			held+=("$fd")
		fi
	done
	[ ${#others[@]} -eq 0 ] || rm -f "${others[@]}"
	[ ${#dirs[@]} -eq 0 ] || rmdir "${dirs[@]}"
}
release() {
	local fd
	for fd in "${held[@]}"; do
		exec {fd}<&-
	done
	held=()
}

# leave_orphans TYPE: files and directories of $dev are unlinked while they are open, and the file system is cut
# off. The number of orphans is in $left.
leave_orphans() {
	mount -t "$1" $dev "$MNT" || return 1
	hold_and_remove "$MNT/empty" "$MNT/sparse" "$MNT"/extents/* "$MNT"/xattrs/*
	left=${#held[@]}
	sync -f "$MNT"
	fsprobe shutdown "$MNT" 1
	release
	umount "$MNT"
}

# recovered NAME TYPE DEVICE OPTIONS: a mount deals with what was left.
recovered() {
	log_mark
	check "$1, mounted" mount -t "$2" -o "$4" "$3" "$MNT" || return
	logged "$1, announced" "$left orphan inodes deleted"
	[ "$4" = rw ] || logged "$1, said so" "orphan cleanup on readonly fs"
	umount "$MNT"
	has_feature "$3" orphan_present && not_ok "$1" "orphan_present is set"
	clean "$1" "$3"
}

# emptied NAME TYPE DEVICE: all that is left is removed.
emptied() {
	mount -t "$2" "$3" "$MNT" || not_ok "$1" "no mount"
	chattr -R -f -i -a "$MNT" 2>/dev/null
	check "$1" rm -rf "$MNT"/*
	umount "$MNT"
	clean "$1" "$3"
}

# left_and_recovered NAME SIZE LEFT-BY MKFS...
left_and_recovered() {
	local what="$1, left by $3" size=$2 by=$3
	shift 3
	make_fs $dev "$size" "$@" && fill_tree || {
		not_ok "$what" "no file system"
		return
	}
	leave_orphans "$by" || {
		not_ok "$what" "not left"
		return
	}
	for to in $copy $other; do
		copy_device "$size" "$to"
	done
	recovered "$what, by C" ext4 $copy rw
	recovered "$what, rw" "$FSTYPE" $dev rw
	recovered "$what, ro" "$FSTYPE" $other ro
	equal "$what, rw, as C ext4" "$(counts $dev)" "$(counts $copy)"
	equal "$what, ro, as C ext4" "$(counts $other)" "$(counts $copy)"
	emptied "$what, all removed" "$FSTYPE" $dev
	emptied "$what, all removed by C" ext4 $copy
	equal "$what, all removed, as C ext4" "$(counts $dev)" "$(counts $copy)"
}

# --- truncate ---

# same_as NAME FILE EXPECTED: the same contents, also of what is on disk.
same_as() {
	if cmp "$2" "$3" >"$WORK/cmp" 2>&1; then
		# Out of the page cache: a file is not dirty here.
		dd if="$2" iflag=nocache count=0 status=none
		cmp "$2" "$3" >"$WORK/cmp" 2>&1 && return 0
	fi
	not_ok "$1" "$(cat "$WORK/cmp")"
	return 1
}

# truncated NAME SIZE MKFS...: files of C ext4's are made shorter and longer by the driver under test, whether they
# are in the page cache or not, and have to read like ordinary files that go the same way; blocks that hold nothing
# go; nothing of what was cut off comes back.
truncated() {
	local what="$1, truncate" size=$2 n f bad bs
	shift 2
	make_fs $dev "$size" "$@" && mount -t ext4 $dev "$MNT" || {
		not_ok "$what" "no file system"
		return
	}
	mkdir "$WORK/model"
	for n in 0 1 2 3; do
		head -c 300000 /dev/urandom >"$WORK/model/plain.$n"
		head -c 20000 /dev/urandom >"$WORK/model/holes.$n"
		truncate -s 900000 "$WORK/model/holes.$n"
		head -c 9000 /dev/urandom >>"$WORK/model/holes.$n"
		head -c 120 /dev/urandom >"$WORK/model/tiny.$n"
		: >"$WORK/model/empty.$n"
	done
	cp --sparse=always "$WORK"/model/* "$MNT"
	fallocate -n -l 800000 "$MNT/plain.3"
	umount "$MNT"
	check "$what, mounted" mount -t "$FSTYPE" $dev "$MNT" || return
	bs=$(stat -f -c %S "$MNT")
	bad=0
	for f in plain.0 plain.1 holes.0 holes.1 tiny.0 empty.0; do
		# Half of them are in the page cache.
		[ "${f#*.}" = 1 ] || cat "$MNT/$f" >/dev/null
		for n in 299999 $((bs * 3)) $((bs * 2 + 1)) $((bs * 40)) 5000 100 60 61 99 0 1 12345678 $((bs - 1)) $((bs + 1)) 0; do
			# What is in an inode does not get out of it.
			[ "${f%.*}" != tiny ] || [ $n -le 120 ] || ! lsattr "$MNT/$f" | grep -q '^[^ ]*N' || continue
			truncate -s $n "$MNT/$f" || {
				not_ok "$what, $f to $n" "refused"
				bad=1
				break
			}
			truncate -s $n "$WORK/model/$f"
			same_as "$what, $f to $n" "$MNT/$f" "$WORK/model/$f" || {
				bad=1
				break
			}
		done
	done
	[ $bad = 1 ] || ok "$what, contents"
	# O_TRUNC; blocks behind the end; the largest file there can be.
	: >"$MNT/plain.2"
	equal "$what, emptied" "$(stat -c '%s %b' "$MNT/plain.2")" "0 0"
	truncate -s 300000 "$MNT/plain.3"
	n=$(stat -c %b "$MNT/plain.3")
	[ "$n" -lt 700 ] && ok "$what, preallocated blocks" || not_ok "$what, preallocated blocks" "$n sectors"
	check "$what, contents stay" same_as "$what, contents stay" "$MNT/plain.3" "$WORK/model/plain.3"
	fails_with EFBIG "$what, too far" truncate -s $((1 << 60)) "$MNT/holes.2"
	check "$what, far" truncate -s 3G "$MNT/holes.3"
	check "$what, back" truncate -s 909000 "$MNT/holes.3"
	same_as "$what, as before" "$MNT/holes.3" "$WORK/model/holes.3"
	umount "$MNT"
	clean "$what"
	check "$what, C ext4 mounts it" mount -t ext4 $dev "$MNT"
	same_as "$what, to C ext4" "$MNT/holes.3" "$WORK/model/holes.3"
	umount "$MNT"
	rm -r "$WORK/model"
}

# fails_with ERRNO NAME COMMAND...
fails_with() {
	local errno=$1 name=$2 out
	shift 2
	if out=$(strace -o /dev/stdout -e status=failed "$@" 2>&1); then
		not_ok "$name" "no error"
	elif grep -q " $errno " <<<"$out"; then
		ok "$name"
	else
		not_ok "$name" "$(tail -n 3 <<<"$out" | tr '\n' ' ')"
	fi
}

# --- entries that make no sense, and other circumstances ---

# listed_inode: a file system on $dev whose orphan list has the inode $ino, a file of 20000 bytes by its blocks and
# of 9000 by its size.
listed_inode() {
	make_fs $dev 64M "$@" && mount -t ext4 $dev "$MNT" || return 1
	head -c 20000 /dev/urandom >"$MNT/file"
	head -c 9000 "$MNT/file" >"$WORK/file"
	: >"$MNT/another"
	ino=$(stat -c %i "$MNT/file")
	other_ino=$(stat -c %i "$MNT/another")
	umount "$MNT"
	debugfs -w -f - $dev >/dev/null 2>&1 <<-COMMANDS
		sif <$ino> size 9000
		ssv last_orphan $ino
	COMMANDS
}

# The part of $dev that these file systems use.
sum() { head -c 64M $dev | md5sum; }

# size_cut NAME: the orphan's file is as long as its size says, and what it gets when it grows is zeros.
size_cut() {
	logged "$1, announced" "1 truncate cleaned up"
	mount -t ext4 $dev "$MNT"
	check "$1, contents" cmp "$MNT/file" "$WORK/file"
	equal "$1, blocks" "$(stat -c %b "$MNT/file")" 24
	truncate -s 12000 "$MNT/file"
	truncate -s 12000 "$WORK/file"
	check "$1, zeros behind" cmp "$MNT/file" "$WORK/file"
	umount "$MNT"
	clean "$1"
}

circumstances() {
	local options what bad
	for options in "" "-O ^has_journal" "-O ^extent,^64bit"; do
		what="being truncated $options"
		# shellcheck disable=SC2086
		listed_inode -t ext4 -b 4096 $options || not_ok "$what" "no file system"
		log_mark
		check "$what, mounted" mount -t "$FSTYPE" $dev "$MNT"
		umount "$MNT"
		size_cut "$what"
	done

	# A device that cannot be written, and a mount that is not to write.
	listed_inode -t ext4 -b 4096
	blockdev --setro $dev
	before=$(sum)
	log_mark
	check "read-only device, mounted" mount -r -t "$FSTYPE" $dev "$MNT"
	logged "read-only device, skipped" "write access unavailable, skipping orphan cleanup"
	blockdev --setrw $dev
	check "read-only device, remount refused" bash -c "! mount -o remount,rw '$MNT' 2>/dev/null"
	logged "read-only device, why" "Couldn't remount RDWR because of unprocessed orphan inode list"
	umount "$MNT"
	equal "read-only device, untouched" "$(sum)" "$before"
	check "noload, mounted" mount -t "$FSTYPE" -o ro,noload $dev "$MNT"
	umount "$MNT"
	equal "noload, untouched" "$(sum)" "$before"
	log_mark
	check "read-only mount, mounted" mount -r -t "$FSTYPE" $dev "$MNT"
	equal "read-only mount, counted" "$(field "Mount count")" 1
	check "read-only mount, remounted" mount -o remount,rw "$MNT"
	umount "$MNT"
	size_cut "read-only mount"

	# With errors, e2fsck is to see what there is.
	listed_inode -t ext4 -b 4096
	debugfs -w -R "ssv state 3" $dev >/dev/null 2>&1
	mount -r -t "$FSTYPE" $dev "$MNT" && umount "$MNT"
	equal "with errors, read-only" "$(field "First orphan inode")" "$ino"
	log_mark
	check "with errors, mounted" mount -t "$FSTYPE" $dev "$MNT"
	logged "with errors, cleared" "Errors on filesystem, clearing orphan list"
	umount "$MNT"
	equal "with errors, afterwards" "$(field "First orphan inode")" ""

	# Not an inode, one that is not in use, the journal's, one behind the last.
	for bad in 1 5000 8 99999999 4294967295; do
		what="list with $bad"
		listed_inode -t ext4 -b 4096 || not_ok "$what" "no file system"
		debugfs -w -R "ssv last_orphan $bad" $dev >/dev/null 2>&1
		log_mark
		check "$what, mounted" mount -t "$FSTYPE" $dev "$MNT"
		logged "$what, reported" "bad orphan inode $bad"
		check "$what, works" mkdir "$MNT/dir"
		umount "$MNT"
		equal "$what, list" "$(field "First orphan inode")" ""
		e2fsck -fy $dev >/dev/null 2>&1
		clean "$what"
	done
	# In circles: from one inode to itself, and by way of another.
	for bad in "$ino" "$other_ino"; do
		listed_inode -t ext4 -b 4096
		what="list in circles by $bad"
		debugfs -w -f - $dev >/dev/null 2>&1 <<-COMMANDS
			sif <$ino> dtime @$bad
			sif <$other_ino> dtime @$ino
		COMMANDS
		check "$what, mounted" timeout 60 mount -t "$FSTYPE" $dev "$MNT"
		check "$what, works" mkdir "$MNT/dir"
		umount "$MNT"
		e2fsck -fy $dev >/dev/null 2>&1
		clean "$what"
	done
}

# slot_of N: the offset on $dev of slot N of the orphan file, in blocks of 4096 bytes.
slot_of() {
	local file block
	file=$(field "Orphan file inode")
	block=$(debugfs -R "blocks <$file>" $dev 2>/dev/null | tr -s ' ' '\n' | sed -n 1p)
	echo $((block * 4096 + $1 * 4))
}
# put_slot N VALUE
put_slot() {
	local v=$2
	# shellcheck disable=SC2059
	printf "$(printf '\\x%02x' $((v & 255)) $((v >> 8 & 255)) $((v >> 16 & 255)) $((v >> 24 & 255)))" |
		dd of=$dev bs=1 seek="$(slot_of "$1")" conv=notrunc status=none
}

orphan_file() {
	local what i
	# Two inodes without links, among numbers that are none: without a checksum nobody can tell.
	what="orphan file, bad entries"
	make_fs $dev 64M -t ext4 -b 4096 -O ^metadata_csum && mount -t ext4 $dev "$MNT" || not_ok "$what" "no file system"
	for i in 1 2 3; do head -c 30000 /dev/urandom >"$MNT/f$i"; done
	stat -c %i "$MNT"/f? >"$WORK/inos"
	umount "$MNT"
	mapfile -t inos <"$WORK/inos"
	debugfs -w -f - $dev >/dev/null 2>&1 <<-COMMANDS
		unlink f1
		sif <${inos[0]}> links_count 0
		unlink f3
		sif <${inos[2]}> links_count 0
		feature orphan_present
	COMMANDS
	put_slot 0 "${inos[0]}"
	put_slot 1 99999999
	put_slot 7 8
	put_slot 500 6000
	put_slot 1020 "${inos[2]}"
	log_mark
	check "$what, mounted" mount -t "$FSTYPE" $dev "$MNT"
	logged "$what, good ones" "2 orphan inodes deleted"
	for i in 99999999 8 6000; do logged "$what, $i" "bad orphan inode $i"; done
	check "$what, works" bash -c "exec 3>'$MNT/new' && rm '$MNT/new'"
	umount "$MNT"
	check "$what, flag stays" has_feature $dev orphan_present
	e2fsck -fy $dev >/dev/null 2>&1
	clean "$what"

	for i in "0 1" "1022 77" "1023 5"; do
		what="orphan file, slot or tail $i"
		make_fs $dev 64M -t ext4 -b 4096
		# shellcheck disable=SC2086
		put_slot $i
		if mount -t "$FSTYPE" $dev "$MNT" 2>/dev/null; then
			not_ok "$what" "mounted"
			umount "$MNT"
		else
			ok "$what"
		fi
		check "$what, read-only" mount -r -t "$FSTYPE" $dev "$MNT"
		umount "$MNT"
	done

	# More than it has slots for: the list takes the rest, and both are recovered.
	for by in ext4 "$FSTYPE"; do
		what="orphan file too small, left by $by"
		make_fs $dev 64M -t ext4 -b 1024 -N 2000 -E orphan_file_size=1
		i=$(debugfs -R "stat <$(field "Orphan file inode")>" $dev 2>/dev/null | sed -n 's/.* Size: //p' | head -n 1)
		equal "$what, of one block" "$i" 1024
		mount -t ext4 $dev "$MNT" && mkdir "$MNT/d" && for i in {1..400}; do : >"$MNT/d/$i"; done && umount "$MNT"
		mount -t "$by" $dev "$MNT" && hold_and_remove "$MNT"/d/*
		# The list is left in the middle and at its ends.
		for i in 0 300 301 350 399 398 7; do
			fd=${held[i]}
			exec {fd}<&-
			unset "held[i]"
		done
		held=("${held[@]}")
		equal "$what, held" "${#held[@]}" 393
		sync -f "$MNT"
		# As it is at this time, past the caches.
		dd if=$dev of=$copy bs=1M count=64 iflag=direct conv=sparse status=none
		release
		umount "$MNT"
		clean "$what, released"
		left=393
		dumpe2fs -h $copy 2>/dev/null | grep -q "First orphan inode" && ok "$what, list in use" || not_ok "$what, list in use" "no"
		copy_device_from $copy $other
		recovered "$what, by C" ext4 $copy rw
		recovered "$what, by $FSTYPE" "$FSTYPE" $other rw
		equal "$what, as C ext4" "$(counts $other)" "$(counts $copy)"
	done
}

# interrupted NAME MKFS...: files of thousands of pieces are deleted and truncated; cut off when so many of their
# blocks are free, with what has been done so far on the disk, the next mount has to go on.
interrupted() {
	local name=$1 way part victim left_over=0
	shift
	make_fs $other 96M "$@" && mount -t ext4 $other "$MNT" || {
		not_ok "$name" "no file system"
		return
	}
	fill --seed "$SEED" --only extents --extents 6000 "$MNT" >/dev/null
	head -c 5000 "$MNT/extents/deep" >"$WORK/head"
	umount "$MNT"
	for part in none 1 100 1000 3000 5000; do
		for way in "rm" "truncate -s 5000"; do
			what="$name, $way, cut off at $part"
			copy_device_from $other $dev 96
			mount -t "$FSTYPE" $dev "$MNT" || not_ok "$what" "no mount"
			victim=$MNT/extents/deep
			if [ "$part" = none ]; then
				# shellcheck disable=SC2086
				check "$name, $way" $way "$victim"
			else
				# shellcheck disable=SC2086
				fsprobe cut "$MNT" "$part" 1 | { read -r _ && $way "$victim" 2>/dev/null; cat; }
			fi
			umount "$MNT"
			[ "$part" = none ] || {
				log_mark
				check "$what, mounted" mount -t "$FSTYPE" $dev "$MNT"
				in_log "1 orphan inode deleted|1 truncate cleaned up" && left_over=$((left_over + 1))
				[ ! -e "$victim" ] || {
					equal "$what, size" "$(stat -c %s "$victim")" 5000
					head -c 5000 "$victim" >"$WORK/now"
					check "$what, head" cmp "$WORK/now" "$WORK/head"
				}
				umount "$MNT"
			}
			clean "$what"
		done
	done
	echo "# $name: $left_over times something was left to do"
	check "$name, something was left to do" [ $left_over -ge 3 ]
}

# suite: the KUnit suite, on file systems with and without an orphan file, and with one that is too small.
suite() {
	local kunit=/sys/kernel/debug/kunit/rext4_orphans what options wrong
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
	[ -d $kunit ] || return
	for options in "-b 4096" "-b 1024 -E orphan_file_size=1" "-b 1024 -O ^orphan_file" "-b 1024 -O ^orphan_file,^metadata_csum"; do
		what="suite $options"
		# shellcheck disable=SC2086
		make_fs $dev 64M -t ext4 -N 1200 -L "rext4 KUnit" $options && mount -t ext4 $dev "$MNT" || not_ok "$what" "no file system"
		for i in {1..400}; do : >"$MNT/$i"; done
		umount "$MNT"
		mount -t "$FSTYPE" $dev "$MNT" || not_ok "$what" "no mount"
		log_mark
		echo 1 >$kunit/run
		wrong=$(grep -cE '^ *not ok ' $kunit/results)
		equal "$what" "$wrong" 0
		logged "$what, has run" "rext4_orphans: has run"
		case $options in *orphan_file*) logged "$what, list" ", [1-9][0-9]* of them on the list" ;; esac
		umount "$MNT"
		clean "$what"
	done
}

# copy_device_from A B [MiB]
copy_device_from() {
	blkdiscard -f "$2" 2>/dev/null
	dd if="$1" of="$2" bs=1M count="${3:-64}" conv=sparse status=none
}

number=0
while read -r name size mkfs; do
	number=$((number + 1))
	for by in ext4 "$FSTYPE"; do
		# Each driver cleans up after the other; the rest of the shapes need not be left by both.
		[ "$by" = ext4 ] || [ $number -le 4 ] || continue
		part $((number % 3)) || continue
		# shellcheck disable=SC2086
		left_and_recovered "$name" "$size" $by $mkfs
	done
	# shellcheck disable=SC2086
	if part $((number % 3)); then truncated "$name" "$size" $mkfs; fi
done < <(shapes)
if part 0; then circumstances; fi
if part 1; then orphan_file; fi
if part 2; then
	suite
	interrupted "interrupted" -t ext4 -b 1024 -g 2048
	interrupted "interrupted, ext3" -t ext3 -b 1024 -g 2048
fi

finish
