// SPDX-License-Identifier: GPL-2.0

//! Changing the contents of a file that is in its inode.
//!
//! The first [`HEAD_SIZE`] bytes are in `i_block`, the others in the value of `system.data`, which
//! has to be there even if it is empty. As with every attribute, a look at them comes first
//! ([`Contents::survey`]) and says what room there is; what is changed then are the same bytes, and
//! that cannot fail.
//!
//! The value may be longer than the file: a file that is cut keeps it. What is behind the end of the
//! file, in both places, is 0.
//!
//! Locking: the caller holds the lock of the inode's attributes exclusively, from the survey on.

use super::HEAD_SIZE;
use crate::ondisk::xattr::{index, XattrError, XattrRules, PAD};
use crate::ondisk::xattr_edit::{put_body, remove_body, survey_body, NewValue, OldValue, Spot};

/// The name of the attribute, behind `system.`.
pub const DATA: &[u8] = b"data";

/// Where the contents of a file are in its inode, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents(Spot);

impl Contents {
    /// Looks for them; `space` is what follows the extra fields (`InodeEdit::xattr_space`).
    ///
    /// Errors: the attributes are damaged, or the value is not beside them.
    pub fn survey(space: &[u8], rules: XattrRules) -> Result<Self, XattrError> {
        let spot = survey_body(space, rules, index::SYSTEM, DATA)?;
        match spot.old() {
            Some(OldValue::EaInode(_)) => Err(XattrError::BadEaInode),
            _ => Ok(Self(spot)),
        }
    }

    /// In `len` bytes without attributes, whatever they are.
    pub fn in_blank_body(len: usize) -> Self {
        Self(Spot::in_blank_body(len))
    }

    /// Whether they are there.
    pub fn exist(&self) -> bool {
        !self.0.is_new()
    }

    /// How many bytes there can be; `None` if there is no room for the attribute.
    pub fn most(&self) -> Option<usize> {
        let value = self.0.most(DATA.len())?;
        Some(HEAD_SIZE.saturating_add(value))
    }

    /// Stores the part of `whole`, all bytes of the file, that is in `i_block`.
    pub fn put_head(i_block: &mut [u8; HEAD_SIZE], whole: &[u8]) {
        write_filled(i_block, whole);
    }

    /// Stores the rest of `whole`, which is at most [`most`](Self::most) bytes.
    pub fn put_value(&self, space: &mut [u8], whole: &[u8]) {
        let tail = whole.get(HEAD_SIZE..).unwrap_or_default();
        match self.0.old() {
            Some(OldValue::Here { offset, size }) if tail.len() <= size as usize => {
                // Offsets count from behind the magic number; without a length there is none.
                let start = usize::from(offset).saturating_add(PAD);
                let end = start.saturating_add(size as usize);
                if size != 0 {
                    write_filled(space.get_mut(start..end).unwrap_or_default(), tail);
                }
            }
            _ => {
                let value = NewValue::Here(tail);
                put_body(space, &self.0, index::SYSTEM, DATA, &value);
            }
        }
    }

    /// Takes the attribute out. (`i_block` is somebody else's then.)
    pub fn remove(&self, space: &mut [u8]) {
        remove_body(space, &self.0);
    }
}

