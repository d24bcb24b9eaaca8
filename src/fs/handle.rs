// SPDX-License-Identifier: GPL-2.0

//! Starting transactions.
//!
//! Every change of the file system happens in a [`Handle`]: the operation says what it is
//! ([`Op`]), the table in `engine::credits` says what that may change at most, and the handle is
//! started with so much. Whether the file system may be changed at all is asked here and nowhere
//! else.
//!
//! Lock order: a handle comes after i_rwsem and before xattr_sem, data_sem and the groups' locks.
//! Inside of one nothing may wait for a data folio or for a commit, which [`NoHandle`] sees to
//! where types reach; memory is NOFS (jbd2 sees to that), and the last reference to an inode is
//! not put, since its eviction would wait.

use super::{alloc, tx::Handle, Sb};
use crate::{
    engine::credits::{self, Op},
    linux::jbd2::{self, NoHandle, Room},
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::prelude::*;

/// How often an operation that finds no space is tried again.
const RETRIES: u32 = 3;

/// Why nothing can be changed any more.
pub(crate) struct Emergency(AtomicU32);

impl Emergency {
    /// Shut down: by FS_IOC_SHUTDOWN, or because the device is gone.
    const SHUTDOWN: u32 = 1;
    /// Read-only after an error, whatever the mount's flags say.
    const READONLY: u32 = 2;

    /// No emergency.
    pub(crate) const fn none() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Shuts the file system down. Whether it was not, before.
    pub(crate) fn shut_down(&self) -> bool {
        self.0.fetch_or(Self::SHUTDOWN, Relaxed) & Self::SHUTDOWN == 0
    }

    /// Makes it read-only. Whether it was not, before.
    pub(crate) fn make_readonly(&self) -> bool {
        self.0.fetch_or(Self::READONLY, Relaxed) & Self::READONLY == 0
    }

    /// Whether it has been shut down.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.0.load(Relaxed) & Self::SHUTDOWN != 0
    }

    /// Whether it is read-only because of an error.
    pub(crate) fn is_readonly(&self) -> bool {
        self.0.load(Relaxed) & Self::READONLY != 0
    }
}

/// Whether the file system may be changed.
///
/// Errors: EIO when it has been shut down; EROFS when it is read-only.
#[inline]
pub(crate) fn may_write(sb: &Sb) -> Result {
    let emergency = &sb.info().emergency;
    if emergency.is_shut_down() {
        return Err(EIO);
    }
    if sb.is_rdonly() || emergency.is_readonly() {
        return Err(EROFS);
    }
    Ok(())
}

fn wanted(sb: &Sb, op: Op) -> jbd2::Credits {
    let credits::Credits { blocks, revokes } = sb.info().shape.credits(op);
    jbd2::Credits { blocks, revokes }
}

/// Starts the handle of `op`, which is the outermost one. May wait for a commit.
///
/// Errors: EIO, EROFS (see [`may_write`]), EROFS when the journal has been given up, ENOSPC for an
/// operation that does not fit the journal, ENOMEM.
pub(crate) fn begin<'a>(sb: &'a Sb, outside: &'a mut NoHandle, op: Op) -> Result<Handle<'a>> {
    may_write(sb)?;
    Handle::start(sb.journal(), outside, wanted(sb, op), 0, kind(op))
}

/// As [`begin`], for the rest of an operation whose first part has been done: jbd2's memory for the
/// handle is waited for.
///
/// Errors: as `begin`, but ENOMEM.
pub(crate) fn insist_on<'a>(sb: &'a Sb, outside: &'a mut NoHandle, op: Op) -> Result<Handle<'a>> {
    may_write(sb)?;
    Handle::insist(sb.journal(), outside, wanted(sb, op), kind(op))
}

/// As [`begin`], for a change of the superblock and nothing else.
///
/// Errors: as `begin`.
pub(crate) fn begin_super<'a>(sb: &'a Sb, outside: &'a mut NoHandle) -> Result<Handle<'a>> {
    begin_blocks(sb, outside, 1)
}

