#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 600
#
# Allocations that fail while names and inodes change (failslab; the debug kernel has it): an operation either
# happens or fails and has not happened, no transaction stays open, nothing is taken for damage, and the file
# system is clean in the end.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
fail=/sys/kernel/debug/failslab
if [ ! -d $fail ]; then
	skip "allocations that fail" "the kernel has no failslab"
	finish
	exit
fi

# Of allocations below the driver under test, and of tasks that ask for it.
echo Y >$fail/task-filter
echo N >$fail/ignore-gfp-wait
echo -1 >$fail/times
echo 0 >$fail/verbose
echo 1 >$fail/interval
start=$((16#$(awk -v name="$FSTYPE" '$1 == name {print substr($6, 3)}' /proc/modules)))
printf '%#x' $start >$fail/require-start
printf '%#x' $((start + $(awk -v name="$FSTYPE" '$1 == name {print $2}' /proc/modules))) >$fail/require-end
echo 32 >$fail/stacktrace-depth

for config in "4k -b 4096" "1k -b 1024" "inline -b 4096 -O inline_data,ea_inode" "no-journal -b 1024 -O ^has_journal" "block-maps -b 1024 -O ^extent,^64bit"; do
	read -r name mkfs <<<"$config"
	for probability in 1 10; do
		# shellcheck disable=SC2086
		on "$name" $mkfs
		log_mark
		echo $probability >$fail/probability
		(
			echo 1 >/proc/self/make-it-fail
			exec metaload --tolerant --seed $((SEED * 10 + probability)) --ops 800 --log "$WORK/log" "$MNT"
		) >"$WORK/out" 2>&1 && ok "$name, $probability%: as the calls said" || {
			not_ok "$name, $probability%: as the calls said" "$(head -n 1 "$WORK/out")"
			head -n 5 "$WORK/out" | sed 's/^/#   /'
		}
		echo 0 >$fail/probability
		check "$name, $probability%: something failed" grep -q ' ENOMEM ' "$WORK/log"
		in_log "$FSTYPE-fs error|EXT4-fs error|aborted" && not_ok "$name, $probability%: is not taken for damage" "$(log_since | grep -E 'error|abort' | head -n 1)"
		check "$name, $probability%: goes on" metaload --seed $((SEED * 10 + probability)) --ops 100 "$MNT/lost+found"
		clean "$name, $probability%"
	done
done
finish
