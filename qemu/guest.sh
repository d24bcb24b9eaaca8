#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs a command in a guest: boots a kernel in QEMU with a small Debian (qemu/guest-root.sh), runs the
# command as root, and ends with its exit status. Makes what is missing first. Guests are independent
# of each other; any number may run at once.
#
#     usage: qemu/guest.sh [OPTION]... -- COMMAND [ARGUMENT...]
#            qemu/guest.sh [OPTION]... --interactive
#
#     --kernel release|debug   which kernel of qemu/kernel.sh (default release); KDIR=DIR in the
#                              environment is a kernel build tree that is used instead
#     --root NAME              which root of qemu/guest-root.sh (default: the one without a name)
#     --module FILE            rext4.ko to hand in (default: rext4.ko at the top of the project)
#     --interactive            a shell on this terminal instead of a command's output
#     --mem SIZE               memory (default 2G)
#     --cpus N                 processors (default 2)
#     --disk FILE[,OPTIONS]    a further disk, /dev/vdb, /dev/vdc ... in this order; FILE is a raw image
#     --out DIR                a folder of the host, writable at /out (default: an empty one, dropped)
#     --share TAG=DIR          a folder of the host, read-only at /share/TAG; the programs of a share
#                              named `bin` are on the PATH
#     --env NAME=VALUE         a variable for the command
#     --timeout SECONDS        kill the guest after this long (default 600; none with --interactive)
#     --icount                 one processor whose time counts instructions: repeatable measurements
#     --append 'WORDS'         more words for the kernel's command line
#     --qemu 'WORDS'           more words for QEMU's command line
#     --console FILE           keep the kernel's log here
#     --ignore REGEX           lines of the kernel's log that are no failure though they look like one
#     --no-splat-check         do not look at the kernel's log
#     --no-leak-check          do not wait for kmemleak at the end (debug kernel)
#
# In the guest: the project read-only at /src (also the current folder), modules of the kernel known to
# modprobe, the module's path in $REXT4_KO, a writable root in memory, tests/lib on the PATH.
# Standard output and error of the command are this script's standard output.
#
# Exit status: the command's; 99 when the command succeeded but the kernel's log has a warning, an oops or
# a report of a checker; 124 after the time limit; 125 when the guest ended without a status.
# On 99, 124 and 125 the end of the kernel's log is shown on standard error.

# shellcheck source=qemu/lib.sh
. "$(dirname "$0")/lib.sh"

kernel=release root='' module='' interactive=0 mem=2G cpus=2 out='' timeout='' icount=0 append='' console=''
ignore='' splats=1 leaks=1 disks=() shares=() environment=() more=()
while [ $# -gt 0 ]; do
	case $1 in
	--interactive) interactive=1; shift; continue ;;
	--icount) icount=1; shift; continue ;;
	--no-splat-check) splats=0; shift; continue ;;
	--no-leak-check) leaks=0; shift; continue ;;
	--) shift; break ;;
	esac
	[ $# -ge 2 ] || die "guest.sh: $1 needs a value or is unknown"
	case $1 in
	--kernel) kernel=$2 ;;
	--root) root=$2 ;;
	--module) module=$2 ;;
	--mem) mem=$2 ;;
	--cpus) cpus=$2 ;;
	--disk) disks+=("$2") ;;
	--out) out=$2 ;;
	--share) shares+=("$2") ;;
	--env) environment+=("$2") ;;
	--timeout) timeout=$2 ;;
	--append) append=$2 ;;
	--console) console=$2 ;;
	--ignore) ignore=$2 ;;
	--qemu) read -ra more <<<"$2" ;;
	*) die "guest.sh: unknown option $1" ;;
	esac
	shift 2
