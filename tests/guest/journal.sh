#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 2
# timeout: 900
#
# Journals that need recovery: C ext4 writes and is cut off; the same device, copied, is then
# recovered by both drivers and has to show the same. And the rules: a read-only device refuses,
# noload reads without replay, a fast-commit journal is refused while its replay does not exist. The second
# shard is about external journals.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

# cut_off SHUTDOWN-FLAGS ORPHANS SIZE MKFS...: leaves /dev/ram0 in need of recovery and /dev/ram1 its copy.
cut_off() {
	local flags=$1 orphans=$2 size=$3
	shift 3
	make_fs /dev/ram0 "$size" "$@" || return 1
	mount -t ext4 -o "${CUT_OPTIONS:-}" /dev/ram0 "$MNT" || return 1
	churn "$MNT" "$SEED" 400 "$orphans" "$flags" 2>"$WORK/churn"
	umount "$MNT"
	blkdiscard -f /dev/ram1 2>/dev/null
	dd if=/dev/ram0 of=/dev/ram1 bs=1M count="${size%M}" conv=sparse status=none
	has_feature /dev/ram0 needs_recovery
}

# recovered NAME: each recovers its own copy; the trees have to be the same, and the device clean afterwards.
recovered() {
	local name=$1
	if ! census_of ext4 /dev/ram0 "" "$WORK/c" --max-file $((4 << 20)) 2>"$WORK/err"; then
		not_ok "$name" "C ext4: $(cat "$WORK/err")"
		return
	fi
	log_mark
	if ! census_of "$FSTYPE" /dev/ram1 "${EXTERNAL:+journal_path=$EXTERNAL}" "$WORK/r" --max-file $((4 << 20)) 2>"$WORK/err"; then
		not_ok "$name" "$FSTYPE: $(cat "$WORK/err")"
		log_since | tail -n 5 | sed 's/^/#   /'
		return
	fi
	# The devices have names of their own.
	sed -i 's/ sysfs=[^ ]*//' "$WORK/c" "$WORK/r"
	if cmp -s "$WORK/c" "$WORK/r"; then
		ok "$name"
	else
		not_ok "$name" "the two drivers differ"
		differences "$WORK/c" "$WORK/r"
	fi
	logged "$name, announced" "recovery"
	has_feature /dev/ram1 needs_recovery &&
		not_ok "$name, flag cleared" "needs_recovery is still set" || ok "$name, flag cleared"
	check "$name, clean" e2fsck -fn ${EXTERNAL:+-j "$EXTERNAL"} /dev/ram1
}

# cut_and_recovered NAME CUT_OFF-ARGUMENTS...
cut_and_recovered() {
	local name=$1
	shift
	if cut_off "$@"; then
		recovered "$name"
	else
		not_ok "$name" "no recovery needed: the test has nothing to test"
	fi
}

# The part of a device that the 64 MiB file systems use; the device itself is far larger.
sum() { head -c 64M "$1" | md5sum; }

configurations() {
	cat <<'LIST'
journal-4k           64M  -t ext4 -b 4096
journal-1k           64M  -t ext4 -b 1024
journal-64k          256M -t ext4 -b 65536
journal-32bit        64M  -t ext4 -b 4096 -O ^64bit
journal-nocsum       64M  -t ext4 -b 4096 -O ^metadata_csum
journal-ext3         64M  -t ext3 -b 4096
journal-ext3-1k      64M  -t ext3 -b 1024
LIST
}

shard=${SHARD:-all}
internal() { [ "$shard" != 1/2 ]; }
external() { [ "$shard" != 0/2 ]; }

internal && while read -r name size mkfs; do
	for flags in 1 2; do
		# shellcheck disable=SC2086
		cut_and_recovered "$name-flags-$flags" $flags 0 "$size" $mkfs </dev/null
	done
done < <(configurations)

if internal; then
	CUT_OPTIONS=data=writeback,journal_checksum,journal_async_commit
	cut_and_recovered journal-async-commit 2 0 64M -t ext4 -b 4096 -O ^metadata_csum
	CUT_OPTIONS=

	# Orphans: open and unlinked when it was cut off. They are in no directory; statfs and fsck may see them.
	cut_and_recovered "orphan file" 1 5 64M -t ext4 -b 4096
	cut_and_recovered "orphan list" 1 5 64M -t ext4 -b 4096 -O ^orphan_file
fi

# --- external journals: on ram2, for the driver under test a copy on ram3 ---

