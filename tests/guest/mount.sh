#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Mounting: options, refusals and their messages, what is shown in /proc and /sys, the module's life.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0

# try TYPE OPTIONS: mounts and unmounts; prints "ok" or what mount(8) says.
try() {
	local out
	if out=$(mount -t "$1" -o "$2" $dev "$MNT" 2>&1); then
		umount "$MNT"
		echo ok
	else
		head -n 1 <<<"$out" | sed 's/^[^:]*: //; s/dmesg(1).*//'
	fi
}

# refused NAME OPTIONS REGEX: refused, and mount(8) or the log says why. (What a driver says while options
# are parsed is shown by mount(8) and not logged.)
refused() {
	local said strict=()
	log_mark
	# With -w mount(8) does not try again read-only.
	[[ ,$2, != *,rw,* ]] || strict=(-w)
	said=$(mount "${strict[@]}" -t "$FSTYPE" -o "$2" $dev "$MNT" 2>&1)
	if is_mounted "$MNT"; then
		umount "$MNT"
		not_ok "$1" "was mounted"
	elif grep -qE "$3" <<<"$said" || in_log "$3"; then
		ok "$1"
	else
		not_ok "$1" "refused without /$3/: $said"
		log_since | tail -n 3 | sed 's/^/#   /'
	fi
}

plain() { make_fs $dev 64M -t ext4 -b 4096 "$@"; }

# --- options ---

# Each with C ext4 as well: accepted or refused with the same error, and shown the same.
option_list() {
	cat <<'LIST'

bsddf
minixdf
grpid
bsdgroups
nogrpid
sysvgroups
resuid=1
resgid=7
resuid=0,resgid=0
sb=1
sb=32768
errors=continue
errors=remount-ro
errors=panic
errors=sometimes
errors
nouid32
debug
user_xattr
nouser_xattr
acl
noacl
noload
norecovery
commit=7
commit=0
commit=-1
min_batch_time=1
max_batch_time=30000
journal_checksum
nojournal_checksum
journal_async_commit
data=ordered
data=writeback
data=unordered
data_err=abort
data_err=ignore
jqfmt=vfsv1
usrquota
grpquota
prjquota
quota
noquota
barrier
barrier=0
barrier=1
nobarrier
stripe=16
delalloc
nodelalloc
warn_on_error
nowarn_on_error
block_validity
noblock_validity
inode_readahead_blks=64
inode_readahead_blks=0
inode_readahead_blks=3
journal_ioprio=2
journal_ioprio=9
auto_da_alloc
auto_da_alloc=0
noauto_da_alloc
dioread_nolock
dioread_lock
nodioread_nolock
discard
nodiscard
init_itable
init_itable=5
noinit_itable
max_dir_size_kb=100
nombcache
no_mbcache
prefetch_block_bitmaps
no_prefetch_block_bitmaps
mb_optimize_scan=0
mb_optimize_scan=1
mb_optimize_scan=5
inlinecrypt
orlov
oldalloc
bh
nobh
i_version
check=none
nocheck
reservation
mblk_io_submit
noload,nombcache,errors=continue,commit=9
nosuchoption
nosuchoption=1
noload=1
resuid
resuid=x
sb=x
LIST
}
plain
option_list >"$WORK/list"
fsprobe options ext4 $dev "$MNT" <"$WORK/list" >"$WORK/options.ext4"
fsprobe options "$FSTYPE" $dev "$MNT" <"$WORK/list" >"$WORK/options.$FSTYPE"
[ ! -w /out ] || cp "$WORK"/options.* /out
n=0
while IFS= read -r -u 3 c && IFS= read -r -u 4 r; do
	n=$((n + 1))
	name="option ${c%%:*}"
	if [[ $r == *AGAIN* ]]; then
		not_ok "$name" "what is shown does not mount to the same: ${r#*: }"
	else
		equal "$name" "${r#*: }" "${c#*: }"
	fi
