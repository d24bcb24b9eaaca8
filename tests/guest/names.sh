#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 600
#
# Names: each operation on them and each errno, the limits of names and links, what is durable at once.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0

# --- every operation, every errno ---

errnos() {
	cat <<'LIST'
ok mkdir a
ok mkdir a/b
ok create f
ok create g
ok symlink target l
ok symlink {t*3000} slow
ok mknod c dev
d4 what a/..
# what is there already, what is not, and what is of another kind
EEXIST create f
EEXIST mkdir f
EEXIST mkdir a
EEXIST mknod p f
EEXIST symlink x f
EEXIST link f g
EEXIST link f a
EPERM link a a2
ENOENT unlink none
ENOENT rmdir none
ENOENT rename none f
ENOENT create none/f
ENOTDIR create f/x
ENOTDIR rmdir f
ENOTDIR rmdir l
EISDIR unlink a
ENOTEMPTY rmdir a
EINVAL rmdir a/.
ENOTEMPTY rmdir a/..
EBUSY|EISDIR|EINVAL unlink .
ENOENT symlink {x*0} empty
# rename: over what there is
ok rename f h
ENOENT what f
-1 what h
ok rename h g
-1 what g
ok create f
EISDIR rename f a
ENOTDIR rename a f
ENOTEMPTY|EEXIST rename a/b a
ok mkdir full
ok mkdir full/x
ok mkdir empty
ENOTEMPTY rename empty full
ok rename full empty
d3 what empty
ENOENT what full
ok rename empty full
EINVAL rename a a/b/c
EINVAL rename a a/x
EBUSY|EINVAL rename . x
EBUSY|EINVAL rename a/.. x
ok link f f2
-2 what f
ok rename f f2
-2 what f
-2 what f2
ok rename f2 a/f2
-2 what a/f2
ok rename l a/l
l1 what a/l
ok rename slow a/slow
l1 what a/slow
3000 size a/slow
ok rename dev a/dev
c1:1:3 what a/dev
# a directory that moves: its .. and the links of both parents
d3 what a
ok rename full a/full
d4 what a
d4 what .
yes same a/full/.. a
ok rename a/full full
d3 what a
yes same full/.. .
# over an empty one: both parents lose what it had
ok mkdir a/gone
d4 what a
ok rename full a/gone
d4 what a
d3 what a/gone
yes same a/gone/.. a
ok rename a/gone full
# RENAME_NOREPLACE
EEXIST rename f g n
EEXIST rename f f n
EEXIST rename a full n
ok rename f new n
-2 what new
ok rename new f n
# RENAME_EXCHANGE
ENOENT rename f none x
ok mknod p pipe
ok rename pipe g x
p1 what g
-1 what pipe
ok rename pipe g x
# of a directory and a file in different directories
ok create a/b/file
ok rename full a/b/file x
-1 what full
d3 what a/b/file
yes same a/b/file/.. a/b
d3 what a
d3 what a/b
d4 what .
ok rename full a/b/file x
d3 what full
yes same full/.. .
d5 what .
d2 what a/b
# of two directories
ok mkdir a/b/d
ok rename full a/b/d x
d2 what full
d3 what a/b/d
yes same full/.. .
yes same a/b/d/.. a/b
EINVAL rename a a/b/d x
EINVAL rename a/b/d a x
# RENAME_WHITEOUT
ok rename g whited w
c1:0:0 what g
-1 what whited
ok unlink g
ok rename whited g w
c1:0:0 what whited
ok unlink whited
ok mkdir move
ok rename move a/move w
c1:0:0 what move
d2 what a/move
ok unlink move
EEXIST rename f g wn
EINVAL rename f g xw
EINVAL rename f g xn
EINVAL rename f g ?
# tmpfile
ok tmpfile .
ok tmpfile . made
-1 what made
EEXIST tmpfile . made
ENOENT tmpfile none
ENOTDIR tmpfile f
# truncate to where there is no data
ok truncate 0 f
ok truncate 100000 f
100000 size f
ok truncate 0 f
0 size f
EFBIG truncate 0x7fffffffffffffff f
EINVAL truncate -1 f
EISDIR truncate 0 a
# the length of names
ok create {n*255}
ENAMETOOLONG create {n*256}
ok mkdir {d*255}
ENAMETOOLONG mkdir {d*256}
ENAMETOOLONG symlink x {s*256}
ENAMETOOLONG mknod p {s*256}
ENAMETOOLONG link f {s*256}
ENAMETOOLONG rename f {s*256}
ENAMETOOLONG unlink {s*256}
ENAMETOOLONG rmdir {s*256}
ENAMETOOLONG what {s*256}
ok rename {n*255} {d*255}/{m*255}
ok rename {d*255}/{m*255} {n*255}
ok rename {n*255} {n*254}
ok unlink {n*254}
ENAMETOOLONG symlink {t*4096} toolong
LIST
}
for config in "4k -b 4096" "1k -b 1024" "64k -b 65536" "inline -b 4096 -O inline_data" "ext3 -b 4096 -O ^extent,^64bit" "linear -b 1024 -O ^dir_index"; do
	read -r name mkfs <<<"$config"
	# shellcheck disable=SC2086
	size=128M on "$name" $mkfs
	case $config in
	*1024*) errnos | sed 's/t\*3000/t*1000/; s/^3000 size/1000 size/' | ops "errnos, $name" ;;
	*) errnos | ops "errnos, $name" ;;
	esac
	clean "errnos, $name"
