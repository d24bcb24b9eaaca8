#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs xfstests, the user's, on C ext4 and on rext4, the same tests in guests of the same kind, and compares.
#
#     usage: tests/xfstests/run.sh TREE [ARGUMENT OF check]...        (default: -g quick)
#            tests/xfstests/run.sh --compare FILE FILE                results of C ext4 and of rext4, kept before
#
# TREE is an xfstests that has been built, or what its `make install` has installed (/var/lib/xfstests). The project
# neither fetches nor builds one; it goes into the guests as a share that they only read. rext4's module is
# loaded with ext4=1 and C ext4 is not there, so that FSTYP is ext4 for both.
#
# Each test's results are printed, then what C ext4 passes and rext4 does not, or does not run. The status is 0 if all
# of that is in tests/xfstests/expected, with the feature that it waits for, and if all tests came to an end.
#
# In the environment:
#
#     SUBJECTS='ext4 rext4'   whom to run them on; with rext4 alone, its failures are what is compared with the list
#     MKFS_OPTIONS, MOUNT_OPTIONS, LOAD_FACTOR, TIME_FACTOR, SOAK_DURATION
#                             for xfstests, which says what they are (default: MKFS_OPTIONS='-b 4096')
#     KERNEL=release|debug    whose guests (default release)
#     MEM=3G, SIZE=2G         memory of a guest; size of each of its three disks, files in the cache that grow as needed
#     LIMIT=SECONDS           after so long without a word of check the guest is ended, the test that ran has failed,
#                             and another guest goes on after it (default 1800)
#
# Logs, and what xfstests leaves (.full, .out.bad, .dmesg), stay in the cache, the last run's in log/xfstests.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../../qemu/lib.sh"

here=$PROJECT/tests/xfstests
expected=$here/expected