done 3<"$WORK/options.ext4" 4<"$WORK/options.$FSTYPE"
equal "every option was tried" "$n" "$(wc -l <"$WORK/list")"

for option in bsddf minixdf; do
	for type in ext4 "$FSTYPE"; do
		mount -t "$type" -o "ro,$option" $dev "$MNT"
		stat -f -c '%b %f %a %c %d' "$MNT" >"$WORK/statfs.$option.$type"
		umount "$MNT"
	done
	check "statfs with $option" cmp "$WORK/statfs.$option.ext4" "$WORK/statfs.$option.$FSTYPE"
done
cmp -s "$WORK"/statfs.{bsddf,minixdf}.ext4 && not_ok "minixdf" "makes no difference"

told=()
# What fanotify is told, however often: damage of a file, and what sysfs is asked to pretend. A wrong checksum is
# EBADMSG in C ext4.
plain
mount -t ext4 $dev "$MNT" && mkdir "$MNT/dir" && touch "$MNT/dir/file" && umount "$MNT"
debugfs -w -R 'set_inode_field /dir flags 0x81000' $dev >/dev/null 2>&1
for type in ext4 "$FSTYPE"; do
	mount -t "$type" -o ro $dev "$MNT"
	told[${#told[@]}]="$(fserror "$MNT" ls "$MNT/dir" | sed 's/EBADMSG/EUCLEAN/' | sort -u); $(fserror "$MNT" sh -c "echo hi >/sys/fs/$type/ram0/trigger_fs_error")"
	umount "$MNT"
done
equal "fanotify" "${told[1]}" "${told[0]}"

if [ "$FSTYPE" = rext4 ]; then
	refused "an unknown option" ro,nosuchoption "nosuchoption"
	refused "data=journal" ro,data=journal "data=journal"
	refused "rw, data=journal" rw,data=journal "data=journal"
	check "rw" mount -t rext4 -o rw $dev "$MNT"
	check "it can be written to" mkdir "$MNT/written"
	mounted_with 'rext4 rw,' && ok "and it is shown" || not_ok "and it is shown" "$(grep " $MNT " /proc/self/mounts)"
	umount "$MNT"
fi

# --- superblock copies ---

plain
refused "sb= where there is none" ro,sb=12345 "super|magic|ext4"
make_fs $dev 200M -t ext4 -b 4096
equal "sb=131072" "$(try "$FSTYPE" ro,sb=131072)" ok
dd if=/dev/zero of=$dev bs=1k seek=1 count=1 conv=notrunc status=none
refused "no superblock" ro "magic|superblock|find"
equal "sb=131072 without a first superblock" "$(try "$FSTYPE" ro,sb=131072)" "$(try ext4 ro,sb=131072)"

# --- devices ---

plain
blockdev --setro $dev
equal "read-only device, ro" "$(try "$FSTYPE" ro)" ok
# mount(8) retries read-only where the device is, so ask the system call by way of -w.
said=$(mount -w -t "$FSTYPE" $dev "$MNT" 2>&1) && umount "$MNT"
[ -n "$said" ] && ok "read-only device, rw" || not_ok "read-only device, rw" "was mounted"
blockdev --setrw $dev
log_mark
mount -t "$FSTYPE" -o ro $dev "$MNT"
in_log "mounted filesystem $(blkid -o value -s UUID $dev)" && ok "the mount is announced" ||
	not_ok "the mount is announced" "$(log_since | tail -n 1)"
mkdir "$WORK/second"
check "a second mount of the same device" mount -t "$FSTYPE" -o ro $dev "$WORK/second"
umount "$WORK/second"
if [ "$FSTYPE" = rext4 ]; then
	mount -t ext4 -o ro $dev "$WORK/second" 2>/dev/null && {
		not_ok "the device is claimed" "C ext4 mounted it as well"
		umount "$WORK/second"
	} || ok "the device is claimed"
fi
# A device of 0 bytes, a file that is none.
mount -t "$FSTYPE" -o ro /dev/loop7 "$MNT" 2>/dev/null && not_ok "an empty device" "was mounted" || ok "an empty device"

# --- remount ---

check "remount ro" mount -o remount,ro "$MNT"
check "remount with an option" mount -o remount,ro,errors=remount-ro "$MNT"
mounted_with '.*errors=remount-ro' && ok "the option is shown" ||
	not_ok "the option is shown" "$(grep " $MNT " /proc/self/mounts)"
mount -o remount,ro,nosuchoption "$MNT" 2>/dev/null && not_ok "remount with an unknown option" "done" ||
	ok "remount with an unknown option"
if [ "$FSTYPE" = rext4 ]; then
	log_mark
	check "remount rw" mount -o remount,rw "$MNT"
	mounted_with 'rext4 rw,' && ok "and it is shown" || not_ok "and it is shown" "$(grep " $MNT " /proc/self/mounts)"
	logged "remount rw, with a message" "rext4.*re-mounted [-0-9a-f]* r/w"
	check "remount ro, from rw" mount -o remount,ro "$MNT"
	logged "remount ro, with a message" "rext4.*re-mounted [-0-9a-f]* ro"
fi

# --- /proc and /sys ---

name=$(basename $dev)
[ -n "$(cat "/proc/fs/$FSTYPE/$name/options" 2>/dev/null)" ] && ok "/proc/fs/$FSTYPE/$name/options" ||
	not_ok "/proc/fs/$FSTYPE/$name/options" "not there or empty"
grep -qx ro "/proc/fs/$FSTYPE/$name/options" && ok "options begin with ro" || not_ok "options begin with ro"
[ -d "/sys/fs/$FSTYPE/$name" ] && ok "/sys/fs/$FSTYPE/$name" || not_ok "/sys/fs/$FSTYPE/$name" "not there"
for file in errors_count first_error_time last_error_time warning_count; do
	equal "/sys .../$file" "$(cat "/sys/fs/$FSTYPE/$name/$file" 2>&1)" 0
done
cat "/sys/fs/$FSTYPE/$name"/* >/dev/null 2>"$WORK/err"
grep -v 'Permission denied\|Invalid argument' "$WORK/err" | head -n 3 | sed 's/^/# /'
[ -d "/sys/fs/$FSTYPE/features" ] && ok "/sys/fs/$FSTYPE/features" || not_ok "/sys/fs/$FSTYPE/features"
umount "$MNT"
[ ! -e "/sys/fs/$FSTYPE/$name" ] && [ ! -e "/proc/fs/$FSTYPE/$name" ] && ok "gone after umount" ||
	not_ok "gone after umount"

# --- features that are not supported ---

if [ "$FSTYPE" = rext4 ]; then
	plain -O encrypt && refused "encrypt" ro "rext4.*encrypt"
	plain -O casefold && refused "casefold" ro "rext4.*casefold"
	plain && debugfs -w -R 'feature +FEATURE_I31' $dev >/dev/null 2>&1 && refused "an unknown incompat feature" ro "rext4.*feature"
fi
plain && debugfs -w -R 'feature +FEATURE_R30' $dev >/dev/null 2>&1
equal "an unknown ro_compat feature, ro" "$(try "$FSTYPE" ro)" ok
plain && debugfs -w -R 'feature +FEATURE_C25' $dev >/dev/null 2>&1
equal "an unknown compat feature, ro" "$(try "$FSTYPE" ro)" ok
plain -O journal_dev 2>/dev/null || make_fs $dev 64M -b 4096 -O journal_dev
[ "$(try "$FSTYPE" ro)" != ok ] && ok "a journal device is no file system" || not_ok "a journal device is no file system"

# --- the module ---

if [ "$FSTYPE" = rext4 ]; then
	# Many inodes: they are freed after a grace period, and the module has to wait for that.
	plain -N 8000
	mount -t ext4 $dev "$MNT" && fill --only bulk --bulk 6000 "$MNT" >/dev/null
	umount "$MNT"
	for i in 1 2 3; do
		mount -t rext4 -o ro $dev "$MNT"
		ls -lR "$MNT" >/dev/null
		umount "$MNT" && rmmod rext4 && insmod "$REXT4_KO" || not_ok "rmmod right after umount" "turn $i"
	done
	mount -t rext4 -o ro $dev "$MNT"
	ls -lR "$MNT" >/dev/null
	rmmod rext4 2>/dev/null && not_ok "rmmod while mounted" "done" || ok "rmmod while mounted is refused"
	umount "$MNT"
	log_mark
	check "rmmod" rmmod rext4
	grep -q '^rext4' /proc/slabinfo && not_ok "no slab cache stays" "$(grep '^rext4' /proc/slabinfo)" || ok "no slab cache stays"
	in_log 'Objects remaining|kmem_cache_destroy' && not_ok "no object stays" || ok "no object stays"
	grep -qw rext4 /proc/filesystems && not_ok "the type is gone" || ok "the type is gone"
	[ ! -e /sys/fs/rext4 ] && [ ! -e /proc/fs/rext4 ] && ok "/sys and /proc are clean" || not_ok "/sys and /proc are clean"
	check "modinfo: license" grep -q GPL <(modinfo -F license "$REXT4_KO")
	check "modinfo: alias" grep -qx fs-rext4 <(modinfo -F alias "$REXT4_KO")
	for field in description author version; do
		[ -n "$(modinfo -F $field "$REXT4_KO")" ] && ok "modinfo: $field" || not_ok "modinfo: $field" "empty"
	done
	# The name ext4 is only ours where nobody else has it.
	log_mark
	insmod "$REXT4_KO" ext4=1 2>/dev/null && not_ok "ext4=1 beside C ext4" "was loaded" || ok "ext4=1 beside C ext4 is refused"
	logged "ext4=1 beside C ext4, with a message" "rext4.*ext4"
	[ ! -d /sys/module/rext4 ] || rmmod rext4
	rmmod ext4
	check "insmod ext4=1" insmod "$REXT4_KO" ext4=1
	for type in ext4 ext3 ext2; do
		grep -qw $type /proc/filesystems && ok "$type is registered" || not_ok "$type is registered"
	done
	check "mount -t ext4" mount -t ext4 -o ro $dev "$MNT"
	grep -q " $MNT ext4 ro" /proc/self/mounts && ok "shown as ext4" || not_ok "shown as ext4" "$(grep " $MNT " /proc/self/mounts)"
	equal "findmnt" "$(stat -f -c %T "$MNT")" ext2/ext3
	umount "$MNT"
	make_fs $dev 64M -t ext2
	check "mount -t ext2" mount -t ext2 -o ro $dev "$MNT"
	umount "$MNT"
	refused_as() { # NAME TYPE REGEX
		log_mark
		mount -t "$2" -o ro $dev "$MNT" 2>/dev/null && umount "$MNT" && not_ok "$1" "was mounted" || logged "$1" "$3"
	}
	refused_as "ext2 without a journal is no ext3" ext3 "couldn't mount as ext3 due to feature"
	plain
	refused_as "ext4 is no ext2" ext2 "couldn't mount as ext2 due to feature"
	refused_as "ext4 is no ext3" ext3 "couldn't mount as ext3 due to feature"
	make_fs $dev 64M -t ext3
	check "mount -t ext3" mount -t ext3 -o ro $dev "$MNT"
	umount "$MNT"
	check "rmmod again" rmmod rext4
	log_mark
	modprobe jbd2
	check "insmod ext4=0" insmod "$REXT4_KO" ext4=0
	grep -qw ext4 /proc/filesystems && not_ok "ext4=0 leaves the name alone" || ok "ext4=0 leaves the name alone"
	rmmod rext4
fi
finish
