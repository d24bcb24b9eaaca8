#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The superblock of a file system that is mounted for writing: what it says on disk while mounted, after
# unmounting, remounts, freezes, shutdowns and errors, with a journal inside, outside, and without one.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0

# on_disk: dumpe2fs of what is on the device, past its page cache, which is what the mounted file system uses.
on_disk() {
	dd if=$dev of="$WORK/head" bs=1M count=8 iflag=direct status=none
	dumpe2fs -h "$WORK/head" 2>/dev/null
}

# field NAME: as dumpe2fs shows it.
field() { on_disk | sed -n "s/^$1: *//p"; }

# marked NAME yes|no: whether the superblock on disk asks for recovery.
marked() {
	local is=no
	grep -qw needs_recovery <<<"$(on_disk)" && is=yes
	equal "$1" "$is" "$2"
}

clean() { check "$1, clean" e2fsck -fn "${EXTERNAL[@]}" $dev; }

# attach NAME OPTIONS
attach() {
	log_mark
	if mount -w -t "$FSTYPE" -o "$2" $dev "$MNT" 2>"$WORK/err"; then
		ok "$1"
	else
		not_ok "$1" "$(cat "$WORK/err")"
		log_since | tail -n 3 | sed 's/^/#   /'
		false
	fi
}

EXTERNAL=()
make_fs $dev 64M -t ext4 -b 4096

# --- mounted and unmounted ---

life() { # NAME OPTIONS MKFS...
	local name=$1 options=$2 before journal=yes
	shift 2
	make_fs $dev 64M -t ext4 "$@" || {
		not_ok "$name, mkfs" "failed"
		return
	}
	has_feature $dev has_journal && [ "$options" != noload ] || journal=no
	before=$(field "Mount count")
	attach "$name, mounted" "$options" || return
	check "$name, rw" mounted_with "$FSTYPE rw"
	marked "$name, marked while mounted" $journal
	if [ $journal = no ]; then
		equal "$name, state while mounted" "$(field "Filesystem state")" "not clean"
	else
		equal "$name, state while mounted" "$(field "Filesystem state")" "clean"
	fi
	equal "$name, mounts are counted" "$(field "Mount count")" $((before + 1))
	sync -f "$MNT"
	check "$name, listed" ls -la "$MNT"
	umount "$MNT"
	marked "$name, not marked afterwards" no
	equal "$name, state afterwards" "$(field "Filesystem state")" clean
	has_feature $dev orphan_present && not_ok "$name, orphans" "orphan_present is set"
	clean "$name"
	check "$name, C ext4 mounts it" mount -t ext4 $dev "$MNT"
	umount "$MNT"
	kernel_log_clean 1 || not_ok "$name, kernel log" "see above"
}
life "4k" "defaults" -b 4096
life "1k" "defaults" -b 1024
life "64k blocks" "defaults" -b 65536 2>/dev/null
life "writeback" "data=writeback,journal_async_commit" -b 4096
life "nobarrier" "nobarrier,commit=1" -b 4096

# journal_class: priority of the I/O of the journal's thread.
journal_class() { ionice -p "$(pgrep "^jbd2/ram0")"; }

make_fs $dev 64M -t ext4 -b 4096
attach "journal_ioprio, not given" defaults && equal "journal_ioprio, not given" "$(journal_class)" "best-effort: prio 3"
umount "$MNT"
attach "journal_ioprio=6" journal_ioprio=6 && equal "journal_ioprio=6" "$(journal_class)" "best-effort: prio 6"
check "journal_ioprio=0, remount" mount -o remount,journal_ioprio=0 "$MNT"
equal "journal_ioprio=0, remount" "$(journal_class)" "best-effort: prio 0"
umount "$MNT"
life "ext3" "defaults" -b 1024 -O ^extent,^64bit,^metadata_csum,^flex_bg,^orphan_file
life "no checksums" "journal_checksum" -b 4096 -O ^metadata_csum
life "no journal" "defaults" -b 4096 -O ^has_journal
life "no journal, 1k" "defaults" -b 1024 -O ^has_journal
life "noload" "noload" -b 4096

make_fs $dev 64M -t ext4
attach "for the path" "defaults" && {
	umount "$MNT"
	mount -t ext4 $dev "$MNT" && echo hello >"$MNT/file" && umount "$MNT"
	tune2fs -M /nowhere $dev >/dev/null
	attach "for the path, again" "defaults" && cat "$MNT/file" >/dev/null
	umount "$MNT"
	equal "the path is stored" "$(field "Last mounted on")" "$MNT"
	clean "path"
}

