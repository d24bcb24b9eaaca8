// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: in the inode's body, in a block, and values in inodes of their own.
//!
//! Both places have the same form: a header, then entries (attribute name, and where the value
//! is) up to four zero bytes, then free space, then values, which grow downwards from the end.
//! Offsets of values count from the first entry in an inode, and from the start of the block in a
//! block. With the `ea_inode` feature an entry may name an inode whose contents are the value.
//!
//! An area is verified as a whole, once each time it comes into memory: [`verify_block`],
//! [`verify_inode`]. [`XattrArea`] then walks it and still checks what it follows, so that it
//! ends and stays inside whatever the bytes are.
//!
//! Format: `Documentation/filesystems/ext4/{attributes,eainode}.rst`.

use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zerocopy::little_endian::{U16, U32};

use super::crc::crc32c;
use super::{FsBlock, Geometry, Ino};

pub use super::ea_inode::{value_hash, EaInode, EaKind, EaReference};
pub use super::xattr_hash::{entry_hash, entry_hash_signed};

crate::corrupt_area! {
    /// What can be wrong with extended attributes.
    XattrError {
        Checksum = "xattr block fails its checksum" [checksum],
        Header = "xattr block: invalid header",
        NameBounds = "xattr: e_name out of bounds",
        NameLength = "xattr: bad e_name length",
        NoEaFeature = "xattr: ea_inode specified without ea_inode feature enabled",
        BadEaInode = "xattr: invalid ea_ino",
        EmptyEaInode = "xattr: invalid size in ea xattr",
        ValueTooLarge = "xattr: e_value size too large",
        ValueBounds = "xattr: e_value out of bounds",
        ValueOverlap = "xattr: e_value overlaps the names or the end",
        OwnEaInode = "xattr: parent and EA inode are the same inode",
        UnusedEaInode = "xattr: EA inode has an unexpected link or reference count",
        EaInodeSize = "xattr: EA inode's size differs from the value's",
        EaInodeHash = "xattr: EA inode's value fails its hash",
        EaInodeHole = "xattr: EA inode's contents have a hole",
    }
}

/// The number that both headers begin with.
pub const MAGIC: u32 = 0xea02_0000;

/// Name indexes: what the beginning of an attribute's name is stored as.
pub mod index {
    /// `user.`
    pub const USER: u8 = 1;
    /// `system.posix_acl_access`, all of the name.
    pub const POSIX_ACL_ACCESS: u8 = 2;
    /// `system.posix_acl_default`, all of the name.
    pub const POSIX_ACL_DEFAULT: u8 = 3;
    /// `trusted.`
    pub const TRUSTED: u8 = 4;
    /// Reserved for Lustre.
    pub const LUSTRE: u8 = 5;
    /// `security.`
    pub const SECURITY: u8 = 6;
    /// `system.`; `system.data` is the second part of inline data.
    pub const SYSTEM: u8 = 7;
    /// `system.richacl`, of some vendors' kernels.
    pub const RICHACL: u8 = 8;
    /// The encryption context, with the name `c`.
    pub const ENCRYPTION: u8 = 9;
    /// `gnu.`, of the Hurd.
    pub const HURD: u8 = 10;
}

/// What user space calls attributes of a name index: the prefix (for the two ACLs all of the
/// name). `None` for an index whose attributes user space does not see.
#[inline]
pub const fn prefix(name_index: u8) -> Option<&'static str> {
    match name_index {
        index::USER => Some("user."),
        index::POSIX_ACL_ACCESS => Some("system.posix_acl_access"),
        index::POSIX_ACL_DEFAULT => Some("system.posix_acl_default"),
        index::TRUSTED => Some("trusted."),
        index::SECURITY => Some("security."),
        index::HURD => Some("gnu."),
        _ => None,
    }
}

/// The header of a block (`ext4_xattr_header`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawXattrHeader {
    /// [`MAGIC`].
    pub magic: U32,
    /// Number of inodes that share this block.
    pub refcount: U32,
    /// Number of blocks: 1.
    pub blocks: U32,
    /// Hash of all entries, by which equal blocks are found; 0 if the block is not to be shared.
    pub hash: U32,
    /// CRC-32C of the block's number and the block with 0 here.
    pub checksum: U32,
    /// 0.
    pub reserved: [U32; 3],
}

