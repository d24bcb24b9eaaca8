#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Instructions per operation of C ext4, XFS and rext4: runs all three on a RAM disk in one guest whose time
# counts instructions, prints a table, writes results.tsv and results.svg, and judges by the targets in
# report.py. Then, in a guest with two processors, how many files a second several threads create. Makes what
# is missing first.
#
#     usage: tests/bench/run.sh [OPTION]... [ROW]...
#
#     --report-only       status 0 also when a target is missed
#     --out DIR           where results go (default: bench in the cache)
#     --module FILE       rext4.ko (default: built for the kernel)
#     --repetitions N     batches per row (default 7; 1 with --profile), half as many of changes
#     --fs 'TYPE...'      only these of ext4, rext4 and xfs
#     --table-crc         on a processor without instructions for CRC32C, where the kernel goes by a table: a
#                         checksum of 4 KiB costs 30 times as many instructions then
#     --profile           also says in which functions each row's instructions are spent, and by which calls
#                         they were reached (profile.txt)
#
#     ROW: names of rows as the table shows them; `threads` for the one with several; default all
#
# Status: 0 when every target that was measured is met, 1 when one is missed, another when there is no result.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../../qemu/lib.sh"

report=() out=$CACHE/bench module='' repetitions='' profile=0 cpu=() fs='ext4 rext4 xfs'
while [ $# -gt 0 ]; do
	case $1 in
	--report-only) report=(--report-only); shift ;;
	--out) out=$2; shift 2 ;;
	--module) module=$(realpath "$2"); shift 2 ;;
	--repetitions) repetitions=$2; shift 2 ;;
	--table-crc) cpu=(--qemu "-cpu max,-erms,-fsrm,-fsrs,-sse4.2"); shift ;;
	--fs) fs=$2; shift 2 ;;
	--profile) profile=1; shift ;;
	-*) die "bench: unknown option $1" ;;
	*) break ;;
	esac
done
mkdir -p "$out"
out=$(realpath "$out")
"$PROJECT/qemu/root.sh" >/dev/null
[ -n "$module" ] || module=$("$PROJECT/qemu/module.sh" release)

[ -n "$repetitions" ] || repetitions=$((profile ? 1 : 7))

work=$(mktemp -d "$CACHE/run/bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
gcc=("$PROJECT/qemu/enter.sh" gcc-14 -O2 -std=gnu11 -Wall -Wextra -Werror)
sources=()
for source in fsbench reads changes writes threads; do
	sources+=("$PROJECT/tests/bench/$source.c")
done
"${gcc[@]}" -static -o "$work/fsbench" "${sources[@]}"
plugin=()
if [ $profile = 1 ]; then
	"${gcc[@]}" -fPIC -shared -o "$work/profile.so" "$PROJECT/tests/bench/profile.c"
	map=$("$PROJECT/qemu/kernel.sh" release)/System.map
	address() { awk -v name="$1" '$3 == name { print $1 }' "$map"; }
	switch=$(address __switch_to_asm) fork=$(address ret_from_fork_asm)
	plugin=(--qemu "${cpu[1]:-} -plugin $work/profile.so,out=$out/blocks,switch=$switch,fork=$fork")
fi
rows=() threads=0
for row in "$@"; do
	if [ "$row" = threads ]; then threads=1; else rows+=("$row"); fi
done
if [ $# -eq 0 ] && [ $profile = 0 ]; then threads=1; fi

start=$SECONDS
lock "bench-$(key "$out")"
rm -f "$out"/{raw.tsv,threads.tsv,results.tsv,results.svg,kallsyms,blocks,blocks.tree,profile.txt}
guest=("$PROJECT/qemu/guest.sh" --module "$module" --share bin="$work" --out "$out" --mem 2G --timeout 1800
	--env BENCH_FS="$fs")
if [ $threads = 0 ] || [ ${#rows[@]} -gt 0 ] || [ $# -eq 0 ]; then
	"${guest[@]}" --icount "${cpu[@]}" "${plugin[@]}" -- /src/tests/bench/guest.sh "$repetitions" "${rows[@]}" >&2 || exit 2
	say "bench: took $(elapsed "$start")"
fi
if [ $threads = 1 ]; then
	"${guest[@]}" -- /src/tests/bench/threads.sh 9 >&2 || exit 2
	say "bench: took $(elapsed "$start")"
fi
if [ $profile = 1 ]; then
	# The symbols in their readable form.
	"$PROJECT/qemu/enter.sh" llvm-cxxfilt <"$out/kallsyms" >"$work/kallsyms"
	mv "$work/kallsyms" "$out/kallsyms"
	"$PROJECT/qemu/enter.sh" --bind "$out" -- python3 "$PROJECT/tests/bench/profile.py" "$out" >"$out/profile.txt"
fi
status=0
"$PROJECT/qemu/enter.sh" --bind "$out" -- python3 "$PROJECT/tests/bench/report.py" "${report[@]}" "$out" || status=$?
say "bench: results are in $out"
exit "$status"
