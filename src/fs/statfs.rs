// SPDX-License-Identifier: GPL-2.0

//! Superblock operations: statfs, options in /proc/mounts, the last unmount.

use super::{background, inode_sync, options, shutdown, super_write, Rext4Fs, Sb, VfsInode};
use crate::{
    linux::{
        inode_edit::DirtyFlags,
        stat::{StatFs, StatFsFacts},
        super_block::{message, Level},
        super_ops::{SuperOps, WriteInode},
        xattr::HandlerTable,
    },
    ondisk::superblock::MAGIC,
};
use kernel::{prelude::*, seq_file::SeqFile};

/// The superblock's operations.
pub(crate) struct Super;

#[vtable]
impl SuperOps for Super {
    type Fs = Rext4Fs;
    const XATTR: HandlerTable = HandlerTable::of::<super::xattr::Xattr>();
    const VERITY: *const crate::linux::bindings::fsverity_operations =
        crate::linux::verity::VerityTable::<super::verity::Verity>::TABLE;
    const EXPORT: *const crate::linux::bindings::export_operations =
        crate::linux::export::ExportTable::<super::export::Export>::TABLE;

    fn statfs(sb: &Sb, out: &mut StatFs) -> Result {
        let info = sb.info();
        let geo = &info.geometry;
        let bits = geo.cluster_bits() & 31;
        let free = free_counts(info);
        let blocks_free = free.clusters.saturating_sub(free.promised) << bits;
        let reserved = &info.reserved;
        let kept = reserved.blocks().saturating_add(reserved.pool() << bits);
        let overhead = if info.has(options::Toggles::MINIX_DF) {
            0
        } else {
            info.overhead << bits
        };
        out.fill(&StatFsFacts {
            magic: MAGIC.into(),
            block_size: geo.block_size(),
            blocks: geo.blocks_count().saturating_sub(overhead),
            blocks_free,
            blocks_available: blocks_free.saturating_sub(kept),
            files: geo.inodes_count().into(),
            files_free: free.inodes,
            fsid: info.image.with(|raw| fsid(raw.uuid())),
        });
        Ok(())
    }

    fn show_options(sb: &Sb, out: &SeqFile) -> Result {
        sb.info().options.lock().show(out);
        Ok(())
    }

    fn dirty_inode(inode: &VfsInode, flags: DirtyFlags) {
        inode_sync::dirty(inode, flags);
    }

    fn write_inode(inode: &VfsInode, how: WriteInode) -> Result {
        inode_sync::write(inode, how)
    }

    fn sync_inode_metadata(inode: &VfsInode) -> Result {
        inode_sync::sync_metadata(inode)
    }

    fn put_super(sb: &Sb) {
        message(Level::Info, sb.id(), fmt!("unmounting filesystem.\n"));
        if let Some(groups) = sb.info().groups.as_ref() {
            groups.unpin();
        }
        if sb.journal().is_none() {
            super_write::end(sb, sb.device().sync());
        }
    }

    fn journal_closed(sb: &Sb, result: Result) {
        super_write::end(sb, result);
    }

    fn sync_fs(sb: &Sb, wait: bool) -> Result {
        super_write::sync(sb, wait)
    }

    fn freeze_fs(sb: &Sb) -> Result {
        super_write::freeze(sb)
    }

    fn unfreeze_fs(sb: &Sb) -> Result {
        super_write::thaw(sb)
    }

    fn shutdown(sb: &Sb) {
        shutdown::device_gone(sb);
    }

    fn background(sb: &Sb) -> Option<u32> {
        background::step(sb)
    }
}

/// What is free.
pub(crate) struct Free {
    /// Clusters on disk.
    pub(crate) clusters: u64,
    /// Those of them that somebody counts on.
    pub(crate) promised: u64,
    /// Inodes.
    pub(crate) inodes: u64,
}

/// What is free right now: what statfs says and the superblock gets when it is written. For a file
/// system that could not be written so far it is what was found when it was mounted.
pub(crate) fn free_counts(info: &super::super_info::SuperInfo) -> Free {
    match info.groups.as_ref() {
        Some(groups) => Free {
            clusters: groups.free_clusters.sum(),
            promised: groups.promised.sum(),
            inodes: groups.free_inodes.sum(),
        },
        None => Free {
            clusters: info.free_clusters,
            promised: 0,
            inodes: info.free_inodes,
        },
    }
}

/// The two halves of the UUID, folded, so that the file system has the same id everywhere.
fn fsid(uuid: &[u8; 16]) -> u64 {
    let half = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |b| u64::from_le_bytes(*b));
    half(uuid.first_chunk()) ^ half(uuid.last_chunk())
}
