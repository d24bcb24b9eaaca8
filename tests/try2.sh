. /src/tests/guest/lib.sh
load_drivers; load_ram_disks
try() { # mkfs opts
  make_fs /dev/ram0 64M "$@"
  mount -t rext4 /dev/ram0 "$MNT" || return 1
  cd $MNT
  touch a b c; mkdir -p d d/e d/e/f x/y/z; mknod fifo p; mknod null c 1 3; ln -s short sl; ln -s $(printf 'l%.0s' $(seq 200)) ll
  ln a a2; mv b b2; mv c d/; mv d/e x/; mv x/y d/; ln -s foo d/foo
  mkdir many; (cd many; printf 'file-name-number-%d\n' $(seq 1 700) | xargs touch)
  mkdir dirs;  (cd dirs; printf 'sub-%d\n' $(seq 1 100) | xargs mkdir)
  ls many | wc -l
  mv many/* dirs/
  ls many | wc -l; stat -c '%s %b' many dirs; rmdir many
  readlink ll | wc -c
  find . | wc -l
  cd /; umount $MNT; e2fsck -fn /dev/ram0 | tail -30; echo "fsck: $?"
}
for opts in "$@"; do echo "== $opts"; try $opts; done
dmesg | grep -v KTAP | tail -15
