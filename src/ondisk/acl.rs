// SPDX-License-Identifier: GPL-2.0

//! POSIX access control lists as attribute values.
//!
//! The values of `system.posix_acl_access` and `system.posix_acl_default` are a version (1) and
//! entries of 4 bytes, to which a user's or group's number adds 4 more. Which entries a list must
//! have is for the VFS to know.
//!
//! Format: `Documentation/filesystems/ext4/attributes.rst`, "POSIX ACLs".

use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zerocopy::little_endian::{U16, U32};

crate::corrupt_area! {
    /// What can be wrong with an access control list.
    AclError {
        Header = "ACL: no header, or of an unknown version",
        Size = "ACL: length does not fit the entries",
        Tag = "ACL: unknown kind of entry",
    }
}

const VERSION: u32 = 1;

/// The part that all entries have (`ext4_acl_entry_short`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawAclEntry {
    /// Whom it is about (`ACL_USER_OBJ` and so on).
    pub tag: U16,
    /// What they may do (`ACL_READ` and so on).
    pub perm: U16,
}

const _: () = assert!(size_of::<RawAclEntry>() == 4);

/// Whom an entry is about. Numbers are those on disk, not mapped to any name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclTag {
    /// The owner.
    UserObj,
    /// This user.
    User(u32),
    /// The owning group.
    GroupObj,
    /// This group.
    Group(u32),
    /// The most that users, groups and the owning group get.
    Mask,
    /// Everyone else.
    Other,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// Whom it is about.
    pub tag: AclTag,
    /// Permission bits, as stored.
    pub perm: u16,
}

/// A list that has been checked: whole entries of known kinds, and as many as its length says.
#[derive(Clone, Copy, Debug)]
pub struct Acl<'a> {
    entries: &'a [u8],
    count: usize,
}

impl<'a> Acl<'a> {
    /// Checks an attribute's value. `None` for a list without entries, which is as good as none.
    pub fn parse(value: &'a [u8]) -> Result<Option<Self>, AclError> {
        let Ok((version, entries)) = U32::ref_from_prefix(value) else {
            return Err(AclError::Header);
        };
        if version.get() != VERSION {
            return Err(AclError::Header);
        }
        let count = count(entries.len()).ok_or(AclError::Size)?;
        let mut rest = entries;
        for _ in 0..count {
            (_, rest) = split_entry(rest)?;
        }
        if !rest.is_empty() {
            return Err(AclError::Size);
        }
        Ok((count != 0).then_some(Self { entries, count }))
    }

    /// Number of entries, at least 1.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The entries in the order in which they are stored.
    #[inline]
    pub fn iter(&self) -> AclIter<'a> {
        AclIter { rest: self.entries }
    }
}

/// The most bytes that the value of a list with `entries` entries takes.
#[inline]
pub const fn max_len(entries: usize) -> usize {
    entries.saturating_mul(8).saturating_add(4)
}

/// Writes a list as it is stored to the start of `out` and returns how many bytes it takes. Of
/// what the entries say, only that the length tells their number is checked: the VFS has checked
/// the rest.
///
/// Errors: [`AclError::Size`] for a list that could not be read back (more than four entries
/// without a number, or fewer), and if `out` is too short: [`max_len`] is always enough.
pub fn encode(entries: impl Iterator<Item = AclEntry>, out: &mut [u8]) -> Result<usize, AclError> {
    let total = out.len();
    let mut rest = put(out, VERSION.to_le_bytes())?;
    let mut written = 0usize;
    for entry in entries {
        let (tag, id) = match entry.tag {
            AclTag::UserObj => (0x01u16, None),
            AclTag::User(id) => (0x02, Some(id)),
            AclTag::GroupObj => (0x04, None),
            AclTag::Group(id) => (0x08, Some(id)),
            AclTag::Mask => (0x10, None),
            AclTag::Other => (0x20, None),
        };
        rest = put(rest, tag.to_le_bytes())?;
        rest = put(rest, entry.perm.to_le_bytes())?;
        if let Some(id) = id {
            rest = put(rest, id.to_le_bytes())?;
        }
        written = written.wrapping_add(1);
    }
    let len = total.wrapping_sub(rest.len());
    if count(len.saturating_sub(4)) != Some(written) {
        return Err(AclError::Size);
    }
    Ok(len)
}

