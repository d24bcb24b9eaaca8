#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Checks the form of what is in the tree: rustfmt, clippy (host library and module), shell scripts,
# SPDX headers. Changes nothing; status 0 if there is nothing to say.
#
#     usage: tests/lint.sh

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/../qemu/lib.sh"
cd "$PROJECT"

command -v git >/dev/null || git() { "$PROJECT/qemu/enter.sh" git "$@"; }

status=0
check() { # NAME COMMAND...
	local name=$1
	shift
	if "$@"; then
		echo "$name: ok"
	else
		echo "$name: FAILED"
		status=1
	fi
}
# Files of the project that are or could be committed.
files() {
	git -c safe.directory='*' ls-files --cached --others --exclude-standard -- "$@" |
		while read -r f; do [ ! -f "$f" ] || echo "$f"; done
}

scripts() {
	local file
	files | while read -r file; do
		case $file in
		*.sh) echo "$file" ;;
		*.*) ;;
		*) head -c 30 "$file" | head -n 1 | grep -q '^#!.*sh' && echo "$file" || : ;;
		esac
	done
	files .ci
}

headers() {
	local missing
	missing=$(files '*.rs' '*.c' '*.h' '*.sh' '*.py' '*.toml' '*.fstab' .ci .shellcheckrc Kbuild Makefile '*/Makefile' | while read -r file; do
		head -n 2 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0' || echo "$file"
	done)
	[ -z "$missing" ] || echo "no SPDX header: $missing"
	[ -z "$missing" ]
}

module_clippy() {
	local out
	# Warnings are errors here, though not for users with other compilers.
	if ! out=$("$PROJECT/qemu/module.sh" release CLIPPY=1 KRUSTFLAGS=-Dwarnings 2>&1); then
		echo "$out"
		return 1
	fi
}

enter=$PROJECT/qemu/enter.sh
mapfile -t rust < <(files '*.rs')
mapfile -t shell < <(scripts | sort -u)
check rustfmt "$enter" rustfmt --check --edition 2021 --config skip_children=true "${rust[@]}"
check "clippy (host)" "$enter" cargo clippy --locked --quiet --all-targets -- -D warnings
# That name only keeps its build script from compiling libFuzzer, for which there is no linker here.
check "clippy (fuzz targets)" "$enter" env CUSTOM_LIBFUZZER_PATH=/lib/libFuzzer.a \
	cargo clippy --locked --quiet --manifest-path tests/fuzz/Cargo.toml -- -D warnings
check "clippy (module)" module_clippy
check shellcheck "$enter" shellcheck --severity=info "${shell[@]}"
check "SPDX headers" headers
exit $status
