#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 600
#
# A directory of sixty thousand files; with LONG=1 of a million, and the limits of links are reached by making links.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

blocks() { stat -c %b "$MNT/$1"; }

names=60000
[ -z "${LONG:-}" ] || names=1000000
size=1G on "$names names" -b 4096 -N $((names + 5000)) -I 128
mkdir "$MNT/dir"
check "$names names, made" crowd make "$MNT/dir" 0 $names 20
check "$names names, there" crowd check "$MNT/dir" 0 $names 20
clean "$names names"
check "$names names, there after a mount" crowd check "$MNT/dir" 0 $names 20
full=$(blocks dir)
check "$names names, removed" crowd remove "$MNT/dir" 0 $names 20 mixed
left=$(blocks dir)
[ "$FSTYPE" = ext4 ] || check "$names names, shrinks from $full to $left sectors" test "$left" -le 64
clean "$names names, none left"

if [ -n "${LONG:-}" ]; then
	size=1G on "links in full" -b 1024 -N 150000
	ops "links in full" <<'LIST'
ok mkdir d
ok mkdir l
ok create f
ok*64999 link f l/%
-65000 what f
EMLINK link f l/one-more
ok*64998 mkdir d/%
d65000 what d
ok mkdir d/one-more
d1 what d
ok*2000 mkdir d/more-%
d1 what d
LIST
	clean "links in full"
fi
finish