/// Writes bytes to the start of `out` and returns what is behind them.
fn put<const N: usize>(out: &mut [u8], bytes: [u8; N]) -> Result<&mut [u8], AclError> {
    match out.split_first_chunk_mut() {
        Some((to, rest)) => {
            *to = bytes;
            Ok(rest)
        }
        None => Err(AclError::Size),
    }
}

/// Reads a list in the form that user space knows (`system.posix_acl_*` version 2: tag,
/// permissions and a number for every entry), for [`encode`]. Numbers are passed on as they are.
///
/// Errors: [`AclError`].
pub fn from_user(value: &[u8]) -> Result<impl Iterator<Item = AclEntry> + Clone + '_, AclError> {
    let Ok((version, entries)) = U32::ref_from_prefix(value) else {
        return Err(AclError::Header);
    };
    if version.get() != USER_VERSION {
        return Err(AclError::Header);
    }
    let entries = <[UserAclEntry]>::ref_from_bytes(entries).map_err(|_| AclError::Size)?;
    if entries.iter().any(|entry| entry.decode().is_none()) {
        return Err(AclError::Tag);
    }
    Ok(entries.iter().filter_map(UserAclEntry::decode))
}

/// `a_version` of the form that user space knows.
const USER_VERSION: u32 = 2;

/// An entry in the form that user space knows (`posix_acl_xattr_entry`).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct UserAclEntry {
    tag: U16,
    perm: U16,
    id: U32,
}

impl UserAclEntry {
    fn decode(&self) -> Option<AclEntry> {
        let tag = match self.tag.get() {
            0x01 => AclTag::UserObj,
            0x02 => AclTag::User(self.id.get()),
            0x04 => AclTag::GroupObj,
            0x08 => AclTag::Group(self.id.get()),
            0x10 => AclTag::Mask,
            0x20 => AclTag::Other,
            _ => return None,
        };
        let perm = self.perm.get();
        Some(AclEntry { tag, perm })
    }
}

/// The number of entries in a list of `len` bytes: the first four are expected to be short (owner,
/// group, mask, others) and all beyond to have a number.
fn count(len: usize) -> Option<usize> {
    let (unit, rest, before) = match len.checked_sub(16) {
        None => (4, len, 0),
        Some(rest) => (8, rest, 4usize),
    };
    (rest & (unit - 1) == 0).then_some(before.wrapping_add(rest / unit))
}

fn split_entry(bytes: &[u8]) -> Result<(AclEntry, &[u8]), AclError> {
    let Ok((entry, rest)) = RawAclEntry::ref_from_prefix(bytes) else {
        return Err(AclError::Size);
    };
    let tag = entry.tag.get();
    let (tag, rest) = match tag {
        0x01 => (AclTag::UserObj, rest),
        0x04 => (AclTag::GroupObj, rest),
        0x10 => (AclTag::Mask, rest),
        0x20 => (AclTag::Other, rest),
        0x02 | 0x08 => {
            let Ok((id, rest)) = U32::ref_from_prefix(rest) else {
                return Err(AclError::Size);
            };
            let id = id.get();
            let named = if tag == 0x02 {
                AclTag::User(id)
            } else {
                AclTag::Group(id)
            };
            (named, rest)
        }
        _ => return Err(AclError::Tag),
    };
    let perm = entry.perm.get();
    Ok((AclEntry { tag, perm }, rest))
}

/// Iterator over the entries of an [`Acl`].
#[derive(Clone, Debug)]
pub struct AclIter<'a> {
    rest: &'a [u8],
}

