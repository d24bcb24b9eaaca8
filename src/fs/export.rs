// SPDX-License-Identifier: GPL-2.0

//! File handles: from an inode number and a generation back to an inode.
//!
//! A handle comes from outside and may be old or made up. A number that no file of users' has (the
//! journal's, a free inode's, one beyond the inode tables) makes a stale handle; it is no damage.

use super::{dir::with_directory, inode::iget, Rext4Fs, Sb, VfsInode};
use crate::{
    engine::dir_lookup,
    linux::export::ExportOps,
    ondisk::{inode::Purpose, FileBlock, Ino},
};
use kernel::{prelude::*, sync::aref::ARef};

/// How rext4 finds inodes by file handles.
pub(crate) struct Export;

impl ExportOps for Export {
    type Fs = Rext4Fs;

    fn inode(sb: &Sb, ino: u64, generation: u32) -> Result<ARef<VfsInode>> {
        let ino = u32::try_from(ino).ok().and_then(Ino::new).ok_or(ESTALE)?;
        let inode = iget(sb, ino, Purpose::Handle)?;
        // Old handles do not have the generation of the parent.
        if generation != 0 && inode.generation() != generation {
            return Err(ESTALE);
        }
        Ok(inode)
    }

    fn parent(dir: &VfsInode) -> Result<ARef<VfsInode>> {
        let found = with_directory(dir, |d| dir_lookup::lookup(d, b"..", FileBlock::ZERO))
            .map_err(|e| e.report_inode(dir, "lookup of .."))?
            .ok_or(ENOENT)?;
        iget(dir.super_block(), found.ino, Purpose::Path)
    }
}
