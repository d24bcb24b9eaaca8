#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 600
#
# pjdfstest, whole, on both drivers: what passes on C ext4 has to pass on the driver under test. Left out is
# posix_fallocate, which rext4 does not have yet.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
suite=/share/pjdfstest/pjdfstest

# Two users whom it becomes.
echo "tests:x:1234:" >>/etc/group
echo "tests:x:1234:1234::/:/bin/false" >>/etc/passwd
cat >"$WORK/config.toml" <<'CONFIG'
[features]
rename_ctime = {}
utime_now = {}
utimensat = {}
stat_st_birthtime = {}

[settings]
naptime = 0.02
allow_remount = REMOUNT

[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
CONFIG

mkdir "$WORK/other"
# run NAME: the results, a line each: NAME ok|FAILED|skipped.
run() {
	make_fs /dev/ram0 64M -t ext4 -b 4096
	make_fs /dev/ram1 64M -t ext4 -b 4096
	mount -t ext4 /dev/ram0 "$MNT" || return 1
	mount -t ext4 /dev/ram1 "$WORK/other" || return 1
	chmod 755 "$WORK"
	# It leaves files open, so that what remounts read-only (the tests named erofs) gets a process of its own.
	sed 's/REMOUNT/false/' "$WORK/config.toml" >"$WORK/first.toml"
	sed 's/REMOUNT/true/' "$WORK/config.toml" >"$WORK/second.toml"
	"$suite" -c "$WORK/first.toml" -p "$MNT" -s "$WORK/other" >"$WORK/out" 2>&1
	"$suite" -c "$WORK/second.toml" -p "$MNT" -s "$WORK/other" erofs >"$WORK/out.erofs" 2>&1
	umount "$WORK/other"
	umount "$MNT" || return 1
	sed 's/\x1b\[[0-9;]*m//g' "$WORK/out" "$WORK/out.erofs" >"$WORK/out.$1"
	[ ! -w /out ] || cp "$WORK/out.$1" "/out/pjdfstest.$1"
	awk '$2 ~ /^(ok|FAILED|skipped)$/ {last[$1] = $2} END {for (name in last) print name, last[name]}' "$WORK/out.$1" |
		grep -v '^posix_fallocate::' | sort >"$WORK/$1"
	[ "$(grep -c '[0-9] total' "$WORK/out.$1")" -eq 2 ]
}

judged() {
	local name=$1 result
	if run "$name" >"$WORK/said" 2>&1; then
		ok "$name: runs to its end"
	else
		not_ok "$name: runs to its end" "$(tail -n 1 "$WORK/said")"
	fi
	check "$name: clean afterwards" e2fsck -fn /dev/ram0
	for result in FAILED skipped; do
		awk -v result=$result -v name="$name" '$2 == result {print "# " name ": " result ": " $1}' "$WORK/$name"
	done
	echo "# $name: $(grep -c ' ok$' "$WORK/$name") pass, $(grep -c ' FAILED$' "$WORK/$name") fail, $(grep -c ' skipped$' "$WORK/$name") are skipped"
}

judged ext4
if [ "$FSTYPE" = rext4 ]; then
	# Under the name ext4, by which the C library knows how many links a file can have.
	rmmod rext4 && rmmod ext4 && insmod "$REXT4_KO" ext4=1 || not_ok "ext4 is rext4" "$(dmesg | tail -n 1)"
	judged "$FSTYPE"
	rmmod rext4 && modprobe ext4 || not_ok "ext4 is ext4 again"
fi

check "there are tests" test "$(grep -c ' ok$' "$WORK/ext4")" -gt 380
wrong=0
while read -r name result; do
	[ "$result" = ok ] || continue
	is=$(awk -v name="$name" '$1 == name {print $2}' "$WORK/$FSTYPE")
	[ "$is" = ok ] && continue
	wrong=$((wrong + 1))
	not_ok "$name" "passes on C ext4, here: ${is:-not run}"
	grep -A 3 "^$name " "$WORK/out.$FSTYPE" | sed 's/^/#   /'
done <"$WORK/ext4"
equal "passes on C ext4 and not here" $wrong 0
finish
