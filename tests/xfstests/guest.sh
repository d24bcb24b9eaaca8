#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs xfstests inside a guest; started there by tests/xfstests/run.sh. The tree is the share `xfstests`, and check
# runs in a writable layer over it.
#
#     usage: guest.sh ext4|rext4 ARGUMENT...
#
# The disks are not in memory: xfstests does not trust those with flushes. The line '# check has ended' is the last one
# of a run that was not cut short; a line '# not ...' says that what was run was not what was meant.

set -u
subject=$1
shift

fail() {
	echo "# not run: $*"
	exit 1
}

for module in loop dm-mod dm-flakey dm-log-writes dm-snapshot dm-thin-pool; do modprobe -q $module; done
if [ "$subject" = rext4 ]; then
	for module in $(modinfo -F depends "$REXT4_KO" | tr , ' '); do modprobe "$module" || fail "no $module"; done
	insmod "$REXT4_KO" ext4=1 || fail "the module is not loaded"
	other=ext4
else
	modprobe ext4 || fail "no C ext4"
	other=rext4
fi

# Who serves the name: the tests would not tell.
judged_alone() { [ -d "/sys/module/$subject" ] && [ ! -d "/sys/module/$other" ] && grep -qw ext4 /proc/filesystems; }
judged_alone || fail "the name ext4 is not $subject's"

# The users that the tests want; useradd would refuse the third one's name.
id=1100
for user in fsgqa fsgqa2 123456-fsgqa; do
	id=$((id + 1))
	echo "$user:x:$id:$id::/home/$user:/bin/bash" >>/etc/passwd
	echo "$user:x:$id:" >>/etc/group
	echo "$user:*:20000:0:99999:7:::" >>/etc/shadow
	mkdir -p "/home/$user" && chown "$id:$id" "/home/$user"
done

mkdir -p /xfstests /xfstests.layer /mnt/test /mnt/scratch
mount -t tmpfs layer /xfstests.layer && mkdir /xfstests.layer/{upper,work} &&
	mount -t overlay -o lowerdir=/share/xfstests,upperdir=/xfstests.layer/upper,workdir=/xfstests.layer/work \
		xfstests /xfstests || fail "no layer over the tree"
cd /xfstests || exit
missing=$(ldd ltp/* src/aio-dio-regress/* 2>/dev/null | awk '/not found/ {print $1}' | sort -u)
[ -z "$missing" ] || echo "note: programs of this tree want what the guest has not: ${missing//$'\n'/ }"

{
	cat <<'CONFIG'
export FSTYP=ext4
export TEST_DEV=/dev/vdb
export TEST_DIR=/mnt/test
export SCRATCH_DEV=/dev/vdc
export SCRATCH_MNT=/mnt/scratch
export LOGWRITES_DEV=/dev/vdd
export RESULT_BASE=/out/results
CONFIG
	for name in MKFS_OPTIONS MOUNT_OPTIONS LOAD_FACTOR TIME_FACTOR SOAK_DURATION; do
		[ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
	done
} >/tmp/xfstests.config
export HOST_OPTIONS=/tmp/xfstests.config
# There is no udev that would make the nodes.
export DM_DISABLE_UDEV=1
# shellcheck disable=SC2086
mke2fs -q -F -t ext4 ${MKFS_OPTIONS:-} /dev/vdb || fail "mke2fs failed"

./check "$@"
status=$?
judged_alone || echo "# not $subject alone: the other driver was loaded meanwhile"
echo "# check has ended, with status $status"
exit 0
