// SPDX-License-Identifier: GPL-2.0

//! What becomes of the orphans that a crash has left: a mount deals with them.
//!
//! An orphan with links was being truncated, and is truncated to its size. One without links is
//! deleted by its eviction, as it would have been if there had been no crash; nobody uses it now.
//! Both take it off the list, or out of its slot, in the transaction that makes an end of it, so
//! that a crash in a recovery leaves work for the next one.
//!
//! As in C ext4, a read-only mount does the same if the device can be written, unless it has been
//! asked to let the journal be (`noload`); and nothing is done to a file system with errors, whose
//! orphans e2fsck will look at. What makes no sense is reported and left where it is, but for the
//! list, of which it is the end: what lies behind it is lost, until e2fsck finds it.
//!
//! Locking: only the mount uses the file system.

use super::{
    super::{
        alloc, errors,
        fault::Fault,
        inode::{iget, read_slot},
        super_image, super_write, truncate, Sb, VfsInode,
    },
    orphans, Found, Orphans,
};
use crate::{
    linux::{
        jbd2::NoHandle,
        super_block::{message, Level},
    },
    ondisk::{
        inode::{dtime, Purpose},
        orphan::OrphanError,
        superblock::Superblock,
        Corrupt, Ino,
    },
};
use kernel::{fmt, prelude::*, sync::aref::ARef};

/// How many orphans have been dealt with.
#[derive(Default)]
struct Counts {
    deleted: u32,
    truncated: u32,
}

/// Whether there are orphans, on the list or in the file.
pub(crate) fn any(sb: &Sb) -> bool {
    let listed = sb.info().image.with(Superblock::last_orphan) != 0;
    listed || orphans(sb).is_ok_and(|orphans| !orphans.file.is_empty())
}

/// Deals with the orphans that there are; the file system can be written. What goes wrong has been
/// reported when this returns, and is tried again by the next mount.
pub(crate) fn recover(sb: &Sb) {
    let Ok(orphans) = orphans(sb) else {
        return;
    };
    let listed = || sb.info().image.with(Superblock::last_orphan) != 0;
    if any(sb) {
        if sb.info().image.with(|raw| raw.state().has_errors()) {
            if listed() {
                info(sb, fmt!("Errors on filesystem, clearing orphan list.\n"));
                give_list_up(sb, orphans);
            }
            return;
        }
        let mut counts = Counts::default();
        walk_list(sb, orphans, &mut counts);
        walk_file(sb, orphans, &mut counts);
        announce(sb, &counts);
    }
    if !any(sb) {
        sb.info().writing.orphans_done();
    }
}

fn announce(sb: &Sb, counts: &Counts) {
    let plural = |n: u32| if n == 1 { "" } else { "s" };
    if counts.deleted != 0 {
        let n = counts.deleted;
        info(sb, fmt!("{} orphan inode{} deleted\n", n, plural(n)));
    }
    if counts.truncated != 0 {
        let n = counts.truncated;
        info(sb, fmt!("{} truncate{} cleaned up\n", n, plural(n)));
    }
}

/// Deals with one after another, as long as each makes place for the next.
fn walk_list(sb: &Sb, orphans: &Orphans, counts: &mut Counts) {
    let head = || sb.info().image.with(Superblock::last_orphan);
    let before = errors::count(sb.info());
    // There are no more; a list that goes in circles comes to an inode that is free by now.
    for _ in 0..sb.info().geometry.inodes_count() {
        let first = head();
        if first == 0 {
            return;
        }
        if step(sb, orphans, first, counts).is_err() || head() == first {
            break;
        }
    }
    // Without damage (memory was short, say) they are left for the next mount.
    if errors::count(sb.info()) != before {
        give_list_up(sb, orphans);
    }
}