done
[ $interactive = 1 ] || [ $# -gt 0 ] || die "guest.sh: no command"
[ -n "$timeout" ] || timeout=$([ $interactive = 1 ] && echo 0 || echo 600)

kdir=$("$PROJECT/qemu/kernel.sh" "$kernel")
guest_root=$("$PROJECT/qemu/guest-root.sh" ${root:+"$root"})
[ -n "$module" ] || module=$PROJECT/rext4.ko

# A folder with the kernel's modules as modprobe wants them, made once per build of the kernel.
modules_folder() {
	local release dest order ko
	release=$(cat "$kdir/include/config/kernel.release")
	dest=$CACHE/modules-$(key "modules 1" "$kdir" "$release" "$(stat -c %Y.%s "$kdir/modules.order" "$kdir/vmlinux")")
	if [ ! -d "$dest" ]; then
		lock "$(basename "$dest")"
		if [ ! -d "$dest" ]; then
			rm -rf "$dest".tmp.*
			order=$dest.tmp.$$/$release
			mkdir -p "$order/kernel"
			while read -r ko; do
				ko=${ko%.o}.ko
				mkdir -p "$order/kernel/$(dirname "$ko")"
				cp "$kdir/$ko" "$order/kernel/$ko"
			done <"$kdir/modules.order"
			cp "$kdir"/modules.order "$kdir"/modules.builtin "$kdir"/modules.builtin.modinfo "$order/"
			mkdir "$dest.tmp.$$/lib"
			ln -s .. "$dest.tmp.$$/lib/modules"
			# shellcheck disable=SC2016
			"$PROJECT/qemu/enter.sh" -- sh -c '
				find "$1" -name "*.ko" -exec llvm-strip --strip-debug {} + && depmod -b "$1" "$2"' \
				modules "$dest.tmp.$$" "$release"
			mv -T "$dest.tmp.$$" "$dest"
		fi
		unlock
	fi
	echo "$dest"
}

# kvm_works: whether KVM runs this kernel here, found out by running it: the device node proves nothing, and
# neither do a few instructions, which KVM may interpret. Without a root the kernel panics, which is the end
# that is looked for. The answer is kept until the machine boots again.
kvm_works() {
	[ "${REXT4_ACCEL:-}" != tcg ] && [ -w /dev/kvm ] || return 1
	local answer
	answer=$CACHE/run/kvm-$(key "$(cat /proc/sys/kernel/random/boot_id)" "$(id -u)")
	if [ ! -f "$answer" ]; then
		say "guest: trying KVM"
		"$PROJECT/qemu/enter.sh" -- timeout -k 1 20 qemu-system-x86_64 -accel kvm -cpu host -smp 2 -m 512 \
			-nodefaults -display none -no-reboot -kernel "$kdir/arch/x86/boot/bzImage" \
			-append "console=ttyS0 panic=-1" -serial stdio </dev/null >"$work/kvm" 2>&1 || :
		if grep -q 'Kernel panic - not syncing: VFS: Unable to mount root' "$work/kvm"; then
			echo yes >"$answer.$$"
		else
			say "guest: KVM does not work here; using emulation"
			echo no >"$answer.$$"
		fi
		mv "$answer.$$" "$answer"
	fi
	[ "$(cat "$answer")" = yes ]
}

# What guests that were killed left behind.
find "$CACHE/run" -maxdepth 1 -ignore_readdir_race \( -name 'guest.*' -o -name 'disk.*' -o -name 'bench.*' \) \
	-mtime +2 -exec rm -rf {} + || :
work=$(mktemp -d "$CACHE/run/guest.XXXXXX")
qemu=
cat=
watchdog=
exec {hold}</dev/null
cleanup() {
	[ -z "$watchdog" ] || kill "$watchdog" 2>/dev/null || :
	[ -z "$qemu" ] || kill -KILL "$qemu" 2>/dev/null || :
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
ctl=$work/ctl
mkdir "$ctl"
[ -n "$out" ] || out=$work/out
mkdir -p "$out"
out=$(realpath "$out")

# What the guest reads: variables, and the command.
tags=
binds=("$out")
devices=()
share() { # TAG FOLDER READONLY
	devices+=(-fsdev "local,id=$1,path=$2,security_model=none,multidevs=remap,readonly=$3"
		-device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}
for entry in "${shares[@]}"; do
	dir=$(realpath "${entry#*=}")
	[ -d "$dir" ] || die "guest.sh: --share $entry: not a folder"
	tags+=" ${entry%%=*}"
	binds+=("$dir")
	share "share-${entry%%=*}" "$dir" on
done
modules=$(modules_folder)
share src "$PROJECT" on
share mods "$modules" on
share ctl "$ctl" off
share out "$out" off

if [ -f "$module" ]; then
	cp "$module" "$ctl/rext4.ko"
	environment+=(REXT4_KO=/run/rext4/rext4.ko)
fi
{
	printf 'SHARES=%q\nINTERACTIVE=%q\nCHECK_LEAKS=%q\n' "$tags" "$interactive" "$leaks"
	if [ $interactive = 1 ]; then
		read -r rows columns < <(stty size 2>/dev/null || echo 24 80)
		printf 'GUEST_TERM=%q\nROWS=%q\nCOLUMNS=%q\n' "${TERM:-vt100}" "$rows" "$columns"
	fi
	for entry in REXT4_KERNEL="$kernel" "${environment[@]}"; do
		printf 'export %s=%q\n' "${entry%%=*}" "${entry#*=}"
	done
} >"$ctl/env"
if [ $# -gt 0 ]; then
	printf '%q ' "$@" >"$ctl/command"
else
	echo "exec bash -i" >"$ctl/command"
fi

log=$work/console.log
: >"$log"
words="console=ttyS0 root=/dev/vda rootfstype=squashfs ro init=/sbin/rext4-init panic=-1 oops=panic"
words+=" random.trust_cpu=on nokaslr"
if [ $icount = 1 ]; then
	machine=(-accel "tcg,thread=single" -icount "shift=0,sleep=off" -smp 1 -cpu "max,-erms,-fsrm,-fsrs")
elif kvm_works; then
	machine=(-accel kvm -smp "$cpus" -cpu host)
else
	# A processor of the host may be away for long, which is no fault of the guest: neither is its clock
	# unstable then, nor does its timer not work.
	words+=" tsc=nowatchdog no_timer_check"
	# Four levels of page tables suffice. With five, KASAN may report an interrupt that comes while the kernel
	# identifies its processor, and forgets how many there are for a moment; lockdep is off from then on.
	machine=(-accel "tcg,thread=multi" -smp "$cpus" -cpu "max,-la57")
fi
drives=(-drive "file=$guest_root,format=raw,if=virtio,readonly=on,file.locking=off")
for entry in "${disks[@]}"; do
	file=$(realpath "${entry%%,*}")
	binds+=("$file")
	options=
	case $entry in *,*) options=,${entry#*,} ;; esac
	drives+=(-drive "file=$file,format=raw,if=virtio,cache=unsafe,discard=unmap$options")
done
if [ $interactive = 1 ]; then
	port=(-chardev "stdio,id=user,signal=off" -device virtio-serial-pci -device "virtconsole,chardev=user")
	exec {in}<&0 {output}>&1
else
	# A named pipe that this script holds open: it is drained to its end when QEMU is gone, and nothing waits
	# for a QEMU that never opened it.
	mkfifo "$work/output"
	port=(-chardev "file,id=user,path=$work/output" -device virtio-serial-pci
		-device "virtserialport,chardev=user,name=rext4.output")
	exec {hold}>&- {hold}<>"$work/output"
	cat <"$work/output" {hold}>&- &
	cat=$!
	exec {in}</dev/null {output}>&2
fi

enter=()
for path in "${binds[@]}"; do enter+=(--bind "$path"); done
"$PROJECT/qemu/enter.sh" "${enter[@]}" --die-with-parent -- qemu-system-x86_64 \
	-name rext4 -machine q35 "${machine[@]}" -m "$mem" -nodefaults -no-user-config -display none -no-reboot \
	-kernel "$kdir/arch/x86/boot/bzImage" -append "$words $append" \
	-chardev "file,id=console,path=$log" -serial chardev:console \
	-device virtio-rng-pci "${more[@]}" "${drives[@]}" "${devices[@]}" "${port[@]}" \
	<&"$in" >&"$output" 2>"$work/qemu.err" {hold}>&- &
qemu=$!
if [ "$timeout" -gt 0 ]; then
	(
		sleep "$timeout" &
		trap 'kill $!' TERM
		wait $! && : >"$work/late" && kill -KILL "$qemu"
	) {hold}>&- 2>/dev/null &
	watchdog=$!
fi
status=0
wait "$qemu" 2>/dev/null || status=$?
qemu=
exec {hold}>&-
[ -z "$cat" ] || wait "$cat" || :

[ -z "$console" ] || cp "$log" "$console"
tail_log() {
	say "--- the end of the guest's log:"
	tail -n "${1:-40}" "$log" | tr -d '\r' >&2
	say "---"
}

if [ ! -s "$ctl/status" ]; then
	if [ -e "$work/late" ]; then
		say "guest: killed after the time limit of $timeout seconds"
		result=124
	else
		say "guest: ended without a result (qemu: status $status)"
		cat "$work/qemu.err" >&2
		result=125
	fi
	tail_log 60
	exit "$result"
fi
result=$(cat "$ctl/status")
if [ $splats = 1 ]; then
	# What no run may leave in the kernel's log.
	found=$(tr -d '\r' <"$log" | grep -nEf "$PROJECT/qemu/splat.regex" |
		{ if [ -n "$ignore" ]; then grep -vE "$ignore"; else cat; fi; } | head -n 20) || :
	if [ -n "$found" ]; then
		say "guest: the kernel's log is not clean:"
		say "$found"
		tail_log 80
		[ "$result" -ne 0 ] || result=99
	fi
fi
exit "$result"
