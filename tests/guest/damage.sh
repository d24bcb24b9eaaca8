#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 12
# slice: 1
# timeout: 1200
#
# Damaged file systems: whatever is on the device, mounting it fails in an orderly way or the tree
# can be walked and read with errors where damage is met; no warning of the kernel, no endless
# loop, no memory that stays.
#
#     /share/corpus   a folder of images (.img, .img.gz, .img.bz2), where there is one
#     FLIPS=N         how many randomly damaged images (default 48), beginning at SEED

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
shard=${SHARD:-0/1}
shard=${shard/-//}
turn=0
# Whether the next piece of work belongs to this shard.
mine() {
	turn=$((turn + 1))
	[ $((turn % ${shard#*/})) -eq "${shard%/*}" ]
}

walk=(census --quiet --max-seconds 40 --max-objects 20000 --max-bytes 67108864 --max-file 1048576 --max-depth 64)

meant='unsupported optional feature (encrypt|casefold)|bigalloc with non-zero first data block'

# survives NAME DEVICE: with and without replay. Leaves in $outcome what happened.
survives() {
	local name=$1 dev=$2 options status first why=
	outcome=
	first=$((marks + 1))
	for options in ro,noload ro; do
		log_mark
		timeout -k 5 120 mount -t "$FSTYPE" -o "$options" "$dev" "$MNT" 2>"$WORK/err"
		status=$?
		if [ $status -eq 0 ]; then
			timeout -k 5 120 "${walk[@]}" "$MNT" >"$WORK/walk" 2>&1
			status=$?
			outcome+="[$options: $(tail -n 1 "$WORK/walk" | cut -c 1-120)] "
			[ "$FSTYPE" != rext4 ] || ! grep -q '^odd=' "$WORK/walk" || why="an errno that damage does not explain"
			case $status in
			0 | 1) ;;
			3) why="the walk did not end" ;;
			*) why="the walk ended with status $status" ;;
			esac
			umount "$MNT" || why="cannot be unmounted"
		elif [ $status -ge 124 ]; then
			why="mount did not return"
		else
			outcome+="[$options: refused] "
			[ "$FSTYPE" != rext4 ] || in_log 'rext4|JBD2' || why="mount failed without a message"
			# What is meant to differ: two features are not supported yet; and of bigalloc with a first
			# data block, where nothing says which cluster a block is in, C ext4 refuses the writing only.
			if [ "$options" = ro,noload ] && [ "$FSTYPE" = rext4 ] && ! in_log "$meant" && mount -t ext4 -o "$options" "$dev" "$MNT" 2>/dev/null; then
				umount "$MNT"
				why="C ext4 mounts it"
			fi
		fi
	done
	kernel_log_clean "$first" || why="a warning of the kernel"
	if [ -z "$why" ]; then
		ok "$name"
	else
		not_ok "$name" "$why: $outcome"
		log_after "$first" | tail -n 8 | sed 's/^/#   /'
		is_mounted "$MNT" && umount -l "$MNT"
	fi
	[ -z "${VERBOSE:-}" ] || echo "# $name: $outcome"
}

# Memory that nothing can give back, in KiB.
unreclaimable() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	awk '/^(SUnreclaim|VmallocUsed|Percpu|KernelStack):/ {n += $2} END {print n}' /proc/meminfo
}

# --- a collection of images ---

corpus() {
	local file image=$WORK/image
	for file in /share/corpus/*; do
		mine || continue
		case $file in
		*.gz) gzip -dc "$file" >"$image" ;;
		*.bz2) bzip2 -dc "$file" >"$image" ;;
		*.img) cp "$file" "$image" ;;
		*) continue ;;
		esac
		losetup /dev/loop6 "$image" || continue
		survives "image $(basename "$file")" /dev/loop6
		losetup -d /dev/loop6
		rm -f "$image"
	done
}

# --- images damaged here ---

# The base: small, with each kind of metadata; what is changed below has known inode numbers.
base() {
	# With a smaller journal C ext4 warns of what a large ea_inode value would need.
	make_fs /dev/ram0 24M -t ext4 -b 1024 -N 2048 -J size=4 "$@" || return 1
	mount -t ext4 /dev/ram0 "$MNT" || return 1
	fill --only names --names 120 "$MNT" >/dev/null
	fill --only xattrs "$MNT" >/dev/null
	fill --only inodes "$MNT" >/dev/null
	mkdir "$MNT/d"
	for i in 1 2 3 4 5 6 7 8 9; do
		dd if=/dev/urandom of="$MNT/d/f" bs=1024 seek=$((i * 3)) count=1 conv=notrunc status=none
	done
	# Enough extents for a tree with an index.
	for i in 1 3 5 7 9 11 13 15; do fallocate -p -o $((i * 1024)) -l 1024 "$MNT/d/f"; done
	cp "$MNT/d/f" "$MNT/d/g"
	ln -s target "$MNT/d/sym"
	ln -s "$(printf '%0200d' 1)" "$MNT/d/longsym"
	umount "$MNT"
}

# Each line is one damage: commands of debugfs, which renews the checksums, separated by ';'.
# @X stands for the inode of d/X, @D for d, @H for a directory with an index.
damages() {
	cat <<'LIST'
clri <2>
clri <8>
clri @D
clri @f
set_inode_field @D mode 0100644
set_inode_field @D mode 0120777
set_inode_field @D mode 0
set_inode_field @D mode 0170000
set_inode_field @D links_count 0
set_inode_field @D size 0
set_inode_field @D size 1
set_inode_field @D size 1023
set_inode_field @D size 0x7fffffffffffffff
set_inode_field @D size 0xffffffffffffffff
set_inode_field @D flags 0
set_inode_field @D flags 0x1000
set_inode_field @D flags 0x81000
set_inode_field @D flags 0x10000000
set_inode_field @D flags 0x10080000
set_inode_field @D flags 0xffffffff
set_inode_field <2> mode 0100644
set_inode_field <2> size 0
set_inode_field <2> links_count 0
set_inode_field <2> flags 0x10000000
set_inode_field <2> flags 0x1000
set_inode_field <8> mode 0
set_inode_field <8> size 0
set_inode_field <8> size 0xffffffffffff
set_inode_field <8> flags 0
set_inode_field @f mode 0040755
set_inode_field @f mode 0120777
set_inode_field @f mode 0060000
set_inode_field @f size 0xffffffffffffffff
set_inode_field @f size 0x8000000000000000
set_inode_field @f size 0x7ffffffffffffffe
set_inode_field @f size 0x100000000000
set_inode_field @f flags 0
set_inode_field @f flags 0x10000000
set_inode_field @f flags 0x10080000
set_inode_field @f flags 0x80800
set_inode_field @f flags 0x180000
set_inode_field @f flags 0x280000
set_inode_field @f flags 0x40080000
set_inode_field @f links_count 0
set_inode_field @f links_count 65535
set_inode_field @f extra_isize 0
set_inode_field @f extra_isize 3
set_inode_field @f extra_isize 28
set_inode_field @f extra_isize 128
set_inode_field @f extra_isize 65532
set_inode_field @f extra_isize 65535
set_inode_field @f file_acl 1
set_inode_field @f file_acl 2
set_inode_field @f file_acl 3
set_inode_field @f file_acl 5
set_inode_field @f file_acl 0xffffffff
set_inode_field @f block[0] 0
set_inode_field @f block[0] 0xffffffff
set_inode_field @f block[0] 0xfff3f30a
set_inode_field @f block[0] 0x0000f30a
set_inode_field @f block[0] 0x0004f30a
set_inode_field @f block[1] 0
set_inode_field @f block[1] 0x00050004
set_inode_field @f block[1] 0x00060004
set_inode_field @f block[1] 0xffff0004
set_inode_field @f block[1] 0x00010000
set_inode_field @f block[1] 0x00000004
set_inode_field @f block[2] 0xffffffff
set_inode_field @f block[3] 0xffffffff
set_inode_field @f block[4] 0
set_inode_field @f block[4] 1
set_inode_field @f block[4] 0xffffffff
set_inode_field @f block[5] 0xffff
set_inode_field @g block[4] 3
set_inode_field @D block[3] 1
set_inode_field @D block[3] 0xffff
set_inode_field @D block[4] 0x8000
set_inode_field @D block[5] 1
set_inode_field @D block[5] 0xffffff
set_inode_field @sym size 0
set_inode_field @sym size 60
set_inode_field @sym size 4096
set_inode_field @sym size 0xffffffff
set_inode_field @sym flags 0x80000
set_inode_field @sym flags 0x10000000
set_inode_field @longsym size 0
set_inode_field @longsym size 1024
set_inode_field @longsym size 0x100000
set_inode_field @longsym flags 0
set_inode_field @longsym block[5] 0
set_inode_field @H flags 0x80000
set_inode_field @H size 1024
set_inode_field @H block[1] 0
LIST
	local value field bits
	# The superblock: each number that something is divided, shifted or multiplied by, with its width.
	for field in inodes_count blocks_count first_data_block log_block_size log_cluster_size blocks_per_group \
		clusters_per_group inodes_per_group rev_level first_ino inode_size:16 desc_size:16 first_meta_bg \
		log_groups_per_flex:8 journal_inum reserved_gdt_blocks:16 min_extra_isize:16 want_extra_isize:16 \
		checksum_type:8 encoding:16 last_orphan blocks_count_hi raid_stripe_width usr_quota_inum prj_quota_inum \
		flags state:16 errors:16 minor_rev_level:16 mmp_block jnl_backup_type:8 free_blocks_count \
		r_blocks_count lpf_ino orphan_file_inum backup_bgs[0] checksum_seed; do
		bits=32
		[[ $field != *:* ]] || bits=${field#*:}
		for value in 0 1 2 7 0xff 0xffff 0xffffffff; do
			# debugfs does not write back what it could not open again.
			[ $((value >> bits)) -ne 0 ] || [ "$field $value" = "first_data_block 0xffffffff" ] ||
				echo "set_super_value ${field%:*} $value"
		done
	done
	for value in legacy half_md4 tea; do echo "set_super_value def_hash_version $value"; done
	echo "set_super_value hash_seed 00000000-0000-0000-0000-000000000001"
	for field in block_bitmap inode_bitmap inode_table flags:16 itable_unused free_inodes_count checksum:16; do
		bits=32
		[[ $field != *:* ]] || bits=${field#*:}
		for value in 0 1 0xffff 0xffffffff; do
			[ $((value >> bits)) -ne 0 ] || echo "set_block_group 0 ${field%:*} $value"
		done
	done
	for feature in has_journal resize_inode dir_index extents 64bit flex_bg meta_bg inline_data ea_inode large_dir \
		metadata_csum metadata_csum_seed uninit_bg sparse_super sparse_super2 huge_file filetype bigalloc quota \
		project verity orphan_file orphan_present needs_recovery journal_dev mmp encrypt casefold fast_commit \
		large_file dir_nlink extra_isize compression ext_attr; do
		echo "feature $feature"
		echo "feature -$feature"
	done
}

# Raw changes of blocks: where there are checksums that is all that is seen of them.
zaps() {
	cat <<'LIST'
zap_block -f /d 0
zap_block -f /d -p 0xff 0
zap_block -f /d -o 4 -l 2 -p 0 0
zap_block -f /d -o 4 -l 2 -p 3 0
zap_block -f /d -o 4 -l 2 -p 0xff 0
zap_block -f /d -o 6 -l 1 -p 0xff 0
zap_block -f /d -o 16 -l 2 -p 0 0
zap_block -f /d -o 0 -l 4 -p 0xff 0
zap_block -f /d -o 1012 -l 12 -p 0xff 0
zap_block -f /names/long 0
zap_block -f /names/long -o 24 -l 1 -p 0xff 0
zap_block -f /names/long -o 28 -l 1 -p 0xff 0
zap_block -f /names/long -o 29 -l 1 -p 0 0
zap_block -f /names/long -o 30 -l 1 -p 1 0
zap_block -f /names/long -o 30 -l 1 -p 3 0
zap_block -f /names/long -o 30 -l 1 -p 0xff 0
zap_block -f /names/long -o 31 -l 1 -p 0xff 0
zap_block -f /names/long -o 32 -l 2 -p 0 0
zap_block -f /names/long -o 32 -l 2 -p 0xff 0
zap_block -f /names/long -o 34 -l 2 -p 0 0
zap_block -f /names/long -o 34 -l 2 -p 0xff 0
zap_block -f /names/long -o 36 -l 4 -p 0 0
zap_block -f /names/long -o 36 -l 4 -p 0xff 0
zap_block -f /names/long -o 40 -l 64 -p 0xff 0
zap_block -f /names/long -o 40 -l 64 -p 0 0
zap_block -f /names/long 1
zap_block -f /names/long -p 0xff 1
zap_block -f /names/long -o 4 -l 2 -p 0 1
zap_block -f /names/long 2
LIST
	echo "zap_block $acl"
	for field in "0 -l 64" "0 -l 4" "4 -l 4" "8 -l 4" "32 -l 1" "33 -l 1" "34 -l 2" "36 -l 4" "40 -l 4" "48 -l 1" "50 -l 2" "52 -l 4"; do
		echo "zap_block -o $field -p 0xff $acl"
		# The number of an inode with the value is 0 as it is.
		[[ $field = 36* ]] || echo "zap_block -o $field -p 0 $acl"
	done
}

few_zaps() { zaps | sed -n '1~9p'; }

# damaged NAME LIST MKFS-ARGUMENT...: each damage of LIST, a function, done to a fresh base.
damaged() {
	local name=$1 list=$2 line f g sym longsym dir indexed acl n=0 command
	shift 2
	base "$@" || { not_ok "base image"; return; }
	survives "$name: undamaged" /dev/ram0
	[[ $outcome = *errors=0*errors=0* ]] || not_ok "$name: no errors" "$outcome"
	acl=$(debugfs -R 'stat /xattrs/shared-1' /dev/ram0 2>/dev/null | sed -n 's/.*File ACL: \([0-9]*\).*/\1/p')
	[ "${acl:-0}" -ne 0 ] || not_ok "base image" "no block of attributes"
	inode() { debugfs -R "stat $1" /dev/ram0 2>/dev/null | sed -n '1s/Inode: *\([0-9]*\).*/<\1>/p'; }
	f=$(inode /d/f) g=$(inode /d/g) sym=$(inode /d/sym) longsym=$(inode /d/longsym) dir=$(inode /d)
	indexed=$(inode /names/long)
	dd if=/dev/ram0 of=/dev/ram1 bs=1M count=24 conv=sparse status=none
	while IFS= read -r line; do
		n=$((n + 1))
		mine || continue
		command=${line//@f/$f}
		command=${command//@g/$g}
		command=${command//@sym/$sym}
		command=${command//@longsym/$longsym}
		command=${command//@D/$dir}
		command=${command//@H/$indexed}
		dd if=/dev/ram1 of=/dev/ram0 bs=1M count=24 status=none
		debugfs -w -R "$command" /dev/ram0 >/dev/null 2>"$WORK/debugfs"
		if cmp -s -n $((24 << 20)) /dev/ram0 /dev/ram1; then
			# Half of the features are as they should be already; all else has to do something.
			[[ $line = feature* ]] || not_ok "$name: $line" "changed nothing: $(tail -n 1 "$WORK/debugfs")"
			continue
		fi
		survives "$name: $line" /dev/ram0 <&-
	done < <($list)
}

flips() {
	local i seed n=${FLIPS:-48} kinds=("" "-O ^metadata_csum,^uninit_bg" "-O ^metadata_csum,^uninit_bg,inline_data,ea_inode" "-O ^extent,^64bit,^metadata_csum,^uninit_bg,^dir_index") kind
	for kind in "${kinds[@]}"; do
		# shellcheck disable=SC2086
		base $kind || { not_ok "base image $kind"; continue; }
		for ((i = 0; i < n / ${#kinds[@]}; i++)); do
			mine || continue
			seed=$((SEED + i))
			if ! flip damage /dev/ram0 $seed $((4 << (i % 5))) "$WORK/undo" 2>"$WORK/err"; then
				not_ok "flip" "$(cat "$WORK/err")"
				return
			fi
			survives "random damage, seed $seed, ${kind:-default}" /dev/ram0
			flip undo /dev/ram0 "$WORK/undo"
		done
	done
}

before=$(unreclaimable)
if [ -d /share/corpus ]; then corpus; else skip "images" "no CORPUS"; fi
damaged damage damages
damaged "blocks" zaps -O ^metadata_csum,^uninit_bg
damaged "blocks with checksums" few_zaps
flips
after=$(unreclaimable)
echo "# unreclaimable memory: $before KiB before, $after KiB after"
if [ $((after - before)) -lt 16384 ]; then ok "memory is given back"; else not_ok "memory is given back" "$((after - before)) KiB more"; fi
finish
