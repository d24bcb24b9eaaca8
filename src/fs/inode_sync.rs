// SPDX-License-Identifier: GPL-2.0

//! Dirty inodes, and what it takes to have one on disk.
//!
//! An inode that the file system itself changes is in the running transaction when the operation
//! ends. What the VFS changes (access times, mostly) it reports, and the inode is put into a
//! transaction then ([`dirty`]); with `lazytime` it reports times only when they have become old,
//! or the inode is written for another reason. So there never is anything to write for writeback:
//! to have an inode on disk is to have its last transaction committed, whose number it remembers.
//!
//! Without a journal the block with the slot is a dirty buffer, and so is whatever else belongs to
//! the inode. Nobody notes down which, so fsync writes all dirty blocks of the device. C ext4 keeps
//! a list per inode, and walks up the tree for directories that are new; this mode is for those who
//! do without both speed and safety of fsync.

use super::{handle, inode_write, options::Toggles, Rext4Fs, VfsInode};
use crate::{
    engine::credits::Op,
    linux::{
        file::Fsync,
        inode_edit::DirtyFlags,
        jbd2::NoHandle,
        open_file::OpenFile,
        super_block::{message, Level},
        super_ops::WriteInode,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// The VFS has changed fields of `inode`: puts them into the task's transaction, or into one of
/// their own. `sync` mounts are not heeded: it is access times that come here.
///
/// The VFS cannot be told of an error; writeback and fsync try again.
pub(crate) fn dirty(inode: &VfsInode, flags: DirtyFlags) {
    if flags.has_fields() && store(inode, flags.for_datasync()).is_err() {
        inode.data().unstored.store(true, Relaxed);
    }
}

/// Stores what [`dirty`] could not.
fn make_up(inode: &VfsInode) -> Result {
    if !inode.data().unstored.load(Relaxed) {
        return Ok(());
    }
    store(inode, true).inspect_err(|e| complain(inode, *e))
}

/// Nothing is to be stored of an inode that is gone, or goes meanwhile.
fn store(inode: &VfsInode, datasync: bool) -> Result {
    if inode.data().deletion.is_gone() {
        return Ok(());
    }
    let handle = handle::join(inode.super_block(), Op::UpdateInode)?;
    match inode_write::store(&handle, inode) {
        Err(e) if e == ESTALE => return handle.stop(),
        stored => stored?,
    }
    if datasync {
        inode_write::note_change(&handle, inode, true);
    }
    handle.stop()
}

#[cold]
fn complain(inode: &VfsInode, error: Error) {
    let sb = inode.super_block();
    // After the end of a file system that has been shut down, or the like, there is no news.
    if handle::may_write(sb).is_ok() && error != EROFS && sb.info().errors.may_print() {
        message(
            Level::Warning,
            sb.id(),
            fmt!(
                "warning: inode #{}: cannot be written: error {}\n",
                inode.ino(),
                error.to_errno()
            ),
        );
    }
}

/// Writeback has come to `inode`. May sleep.
///
/// Errors: EIO; EROFS after an error; EDEADLK inside a handle.
pub(crate) fn write(inode: &VfsInode, how: WriteInode) -> Result {
    let sb = inode.super_block();
    make_up(inode)?;
    let Some(journal) = sb.journal() else {
        // `sync_metadata` is called besides.
        return Ok(());
    };
    if how != WriteInode::Wait {
        // `sync_fs` commits everything, and so does jbd2 after a few seconds.
        return Ok(());
    }
    handle::may_write(sb)?;
    let tid = inode.data().sync_tid.load(Relaxed);
    if journal.is_committed(tid) {
        return Ok(());
    }
    journal.commit_and_wait(&NoHandle::here()?, tid)
}

/// Without a journal: writes the block with the slot of `inode` and waits. May sleep.
///
/// Errors: EIO.
pub(crate) fn sync_metadata(inode: &VfsInode) -> Result {
    let device = inode.super_block().device();
    match device.cached(inode.data().slot_block) {
        Some(buffer) => buffer.sync(),
        // Not in memory: written, and forgotten.
        None => Ok(()),
    }
}

/// How often data below that which was asked for is written, when others go on writing there.
const MAX_TURNS: u32 = 8;

/// What was written up to byte `end` is on disk, and the file's size there has to be as well. It does not
/// go past data that is not: so that goes to disk too.
///
/// Errors: EIO, ENOSPC.
fn reach(file: &OpenFile<Rext4Fs>, end: i64) -> Result {
    let inode = file.inode();
    let info = inode.data();
    let end = u64::try_from(end).unwrap_or(0).saturating_add(1);
    let wanted = inode.size().min(end);
    // If others keep on, what is there is written at least so often, which is what fsync owes.
    for _ in 0..MAX_TURNS {
        let size = info.disksize();
        if size >= wanted {
            break;
        }
        file.write_and_wait(
            i64::try_from(size).unwrap_or(0),
            i64::try_from(wanted).unwrap_or(i64::MAX),
        )?;
        if info.disksize() == size {
            // Clean up to there: a completion that has failed, which has been told.
            break;
        }
    }
    Ok(())
}

/// fsync and fdatasync, of files and directories. May sleep.
///
/// Errors: EIO, also after a shutdown; EROFS after an error; ENOSPC from writeback.
pub(crate) fn fsync(file: &OpenFile<Rext4Fs>, what: Fsync) -> Result {
    let inode = file.inode();
    let sb = inode.super_block();
    let info = sb.info();
    if info.emergency.is_shut_down() {
        return Err(EIO);
    }
    if info.emergency.is_readonly() {
        return Err(EROFS);
    }
    if sb.is_rdonly() {
        // Nothing is ever dirty.
        return Ok(());
    }
    let outside = NoHandle::here()?;
    file.write_and_wait(what.start, what.end)?;
    if inode.is_regular() {
        reach(file, what.end)?;
    }
    make_up(inode)?;
    let barrier = info.has(Toggles::BARRIER);
    let Some(journal) = sb.journal() else {
        sb.device().sync()?;
        return if barrier { sb.device().flush() } else { Ok(()) };
    };
    // A change of a directory's entries need not change its size. (C ext4 commits whatever is
    // running for everything that is no regular file; but names are changed together with times of
    // the directory, in one transaction, which is enough.)
    let data = inode.data();
    let tid = if what.datasync && inode.is_regular() {
        &data.datasync_tid
    } else {
        &data.sync_tid
    };
    let tid = tid.load(Relaxed);
    // To be asked before: the commit flushes the cache for data that has been written until then.
    let flush = barrier && !journal.will_flush(tid);
    journal.commit_and_wait(&outside, tid)?;
    if flush {
        sb.device().flush()?;
    }
    Ok(())
}
