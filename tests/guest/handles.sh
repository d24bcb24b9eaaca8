#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 900
#
# What an NFS server needs: directories of 100,000 entries and more read in batches from cookies,
# handles that work without dentries and across mounts, all with little memory.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
entries=${ENTRIES:-100000}

# walk NAME DIR ARGUMENTS...: nfswalk, whose sum has to be C ext4's as well. C ext4 calls handles of inline
# directories stale once they have left its caches (it looks for their ".." among the entries, where it is not);
# there rext4 has to find as many names as C ext4 lists by path.
walk() {
	local name=$1 dir=$2 said number sums=''
	shift 2
	for type in ext4 "$FSTYPE"; do
		mount -t "$type" -o ro /dev/ram0 "$MNT" || return
		said=$(nfswalk "$@" "$MNT" "$MNT/$dir" 2>&1)
		# shellcheck disable=SC2181
		if [ $? -eq 0 ]; then
			sums+=" $(grep -o 'entries=[0-9]*' <<<"$said")/$(grep -o 'sum=[^ ]*' <<<"$said")"
		elif [[ $type = ext4 && $FSTYPE != ext4 && $said = *'directory by handle: Stale'* && $dir = *inline* ]]; then
			number=$(find "$MNT/$dir" -printf . | wc -c)
			sums+=" entries=$((number + 1))"
		else
			not_ok "$name" "$type: $(tail -n 1 <<<"$said")"
			head -n 5 <<<"$said" | sed 's/^/#   /'
		fi
		umount "$MNT"
	done
	# shellcheck disable=SC2086
	set -- $sums
	number=${2:-none}
	[[ ${1:-} = */* ]] || set -- "${1:-nothing}" "${number%/*}"
	equal "$name" "${2:-none}" "${1:-nothing}"
}

for kind in "1k 1024 " "4k 4096 " "1k-linear 1024 -O ^dir_index" "1k-nohuge 1024 -O large_dir"; do
	read -r name bs mkfs <<<"$kind"
	# shellcheck disable=SC2086
	make_fs /dev/ram0 128M -t ext4 -b "$bs" -N 20000 $mkfs
	mount -t ext4 /dev/ram0 "$MNT"
	fill --only names --seed "$SEED" --names 1500 "$MNT" >/dev/null
	umount "$MNT"
	walk "many names, $name" names/many -d 10
	walk "long names, $name" names/long
	walk "odd names, $name" names/odd -d 1
	walk "few names, $name" names/few -d 1
	walk "emptied, $name" names/emptied
done
make_fs /dev/ram0 64M -t ext4 -b 1024 -O inline_data
mount -t ext4 /dev/ram0 "$MNT"
fill --only names --seed "$SEED" --names 20 "$MNT" >/dev/null
umount "$MNT"
for i in 1 4 8; do
	walk "inline directory, $i" "names/inline-$i" -d 1
done

# An index of three levels, which only large_dir allows.
make_fs /dev/ram0 128M -t ext4 -b 1024 -O large_dir
mount -t ext4 /dev/ram0 "$MNT"
fill --only crowd --seed "$SEED" --crowd 52000 "$MNT" | sed 's/^/# /'
umount "$MNT"
debugfs -R 'htree_dump crowd' /dev/ram0 2>/dev/null >"$WORK/htree"
check "three levels" grep -q 'Indirect levels: 2' "$WORK/htree"
walk "three levels, in order" crowd
listed=
for type in ext4 "$FSTYPE"; do
	mount -t "$type" -o ro /dev/ram0 "$MNT"
	# A lookup for each name, in an order that is not the index's.
	# shellcheck disable=SC2012
	listed+=" $(ls -l "$MNT/crowd" | md5sum | cut -c 1-32)"
	umount "$MNT"
done
equal "three levels, names looked up" "${listed##* }" "$(cut -d ' ' -f 2 <<<"$listed")"

# A handle made by one mount works after the next, with nothing in the caches: C ext4's too.
# (census prints each handle, so that the matrix compares them between the drivers.)

# The big one, in a memory group that has room for a small part of it only.
make_fs /dev/ram0 1G -t ext4 -b 4096 -N $((entries + 5000))
mount -t ext4 /dev/ram0 "$MNT"
fill --only names --seed "$SEED" --names $((entries * 2 / 5)) "$MNT" | sed 's/^/# /'
umount "$MNT"
group=/sys/fs/cgroup/little
mkdir -p $group
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
echo 24M >$group/memory.max
for type in ext4 "$FSTYPE"; do
	mount -t "$type" -o ro /dev/ram0 "$MNT" || continue
	total=0
	for dir in many long; do
		said=$(echo $BASHPID >$group/cgroup.procs; exec nfswalk "$MNT" "$MNT/names/$dir" 2>&1) ||
			not_ok "$type: $dir in 24 MiB" "$(tail -n 2 <<<"$said")"
		n=$(grep -o 'entries=[0-9]*' <<<"$said")
		total=$((total + ${n#*=}))
		echo "# $type $dir: $said, peak $(($(cat $group/memory.peak) >> 20)) MiB"
	done
	# A third of the names was deleted and made again.
	[ "$total" -ge "$entries" ] && ok "$type: $total entries in 24 MiB" || not_ok "$type: entries in 24 MiB" "only $total"
	grep -E '^oom_kill [1-9]' $group/memory.events && not_ok "$type: no kill" || ok "$type: no kill"
	umount "$MNT"
done
finish