/// An entry without its name, which follows (`ext4_xattr_entry`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawXattrEntry {
    /// Length of the name, in bytes.
    pub name_len: u8,
    /// See [`index`].
    pub name_index: u8,
    /// Where the value is, in bytes.
    pub value_offs: U16,
    /// The inode that holds the value, or 0.
    pub value_inum: U32,
    /// Length of the value, in bytes.
    pub value_size: U32,
    /// Hash of name and value; 0 in inodes, except for values in inodes of their own.
    pub hash: U32,
}

pub(super) const HEADER_LEN: usize = 32;
pub(super) const ENTRY_LEN: usize = 16;
/// Entries and values are padded to this many bytes; the end of the entries is as many zeros.
pub(super) const PAD: usize = 4;
/// No value is longer, whatever a later VFS allows.
const VALUE_MAX: u32 = 1 << 24;

const _: () = assert!(size_of::<RawXattrHeader>() == HEADER_LEN);
const _: () = assert!(size_of::<RawXattrEntry>() == ENTRY_LEN);

/// What entries are checked against; the same all over a file system.
#[derive(Clone, Copy, Debug)]
pub struct XattrRules {
    /// Whether values may be in inodes of their own (`ea_inode`).
    pub ea_inode: bool,
    /// The first inode that is not reserved.
    pub first_ino: u32,
    /// The highest inode number.
    pub inodes_count: u32,
}

impl XattrRules {
    /// Collects the rules from a mounted file system's geometry.
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            ea_inode: geometry.has(super::features::Incompat::EA_INODE),
            first_ino: geometry.first_ino(),
            inodes_count: geometry.inodes_count(),
        }
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrValue<'a> {
    /// Beside the entries.
    Here(&'a [u8]),
    /// In an inode of its own.
    EaInode(EaReference<'a>),
}

impl XattrValue<'_> {
    /// Length of the value, in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Here(value) => value.len(),
            Self::EaInode(reference) => reference.size as usize,
        }
    }

    /// Whether the value has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xattr<'a> {
    /// See [`index`].
    pub index: u8,
    /// The name without the prefix that the index stands for; contains no NUL.
    pub name: &'a [u8],
    /// The value.
    pub value: XattrValue<'a>,
}

/// The attributes of one place.
#[derive(Clone, Copy, Debug)]
pub struct XattrArea<'a> {
    /// From where offsets of values count, to the end.
    pub(super) bytes: &'a [u8],
    /// Where the entries start.
    pub(super) first: usize,
    rules: XattrRules,
}

impl<'a> XattrArea<'a> {
    /// Views the attributes in an inode's body. `space` is what follows the inode's extra fields
    /// (`Inode::xattr_space`). `None` if there are no attributes: the magic number is missing.
    #[inline]
    pub fn in_inode(space: &'a [u8], rules: XattrRules) -> Option<Self> {
        let (magic, bytes) = U32::ref_from_prefix(space).ok()?;
        (magic.get() == MAGIC && bytes.len() >= PAD).then_some(Self {
            bytes,
            first: 0,
            rules,
        })
    }

    /// Views the attributes in a block. Error: it has not the header of one.
    #[inline]
    pub fn in_block(block: &'a [u8], rules: XattrRules) -> Result<Self, XattrError> {
        header(block)?;
        Ok(Self {
            bytes: block,
            first: HEADER_LEN,
            rules,
        })
    }

