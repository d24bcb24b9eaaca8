// SPDX-License-Identifier: GPL-2.0

//! The file system: carries out what the engine decides, through the wrappers in `linux`.
//!
//! No `unsafe` here. One concept per file:
//! - [`super_info`] what a mounted file system knows, [`mount`] how it comes to know it;
//! - [`super_image`] the superblock and how it reaches the disk, [`super_write`] when it does:
//!   mount, remount, freeze, unmount; [`shutdown`] the end before its time;
//! - [`inode`] from an inode number to a VFS inode, [`map`] from a file's block to the device's;
//! - [`inode_write`] from a VFS inode to its slot on disk, [`inode_sync`] when that is to be there;
//! - [`setattr`], [`fileattr`] attributes that are changed, [`set_size`] sizes;
//! - [`orphan`] inodes that a crash must not leave as they are, [`evict`] how they end,
//!   [`truncate`] a step at a time;
//! - [`meta`] metadata blocks, verified, [`tx`] changed; [`fault`] what becomes of damage;
//! - [`xattr`] extended attributes, [`xattr_set`] changed; what inodes share of them
//!   ([`xattr_sharing`]): [`xattr_block`]s and [`ea_inode`]s; [`xattr_release`] how they end;
//! - [`migrate`] from indirect blocks to an extent tree; [`move_extent`] to the blocks of another file,
//!   [`swap_boot`] to its contents;
//! - [`new_inode`] inodes that are made, [`map_change`] their first blocks; [`alloc`] where all of that
//!   comes from, [`groups`] what is free;
//! - [`dir_change`], [`dir_inline`] directories that are changed, [`namei`], [`rename`] by whom;
//! - [`fsmap`] what the device is used for;
//! - [`trace`] what can be watched;
//! - [`delayed`], [`writeback`], [`completion`] contents that are written, [`file_inline`] into the inode;
//! - [`io`], [`file`], [`dir`], [`symlink`] the operations.

#![forbid(unsafe_code)]

pub(crate) mod acl;
pub(crate) mod alloc;
pub(crate) mod background;
mod completion;
mod delayed;
mod delete;
pub(crate) mod dir;
mod dir_change;
mod dir_inline;
mod dir_touch;
mod direct;
pub(crate) mod ea_inode;
mod ea_new;
pub(crate) mod ea_value;
pub(crate) mod errors;
mod evict;
pub(crate) mod export;
mod fallocate;
pub(crate) mod fault;
pub(crate) mod file;
pub(crate) mod file_inline;
pub(crate) mod fileattr;
mod fsmap;
pub(crate) mod groups;
pub(crate) mod handle;
pub(crate) mod inode;
pub(crate) mod inode_sync;
pub(crate) mod inode_write;
pub(crate) mod io;
pub(crate) mod ioctl;
pub(crate) mod journal;
pub(crate) mod lazy_init;
pub(crate) mod map;
pub(crate) mod map_change;
pub(crate) mod map_steps;
pub(crate) mod meta;
mod migrate;
pub(crate) mod module;
pub(crate) mod mount;
mod move_extent;
mod namei;
pub(crate) mod new_inode;
pub(crate) mod options;
pub(crate) mod orphan;
pub(crate) mod proc;
mod rename;
pub(crate) mod reserved;
mod set_size;
mod set_size_inline;
pub(crate) mod setattr;
pub(crate) mod shutdown;
pub(crate) mod statfs;
mod super_copies;
pub(crate) mod super_image;
pub(crate) mod super_info;
pub(crate) mod super_write;
mod swap_boot;
pub(crate) mod symlink;
pub(crate) mod sysfs;
mod trace;
pub(crate) mod trim;
mod truncate;
pub(crate) mod tunables;
pub(crate) mod tx;
pub(crate) mod vec;
pub(crate) mod verity;
mod writeback;
pub(crate) mod xattr;
pub(crate) mod xattr_block;
mod xattr_expand;
pub(crate) mod xattr_init;
pub(crate) mod xattr_release;
pub(crate) mod xattr_set;
pub(crate) mod xattr_sharing;

use crate::linux::{
    fs_type::FileSystem,
    inode::{Eviction, Inode, InodeCache},
    maple::RangeTree,
    super_block::SuperBlock,
};
use kernel::prelude::*;

/// The file system type: what `linux`'s traits are implemented for.
pub(crate) struct Rext4Fs;

/// A mounted rext4.
pub(crate) type Sb = SuperBlock<Rext4Fs>;
/// An inode of rext4.
pub(crate) type VfsInode = Inode<Rext4Fs>;

/// The slab cache of all rext4 inodes.
pub(crate) static INODE_CACHE: InodeCache<Rext4Fs> = InodeCache::new();

impl FileSystem for Rext4Fs {
    type Super = super_info::SuperInfo;
    type Inode = inode::InodeInfo;
    const LINK_BYTES: (usize, usize) = inode::InodeInfo::LINK_BYTES;

    fn inode_data() -> impl PinInit<Self::Inode> {
        inode::InodeInfo::new()
    }

    fn ranges(inode: &Self::Inode) -> &RangeTree {
        &inode.store
    }

    fn shrink(inode: &Self::Inode) -> bool {
        map::shrink(inode)
    }

    fn is_shrinkable(inode: &Self::Inode) -> bool {
        inode.delayed() == 0
    }

    fn inode_cache() -> &'static InodeCache<Self> {
        &INODE_CACHE
    }

    fn evict(inode: &VfsInode, why: Eviction) {
        evict::evict(inode, why);
    }

    fn journal_aborted(sb: &Sb, error: Error) {
        errors::journal_aborted(sb, error);
    }
}