/// Fills `place` with the start of `bytes`, and with zeros behind their end.
fn write_filled(place: &mut [u8], bytes: &[u8]) {
    let len = bytes.len().min(place.len());
    if let (Some((head, rest)), Some(bytes)) = (place.split_at_mut_checked(len), bytes.get(..len)) {
        head.copy_from_slice(bytes);
        rest.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ondisk::inline::InlineData;
    use crate::ondisk::xattr::{verify_inode, XattrArea, XattrValue};

    const RULES: XattrRules = XattrRules {
        ea_inode: true,
        first_ino: 11,
        inodes_count: 100,
    };

    fn value<'a>(space: &'a [u8], index: u8, name: &[u8]) -> Option<&'a [u8]> {
        let area = XattrArea::in_inode(space, RULES)?;
        let found = area
            .iter()
            .map(|x| x.unwrap())
            .find(|x| x.index == index && x.name == name)?;
        match found.value {
            XattrValue::Here(value) => Some(value),
            XattrValue::EaInode(_) => None,
        }
    }

    /// What is read back: `size` bytes.
    fn read(head: &[u8; HEAD_SIZE], space: &[u8], size: usize) -> Vec<u8> {
        verify_inode(space, RULES).unwrap();
        let value = value(space, index::SYSTEM, DATA);
        let data = InlineData::new(head, value, size as u64).unwrap();
        let mut out = vec![0; size];
        data.copy_to(0, &mut out);
        out
    }

    /// A user's attribute with a value of so many bytes.
    fn put_user(space: &mut [u8], name: &[u8], len: usize) -> bool {
        let spot = survey_body(space, RULES, index::USER, name).unwrap();
        let fits = spot.fits(name.len(), len);
        if fits {
            let value = vec![0x77; len];
            put_body(space, &spot, index::USER, name, &NewValue::Here(&value));
        }
        fits
    }

    #[test]
    fn the_room_of_an_empty_body_is_all_that_the_overhead_leaves() {
        // As C ext4 counts: inodes of 256 bytes with 32 of extra fields hold 128.
        assert_eq!(Contents::in_blank_body(96).most(), Some(128));
        assert_eq!(
            Contents::survey(&[0xee; 96], RULES).unwrap().most(),
            Some(128)
        );
        assert_eq!(Contents::in_blank_body(28).most(), Some(60));
        assert_eq!(Contents::in_blank_body(24).most(), None);
        assert_eq!(Contents::in_blank_body(0).most(), None);
    }

    #[test]
    fn contents_of_every_length_come_back() {
        for len in [32usize, 96, 864] {
            let most = Contents::in_blank_body(len).most().unwrap();
            let mut seed = 1u32;
            let mut head = [0x55; HEAD_SIZE];
            // What is not known to be attributes is not 0.
            let mut space = vec![0xee; len];
            let mut contents = Contents::survey(&space, RULES).unwrap();
            for turn in 0..400 {
                seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
                let size = (seed >> 16) as usize % (most + 1);
                let whole: Vec<u8> = (0..size).map(|i| (i + turn) as u8 | 1).collect();
                Contents::put_head(&mut head, &whole);
                contents.put_value(&mut space, &whole);
                assert_eq!(read(&head, &space, size), whole);
                // Nothing of what was there before is left behind the end.
                let behind = read(&head, &space, most);
                assert!(behind[size..].iter().all(|&b| b == 0));
                contents = Contents::survey(&space, RULES).unwrap();
                assert!(contents.exist());
                assert_eq!(contents.most(), Some(most));
            }
            contents.remove(&mut space);
            assert!(!Contents::survey(&space, RULES).unwrap().exist());
            assert!(XattrArea::in_inode(&space, RULES).is_none());
        }
    }

    #[test]
    fn other_attributes_take_room_and_stay() {
        let mut head = [0; HEAD_SIZE];
        let mut space = vec![0; 352];
        assert!(put_user(&mut space, b"one", 40));
        let contents = Contents::survey(&space, RULES).unwrap();
        let most = contents.most().unwrap();
        assert_eq!(most, HEAD_SIZE + 352 - 8 - 20 - 40 - 20);
        let whole = vec![0x99; 100];
        Contents::put_head(&mut head, &whole);
        contents.put_value(&mut space, &whole);
        assert!(put_user(&mut space, b"two", 30));
        assert_eq!(read(&head, &space, 100), whole);
        // One that would need what the contents have does not fit.
        assert!(!put_user(&mut space, b"three", 300));
        let contents = Contents::survey(&space, RULES).unwrap();
        assert_eq!(contents.most(), Some(most - 32 - 20));
        let whole = vec![0x98; contents.most().unwrap()];
        Contents::put_head(&mut head, &whole);
        contents.put_value(&mut space, &whole);
        assert_eq!(read(&head, &space, whole.len()), whole);
        assert!(!put_user(&mut space, b"x", 0));
        let contents = Contents::survey(&space, RULES).unwrap();
        contents.remove(&mut space);
        verify_inode(&space, RULES).unwrap();
        assert_eq!(value(&space, index::USER, b"one"), Some(&[0x77; 40][..]));
        assert_eq!(value(&space, index::USER, b"two"), Some(&[0x77; 30][..]));
        assert!(!Contents::survey(&space, RULES).unwrap().exist());
    }
}
