# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the guest cases share. A case is a bash script that sources this file, runs in the guest
# (qemu/guest.sh) and prints one line per check:
#
#	ok NAME
#	not ok NAME - why
#	ok NAME # SKIP why
#
# It ends with `finish`, whose status is 0 only if nothing failed. FSTYPE_UNDER_TEST is the type
# whose mounts are judged; with `ext4` the cases judge the C driver by itself, which is how the
# cases are proven.

set -u -o pipefail
umask 022

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
FSTYPE=${FSTYPE_UNDER_TEST:-rext4}
SEED=${SEED:-1}
WORK=$(mktemp -d /tmp/guest-test.XXXXXX)
MNT=$WORK/mnt
mkdir "$MNT"
export TESTS FSTYPE SEED WORK MNT

passed=0
failed=0

ok() {
	passed=$((passed + 1))
	echo "ok $1"
}

not_ok() {
	failed=$((failed + 1))
	echo "not ok $1 - ${2:-}"
}

skip() { echo "ok $1 # SKIP ${2:-}"; }

# check NAME COMMAND...: ok if the command succeeds; its output is shown if it does not.
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		ok "$name"
	else
		not_ok "$name" "$* failed"
		sed 's/^/#   /' <<<"$out" | head -n 20
	fi
}

# equal NAME ACTUAL EXPECTED
equal() {
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1" "is [$2], expected [$3]"
	fi
}

