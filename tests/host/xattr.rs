// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: in inodes, in blocks, in inodes of their own; access control lists.

mod common;

#[allow(dead_code)] // The mapping tests use all of it.
#[path = "mapping/disk.rs"]
mod disk;

#[path = "xattr/damage.rs"]
mod damage;
#[path = "xattr/fuzz.rs"]
mod fuzz;
#[path = "xattr/images.rs"]
mod images;
