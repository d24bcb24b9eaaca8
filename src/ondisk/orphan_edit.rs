// SPDX-License-Identifier: GPL-2.0

//! Changing a block of the orphan file.
//!
//! A slot is claimed by storing an inode's number where there was 0, and freed by storing 0. The
//! block has been verified when it was read at mount, and stays in memory; its checksum is
//! settled with the transaction (`Seal::orphan`).
//!
//! Locking: several tasks may claim and free slots of one block at a time. Here a `&mut` says
//! that the caller keeps them apart; a caller that does not takes [`find_free`]'s answer as a
//! hint, and claims the slot with a compare-and-exchange of its own.

use core::mem::size_of;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

use super::orphan::{tail_offset, OrphanError};
use super::Ino;

/// A free slot of a verified block, looked for from slot `hint` on and then from the start;
/// `None` if there is none. A hint that is no slot counts as 0.
pub fn find_free(bytes: &[u8], hint: u32) -> Option<u32> {
    let slots = bytes.get(..tail_offset(bytes)?)?;
    let slots = <[U32]>::ref_from_bytes(slots).ok()?;
    let hint = (hint as usize).min(slots.len());
    let (before, behind) = slots.split_at_checked(hint)?;
    // Counters with an end: `position` would check for overflow. A block has at most 2^14 slots.
    let free = |start, slots: &[U32]| {
        (start..u32::MAX)
            .zip(slots)
            .find(|(_, ino)| ino.get() == 0)
            .map(|(slot, _)| slot)
    };
    free(hint as u32, behind).or_else(|| free(0, before))
}

/// Puts an inode into a free slot, looked for as [`find_free`] does; `None` if there is none.
pub fn add(bytes: &mut [u8], hint: u32, ino: Ino) -> Option<u32> {
    let slot = find_free(bytes, hint)?;
    *slot_mut(bytes, slot)? = ino.get().into();
    Some(slot)
}

/// Frees the slot of an inode.
///
/// Errors: [`OrphanError::BadInode`] if the inode is not in that slot; nothing has changed then.
/// (C ext4 would free whatever is there.)
pub fn remove(bytes: &mut [u8], slot: u32, ino: Ino) -> Result<(), OrphanError> {
    match slot_mut(bytes, slot) {
        Some(place) if place.get() == ino.get() => {
            *place = 0.into();
            Ok(())
        }
        _ => Err(OrphanError::BadInode),
    }
}

fn slot_mut(bytes: &mut [u8], slot: u32) -> Option<&mut U32> {
    let end = tail_offset(bytes)?;
    let at = (slot as usize).checked_mul(size_of::<U32>())?;
    let rest = bytes.get_mut(..end)?.get_mut(at..)?;
    U32::mut_from_prefix(rest).ok().map(|(slot, _)| slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_found_from_the_hint_on() {
        let ino = |n| Ino::new(n).unwrap();
        let mut block = vec![0u8; 32];
        block[24..28].copy_from_slice(&0x0b10_ca04u32.to_le_bytes());
        assert_eq!(add(&mut block, 4, ino(14)), Some(4));
        assert_eq!(add(&mut block, 4, ino(15)), Some(5));
        assert_eq!(add(&mut block, 4, ino(10)), Some(0));
        assert_eq!(add(&mut block, 99, ino(11)), Some(1));
        assert_eq!(add(&mut block, 6, ino(12)), Some(2));
        assert_eq!(add(&mut block, u32::MAX, ino(13)), Some(3));
        assert_eq!(find_free(&block, 0), None);
        assert_eq!(add(&mut block, 0, ino(16)), None);
        // The tail is no slot.
        assert_eq!(&block[24..28], 0x0b10_ca04u32.to_le_bytes());
        assert_eq!(&block[28..], [0; 4]);

        assert_eq!(remove(&mut block, 4, ino(15)), Err(OrphanError::BadInode));
        for slot in [6, 7, u32::MAX] {
            assert_eq!(
                remove(&mut block, slot, ino(15)),
                Err(OrphanError::BadInode)
            );
        }
        assert_eq!(remove(&mut block, 4, ino(14)), Ok(()));
        assert_eq!(remove(&mut block, 4, ino(14)), Err(OrphanError::BadInode));
        assert_eq!(find_free(&block, 0), Some(4));
        assert_eq!(find_free(&[0; 7], 0), None);
        assert_eq!(find_free(&[0; 8], 0), None);
    }
}
