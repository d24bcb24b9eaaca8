// SPDX-License-Identifier: GPL-2.0

//! Filling vectors whose room is known beforehand.
//!
//! `Vec::push` may have to grow the vector, with arithmetic that the overflow checks turn into
//! panic paths; here room is made once, with `with_capacity`.

use kernel::{
    alloc::{allocator::Kmalloc, Allocator, Vec},
    prelude::*,
};

/// Appends `value` to a vector that has room for it.
///
/// Errors: ENOMEM when there is none.
#[inline]
pub(crate) fn push<T, A: Allocator>(vec: &mut Vec<T, A>, value: T) -> Result {
    vec.push_within_capacity(value).map_err(|_| ENOMEM)
}

/// A vector of `len` copies of `value`.
///
/// Errors: ENOMEM.
pub(crate) fn filled<T: Copy>(value: T, len: usize) -> Result<Vec<T, Kmalloc>> {
    let mut vec = Vec::with_capacity(len, GFP_KERNEL)?;
    for _ in 0..len {
        push(&mut vec, value)?;
    }
    Ok(vec)
}
