#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the tests and ends with a line 'N passed, N failed' (', N skipped' when there are any). Makes what is
# missing first: build root, kernel, module, the tests' programs, guest root.
#
#     usage: tests/run.sh [--kernel release|debug] [--module FILE] [--only STAGE]...
#                         [--cases FOLDER] [CASE...]
#            tests/run.sh --tools        builds the tests' programs for the guest, prints their folder
#            tests/run.sh --demo         what `make run` does
#            tests/run.sh --shell        what `make shell` does
#
#     STAGE:  host (cargo test), panics (tests/check-panics.sh), kunit (suites at insmod), guest (the cases),
#             harness (that this script sees failures, see tests/lib/selftest; and errors=panic),
#             killed (guests that die while they write)
#     FOLDER: where the cases are, from the top of the project; default tests/guest
#     CASE:   names of scripts in it, without .sh; default all
#
# Without --only all stages run; with --kernel debug only kunit and guest do. SEED, CORPUS (a folder of
# images), MATRIX and LONG (=1: cases that can take long do) reach the cases. Of cases that are long a part is
# run, another one with each commit; SLICE=all runs them whole, SLICE=N a certain part. Logs stay in the cache, the last run's in log/test. REXT4_TEST_GUESTS is how many
# guests run at once (default: as many as processors, if the memory suffices).

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../qemu/lib.sh"

kernel=release module='' folder=tests/guest stages=() cases=()
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernel=$2; shift 2 ;;
	--module) module=$(realpath "$2"); shift 2 ;;
	--cases) folder=$2; shift 2 ;;
	--only) stages+=("$2"); shift 2 ;;
	--tools | --demo | --shell) stages=("${1#--}"); shift ;;
	-*) die "run.sh: unknown option $1" ;;
	*) cases+=("$1"); shift ;;
	esac
done
if [ ${#stages[@]} -eq 0 ]; then
	if [ "$kernel" = debug ]; then stages=(kunit guest); else stages=(host panics harness killed kunit guest); fi
fi

logs=$CACHE/log/test.$(date +%m%d-%H%M%S).$$
passed=0 failed=0 skipped=0
scale=1
[ "$kernel" = release ] || scale=5

# What of the environment reaches the guests.
variables=()
for name in SEED MATRIX FSTYPE_UNDER_TEST VERBOSE LONG; do
	[ -z "${!name:-}" ] || variables+=(--env "$name=${!name}")
done

ok() { passed=$((passed + 1)); echo "ok $*"; }
not_ok() { failed=$((failed + 1)); echo "not ok $*"; }

# The programs that guest cases use, built for any root. Prints their folder.
tools() {
	local folder
	folder=$CACHE/tools-$(key "$PROJECT" "$(cd "$PROJECT/tests/tools" && sha256sum -- *)")
	if [ ! -d "$folder" ]; then
		lock "$(basename "$folder")"
		if [ ! -d "$folder" ]; then
			rm -rf "$folder".tmp.*
			"$PROJECT/qemu/enter.sh" make -s -C "$PROJECT/tests/tools" -j"$(nproc)" CC=gcc-14 \
				OUT="$folder.tmp.$$" >&2
			mv -T "$folder.tmp.$$" "$folder"
		fi
		unlock
	fi
	echo "$folder"
}

stage_host() {
	local log=$logs/host.log status=0 name n
	echo "# host tests"
	finished() { grep -c '^test .* \.\.\. ' "$log"; }
	local all=()
	# What is ignored needs the images.
	[ -z "${CORPUS:-}" ] || all=(-- --include-ignored)
	run_host() {
		"$PROJECT/qemu/enter.sh" cargo test --locked --no-fail-fast --color never "${all[@]}" >"$log" 2>&1
	}
	: >"$log"
	progress "host tests" "tests" 330 finished run_host || status=$?
	while read -r _ name _ n; do
		case $n in
		ok) ok "host: $name" ;;
		FAILED) not_ok "host: $name" ;;
		ignored*) skipped=$((skipped + 1)); echo "ok host: $name # SKIP ignored" ;;
		esac
	done < <(sed -n 's/ - should panic \.\.\./ .../; /^test .* \.\.\. \(ok\|FAILED\|ignored.*\)$/p' "$log")
	# A crate that does not build, or a test that kills its process, has no line of its own.
	if [ "$status" -ne 0 ] && ! grep -q '^test .* FAILED$' "$log"; then
		not_ok "host: cargo test ended with status $status"
	fi
	[ "$status" -eq 0 ] || tail -n 60 "$log"
	stage_miri
}

