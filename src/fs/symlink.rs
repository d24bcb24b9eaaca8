// SPDX-License-Identifier: GPL-2.0

//! Symbolic links whose text is not in the inode's private data: in a block, or inline.

use super::{fault::Fault, file, io, map, setattr, Rext4Fs, VfsInode};
use crate::{
    engine::mapping::MapKind as Kind,
    linux::{
        inode_ops::InodeOps, link::DelayedLink, setattr::SetAttr, stat::KStat, xattr::ListBuffer,
    },
    ondisk::{dir::DirError, inode::InodeFlags, Corrupt, FileBlock},
};
use kernel::prelude::*;

/// Inode operations of symbolic links.
pub(crate) struct Symlink;

#[vtable]
impl InodeOps for Symlink {
    type Fs = Rext4Fs;

    fn get_link(inode: &VfsInode) -> Result<DelayedLink> {
        let size = inode.size();
        if inode.data().flags().contains(InodeFlags::INLINE_DATA) {
            return DelayedLink::new(&io::read_inline(inode, size)?);
        }
        // A link is at most one block long; its text ends where the size says, or at a NUL.
        let (m, _) = map::lookup(inode, FileBlock::ZERO, false)?;
        let Kind::Written(block) = m.kind else {
            return Err(
                Fault::from(Corrupt::from(DirError::Hole)).report_inode(inode, "symbolic link")
            );
        };
        let buffer = inode.super_block().device().read(block.get())?;
        let len = usize::try_from(size).map_err(|_| EUCLEAN)?;
        let text = buffer.get(..len).ok_or(EUCLEAN)?;
        DelayedLink::new(text)
    }

    fn getattr(inode: &VfsInode, stat: &mut KStat<'_>) {
        file::getattr(inode, stat);
    }

    fn setattr(attr: &mut SetAttr<'_, Rext4Fs>) -> Result {
        setattr::setattr::<Self>(attr)
    }

    fn listxattr(inode: &VfsInode, out: &mut ListBuffer<'_>) -> Result {
        super::xattr::list(inode, out)
    }
}
