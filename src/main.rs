// SPDX-License-Identifier: GPL-2.0

//! rext4: the ext4 on-disk format as a file system module of its own.
//!
//! This is the kernel's crate root; the host's is `lib.rs`. Loading the module registers the file
//! system type `rext4` and, with `ext4=1`, the names `ext4`, `ext3` and `ext2` as far as they are
//! free, so that tools and tables that say `ext4` work where the C driver is absent.

// The format is larger than what the module uses of it so far; the host build tests all of it.
#[allow(dead_code, unreachable_pub, unused_imports)]
mod engine;
mod fs;
#[path = "../kunit/mod.rs"]
mod kunit;
mod linux;
#[allow(dead_code, unreachable_pub, unused_imports)]
mod ondisk;

/// What `ondisk` asks its crate root for: here, the kernel's checksum routines.
mod platform {
    pub(crate) use crate::linux::crc::{crc16, crc32c};
}

/// The version, for modinfo and /sys/module: `module!` has no field for it.
const MODINFO: &str = concat!("version=", env!("REXT4_VERSION"), "\0");

#[used]
#[link_section = ".modinfo"]
static MODINFO_VERSION: [u8; MODINFO.len()] = {
    let mut bytes = [0; MODINFO.len()];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = MODINFO.as_bytes()[i];
        i += 1;
    }
    bytes
};

kernel::prelude::module! {
    type: fs::module::Rext4,
    name: "rext4",
    authors: ["The rext4 developers"],
    description: "ext4 on-disk format, in Rust on iomap and jbd2",
    license: "GPL v2",
    alias: ["fs-rext4"],
    params: {
        ext4: u8 {
            default: 0,
            description: "Register the name ext4 as well, and ext3 and ext2 if they are free",
        },
    },
}