# The rooms without a kernel, under Miri, where the toolchain has it. What reads real images runs programs.
stage_miri() {
	if ! "$PROJECT/qemu/enter.sh" cargo miri --version >/dev/null 2>&1; then
		skipped=$((skipped + 1))
		echo "ok host: miri # SKIP the toolchain has none"
	elif "$PROJECT/qemu/enter.sh" cargo miri test --locked --lib >"$logs/miri.log" 2>&1; then
		ok "host: miri"
	else
		not_ok "host: miri"
		tail -n 40 "$logs/miri.log"
	fi
}

stage_panics() {
	echo "# panic call sites"
	if "$PROJECT/tests/check-panics.sh" "$module" >"$logs/panics.log"; then
		ok "panics: no room has more call sites than its ratchet allows"
	else
		not_ok "panics: a room has more call sites than its ratchet allows"
		cat "$logs/panics.log"
	fi
}

guest() { # LOG OPTION... -- COMMAND...
	local log=$1
	shift
	"$PROJECT/qemu/guest.sh" --kernel "$kernel" --module "$module" --console "$log" "$@"
}

stage_kunit() {
	local log=$logs/kunit status=0 before=$failed parsed=0 name
	echo "# KUnit suites, at insmod"
	# The log's second half: the kernel's own suites ran at boot.
	# shellcheck disable=SC2016
	guest "$log.console" --timeout $((300 * scale)) -- bash -c '
		for dep in $(modinfo -F depends "$REXT4_KO" | tr , " "); do modprobe "$dep" || exit; done
		# What the suites of the journal write to, marked as such in its last block.
		modprobe brd rd_nr=2 rd_size=16384 || exit
		for disk in /dev/ram0 /dev/ram1; do
			printf "rext4 KUnit may overwrite this device" | dd of=$disk bs=4096 seek=4095 conv=notrunc status=none
		done
		seen=$(dmesg | wc -l)
		insmod "$REXT4_KO" || exit
		dmesg | tail -n "+$((seen + 1))"
		rmmod rext4' >"$log.dmesg" || status=$?
	[ "$status" -eq 0 ] || not_ok "kunit: the guest ended with status $status"
	if ! grep -q 'KTAP version' "$log.dmesg"; then
		not_ok "kunit: the module has no suites, or they did not run"
		return
	fi
	"$PROJECT/qemu/enter.sh" python3 "$source/tools/testing/kunit/kunit.py" parse --json="$log.json" "$log.dmesg" >"$log.log" 2>&1 ||
		parsed=1
	while read -r status name; do
		case $status in
		PASS) ok "kunit: $name" ;;
		SKIP) skipped=$((skipped + 1)); echo "ok kunit: $name # SKIP" ;;
		*) not_ok "kunit: $name - $status" ;;
		esac
	done < <("$PROJECT/qemu/enter.sh" python3 -c '
import json, sys
def walk(group, path):
    for case in group.get("test_cases", []):
        print(case["status"], "/".join(path + [case["name"]]))
    for sub in group.get("sub_groups", []):
        walk(sub, path + [sub["name"]])
walk(json.load(open(sys.argv[1])), [])' "$log.json")
	if [ "$parsed" -ne 0 ]; then
		cat "$log.log"
		# A plan that was not kept, or a crash, has no case of its own.
		[ "$failed" -gt "$before" ] || not_ok "kunit: kunit.py found the report faulty"
	fi
}

# Cases of which it is known what they come to: a harness that cannot fail proves nothing.
stage_harness() {
	local here=$PROJECT/tests/lib/selftest
	echo "# harness"
	REXT4_TEST_GUESTS=1 "$PROJECT/tests/run.sh" --kernel "$kernel" --module "$module" --only guest \
		--cases tests/lib/selftest >"$logs/harness.log" 2>&1 || :
	if grep -E '^(ok|not ok) |^[0-9]+ passed' "$logs/harness.log" | grep -v '^ok unload' |
		sed -E 's/\[ *[0-9.]+\]//; s/, see .*//' | diff "$here/expected" - >"$logs/harness.diff"; then
		ok "harness: failures are seen, and counted once"
	else
		not_ok "harness: not what tests/lib/selftest/expected says"
		cat "$logs/harness.diff"
	fi
	errors_panic
}

