#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest's process 1, started by the stub in the guest root (see qemu/guest-root.sh) from the
# project's folder at /src. qemu/guest.sh says what the guest looks like to the command it runs.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb

# Emergency restart: QEMU runs with -no-reboot, so this ends it at once, without ACPI's seconds.
stop() {
	sync
	echo b >/proc/sysrq-trigger
	sleep 60
}

fail() {
	echo "rext4-init: $*" >/dev/console
	stop
}

# One process for all of it: under emulation every fork and exec counts.
cd / && mount -a -T /src/qemu/guest.fstab
[ -r /run/rext4/env ] || fail "no share from the host"
umount -l /mnt
cp -a /usr/lib/rext4/dev/. /dev/
hostname rext4
ulimit -c 0

# shellcheck source=/dev/null
. /run/rext4/env
for tag in $SHARES; do
	mkdir -p "/share/$tag" &&
		mount -t 9p -o trans=virtio,version=9p2000.L,msize=507904,cache=loose,ro "share-$tag" "/share/$tag" ||
		fail "cannot mount the share $tag"
done
PATH=/share/bin:/src/tests/lib:$PATH

# Leaks from before the command are not the command's.
leaks=/sys/kernel/debug/kmemleak
[ ! -w $leaks ] || echo clear >$leaks

cd /src || fail "no project folder"
if [ "$INTERACTIVE" = 1 ]; then
	export TERM="$GUEST_TERM"
	stty -F /dev/hvc0 rows "$ROWS" cols "$COLUMNS"
	unset INTERACTIVE GUEST_TERM ROWS COLUMNS
	setsid -c -w bash /run/rext4/command </dev/hvc0 >/dev/hvc0 2>&1
	status=$?
else
	port=
	for name in /sys/class/virtio-ports/*/name; do
		if [ "$(<"$name")" = rext4.output ]; then
			name=${name%/name}
			port=/dev/${name##*/}
		fi
	done
	[ -c "$port" ] || fail "no output port"
	# Through a pipe, because the port can be opened only once and /dev/stdout has to work.
	setsid -w bash /run/rext4/command </dev/null 2>&1 | cat >"$port"
	status=${PIPESTATUS[0]}
fi

if [ -w $leaks ] && [ "$CHECK_LEAKS" = 1 ]; then
	# kmemleak reports only what is older than five seconds, and one scan may see a stale pointer on
	# a stack that the next does not.
	sleep 6
	echo scan >$leaks
	echo scan >$leaks
	cat $leaks >/dev/console
fi

cd /
echo "$status" >/run/rext4/status.tmp && mv /run/rext4/status.tmp /run/rext4/status
stop
