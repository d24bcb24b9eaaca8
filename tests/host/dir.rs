// SPDX-License-Identifier: GPL-2.0

//! Directories: hashes, lookup, readdir in hash order and from front to back; changing them.

mod common;

#[allow(dead_code)] // The mapping tests use all of it.
#[path = "mapping/disk.rs"]
mod disk;

#[path = "dir/build.rs"]
mod build;
#[path = "dir/damage.rs"]
mod damage;
#[path = "dir/edit/mod.rs"]
mod edit;
#[path = "dir/fuzz.rs"]
mod fuzz;
#[path = "dir/hashes.rs"]
mod hashes;
#[path = "dir/images.rs"]
mod images;
#[path = "dir/inline.rs"]
mod inline;
#[path = "dir/linear.rs"]
mod linear;
#[allow(dead_code)] // The tests of maps use all of it.
#[path = "map_edit/store.rs"]
mod map_store;
#[path = "dir/memory.rs"]
mod memory;
#[path = "dir/model.rs"]
mod model;
#[path = "dir/order.rs"]
mod order;
#[path = "dir/ties.rs"]
mod ties;
