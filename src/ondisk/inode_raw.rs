// SPDX-License-Identifier: GPL-2.0

//! The bytes of an inode: the structures, and the checksum over the whole slot.
//!
//! The checksum is a CRC-32C that starts from the inode's seed (number and generation) and covers
//! the slot to its end, extended attributes included, with its own two halves counting as zero.
//! The upper half exists only if the extra fields in use reach that far; without it, 16 bits are
//! compared. Nothing outside `inode.rs` and `inode_edit.rs` sees these structures.
//!
//! Format: `Documentation/filesystems/ext4/inodes.rst`.

use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32};

use super::crc::crc32c;
use super::inode::{InodeError, BASE_SIZE, I_BLOCK_SIZE};
use super::{Geometry, Ino};

/// The first 128 bytes, in Linux' layout of the fields that depend on the system.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Base {
    pub mode: U16,
    pub uid: U16,
    pub size_lo: U32,
    pub atime: U32,
    pub ctime: U32,
    pub mtime: U32,
    pub dtime: U32,
    pub gid: U16,
    pub links_count: U16,
    pub blocks_lo: U32,
    pub flags: U32,
    pub version: U32,
    pub block: [u8; I_BLOCK_SIZE],
    pub generation: U32,
    pub file_acl_lo: U32,
    pub size_high: U32,
    pub obso_faddr: U32,
    pub blocks_high: U16,
    pub file_acl_high: U16,
    pub uid_high: U16,
    pub gid_high: U16,
    pub checksum_lo: U16,
    pub reserved: U16,
}

const _: () = assert!(size_of::<Base>() == BASE_SIZE);
const _: () = assert!(offset_of!(Base, block) == 0x28);
const _: () = assert!(offset_of!(Base, checksum_lo) == 0x7c);

/// The fields beyond, of which the first `extra_isize` bytes are in use.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Extra {
    pub extra_isize: U16,
    pub checksum_hi: U16,
    pub ctime_extra: U32,
    pub mtime_extra: U32,
    pub atime_extra: U32,
    pub crtime: U32,
    pub crtime_extra: U32,
    pub version_hi: U32,
    pub projid: U32,
}

/// Size of [`Extra`], in bytes.
pub(super) const EXTRA_SIZE: u16 = 32;
const _: () = assert!(size_of::<Extra>() == EXTRA_SIZE as usize);

/// How many bytes of the extra fields must be in use for a field to be.
macro_rules! upto {
    ($field:ident, $ty:ty) => {
        (offset_of!(Extra, $field) + size_of::<$ty>()) as u16
    };
}
pub(super) use upto;

/// Whether the upper half of the checksum is in use.
#[inline]
fn has_checksum_hi(extra: &Extra) -> bool {
    extra.extra_isize.get() >= upto!(checksum_hi, U16)
}

/// The checksum of an inode's present contents, its own two fields counting as zero: `base` and
/// what follows it in the slot.
#[inline]
fn checksum(seed: u32, base: &Base, beyond: &[u8]) -> u32 {
    let head = base.as_bytes().get(..offset_of!(Base, checksum_lo));
    let csum = crc32c(seed, head.unwrap_or(&[]));
    // The low half, the field behind it, the extra size and the high half are eight bytes in a
    // row, so that three calls cover the inode.
    let [r0, r1] = base.reserved.to_bytes();
    match Extra::ref_from_prefix(beyond) {
        Err(_) => crc32c(csum, &[0, 0, r0, r1]),
        Ok((e, _)) => {
            let [e0, e1] = e.extra_isize.to_bytes();
            let [h0, h1] = if has_checksum_hi(e) {
                [0, 0]
            } else {
                e.checksum_hi.to_bytes()
            };
            let csum = crc32c(csum, &[0, 0, r0, r1, e0, e1, h0, h1]);
            let tail = beyond.get(offset_of!(Extra, ctime_extra)..);
            crc32c(csum, tail.unwrap_or(&[]))
        }
    }
}

/// Compares the checksum of an inode: `base` and what follows it in the slot.
///
/// Errors: [`InodeError::BadChecksum`].
#[inline]
pub(super) fn verify_checksum(seed: u32, base: &Base, beyond: &[u8]) -> Result<(), InodeError> {
    let computed = checksum(seed, base, beyond);
    let lo = u32::from(base.checksum_lo.get());
    let matches = match Extra::ref_from_prefix(beyond) {
        Ok((e, _)) if has_checksum_hi(e) => computed == (u32::from(e.checksum_hi.get()) << 16) | lo,
        _ => computed & 0xffff == lo,
    };
    if matches {
        Ok(())
    } else {
        Err(InodeError::BadChecksum)
    }
}

/// Stores the checksum of an inode's present contents; see [`checksum`].
#[inline]
pub(super) fn store_checksum(seed: u32, base: &mut Base, beyond: &mut [u8]) {
    // With zeros in the two fields it is that of the bytes as they are.
    base.checksum_lo = 0.into();
    let high = match Extra::mut_from_prefix(beyond) {
        Ok((e, _)) if has_checksum_hi(e) => {
            e.checksum_hi = 0.into();
            true
        }
        _ => false,
    };
    let computed = crc32c(crc32c(seed, base.as_bytes()), beyond);
    // The two halves of a 32-bit value.
    base.checksum_lo = (computed as u16).into();
    if high {
        if let Ok((e, _)) = Extra::mut_from_prefix(beyond) {
            e.checksum_hi = ((computed >> 16) as u16).into();
        }
    }
}

/// Stores the checksum of the present contents of inode `ino`'s slot, if the file system has
/// inode checksums. `slot` holds at least the inode size of the geometry.
///
/// Errors: [`InodeError::Truncated`].
pub fn update_checksum(geo: &Geometry, ino: Ino, slot: &mut [u8]) -> Result<(), InodeError> {
    let slot = slot
        .get_mut(..geo.inode_size().into())
        .ok_or(InodeError::Truncated)?;
    let (base, beyond) = Base::mut_from_prefix(slot).map_err(|_| InodeError::Truncated)?;
    if geo.has_inode_csums() {
        if let Some(seed) = geo.inode_seed(ino, base.generation.get()) {
            store_checksum(seed, base, beyond);
        }
    }
    Ok(())
}
