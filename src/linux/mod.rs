// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of Linux interfaces: all of rext4's `unsafe` is in this room.
//!
//! The wrappers know a file system only through traits, one per C table of operations, that the
//! file system implements; [`fs_type::FileSystem`] ties their types together.

pub(crate) mod acl;
pub(crate) mod acl_change;
pub(crate) mod background;
pub(crate) mod bdev;
pub(crate) mod bindings;
pub(crate) mod buffer;
pub(crate) mod capability;
pub(crate) mod crc;
pub(crate) mod cred;
pub(crate) mod cstr;
pub(crate) mod delay;
pub(crate) mod dentry;
pub(crate) mod dir;
pub(crate) mod direct;
pub(crate) mod export;
pub(crate) mod fallocate;
pub(crate) mod fiemap;
pub(crate) mod file;
pub(crate) mod file_write;
pub(crate) mod fileattr;
pub(crate) mod folio;
pub(crate) mod fs_context;
pub(crate) mod fs_type;
pub(crate) mod fserror;
pub(crate) mod idmap;
pub(crate) mod inode;
pub(crate) mod inode_edit;
pub(crate) mod inode_new;
pub(crate) mod inode_ops;
pub(crate) mod insist;
pub(crate) mod ioctl;
pub(crate) mod ioend;
pub(crate) mod iomap;
#[allow(
    dead_code,
    unused_imports,
    reason = "the write path, which uses all of it, is being built"
)]
pub(crate) mod jbd2;
pub(crate) mod link;
pub(crate) mod maple;
pub(crate) mod mapping;
pub(crate) mod mbcache;
pub(crate) mod namei_ops;
pub(crate) mod nofs;
pub(crate) mod open_file;
pub(crate) mod page_cache;
pub(crate) mod panic;
pub(crate) mod percpu;
pub(crate) mod proc;
pub(crate) mod random;
pub(crate) mod ratelimit;
pub(crate) mod readahead;
mod rewrite;
pub(crate) mod rwsem;
pub(crate) mod sched;
pub(crate) mod security;
pub(crate) mod seqcount;
pub(crate) mod setattr;
pub(crate) mod shrinker;
pub(crate) mod sole;
pub(crate) mod stat;
pub(crate) mod super_block;
pub(crate) mod super_ops;
pub(crate) mod super_write;
pub(crate) mod surfaces;
pub(crate) mod sysfs;
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod test_device;
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod test_threads;
pub(crate) mod time;
pub(crate) mod trace;
pub(crate) mod two_files;
pub(crate) mod verity;
pub(crate) mod writeback;
pub(crate) mod xattr;
