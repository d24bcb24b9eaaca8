#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs cases inside a guest; started there by tests/run.sh.
#
#     usage: run-cases.sh SCALE FOLDER CASE...
#
# A CASE is NAME or NAME@i-n (part i of n: the script sees SHARD=i/n) and is the script
# FOLDER/NAME.sh. Several guests may be given the same list and the same /out: a case belongs to who
# makes its folder first. Per case /out/CASE holds `log` (all that it printed) and, once it has ended,
# `status`; the lines that count are printed with the case's name in front:
#
#     ok CASE: check
#     ok CASE: check # SKIP why
#     not ok CASE: check - why
#
# A script that prints no such line is one check by itself: its status decides. A script has
# `# timeout: SECONDS` in its head if 300 are not enough; SCALE multiplies it, and ten if LONG is set. After each case everything it
# mounted has to be unmounted, its loop devices gone and the kernel's log clean; at the end the module has to
# unload.

set -u
scale=$1
cases=/src/$2
shift 2

# clean_up CASE: what a case left behind is a failure, and is removed so that the next is not disturbed.
clean_up() {
	local left
	left=$(comm -13 <(echo "$mounts") <(awk '{print $2}' /proc/self/mounts | sort))
	if [ -n "$left" ]; then
		echo "not ok left mounted - ${left//$'\n'/ }"
		tac <<<"$left" | xargs -r -n 1 umount -l
	fi
	left=$(losetup -n -O NAME,BACK-FILE)
	if [ -n "$left" ]; then
		echo "not ok loop devices left - ${left//$'\n'/ }"
		losetup -D
	fi
	if dmesg | tail -n "+$((seen + 1))" | grep -Ef /src/qemu/splat.regex >/tmp/.splats; then
		echo "not ok kernel log - $(head -n 1 /tmp/.splats)"
		dmesg | tail -n "+$((seen + 1))" | grep -Ef /src/qemu/splat.regex -A 30 | head -n 100
	fi
}

# relay CASE: copies a case's output to its log, and the lines that count to the output.
relay() {
	awk -v name="$1" -v log_file="/out/$1/log" '
		{ print >log_file; fflush(log_file) }
		/^(not )?ok / {
			counted = $0
			sub(/ok /, "ok " name ": ", counted)
			print counted
			fflush()
		}'
}

run_case() {
	local name=$1 script limit status counted start=$SECONDS
	script=$cases/${name%@*}.sh
	limit=$(sed -n '1,40s/^# timeout: *\([0-9]*\)$/\1/p' "$script")
	limit=$((${limit:-300} * scale))
	[ -z "${LONG:-}" ] || limit=$((limit * 10))
	mounts=$(awk '{print $2}' /proc/self/mounts | sort)
	seen=$(dmesg | wc -l)
	echo "rext4-test: $name" >/dev/kmsg
	if [[ $name = *@* ]]; then SHARD=${name#*@}; export SHARD=${SHARD/-//}; else unset SHARD; fi
	{
		timeout -k 10 "$limit" bash "$script" </dev/null 2>&1
		status=$?
		echo "$status" >/tmp/.status
		[ "$status" -ne 124 ] && [ "$status" -ne 137 ] || echo "not ok ended - killed after $limit seconds"
		clean_up
	} | relay "$name"
	status=$(cat /tmp/.status)
	counted=$(grep -cE '^(not )?ok ' "/out/$name/log")
	if [ "$status" -ne 0 ] && ! grep -q '^not ok ' "/out/$name/log"; then
		echo "not ok $name: ended with status $status"
		echo "not ok ended - with status $status" >>"/out/$name/log"
	elif [ "$counted" -eq 0 ]; then
		echo "ok $name"
		echo "ok the whole script" >>"/out/$name/log"
	fi
	echo "$status" >"/out/$name/status"
	echo "# $name took $((SECONDS - start)) seconds"
}

for name in "$@"; do
	mkdir "/out/$name" 2>/dev/null || continue
	echo "$GUEST" >"/out/$name/guest"
	run_case "$name"
done

# Unloading finds inodes and buffers that were never given back.
if [ -d /sys/module/rext4 ]; then
	seen=$(dmesg | wc -l)
	mounts=$(awk '{print $2}' /proc/self/mounts | sort)
	mkdir "/out/unload-$GUEST"
	echo "$GUEST" >"/out/unload-$GUEST/guest"
	{
		if rmmod rext4 2>&1; then echo "ok rmmod"; else echo "not ok rmmod"; fi
		clean_up
	} | relay "unload-$GUEST"
	echo 0 >"/out/unload-$GUEST/status"
fi
exit 0
