# SPDX-License-Identifier: GPL-2.0
#
# What a user types; `make help` lists it. Kbuild is the file that the kernel's build reads, so that
# `make -C <kernel build tree> M=<this directory> modules` works as for any other module.
#
# KDIR=DIR    a built kernel tree to use instead of the cached one
# LLVM=-19    for a KDIR that clang built, as in the kernel's own make

# The build itself is in the cache, one folder per kernel; only its result is here.
modules:
	+@ko=$$(qemu/module.sh release) && cp "$$ko" .tmp_rext4.ko && mv .tmp_rext4.ko rext4.ko
	@echo "rext4.ko is built"

export LLVM CORPUS SEED
ifdef KDIR
export KDIR := $(abspath $(KDIR))
endif

run:
	@tests/run.sh --demo

shell:
	@tests/run.sh --shell

test:
	@tests/run.sh

test-debug:
	@tests/run.sh --kernel debug

# `make guest CASES='mount matrix'` runs only these of tests/guest.
guest:
	@tests/run.sh --only guest $(CASES)

kunit:
	@tests/run.sh --only kunit

# What the tests do a part of each time, in full: every moment at which the plug can be pulled; very large directories.
crash:
	@LONG=1 SLICE=all tests/run.sh --only guest crash-meta

big:
	@LONG=1 tests/run.sh --only guest big crowds

fsx:
	@LONG=1 SLICE=all tests/run.sh --only guest fsx

# `make xfstests XFSTESTS=DIR ARGS='-g quick'`: the user's xfstests, on C ext4 and on rext4.
xfstests:
	@tests/xfstests/run.sh "$(XFSTESTS)" $(ARGS)

check-panics:
	@tests/check-panics.sh

bench:
	@tests/bench/run.sh

kernel:
	@qemu/kernel.sh release

kernel-debug:
	@qemu/kernel.sh debug

lint:
	@tests/lint.sh

rust-analyzer:
	@qemu/rust-analyzer.sh

# What a build in this folder leaves behind; the cache is not touched.
clean: clean-objects
	@rm -f rext4.ko rust-project.json

clean-objects:
	@rm -f *.o *.mod *.mod.c .*.cmd .*.o Module.symvers modules.order
	@find src include kunit \( -name '*.o' -o -name '.*.cmd' -o -name '*.bc' -o -name '*.rmeta' \
		-o -name '*_generated.rs' -o -name '.*.d' \) -delete

help:
	@echo 'make run            boot a guest, mount a real image with rext4, compare it with C ext4'
	@echo 'make test           host tests, panic check, KUnit, guest tests'
	@echo
	@echo 'make                build rext4.ko here, for the cached kernel'
	@echo 'make KDIR=DIR       build rext4.ko here, for the built kernel tree DIR (LLVM=-19 if clang built it)'
	@echo 'make shell          a shell in a guest with an image mounted by rext4'
	@echo "make guest          only the guest tests; CASES='NAME ...' for some of them"
	@echo 'make kunit          only the KUnit suites'
	@echo 'make test-debug     KUnit and guest tests on a kernel with lockdep, KASAN and kmemleak'
	@echo 'make crash          the plug pulled at every moment of a workload, not only at some'
	@echo 'make big            directories of a million names'
	@echo 'make fsx            a million random operations, on file systems of all kinds'
	@echo "make xfstests       XFSTESTS=DIR ARGS='-g quick': a built xfstests, on C ext4 and rext4, compared"
	@echo 'make bench          instructions per operation: C ext4, XFS and rext4'
	@echo 'make check-panics   call sites in rext4.ko that can reach a panic'
	@echo 'make lint           rustfmt, clippy (host and kernel), shellcheck'
	@echo 'make kernel         build the cached kernel (kernel-debug: the one of test-debug)'
	@echo 'make rust-analyzer  write rust-project.json for editors'
	@echo 'make clean          remove what was built here'
	@echo
	@echo 'KDIR=DIR      a built kernel tree for all of these     CORPUS=DIR  damaged images to test with'
	@echo 'SEED=N        seed of the randomised tests             REXT4_CACHE=DIR  (default ~/.cache/rext4)'

.PHONY: modules run shell test test-debug guest kunit crash big fsx xfstests check-panics bench kernel kernel-debug lint \
	rust-analyzer clean clean-objects help
