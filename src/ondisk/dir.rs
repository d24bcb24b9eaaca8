// SPDX-License-Identifier: GPL-2.0

//! Directory entries and the blocks that hold them.
//!
//! A directory block is a chain of records that covers it without a gap: each begins with an
//! 8-byte header (inode, record length, name length, file type), then the name, then padding up
//! to the record's length. A record with inode 0 is free space. With `metadata_csum` the last 12
//! bytes of the block are such a free record, whose name is the checksum of what precedes it.
//!
//! Two checks exist, because they cost differently. [`verify_checksum`] is for the moment when
//! a block comes into memory and runs once per buffer. The structure is checked record by record
//! as [`DirArea`] walks: a walk costs no more for it, it never trusts that an earlier walk saw
//! the same bytes, and names in front of damage can still be read, as they can with C ext4.
//! Whoever wants to change a block calls [`verify_leaf`], which looks at all of it.
//!
//! Invariant of [`DirArea`] on any bytes whatever: a walk ends, since each step moves at least
//! 12 bytes or reports an error, and every name lies inside the area.
//!
//! Format: `Documentation/filesystems/ext4/directory.rst`. Records of encrypted and casefolded
//! directories carry a hash behind the name; such file systems are refused at mount so far.

use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zerocopy::little_endian::{U16, U32};

use super::crc::crc32c;
use super::Ino;

pub mod edit;
pub mod split;

crate::corrupt_area! {
    /// What can be wrong with a directory block.
    DirError {
        Checksum = "directory block fails its checksum" [checksum],
        NoTail = "directory block has no room for its checksum",
        ShortRecord = "directory entry: rec_len is smaller than minimal",
        NameOverflow = "directory entry: rec_len is too small for name_len",
        Overrun = "directory entry overruns its block",
        TooClose = "directory entry too close to the block's end",
        BadInode = "directory entry: inode out of bounds",
        DotLast = "'.' cannot be the last entry of a directory block",
        Hole = "directory has a hole where a block must be",
        PastEnd = "directory block beyond the end of the directory",
        InlineTooSmall = "inline directory is too small for its parent's inode number",
    }
}

/// The longest name, in bytes.
pub const NAME_MAX: usize = 255;
/// Length of a record's header, in bytes; the name follows.
pub const HEADER_LEN: usize = 8;
/// The shortest record: a header and a name of up to four bytes.
pub const MIN_REC_LEN: usize = 12;
/// Length of the checksum record that ends a block under `metadata_csum`, in bytes.
pub const TAIL_LEN: usize = 12;

/// `det_reserved_ft` of the checksum record.
const TAIL_FILE_TYPE: u8 = 0xde;

/// The fixed part of a record (`ext4_dir_entry_2`). Without the `filetype` feature the last byte
/// is the high half of a 16-bit name length, which is always 0.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDirEntry {
    /// Inode number, 0 for a free record.
    pub inode: U32,
    /// Distance to the next record; see [`decode_rec_len`].
    pub rec_len: U16,
    /// Length of the name, in bytes.
    pub name_len: u8,
    /// One of `EXT4_FT_*`.
    pub file_type: u8,
}

/// The checksum record (`ext4_dir_entry_tail`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDirTail {
    /// Looks like a free record without a name, 12 bytes long, of file type 0xDE.
    pub fake: RawDirEntry,
    /// CRC-32C of the block up to this record, seeded with the directory's inode and generation.
    pub checksum: U32,
}

const _: () = assert!(size_of::<RawDirEntry>() == HEADER_LEN);
const _: () = assert!(size_of::<RawDirTail>() == TAIL_LEN);

/// A record length in bytes from its stored form.
///
/// Lengths are multiples of 4, so that the low two bits are free to hold bits 16 and 17, which
/// blocks of 64 KiB and more need; 0 and 0xffff both mean the whole block. The result is a
/// multiple of 4 whatever is stored.
#[inline]
pub fn decode_rec_len(stored: u16, block_size: u32) -> u32 {
    let len = u32::from(stored);
    if len == 0 || len == 0xffff {
        block_size
    } else {
        (len & 0xfffc) | ((len & 3) << 16)
    }
}