    /// The attributes. Ends behind the first bad one.
    #[inline]
    pub fn iter(&self) -> XattrIter<'a> {
        XattrIter {
            area: *self,
            at: self.first,
        }
    }

    /// The entry at `at` and where the next one is; `None` at the end of the entries.
    #[inline]
    pub(super) fn entry_at(&self, at: usize) -> Result<Option<(RawEntry<'a>, usize)>, XattrError> {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let Some(start) = rest.first_chunk::<PAD>() else {
            return Err(XattrError::NameBounds);
        };
        if *start == [0; PAD] {
            return Ok(None);
        }
        let Ok((entry, names)) = RawXattrEntry::ref_from_prefix(rest) else {
            return Err(XattrError::NameBounds);
        };
        let Some(name) = names.get(..entry.name_len.into()) else {
            return Err(XattrError::NameBounds);
        };
        // At most 272 bytes.
        let len = name.len().wrapping_add(ENTRY_LEN + PAD - 1) & !(PAD - 1);
        let next = at.saturating_add(len);
        // Another entry or the end must follow.
        if next.saturating_add(PAD) > self.bytes.len() {
            return Err(XattrError::NameBounds);
        }
        Ok(Some((RawEntry { entry, name }, next)))
    }

    /// Checks one entry and finds its value. `names_end` is where values may begin.
    #[inline]
    pub(super) fn check(
        &self,
        raw: &RawEntry<'a>,
        names_end: usize,
    ) -> Result<Xattr<'a>, XattrError> {
        let RawEntry { entry, name } = *raw;
        let size = entry.value_size.get();
        let inum = entry.value_inum.get();
        if inum != 0 {
            if !self.rules.ea_inode {
                return Err(XattrError::NoEaFeature);
            }
            if inum < self.rules.first_ino || inum > self.rules.inodes_count {
                return Err(XattrError::BadEaInode);
            }
            if size == 0 {
                return Err(XattrError::EmptyEaInode);
            }
        }
        if size > VALUE_MAX {
            return Err(XattrError::ValueTooLarge);
        }
        let value = match Ino::new(inum) {
            Some(ino) => XattrValue::EaInode(EaReference {
                name,
                hash: entry.hash.get(),
                ino,
                size,
            }),
            None if size == 0 => XattrValue::Here(&[]),
            None => {
                let start = usize::from(entry.value_offs.get());
                let Some(rest) = self.bytes.get(start..) else {
                    return Err(XattrError::ValueBounds);
                };
                // The size is at most 2^24, so padding it cannot overflow.
                let size = size as usize;
                let padded = size.wrapping_add(PAD - 1) & !(PAD - 1);
                match rest.get(..size) {
                    Some(value) if start >= names_end && padded <= rest.len() => {
                        XattrValue::Here(value)
                    }
                    _ => return Err(XattrError::ValueOverlap),
                }
            }
        };
        Ok(Xattr {
            index: entry.name_index,
            name,
            value,
        })
    }

    /// Checks everything: first that the entries end, then each of them.
    fn verify(&self) -> Result<(), XattrError> {
        let mut at = self.first;
        // An entry has 16 bytes at least, so both loops end with the area.
        while let Some((raw, next)) = self.entry_at(at)? {
            // Not `contains`, which brings a search that can panic.
            if !raw.name.iter().all(|&byte| byte != 0) {
                return Err(XattrError::NameLength);
            }
            at = next;
        }
        let names_end = at.saturating_add(PAD);
        at = self.first;
        while let Some((raw, next)) = self.entry_at(at)? {
            self.check(&raw, names_end)?;
            at = next;
        }
        Ok(())
    }
}

/// An entry of which only name and extent have been checked.
#[derive(Clone, Copy)]
pub(super) struct RawEntry<'a> {
    pub(super) entry: &'a RawXattrEntry,
    pub(super) name: &'a [u8],
}

/// Iterator over attributes; see [`XattrArea::iter`].
#[derive(Clone, Debug)]
pub struct XattrIter<'a> {
    area: XattrArea<'a>,
    at: usize,
}

impl<'a> XattrIter<'a> {
    /// The next attribute with this name, whose entry alone is checked.
    #[inline]
    pub fn find_next(&mut self, index: u8, name: &[u8]) -> Result<Option<Xattr<'a>>, XattrError> {
        while let Some((raw, next)) = self.area.entry_at(self.at)? {
            self.at = next;
            if raw.entry.name_index == index && raw.name == name {
                return self.area.check(&raw, next).map(Some);
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for XattrIter<'a> {
    type Item = Result<Xattr<'a>, XattrError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let xattr = match self.area.entry_at(self.at) {
            Ok(None) => return None,
            Ok(Some((raw, next))) => {
                self.at = next;
                self.area.check(&raw, next)
            }
            Err(e) => Err(e),
        };
        if xattr.is_err() {
            // To the terminator of an area that has nothing else: the iterator is at its end.
            self.area.bytes = &[0; PAD];
            self.at = 0;
        }
        Some(xattr)
    }
}

/// The header of an attribute block, if it is one.
#[inline]
pub fn header(block: &[u8]) -> Result<&RawXattrHeader, XattrError> {
    match RawXattrHeader::ref_from_prefix(block) {
        Ok((header, _)) if header.magic.get() == MAGIC && header.blocks.get() == 1 => Ok(header),
        _ => Err(XattrError::Header),
    }
}

