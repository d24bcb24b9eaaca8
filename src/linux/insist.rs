// SPDX-License-Identifier: GPL-2.0

//! Memory that has to be had.
//!
//! What takes something back, or ends something, must not fail for want of memory: blocks that are
//! freed, inodes that are deleted, the second half of an operation whose first half cannot be undone.
//! C code says `__GFP_NOFAIL` there, and jbd2 does so for whoever has a handle. Rust's allocators
//! know no such flag; what they are asked for here is small, and small requests that may wait fail
//! only when the machine has nothing left at all, or when a test has them fail.

use super::bindings;
use kernel::prelude::*;

/// An error that may be the want of memory.
pub(crate) trait NoMemory {
    /// Whether it is.
    fn is_no_memory(&self) -> bool;
}

impl NoMemory for Error {
    fn is_no_memory(&self) -> bool {
        *self == ENOMEM
    }
}

/// Runs `f`, again and again while it fails for want of memory; such a failure must have changed
/// nothing that a repetition minds. May sleep. Inside of a handle, as anywhere where jbd2 or a
/// [`NoFs`](super::nofs::NoFs) sees to it that nobody waits for a file system.
///
/// Errors: those of `f` but ENOMEM.
#[inline]
pub(crate) fn insist<T, E: NoMemory>(mut f: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    loop {
        match f() {
            Err(e) if e.is_no_memory() => wait(),
            result => return result,
        }
    }
}

/// Waits a little, as the kernel's own loops of this kind do.
#[cold]
fn wait() {
    // SAFETY: may sleep, which the caller allows.
    unsafe { bindings::memalloc_retry_wait_nofs() };
}

#[kunit_tests(rext4_insist)]
mod tests {
    use super::*;

    /// What fails for want of memory is tried again; what fails otherwise, or succeeds, is not.
    #[test]
    fn only_for_memory() {
        for (fails, last) in [(0, Ok(7)), (3, Ok(7)), (2, Err(EIO))] {
            let mut calls = 0;
            let result: Result<i32> = insist(|| {
                calls = i32::wrapping_add(calls, 1);
                if calls <= fails {
                    Err(ENOMEM)
                } else {
                    last
                }
            });
            assert_eq!((result, calls), (last, i32::wrapping_add(fails, 1)));
        }
    }
}