# --- refusals ---

for features in quota mmp; do
	make_fs $dev 64M -t ext4 -O $features
	log_mark
	if mount -w -t "$FSTYPE" $dev "$MNT" 2>/dev/null; then
		not_ok "$features is refused" "mounted"
		umount "$MNT"
	else
		check "$features is refused" in_log "unsupported optional feature $features"
	fi
	marked "$features, untouched" no
done

make_fs $dev 64M -t ext4
mount -t ext4 $dev "$MNT" && mkdir "$MNT/d"
fsprobe shutdown "$MNT" 1
umount "$MNT"
marked "C ext4 was cut off" yes
log_mark
mount -w -t "$FSTYPE" -o noload $dev "$MNT" 2>/dev/null && not_ok "noload and recovery" "mounted" && umount "$MNT"
check "noload and recovery" in_log "required journal recovery suppressed"
# Cut off by C ext4, which always leaves orphan_present: there are no orphans.
attach "recovered for writing" "defaults" && {
	check "recovered" test -d "$MNT/d"
	marked "recovered, marked again" yes
	umount "$MNT"
	marked "recovered, not marked" no
	check "recovered, clean" e2fsck -fp $dev
}

# --- remounts ---

for options in "" -O^has_journal; do
	name="remount $options"
	make_fs $dev 64M -t ext4 $options
	mount -r -t "$FSTYPE" $dev "$MNT" || not_ok "$name" "no mount"
	marked "$name, ro" no
	for i in 1 2 3; do
		log_mark
		mount -o remount,rw "$MNT" || {
			not_ok "$name, rw $i" "refused"
			log_since | tail -n 3
		}
		check "$name, rw $i" mounted_with "$FSTYPE rw"
		if [ -z "$options" ]; then
			marked "$name, rw $i, marked" yes
		else
			equal "$name, rw $i, state" "$(field "Filesystem state")" "not clean"
		fi
		check "$name, ro $i" mount -o remount,ro "$MNT"
		marked "$name, ro $i, not marked" no
		equal "$name, ro $i, state" "$(field "Filesystem state")" clean
		clean "$name, ro $i"
	done
	umount "$MNT"
	equal "$name, mounts are counted" "$(field "Mount count")" 3
	clean "$name"
done

make_fs $dev 64M -t ext4
mount -r -t "$FSTYPE" $dev "$MNT"
if tune2fs -c 7 $dev >"$WORK/err" 2>&1; then
	check "changed while read-only, rw" mount -o remount,rw "$MNT"
	umount "$MNT"
	equal "changed while read-only, kept" "$(field "Maximum mount count")" 7
else
	skip "changed while read-only" "$(tail -n 1 "$WORK/err")"
	umount "$MNT"
fi

# --- freeze ---

make_fs $dev 64M -t ext4
attach "freeze" "defaults" && {
	for i in 1 2; do
		check "freeze $i" fsfreeze -f "$MNT"
		marked "freeze $i, not marked" no
		check "freeze $i, clean" e2fsck -fn $dev
		check "thaw $i" fsfreeze -u "$MNT"
		marked "thaw $i, marked" yes
	done
	umount "$MNT"
	clean "freeze"
}

# --- shutdown ---

for how in 0 1 2; do
	make_fs $dev 64M -t ext4
	mount -t ext4 $dev "$MNT" && echo hello >"$MNT/file" && umount "$MNT"
	attach "shutdown $how" "defaults" || continue
	check "shutdown $how, done" fsprobe shutdown "$MNT" $how
	cat "$MNT/file" >/dev/null 2>&1 && not_ok "shutdown $how, open" "works" || ok "shutdown $how, open fails"
	mount -o remount,ro "$MNT" 2>/dev/null && not_ok "shutdown $how, remount" "works"
	umount "$MNT"
	if [ $how = 0 ]; then marked "shutdown $how, marked" no; else marked "shutdown $how, marked" yes; fi
	check "shutdown $how, C ext4 recovers" mount -t ext4 $dev "$MNT"
	equal "shutdown $how, the file" "$(cat "$MNT/file")" hello
	umount "$MNT"
	clean "shutdown $how"
done

# --- errors ---

