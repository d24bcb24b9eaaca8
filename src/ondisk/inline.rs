// SPDX-License-Identifier: GPL-2.0

//! Inline data: file contents and directory entries that live in the inode itself.
//!
//! An inode with the inline-data flag keeps the first 60 bytes in `i_block` and the rest in the
//! value of the extended attribute `system.data` in the inode body. The attribute must exist
//! even when its value is empty. Format: `Documentation/filesystems/ext4/inlinedata.rst`.
//!
//! This file joins the two parts; finding the attribute (in the inode body and nowhere else: a
//! value in a block or an inode of its own is corrupt) is the caller's part.

use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

pub mod edit;
pub mod file;

/// How many bytes of inline data `i_block` holds.
pub const HEAD_SIZE: usize = 60;

crate::corrupt_area! {
    /// What can be wrong with inline data.
    InlineError {
        MissingAttribute = "inline data: the system.data attribute is missing",
        TooLarge = "inline data: larger than an inode can be",
    }
}

/// The contents of an inline file.
///
/// The file may be longer than the bytes that are stored: kernels used to let a truncate extend
/// it without converting it. What is not stored reads as zeros.
#[derive(Clone, Copy)]
pub struct InlineData<'a> {
    head: &'a [u8],
    tail: &'a [u8],
}

impl<'a> InlineData<'a> {
    /// Joins `i_block` and the value of `system.data` (`None`: no such attribute) into the
    /// contents of a file of `size` bytes (`i_size`).
    ///
    /// Errors: [`InlineError::MissingAttribute`]; [`InlineError::TooLarge`] for a value that
    /// cannot have come from an inode (inodes are at most one block of 64 KiB).
    #[inline]
    pub fn new(
        i_block: &'a [u8; HEAD_SIZE],
        value: Option<&'a [u8]>,
        size: u64,
    ) -> Result<Self, InlineError> {
        let value = value.ok_or(InlineError::MissingAttribute)?;
        if value.len() >= 1 << 16 {
            return Err(InlineError::TooLarge);
        }
        // What lies in the inode beyond the end of the file is not the file's.
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let head = i_block.get(..size).unwrap_or(i_block);
        let tail = value.get(..size.saturating_sub(HEAD_SIZE)).unwrap_or(value);
        Ok(Self { head, tail })
    }

    /// The stored bytes in file order: the part in `i_block` (a file of 60 bytes and more fills
    /// it), then the part in the attribute.
    #[inline]
    pub fn parts(&self) -> (&'a [u8], &'a [u8]) {
        (self.head, self.tail)
    }

    /// How many bytes are stored; never more than the file's size.
    #[inline]
    pub fn len(&self) -> usize {
        self.head.len().wrapping_add(self.tail.len())
    }

    /// Whether nothing is stored.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    /// Copies the contents from byte `offset` of the file on into `out`, and returns how many
    /// bytes it stored there; 0 at or past the stored end. The rest of `out` is left alone.
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> usize {
        let head = self.head.get(offset..).unwrap_or(&[]);
        let tail = self
            .tail
            .get(offset.saturating_sub(self.head.len())..)
            .unwrap_or(&[]);
        let copied = copy_prefix(head, out);
        let rest = out.get_mut(copied..).unwrap_or(&mut []);
        copied.wrapping_add(copy_prefix(tail, rest))
    }
}

/// Copies as much of `from` as fits to the start of `to`; returns how much.
#[inline]
fn copy_prefix(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    match (to.get_mut(..n), from.get(..n)) {
        (Some(to), Some(from)) => {
            to.copy_from_slice(from);
            n
        }
        _ => 0,
    }
}

/// The contents of an inline directory.
///
/// Neither `.` nor `..` is stored: the first four bytes name the parent. The rest of `i_block`
/// and the attribute's value are two directory blocks of their own: no entry crosses from one
/// to the other, each is to be parsed by itself, and neither has a checksum tail.
#[derive(Clone, Copy)]
pub struct InlineDir<'a> {
    parent: u32,
    first: &'a [u8],
    second: &'a [u8],
}

