# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What a device has at the moment at which the plug is pulled, and what a tree has to look like then that metaload (tests/tools/metaload.c, with --crash) was at when the plug was
# pulled: sourced after tests/guest/lib.sh.
#
# metaload writes down in the mtime of its directory how many operations it has done, after each of them, so the
# state is that of this operation or of the next. Transactions are committed whole and in order. The tree to
# compare with is made by a second metaload with the same seed, on C ext4, which is let on to just there.

# reference_start DIR METALOAD-ARGUMENTS...: DIR is on a file system of C ext4, made like the other.
reference_start() {
	reference=$1
	shift
	coproc follower { exec metaload --crash --follow "$@" "$reference"; }
	reached=-1
}

# reference_to NUMBER: lets it go on until so many operations are done.
reference_to() {
	echo "$1" >&"${follower[1]}"
	read -r reached <&"${follower[0]}"
}

reference_end() {
	[ -n "${follower_PID:-}" ] || return 0
	eval "exec ${follower[1]}>&-"
	# shellcheck disable=SC2154
	wait "$follower_PID" 2>/dev/null
}

# plug ENTRY SOME: makes /dev/mapper/plug: what /dev/ram1 holds, and if SOME is 1, some of what was written after ENTRY
# entries. It is a snapshot, so that the device stays as it was. $size is the device's in MiB.
plug() {
	truncate -s 0 "$WORK/snapshot" && truncate -s 256M "$WORK/snapshot"
	losetup /dev/loop0 "$WORK/snapshot"
	# shellcheck disable=SC2154
	dmsetup create plug --table "0 $((size * 2048)) snapshot /dev/ram1 /dev/loop0 N 8" && dmsetup mknodes
	[ "$2" = 0 ] || replay-log some /dev/ram2 /dev/mapper/plug "$1" "$SEED"
}
unplug() {
	dmsetup remove --retry plug
	losetup -d /dev/loop0
}

portable() { census --portable --no-times --no-data "$@"; }

# as_expected NAME DIR LEAST OPERATIONS: the tree is that of an operation that it may be of: not one before LEAST,
# which had been made durable. The times have to be asked in their order.
as_expected() {
	local name=$1 dir=$2 least=$3 number turn
	number=$(stat -c %Y "$dir")
	# Not yet set: the time at which it was made.
	[ "$number" -le "$4" ] || number=0
	if ! portable "$dir" >"$WORK/tree" 2>"$WORK/err"; then
		not_ok "$name" "census: $(cat "$WORK/err")"
		return 1
	fi
	# Not even begun.
	[ -d "$dir/load" ] || [ "$least" -gt 0 ] || return 0
	# An operation may change nothing, so that the earlier of the two is not the answer if it is too early.
	for ((turn = 0; turn < 2; turn++)); do
		if [ $((number + turn)) -gt "$reached" ]; then
			reference_to $((number + turn)) || {
				not_ok "$name" "the reference is gone"
				return 1
			}
			portable "$reference" >"$WORK/tree.reference"
		fi
		[ "$reached" -ge "$least" ] && cmp -s "$WORK/tree.reference" "$WORK/tree" && return
	done
	if [ "$reached" -lt "$least" ]; then
		not_ok "$name" "operation $least had been made durable, and $number is the last there"
	else
		not_ok "$name" "the tree is neither that of operation $number nor that of the next"
	fi
	differences "$WORK/tree.reference" "$WORK/tree"
	[ ! -s "$WORK/log" ] || grep -E "^($number|$((number + 1))) " "$WORK/log" | cut -c 1-200 | sed 's/^/#   /'
	return 1
}
