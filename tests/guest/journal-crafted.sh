#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Journals that nobody's crash has left: logs without an end, transactions that write over the journal, the
# superblock or nothing that exists. Each is refused, soon and with a message, before or after the replay;
# logs that are sound are replayed, and the error record survives that.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0
bs=4096
# Block types of the log.
descriptor=1 commit=2 revoke=5

# be32 NUMBER...: as big-endian words.
be32() {
	local n
	for n in "$@"; do
		# shellcheck disable=SC2059
		printf "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $((n >> 24 & 255)) $((n >> 16 & 255)) $((n >> 8 & 255)) $((n & 255)))"
	done
}

# at OFFSET: standard input to that byte of the device.
at() { dd of=$dev bs=64k seek="$1" oflag=seek_bytes conv=notrunc status=none; }

# log_block N: standard input to the head of block N of the journal.
log_block() { at $(((journal + $1) * bs)); }

header() { be32 0xc03b3998 "$1" "$2"; }

# journal_field OFFSET VALUE: in the journal's superblock.
journal_field() { be32 "$2" | at $((journal * bs + $1)); }

# fresh: a file system that needs recovery, with a journal of one run of 1024 blocks and without checksums, whose
# log begins in block 1 with transaction 1.
fresh() {
	make_fs $dev 24M -t ext4 -b $bs -O ^metadata_csum,^64bit,^orphan_file \
		-E packed_meta_blocks=1 -J size=4 || return 1
	debugfs -w -R 'feature needs_recovery' $dev >/dev/null 2>&1
	journal=$(debugfs -R 'bmap <8> 0' $dev 2>/dev/null)
	journal_field 24 1
	journal_field 28 1
}

# transaction TARGET [DATA-FILE]: a committed transaction 1 that replaces block TARGET.
transaction() {
	{
		header $descriptor 1
		be32 "$1" 0x8
	} | log_block 1
	head -c $bs "${2:-/dev/zero}" | log_block 2
	header $commit 1 | log_block 3
}

# revokes FROM: blocks of revoke records, of transaction 1, from block FROM of the log to its end.
revokes() { head -c $(((1024 - $1) * bs)) "$WORK/revokes" | log_block "$1"; }

# Made by doubling: a guest is slow at starting programs.
{
	header $revoke 1
	be32 16
} >"$WORK/revoke"
truncate -s $bs "$WORK/revoke"
cp "$WORK/revoke" "$WORK/revokes"
for ((n = 1; n < 1024; n *= 2)); do
	cat "$WORK/revokes" "$WORK/revokes" >"$WORK/twice"
	mv "$WORK/twice" "$WORK/revokes"
done

# refused NAME REGEX: the mount fails within its time, and says why.
refused() {
	local status
	log_mark
	timeout -s KILL 100 mount -t "$FSTYPE" -o ro $dev "$MNT" >/dev/null 2>&1
	status=$?
	if is_mounted "$MNT"; then
		umount "$MNT"
		not_ok "$1" "was mounted"
	elif [ $status -ge 124 ]; then
		not_ok "$1" "did not come to an end"
	else
		logged "$1" "$2"
	fi
}

mounted() {
	log_mark
	check "$1" mount -t "$FSTYPE" -o ro $dev "$MNT"
	is_mounted "$MNT" && umount "$MNT"
	logged "$1, recovered" "recovery complete"
}

# --- sound ---

fresh
mounted "empty log"
equal "empty log, flag" "$(dumpe2fs -h $dev 2>/dev/null | grep -c needs_recovery)" 0

fresh
dd if=$dev of="$WORK/super" bs=$bs count=1 status=none
printf 'from-the-journal' | dd of="$WORK/super" bs=1 seek=$((1024 + 0x78)) conv=notrunc status=none
transaction 0 "$WORK/super"
# What went past the journal: 5 errors, and that there were any.
printf '\005' | at $((1024 + 0x194))
printf '\003' | at $((1024 + 0x3a))
mounted "superblock in the log"
dumpe2fs -h $dev >"$WORK/dump" 2>/dev/null
check "superblock in the log, replayed" grep -q 'volume name: *from-the-journal' "$WORK/dump"
check "superblock in the log, errors kept" grep -q 'FS Error count: *5' "$WORK/dump"
check "superblock in the log, state kept" grep -q 'state:.*with errors' "$WORK/dump"
equal "superblock in the log, flag" "$(grep -c needs_recovery "$WORK/dump")" 0
check "superblock in the log, clean" e2fsck -fn $dev

fresh
journal_field 32 $((-5))
mounted "error in the journal"
check "error in the journal, moved" grep -q 'state:.*with errors' <(dumpe2fs -h $dev 2>/dev/null)
equal "error in the journal, forgotten there" \
	"$(dd if=$dev bs=1 skip=$((journal * bs + 32)) count=4 status=none | od -An -tx4 | tr -d ' ')" 00000000

# --- logs that jbd2 alone would not survive, or not leave ---

if [ "$FSTYPE" = rext4 ]; then
	fresh
	revokes 1
	refused "revoke blocks in a circle" "no end"

	fresh
	transaction 5000
	# Without its commit block, and on for ever.
	revokes 3
	refused "a transaction in a circle" "no end"

	fresh
	transaction $((journal + 3)) "$WORK/revoke"
	revokes 4
	refused "a transaction that unmakes its own end" "overwrite itself"

	fresh
	transaction "$journal"
	refused "a transaction over the journal's superblock" "overwrite itself"

	fresh
	transaction 0x7fffffff
	refused "a transaction beyond the device" "beyond the end"

	fresh
	journal_field 28 0x7fffffff
	refused "a log that starts nowhere" "starts outside"

	fresh
	journal_field 20 500
	refused "a log that is too short" "too short"
fi

# --- what a replay may leave ---

fresh
transaction 0
refused "a log that destroys the superblock" "magic"

fresh
head -c $bs /dev/zero | tr '\0' '\377' >"$WORK/ones"
transaction 1 "$WORK/ones"
refused "a log that destroys the group descriptors" "group"

fresh
transaction "$(debugfs -R 'imap <2>' $dev 2>/dev/null | sed -n 's/.*block \([0-9]*\),.*/\1/p')" "$WORK/ones"
refused "a log that destroys the root directory" "root inode"
finish
