// SPDX-License-Identifier: GPL-2.0

//! What is on disk.
//!
//! Little-endian structures of the ext4 format, their checksums, and the only constructors that
//! turn raw bytes into values the rest of rext4 accepts. Nothing in here does I/O, allocates or
//! knows the kernel: every function borrows the caller's buffer, so that the same code runs in
//! the module, under `cargo test`, under Miri and under a fuzzer.
//!
//! Rules of the room:
//! - every number read from disk is untrusted until a constructor here has checked it;
//! - no indexing, no unchecked arithmetic, no `unwrap`: nothing here can panic;
//! - every loop that follows the disk has a bound that does not come from the disk.
//!
//! The format is described in `Documentation/filesystems/ext4/` of the kernel tree.

#![forbid(unsafe_code)]

pub mod acl;
pub mod bitmap;
pub mod bounds;
pub mod crc;
pub mod crc_update;
pub mod dir;
pub mod dx;
pub mod ea_inode;
pub mod error;
pub mod extent;
pub mod features;
pub mod geometry;
mod geometry_check;
pub mod group;
pub mod ids;
pub mod indirect;
pub mod inline;
pub mod inode;
pub mod inode_edit;
mod inode_flags;
mod inode_raw;
pub mod journal;
pub mod mmp;
pub mod mount_state;
pub mod orphan;
pub mod orphan_edit;
pub mod raw;
pub mod seal;
pub mod search;
pub mod superblock;
pub mod time;
pub mod xattr;
pub mod xattr_block;
pub mod xattr_edit;
pub mod xattr_hash;

pub use error::Corrupt;
pub use geometry::Geometry;
pub use ids::{FileBlock, FsBlock, Group, Ino};