done

on "slow symlinks" -b 1024
ops "a symlink fills a block at most" <<'LIST'
ok symlink {t*59} fast
ok symlink {t*60} slow
ok symlink {t*1023} longest
ENAMETOOLONG symlink {t*1024} toolong
ok unlink longest
ok symlink {t*1023} longest
LIST
clean "slow symlinks"

# Another file system.
on "two file systems" -b 4096
mkdir "$MNT/other"
make_fs /dev/ram1 16M -t ext4
mount -t "$FSTYPE" /dev/ram1 "$MNT/other"
ops "between two file systems" <<'LIST'
ok create f
EXDEV rename f other/f
EXDEV rename other/lost+found lost
EXDEV link f other/f
EXDEV rename f other/lost+found x
EBUSY rename other elsewhere
EBUSY rmdir other
LIST
umount "$MNT/other"

# --- immutable and append-only ---

for flag in i a; do
	on "flag $flag" -b 4096
	# What append-only allows is what adds: to a directory names, to a file (elsewhere) data.
	add=$([ $flag = i ] && echo EPERM || echo ok)
	sed "s/FLAG/$flag/; s/ADD/$add/" <<'LIST' | ops "flag $flag"
ok mkdir d
ok create d/f
ok mkdir d/sub
ok create f
ok create free
ok setxattr user.x 10 f
ok flags +FLAG f
ok flags +FLAG d
EPERM unlink f
EPERM rename f g
EPERM rename free f
EPERM rename free f x
EPERM rename f free x
EPERM link f f2
EPERM truncate 0 f
EPERM truncate 100 f
EPERM chmod 600 f
EPERM chown 1 f
EPERM setxattr user.x 20 f
EPERM removexattr user.x f
EPERM utime-to 5 f
EPERM open w f
EPERM unlink d/f
EPERM rmdir d/sub
EPERM rename d/f d/g
EPERM rename d/f g
EPERM rename d e
EPERM rmdir d
ADD create d/new
ADD mkdir d/newdir
ADD symlink x d/newlink
ADD mknod p d/newpipe
ADD tmpfile d d/newtmp
ADD link free d/newhard
ADD rename free d/moved
EPERM chmod 700 d
ok flags -FLAG f
ok flags -FLAG d
ok unlink f
ok unlink d/f
ok rmdir d/sub
ok chmod 700 d
LIST
	clean "flag $flag"
done

# --- read-only ---

on "read-only" -b 4096
metaop "$MNT" <<<"ok mkdir d
ok create f" || not_ok "read-only, prepared"
mount -o remount,ro "$MNT"
ops "read-only" <<'LIST'
EROFS create g
EROFS mkdir g
EROFS mknod p g
EROFS symlink x g
EROFS link f g
EROFS unlink f
EROFS rmdir d
EROFS rename f g
EROFS rename f d x
EROFS tmpfile .
EROFS chmod 600 f
EROFS chown 1 f
EROFS utime f
EROFS truncate 0 f
EROFS setxattr user.x 1 f
EROFS removexattr user.x f
EROFS flags +i f
EROFS open w f
LIST
mount -o remount,rw "$MNT"
ops "writable again" <<<"ok create g"

# --- directories that are damaged, removed, or shut down ---

