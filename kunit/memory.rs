// SPDX-License-Identifier: GPL-2.0

//! Metadata blocks in memory, for the suites that change structures of them.

use crate::{fs::vec::push, ondisk::Corrupt};
use core::{
    cell::Cell,
    ops::{Deref, DerefMut},
};
use kernel::prelude::*;

/// The size of a block.
pub(super) const BLOCK_SIZE: usize = 1024;

type Bytes = [u8; BLOCK_SIZE];

/// Why an operation has failed.
pub(super) enum Failure {
    /// Something was found to be damaged.
    Corrupt,
    /// Anything else.
    Other(Error),
}

impl From<Corrupt> for Failure {
    fn from(_: Corrupt) -> Self {
        Self::Corrupt
    }
}

impl From<Failure> for Error {
    fn from(e: Failure) -> Self {
        match e {
            Failure::Corrupt => EUCLEAN,
            Failure::Other(e) => e,
        }
    }
}

/// A copy of a block, to be read or to be changed and stored.
pub(super) struct Copy {
    number: usize,
    bytes: KBox<Bytes>,
}

impl Copy {
    /// A block of zeros that is to become block `number`.
    pub(super) fn zeros(number: usize) -> Result<Self, Failure> {
        Self::new(number, [0; BLOCK_SIZE])
    }

    fn new(number: usize, bytes: Bytes) -> Result<Self, Failure> {
        match KBox::new(bytes, GFP_KERNEL) {
            Ok(bytes) => Ok(Self { number, bytes }),
            Err(_) => Err(Failure::Other(ENOMEM)),
        }
    }
}

impl Deref for Copy {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &*self.bytes
    }
}

impl DerefMut for Copy {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut *self.bytes
    }
}

/// Blocks, all of them zeros at first.
pub(super) struct Memory(KVVec<Cell<Bytes>>);

impl Memory {
    pub(super) fn new(blocks: usize) -> Result<Self> {
        let mut memory = KVVec::with_capacity(blocks, GFP_KERNEL)?;
        for _ in 0..blocks {
            push(&mut memory, Cell::new([0; BLOCK_SIZE]))?;
        }
        Ok(Self(memory))
    }

    /// Errors: EFAULT for a block that does not exist.
    pub(super) fn load(&self, number: usize) -> Result<Copy, Failure> {
        let block = self.0.get(number).ok_or(Failure::Other(EFAULT))?;
        Copy::new(number, block.get())
    }

    /// A block that does not exist is not stored.
    pub(super) fn store(&self, copy: &Copy) {
        if let Some(block) = self.0.get(copy.number) {
            block.set(*copy.bytes);
        }
    }
}

/// The `len` elements from `at` on, or those of them that there are.
pub(super) fn span<T>(all: &[T], at: u32, len: u32) -> &[T] {
    let rest = all.get(at as usize..).unwrap_or_default();
    rest.get(..len as usize).unwrap_or(rest)
}

/// As [`span`], to be changed.
pub(super) fn span_mut<T>(all: &mut [T], at: u32, len: u32) -> &mut [T] {
    let len = span(all, at, len).len();
    let rest = all.get_mut(at as usize..).unwrap_or_default();
    rest.get_mut(..len).unwrap_or_default()
}

/// xorshift32: a fixed seed, so that a failure repeats.
pub(super) struct Random(pub(super) u32);

impl Random {
    /// A number below `n`.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0.checked_rem(n).unwrap_or(0)
    }
}