fn step(sb: &Sb, orphans: &Orphans, first: u32, counts: &mut Counts) -> Result {
    let inode = get(sb, first)?;
    orphans
        .list
        .adopt(&inode)
        .map_err(|e| e.report_inode(&inode, "orphan"))?;
    inode.data().orphan.set(Some(Found::Listed));
    process(inode, counts);
    Ok(())
}

/// Forgets the list, on disk as well.
fn give_list_up(sb: &Sb, orphans: &Orphans) {
    let cleared = super_write::change(sb, |handle| {
        super_image::edit(sb, handle, |raw| {
            raw.set_last_orphan(None);
            true
        })
    });
    if cleared.is_ok() {
        orphans.list.clear();
    }
}

/// Deals with all in the orphan file that can be dealt with.
fn walk_file(sb: &Sb, orphans: &Orphans, counts: &mut Counts) {
    let each = |slot: u32, ino: u32| {
        if let Ok(inode) = get(sb, ino) {
            inode.data().orphan.set(Some(Found::Slot(slot)));
            process(inode, counts);
        }
    };
    if let Err(e) = orphans.file.for_each(sb, each) {
        let _ = e.report(sb, sb.info().raw.orphan_file_inum().into(), "orphan file");
    }
}

/// Makes an end of `inode`.
fn process(inode: ARef<VfsInode>, counts: &mut Counts) {
    if inode.nlink() == 0 {
        counts.deleted = counts.deleted.saturating_add(1);
        // Its eviction does it.
        drop(inode);
        return;
    }
    counts.truncated = counts.truncated.saturating_add(1);
    let result = inode.with_lock(|| {
        let mut outside = NoHandle::here()?;
        let _invalidate = inode.lock_invalidate();
        if inode.is_regular() {
            truncate::zero_tail(&inode, &outside, inode.size())?;
        }
        truncate::cut_to_size(&inode, &mut outside)
    });
    if let Err(e) = result {
        let sb = inode.super_block();
        let (ino, e) = (inode.ino(), e.to_errno());
        info(
            sb,
            fmt!("could not truncate orphan inode {}: error {}\n", ino, e),
        );
    }
}

/// The orphan `number`, if that is an inode that can be one.
///
/// Errors (reported): EUCLEAN for one that is not; EIO, ENOMEM.
fn get(sb: &Sb, number: u32) -> Result<ARef<VfsInode>> {
    try_get(sb, number).map_err(|e| match e {
        Fault::Corrupt(_) => {
            message(Level::Err, sb.id(), fmt!("bad orphan inode {}\n", number));
            e.report(sb, number.into(), "orphan")
        }
        Fault::Errno(e) => {
            if e != EUCLEAN {
                message(
                    Level::Err,
                    sb.id(),
                    fmt!(
                        "couldn't read orphan inode {} (err {})\n",
                        number,
                        e.to_errno()
                    ),
                );
            }
            e
        }
    })
}

fn try_get(sb: &Sb, number: u32) -> Result<ARef<VfsInode>, Fault> {
    let geo = &sb.info().geometry;
    let bad = Fault::from(Corrupt::from(OrphanError::BadInode));
    let allowed = |ino: &Ino| ino.get() >= geo.first_ino() && !geo.is_special_ino(*ino);
    let ino = geo.check_ino(number).filter(allowed).ok_or(bad)?;
    // In use, and not deleted before: an inode without links is deleted again by being evicted.
    if !alloc::is_inode_used(sb, ino)? {
        return Err(bad);
    }
    let next = dtime(&read_slot(sb, ino)?);
    if next.is_none_or(|next| next > geo.inodes_count()) {
        return Err(bad);
    }
    let inode = iget(sb, ino, Purpose::Orphan).map_err(|e| match e {
        e if e == ESTALE => bad,
        e => Fault::Errno(e),
    })?;
    if inode.nlink() != 0 && !truncate::can_truncate(&inode) {
        return Err(bad);
    }
    Ok(inode)
}

fn info(sb: &Sb, what: fmt::Arguments<'_>) {
    message(Level::Info, sb.id(), what);
}