/// The stored form of a record length, the inverse of [`decode_rec_len`]. `None` for a length
/// that is no multiple of 4, is longer than the block, or cannot be stored.
#[inline]
pub fn encode_rec_len(len: u32, block_size: u32) -> Option<u16> {
    if len & 3 != 0 || len > block_size || block_size > 1 << 18 {
        return None;
    }
    if let Ok(short) = u16::try_from(len) {
        return Some(short);
    }
    if len == block_size {
        return Some(if block_size == 1 << 16 { 0xffff } else { 0 });
    }
    u16::try_from((len & 0xfffc) | (len >> 16)).ok()
}

/// The shortest record that holds a name of `name_len` bytes.
#[inline]
pub fn rec_len_for(name_len: u8) -> usize {
    let len = usize::from(name_len).wrapping_add(HEADER_LEN + 3) & !3;
    if len < MIN_REC_LEN {
        MIN_REC_LEN
    } else {
        len
    }
}

/// The type of a file as its directory entry remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileType {
    /// Not recorded (no `filetype` feature) or not known.
    Unknown = 0,
    /// Regular file.
    Regular = 1,
    /// Directory.
    Directory = 2,
    /// Character device.
    CharDevice = 3,
    /// Block device.
    BlockDevice = 4,
    /// FIFO.
    Fifo = 5,
    /// Socket.
    Socket = 6,
    /// Symbolic link.
    Symlink = 7,
}

impl FileType {
    /// From the stored byte; what is not defined is [`FileType::Unknown`].
    #[inline]
    pub const fn from_disk(stored: u8) -> Self {
        match stored {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::CharDevice,
            4 => Self::BlockDevice,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => Self::Unknown,
        }
    }

    /// The byte to store.
    #[inline]
    pub const fn to_disk(self) -> u8 {
        self as u8
    }

    /// The type that a file mode's format bits (`S_IFMT`) stand for.
    #[inline]
    pub const fn from_mode(mode: u16) -> Self {
        match mode >> 12 {
            0o10 => Self::Regular,
            0o04 => Self::Directory,
            0o02 => Self::CharDevice,
            0o06 => Self::BlockDevice,
            0o01 => Self::Fifo,
            0o14 => Self::Socket,
            0o12 => Self::Symlink,
            _ => Self::Unknown,
        }
    }

    /// `d_type` as readdir(3) and the VFS know it (`DT_*`).
    #[inline]
    pub const fn d_type(self) -> u8 {
        // One table row per value, eight bytes in a register instead of a jump table:
        // DT_UNKNOWN 0, DT_REG 8, DT_DIR 4, DT_CHR 2, DT_BLK 6, DT_FIFO 1, DT_SOCK 12, DT_LNK 10.
        const TYPES: u64 = u64::from_le_bytes([0, 8, 4, 2, 6, 1, 12, 10]);
        (TYPES >> ((self as u8 & 7) << 3)) as u8
    }
}

/// What every directory entry of a file system is checked against.
#[derive(Clone, Copy, Debug)]
pub struct EntryLimits {
    /// Block size in bytes.
    pub block_size: u32,
    /// The highest inode number.
    pub inodes_count: u32,
}

/// A record that has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The inode; `None` for free space.
    pub ino: Option<Ino>,
    /// The stored file type; meaningless without the `filetype` feature.
    pub file_type: u8,
    /// The name; may be empty, and may contain any byte.
    pub name: &'a [u8],
    /// Where the record starts, in bytes from the start of the area.
    pub offset: usize,
    /// Distance to the next record, in bytes: at least 12, and within the area.
    pub rec_len: usize,
}

/// A run of directory records: one block, or one part of an inline directory.
#[derive(Clone, Copy, Debug)]
pub struct DirArea<'a> {
    bytes: &'a [u8],
    limits: EntryLimits,
}

