// SPDX-License-Identifier: GPL-2.0

//! What to do about what is on disk.
//!
//! Extent trees, indirect trees, directory hashes and indexes, xattr lookup: the logic of ext4
//! as functions over verified blocks. A block reaches the engine through
//! [`source::BlockSource`], which the file system implements with the buffer cache and the tests
//! with a byte array; so nothing in here does I/O, allocates, or knows the kernel.
//!
//! The rules of `ondisk` hold here too: no panic path, and every loop that follows the disk has
//! a bound that the disk does not choose.

#![forbid(unsafe_code)]

pub mod alloc;
pub mod backup;
pub mod change;
pub mod credits;
pub mod dir;
pub mod dir_batch;
pub mod dir_cookie;
pub mod dir_edit;
pub mod dir_lookup;
pub mod dirhash;
pub mod extent_edit;
pub mod extent_map;
pub mod extent_walk;
pub mod fsmap;
mod htree;
pub mod indirect_edit;
pub mod indirect_walk;
pub mod inode_fields;
pub mod journal_scan;
pub mod mapping;
pub mod orphan_list;
pub mod overhead;
pub mod readdir;
mod readdir_hash;
mod readdir_linear;
pub mod reserve;
pub mod sort;
pub mod source;
pub mod xattr_edit;
pub mod xattr_find;
pub mod zones;
