// SPDX-License-Identifier: GPL-2.0

//! What becomes of damage and I/O errors.
//!
//! The engine works with [`Fault`], which is either damage or an errno. At the boundary to the
//! VFS damage is reported once, in the log and in the superblock's counters, and becomes EUCLEAN
//! (`Structure needs cleaning`: what ext4 users know to mean "run e2fsck").

use super::{Sb, VfsInode};
use crate::{
    linux::{
        fserror,
        insist::NoMemory,
        super_block::{message, Level},
    },
    ondisk::Corrupt,
};
use kernel::prelude::*;

/// Why metadata cannot be had.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It makes no sense.
    Corrupt(Corrupt),
    /// It could not be read, or something else failed.
    Errno(Error),
}

impl From<Corrupt> for Fault {
    fn from(what: Corrupt) -> Self {
        Self::Corrupt(what)
    }
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        Self::Errno(e)
    }
}

impl NoMemory for Fault {
    fn is_no_memory(&self) -> bool {
        matches!(self, Self::Errno(e) if e.is_no_memory())
    }
}

impl Fault {
    /// Whether the handle is of no use any more, or has no room: nothing else is worth trying.
    pub(crate) fn is_of_the_journal(&self) -> bool {
        matches!(self, Self::Errno(e) if *e == EROFS || *e == ENOSPC)
    }

    /// The errno of the fault, after reporting damage to inode `ino`'s metadata.
    #[cold]
    pub(crate) fn report(self, sb: &Sb, ino: u64, what: &'static str) -> Error {
        self.report_to(sb, ino, None, what)
    }

    fn report_to(self, sb: &Sb, ino: u64, inode: Option<&VfsInode>, what: &'static str) -> Error {
        match self {
            Self::Errno(e) => e,
            Self::Corrupt(c) => {
                fserror::metadata(sb, inode, EUCLEAN);
                sb.info().errors.note(sb, ino, what, Some(c));
                if sb.info().errors.may_print() {
                    message(
                        Level::Err,
                        sb.id(),
                        fmt!("error: inode #{}: {}: {}\n", ino, what, c.message()),
                    );
                }
                EUCLEAN
            }
        }
    }

    /// As [`report`](Self::report), for `inode`.
    #[cold]
    pub(crate) fn report_inode(self, inode: &VfsInode, what: &'static str) -> Error {
        self.report_to(inode.super_block(), inode.ino(), Some(inode), what)
    }
}