/// Whether two names are equal. Names in one directory tend to have equal lengths and beginnings,
/// and to differ before a common suffix, so this looks at eight bytes at a time from the end.
#[inline]
fn same_name(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() < 8 {
        return match (a.first_chunk::<4>(), b.first_chunk::<4>()) {
            (Some(first_a), Some(first_b)) => {
                first_a == first_b && a.last_chunk::<4>() == b.last_chunk::<4>()
            }
            _ => a.iter().eq(b),
        };
    }
    let (mut rest_a, mut rest_b) = (a, b);
    while let (Some((more_a, last_a)), Some((more_b, last_b))) = (
        rest_a.split_last_chunk::<8>(),
        rest_b.split_last_chunk::<8>(),
    ) {
        if last_a != last_b {
            return false;
        }
        (rest_a, rest_b) = (more_a, more_b);
    }
    rest_a.is_empty() || a.first_chunk::<8>() == b.first_chunk::<8>()
}

/// The header of the record at the start of `rest`; `None` at the end.
#[inline(always)]
fn head(rest: &[u8]) -> Result<Option<&RawDirEntry>, DirError> {
    let start = rest.first_chunk::<MIN_REC_LEN>();
    match start.map(|start| RawDirEntry::ref_from_prefix(start)) {
        Some(Ok((head, _))) => Ok(Some(head)),
        _ if rest.is_empty() => Ok(None),
        _ => Err(DirError::TooClose),
    }
}

impl<'a> DirArea<'a> {
    /// Views `bytes` as records. Nothing is checked until a record is asked for.
    #[inline]
    pub fn new(bytes: &'a [u8], limits: EntryLimits) -> Self {
        Self { bytes, limits }
    }

