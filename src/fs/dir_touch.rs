// SPDX-License-Identifier: GPL-2.0

//! A directory's own inode while its entries are being changed.
//!
//! Each change of an entry gives the directory new times, and the change counter goes up. But the
//! clock that times are taken from ticks some hundred times a second, and the counter goes up only
//! when somebody has asked for it (as everywhere in the VFS). So of many changes in a row most leave
//! the directory's slot as it is, and then it is not written. What does change is stored, by the
//! operation that changes it and in the same handle, at its end ([`Changing::done`]).
//!
//! Whether anything has changed is told by looking before and after: what is in memory before an
//! operation is in the slot, since whoever changes it stores it. A change of the block map need not
//! show that way (a block that comes and one that goes); it is noted down as one that is not stored
//! yet ([`super::dir_change`]).
//!
//! Write access to the slot is taken beforehand if the directory's link count is going to change,
//! and when it gets or loses a block ([`super::dir_change`]): nothing can go wrong afterwards, then.
//! Otherwise it is taken when the times have changed. If that fails it is the times that are not on
//! disk.
//!
//! Locking: i_rwsem of the directory exclusively, and a handle.

use super::{
    inode_write::{self, note_change, Prepared},
    tx::Handle,
    VfsInode,
};
use crate::{
    linux::inode_edit::{InodeEdit as _, Time},
    ondisk::inode::InodeFlags,
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// What changes of a directory when it grows or shrinks.
#[derive(PartialEq, Eq)]
struct Shape {
    size: u64,
    sectors: u64,
    links: u32,
    flags: InodeFlags,
}

impl Shape {
    fn of(dir: &VfsInode) -> Self {
        Self {
            size: dir.size(),
            sectors: dir.sectors(),
            links: dir.nlink(),
            flags: dir.data().flags(),
        }
    }
}

/// A directory whose entries are being changed.
#[must_use = "to be stored"]
pub(super) struct Changing<'h, 'j> {
    handle: &'h Handle<'j>,
    dir: &'h VfsInode,
    shape: Shape,
    times: (Time, Time),
    slot: Option<Prepared<'h, 'j>>,
}

impl<'h, 'j> Changing<'h, 'j> {
    /// Before a change of `dir` in `handle` that leaves its link count alone.
    #[inline]
    pub(super) fn begin(handle: &'h Handle<'j>, dir: &'h VfsInode) -> Self {
        Self {
            handle,
            dir,
            shape: Shape::of(dir),
            times: (dir.mtime(), dir.ctime()),
            slot: None,
        }
    }

    /// Before a change that may be one of its link count. May sleep.
    ///
    /// Errors: EIO; EROFS when the journal has been given up.
    pub(super) fn begin_counted(handle: &'h Handle<'j>, dir: &'h VfsInode) -> Result<Self> {
        Ok(Self {
            slot: Some(inode_write::prepare(handle, dir)?),
            ..Self::begin(handle, dir)
        })
    }

    /// The entries have changed. May sleep.
    ///
    /// Errors: those of storing.
    #[inline]
    pub(super) fn done(self) -> Result {
        let dir = self.dir;
        let now = dir.touch();
        self.count();
        let counted = dir.maybe_inc_version();
        if counted || (now, now) != self.times || self.has_changed() {
            return self.store();
        }
        // fsync has to wait for the entries.
        note_change(self.handle, dir, false);
        Ok(())
    }

    /// The change has failed. What had been made ready for it, a block for example, may have stayed,
    /// with names in it.
    #[cold]
    pub(super) fn failed(self) {
        self.count();
        if self.has_changed() {
            let _ = self.store();
        }
    }

    /// What is known of places in the directory holds no more.
    #[inline]
    fn count(&self) {
        let changes = &self.dir.data().changes;
        // Under i_rwsem nobody else counts.
        changes.store(changes.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Whether the slot has to be written, whatever the times are.
    #[inline]
    fn has_changed(&self) -> bool {
        self.dir.data().unstored.load(Relaxed) || Shape::of(self.dir) != self.shape
    }

    fn store(mut self) -> Result {
        match self.slot.take() {
            Some(slot) => slot.store(),
            None => inode_write::store(self.handle, self.dir),
        }
    }
}