# results FILE: what check has printed so far, as lines 'TEST pass|fail|notrun|running WORDS'.
results() {
	awk '
		function end() {
			if (test == "" || state == "expunged") return
			print test, state, words
		}
		/^[a-z0-9]+\/[0-9][0-9][0-9]+( |$)/ {
			end()
			test = $1
			words = $0
			sub(/^[^ ]+ */, "", words)
			# How long it took the last time.
			sub(/^[0-9]+s \.\.\. */, "", words)
			sub(/[ \t]+$/, "", words)
			if (words == "") state = "running"
			else if (words ~ /^[0-9]+s$/) state = "pass"
			else if (words ~ /\[expunged\]/) state = "expunged"
			else if (sub(/^\[not run\] */, "", words)) state = "notrun"
			else state = "fail"
			next
		}
		/^(Ran|Not run|Failures|Passed|Failed|Interrupted|#).*/ { end(); test = ""; next }
		# Lines below a test are about what has failed.
		test != "" && NF && state == "running" { state = "fail"; words = $0; sub(/^ +/, "", words) }
		END { end() }' "$1"
}

# The list has to say why: TEST FEATURE REASON...
check_expected() {
	local bad
	bad=$(awk '!/^#/ && NF && (NF < 3 || $1 !~ /^[a-z0-9]+\/[0-9]+$/ || seen[$1]++)' "$expected")
	[ -z "$bad" ] || die "tests/xfstests/expected: not 'TEST FEATURE REASON', or twice: $bad"
}

# compare C-RESULTS RESULTS: the table, and what is not expected; the status says whether there is any. An empty
# file of C ext4's leaves rext4's own failures.
compare() {
	awk -v expected="$expected" -v c="$1" -v r="$2" '
		function read(file, state, words,   line, f) {
			while ((getline line < file) > 0) {
				split(line, f, " ")
				if (!(f[1] in known)) { known[f[1]] = 1; order[++n] = f[1] }
				# Of several runs, the one that failed.
				if (state[f[1]] == "fail") continue
				state[f[1]] = f[2]
				sub(/^[^ ]+ [^ ]+ ?/, "", line)
				words[f[1]] = line
			}
			close(file)
		}
		function show(state, words) {
			if (state == "pass") return "pass " words
			return state == "" ? "-" : state == "fail" ? "FAIL" : "not run"
		}
		BEGIN {
			while ((getline line < expected) > 0) {
				if (line ~ /^#/ || line !~ /[^ \t]/) continue
				split(line, f, /[ \t]+/)
				sub(/^[^ \t]+[ \t]+[^ \t]+[ \t]+/, "", line)
				feature[f[1]] = f[2]
				reason[f[1]] = line
			}
			read(c, of_c, words_c)
			for (test in of_c) both = 1
			read(r, of_r, words_r)
			printf "%-14s %-14s %-14s\n", "test", "C ext4", "rext4"
			for (i = 1; i <= n; i++) {
				test = order[i]
				printf "%-14s %-14s %-14s\n", test, show(of_c[test], words_c[test]), show(of_r[test], words_r[test])
				count["c" of_c[test]]++
				count["r" of_r[test]]++
				worse = both ? of_c[test] == "pass" && of_r[test] != "pass" : of_r[test] == "fail"
				if (worse) list[++worst] = test
				else if ((test in feature) && of_r[test] == "pass") better[++m] = test
				if (both && of_c[test] == "fail" && of_r[test] == "pass") gained = gained " " test
			}
			print ""
			if (both) printf "C ext4: %d passed, %d failed, %d not run\n", count["cpass"], count["cfail"], count["cnotrun"]
			printf "rext4: %d passed, %d failed, %d not run\n", count["rpass"], count["rfail"], count["rnotrun"]
			if (gained != "") print "only C ext4 fails:" gained
			print both ? "C ext4 passes and rext4 does not:" : "rext4 does not pass:"
			for (i = 1; i <= worst; i++) {
				test = list[i]
				said = show(of_r[test], words_r[test]) ", " words_r[test]
				if (test in feature) {
					printf "  %-13s expected (%s: %s): %s\n", test, feature[test], reason[test], said
				} else {
					printf "  %-13s NOT EXPECTED: %s\n", test, said
					others++
				}
			}
			if (!worst) print "  nothing"
			for (i = 1; i <= m; i++)
				print "note: " better[i] " passes, though tests/xfstests/expected has it"
			printf "%d not expected\n", others
			exit others > 0 || !(count["rpass"] + count["rfail"] + count["rnotrun"])
		}' </dev/null
}

check_expected
if [ "${1:-}" = --compare ]; then
	[ $# -eq 3 ] && [ -f "$2" ] && [ -s "$3" ] || die "usage: tests/xfstests/run.sh --compare FILE FILE"
	compare "$2" "$3"
	exit
fi
[ $# -ge 1 ] && [ -n "$1" ] || die "name an xfstests that has been built: make xfstests XFSTESTS=DIR"
[ -x "$1/check" ] && [ -d "$1/common" ] || die "$1 is no xfstests: it has no 'check'"
[ -x "$1/ltp/fsstress" ] && ls "$1"/tests/generic/group.list >/dev/null 2>&1 ||
	die "$1 has not been built: it has no ltp/fsstress or no group.list"
tree=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- -g quick
read -ra subjects <<<"${SUBJECTS:-ext4 rext4}"
kernel=${KERNEL:-release}
module=$("$PROJECT/qemu/module.sh" "$kernel")
logs=$CACHE/log/xfstests.$(date +%m%d-%H%M%S).$$
mkdir -p "$logs"
ln -sfn "$(basename "$logs")" "$CACHE/log/xfstests"

variables=(--env "MKFS_OPTIONS=${MKFS_OPTIONS--b 4096}")
for name in MOUNT_OPTIONS LOAD_FACTOR TIME_FACTOR SOAK_DURATION; do
	[ -z "${!name:-}" ] || variables+=(--env "$name=${!name}")
done

guest=
disks=$(mktemp -d "$CACHE/run/disk.XXXXXX")
cleanup() {
	[ -z "$guest" ] || { kill "$guest" && wait "$guest"; } 2>/dev/null || :
	rm -rf "$disks"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# watch LOG SUBJECT: says what is judged while the guest runs, and ends a guest that says nothing any more.
# Its status is 1 if it did that.
watch() {
	local log=$1 subject=$2 size last=-1 since=$SECONDS shown=0 lines
	while kill -0 "$guest" 2>/dev/null; do
		sleep 2
		size=$(stat -c %s "$log")
		if [ "$size" -ne "$last" ]; then
			last=$size since=$SECONDS
			mapfile -t lines < <(results "$log" | grep -v ' running ')
			for ((; shown < ${#lines[@]}; shown++)); do say "# $subject: ${lines[shown]:0:120}"; done
		elif [ $((SECONDS - since)) -gt "${LIMIT:-1800}" ]; then
			kill "$guest" 2>/dev/null
			return 1
		fi
	done
}

# run_on SUBJECT ARGUMENT...: guest after guest until check has come to its end.
run_on() {
	local subject=$1 round=0 status silent log out=$logs/$1 before
	shift
	mkdir -p "$out"
	: >"$logs/$subject.results"
	while :; do
		round=$((round + 1))
		log=$logs/$subject.$round
		awk '{print $1}' "$logs/$subject.results" >"$out/done"
		before=$(wc -l <"$out/done")
		: >"$log.out"
		rm -f "$disks"/*
		truncate -s "${SIZE:-2G}" "$disks"/{test,scratch,log}
		"$PROJECT/qemu/guest.sh" --root xfstests --kernel "$kernel" --module "$module" --mem "${MEM:-3G}" \
			--disk "$disks/test" --disk "$disks/scratch" --disk "$disks/log" \
			--append kunit.autorun=0 --timeout 0 --console "$log.console" --out "$out" --no-splat-check \
			--no-leak-check --share xfstests="$tree" "${variables[@]}" \
			-- /src/tests/xfstests/guest.sh "$subject" -E /out/done "$@" >"$log.out" 2>"$log.err" &
		guest=$!
		status=0 silent=0
		watch "$log.out" "$subject" || silent=1
		wait "$guest" || status=$?
		guest=
		results "$log.out" | while read -r test state words; do
			if [ "$state" = running ]; then
				state=fail words="the guest died (status $status)"
				[ $silent = 0 ] || words="no end after ${LIMIT:-1800} seconds"
				say "# $subject: $test $words"
			fi
			echo "$test $state $words"
		done >>"$logs/$subject.results"
		if grep -q '^# check has ended' "$log.out"; then break; fi
		if [ "$(wc -l <"$logs/$subject.results")" -eq "$before" ]; then
			tail -n 20 "$log.out" "$log.err" >&2
			die "no test ran on $subject in the last guest, see $log.out"
		fi
	done
	! grep '^# not ' "$logs/$subject".*.out || die "the tests on $subject do not count"
}

for subject in "${subjects[@]}"; do
	case $subject in
	ext4 | rext4) run_on "$subject" "$@" ;;
	*) die "no subject $subject" ;;
	esac
done
say "what the tests left is in $logs"
touch "$logs"/{ext4,rext4}.results
if [ -s "$logs/rext4.results" ]; then
	compare "$logs/ext4.results" "$logs/rext4.results"
else
	cat "$logs/ext4.results"
fi