    /// The area's length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the area has no bytes (an inline directory's second part may be absent).
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The record at `offset` bytes, checked as ext4 checks it: long enough for its name, inside
    /// the area, followed by either the end or room for another record, and with an inode number
    /// that exists. An error also for an `offset` at or beyond the end.
    #[inline]
    pub fn entry_at(&self, offset: usize) -> Result<Entry<'a>, DirError> {
        self.check(self.bytes.get(offset..).unwrap_or_default())
    }

    /// Checks the record at the start of `rest`, which is the area from some offset on.
    #[inline(always)]
    fn check(&self, rest: &'a [u8]) -> Result<Entry<'a>, DirError> {
        let Some(start) = rest.first_chunk::<MIN_REC_LEN>() else {
            return Err(DirError::TooClose);
        };
        let Ok((head, _)) = RawDirEntry::ref_from_prefix(start) else {
            return Err(DirError::TooClose);
        };
        let rec_len = self.rec_len(head)?;
        if rec_len < rec_len_for(head.name_len) {
            return Err(DirError::NameOverflow);
        }
        let Some(left) = rest.len().checked_sub(rec_len) else {
            return Err(DirError::Overrun);
        };
        let inode = head.inode.get();
        if inode > self.limits.inodes_count {
            return Err(DirError::BadInode);
        }
        let end = usize::from(head.name_len).wrapping_add(HEADER_LEN);
        let Some(name) = rest.get(HEADER_LEN..end) else {
            return Err(DirError::Overrun);
        };
        if left < MIN_REC_LEN {
            if left != 0 {
                return Err(DirError::TooClose);
            }
            if name == b"." {
                return Err(DirError::DotLast);
            }
        }
        Ok(Entry {
            ino: Ino::new(inode),
            file_type: head.file_type,
            name,
            offset: self.bytes.len().wrapping_sub(rest.len()),
            rec_len,
        })
    }

    /// The length of a record, which must be enough to get on.
    #[inline(always)]
    fn rec_len(&self, head: &RawDirEntry) -> Result<usize, DirError> {
        let stored = head.rec_len.get();
        if stored & 3 == 0 && usize::from(stored) >= MIN_REC_LEN {
            return Ok(stored.into());
        }
        match decode_rec_len(stored, self.limits.block_size) as usize {
            0..MIN_REC_LEN => Err(DirError::ShortRecord),
            len => Ok(len),
        }
    }

    /// Inode, stored file type and name of a record that has been checked before: what does not
    /// cost anything is checked again (it is inside the area and has an inode), the record's
    /// place among the others is not.
    #[inline]
    pub fn entry_again(&self, offset: usize) -> Option<(Ino, u8, &'a [u8])> {
        let rest = self.bytes.get(offset..)?;
        let (head, names) = RawDirEntry::ref_from_prefix(rest).ok()?;
        let name = names.get(..head.name_len.into())?;
        let inode = head.inode.get();
        if inode > self.limits.inodes_count {
            return None;
        }
        Some((Ino::new(inode)?, head.file_type, name))
    }

    /// All records from the start, free ones included; ends behind the first bad one.
    #[inline]
    pub fn entries(&self) -> Entries<'a> {
        Entries {
            area: *self,
            rest: self.bytes,
        }
    }

    /// The record with this name. Records on the way are only stepped over; the one that is
    /// returned has been checked. Errors: a record that cannot be stepped over, or the match
    /// itself is bad.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Result<Option<Entry<'a>>, DirError> {
        Ok(self.find_behind(name)?.map(|(entry, _)| entry))
    }

    /// As [`find`](Self::find), with the offset of the record in front of it, if there is one.
    pub fn find_behind(&self, name: &[u8]) -> Result<Option<(Entry<'a>, Option<usize>)>, DirError> {
        match name.last_chunk::<8>() {
            Some(end) => self.scan(name.len(), |candidate| {
                candidate.last_chunk::<8>() == Some(end) && same_name(candidate, name)
            }),
            None => self.scan(name.len(), |candidate| same_name(candidate, name)),
        }
    }

    /// The first record in use with a name of `len` bytes that `matches`, and where the one in front
    /// of it starts.
    #[inline(always)]
    fn scan(
        &self,
        len: usize,
        matches: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<(Entry<'a>, Option<usize>)>, DirError> {
        let Ok(name_len) = u8::try_from(len) else {
            return Ok(None);
        };
        let end = len.wrapping_add(HEADER_LEN);
        let mut rest = self.bytes;
        // How much is left at the record in front; 0 at the first one.
        let mut before = 0usize;
        while let Some(head) = head(rest)? {
            if head.name_len == name_len {
                let candidate = rest.get(HEADER_LEN..end);
                if candidate.is_some_and(&matches) && head.inode.get() != 0 {
                    let before = (before != 0).then(|| self.bytes.len().wrapping_sub(before));
                    return Ok(Some((self.check(rest)?, before)));
                }
            }
            before = rest.len();
            rest = rest.get(self.rec_len(head)?..).ok_or(DirError::Overrun)?;
        }
        Ok(None)
    }

    /// The first record boundary at or behind `offset` bytes, found by stepping from the start:
    /// a position handed out earlier may have fallen into the middle of a record since. Stops in
    /// front of a record that cannot be stepped over; the result is at most the area's length.
    pub fn boundary(&self, offset: usize) -> usize {
        let mut at = 0usize;
        while at < offset {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let Ok(Some(head)) = head(rest) else {
                break;
            };
            match self.rec_len(head) {
                Ok(step) => at = at.saturating_add(step),
                Err(_) => break,
            }
        }
        at.min(self.bytes.len())
    }
}

/// Iterator over the records of a [`DirArea`]; see [`DirArea::entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    area: DirArea<'a>,
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, DirError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.area.check(self.rest);
        let step = entry.map_or(usize::MAX, |entry| entry.rec_len);
        self.rest = self.rest.get(step..).unwrap_or_default();
        Some(entry)
    }
}

/// What a leaf's checksum covers, and the record that holds it; `None` without such a record.
fn split_tail(bytes: &[u8]) -> Option<(&[u8], &RawDirTail)> {
    let (covered, tail) = bytes.split_last_chunk::<TAIL_LEN>()?;
    let tail = RawDirTail::ref_from_bytes(tail).ok()?;
    let fake = &tail.fake;
    (fake.inode.get() == 0
        && usize::from(fake.rec_len.get()) == TAIL_LEN
        && fake.name_len == 0
        && fake.file_type == TAIL_FILE_TYPE)
        .then_some((covered, tail))
}

