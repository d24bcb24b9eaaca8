// SPDX-License-Identifier: GPL-2.0

//! zerocopy's traits together with their derives: the kernel has the two as separate crates.
//! Importing a name from here brings both.

pub use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
pub use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Copies as much of `from` as fits to the start of `to`.
#[inline]
pub fn copy_to_start(to: &mut [u8], from: &[u8]) {
    let n = from.len().min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
}
