#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 1500
# shards: 4
# slice: 1
#
# Extended attributes and ACLs that are written: the same changes by this driver and by C ext4 come to the
# same results, call by call, and to the same attributes, which each driver reads of what the other has written;
# e2fsck has nothing to say. Attribute blocks that are shared, and values in inodes of their own.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
SHARD=${SHARD:-0/1}
ours=/dev/ram0
theirs=/dev/ram1

# turn: whether the next part is this shard's.
turns=0
turn() {
	turns=$((turns + 1))
	[ $((turns % ${SHARD#*/})) -eq "${SHARD%/*}" ]
}

clean() { check "$1, e2fsck" e2fsck -fn "$2"; }

# on TYPE DEVICE [OPTIONS]: mounts it.
on() { mount -t "$1" ${3:+-o "$3"} "$2" "$MNT"; }

# field DEVICE PATH NAME: a field of debugfs' stat.
field() { debugfs -R "stat $2" "$1" 2>/dev/null | grep -o "$3: *[0-9]*" | head -n 1 | grep -o '[0-9]*$'; }

# owners DEVICE PATH: how many inodes share the file's attribute block.
owners() {
	local block size
	block=$(field "$1" "$2" "File ACL")
	size=$(dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Block size: *//p')
	dd if="$1" bs=1 skip=$((block * size + 4)) count=4 status=none | od -An -tu4 | tr -d ' '
}

# kinds DIR: one entry of each kind of file, some of which attributes are for.
kinds() {
	local n
	for n in 1 2 3 4 5; do : >"$1/file$n"; done
	for n in 1 2 3; do mkdir "$1/dir$n"; done
	ln -s short "$1/link"
	ln -s "$(printf 'long%.0s' {1..30})" "$1/longlink"
	mkfifo "$1/fifo"
	mknod "$1/node" b 7 300
}

# --- the same by both drivers ---

# same NAME OPERATIONS MAX MKFS...: random changes on two equal file systems.
same() {
	local name=$1 count=$2 max=$3 type dev
	shift 3
	for type in ext4 "$FSTYPE"; do
		dev=$theirs
		[ "$type" = ext4 ] || dev=$ours
		make_fs $dev 96M -t ext4 -E hash_seed=6b2c6a0e-7d1d-4f2f-9d56-0b7a1f5e9a11 -U 6b2c6a0e-7d1d-4f2f-9d56-0b7a1f5e9a12 "$@" || {
			not_ok "$name, mkfs" "failed"
			return
		}
		on "$type" $dev || {
			not_ok "$name, mount by $type" "failed"
			return
		}
		mkdir "$MNT/d"
		kinds "$MNT/d"
		(cd "$MNT" && attrs change d "$SEED" "$count" "$max" >"$WORK/calls.$type" && attrs show d >"$WORK/shown.$type" &&
			find d -printf '%p %b\n' | sort >"$WORK/space.$type")
		umount "$MNT"
		clean "$name, written by $type" $dev
	done
	if cmp -s "$WORK/calls.ext4" "$WORK/calls.$FSTYPE"; then
		ok "$name, calls"
	else
		not_ok "$name, calls" "$(diff "$WORK/calls.ext4" "$WORK/calls.$FSTYPE" | head -n 4 | tr '\n' ' ')"
	fi
	check "$name, attributes" diff "$WORK/shown.ext4" "$WORK/shown.$FSTYPE"
	check "$name, space" diff "$WORK/space.ext4" "$WORK/space.$FSTYPE"
	on ext4 $ours
	check "$name, read by C ext4" diff "$WORK/shown.$FSTYPE" <(cd "$MNT" && attrs show d)
	check "$name, changed by C ext4" eval "(cd $MNT && attrs change d 77 $((count / 4)) $max && attrs show d) >$WORK/calls"
	umount "$MNT"
	clean "$name, changed by C ext4" $ours
	on "$FSTYPE" $theirs
	check "$name, read of C ext4's" diff "$WORK/shown.ext4" <(cd "$MNT" && attrs show d)
	check "$name, changed of C ext4's" eval "(cd $MNT && attrs change d 77 $((count / 4)) $max && attrs show d) >$WORK/calls2"
	check "$name, the same again" diff "$WORK/calls" "$WORK/calls2"
	umount "$MNT"
	clean "$name, changed of C ext4's" $theirs
	[ -z "${NORM:-}" ] || return
	# All of it goes, and with it all blocks and inodes.
	on "$FSTYPE" $ours
	rm -rf "$MNT/d"
	umount "$MNT"
	on "$FSTYPE" $theirs
	rm -rf "$MNT/d"
	umount "$MNT"
	clean "$name, removed" $ours
	clean "$name, removed of C ext4's" $theirs
	equal "$name, all space is free again" "$(dumpe2fs -h $ours 2>/dev/null | grep -E '^Free (blocks|inodes)')" \
		"$(make_fs /dev/ram2 96M -t ext4 "$@" && dumpe2fs -h /dev/ram2 2>/dev/null | grep -E '^Free (blocks|inodes)')"
}

turn && same "4k" 3000 4100 -b 4096
turn && same "1k" 3000 1100 -b 1024
turn && same "inodes of 128 bytes" 3000 4100 -b 4096 -I 128
turn && same "inodes of 1024 bytes" 3000 4100 -b 4096 -I 1024
turn && same "64k blocks" 2000 65536 -b 65536
turn && same "ea_inode, 4k" 2000 65536 -b 4096 -O ea_inode
turn && same "ea_inode, 1k" 2000 65536 -b 1024 -I 128 -O ea_inode
turn && same "ea_inode, inodes of 1024 bytes" 2000 20000 -b 2048 -I 1024 -O ea_inode
turn && same "no checksums" 2000 4100 -b 4096 -O ^metadata_csum
turn && same "no journal" 2000 4100 -b 4096 -O ^has_journal
turn && same "no journal, ea_inode" 1000 65536 -b 4096 -O ^has_journal,ea_inode
turn && same "ext3" 2000 1100 -b 1024 -I 128 -O ^extent,^64bit,^metadata_csum,^flex_bg,^orphan_file
turn && same "bigalloc" 2000 4100 -b 4096 -C 16384 -O bigalloc
turn && same "bigalloc, ea_inode" 1000 40000 -b 1024 -C 8192 -O bigalloc,ea_inode
turn && same "inline data" 2000 4100 -b 4096 -I 512 -O inline_data
turn && same "no ext_attr" 500 1100 -b 1024 -O ^ext_attr

# --- blocks that are shared ---

sharing() {
	local first second
	make_fs $ours 64M -t ext4 -b 4096 -I 128 -N 4096
	on "$FSTYPE" $ours
	touch "$MNT"/a "$MNT"/b "$MNT"/c
	setfattr -n user.same -v "$(printf 'x%.0s' {1..500})" "$MNT"/a "$MNT"/b "$MNT"/c
	sync -f "$MNT"
	first=$(stat -c %b "$MNT/a")
	equal "shared, everyone is charged" "$first" 8
	umount "$MNT"
	equal "shared by three" "$(owners $ours /a)" 3
	equal "shared, one block" "$(field $ours /a 'File ACL')" "$(field $ours /c 'File ACL')"
	clean "shared" $ours
	on "$FSTYPE" $ours
	# Another change copies; the same change finds the copy.
	setfattr -n user.same -v other "$MNT/b"
	setfattr -n user.same -v other "$MNT/c"
	umount "$MNT"
	equal "changed, the others'" "$(owners $ours /a)" 1
	equal "changed, shared again" "$(owners $ours /b)" 2
	clean "changed" $ours
	# After a mount the cache is empty: what is read is found.
	on "$FSTYPE" $ours
	getfattr -d "$MNT/a" >/dev/null
	setfattr -n user.same -v "$(printf 'x%.0s' {1..500})" "$MNT/b"
	setfattr -x user.same "$MNT/c"
	umount "$MNT"
	equal "found after a mount" "$(owners $ours /a)" 2
	equal "removed with its block" "$(field $ours /c 'File ACL')" 0
	clean "found after a mount" $ours
	on "$FSTYPE" $ours nombcache
	touch "$MNT/d"
	setfattr -n user.same -v "$(printf 'x%.0s' {1..500})" "$MNT/d"
	umount "$MNT"
	equal "nombcache" "$(owners $ours /d)" 1
	clean "nombcache" $ours

	on "$FSTYPE" $ours
	mkdir "$MNT/many"
	touch "$MNT/many/"{1..1030}
	setfattr -n user.many -v "$(printf 'y%.0s' {1..300})" "$MNT/many/"{1..1030}
	umount "$MNT"
	first=$(owners $ours /many/1)
	second=$(owners $ours /many/1030)
	equal "no more than 1024 share" "$first $second" "1024 6"
	clean "no more than 1024 share" $ours
	on "$FSTYPE" $ours
	getfattr -d "$MNT/many/1" >/dev/null
	rm "$MNT/many/1000"
	setfattr -n user.many -v "$(printf 'y%.0s' {1..300})" "$MNT/d"
	setfattr -x user.same "$MNT/d"
	umount "$MNT"
	equal "one less has room for one more" "$(owners $ours /d)" 1024
	clean "one less has room for one more" $ours
	on ext4 $ours
	rm -rf "$MNT/many" "$MNT/d"
	umount "$MNT"
	clean "removed by C ext4" $ours
}
turn && sharing

# --- values in inodes of their own ---

# used DEVICE: inodes in use.
used() { dumpe2fs -h "$1" 2>/dev/null | awk -F: '/^Inode count/ {all = $2} /^Free inodes/ {free = $2} END {print all - free}'; }

values() { # NAME MKFS...
	local name=$1 size before after n
	shift
	make_fs $ours 64M -t ext4 -O ea_inode "$@"
	on "$FSTYPE" $ours
	before=$(used $ours)
	mkdir "$MNT/d"
	for size in 1 100 1000 4000 4096 4097 8192 10000 32768 65535 65536; do
		touch "$MNT/d/$size"
		n=$(attrs one "$MNT/d/$size" user.value $size $size 0)
		[ "$n" = 0 ] || not_ok "$name, $size bytes" "$n"
	done
	attrs show "$MNT/d" >"$WORK/before"
	umount "$MNT"
	clean "$name, made" $ours
	on ext4 $ours
	check "$name, read by C ext4" diff "$WORK/before" <(attrs show "$MNT/d")
	umount "$MNT"
	on "$FSTYPE" $ours
	check "$name, read after a mount" diff "$WORK/before" <(attrs show "$MNT/d")
	# The same value once more is the same inode; then one of the two goes.
	touch "$MNT/d/again"
	getfattr -d "$MNT/d/65536" >/dev/null
	attrs one "$MNT/d/65536" user.other 50000 7 0 >/dev/null
	umount "$MNT"
	before=$(used $ours)
	on "$FSTYPE" $ours
	attrs one "$MNT/d/65536" user.other 60000 7 0 >/dev/null
	attrs one "$MNT/d/again" user.other 60000 7 0 >/dev/null
	umount "$MNT"
	equal "$name, equal values are one inode" "$(used $ours)" "$before"
	clean "$name, equal values" $ours
	on "$FSTYPE" $ours
	attrs one "$MNT/d/65536" user.other none 0 0 >/dev/null
	umount "$MNT"
	equal "$name, one reference less" "$(used $ours)" "$before"
	clean "$name, one reference less" $ours
	on "$FSTYPE" $ours
	for size in 1000 65536 again; do
		attrs one "$MNT/d/$size" user.value 20000 "$size" 0 >/dev/null
		attrs one "$MNT/d/$size" user.value 3 3 2 >/dev/null
	done
	attrs one "$MNT/d/again" user.other none 0 0 >/dev/null
	umount "$MNT"
	after=$(used $ours)
	clean "$name, replaced and removed" $ours
	[ "$after" -lt "$before" ] || not_ok "$name, inodes are freed" "$after in use, $before before"
	on "$FSTYPE" $ours
	rm -r "$MNT/d"
	umount "$MNT"
	clean "$name, gone" $ours
	equal "$name, gone" "$(used $ours)" 11
}
turn && values "values, 4k" -b 4096 -O ^orphan_file
turn && values "values, 1k" -b 1024 -I 128 -O ^orphan_file
turn && values "values, no journal" -b 4096 -O ^has_journal,^orphan_file

# More of them in one file than a small journal's transactions can change.
many_values() {
	local n
	make_fs $ours 64M -t ext4 -b 4096 -O ea_inode,^orphan_file -J size=4
	on ext4 $ours
	touch "$MNT/a" "$MNT/b" "$MNT/c"
	# In the same order, so that the two come to share a block.
	for n in {1..150}; do attrs one "$MNT/a" "user.$n" 5000 "$n" 0; done | grep -v '^0$'
	for n in {1..150}; do attrs one "$MNT/b" "user.$n" 5000 "$n" 0; done | grep -v '^0$'
	umount "$MNT"
	equal "many values, inodes" "$(used $ours)" $((11 + 3 + 150))
	on "$FSTYPE" $ours
	equal "many values, copied" "$(attrs one "$MNT/a" user.50 7 7 0)" 0
	umount "$MNT"
	clean "many values, copied" $ours
	on "$FSTYPE" $ours
	rm "$MNT/a"
	umount "$MNT"
	clean "many values, one file gone" $ours
	equal "many values, one file gone" "$(used $ours)" $((11 + 2 + 150))
	on "$FSTYPE" $ours
	rm "$MNT/b"
	umount "$MNT"
	clean "many values, gone" $ours
	equal "many values, gone" "$(used $ours)" 12
}
turn && many_values

# --- what is refused ---

refusals() {
	local type
	for type in ext4 "$FSTYPE"; do
		make_fs $ours 16M -t ext4 -b 1024 -I 128
		on "$type" $ours
		touch "$MNT/a"
		ln -s a "$MNT/link"
		mkdir "$MNT/dir"
		{
			attrs one "$MNT/a" user.x 10 1 1
			attrs one "$MNT/a" user.x 10 1 1
			attrs one "$MNT/a" user.y 10 1 2
			attrs one "$MNT/a" user.x 20 1 2
			attrs one "$MNT/a" user.x 20 1 3
			attrs one "$MNT/a" user.y none 0 0
			attrs one "$MNT/a" user.x 900 1 0
			attrs one "$MNT/a" user.z 900 1 0
			attrs one "$MNT/a" user.z 2000 1 0
			attrs one "$MNT/a" user. 2 1 0
			attrs one "$MNT/a" "user.$(printf 'n%.0s' {1..250})" 2 1 0
			attrs one "$MNT/a" "user.$(printf 'n%.0s' {1..251})" 2 1 0
			attrs one "$MNT/a" gnu.x 2 1 0
			attrs one "$MNT/a" none.x 2 1 0
			attrs one "$MNT/a" system.data 2 1 0
			attrs one "$MNT/link" user.x 2 1 0
			attrs one "$MNT/link" trusted.x 2 1 0
			chattr +i "$MNT/a"
			attrs one "$MNT/a" user.q 2 1 0
			chattr -i "$MNT/a"
			chattr +a "$MNT/a"
			attrs one "$MNT/a" user.q 2 1 0
			chattr -a "$MNT/a"
			setfacl -d -m u:5:rwx "$MNT/a" 2>&1
			setfacl -m u:5:rwx "$MNT/a" 2>&1
			setfacl -b "$MNT/a" 2>&1
			setfacl -b "$MNT/dir" 2>&1
			attrs show "$MNT"
			mount -o remount,ro "$MNT"
			attrs one "$MNT/a" user.q 2 1 0
			setfacl -m u:5:rwx "$MNT/a" 2>&1
			umount "$MNT"
		} | sed "s|$MNT|MNT|g" >"$WORK/refused.$type"
		clean "refused by $type" $ours
	done
	check "refused alike" diff "$WORK/refused.ext4" "$WORK/refused.$FSTYPE"
	check "something is refused" grep -q EEXIST "$WORK/refused.$FSTYPE"
}
turn && refusals

# --- no space ---

full() { # NAME SIZE MKFS...
	local name=$1 size=$2 made
	shift 2
	make_fs $ours 6M -t ext4 -m 0 "$@"
	on "$FSTYPE" $ours
	mkdir "$MNT/d"
	made=$(attrs fill "$MNT/d" "$size")
	equal "$name, is full" "${made#* }" ENOSPC
	[ "${made% *}" -gt 20 ] || not_ok "$name, how full" "$made files"
	attrs show "$MNT/d" >"$WORK/before"
	umount "$MNT"
	clean "$name, is full" $ours
	on "$FSTYPE" $ours
	check "$name, what fits is there" diff "$WORK/before" <(attrs show "$MNT/d")
	# What is given up can be had again at once.
	rm "$MNT/d/f1"
	touch "$MNT/d/f1"
	equal "$name, room again" "$(attrs one "$MNT/d/f1" user.fill "$size" 999 0)" 0
	# A value in an inode of its own would need a second one for a moment.
	[ "$size" -gt 4096 ] || equal "$name, in place" "$(attrs one "$MNT/d/f2" user.fill "$size" 1000 2)" 0
	attrs show "$MNT/d" >"$WORK/before"
	umount "$MNT"
	clean "$name, room again" $ours
	on ext4 $ours
	check "$name, read by C ext4" diff "$WORK/before" <(attrs show "$MNT/d")
	umount "$MNT"
}
turn && full "full, blocks" 3000 -b 4096 -I 128 -N 4096 -O ^has_journal
turn && full "full, blocks, journal" 900 -b 1024 -I 128 -N 8192
turn && full "full, values" 30000 -b 1024 -N 512 -O ea_inode
turn && full "full, values, no journal" 30000 -b 4096 -N 512 -O ea_inode,^has_journal

# --- ACLs ---

# lists NAME MKFS...: the same calls on both, and the same lists.
lists() {
	local name=$1 type dev long n
	shift
	long=$(for n in {1001..1040}; do printf 'u:%d:r-x,' "$n"; done)
	for type in ext4 "$FSTYPE"; do
		dev=$theirs
		[ "$type" = ext4 ] || dev=$ours
		make_fs $dev 64M -t ext4 "$@"
		on "$type" $dev
		(
			cd "$MNT" || exit
			mkdir plain dir1 dir2 dir3
			touch plain/f
			setfacl -m u:1000:rwx,g:2000:r-x,m::r-x plain/f
			setfacl -m u:1000:rwx plain
			setfacl -d -m u:1000:rwx,g:2000:-wx dir1
			setfacl -d -m u:1000:--x,o::--- dir2
			setfacl -d -m "${long%,}" dir3
			for n in dir1 dir2 dir3; do
				umask 022
				touch "$n/file"
				mkdir -p "$n/sub/subsub"
				umask 077
				touch "$n/private" "$n/sub/subsub/file"
				mkfifo "$n/fifo"
				mknod "$n/node" c 1 3
				ln -s nowhere "$n/link"
				ln "$n/file" "$n/hard"
				mkdir -m 700 "$n/closed"
			done
			chmod 700 plain/f
			chmod 777 dir1/file
			chmod 4711 dir1/private
			chmod 2770 dir2/sub
			setfacl -m u:1000:r dir2/sub
			setfacl -b dir2/file
			setfacl -k dir2/sub/subsub
			setfacl -x u:1001 dir3/file
			setfacl -m u::rwx,g::r-x,o::r-x dir2/private
			setfacl -b dir2/private
			setfacl -m u:1000:rwx dir1/fifo dir1/node
			cp -a dir3 copy 2>/dev/null || cp -r --preserve=all dir3 copy
		)
		(cd "$MNT" && getfacl -R . >"$WORK/acl.$type" && find . -printf '%p %m %b\n' | sort >"$WORK/modes.$type")
		umount "$MNT"
		clean "$name, written by $type" $dev
		on "$type" $dev
		check "$name, after a mount of $type" diff "$WORK/acl.$type" <(cd "$MNT" && getfacl -R .)
		umount "$MNT"
	done
	# The order of a directory is that of its hashes.
	check "$name, lists" diff <(sort "$WORK/acl.ext4") <(sort "$WORK/acl.$FSTYPE")
	check "$name, modes" diff "$WORK/modes.ext4" "$WORK/modes.$FSTYPE"
	on ext4 $ours
	check "$name, read by C ext4" diff "$WORK/acl.$FSTYPE" <(cd "$MNT" && getfacl -R .)
	umount "$MNT"
	on "$FSTYPE" $theirs
	check "$name, read of C ext4's" diff "$WORK/acl.ext4" <(cd "$MNT" && getfacl -R .)
	umount "$MNT"
}
turn && lists "ACLs" -b 4096
turn && lists "ACLs, inodes of 128 bytes" -b 1024 -I 128
turn && lists "ACLs, ea_inode" -b 1024 -I 128 -O ea_inode
turn && lists "ACLs, no journal" -b 4096 -O ^has_journal
turn && lists "ACLs, inline data" -b 4096 -I 1024 -O inline_data

# Through a mount that maps ids.
mapped() {
	local type idmap=$WORK/idmap
	mkdir -p "$idmap"
	chmod 755 "$WORK"
	for type in ext4 "$FSTYPE"; do
		make_fs $ours 16M -t ext4
		on "$type" $ours
		mkdir "$MNT/d"
		chmod 777 "$MNT/d"
		if ! mount --bind -o X-mount.idmap=b:0:5000:3000 "$MNT" "$idmap" 2>/dev/null; then
			umount "$MNT"
			skip "ids that are mapped by $type" "mount cannot"
			return
		fi
		{
			setfacl -m u:5001:rwx,g:5002:r "$idmap/d"
			setfacl -d -m u:5003:rwx "$idmap/d"
			setpriv --reuid 5001 --regid 5001 --clear-groups touch "$idmap/d/f"
			setpriv --reuid 5001 --regid 5001 --clear-groups mkdir "$idmap/d/g"
			setfacl -m u:1:r "$idmap/d/f" 2>&1
			(cd "$idmap" && getfacl -n d d/f d/g)
			(cd "$MNT" && getfacl -n d d/f d/g)
		} | sed "s|$WORK||g" >"$WORK/mapped.$type"
		umount "$idmap" "$MNT"
		clean "ids that are mapped by $type" $ours
	done
	check "ids that are mapped" diff "$WORK/mapped.ext4" "$WORK/mapped.$FSTYPE"
	check "ids that are mapped are others" grep -q 'user:5001' "$WORK/mapped.$FSTYPE"
}
turn && mapped

# --- inodes that grow ---

# Extra fields that the superblock asks for later: attributes make room, in the body or by moving out.
grow() {
	local type dev n
	for type in ext4 "$FSTYPE"; do
		dev=$theirs
		[ "$type" = ext4 ] || dev=$ours
		make_fs $dev 16M -t ext4 -b 1024
		on ext4 $dev
		touch "$MNT/"{none,small,full,twice,block,both,least,data}
		attrs one "$MNT/small" user.a 4 1 0 >/dev/null
		attrs one "$MNT/full" user.a 64 1 0 >/dev/null
		for n in a b c; do attrs one "$MNT/twice" "user.$n" 4 "$n" 0 >/dev/null; done
		attrs one "$MNT/block" user.a 500 1 0 >/dev/null
		attrs one "$MNT/both" user.a 64 1 0 >/dev/null
		attrs one "$MNT/both" user.b 940 1 0 >/dev/null
		# Room for the least that there has to be, and not for more.
		attrs one "$MNT/least" user.a 60 1 0 >/dev/null
		attrs one "$MNT/least" user.b 956 1 0 >/dev/null
		attrs show "$MNT" >"$WORK/grown.before"
		umount "$MNT"
		debugfs -w -R "set_super_value want_extra_isize 64" $dev 2>/dev/null
		debugfs -w -R "set_super_value min_extra_isize 36" $dev 2>/dev/null
		on "$type" $dev
		chmod 751 "$MNT/"*
		attrs show "$MNT" >"$WORK/grown.$type"
		check "grown by $type, attributes" diff "$WORK/grown.before" "$WORK/grown.$type"
		umount "$MNT"
		clean "grown by $type" $dev
		for n in none small full twice block both least data; do
			echo "$n $(debugfs -R "stat /$n" $dev 2>/dev/null | grep -E '^Size of extra|^File ACL' | sed 's/ACL: [1-9].*/ACL/' | tr '\n' ' ')"
		done >"$WORK/sizes.$type"
	done
	check "grown alike" diff "$WORK/sizes.ext4" "$WORK/sizes.$FSTYPE"
	check "grown at all" grep -q 'full.*: 64' "$WORK/sizes.$FSTYPE"
	check "grown a little" grep -q 'least.*: 36' "$WORK/sizes.$FSTYPE"
}
turn && grow

# --- several at once, and the end of the machine ---

race() { # NAME MKFS...
	local name=$1 i f
	shift
	make_fs $ours 64M -t ext4 -b 1024 -I 128 "$@"
	on "$FSTYPE" $ours
	mkdir "$MNT/d"
	for i in 0 1 2 3; do for f in 0 1 2 3 4 5; do : >"$MNT/d/r$i-$f"; done; done
	check "$name" attrs race "$MNT/d" "$SEED" 15
	attrs show "$MNT/d" >"$WORK/raced"
	umount "$MNT"
	clean "$name" $ours
	on ext4 $ours
	check "$name, read by C ext4" diff "$WORK/raced" <(attrs show "$MNT/d")
	umount "$MNT"
}
turn && race "race"
turn && race "race, ea_inode" -O ea_inode
turn && race "race, no journal" -O ^has_journal

crash() { # NAME FLAG MKFS...
	local name=$1 flag=$2 round
	shift 2
	make_fs $ours 64M -t ext4 "$@"
	for round in 1 2 3; do
		on "$FSTYPE" $ours || {
			not_ok "$name, round $round" "cannot be mounted"
			return
		}
		[ -d "$MNT/d" ] || {
			mkdir "$MNT/d"
			kinds "$MNT/d"
			sync -f "$MNT"
		}
		(cd "$MNT" && attrs change d $((SEED + round)) 400 65536 >/dev/null)
		attrs show "$MNT/d" >"$WORK/before"
		if [ "$flag" = 1 ]; then
			xfs_io -x -c "shutdown -f" "$MNT"
		else
			(cd "$MNT" && sync -f . && attrs show d >"$WORK/before.d" && attrs change d $((SEED + 100 + round)) 200 65536 >/dev/null)
			xfs_io -x -c shutdown "$MNT"
		fi
		umount "$MNT"
		if [ $((round % 2)) -eq 1 ]; then
			on ext4 $ours
			umount "$MNT"
		else
			on "$FSTYPE" $ours
			[ "$flag" != 1 ] || check "$name, round $round, all of it" diff "$WORK/before" <(attrs show "$MNT/d")
			umount "$MNT"
		fi
		clean "$name, round $round" $ours
	done
}
# What is on disk when the call returns, or fsync does.
durable() { # NAME MKFS...
	local name=$1
	shift
	make_fs $ours 64M -t ext4 "$@"
	on "$FSTYPE" $ours sync
	mkdir "$MNT/d"
	kinds "$MNT/d"
	setfacl -m u:1000:rwx "$MNT/d/file1"
	(cd "$MNT" && attrs change d "$SEED" 60 20000 >/dev/null && attrs show d >"$WORK/before")
	xfs_io -x -c shutdown "$MNT"
	umount "$MNT"
	on "$FSTYPE" $ours
	check "$name, sync mount" diff "$WORK/before" <(cd "$MNT" && attrs show d)
	check "$name, sync mount, ACL" grep -q '^user:1000:rwx' <(getfacl -n "$MNT/d/file1" 2>/dev/null)
	attrs one "$MNT/d/file1" user.synced 15000 1 0 >/dev/null
	attrs one "$MNT/d/file2" user.synced 1500 1 0 >/dev/null
	attrs show "$MNT/d" >"$WORK/before"
	xfs_io -c fsync "$MNT/d/file1"
	xfs_io -c fsync "$MNT/d/file2"
	xfs_io -x -c shutdown "$MNT"
	umount "$MNT"
	on "$FSTYPE" $ours
	check "$name, fsync" diff <(grep synced "$WORK/before") <(attrs show "$MNT/d" | grep synced)
	umount "$MNT"
	clean "$name" $ours
}
turn && durable "durable" -b 4096 -O ea_inode
turn && durable "durable, 1k" -b 1024 -I 128 -O ea_inode

turn && crash "shut down, log flushed" 1 -b 1024 -I 128 -O ea_inode
turn && crash "shut down, log lost" 2 -b 4096 -O ea_inode

finish