/// Where a leaf's checksum is, in bytes; `None` if it has no room for one.
pub fn checksum_offset(bytes: &[u8]) -> Option<usize> {
    let (covered, _) = split_tail(bytes)?;
    covered.len().checked_add(HEADER_LEN)
}

/// The checksum of a leaf; `seed` is the directory's.
pub fn checksum(bytes: &[u8], seed: u32) -> Option<u32> {
    split_tail(bytes).map(|(covered, _)| crc32c(seed, covered))
}

/// Checks a leaf block's checksum. `seed` is the directory's inode seed (`Geometry::inode_seed`).
pub fn verify_checksum(bytes: &[u8], seed: u32) -> Result<(), DirError> {
    let Some((covered, tail)) = split_tail(bytes) else {
        return Err(DirError::NoTail);
    };
    if tail.checksum.get() == crc32c(seed, covered) {
        Ok(())
    } else {
        Err(DirError::Checksum)
    }
}

/// Checks a leaf block's checksum (with `seed`; `None` without `metadata_csum`) and every record.
pub fn verify_leaf(bytes: &[u8], limits: EntryLimits, seed: Option<u32>) -> Result<(), DirError> {
    if let Some(seed) = seed {
        verify_checksum(bytes, seed)?;
    }
    DirArea::new(bytes, limits)
        .entries()
        .try_for_each(|entry| entry.map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EntryLimits = EntryLimits {
        block_size: 1024,
        inodes_count: 100,
    };

    fn push(block: &mut Vec<u8>, ino: u32, rec_len: u16, name: &[u8], file_type: u8) {
        let start = block.len();
        block.extend_from_slice(&ino.to_le_bytes());
        block.extend_from_slice(&rec_len.to_le_bytes());
        block.push(name.len() as u8);
        block.push(file_type);
        block.extend_from_slice(name);
        block.resize(start + usize::from(rec_len), 0xaa);
    }

    fn sample() -> Vec<u8> {
        let mut b = Vec::new();
        push(&mut b, 12, 12, b".", 2);
        push(&mut b, 2, 12, b"..", 2);
        push(&mut b, 13, 16, b"hello", 1);
        push(&mut b, 0, 16, b"hellp", 1);
        push(&mut b, 14, 40, b"abc", 7);
        push(
            &mut b,
            100,
            (1024 - 96) as u16,
            b"a name that ends alike",
            1,
        );
        b
    }

    #[test]
    fn rec_len_forms() {
        for bs in [1024u32, 4096, 32768, 65536] {
            for len in (12..=bs).step_by(4) {
                let stored = encode_rec_len(len, bs).unwrap();
                assert_eq!(decode_rec_len(stored, bs), len, "{len} of {bs}");
            }
            assert_eq!(decode_rec_len(0, bs), bs);
            assert_eq!(decode_rec_len(0xffff, bs), bs);
            assert_eq!(encode_rec_len(bs + 4, bs), None);
            assert_eq!(encode_rec_len(13, bs), None);
        }
        for stored in 0..=u16::MAX {
            assert_eq!(decode_rec_len(stored, 4096) % 4, 0);
        }
        assert_eq!(rec_len_for(0), 12);
        assert_eq!(rec_len_for(1), 12);
        assert_eq!(rec_len_for(4), 12);
        assert_eq!(rec_len_for(5), 16);
        assert_eq!(rec_len_for(255), 264);
    }

    #[test]
    fn file_types() {
        for (t, mode, dt) in [
            (0u8, 0o170000u16, 0u8),
            (1, 0o100644, 8),
            (2, 0o040755, 4),
            (3, 0o020600, 2),
            (4, 0o060600, 6),
            (5, 0o010600, 1),
            (6, 0o140600, 12),
            (7, 0o120777, 10),
        ] {
            let ft = FileType::from_disk(t);
            assert_eq!(ft.to_disk(), t);
            assert_eq!(ft.d_type(), dt);
            assert_eq!(FileType::from_mode(mode), ft);
        }
        assert_eq!(FileType::from_disk(8), FileType::Unknown);
        assert_eq!(FileType::from_disk(0xde), FileType::Unknown);
    }

    #[test]
    fn walk_and_find() {
        let b = sample();
        let area = DirArea::new(&b, LIMITS);
        let names: Vec<_> = area
            .entries()
            .map(|e| e.unwrap())
            .map(|e| (e.ino.map(Ino::get), e.name.to_vec(), e.offset))
            .collect();
        assert_eq!(names.len(), 6);
        assert_eq!(names[2], (Some(13), b"hello".to_vec(), 24));
        assert_eq!(names[3].0, None);
        for (name, at) in [
            (&b"."[..], Some(0)),
            (b"..", Some(12)),
            (b"hello", Some(24)),
            (b"hellp", None),
            (b"jello", None),
            (b"abc", Some(56)),
            (b"abd", None),
            (b"ab", None),
            (b"", None),
            (b"a name that ends alike", Some(96)),
            (b"b name that ends alike", None),
            (b"a name that ends alikf", None),
        ] {
            assert_eq!(area.find(name).unwrap().map(|e| e.offset), at, "{name:?}");
        }
        assert!(area.find(&[b'x'; 256]).unwrap().is_none());
        assert_eq!(verify_leaf(&b, LIMITS, None), Ok(()));
        for (from, to) in [
            (0, 0),
            (1, 12),
            (12, 12),
            (25, 40),
            (97, 1024),
            (2000, 1024),
        ] {
            assert_eq!(area.boundary(from), to, "{from}");
        }
    }

    #[test]
    fn bad_records() {
        // (offset of the change, new bytes, error of the walk)
        let cases: [(usize, &[u8], DirError); 8] = [
            (28, &[8, 0], DirError::ShortRecord),
            (28, &[12, 0], DirError::NameOverflow),
            (100, &[0x00, 0x04], DirError::Overrun),
            (100, &[0, 0], DirError::Overrun),
            (100, &[0x9c, 0x03], DirError::TooClose),
            (96, &[101, 0, 0, 0], DirError::BadInode),
            (28, &[13, 0], DirError::Overrun),
            (102, &[1, 1, b'.'], DirError::DotLast),
        ];
        for (at, new, error) in cases {
            let mut b = sample();
            b[at..at + new.len()].copy_from_slice(new);
            assert_eq!(verify_leaf(&b, LIMITS, None), Err(error), "{at} {new:?}");
            let good = DirArea::new(&b, LIMITS)
                .entries()
                .filter(|e| e.is_ok())
                .count();
            assert_eq!(good, if at < 96 { 2 } else { 5 });
        }
        // Names in front of the damage are found, those behind it give an error.
        let mut b = sample();
        b[28] = 8;
        let area = DirArea::new(&b, LIMITS);
        assert!(area.find(b"..").unwrap().is_some());
        assert!(area.find(b"hello").is_err());
        assert!(area.find(b"abc").is_err());
    }

    #[test]
    fn checksum_tail() {
        let mut b = sample();
        b[100..102].copy_from_slice(&(1024u16 - 96 - 12).to_le_bytes());
        b.truncate(1012);
        push(&mut b, 0, 12, b"", 0xde);
        let sum = crc32c(7, &b[..1012]);
        assert_eq!(verify_leaf(&b, LIMITS, Some(7)), Err(DirError::Checksum));
        b[1020..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(verify_leaf(&b, LIMITS, Some(7)), Ok(()));
        assert!(DirError::Checksum.is_checksum());
        assert!(!DirError::NoTail.is_checksum());
        b[1019] = 0;
        assert_eq!(verify_leaf(&b, LIMITS, Some(7)), Err(DirError::NoTail));
        assert_eq!(verify_checksum(&[], 7), Err(DirError::NoTail));
    }
}