# errors=panic, which no case survives: the guest has to end, and by this panic. Read-only, a mount panics
# only when it was told so by itself, not because the superblock says so, nor because mount(8) repeats in a
# remount what the superblock says. Nor does the superblock get a warning of the kernel.
errors_panic() {
	local log=$logs/errors-panic programs
	programs=$(tools)
	# shellcheck disable=SC2016
	guest "$log.console" --timeout $((120 * scale)) --share bin="$programs" -- bash -c '
		. /src/tests/guest/lib.sh
		load_drivers
		load_ram_disks
		make_fs /dev/ram0 16M -t ext4 -b 1024 -e continue
		mount -t ext4 /dev/ram0 "$MNT" && mkdir "$MNT/dir" && umount "$MNT"
		debugfs -w -R "sif dir block[0] 1" /dev/ram0 2>/dev/null
		debugfs -w -R "set_super_value mount_opts errors=panic,warn_on_error" /dev/ram0
		mount -t "$FSTYPE" -o ro /dev/ram0 "$MNT"
		ls "$MNT/dir"
		grep rext4 /proc/self/mounts
		mount -o remount,ro "$MNT"
		mount -o remount,ro,errors=panic "$MNT"
		ls "$MNT/dir"
		umount "$MNT" && echo survived the text
		tune2fs -e panic /dev/ram0
		mount -t "$FSTYPE" -o ro /dev/ram0 "$MNT"
		ls "$MNT/dir"
		umount "$MNT" && ! dmesg | grep "WARNING:" && echo survived the superblock
		mount -t "$FSTYPE" -o ro,errors=panic /dev/ram0 "$MNT"
		ls "$MNT/dir"
		echo survived the option' >"$log.out" 2>&1 || :
	if grep -q '^survived the text' "$log.out" && grep -q '^survived the superblock' "$log.out" && ! grep -q '^survived the option' "$log.out" &&
		grep -q 'Kernel panic - not syncing: rext4-fs: panic forced after error' "$log.console"; then
		ok "errors=panic: where it is asked for, and only there"
	else
		not_ok "errors=panic: see $log.out"
		tail -n 5 "$log.out" "$log.console"
	fi
}

# Guests that die while they write to a disk, which the next one has to find in order: the first resets itself, the
# second is killed from outside.
stage_killed() {
	local log=$logs/killed programs disk n how=(0 reset kill none) pid waited
	echo "# guests that are killed"
	programs=$(tools)
	"$PROJECT/qemu/guest-root.sh" >/dev/null
	disk=$(mktemp "$CACHE/run/disk.XXXXXX")
	truncate -s 256M "$disk"
	for n in 1 2 3; do
		"$PROJECT/qemu/guest.sh" --kernel "$kernel" --module "$module" --console "$log-$n.console" --mem 3G \
			--timeout $((300 * scale)) --share bin="$programs" --out "$log" --disk "$disk" "${variables[@]}" \
			-- /src/tests/lib/killed.sh $n $((n == 3)) "${how[n]}" >"$log-$n.out" 2>"$log-$n.err" &
		pid=$!
		if [ "${how[n]}" = kill ]; then
			waited=$SECONDS
			while kill -0 $pid 2>/dev/null && [ "$(cat "$log/durable.$n" 2>/dev/null | wc -l)" -lt 40 ] &&
				[ $((SECONDS - waited)) -lt $((300 * scale)) ]; do sleep 0.3; done
			kill $pid 2>/dev/null || :
		fi
		wait $pid || :
	done
	rm -f "$disk"
	while IFS= read -r line; do
		case $line in
		'ok '*) ok "killed: ${line#ok }" ;;
		'not ok '*) not_ok "killed: ${line#not ok }" ;;
		esac
	done < <(cat "$log"-?.out)
	if ! grep -q '^# [0-9]* passed' "$log-3.out"; then
		not_ok "killed: the last one did not come to its end, see $log-3.err"
		tail -n 5 "$log-3.out"
	fi
}