finish() {
	is_mounted "$MNT" && umount "$MNT"
	kernel_log_clean 1 || not_ok "kernel log" "see above"
	rm -rf "$WORK"
	echo "# $passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}

# mounted_with REGEX: the mount's line in /proc/self/mounts, from the type on.
mounted_with() { grep -qE " $MNT $1" /proc/self/mounts; }

# has_feature DEVICE NAME: as dumpe2fs prints the superblock.
has_feature() { grep -qw "$2" <<<"$(dumpe2fs -h "$1" 2>/dev/null)"; }

is_mounted() { grep -q " $1 " /proc/self/mounts; }

# --- drivers and devices ---

load_drivers() {
	modprobe ext4
	if [ "$FSTYPE" = rext4 ] && ! grep -qw rext4 /proc/filesystems; then
		insmod "$REXT4_KO" || {
			not_ok "insmod" "status $?"
			dmesg | tail -n 20
			exit 1
		}
	fi
}

# RAM disks /dev/ram0 ... of 17 GiB each, which take memory for what is written only.
load_ram_disks() {
	[ -b /dev/ram0 ] || modprobe brd rd_nr=4 rd_size=17825792
}

# make_fs DEVICE SIZE MKFS-ARGUMENTS...: an empty file system on a RAM disk. What the device held
# is discarded, so that mkfs need not write zeros.
make_fs() {
	local dev=$1 size=$2
	shift 2
	blkdiscard -f "$dev" 2>/dev/null
	mke2fs -q -F -E assume_storage_prezeroed=1 "$@" "$dev" "$size" >"$WORK/mke2fs" 2>&1 || {
		cat "$WORK/mke2fs"
		false
	}
}

# --- the kernel's log ---

SPLAT='WARNING: |\] BUG[: ]|Oops|KASAN|UBSAN|general protection|Call Trace:|blocked for more|self-detected stall|rcu.*stall|list_(add|del) corruption'

# The log is a ring that wraps, so a place in it is a line that is written there.
marks=0
log_mark() {
	marks=$((marks + 1))
	echo "guest-test: $$ mark $marks" >/dev/kmsg
}
log_after() { dmesg | awk -v mark="guest-test: $$ mark $1\$" '$0 ~ mark {seen = 1; text = ""; next} {text = text $0 "\n"} END {printf "%s", text}'; }
log_since() { log_after "$marks"; }
log_mark

# kernel_log_clean MARK: no report of a problem since that mark; 1 is the start of the case.
kernel_log_clean() {
	local found
	found=$(log_after "$1" | grep -E "$SPLAT" | head -n 5)
	[ -z "$found" ] || {
		sed 's/^/#   /' <<<"$found"
		false
	}
}

# in_log REGEX: since the mark. (Not in a pipe: grep -q leaves before the writer has finished, and with
# pipefail that looks like failure.)
in_log() { grep -qE "$1" <<<"$(log_since)"; }

# logged NAME REGEX: whether the log since the mark has it.
logged() {
	if in_log "$2"; then
		ok "$1"
	else
		not_ok "$1" "the log has no /$2/"
		log_since | tail -n 5 | sed 's/^/#   /'
	fi
}

# --- file systems that are changed: all on /dev/ram0 ---

# on NAME MKFS...: an empty file system, mounted with $options.
on() {
	local name=$1
	shift
	is_mounted "$MNT" && umount "$MNT"
	make_fs /dev/ram0 "${size:-64M}" -t ext4 "$@" && mount -t "$FSTYPE" -o "${options:-defaults}" /dev/ram0 "$MNT" ||
		not_ok "$name" "cannot be mounted: $(tail -n 1 "$WORK/mke2fs")"
}

# ops NAME: what standard input says (see tests/tools/metaop.c).
ops() {
	local out
	if out=$(metaop "$MNT"); then
		ok "$1"
	else
		not_ok "$1" "see below"
	fi
	[ -z "$out" ] || cut -c 1-300 <<<"$out" | sed 's/^/#   /'
}

# clean NAME: unmounted, and e2fsck has nothing to say; mounted again.
clean() {
	umount "$MNT" || not_ok "$1, unmounted" "failed"
	check "$1, clean" e2fsck -fn /dev/ram0
	mount -t "$FSTYPE" -o "${options:-defaults}" /dev/ram0 "$MNT" || not_ok "$1, mounted again" "failed"
}

# --- comparing two drivers ---

# differences A B: what differs between two censuses, by key and by object, briefly.
differences() {
	awk -v other="$2" '
	function say(text) { if (shown++ < 12) print "#   " text }
	{
		if ((getline line < other) <= 0) { say("only in the first: " $1); missing++; next }
		if (line == $0) next
		n = split(line, f, " ")
		if (f[1] != $1) { say("order: " $1 " and " f[1]); objects++; next }
		objects++
		text = $1
		for (i = 2; i <= NF || i <= n; i++) {
			if ($i == f[i]) continue
			key = $i != "" ? $i : f[i]
			sub(/=.*/, "", key)
			keys[key]++
			text = text "  " $i " -> " f[i]
		}
		say(substr(text, 1, 600))
	}
	END {
		while ((getline line < other) > 0) { split(line, f, " "); say("only in the second: " f[1]) }
		printf "#   %d lines differ:", objects + missing
		for (key in keys) printf " %s(%d)", key, keys[key]
		print ""
	}' "$1"
}

# census_of TYPE DEVICE OPTIONS OUTPUT [CENSUS-OPTIONS...]: mounts read-only, looks at all of it, unmounts.
census_of() {
	local type=$1 dev=$2 options=$3 to=$4 status
	shift 4
	# mount(8) passes a driver's warnings on, on its standard output.
	mount -t "$type" -o "ro,$options" "$dev" "$MNT" >/dev/null || return 1
	census "$@" "$MNT" >"$to"
	status=$?
	umount "$MNT" || return 1
	return "$status"
}

# compare NAME DEVICE OPTIONS [CENSUS-OPTIONS...]: C ext4 and the driver under test see the same.
compare() {
	local name=$1 dev=$2 options=$3 c=$WORK/census.c r=$WORK/census.r
	shift 3
	if ! census_of ext4 "$dev" "$options" "$c" "$@" 2>"$WORK/err"; then
		not_ok "$name" "C ext4: $(tail -n 1 "$WORK/err")"
	elif ! census_of "$FSTYPE" "$dev" "$options" "$r" "$@" 2>"$WORK/err"; then
		not_ok "$name" "$FSTYPE: $(tail -n 1 "$WORK/err")"
		dmesg | tail -n 3 | sed 's/^/#   /'
	elif cmp -s "$c" "$r"; then
		ok "$name"
	else
		not_ok "$name" "the two drivers differ"
		differences "$c" "$r"
		if [ -w /out ]; then
			mkdir -p /out/differences
			cp "$c" "/out/differences/$name.ext4"
			cp "$r" "/out/differences/$name.$FSTYPE"
		fi
	fi
}
