// SPDX-License-Identifier: GPL-2.0

//! fallocate(2): what is asked for.

use super::bindings;
use kernel::prelude::*;

/// What becomes of a range of a file. The size stays as it is, but for [`Take`](Self::Take) and
/// [`Put`](Self::Put), and where `keep_size` is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It gets blocks where it has none (no flag).
    Allocate,
    /// It loses its blocks, and reads as zeroes (`FALLOC_FL_PUNCH_HOLE`).
    Punch,
    /// It reads as zeroes, and has blocks (`FALLOC_FL_ZERO_RANGE`).
    Zero,
    /// The same, with zeroes written to the blocks (`FALLOC_FL_WRITE_ZEROES`).
    WriteZeroes,
    /// It is taken out of the file (`FALLOC_FL_COLLAPSE_RANGE`).
    Take,
    /// Room for it is made, which is a hole (`FALLOC_FL_INSERT_RANGE`).
    Put,
}

/// A call of fallocate(2). The VFS has checked that the flags go together, that the range is not
/// empty and is one that files can have, and that this file may be changed so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fallocate {
    /// What to do.
    pub(crate) change: Change,
    /// Whether the file keeps its size when the range goes beyond it.
    pub(crate) keep_size: bool,
    /// The first byte.
    pub(crate) offset: u64,
    /// How many bytes.
    pub(crate) len: u64,
}

impl Fallocate {
    /// Errors: EOPNOTSUPP for flags that are not known, and for `FALLOC_FL_UNSHARE_RANGE`: nothing is
    /// ever shared.
    pub(super) fn new(mode: i32, offset: i64, len: i64) -> Result<Self> {
        let keep_size = mode & bindings::FALLOC_FL_KEEP_SIZE != 0;
        let change = match mode & !bindings::FALLOC_FL_KEEP_SIZE {
            0 => Change::Allocate,
            bindings::FALLOC_FL_PUNCH_HOLE => Change::Punch,
            bindings::FALLOC_FL_ZERO_RANGE => Change::Zero,
            bindings::FALLOC_FL_WRITE_ZEROES => Change::WriteZeroes,
            bindings::FALLOC_FL_COLLAPSE_RANGE => Change::Take,
            bindings::FALLOC_FL_INSERT_RANGE => Change::Put,
            _ => return Err(EOPNOTSUPP),
        };
        Ok(Self {
            change,
            keep_size,
            offset: u64::try_from(offset)?,
            len: u64::try_from(len)?,
        })
    }

    /// One past the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}
