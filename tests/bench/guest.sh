#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The benchmark's part in the guest: one boot, one RAM disk. C ext4 fills an image and reading is measured on it,
# then rext4's on the same image; then XFS fills its own and is measured. For changes each of them begins with an
# empty image. Only those that $BENCH_FS names are measured. Writes /out/raw.tsv and /out/kallsyms.
#
#     usage: tests/bench/guest.sh REPETITIONS [ROW]...

set -euo pipefail

repetitions=$1
shift
disk=/dev/ram0
mnt=/run/mnt
uuid=6f5c1e0a-4d3b-4c2a-9b1e-72657874345f

modprobe brd rd_nr=1 rd_size=1048576
modprobe ext4
modprobe xfs
for dependency in $(modinfo -F depends "$REXT4_KO" | tr , ' '); do
	modprobe "$dependency"
done
insmod "$REXT4_KO"
[ "$(blockdev --getsize64 $disk)" -eq 1073741824 ] || { echo "no RAM disk of 1 GiB"; exit 1; }
mkdir -p $mnt
# Messages on the serial port cost instructions; warnings are still wanted.
dmesg -n 5

# Empty, also in memory; nothing is left for a thread to do later.
make() { # TYPE
	blkdiscard -q -f $disk
	case $1 in
	xfs) mkfs.xfs -q -f $disk ;;
	# Names have the same hashes every time.
	*) mkfs.ext4 -q -U $uuid -E hash_seed=$uuid,lazy_itable_init=0,lazy_journal_init=0 $disk ;;
	esac
}

fill() { # TYPE
	mount -t "$1" $disk $mnt
	fsbench fill $mnt
	umount $mnt
}

measure() { # read|change TYPE NUMBER REPETITIONS [ROW]...
	local what=$1 type=$2 line status=0
	shift 2
	echo "bench: $type, $what"
	fsbench "$what" $disk "$type" $mnt "$@" >/run/lines || status=$?
	if [ $status = 3 ]; then
		echo "bench: $type does not write"
	elif [ $status != 0 ]; then
		return $status
	fi
	while IFS= read -r line; do
		printf '%s\t%s\n' "$type" "$line"
	done </run/lines >>/out/raw.tsv
}

printf 'fs\trow\tunit\tmedian\tmin\tmax\tmark\tunits\n' >/out/raw.tsv
# The symbols of a profile.
cat /proc/kallsyms >/out/kallsyms
wanted() { # TYPE
	case " $BENCH_FS " in *" $1 "*) return 0 ;; esac
	return 1
}

if fsbench any change "$@"; then
	changes=$(((repetitions + 1) / 2))
	number=0
	for type in ext4 rext4 xfs; do
		if wanted $type; then
			make $type
			measure change $type $number $changes "$@"
			if [ $type != xfs ]; then
				e2fsck -fn $disk >/run/fsck 2>&1 || { head -n 20 /run/fsck; exit 1; }
			fi
		fi
		number=$((number + 1))
	done
fi
if fsbench any read "$@"; then
	if wanted ext4 || wanted rext4; then
		echo "bench: filling"
		make ext4
		fill ext4
		! wanted ext4 || measure read ext4 0 "$repetitions" "$@"
		! wanted rext4 || measure read rext4 1 "$repetitions" "$@"
	fi
	if wanted xfs; then
		make xfs
		fill xfs
		measure read xfs 2 "$repetitions" "$@"
	fi
fi
