#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Instructions per operation of C ext4, XFS and rext4 in one run, against the targets.
#
#     usage: tests/bench/run.sh        (what `make bench` does)
#
# A guest with one processor whose clock counts instructions (QEMU's icount) mounts the same image with
# C ext4 and with rext4, and an XFS one with the same files, all on RAM disks, in turns. The numbers
# repeat to within a fraction of a percent whatever else the host does; they say nothing about cache
# misses and waiting. Prints a table; leaves results.tsv, raw.tsv and plot.svg in BENCH_OUT (default:
# the cache's folder `bench`). Fails if a target is missed.
#
#     BENCH_ROUNDS, BENCH_REPETITIONS   how often (3 rounds of 5)
#     BENCH_TYPES                       which of 'ext4 xfs rext4'

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../../qemu/lib.sh"

out=${BENCH_OUT:-$CACHE/bench}
mkdir -p "$out"
out=$(realpath "$out")
module=$("$PROJECT/qemu/module.sh" release)
tools=$("$PROJECT/tests/run.sh" --tools)
types=${BENCH_TYPES:-ext4 xfs rext4}
say "bench: a guest that counts instructions runs for about ten minutes"
# shellcheck disable=SC2086
"$PROJECT/qemu/guest.sh" --icount --mem 1G --timeout 3600 --module "$module" --share bin="$tools" --out "$out" -- \
	bash /src/tests/bench/guest.sh "${BENCH_ROUNDS:-3}" "${BENCH_REPETITIONS:-5}" $types
"$PROJECT/qemu/enter.sh" --bind "$out" -- python3 "$PROJECT/tests/bench/report.py" "$out"