# Expands a script that says `# shards: N` into its parts: all of them, or if it says `# slice: K` as many as that,
# others with each commit (or SLICE=N), so that the whole is run over time. SLICE=all runs all.
case_names() {
	local script name shards slice first i
	first=${SLICE:-$(git -C "$PROJECT" rev-list --count HEAD 2>/dev/null || echo 0)}
	for script in "$PROJECT/$folder"/*.sh; do
		name=$(basename "$script" .sh)
		[ "$name" != lib ] || continue
		[ ${#cases[@]} -eq 0 ] || [[ " ${cases[*]} " = *" $name "* ]] || continue
		shards=$(sed -n '1,40s/^# shards: *\([0-9]*\)$/\1/p' "$script")
		slice=$(sed -n '1,40s/^# slice: *\([0-9]*\)$/\1/p' "$script")
		if [ -z "$shards" ]; then
			echo "$name"
		elif [ -z "$slice" ] || [ "$first" = all ]; then
			for ((i = 0; i < shards; i++)); do echo "$name@$i-$shards"; done
		else
			for ((i = 0; i < slice; i++)); do echo "$name@$(((first * slice + i) % shards))-$shards"; done
		fi
	done
}

# worker N CASE...: one guest after the other until every case has been taken by somebody. A guest that
# dies takes the case that it was at with it: that one has failed, and the next guest goes on after it.
worker() {
	local n=$1 round=0 status name taken all running=
	shift
	trap 'kill "$running" 2>/dev/null; exit 130' TERM
	while :; do
		round=$((round + 1))
		status=0
		# Not the function: what is to be killed is the script itself. KUnit's suites have their own stage; a
		# case that wants one starts it.
		"$PROJECT/qemu/guest.sh" --kernel "$kernel" --module "$module" \
			--console "$logs/guest-$n-$round.console" --mem "$memory" --append kunit.autorun=0 --timeout $((5400 * scale)) --out "$logs/cases" \
			--share bin="$programs" "${options[@]}" --env GUEST="$n-$round" -- \
			/src/tests/lib/run-cases.sh "$scale" "$folder" "$@" 2>"$logs/guest-$n-$round.err" &
		running=$!
		wait "$running" || status=$?
		taken=0
		for name in "$logs"/cases/*/; do
			[ "$(cat "$name/guest" 2>/dev/null)" = "$n-$round" ] || continue
			taken=$((taken + 1))
			if [ ! -e "$name/status" ]; then
				echo "not ok $(basename "$name"): the guest died - status $status, see $name/log"
				{
					echo "not ok ended - the guest died with status $status"
					cat "$logs/guest-$n-$round.err"
				} >>"$name/log"
				echo "$status" >"$name/status"
			fi
		done
		all=1
		for name in "$@"; do [ -d "$logs/cases/$name" ] || all=0; done
		if [ "$status" -eq 99 ] && ! grep -qs '^not ok ' "$logs"/cases/*/log; then
			mkdir "$logs/cases/log-$n-$round"
			echo "not ok log-$n-$round: the kernel's log is not clean"
			{
				echo "not ok kernel log"
				cat "$logs/guest-$n-$round.err"
			} | tee "$logs/cases/log-$n-$round/log" | tail -n +2
		fi
		[ "$all" = 0 ] || return 0
		if [ "$taken" -eq 0 ]; then
			mkdir "$logs/cases/boot-$n"
			echo "not ok boot-$n: a guest ended with status $status before any case"
			{
				echo "not ok boot"
				cat "$logs/guest-$n-$round.err"
			} | tee "$logs/cases/boot-$n/log" | tail -n +2
			return 0
		fi
	done
}

stage_guest() {
	local names guests available i log line
	mapfile -t names < <(case_names)
	for i in "${cases[@]}"; do
		[ -e "$PROJECT/$folder/$i.sh" ] || not_ok "guest: no such case: $i"
	done
	if [ ${#names[@]} -eq 0 ]; then
		not_ok "guest: no such case: ${cases[*]:-(there are none)}"
		return
	fi
	memory=3G
	available=$(awk '/^MemAvailable/ {print int($2 / 4194304)}' /proc/meminfo)
	guests=${REXT4_TEST_GUESTS:-$(nproc)}
	[ "$guests" -le "$available" ] || guests=$available
	[ "$guests" -ge 1 ] || guests=1
	[ "$guests" -le ${#names[@]} ] || guests=${#names[@]}
	echo "# guest tests: ${#names[@]} cases in $guests guests at once"
	options=("${variables[@]}")
	if [ -n "${CORPUS:-}" ]; then
		options+=(--share "corpus=$(realpath "$CORPUS")" --env CORPUS=/share/corpus)
	fi
	for crate in pjdfstest fsx; do
		if [[ " ${names[*]} " = *" $crate"[\ @]* ]]; then
			i=$("$PROJECT/tests/lib/crate.sh" $crate)
			options+=(--share "$crate=$i")
		fi
	done
	programs=$(tools)
	"$PROJECT/qemu/guest-root.sh" >/dev/null
	mkdir "$logs/cases"
	workers=()
	# Background commands of a script ignore SIGINT, so it is passed on by hand.
	trap 'kill "${workers[@]}" 2>/dev/null; wait; exit 130' INT TERM HUP
	for ((i = 0; i < guests; i++)); do
		worker "$i" "${names[@]}" &
		workers+=($!)
	done
	wait
	trap - INT TERM HUP
	for i in "${names[@]}"; do
		# A case that nobody has come to: its worker has ended before.
		if [ ! -e "$logs/cases/$i/status" ] && ! grep -qs '^not ok ' "$logs/cases/$i/log"; then
			mkdir -p "$logs/cases/$i"
			echo "not ok was not run to its end" | tee -a "$logs/cases/$i/log"
		fi
	done
	for log in "$logs"/cases/*/log; do
		while IFS= read -r line; do
			case $line in
			'ok '*'# SKIP'*) skipped=$((skipped + 1)) ;;
			'ok '*) passed=$((passed + 1)) ;;
			'not ok '*) failed=$((failed + 1)) ;;
			esac
		done < <(grep -E '^(not )?ok ' "$log")
		if grep -q '^not ok ' "$log"; then
			echo "# failures in $log"
		fi
	done
}

