#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Writes rust-project.json at the top of the project, so that rust-analyzer knows the module's crate, the
# kernel's crates and core. Paths inside the build root are made paths of this machine.
#
#     usage: qemu/rust-analyzer.sh

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/lib.sh"

kdir=$("$PROJECT/qemu/kernel.sh" release)
root=$("$PROJECT/qemu/root.sh")
module=$("$PROJECT/qemu/module.sh" release)
output=$(dirname "$module")
"$PROJECT/qemu/enter.sh" make -s -C "$kdir" M="$PROJECT" MO="$output" LLVM=-19 rust-analyzer >&2
sed "s|\"/usr/|\"$root/usr/|g" "$output/rust-project.json" >"$PROJECT/rust-project.json"
say "wrote rust-project.json"
