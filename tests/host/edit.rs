// SPDX-License-Identifier: GPL-2.0

//! Writing inodes, attributes, orphans and the superblock; e2fsprogs reads the results.

mod common;

#[allow(dead_code)] // The mapping tests use all of it.
#[path = "mapping/disk.rs"]
mod disk;

#[path = "edit/attrs.rs"]
mod attrs;
#[path = "edit/bitmaps.rs"]
mod bitmaps;
#[path = "edit/disk.rs"]
mod edited;
#[path = "edit/fields.rs"]
mod fields;
#[path = "edit/inode.rs"]
mod inode;
#[path = "edit/orphan.rs"]
mod orphan;
#[path = "edit/superblock.rs"]
mod superblock;
#[path = "edit/xattr_areas.rs"]
mod xattr_areas;
#[path = "edit/xattr_images.rs"]
mod xattr_images;