impl<'a> InlineDir<'a> {
    /// Splits the inline contents of a directory. Unlike a file's, they count in full, whatever
    /// `i_size` says.
    ///
    /// Errors: as for [`InlineData::new`].
    #[inline]
    pub fn new(i_block: &'a [u8; HEAD_SIZE], value: Option<&'a [u8]>) -> Result<Self, InlineError> {
        let data = InlineData::new(i_block, value, u64::MAX)?;
        let (head, second) = data.parts();
        // 60 bytes hold a number of four: the error cannot happen, but nothing here may panic.
        let (parent, first) = U32::read_from_prefix(head).map_err(|_| InlineError::TooLarge)?;
        Ok(Self {
            parent: parent.get(),
            first,
            second,
        })
    }

    /// The inode number of `..`, as found: to be checked by the geometry.
    #[inline]
    pub fn raw_parent(&self) -> u32 {
        self.parent
    }

    /// The two areas of directory entries: 56 bytes, and 0 or more. Either may hold only unused
    /// space.
    #[inline]
    pub fn areas(&self) -> (&'a [u8], &'a [u8]) {
        (self.first, self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: [u8; HEAD_SIZE] = {
        let mut b = [0u8; HEAD_SIZE];
        let mut i = 0;
        while i < HEAD_SIZE {
            b[i] = i as u8;
            i += 1;
        }
        b
    };
    const VALUE: [u8; 4] = [60, 61, 62, 63];

    fn all(size: u64, value: &[u8]) -> Vec<u8> {
        let data = InlineData::new(&HEAD, Some(value), size).unwrap();
        let mut out = vec![0xaa; 100];
        let n = data.copy_to(0, &mut out);
        assert_eq!(n, data.len());
        assert!(out[n..].iter().all(|&b| b == 0xaa));
        assert_eq!(data.is_empty(), n == 0);
        out.truncate(n);
        out
    }

    #[test]
    fn contents_end_where_the_file_or_the_storage_ends() {
        let whole: Vec<u8> = (0..64).collect();
        for size in 0..80u64 {
            assert_eq!(all(size, &VALUE), whole[..(size as usize).min(64)]);
            assert_eq!(all(size, &[]), whole[..(size as usize).min(60)]);
        }
        assert_eq!(all(u64::MAX, &VALUE), whole);
    }

    #[test]
    fn copies_from_any_offset_into_any_room() {
        let data = InlineData::new(&HEAD, Some(&VALUE), 64).unwrap();
        for offset in 0..70usize {
            for room in 0..70usize {
                let mut out = vec![0xaa; room];
                let n = data.copy_to(offset, &mut out);
                assert_eq!(n, room.min(64usize.saturating_sub(offset)));
                let want: Vec<u8> = (offset..offset + n).map(|b| b as u8).collect();
                assert_eq!(out[..n], want[..]);
            }
        }
        assert_eq!(data.copy_to(usize::MAX, &mut [0; 4]), 0);
    }

    #[test]
    fn the_attribute_must_exist_and_be_plausible() {
        let missing = InlineData::new(&HEAD, None, 10);
        assert_eq!(missing.err(), Some(InlineError::MissingAttribute));
        let large = vec![0; 1 << 16];
        let large = InlineData::new(&HEAD, Some(&large), 10);
        assert_eq!(large.err(), Some(InlineError::TooLarge));
    }

    #[test]
    fn a_directory_is_a_parent_and_two_areas() {
        let dir = InlineDir::new(&HEAD, Some(&VALUE)).unwrap();
        assert_eq!(dir.raw_parent(), 0x0302_0100);
        let (first, second) = dir.areas();
        assert_eq!(first, &HEAD[4..]);
        assert_eq!(second, &VALUE);
    }
}
