// SPDX-License-Identifier: GPL-2.0

//! Filling vectors.
//!
//! `Vec::push` may have to grow the vector, with arithmetic that the overflow checks turn into
//! panic paths; here room is made once, with `with_capacity`, or step by step.

use crate::ondisk::raw::copy_to_start;
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

/// Makes room for at least one more value, when it is not known beforehand how many there will be.
///
/// Errors: ENOMEM; the vector is as it was then.
pub(crate) fn make_room<T, A: Allocator>(vec: &mut Vec<T, A>) -> Result {
    if vec.len() < vec.capacity() {
        return Ok(());
    }
    let more = vec.len().saturating_mul(2).max(4);
    let old = core::mem::replace(vec, Vec::with_capacity(more, GFP_KERNEL)?);
    for value in old {
        push(vec, value)?;
    }
    Ok(())
}

/// A copy of `bytes`.
///
/// Errors: ENOMEM.
pub(crate) fn copy(bytes: &[u8]) -> Result<KVVec<u8>> {
    let mut copy = KVVec::from_elem(0u8, bytes.len(), GFP_KERNEL)?;
    copy_to_start(&mut copy, bytes);
    Ok(copy)
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
