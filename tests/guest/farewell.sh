#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 600
#
# Files and directories that are used while they lose their last name: those that nobody uses go with it, and those
# that somebody has open, or finds by a handle, stay what they are until the end.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

# used NAME MKFS...: threads make, use and remove them; then everything is sound.
used() {
	local name=$1 said free
	shift
	on "$name" "$@"
	free=$(stat -f -c %d "$MNT")
	log_mark
	if said=$(farewell "$MNT" "${SECONDS_EACH:-12}" "$SEED" 2>&1); then
		ok "$name, while they are used"
	else
		not_ok "$name, while they are used" "$said"
	fi
	# Otherwise nothing has been tried.
	check "$name, some of each: $said" grep -qE 'found [1-9][0-9]* gone [1-9][0-9]* unnamed [1-9]' <<<"$said"
	check "$name, no complaint" test -z "$(log_since | grep -iE 'ext4' | grep -v 'mounted filesystem\|unmounting')"
	clean "$name"
	find "$MNT" -mindepth 1 -maxdepth 1 ! -name lost+found -delete
	equal "$name, all inodes free" "$(stat -f -c %d "$MNT")" "$free"
	clean "$name, empty"
}

used "usual features" -N 4096
used "small blocks, no index" -N 4096 -b 1024 -O ^dir_index
used "orphan list" -N 4096 -O ^orphan_file
used "no journal" -N 4096 -O ^has_journal
used "inline data" -N 4096 -O inline_data
finish
