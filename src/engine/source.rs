// SPDX-License-Identifier: GPL-2.0

//! Where the engine gets metadata blocks from.

use crate::ondisk::{Corrupt, FsBlock};

/// A supplier of metadata blocks that have passed a check.
///
/// The kernel side reads through the buffer cache and remembers in the buffer that a block has
/// been verified, so that `verify` runs once per time in memory; the host side reads a slice.
pub trait BlockSource {
    /// A held block: derefs to exactly one block's bytes.
    type Block: core::ops::Deref<Target = [u8]>;
    /// Carries [`Corrupt`] or an I/O error.
    type Error: From<Corrupt>;

    /// Reads physical block `block` and, unless this very buffer has passed before, runs
    /// `verify` over its bytes. `verify` must depend on nothing that changes while the buffer
    /// stays cached as the same kind of metadata of the same owner.
    ///
    /// May sleep. Errors: the I/O error, or what `verify` returned.
    fn read<V>(&self, block: FsBlock, verify: V) -> Result<Self::Block, Self::Error>
    where
        V: FnOnce(&[u8]) -> Result<(), Corrupt>;
}