# In the log of the journal is on disk as well: as the mounted file system would write it to its place.
cached() { dumpe2fs -h $dev 2>/dev/null | sed -n "s/^$1: *//p"; }
sys() { cat "/sys/fs/$FSTYPE/ram0/$1"; }
for journal in "" -O^has_journal; do
	for policy in continue remount-ro; do
		name="errors=$policy $journal"
		make_fs $dev 64M -t ext4 $journal
		attach "$name" "errors=$policy" || continue
		log_mark
		echo "oh no" >"/sys/fs/$FSTYPE/ram0/trigger_fs_error"
		sleep 1
		equal "$name, recorded" "$(cached "FS Error count")" 1
		equal "$name, counted" "$(sys errors_count)" 1
		if [ $policy = continue ]; then
			echo "oh no, again" >"/sys/fs/$FSTYPE/ram0/trigger_fs_error"
			sleep 1
			equal "$name, again" "$(cached "FS Error count")" 2
			check "$name, sync" sync -f "$MNT"
			umount "$MNT"
			marked "$name, not marked" no
		else
			check "$name, says so" in_log "Remounting filesystem read-only"
			mount -o remount,ro "$MNT" 2>/dev/null && not_ok "$name, remount" "works"
			umount "$MNT"
		fi
		check "$name, state" grep -q "with errors" <<<"$(field "Filesystem state")"
		e2fsck -fy $dev >/dev/null 2>&1
		clean "$name"
	done
done

make_fs $dev 64M -t ext4
attach "abort" "errors=continue" && {
	log_mark
	mount -o remount,abort "$MNT" 2>/dev/null
	check "abort, read-only" in_log "Remounting filesystem read-only"
	umount "$MNT"
	e2fsck -fy $dev >/dev/null 2>&1
	clean "abort"
}

# The journal was given up because of an error: the next mount takes that over.
make_fs $dev 64M -t ext4
mount -t ext4 -o errors=remount-ro $dev "$MNT" && echo 1 >/sys/fs/ext4/ram0/trigger_fs_error
umount "$MNT"
attach "journal error" "defaults" && {
	umount "$MNT"
	check "journal error, state" grep -q "with errors" <<<"$(field "Filesystem state")"
}

# --- label ---

make_fs $dev 64M -t ext4
attach "label" "defaults" && {
	check "label, set" fsprobe label "$MNT" "sixteen bytes..."
	fsprobe label "$MNT" "seventeen bytes.." 2>/dev/null && not_ok "label, too long" "works"
	equal "label, not before the commit" "$(field "Filesystem volume name")" "<none>"
	sync -f "$MNT"
	fsprobe shutdown "$MNT" 2
	umount "$MNT"
	equal "journal features" "$(dumpe2fs -h $dev 2>/dev/null | sed -n 's/^Journal features: *//p')" \
		"journal_incompat_revoke journal_64bit journal_checksum_v3"
	attach "label, recovered" "defaults" && umount "$MNT"
	equal "label, there" "$(field "Filesystem volume name")" "sixteen bytes..."
	clean "label"
}

# What a journal holds that nobody asks to replay is forgotten: here the label that C ext4 has set.
make_fs $dev 64M -t ext4
mount -t ext4 $dev "$MNT" && fsprobe label "$MNT" "stale" && sync -f "$MNT" && fsprobe shutdown "$MNT" 2
umount "$MNT"
debugfs -w -R "feature -needs_recovery" $dev >/dev/null 2>&1
tune2fs -L newer $dev >/dev/null 2>&1
attach "stale journal" "defaults" && {
	umount "$MNT"
	equal "stale journal, not replayed" "$(field "Filesystem volume name")" newer
	check "stale journal, clean" e2fsck -fp $dev
}

# --- external journal ---

blkdiscard -f /dev/ram1
mke2fs -q -F -O journal_dev -b 4096 /dev/ram1 32M
make_fs $dev 64M -t ext4 -b 4096 -J device=/dev/ram1
EXTERNAL=(-j /dev/ram1)
attach "external journal" "defaults" && {
	marked "external, marked" yes
	check "external, sync" sync -f "$MNT"
	check "external, ro" mount -o remount,ro "$MNT"
	marked "external, not marked" no
	check "external, rw" mount -o remount,rw "$MNT"
	fsprobe shutdown "$MNT" 1
	umount "$MNT"
	marked "external, cut off" yes
	check "external, C ext4 recovers" mount -t ext4 $dev "$MNT"
	umount "$MNT"
	clean "external"
	mount -r -t "$FSTYPE" $dev "$MNT"
	check "external, from ro to rw" mount -o remount,rw "$MNT"
	umount "$MNT"
	clean "external, again"
}

finish
