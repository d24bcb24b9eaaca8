#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes a kernel build tree if it is not there yet, and prints its path.
#
#     usage: qemu/kernel.sh [release|debug]
#            qemu/kernel.sh --source          only the source; prints its path
#
# The source is Debian's linux-source package of the version that rext4 is written for, checked by
# apt's signatures; the configuration is allnoconfig plus qemu/config/base.config (and debug.config).
# What was downloaded stays in the cache, so that the build does not depend on the package staying in
# the archive. An interrupted build goes on where it stopped. With KDIR=DIR in the environment that
# build tree is printed instead, whatever kind was asked for.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/lib.sh"

kind=${1:-release}
if [ -n "${KDIR:-}" ] && [ "$kind" != --source ]; then
	[ -f "$KDIR/Module.symvers" ] && [ -f "$KDIR/include/config/kernel.release" ] ||
		die "KDIR=$KDIR is not a kernel build tree (or not a built one)"
	realpath "$KDIR"
	exit
fi

# Prints the newest downloaded package of the pinned version.
downloaded() {
	find "$CACHE/dl" -name "${KERNEL_PACKAGE}_*.deb" | sort -V | tail -n 1
}

count_downloaded() {
	find "$CACHE/dl.tmp" -name '*.deb' -size +1M -printf '%s\n' | awk '{n += $1} END {print int(n / 1e6)}'
}

download() {
	[ -z "$(downloaded)" ] || return 0
	lock download
	if [ -z "$(downloaded)" ]; then
		rm -rf "$CACHE/dl.tmp"
		mkdir -p "$CACHE/dl.tmp"
		# apt drops its rights for downloads and then cannot write into a folder of root.
		progress "kernel source" "megabytes downloaded:" 167 count_downloaded \
			"$PROJECT/qemu/enter.sh" --rw -- bash -c '
				set -e
				apt-get -q update
				cd "$1"
				apt-get -q -o APT::Sandbox::User=root download "$2"' download "$CACHE/dl.tmp" "$KERNEL_PACKAGE" || {
			say "If the archive does not have $KERNEL_PACKAGE any more: put a copy of the package into"
			say "$CACHE/dl, or name a built kernel tree with KDIR=."
			exit 1
		}
		mv "$CACHE"/dl.tmp/*.deb "$CACHE/dl/"
		rm -rf "$CACHE/dl.tmp"
	fi
	unlock
}

# Sets $source to the unpacked source.
unpack() {
	download
	local deb version
	deb=$(downloaded)
	version=$(basename "$deb" .deb)
	version=${version#*_}
	version=${version%_*}
	source=$CACHE/src/linux-${version//[~+]/-}
	[ ! -d "$source" ] || return 0
	lock source
	if [ ! -d "$source" ]; then
		rm -rf "$CACHE"/src/*.tmp.*
		mkdir "$source.tmp.$$"
		# shellcheck disable=SC2016
		progress "kernel source" unpacking 0 : \
			"$PROJECT/qemu/enter.sh" -- bash -c '
				set -euo pipefail
				dpkg-deb --fsys-tarfile "$1" | tar -x -O --wildcards "./usr/src/*.tar.xz" |
					xz -dc | tar -x -C "$2" --strip-components=1' unpack "$deb" "$source.tmp.$$"
		[ -f "$source.tmp.$$/rust/kernel/lib.rs" ] || die "$deb does not contain a kernel source"
		mv -T "$source.tmp.$$" "$source"
	fi
	unlock
}

# check_config FRAGMENTS: what the fragments ask for has to be in .config: kconfig drops an option whose
# dependencies are not met without a word.
check_config() {
	local line name bad=
	while read -r line; do
		name=${line%%=*}
		case $line in
		CONFIG_*=n) grep -q "^$name=" "$build/.config" && bad+=" $line" ;;
		CONFIG_*) grep -qxF "$line" "$build/.config" || bad+=" $line" ;;
		esac
	done < <(cat "$@" | awk -F= '/^CONFIG_/ {last[$1] = $0} END {for (n in last) print last[n]}')
	[ -z "$bad" ] || die "options that did not make it into the kernel's configuration:$bad"
}

count_objects() { grep -cE '^  [A-Z]+( \[[A-Z]\])? ' "$PROGRESS_LOG"; }

run_make() {
	"$PROJECT/qemu/enter.sh" --die-with-parent -- make -C "$source" O="$build" LLVM=-19 "$@"
}

# Building in a function of its own makes it one job for progress().
build_tree() { run_make -j"$(nproc)" bzImage modules; }

case $kind in
--source)
	unpack
	echo "$source"
	exit
	;;
release)
	fragments=("$PROJECT/qemu/config/base.config")
	objects=2330
	;;
debug)
	fragments=("$PROJECT/qemu/config/base.config" "$PROJECT/qemu/config/debug.config")
	objects=2500
	;;
*) die "usage: qemu/kernel.sh [release|debug|--source]" ;;
esac

root=$("$PROJECT/qemu/root.sh")
unpack
build=$CACHE/kernel-$kind-$(key "kernel 1" "$(basename "$root")" "$(basename "$source")" \
	"$(sed -E '/^(#|$)/d' "${fragments[@]}")")
if [ ! -f "$build/.complete" ]; then
	lock "$(basename "$build")"
	if [ ! -f "$build/.complete" ]; then
		need_root "building a kernel"
		mkdir -p "$build"
		if [ ! -f "$build/.configured" ]; then
			cat "${fragments[@]}" >"$build/fragments"
			progress "kernel $kind" configuring 0 : run_make KCONFIG_ALLCONFIG="$build/fragments" allnoconfig
			check_config "${fragments[@]}"
			: >"$build/.configured"
		fi
		# A machine that lost power may leave empty files with new dates behind.
		find "$build" -name '*.o' -empty -delete
		progress "kernel $kind" "objects" "$objects" count_objects build_tree
		: >"$build/.complete"
	fi
	unlock
fi
echo "$build"