/// Checks a block of attributes, physical block `number`, with the file system's checksum seed
/// (`Geometry::csum_seed`).
pub fn verify_block(
    block: &[u8],
    number: FsBlock,
    rules: XattrRules,
    seed: Option<u32>,
) -> Result<(), XattrError> {
    let header = header(block)?;
    if let Some(seed) = seed {
        if header.checksum.get() != block_checksum(block, number, seed) {
            return Err(XattrError::Checksum);
        }
    }
    XattrArea::in_block(block, rules)?.verify()
}

/// Where a block's checksum is, in bytes.
pub const CHECKSUM_OFFSET: usize = core::mem::offset_of!(RawXattrHeader, checksum);

/// The checksum of a block of attributes, whose number is `number`.
pub fn block_checksum(block: &[u8], number: FsBlock, seed: u32) -> u32 {
    checksum(block, crc32c(seed, &number.get().to_le_bytes()))
}

/// The checksum of a block of attributes; `seed` has taken in the block's number.
pub fn checksum(block: &[u8], seed: u32) -> u32 {
    let before = block.get(..CHECKSUM_OFFSET).unwrap_or_default();
    let behind = block.get(CHECKSUM_OFFSET + 4..).unwrap_or_default();
    let sum = crc32c(seed, before);
    let sum = crc32c(sum, &[0; 4]);
    crc32c(sum, behind)
}

/// Checks the attributes in an inode's body; see [`XattrArea::in_inode`]. Without any, all is
/// well.
pub fn verify_inode(space: &[u8], rules: XattrRules) -> Result<(), XattrError> {
    match XattrArea::in_inode(space, rules) {
        Some(area) => area.verify(),
        None => Ok(()),
    }
}

