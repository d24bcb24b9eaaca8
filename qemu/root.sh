#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes the build root if it is not there yet, and prints its path.
#
#     usage: qemu/root.sh
#
# The build root is a folder with a Debian trixie in it: the compilers that the kernel, the module
# and the host tests are built with, QEMU, and the tools that make guests and images. It is made by
# mmdebstrap from the mirror that this machine's own apt uses, checked with the archive's keys, and
# used through qemu/enter.sh. REXT4_MIRROR overrides the mirror.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/lib.sh"

PACKAGES=(
	apt ca-certificates gcc-14 gcc libc6-dev make flex bison bc libelf-dev libssl-dev libdw-dev kmod cpio
	zstd xz-utils bzip2 rsync python3 perl clang-19 lld-19 llvm-19 libclang-19-dev rustc rust-src
	rustfmt rust-clippy cargo bindgen pahole git qemu-system-x86 e2fsprogs xfsprogs
	squashfs-tools mmdebstrap shellcheck util-linux
)

root=$CACHE/root-$(key "root 1" "$SUITE" "${PACKAGES[@]}")

# Only settings that say how to fetch (proxies, CAs, time checks): names of files and hooks of this
# machine mean nothing in the root.
apt_options() {
	apt-config dump --no-empty --format '%F "%v";%n' |
		grep -E '^Acquire::(https?::|Retries|Check-|Force|GzipIndexes)' |
		grep -vE 'Auto-Detect|AutoDetect' || :
	local detect='' name
	for name in Proxy-Auto-Detect ProxyAutoDetect; do
		[ -n "$detect" ] || eval "$(apt-config shell detect "Acquire::http::$name")"
	done
	if [ -n "$detect" ] && [ -x "$detect" ]; then
		local proxy
		proxy=$("$detect" "$1" || :)
		case $proxy in http*) printf 'Acquire::http::Proxy "%s";\n' "$proxy" ;; esac
	fi
}

# The sites that this machine's apt takes Debian itself from, one per line. A mirror list file is
# read here because the root does not have it.
mirrors() {
	if [ -n "${REXT4_MIRROR:-}" ]; then
		echo "$REXT4_MIRROR"
		return
	fi
	local site
	apt-get indextargets --format '$(SITE)|$(ORIGIN)|$(LABEL)' 'Created-By: Packages' |
		sed -n 's/|Debian|Debian$//p' | awk '!seen[$0]++' |
		while read -r site; do
			case $site in
			mirror+file:*) awk '!/^#/ && NF {print $1}' "${site#mirror+file:}" || : ;;
			http:* | https:* | ftp:*) echo "$site" ;;
			esac
		done
}

# A package is unpacked and, much later, set up; each is half of it.
count_packages() {
	awk '/^Status: install ok/ {n += $4 == "installed" ? 2 : 1} END {print int(n / 2)}' "$tmp/var/lib/dpkg/status"
}

make_root() {
	need_root "making the build root"
	[ "$(dpkg --print-architecture)" = amd64 ] || die "only amd64 machines are supported so far"
	local mirror list signed='' keyring=/usr/share/keyrings/debian-archive-keyring.gpg have_lists=
	[ -n "$(mirrors)" ] && have_lists=1
	if ! command -v mmdebstrap >/dev/null || [ ! -e $keyring ] ||
		! ls /usr/share/keyrings/debian-archive-$SUITE-stable.* >/dev/null 2>&1; then
		say "build root: installing mmdebstrap and the archive's keys on this machine"
		apt-get -q update >&2
		DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends \
			mmdebstrap debian-archive-keyring >&2
	elif [ -z "$have_lists" ]; then
		apt-get -q update >&2
	fi
	list=$(mirrors)
	[ -n "$list" ] || die "apt knows no Debian mirror on this machine; name one with REXT4_MIRROR=URL"
	[ -e $keyring ] && signed="[signed-by=$keyring] "

	rm -rf --one-file-system "$CACHE"/root-*.tmp.*
	tmp=$root.tmp.$$
	for mirror in $list; do
		apt_options "$mirror" >"$tmp.apt"
		if progress "build root" packages 270 count_packages \
			mmdebstrap --mode=root --variant=minbase --format=directory \
			--aptopt="$tmp.apt" --aptopt='Apt::Install-Recommends "false"' \
			--include="$(IFS=,; echo "${PACKAGES[*]}")" "$SUITE" "$tmp" \
			"deb $signed$mirror $SUITE main" "deb $signed$mirror $SUITE-backports main"; then
			chroot "$tmp" dpkg-query -W >"$tmp/etc/rext4-packages"
			rm -f "$tmp.apt"
			mv -T "$tmp" "$root"
			return
		fi
		rm -rf --one-file-system "$tmp" "$tmp.apt"
	done
	die "no mirror of this machine's apt configuration could provide $SUITE"
}

if [ ! -d "$root" ]; then
	lock root
	[ -d "$root" ] || make_root
	unlock
fi
echo "$root"
