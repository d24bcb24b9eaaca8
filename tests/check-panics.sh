#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Counts the places in rext4.ko that can reach a Rust panic, which in the kernel is BUG().
#
#     usage: tests/check-panics.sh [--lower] [FILE.ko]
#
# A call site is a reference from the module's code to one of core's functions that panic. Each is printed
# with the function it is in; the numbers per room (the folders of src/) are compared with tests/panics.max, a
# ratchet: a larger number fails, a smaller one is to be written down with --lower.
# Without FILE the module is built first. Status 0 if no number has grown.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../qemu/lib.sh"

lower=0
if [ "${1:-}" = --lower ]; then
	lower=1
	shift
fi
module=${1:-$("$PROJECT/qemu/module.sh" release)}
ratchet=$PROJECT/tests/panics.max
[ -f "$module" ] || die "no $module"

# Prints 'ROOM<tab>FUNCTION<tab>CALLED' per call site. The disassembly gives the function at its head
# (`0000 <name>:`) and the called one in a relocation (`R_X86_64_PLT32 name-0x4`, or `.section+0x3c` for
# what is in another section of the module) or, inside one section, in the instruction (`callq 0x12 <name>`).
call_sites() {
	"$PROJECT/qemu/enter.sh" --bind "$(dirname "$(realpath "$module")")" -- \
		llvm-objdump --disassemble --reloc --demangle --no-show-raw-insn "$(realpath "$module")" |
		awk '
		function room(name,    part) {
			if (!match(name, /(main|rext4)::(ondisk|engine|fs|linux|kunit)::/)) return "other"
			split(substr(name, RSTART, RLENGTH), part, "::")
			return part[2]
		}
		function number(hex,    i, n) {
			for (i = 1; i <= length(hex); i++) n = n * 16 + index("123456789abcdef", substr(hex, i, 1))
			return n + 0
		}
		/^Disassembly of section / { section = substr($4, 1, length($4) - 1) }
		/^[0-9a-f]+ <.*>:$/ {
			at = number($1)
			name = $0
			sub(/^[0-9a-f]+ </, "", name)
			sub(/>:$/, "", name)
			start[section, at] = name
			functions++
			next
		}
		match($0, /R_[A-Z0-9_]+[ \t]+/) {
			called = substr($0, RSTART + RLENGTH)
			sub(/-0x[0-9a-f]+$/, "", called)
			caller[++n] = name
			callee[n] = called
			next
		}
		match($0, /(call|j[a-z]+)q?[ \t]+0x[0-9a-f]+ </) {
			called = substr($0, RSTART + RLENGTH)
			sub(/>$/, "", called)
			if (called ~ /[+]0x[0-9a-f]+$/) next
			caller[++n] = name
			callee[n] = called
		}
		END {
			if (!functions) { print "no code in the module" >"/dev/stderr"; exit 1 }
			for (i = 1; i <= n; i++) {
				called = callee[i]
				# The processor adds the distance to the end of the instruction, hence 4 less.
				if (match(called, /[+]0x[0-9a-f]+$/)) {
					place = substr(called, 1, RSTART - 1) SUBSEP (number(substr(called, RSTART + 3)) + 4)
					if (place in start) called = start[place]
				}
				# A copy of a panicking function in the module: its callers count, it does not.
				if (caller[i] ~ /^core::panicking::/) continue
				if (called ~ /^<?core::panicking::|^<?core::.*(panic_[a-z_]*|unwrap_failed|expect_failed|_fail)(::<.*>)?(::h[0-9a-f]+)?$|rust_begin_unwind|rust_build_error/)
					print room(caller[i]) "\t" caller[i] "\t" called
			}
		}'
}

sites=$(call_sites) || die "cannot read $module"
status=0
new=
while read -r room most; do
	case $room in '#'* | '') continue ;; esac
	count=$(grep -c "^$room	" <<<"$sites") || :
	if [ "$count" -gt "$most" ]; then
		echo "$room: $count call sites that can panic, at most $most are allowed"
		status=1
	elif [ "$count" -lt "$most" ]; then
		echo "$room: $count call sites that can panic; the ratchet says $most: write it down with --lower"
	else
		echo "$room: $count"
	fi
	new+="$room $((count < most ? count : most))"$'\n'
done <"$ratchet"
[ -z "$sites" ] || awk -F'\t' '{print "  " $1 ": " $2 "\n      -> " $3}' <<<"$sites"
if [ "$lower" = 1 ]; then
	{
		grep '^#' "$ratchet"
		printf '%s' "$new"
	} >"$ratchet.tmp"
	mv "$ratchet.tmp" "$ratchet"
fi
exit "$status"