# exclusive DEVICE: whether nobody else has claimed it.
exclusive() {
	dmsetup create probe --table "0 8 linear $1 0" 2>/dev/null || return 1
	dmsetup remove --retry probe
}

# refused NAME OPTIONS REGEX: the mount of ram1 fails and says why, and whatever it had claimed is free again.
refused() {
	log_mark
	if mount -t "$FSTYPE" -o "ro,$2" /dev/ram1 "$MNT" 2>/dev/null; then
		not_ok "$1" "was mounted"
		umount "$MNT"
	else
		logged "$1" "$3"
	fi
	check "$1, journal device released" exclusive /dev/ram3
	check "$1, device released" exclusive /dev/ram1
}

# copy_again: both devices of the driver under test as they were before the replay.
copy_again() {
	dd if="$WORK/dirty" of=/dev/ram1 bs=1M status=none
	dd if="$WORK/dirty-journal" of=/dev/ram3 bs=1M status=none
}
copy_journal() { dd if=/dev/ram2 of=/dev/ram3 bs=1M count=16 conv=sparse status=none; }

modprobe dm_mod
for bs in 4096 1024; do
	external || break
	blkdiscard -f /dev/ram2 2>/dev/null
	blkdiscard -f /dev/ram3 2>/dev/null
	mke2fs -q -F -O journal_dev -b $bs /dev/ram2 16M
	if ! cut_off 2 0 64M -t ext4 -b $bs -J device=/dev/ram2; then
		not_ok "external journal, $bs" "no recovery needed: the test has nothing to test"
		continue
	fi
	copy_journal
	before=$(sum /dev/ram1)
	compare "external journal, $bs, noload" /dev/ram1 noload --max-file $((4 << 20))
	blockdev --setro /dev/ram3
	refused "external journal, $bs, read-only" journal_path=/dev/ram3 "(write access unavailable|failed to open journal device)"
	blockdev --setrw /dev/ram3
	equal "external journal, $bs, nothing written" "$(sum /dev/ram1)" "$before"
	EXTERNAL=/dev/ram3
	dd if=/dev/ram1 of="$WORK/dirty" bs=1M count=64 conv=sparse status=none
	dd if=/dev/ram3 of="$WORK/dirty-journal" bs=1M count=16 conv=sparse status=none
	recovered "external journal, $bs"
	EXTERNAL=

	# A mount that fails later than that lets go of it, too: without a root directory.
	debugfs -w -R "sif <2> mode 0" /dev/ram1 2>/dev/null
	refused "external journal, $bs, no root" journal_path=/dev/ram3 "get root inode failed|corrupt root"
	copy_again
	check "external journal, $bs, replayed" mount -t "$FSTYPE" -o ro,journal_path=/dev/ram3 /dev/ram1 "$MNT"
	exclusive /dev/ram3 && not_ok "external journal, $bs, is claimed after its replay" "somebody else could take it" ||
		ok "external journal, $bs, is claimed after its replay"
	umount "$MNT"

	# Now it is clean.
	check "external journal, $bs, clean" mount -t "$FSTYPE" -o ro,journal_path=/dev/ram3 /dev/ram1 "$MNT"
	exclusive /dev/ram3 && not_ok "external journal, $bs, is claimed" "somebody else could take it" ||
		ok "external journal, $bs, is claimed"
	umount "$MNT"
	check "external journal, $bs, is released" exclusive /dev/ram3

	# As it was made, by number and by name; and what is not the journal of this file system.
	number=$(((0x$(stat -c %t /dev/ram3) << 8) | 0x$(stat -c %T /dev/ram3)))
	check "external journal, $bs, by number" mount -t "$FSTYPE" -o "ro,journal_dev=$number" /dev/ram1 "$MNT"
	umount "$MNT"
	refused "external journal, $bs, on its own device" journal_path=/dev/ram1 "failed to open journal device .* -16"
	copy_journal
	mkdir -p "$WORK/other"
	check "external journal, $bs: C ext4 uses it" mount -t ext4 /dev/ram0 "$WORK/other"
	refused "external journal, $bs, of a mounted file system" journal_path=/dev/ram2 "failed to open journal device .* -16"
	umount "$WORK/other"
	mke2fs -q -F -O journal_dev -b $bs /dev/ram3 16M
	refused "external journal, $bs, of another file system" journal_path=/dev/ram3 "journal UUID does not match"
	blkdiscard -f /dev/ram3
	refused "external journal, $bs, without a journal" journal_path=/dev/ram3 "external journal has bad superblock"

	# Without checksums yet, since no driver has written to it.
	mke2fs -q -F -O journal_dev -b $bs /dev/ram3 16M
	make_fs /dev/ram1 64M -t ext4 -b $bs -J device=/dev/ram3
	check "external journal, $bs, new" mount -t "$FSTYPE" -o ro /dev/ram1 "$MNT"
	umount "$MNT"
	printf '\0\0\0\2' | dd of=/dev/ram3 bs=1 seek=$((bs * (bs == 1024 ? 2 : 1) + 0x40)) conv=notrunc status=none
	refused "external journal, $bs, of two" "" "more than one user"
