// SPDX-License-Identifier: GPL-2.0

//! From what is known of an inode in memory to the fields of its slot on disk.
//!
//! [`Fields`] is a snapshot of an inode; [`Fields::store`] puts it into an
//! [`InodeEdit`]. That is all: how a field is stored is `ondisk`'s business, where the values come
//! from and which locks make them a consistent snapshot is the caller's.
//!
//! What is not here is not touched. `i_dtime` belongs to whoever deletes the inode or has it on the
//! list of orphans, the creation time to whoever makes it, and of an EA inode's fields those that
//! count its users to whoever counts them: the slot, not memory, is where these are kept.
//!
//! A value that the slot cannot hold leaves the field as it was and is reported; the others are
//! stored all the same. The callers see to it beforehand that this does not happen (sizes, device
//! numbers and projects are checked where they come from), so it stands for a mistake, and the more
//! of the inode is as it should be after one, the better.

use crate::ondisk::geometry::LINK_MAX;
use crate::ondisk::inode::{FileType, InodeFlags, I_BLOCK_SIZE};
use crate::ondisk::inode_edit::{InodeEdit, Unstorable};
use crate::ondisk::time::Timestamp;
use crate::ondisk::FsBlock;

/// `i_block`, as it is to be stored.
#[derive(Clone, Copy, Debug)]
pub enum IBlock<'a> {
    /// As it is in the slot: it never changes, or the slot is where it is kept (inline data).
    Keep,
    /// The root of a block map, or the target of a fast symlink.
    Root(&'a [u8; I_BLOCK_SIZE]),
    /// A device's major and minor number.
    Device(u32, u32),
}

/// What changes whenever the file is used.
#[derive(Clone, Copy, Debug)]
pub struct Stamps {
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// The change counter.
    pub version: u64,
}

/// An inode's fields, in the form that they have in memory.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// Type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Under `nouid32` ids are 16 bits; what stands for those that do not fit.
    pub ids16: Option<(u16, u16)>,
    /// Number of links.
    pub nlink: u32,
    /// Size in bytes, up to which the file is on disk.
    pub size: u64,
    /// Space taken, in 512-byte sectors.
    pub sectors: u64,
    /// Flags; the unit of `i_blocks` is not taken from here.
    pub flags: InodeFlags,
    /// Generation.
    pub generation: u32,
    /// Times and change counter; `None` leaves them (an EA inode's).
    pub stamps: Option<Stamps>,
    /// Project.
    pub projid: u32,
    /// `i_block`.
    pub i_block: IBlock<'a>,
    /// The block of extended attributes, if any; `None` leaves the field.
    pub xattr_block: Option<Option<FsBlock>>,
}

/// What storing has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Stored {
    /// The size is another one than before: fdatasync has to wait for it.
    pub resized: bool,
    /// The first field that could not be stored, if any.
    pub result: Result<(), Unstorable>,
}

impl Fields<'_> {
    /// Stores the fields; see the module's head for what is not stored.
    #[inline(always)]
    pub fn store(&self, edit: &mut InodeEdit<'_>) -> Stored {
        let old_size = edit.size();
        // Mode and flags first: they decide how the size is stored.
        edit.set_mode(self.mode);
        edit.set_flags(self.flags);
        match self.ids16 {
            None => edit.set_owner(self.uid, self.gid),
            Some(overflow) => edit.set_owner16(self.uid, self.gid, overflow),
        }
        edit.set_links(self.links());
        edit.set_generation(self.generation);
        let mut result = edit.set_size(self.size);
        result = result.and(edit.set_blocks(self.sectors));
        match self.i_block {
            IBlock::Keep => (),
            IBlock::Root(root) => edit.set_i_block(root),
            IBlock::Device(major, minor) => result = result.and(edit.set_rdev(major, minor)),
        }
        if let Some(stamps) = &self.stamps {
            edit.set_atime(stamps.atime);
            edit.set_mtime(stamps.mtime);
            edit.set_ctime(stamps.ctime);
            edit.set_version(stamps.version);
        }
        if let Some(block) = self.xattr_block {
            edit.set_xattr_block(block);
        }
        result = result.and(edit.set_projid(self.projid));
        Stored {
            resized: edit.size() != old_size,
            result,
        }
    }

    /// The link count's 16 bits: a directory with more links than ext4 counts has 1, for "not
    /// counted" (`dir_nlink`). Other files are not given so many.
    #[inline]
    fn links(&self) -> u16 {
        if self.nlink > LINK_MAX && FileType::from_mode(self.mode) == Some(FileType::Directory) {
            return 1;
        }
        u16::try_from(self.nlink).unwrap_or(u16::MAX)
    }
}
