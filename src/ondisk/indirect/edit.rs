// SPDX-License-Identifier: GPL-2.0

//! Writing the tables of a block map.
//!
//! What does not fit a table is left undone: the caller has looked at the table before.

use super::{pointers, IndirectError};
use crate::ondisk::FsBlock;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

/// A table of pointers that is being changed: `i_block` or an indirect block.
pub struct TableMut<'a>(&'a mut [U32]);

impl<'a> TableMut<'a> {
    /// The table that fills `bytes`; `None` if that is no whole number of pointers.
    #[inline]
    pub fn open(bytes: &'a mut [u8]) -> Option<Self> {
        <[U32]>::mut_from_bytes(bytes).ok().map(Self)
    }

    /// Lets `slot` and those after it point to the `len` consecutive blocks from `start`, whose
    /// last has passed [`pointer`].
    #[inline]
    pub fn set(&mut self, slot: usize, start: FsBlock, len: usize) {
        let slots = slot
            .checked_add(len)
            .and_then(|end| self.0.get_mut(slot..end));
        let mut pointer = start.get() as u32;
        for place in slots.into_iter().flatten() {
            *place = pointer.into();
            pointer = pointer.wrapping_add(1);
        }
    }

    /// Empties the slots of `from..to`.
    #[inline]
    pub fn clear(&mut self, from: usize, to: usize) {
        if let Some(slots) = self.0.get_mut(from..to) {
            slots.fill(U32::ZERO);
        }
    }
}

/// Checks that pointers can reach block `last`.
///
/// Errors: [`IndirectError::Wide`].
#[inline]
pub fn pointer(last: FsBlock) -> Result<(), IndirectError> {
    match u32::try_from(last.get()) {
        Ok(_) => Ok(()),
        Err(_) => Err(IndirectError::Wide),
    }
}

/// Whether all slots of the table in `bytes` but `slot` are empty.
#[inline]
pub fn only_slot(bytes: &[u8], slot: usize) -> Result<bool, IndirectError> {
    let (before, rest) = pointers(bytes)?
        .split_at_checked(slot)
        .ok_or(IndirectError::BadBlock)?;
    let after = rest.get(1..).unwrap_or_default();
    Ok(before.iter().chain(after).all(|p| p.get() == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> Vec<u32> {
        pointers(bytes).unwrap().iter().map(|p| p.get()).collect()
    }

    #[test]
    fn runs_are_set_and_cleared_in_place() {
        let mut bytes = [0; 24];
        let mut table = TableMut::open(&mut bytes).unwrap();
        table.set(1, FsBlock::new(0xffff_fffd), 3);
        table.clear(2, 3);
        table.set(5, FsBlock::new(7), 2);
        table.set(usize::MAX, FsBlock::new(7), 2);
        table.clear(4, 7);
        assert_eq!(words(&bytes), [0, 0xffff_fffd, 0, 0xffff_ffff, 0, 0]);
        assert!(TableMut::open(&mut [0; 7]).is_none());
        assert_eq!(only_slot(&bytes, 1), Ok(false));
        TableMut::open(&mut bytes).unwrap().clear(3, 4);
        assert_eq!(only_slot(&bytes, 1), Ok(true));
        assert_eq!(only_slot(&bytes, 2), Ok(false));
        assert_eq!(only_slot(&bytes, 7), Err(IndirectError::BadBlock));
    }

    #[test]
    fn pointers_have_32_bits() {
        assert_eq!(pointer(FsBlock::new(0xffff_ffff)), Ok(()));
        assert_eq!(pointer(FsBlock::new(1 << 32)), Err(IndirectError::Wide));
    }
}