done

# --- the rules ---

if [ "$shard" = 1/2 ]; then
	finish
	exit
fi
if cut_off 2 0 64M -t ext4 -b 4096; then
	sum=$(sum /dev/ram1)
	blockdev --setro /dev/ram1
	log_mark
	mount -t "$FSTYPE" -o ro /dev/ram1 "$MNT" 2>"$WORK/err" && {
		not_ok "read-only device" "was mounted"
		umount "$MNT"
	} || ok "read-only device is refused"
	logged "read-only device, with a message" "(write access|read-only|noload)"
	check "read-only device with noload" mount -t "$FSTYPE" -o ro,noload /dev/ram1 "$MNT"
	census --quiet "$MNT" >/dev/null
	umount "$MNT"
	blockdev --setrw /dev/ram1
	# Without replay what is there is what was written back: the same for both.
	census_of ext4 /dev/ram1 noload "$WORK/c" --max-file $((4 << 20))
	census_of "$FSTYPE" /dev/ram1 noload "$WORK/r" --max-file $((4 << 20))
	check "noload: the same without replay" cmp "$WORK/c" "$WORK/r"
	equal "noload writes nothing" "$(sum /dev/ram1)" "$sum"
	check "norecovery" mount -t "$FSTYPE" -o ro,norecovery /dev/ram1 "$MNT"
	mounted_with '[^ ]* ro,.*(noload|norecovery)' && ok "norecovery is shown" || not_ok "norecovery is shown" "$(grep " $MNT " /proc/self/mounts)"
	umount "$MNT"
	equal "norecovery writes nothing" "$(sum /dev/ram1)" "$sum"
	has_feature /dev/ram1 needs_recovery && ok "the journal is still there" ||
		not_ok "the journal is still there"
	recovered "replay after noload"
else
	not_ok "the rules" "no recovery needed"
fi

make_fs /dev/ram0 64M -t ext4 -b 4096
sum=$(sum /dev/ram0)
census_of "$FSTYPE" /dev/ram0 "" "$WORK/r"
equal "a clean read-only mount writes nothing" "$(sum /dev/ram0)" "$sum"

if [ "$FSTYPE" = rext4 ]; then
	if cut_off 2 0 64M -t ext4 -b 4096 -O fast_commit; then
		log_mark
		mount -t rext4 -o ro /dev/ram1 "$MNT" 2>/dev/null && {
			not_ok "fast commit with recovery needed" "was mounted"
			umount "$MNT"
		} || ok "fast commit with recovery needed is refused"
		logged "fast commit, with a message" "rext4.*fast.commit"
		check "fast commit with noload" mount -t rext4 -o ro,noload /dev/ram1 "$MNT"
		umount "$MNT"
	else
		not_ok "fast commit" "no recovery needed"
	fi
fi

# A journal that is damaged: an error or an orderly refusal, nothing else.
if cut_off 2 0 64M -t ext4 -b 4096; then
	block=$(debugfs -R 'blocks <8>' /dev/ram1 2>/dev/null | awk '{print $1}')
	for what in superblock descriptor; do
		dd if=/dev/ram0 of=/dev/ram1 bs=1M count=64 status=none
		skip=$([ $what = superblock ] && echo 0 || echo 1)
		dd if=/dev/urandom of=/dev/ram1 bs=4096 seek=$((block + skip)) count=1 conv=notrunc status=none
		mount -t "$FSTYPE" -o ro /dev/ram1 "$MNT" 2>/dev/null && {
			census --quiet --max-seconds 60 "$MNT" >/dev/null
			umount "$MNT"
		}
		check "damaged journal ($what): noload reads" mount -t "$FSTYPE" -o ro,noload /dev/ram1 "$MNT"
		umount "$MNT"
	done
else
	not_ok "damaged journal" "no recovery needed"
fi
finish
