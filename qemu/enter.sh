#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs a command as root inside the build root (qemu/root.sh makes it when it is missing).
#
#     usage: qemu/enter.sh [--bind PATH]... [--rw] [--die-with-parent] [--] COMMAND [ARGUMENT...]
#
# The project, the cache, $KDIR, $CORPUS, /tmp and every --bind PATH are seen at the same paths as
# outside; the rest of the root is read-only unless --rw is given, so that nothing a build does can
# change the root that other builds share. The mounts live in a mount namespace of their own and
# vanish with the command. The command starts in the current folder if that is seen inside, else in
# the project, with a clean environment (see `environment` below); its exit status is passed on.
# Every step is an exec: the command has the process id of this script.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/lib.sh"

# Second stage, in the new mount namespace: --inside ROOT RW DIE CWD N BIND... COMMAND...
inside() {
	local root=$1 rw=$2 die=$3 cwd=$4 n=$5 path
	shift 5
	local binds=("${@:1:n}")
	shift "$n"
	# Nothing mounted here may reach the machine. (In a chroot / is no mount and cannot be changed.)
	mount --make-rprivate / 2>/dev/null || :
	mount --bind "$root" "$root"
	mount --make-private "$root"
	cd /
	for path in "${binds[@]}"; do
		if [ -d "$path" ]; then
			mkdir -p "$root$path"
		else
			mkdir -p "$root$(dirname "$path")"
			[ -e "$root$path" ] || : >"$root$path"
		fi
	done
	[ -e "$root/etc/resolv.conf" ] || : >"$root/etc/resolv.conf"
	mkdir -p "$root/usr/local/share/ca-certificates"
	[ "$rw" = 1 ] || mount -o remount,bind,ro "$root"
	for path in /dev /proc /sys; do
		mount --rbind "$path" "$root$path"
	done
	for path in "${binds[@]}"; do
		mount --bind "$path" "$root$path"
	done
	# Names, proxies and certificate authorities are this machine's.
	for path in /etc/resolv.conf /etc/hosts; do
		[ ! -e "$path" ] || [ ! -e "$root$path" ] || mount --bind "$(realpath "$path")" "$root$path"
	done
	if [ -s /etc/ssl/certs/ca-certificates.crt ]; then
		mount --bind /etc/ssl/certs "$root/etc/ssl/certs"
		[ ! -d /usr/local/share/ca-certificates ] ||
			mount --bind /usr/local/share/ca-certificates "$root/usr/local/share/ca-certificates"
	fi
	local prefix=()
	[ "$die" = 0 ] || prefix=(setpriv --pdeathsig KILL)
	# shellcheck disable=SC2016
	exec "${prefix[@]}" chroot "$root" /usr/bin/env -i "${ENVIRONMENT[@]}" \
		/bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$cwd" "$@"
}

# What a command inside may know of the environment outside.
environment() {
	ENVIRONMENT=(
		"PATH=/usr/lib/llvm-19/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
		"HOME=$CACHE/home" "LANG=C.UTF-8" "TERM=${TERM:-dumb}" "TMPDIR=/tmp"
		"REXT4_IN_ROOT=1"
		"CARGO_HOME=${REXT4_CARGO_HOME:-$CACHE/cargo}"
		"CARGO_TARGET_DIR=${REXT4_CARGO_TARGET_DIR:-$CACHE/target}"
	)
	[ ! -s /etc/ssl/certs/ca-certificates.crt ] ||
		ENVIRONMENT+=("SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt")
	local name
	for name in $(compgen -e); do
		case $name in
		CARGO_HOME | CARGO_TARGET_DIR | REXT4_IN_ROOT) ;;
		http_proxy | https_proxy | ftp_proxy | no_proxy | all_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | ALL_PROXY | \
			CARGO_* | REXT4_* | PROPTEST_* | BENCH_* | RUST_BACKTRACE | RUST_TEST_THREADS | \
			CORPUS | KDIR | SEED | CI | NO_COLOR | V | W | SOURCE_DATE_EPOCH | KRUSTFLAGS | KCFLAGS | INSTALL_MOD_STRIP)
			ENVIRONMENT+=("$name=${!name}")
			;;
		esac
	done
}

environment
if [ "${1:-}" = --inside ]; then
	shift
	inside "$@"
fi

binds=("$PROJECT" "$CACHE" /tmp)
rw=0
die=0
while [ $# -gt 0 ]; do
	case $1 in
	--bind)
		binds+=("$(realpath "$2")")
		shift 2
		;;
	--rw) rw=1; shift ;;
	--die-with-parent) die=1; shift ;;
	--) shift; break ;;
	-*) die "enter.sh: unknown option $1" ;;
	*) break ;;
	esac
done
[ $# -gt 0 ] || die "enter.sh: no command"
need_root "using the build root"
root=$("$PROJECT/qemu/root.sh")
for path in "${KDIR:-}" "${CORPUS:-}"; do
	[ -z "$path" ] || binds+=("$(realpath "$path")")
done
# A kernel build tree made with O= needs its source as well.
if [ -n "${KDIR:-}" ] && [ -d "$KDIR/source/" ]; then
	binds+=("$(realpath "$KDIR/source")")
fi
# A folder that a bind before it already shows would only be stacked on itself.
list=()
for path in "${binds[@]}"; do
	covered=
	for other in "${list[@]}"; do
		case $path/ in "$other"/*) covered=1 ;; esac
	done
	[ -n "$covered" ] || list+=("$path")
done
cwd=$PROJECT
for path in "${list[@]}"; do
	case $(pwd -P)/ in "$path"/*) cwd=$(pwd -P) ;; esac
done
mkdir -p "$CACHE"/{home,cargo,target}
exec unshare --mount --propagation unchanged -- \
	"$BASH" "$PROJECT/qemu/enter.sh" --inside "$root" "$rw" "$die" "$cwd" "${#list[@]}" "${list[@]}" "$@"
