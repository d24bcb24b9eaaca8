// SPDX-License-Identifier: GPL-2.0

//! zerocopy's traits together with their derives: the kernel has the two as separate crates.
//! Importing a name from here brings both.

pub use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
pub use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
