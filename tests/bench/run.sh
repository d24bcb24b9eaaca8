#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Instructions per operation of C ext4, XFS and rext4: runs all three on a RAM disk in one guest whose time
# counts instructions, prints a table, writes results.tsv and results.svg, and judges by the targets in
# report.py. Makes what is missing first.
#
#     usage: tests/bench/run.sh [OPTION]... [ROW]...
#
#     --report-only       status 0 also when a target is missed
#     --out DIR           where results go (default: bench in the cache)
#     --module FILE       rext4.ko (default: built for the kernel)
#     --repetitions N     batches per row (default 7; 1 with --profile)
#     --profile           also says in which functions each row's instructions are spent (profile.txt)
#
#     ROW: names of rows as the table shows them; default all
#
# Status: 0 when every target that was measured is met, 1 when one is missed, another when there is no result.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../../qemu/lib.sh"

report=() out=$CACHE/bench module='' repetitions='' profile=0
while [ $# -gt 0 ]; do
	case $1 in
	--report-only) report=(--report-only); shift ;;
	--out) out=$2; shift 2 ;;
	--module) module=$(realpath "$2"); shift 2 ;;
	--repetitions) repetitions=$2; shift 2 ;;
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
"${gcc[@]}" -static -o "$work/fsbench" "$PROJECT/tests/bench/fsbench.c"
plugin=()
if [ $profile = 1 ]; then
	"${gcc[@]}" -fPIC -shared -o "$work/profile.so" "$PROJECT/tests/bench/profile.c"
	plugin=(--qemu "-plugin $work/profile.so,out=$out/blocks")
fi
start=$SECONDS
lock "bench-$(key "$out")"
rm -f "$out"/{raw.tsv,results.tsv,results.svg,kallsyms,blocks,profile.txt}
"$PROJECT/qemu/guest.sh" --icount --module "$module" --share bin="$work" --out "$out" --mem 2G --timeout 1800 \
	"${plugin[@]}" -- /src/tests/bench/guest.sh "$repetitions" "$@" >&2 || exit 2
say "bench: took $(elapsed "$start")"
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
