# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts in qemu/ and tests/ share: where things are, locks, progress, keys.
# Sourced, never run. Everything said to the user goes to stderr: stdout carries results
# (the path of an artefact) that callers capture.
#
# The cache holds everything that is expensive to make: build root, kernel source, kernel
# builds, guest root, crates. Each artefact's name contains a key made of its inputs, it is
# made under a temporary name while holding a lock of its own, and gets its name by one rename:
# an artefact that has its name is complete, whatever was interrupted or runs at the same time.

# shellcheck disable=SC2034

set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${REXT4_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/rext4}
mkdir -p "$CACHE"/{dl,lock,log,run,src}
CACHE=$(cd "$CACHE" && pwd -P)
export REXT4_CACHE=$CACHE

# The distribution that provides the toolchain: its rustc, bindgen and clang fit each other and
# this kernel.
SUITE=trixie
KERNEL_PACKAGE=linux-source-7.3

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# elapsed SECONDS_AT_START: prints 'm:ss' since then.
elapsed() { local s=$((SECONDS - $1)); printf '%d:%02d' $((s / 60)) $((s % 60)); }

# key TEXT...: 12 hexadecimal digits that name an artefact made from these inputs.
key() { printf '%s\n' "$@" | sha256sum | cut -c1-12; }

need_root() {
	[ "$(id -u)" -eq 0 ] || die "$1 needs root (it makes file system roots with device nodes and bind mounts)"
}

# lock NAME: holds the lock NAME until the shell exits or `unlock` is called.
# One shell holds at most one lock.
lock() {
	exec {LOCK_FD}>"$CACHE/lock/$1"
	if ! flock -n "$LOCK_FD"; then
		say "$1: waiting for another run that is making it"
		flock "$LOCK_FD"
	fi
}
unlock() { exec {LOCK_FD}>&-; }

# progress LABEL UNIT TOTAL COUNT_COMMAND COMMAND...
#
# Runs COMMAND with its output in the cache's log folder and reports on it while it runs:
# COUNT_COMMAND (a shell function or command without arguments) prints how many units are done;
# TOTAL is an estimate, 0 where there is nothing to count. When COMMAND fails the end of its log is shown.
progress() {
	local label=$1 unit=$2 total=$3 count=$4 start=$SECONDS pid n status=0 shown=$SECONDS every=15
	shift 4
	PROGRESS_LOG=$CACHE/log/${label// /-}.$$.log
	[ -t 2 ] && every=1
	"$@" >"$PROGRESS_LOG" 2>&1 </dev/null &
	pid=$!
	# Background commands of a script ignore SIGINT, so it is passed on by hand.
	trap 'kill "$pid" 2>/dev/null || :; wait "$pid" || :; exit 130' INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		if [ $((SECONDS - shown)) -ge "$every" ]; then
			shown=$SECONDS
			n=$("$count" 2>/dev/null) || n=0
			if [ "$total" -eq 0 ]; then
				n=$unit
			elif [ "$n" -ge "$total" ]; then
				n="$unit $n, soon done"
			else
				n="$unit $n of about $total"
			fi
			if [ -t 2 ]; then
				printf '\r\033[K%s: %s, %s elapsed' "$label" "$n" "$(elapsed "$start")" >&2
			else
				say "$label: $n, $(elapsed "$start") elapsed"
			fi
		fi
	done
	wait "$pid" || status=$?
	trap - INT TERM HUP
	if [ -t 2 ]; then printf '\r\033[K' >&2; fi
	if [ "$status" -ne 0 ]; then
		say "$label: failed with status $status after $(elapsed "$start"); the end of $PROGRESS_LOG:"
		tail -n 40 "$PROGRESS_LOG" >&2
		return "$status"
	fi
	rm -f "$PROGRESS_LOG"
	[ "$total" -ne 0 ] || label="$label: $unit"
	say "$label: done in $(elapsed "$start")"
}
