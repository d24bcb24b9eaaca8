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
output=$(dirname "$(dirname "$module")")
"$PROJECT/qemu/enter.sh" make -s -C "$kdir" M="$PROJECT" MO="$output" LLVM=-19 rust-analyzer >&2
# The kernel's script finds a crate where the Kbuild beside it names its object; ours is one folder up.
"$PROJECT/qemu/enter.sh" -- python3 - "$output/rust-project.json" "$PROJECT" "$output" <<'PYTHON' |
import copy, json, re, sys

project, top, output = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
crates = project["crates"]
numbers = {crate["display_name"]: n for n, crate in enumerate(crates)}
kernel = crates[numbers["kernel"]]
version = re.search(r'^version = "(.*)"', open(top + "/Cargo.toml").read(), re.M)[1]
names = ["core", "kernel", "pin_init", "zerocopy", "zerocopy_derive"]
crates.append({
    "display_name": "rext4",
    "root_module": top + "/src/main.rs",
    "is_workspace_member": True,
    "is_proc_macro": False,
    "edition": kernel["edition"],
    "deps": [{"crate": numbers[name], "name": name} for name in names if name in numbers],
    "cfg": copy.copy(kernel["cfg"]),
    "env": {"REXT4_BINDINGS": output + "/include", "REXT4_VERSION": version},
    "source": {"include_dirs": [top, output + "/include"], "exclude_dirs": []},
})
json.dump(project, sys.stdout, indent=4)
PYTHON
	sed "s|\"/usr/|\"$root/usr/|g" >"$PROJECT/.rust-project.tmp"
mv "$PROJECT/.rust-project.tmp" "$PROJECT/rust-project.json"
say "wrote rust-project.json"
