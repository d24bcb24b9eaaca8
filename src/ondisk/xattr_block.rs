// SPDX-License-Identifier: GPL-2.0

//! Attribute blocks as wholes: new ones, the count of inodes that share one, and how equal ones
//! are found.
//!
//! Inodes whose attributes (those that are not in the body) are equal may share a block. Its
//! header counts them, to at most [`SHARED_MAX`]. A block that several inodes share is never
//! changed: whoever changes an attribute makes a copy, or finds a block that is as the copy would
//! be. The header's hash is what blocks are looked up by; [`equal`] decides.
//!
//! Format: `Documentation/filesystems/ext4/attributes.rst`.

use core::cmp::Ordering;
use zerocopy::FromBytes;

use super::xattr::{
    block_hash, header, EaReference, RawXattrHeader, XattrArea, XattrError, XattrRules, XattrValue,
    HEADER_LEN, MAGIC,
};

/// The most inodes that share a block: losing one block loses no more than their attributes.
pub const SHARED_MAX: u32 = 1024;

/// Rules for a block that has been verified by the rules of its file system.
const ANY: XattrRules = XattrRules {
    ea_inode: true,
    first_ino: 1,
    inodes_count: u32::MAX,
};

/// Makes an empty block of one owner. It must get an attribute before it is written.
pub fn init(block: &mut [u8]) {
    block.fill(0);
    if let Ok((header, _)) = RawXattrHeader::mut_from_prefix(block) {
        header.magic = MAGIC.into();
        header.refcount = 1.into();
        header.blocks = 1.into();
    }
}

/// The order of a block's entries: index, length of the name, name.
#[inline]
pub fn order(index: u8, name: &[u8], other_index: u8, other_name: &[u8]) -> Ordering {
    index
        .cmp(&other_index)
        .then(name.len().cmp(&other_name.len()))
        // Byte by byte: comparing slices subtracts their lengths, which the compiler has to see are equal.
        .then_with(|| name.iter().cmp(other_name))
}

/// Number of inodes that share the block, at least 1.
///
/// Errors: it is no attribute block, or nobody has it.
#[inline]
pub fn owners(block: &[u8]) -> Result<u32, XattrError> {
    match header(block)?.refcount.get() {
        // C ext4 counts down from 0; but who frees a block that he does not have?
        0 => Err(XattrError::Header),
        owners => Ok(owners),
    }
}

/// The hash by which equal blocks are found; 0 if the block is not to be shared.
///
/// Errors: it is no attribute block.
#[inline]
pub fn hash(block: &[u8]) -> Result<u32, XattrError> {
    Ok(header(block)?.hash.get())
}

/// Whether one more inode may share the block.
#[inline]
pub fn can_share(block: &[u8]) -> bool {
    owners(block).is_ok_and(|owners| owners < SHARED_MAX)
}

/// Counts one more inode; asked [`can_share`] before.
pub fn add_owner(block: &mut [u8]) {
    if let Ok((header, _)) = RawXattrHeader::mut_from_prefix(block) {
        header.refcount = header.refcount.get().saturating_add(1).into();
    }
}

/// What is left of a block when an inode gives it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// Nobody has it any more: it is to be freed, unchanged, and one reference to each EA inode
    /// that its entries name is to be dropped.
    Free,
    /// Others have it: [`drop_owner`], and it goes with the transaction.
    Shared,
}

/// What giving up a block amounts to.
///
/// Errors: as [`owners`].
pub fn give_up(block: &[u8]) -> Result<GivenUp, XattrError> {
    Ok(match owners(block)? {
        1 => GivenUp::Free,
        _ => GivenUp::Shared,
    })
}

/// Counts one inode less, of a block that others have as well.
pub fn drop_owner(block: &mut [u8]) {
    if let Ok((header, _)) = RawXattrHeader::mut_from_prefix(block) {
        header.refcount = header.refcount.get().saturating_sub(1).max(1).into();
    }
}

/// Makes a copy of a shared block one inode's own.
pub fn own(block: &mut [u8]) {
    if let Ok((header, _)) = RawXattrHeader::mut_from_prefix(block) {
        header.refcount = 1.into();
    }
}

/// Stores the hash of the present entries.
pub(super) fn rehash(block: &mut [u8]) {
    let hash = XattrArea::in_block(block, ANY).and_then(|area| block_hash(&area));
    if let Ok((header, _)) = RawXattrHeader::mut_from_prefix(block) {
        // 0 is never shared, and so does no harm.
        header.hash = hash.unwrap_or(0).into();
    }
}

/// Whether two verified blocks hold the same attributes, in the same order. Where the values
/// stand may differ; who has the blocks does not matter.
///
/// Errors: one of them is damaged.
pub fn equal(a: &[u8], b: &[u8]) -> Result<bool, XattrError> {
    let (one, other) = (XattrArea::in_block(a, ANY)?, XattrArea::in_block(b, ANY)?);
    let (mut at, mut other_at) = (HEADER_LEN, HEADER_LEN);
    // An entry has 16 bytes at least, so this ends with the blocks.
    loop {
        let (x, y) = match (one.entry_at(at)?, other.entry_at(other_at)?) {
            (None, None) => return Ok(true),
            (Some(x), Some(y)) => (x, y),
            _ => return Ok(false),
        };
        if x.0.entry.hash != y.0.entry.hash || one.check(&x.0, x.1)? != other.check(&y.0, y.1)? {
            return Ok(false);
        }
        (at, other_at) = (x.1, y.1);
    }
}

/// The EA inodes that an area refers to. One that is named twice comes twice, and is counted
/// twice.
pub fn ea_references<'a>(
    area: &XattrArea<'a>,
) -> impl Iterator<Item = Result<EaReference<'a>, XattrError>> {
    area.iter().filter_map(|xattr| match xattr {
        Ok(xattr) => match xattr.value {
            XattrValue::EaInode(reference) => Some(Ok(reference)),
            XattrValue::Here(_) => None,
        },
        Err(e) => Some(Err(e)),
    })
}
