#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 600
#
# Full devices: no block left, no inode left. What does not fit is refused, with nothing half-done; what needs no
# room works; and what is removed can be used again.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

for config in "1k 8M -b 1024" "4k 16M -b 4096" "ext3 8M -b 1024 -O ^extent,^64bit" "no-journal 8M -b 1024 -O ^has_journal" "inline 16M -b 4096 -O inline_data,ea_inode"; do
	read -r name size mkfs <<<"$config"
	# shellcheck disable=SC2086
	size=$size on "full, $name" -m 0 -N 9000 $mkfs
	ops "full, $name, filled" <<'LIST'
ok mkdir d
ok mkdir e
ok create f
ok create g
ok setxattr user.small 20 f
ok symlink {t*900} link
ok*500 create e/f%
ok*20 create e/g%
ENOSPC+ mkdir e/%
ENOSPC++ mkdir sub%
ENOSPC++ link f d/{n*230}-%
ENOSPC++ symlink {t*1000} s%
ENOSPC++ setxattr user.%{x*20} 700 e/g%
LIST
	ops "full, $name, operations" <<'LIST'
ENOSPC mkdir more
ENOSPC symlink {t*1000} more
ENOENT what more
ENOSPC setxattr user.large 900 f
ENOSPC setxattr user.larger 3000 e
ok setxattr user.small 19 f
ok setxattr trusted.tiny 1 e
ok rename g f
-1 what f
ok|ENOSPC rename e/5 e/5555
ok unlink link
ok rmdir e/6
LIST
	clean "full, $name"
	# And empty again: all of it is free.
	find "$MNT" -mindepth 1 -delete
	sync -f "$MNT"
	ops "full, $name, emptied" <<'LIST'
ok*300 mkdir %
ok*300 rmdir %
LIST
	clean "full, $name, emptied"
done

for mkfs in "" "-O ^has_journal"; do
	# shellcheck disable=SC2086
	on "no inode left $mkfs" -b 1024 -N 200 $mkfs
	ops "no inode left $mkfs" <<'LIST'
ok mkdir d
ENOSPC+ create d/f%
ENOSPC create g
ENOSPC mkdir g
ENOSPC mknod p g
ENOSPC symlink x g
ENOSPC symlink {t*900} g
ENOSPC tmpfile .
ENOSPC rename d/f1 d/white w
-1 what d/f1
ENOENT what d/white
ok link d/f1 g
ok rename d/f2 g
ok unlink d/f3
ok create again
ok unlink again
ok symlink {t*900} again
ENOSPC mkdir more
LIST
	clean "no inode left $mkfs"
done
finish
