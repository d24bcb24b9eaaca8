#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds rext4.ko for a kernel and prints the module's path.
#
#     usage: qemu/module.sh [release|debug] [MAKE-ARGUMENT...]
#
# The kernel is qemu/kernel.sh's, or the build tree KDIR. A module has to be built by the compilers that
# its kernel was built with: for KDIR, those of this machine are used if they are the ones, else those of the
# build root if they are. Builds for different kernels have different output folders, in the cache.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/lib.sh"

# The compiler versions that a kernel's configuration names, as its build compares them.
config_text() { sed -n "s/^CONFIG_$1=\"\(.*\)\"$/\1/p" "$kdir/.config"; }

# Sets $run to what runs the kernel's compilers, $llvm to the LLVM= that they need.
choose_toolchain() {
	local wanted
	run=("$PROJECT/qemu/enter.sh" --)
	llvm=()
	if grep -q '^CONFIG_CC_IS_CLANG=y' "$kdir/.config"; then
		llvm=(LLVM=-19)
	fi
	[ -n "${KDIR:-}" ] || return 0
	wanted=$(config_text RUSTC_VERSION_TEXT)
	[ -n "$wanted" ] || die "KDIR=$KDIR was built without CONFIG_RUST"
	if [ "$(rustc --version 2>/dev/null)" = "$wanted" ]; then
		run=()
		[ -z "${LLVM:-}" ] || llvm=("LLVM=$LLVM")
	elif [ "$(id -u)" -ne 0 ] || [ "$("$PROJECT/qemu/enter.sh" rustc --version)" != "$wanted" ]; then
		die "KDIR=$KDIR was built by $wanted, which neither this machine nor the build root (for root only) has"
	fi
}

case ${1:-} in
release | debug)
	kind=$1
	shift
	;;
*) kind=release ;;
esac

kdir=$("$PROJECT/qemu/kernel.sh" "$kind")
choose_toolchain
output=$CACHE/module-$(key "module 1" "$PROJECT" "$kdir" "$(stat -c %Y.%s "$kdir/Module.symvers")" "$@")
# Kbuild builds into another folder only from a clean one, and what `make -C <tree> M=<here>` left would be
# taken for this build's. The rext4.ko that it made stays.
if [ -e "$PROJECT/modules.order" ]; then
	say "removing the object files of a build in the project's folder"
	make -s -C "$PROJECT" clean-objects >&2
fi
lock "$(basename "$output")"
"${run[@]}" make -s -C "$kdir" M="$PROJECT" MO="$output" "${llvm[@]}" "$@" modules >&2
# Under a name of its own: a guest of this run may be started after another run has built something else.
named=$output/ko-$(sha256sum <"$output/rext4.ko" | cut -c1-12)/rext4.ko
if [ ! -e "$named" ]; then
	find "$output" -maxdepth 1 -name 'ko-*' -mtime +2 -exec rm -rf {} +
	mkdir -p "${named%/*}"
	cp "$output/rext4.ko" "$named.tmp"
	mv "$named.tmp" "$named"
fi
unlock
echo "$named"
