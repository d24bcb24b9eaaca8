// SPDX-License-Identifier: GPL-2.0

//! File mapping: extent trees, block maps, inline data, and the cache of what they say.

mod common;

#[path = "mapping/cache.rs"]
mod cache;
#[path = "mapping/disk.rs"]
mod disk;
#[path = "mapping/images.rs"]
mod images;
#[path = "mapping/maps.rs"]
mod maps;
#[path = "mapping/nodes.rs"]
mod nodes;
#[path = "mapping/trees.rs"]
mod trees;
