#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds pjdfstest, a suite of POSIX file system tests, if it is not there yet, and prints the folder that has it.
#
#     usage: tests/lib/pjdfstest.sh
#
# It is a crate, built in the build root by the cargo there, with the versions of its own Cargo.lock. This is the
# newest version that that compiler builds.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../../qemu/lib.sh"

VERSION=0.2.2

root=$("$PROJECT/qemu/root.sh")
folder=$CACHE/pjdfstest-$(key "pjdfstest 1" "$VERSION" "$(basename "$root")")
if [ ! -d "$folder" ]; then
	lock pjdfstest
	if [ ! -d "$folder" ]; then
		rm -rf "$CACHE"/pjdfstest-*.tmp.*
		mkdir -p "$folder.tmp.$$/lib"
		# What it links to is in the root, as in every Debian; the link of that name comes with a package for developers.
		ln -s /usr/lib/x86_64-linux-gnu/libacl.so.1 "$folder.tmp.$$/lib/libacl.so"
		REXT4_CARGO_TARGET_DIR=$folder.tmp.$$/target CARGO_ENCODED_RUSTFLAGS=-L$folder.tmp.$$/lib \
			progress pjdfstest "building" 0 : "$PROJECT/qemu/enter.sh" -- \
			cargo install pjdfstest --version "$VERSION" --locked --root "$folder.tmp.$$/out"
		mv "$folder.tmp.$$/out/bin" "$folder.tmp.$$/done"
		mv -T "$folder.tmp.$$/done" "$folder"
		rm -rf "$folder.tmp.$$"
	fi
	unlock
fi
echo "$folder"