/// The hash of a whole block: of its entries' hashes in their order, 0 if one of them is 0.
pub fn block_hash(area: &XattrArea<'_>) -> Result<u32, XattrError> {
    let mut hash = 0u32;
    let mut at = area.first;
    while let Some((raw, next)) = area.entry_at(at)? {
        match raw.entry.hash.get() {
            0 => return Ok(0),
            entry => hash = hash.rotate_left(16) ^ entry,
        }
        at = next;
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: XattrRules = XattrRules {
        ea_inode: true,
        first_ino: 11,
        inodes_count: 1000,
    };

    struct Builder {
        entries: Vec<u8>,
        values: Vec<u8>,
        len: usize,
        base: usize,
    }

    impl Builder {
        fn new(len: usize, base: usize) -> Self {
            Self {
                entries: Vec::new(),
                values: Vec::new(),
                len,
                base,
            }
        }

        fn add(mut self, index: u8, name: &[u8], value: &[u8]) -> Self {
            let mut padded = value.to_vec();
            padded.resize(value.len().next_multiple_of(4), 0);
            padded.extend_from_slice(&self.values);
            self.values = padded;
            let offs = self.base + self.len - self.values.len();
            self.entry(index, name, offs as u16, 0, value.len() as u32)
        }

        fn entry(mut self, index: u8, name: &[u8], offs: u16, inum: u32, size: u32) -> Self {
            self.entries.push(name.len() as u8);
            self.entries.push(index);
            self.entries.extend_from_slice(&offs.to_le_bytes());
            self.entries.extend_from_slice(&inum.to_le_bytes());
            self.entries.extend_from_slice(&size.to_le_bytes());
            self.entries.extend_from_slice(&0u32.to_le_bytes());
            self.entries.extend_from_slice(name);
            let len = self.entries.len().next_multiple_of(4);
            self.entries.resize(len, 0);
            self
        }

        fn inode(self) -> Vec<u8> {
            let mut out = MAGIC.to_le_bytes().to_vec();
            out.extend_from_slice(&self.entries);
            out.resize(4 + self.len - self.values.len(), 0);
            out.extend_from_slice(&self.values);
            out
        }
    }

    fn all(space: &[u8]) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
        XattrArea::in_inode(space, RULES)
            .unwrap()
            .iter()
            .map(|x| x.unwrap())
            .map(|x| match x.value {
                XattrValue::Here(v) => (x.index, x.name.to_vec(), v.to_vec()),
                XattrValue::EaInode(r) => (x.index, x.name.to_vec(), vec![r.ino.get() as u8]),
            })
            .collect()
    }

    #[test]
    fn inode_area() {
        let space = Builder::new(96, 0)
            .add(1, b"a", b"hello")
            .add(6, b"selinux", b"")
            .entry(1, b"big", 0, 77, 5000)
            .inode();
        assert_eq!(verify_inode(&space, RULES), Ok(()));
        assert_eq!(
            all(&space),
            [
                (1, b"a".to_vec(), b"hello".to_vec()),
                (6, b"selinux".to_vec(), vec![]),
                (1, b"big".to_vec(), vec![77]),
            ]
        );
        assert!(XattrArea::in_inode(&space[1..], RULES).is_none());
        assert!(XattrArea::in_inode(&space[..7], RULES).is_none());
        assert_eq!(verify_inode(&[], RULES), Ok(()));
    }

    #[test]
    fn inode_damage() {
        let new = || Builder::new(64, 0);
        let no_ea = XattrRules {
            ea_inode: false,
            ..RULES
        };
        let cases = [
            (
                new().entry(1, b"x", 0, 77, 5),
                no_ea,
                XattrError::NoEaFeature,
            ),
            (new().entry(1, b"x", 0, 2, 5), RULES, XattrError::BadEaInode),
            (
                new().entry(1, b"x", 0, 1001, 5),
                RULES,
                XattrError::BadEaInode,
            ),
            (
                new().entry(1, b"x", 0, 77, 0),
                RULES,
                XattrError::EmptyEaInode,
            ),
            (
                new().entry(1, b"x", 0, 77, 1 << 25),
                RULES,
                XattrError::ValueTooLarge,
            ),
            (
                new().entry(1, b"x", 0, 0, u32::MAX),
                RULES,
                XattrError::ValueTooLarge,
            ),
            (
                new().entry(1, b"x", 65, 0, 1),
                RULES,
                XattrError::ValueBounds,
            ),
            (
                new().entry(1, b"x", 64, 0, 1),
                RULES,
                XattrError::ValueOverlap,
            ),
            (
                new().entry(1, b"x", 62, 0, 2),
                RULES,
                XattrError::ValueOverlap,
            ),
            (
                new().entry(1, b"x", 20, 0, 4),
                RULES,
                XattrError::ValueOverlap,
            ),
            (
                new().entry(1, b"x\0", 60, 0, 4),
                RULES,
                XattrError::NameLength,
            ),
            (
                new().entry(1, &[b'n'; 48], 0, 0, 0),
                RULES,
                XattrError::NameBounds,
            ),
        ];
        for (builder, rules, error) in cases {
            let mut space = builder.inode();
            space.truncate(68);
            assert_eq!(verify_inode(&space, rules), Err(error));
            // A walk without verification ends, too.
            let area = XattrArea::in_inode(&space, rules).unwrap();
            assert!(area.iter().count() <= 2);
        }
        let fits = new().entry(1, b"x", 24, 0, 40).inode();
        assert_eq!(verify_inode(&fits, RULES), Ok(()));
        let full = Builder::new(16, 0).entry(1, b"", 0, 0, 0).inode();
        assert_eq!(
            verify_inode(&full[..20], RULES),
            Err(XattrError::NameBounds)
        );
    }

    #[test]
    fn block() {
        let body = Builder::new(1024 - 32, 32)
            .add(1, b"a", b"hello")
            .add(1, b"bb", b"12345678")
            .inode();
        let mut block = vec![0u8; 32];
        block.extend_from_slice(&body[4..]);
        let number = FsBlock::new(99);
        assert_eq!(
            verify_block(&block, number, RULES, None),
            Err(XattrError::Header)
        );
        block[..4].copy_from_slice(&MAGIC.to_le_bytes());
        block[8] = 1;
        assert_eq!(verify_block(&block, number, RULES, None), Ok(()));
        assert_eq!(
            verify_block(&block, number, RULES, Some(3)),
            Err(XattrError::Checksum)
        );
        let sum = block_checksum(&block, number, 3);
        block[16..20].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(verify_block(&block, number, RULES, Some(3)), Ok(()));
        assert_eq!(
            verify_block(&block, FsBlock::new(98), RULES, Some(3)),
            Err(XattrError::Checksum)
        );
        let area = XattrArea::in_block(&block, RULES).unwrap();
        let found = area.iter().find_next(1, b"bb").unwrap().unwrap();
        assert_eq!(found.value, XattrValue::Here(b"12345678"));
        assert_eq!(found.value.len(), 8);
        assert_eq!(area.iter().find_next(1, b"b"), Ok(None));
        assert_eq!(area.iter().find_next(2, b"bb"), Ok(None));
        assert_eq!(block_hash(&area), Ok(0));
    }
}