# with_disk SIZE OPTION... -- COMMAND...: one guest with an empty disk, whose status is this script's.
with_disk() {
	local status=0
	programs=$(tools)
	disk=$(mktemp "$CACHE/run/disk.XXXXXX")
	trap 'rm -f "$disk"' EXIT
	truncate -s "$1" "$disk"
	shift
	guest "$logs/${stages[0]}.console" --mem 3G --disk "$disk" --share bin="$programs" "$@" || status=$?
	exit "$status"
}
stage_demo() { with_disk 4G --timeout 3600 -- /src/tests/demo.sh; }
stage_shell() { with_disk 1G --interactive --no-splat-check -- /src/tests/shell.sh; }

if [ "${stages[*]}" = tools ]; then
	tools
	exit
fi
mkdir -p "$logs"
ln -sfn "$(basename "$logs")" "$CACHE/log/test"
# The folders of the last runs stay.
find "$CACHE/log" -maxdepth 1 -name 'test.*' -type d | sort | head -n -20 | xargs -r rm -rf
start=$SECONDS
# The last line counts, also where what the tests need cannot be made.
summary() {
	local status=$?
	trap - EXIT
	[ "$status" -eq 0 ] || not_ok "ended with status $status"
	ln -sfn "$(basename "$logs")" "$CACHE/log/test"
	say "took $(elapsed "$start")"
	echo "$passed passed, $failed failed$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
	if [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]; then exit 0; else exit 1; fi
}
[[ " ${stages[*]} " =~ \ (demo|shell)\  ]] || trap summary EXIT
"$PROJECT/qemu/root.sh" >/dev/null
for stage in "${stages[@]}"; do
	case $stage in
	panics | kunit | harness | killed | guest | demo | shell)
		source=$("$PROJECT/qemu/kernel.sh" --source)
		if [ -z "$module" ]; then
			"$PROJECT/qemu/kernel.sh" "$kernel" >/dev/null
			module=$("$PROJECT/qemu/module.sh" "$kernel")
		fi
		;;
	host) ;;
	*) die "run.sh: no stage $stage" ;;
	esac
	"stage_$stage"
done
