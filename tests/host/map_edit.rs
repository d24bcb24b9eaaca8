// SPDX-License-Identifier: GPL-2.0

//! Changing a file's map: extent trees and block maps, against models, with every call that can
//! fail failing once, and judged by e2fsck.

mod common;

#[path = "map_edit/credits.rs"]
mod credits;
#[allow(dead_code)] // Shared with the tests that only read.
#[path = "mapping/disk.rs"]
mod disk;
#[path = "map_edit/extents.rs"]
mod extents;
#[path = "map_edit/images.rs"]
mod images;
#[path = "map_edit/indirect.rs"]
mod indirect;
#[path = "map_edit/remap.rs"]
mod remap;
#[path = "map_edit/shapes.rs"]
mod shapes;
#[path = "map_edit/shift.rs"]
mod shift;
#[path = "map_edit/store.rs"]
mod store;
