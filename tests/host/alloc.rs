// SPDX-License-Identifier: GPL-2.0

//! The allocator: free runs of a group, the index of groups, the policies, and what of it goes to
//! disk.

mod common;

#[allow(dead_code)] // The superblock's tests use all of it.
#[path = "super/dump.rs"]
mod dump;

#[path = "alloc/cost.rs"]
mod cost;
#[path = "alloc/images.rs"]
mod images;
#[path = "alloc/index.rs"]
mod index;
#[path = "alloc/inodes.rs"]
mod inodes;
#[path = "alloc/policy.rs"]
mod policy;
#[path = "alloc/shape.rs"]
mod shape;
#[path = "alloc/tree.rs"]
mod tree;