impl Iterator for AclIter<'_> {
    type Item = AclEntry;

    #[inline]
    fn next(&mut self) -> Option<AclEntry> {
        // The list was checked; should it be another one by now, it ends early.
        let (entry, rest) = split_entry(self.rest).ok()?;
        self.rest = rest;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(entries: &[(u16, u16, Option<u32>)]) -> Vec<u8> {
        let mut out = 1u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&perm.to_le_bytes());
            if let Some(id) = id {
                out.extend_from_slice(&id.to_le_bytes());
            }
        }
        out
    }

    #[test]
    fn lists() {
        let v = value(&[
            (1, 6, None),
            (2, 4, Some(1000)),
            (4, 4, None),
            (8, 5, Some(70000)),
            (0x10, 7, None),
            (0x20, 0, None),
        ]);
        let acl = Acl::parse(&v).unwrap().unwrap();
        assert_eq!(acl.count(), 6);
        let tags: Vec<_> = acl.iter().map(|e| (e.tag, e.perm)).collect();
        assert_eq!(
            tags,
            [
                (AclTag::UserObj, 6),
                (AclTag::User(1000), 4),
                (AclTag::GroupObj, 4),
                (AclTag::Group(70000), 5),
                (AclTag::Mask, 7),
                (AclTag::Other, 0),
            ]
        );
        let short = value(&[(1, 6, None), (4, 4, None), (0x20, 4, None)]);
        assert_eq!(Acl::parse(&short).unwrap().unwrap().count(), 3);
        assert!(Acl::parse(&value(&[])).unwrap().is_none());
    }

    #[test]
    fn a_list_is_written_as_it_is_read() {
        let entry = |tag, perm| AclEntry { tag, perm };
        let all = [
            entry(AclTag::UserObj, 6),
            entry(AclTag::User(1000), 4),
            entry(AclTag::GroupObj, 4),
            entry(AclTag::Group(70000), 5),
            entry(AclTag::Mask, 7),
            entry(AclTag::Other, 0),
        ];
        let minimal = [all[0], all[2], all[5]];
        for list in [&all[..], &minimal, &[]] {
            let mut out = vec![0xff; max_len(list.len())];
            let len = encode(list.iter().copied(), &mut out).unwrap();
            let read = Acl::parse(&out[..len]).unwrap();
            let read: Vec<_> = read.iter().flat_map(|acl| acl.iter()).collect();
            assert_eq!(read, list);
            assert_eq!(
                encode(list.iter().copied(), &mut out[..len - 1]),
                Err(AclError::Size)
            );
        }
        // One with a number among four, and five without: their lengths would not tell.
        let mut out = [0; 100];
        assert_eq!(
            encode(all[..4].iter().copied(), &mut out),
            Err(AclError::Size)
        );
        let five = [all[0], all[2], all[4], all[5], all[5]];
        assert_eq!(encode(five.into_iter(), &mut out), Err(AclError::Size));
    }

    #[test]
    fn the_form_of_user_space() {
        let mut user = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in [(1u16, 6u16, u32::MAX), (2, 5, 7), (0x20, 0, u32::MAX)] {
            user.extend_from_slice(&tag.to_le_bytes());
            user.extend_from_slice(&perm.to_le_bytes());
            user.extend_from_slice(&id.to_le_bytes());
        }
        let read: Vec<_> = from_user(&user).unwrap().map(|e| (e.tag, e.perm)).collect();
        let expected = [
            (AclTag::UserObj, 6),
            (AclTag::User(7), 5),
            (AclTag::Other, 0),
        ];
        assert_eq!(read, expected);
        assert_eq!(from_user(&user[..9]).err(), Some(AclError::Size));
        assert_eq!(from_user(&user[..3]).err(), Some(AclError::Header));
        user[4] = 3;
        assert_eq!(from_user(&user).err(), Some(AclError::Tag));
        user[0] = 1;
        assert_eq!(from_user(&user).err(), Some(AclError::Header));
    }

    #[test]
    fn damage() {
        let good = value(&[(1, 6, None), (4, 4, None), (0x10, 4, None), (0x20, 4, None)]);
        let err = |v: &[u8]| Acl::parse(v).err();
        assert_eq!(err(&[]), Some(AclError::Header));
        assert_eq!(err(&[2, 0, 0, 0]), Some(AclError::Header));
        for cut in 5..good.len() {
            if cut % 4 != 0 {
                assert_eq!(err(&good[..cut]), Some(AclError::Size), "{cut}");
            }
        }
        // Four bytes more than four short entries do not make a fifth.
        let five = value(&[
            (1, 6, None),
            (4, 4, None),
            (0x10, 4, None),
            (0x20, 4, None),
            (1, 1, None),
        ]);
        assert_eq!(err(&five), Some(AclError::Size));
        assert_eq!(err(&value(&[(3, 0, None)])), Some(AclError::Tag));
        assert_eq!(err(&value(&[(2, 0, None)])), Some(AclError::Size));
        assert_eq!(err(&value(&[(2, 0, Some(1))])), Some(AclError::Size));
    }
}
