#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds a test program that is a crate, if it is not there yet, and prints the folder that has it.
#
#     usage: tests/lib/crate.sh NAME
#
#     pjdfstest   a suite of POSIX file system tests
#     fsx         random operations on a file, compared with what it should hold
#
# Crates are built in the build root by the cargo there, with the versions of their own Cargo.lock. Each is the
# newest version that that compiler builds.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../../qemu/lib.sh"

name=${1:?}
case $name in
pjdfstest) version=0.2.2 ;;
fsx) version=0.2.0 ;;
*) die "no crate $name" ;;
esac

root=$("$PROJECT/qemu/root.sh")
folder=$CACHE/$name-$(key "$name 1" "$version" "$(basename "$root")")
if [ ! -d "$folder" ]; then
	lock "$name"
	if [ ! -d "$folder" ]; then
		rm -rf "$CACHE/$name"-*.tmp.*
		mkdir -p "$folder.tmp.$$/lib"
		# What they link to is in the root, as in every Debian; the link of that name comes with a package for developers.
		ln -s /usr/lib/x86_64-linux-gnu/libacl.so.1 "$folder.tmp.$$/lib/libacl.so"
		REXT4_CARGO_TARGET_DIR=$folder.tmp.$$/target CARGO_ENCODED_RUSTFLAGS=-L$folder.tmp.$$/lib \
			progress "$name" "building" 0 : "$PROJECT/qemu/enter.sh" -- \
			cargo install "$name" --version "$version" --locked --root "$folder.tmp.$$/out"
		mv "$folder.tmp.$$/out/bin" "$folder.tmp.$$/done"
		mv -T "$folder.tmp.$$/done" "$folder"
		rm -rf "$folder.tmp.$$"
	fi
	unlock
fi
echo "$folder"
