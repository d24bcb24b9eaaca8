// SPDX-License-Identifier: GPL-2.0

//! rext4: the ext4 on-disk format as a file system module of its own.

use kernel::prelude::*;

mod linux;

module! {
    type: Rext4,
    name: "rext4",
    authors: ["The rext4 developers"],
    description: "ext4 on-disk format, in Rust",
    license: "GPL v2",
    alias: ["fs-rext4"],
}

struct Rext4;

impl kernel::Module for Rext4 {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