# poke BLOCK OFFSET NUMBER: 32 bits of a block of the device.
poke() {
	# shellcheck disable=SC2059
	printf "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($3 & 255)) $(($3 >> 8 & 255)) $(($3 >> 16 & 255)) $(($3 >> 24)))" |
		dd of=/dev/ram0 bs=1 seek=$(($1 * 1024 + $2)) conv=notrunc,fsync status=none
}
damaged_names() {
	local p d q e sectors=$((64 * 2048))
	on "damaged names" -b 1024 -O ^metadata_csum
	ops "damaged names, prepared" <<-'LIST'
		ok mkdir p
		ok mkdir q
		ok mkdir q/x
		ok mkdir p/d
		ok mkdir p/e
	LIST
	p=$(stat -c %i "$MNT/p") q=$(stat -c %i "$MNT/q") e=$(stat -c %i "$MNT/p/e") d=$(stat -c %i "$MNT/p/d")
	umount "$MNT"
	# `..`, the second entry of p/d.
	poke "$(debugfs -R 'bmap p/d 0' /dev/ram0 2>/dev/null)" 12 "$q"
	mount -t "$FSTYPE" /dev/ram0 "$MNT"
	ops "a directory with another parent" <<-'LIST'
		EUCLEAN rename p/d q/d
		EUCLEAN rename p/d q/x
		EUCLEAN rename p/d q/x x
		EUCLEAN rename q/x p/d x
		ok rename p/d p/f
		ok rename p/f p/d
	LIST
	umount "$MNT"
	poke "$(debugfs -R 'bmap p/d 0' /dev/ram0 2>/dev/null)" 12 "$p"
	# Below the file system, which still has in memory what d was. Its entry is the third.
	dmsetup create below --table "0 $sectors linear /dev/ram0 0" && dmsetup mknodes
	mount -t "$FSTYPE" /dev/mapper/below "$MNT"
	stat "$MNT/p/d" "$MNT/p/e" >/dev/null
	poke "$(debugfs -R 'bmap p 0' /dev/ram0 2>/dev/null)" 24 "$e"
	blockdev --flushbufs /dev/mapper/below
	# C ext4 still has the block.
	[ "$FSTYPE" != rext4 ] || ops "an entry of another directory" <<<"EUCLEAN rmdir p/d"
	umount "$MNT"
	dmsetup remove below
	poke "$(debugfs -R 'bmap p 0' /dev/ram0 2>/dev/null)" 24 "$d"
	mount -t "$FSTYPE" /dev/ram0 "$MNT"
	exec 7<"$MNT/p/d"
	ops "a directory that is open" <<<"ok rmdir p/d"
	equal "the size of a directory that has been removed" "$(stat -L -c '%s %h' /proc/self/fd/7)" "0 0"
	exec 7<&-
	clean "damaged names"
	fsprobe shutdown "$MNT" 2
	ops "names after the end" <<-'LIST'
		EIO create new
		EIO symlink {t*1024} toolong
		EIO mkdir new
	LIST
	umount "$MNT"
}
damaged_names

# --- limits of links ---

# With the count set from outside to just below the limit, so that few operations show it, and back afterwards.
count() { # FILE NUMBER
	umount "$MNT"
	debugfs -w -R "sif $1 links_count $2" $dev 2>/dev/null
	mount -t "$FSTYPE" $dev "$MNT"
}
on "links" -b 1024
ops "links, prepared" <<'LIST'
ok create f
ok mkdir linear
ok mkdir indexed
ok mkdir move
ok*40 mkdir indexed/{d*50}%
LIST
count f 64999
ops "a file's links" <<'LIST'
ok link f f1
-65000 what f
EMLINK link f f2
ok unlink f1
ok link f f1
EMLINK link f f2
ok unlink f1
LIST
count f 1
count linear 64999
ops "a linear directory's links" <<'LIST'
ok mkdir linear/a
d65000 what linear
EMLINK mkdir linear/b
EMLINK rename move linear/move
ok create linear/f
ok rmdir linear/a
LIST
count linear 2
# An indexed directory's links are not counted beyond the limit: there is one, whatever happens.
count indexed 64999
ops "an indexed directory's links" <<'LIST'
ok mkdir indexed/a
d65000 what indexed
ok mkdir indexed/b
d1 what indexed
ok mkdir indexed/c
ok rename move indexed/move
d1 what indexed
ok rmdir indexed/a
ok rmdir indexed/b
ok rmdir indexed/c
ok rename indexed/move move
d1 what indexed
ENOTEMPTY rmdir indexed
LIST
umount "$MNT"
check "a count of one is right, too" e2fsck -fn $dev
mount -t "$FSTYPE" $dev "$MNT"
ops "and such a directory can be removed" <<'LIST'
ok*40 rmdir indexed/{d*50}%
ok rmdir indexed
LIST
clean "links"
on "links without dir_nlink" -b 1024 -O ^dir_nlink
ops "links without dir_nlink, prepared" <<'LIST'
ok mkdir indexed
ok mkdir move
ok*40 mkdir indexed/{d*50}%
LIST
count indexed 64999
ops "links without dir_nlink" <<'LIST'
ok mkdir indexed/a
EMLINK mkdir indexed/b
EMLINK rename move indexed/move
ok rmdir indexed/a
LIST
count indexed 42
clean "links without dir_nlink"

# --- made durable at once ---

for how in "-o dirsync" "+D"; do
	options=$([ "$how" = +D ] && echo defaults || echo dirsync) on "dirsync $how" -b 4096
	ops "dirsync $how" <<<"ok mkdir d
ok flags +D d
ok fsync d
ok create d/made
ok mkdir d/dir
ok create d/gone
ok symlink {t*1000} d/slow
ok unlink d/gone
ok rename d/made d/renamed"
	check "dirsync $how, cut off" fsprobe shutdown "$MNT" 2
	umount "$MNT"
	mount -t "$FSTYPE" $dev "$MNT"
	ops "dirsync $how, there afterwards" <<<"-1 what d/renamed
ENOENT what d/made
d2 what d/dir
ENOENT what d/gone
l1 what d/slow"
	clean "dirsync $how"
done
finish