/// As [`begin`], for a change of this many blocks of the file system itself: superblocks, group
/// descriptors.
///
/// Errors: as `begin`.
pub(crate) fn begin_blocks<'a>(
    sb: &'a Sb,
    outside: &'a mut NoHandle,
    blocks: u32,
) -> Result<Handle<'a>> {
    may_write(sb)?;
    let credits = jbd2::Credits { blocks, revokes: 0 };
    Handle::start(sb.journal(), outside, credits, 0, 0)
}

/// As [`begin`], but takes part in the task's handle if it has one.
///
/// Errors: as `begin`; ENOSPC also when the outer handle's transaction has no room for more.
pub(crate) fn join(sb: &Sb, op: Op) -> Result<Handle<'_>> {
    may_write(sb)?;
    Handle::join(sb.journal(), wanted(sb, op), kind(op))
}

/// Sees to it that `handle` has room for one more `op`.
///
/// Errors: as jbd2's `ensure`.
pub(crate) fn ensure(sb: &Sb, handle: &Handle<'_>, op: Op) -> Result<Room> {
    handle.ensure(wanted(sb, op))
}

/// Starts a new transaction for one more `op`, when [`ensure`] has found no room. What the handle
/// has changed so far is consistent.
///
/// Errors: as `begin`; EBUSY inside of another handle.
pub(crate) fn restart(sb: &Sb, handle: &mut Handle<'_>, op: Op) -> Result {
    handle.restart(wanted(sb, op))
}

/// As [`ensure`], with a [`restart`] if there is no room.
///
/// Errors: as these.
pub(crate) fn make_room(sb: &Sb, handle: &mut Handle<'_>, op: Op) -> Result {
    match ensure(sb, handle, op)? {
        Room::Granted => Ok(()),
        Room::Full => restart(sb, handle, op),
    }
}

/// Whether an operation that has failed for want of space is to be tried again: what has been freed
/// can be had after a commit, which this waits for. `tries` counts. To be called without a handle.
#[cold]
pub(crate) fn may_retry(sb: &Sb, tries: &mut u32) -> bool {
    let info = sb.info();
    let (Some(journal), Some(groups)) = (sb.journal(), info.groups.as_ref()) else {
        return false;
    };
    if *tries >= RETRIES {
        groups.retries_exceeded.fetch_add(1, Relaxed);
        return false;
    }
    *tries = tries.saturating_add(1);
    if !groups.has_pending() {
        // Somebody else's commit may just have brought some; once, since if that does not help it is
        // something else that there is none of: inodes, or room in a directory.
        let found = info.reserved.check(&info.geometry, groups, 1, false);
        return *tries == 1 && found.is_ok();
    }
    let Ok(outside) = NoHandle::here() else {
        return false;
    };
    let committed = journal.force_commit(&outside);
    // A commit counts as one before what it has freed can be had.
    journal.wait_called_back(&outside);
    alloc::release_all(sb);
    committed.is_ok()
}

/// What jbd2's statistics know the operation as (`/proc/fs/jbd2`, tracepoints).
fn kind(op: Op) -> u8 {
    match op {
        Op::Create(..) | Op::Mkdir(..) | Op::SlowSymlink(..) | Op::Tmpfile(..) => 1,
        Op::Link(..) | Op::Unlink(..) | Op::Rmdir(..) => 2,
        Op::Rename { .. } | Op::RenameWhiteout(..) | Op::Exchange => 3,
        Op::SetAttr | Op::SetSize | Op::UpdateInode => 4,
        Op::SetXattr { .. } => 5,
        Op::OrphanAdd
        | Op::OrphanDel
        | Op::TruncateStep { .. }
        | Op::PunchStep(..)
        | Op::FreeInode { .. } => 6,
        Op::Allocate(..) | Op::Convert(..) | Op::Swap(..) | Op::Migrate { .. } => 7,
    }
}
