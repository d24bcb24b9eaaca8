// SPDX-License-Identifier: GPL-2.0

//! Numbers of ioctl commands, as `_IOR` and its kin make them (asm-generic/ioctl.h).

use kernel::ioctl::{_IO, _IOR, _IOW, _IOWR};

/// Puts a file under fs-verity; the argument is 128 bytes of parameters.
pub(super) const FS_IOC_ENABLE_VERITY: u32 = _IOW::<[u64; 16]>(b'f' as u32, 133);
/// Digest of a file that is under fs-verity; the argument starts with two 16-bit words.
pub(super) const FS_IOC_MEASURE_VERITY: u32 = _IOWR::<[u16; 2]>(b'f' as u32, 134);
/// Merkle tree, descriptor or signature of such a file; five 64-bit words.
pub(super) const FS_IOC_READ_VERITY_METADATA: u32 = _IOWR::<[u64; 5]>(b'f' as u32, 135);

/// Whether fs/verity answers `cmd`.
pub(super) fn is_verity(cmd: u32) -> bool {
    matches!(
        cmd,
        FS_IOC_ENABLE_VERITY | FS_IOC_MEASURE_VERITY | FS_IOC_READ_VERITY_METADATA
    )
}

/// Reads a file's extents into the extent status cache.
pub(crate) const EXT4_IOC_PRECACHE_EXTENTS: u32 = _IO(b'f' as u32, 18);
/// What 32-bit tasks call the four commands below, whose argument is a `long` by name only.
pub(crate) const FS_IOC32_GETVERSION: u32 = _IOR::<kernel::ffi::c_int>(b'v' as u32, 1);
/// See [`FS_IOC32_GETVERSION`].
pub(crate) const FS_IOC32_SETVERSION: u32 = _IOW::<kernel::ffi::c_int>(b'v' as u32, 2);
/// See [`FS_IOC32_GETVERSION`].
pub(crate) const EXT4_IOC32_GETVERSION: u32 = _IOR::<kernel::ffi::c_int>(b'f' as u32, 3);
/// See [`FS_IOC32_GETVERSION`].
pub(crate) const EXT4_IOC32_SETVERSION: u32 = _IOW::<kernel::ffi::c_int>(b'f' as u32, 4);
/// Generation of an inode.
pub(crate) const FS_IOC_GETVERSION: u32 = _IOR::<kernel::ffi::c_long>(b'v' as u32, 1);
/// Sets the generation.
pub(crate) const FS_IOC_SETVERSION: u32 = _IOW::<kernel::ffi::c_long>(b'v' as u32, 2);
/// ext4's own number for the same.
pub(crate) const EXT4_IOC_GETVERSION: u32 = _IOR::<kernel::ffi::c_long>(b'f' as u32, 3);
/// ext4's own number for the same.
pub(crate) const EXT4_IOC_SETVERSION: u32 = _IOW::<kernel::ffi::c_long>(b'f' as u32, 4);
/// Longest label that the two commands below carry, with its NUL, in bytes.
pub(crate) const FSLABEL_MAX: usize = 256;
/// The volume's label.
pub(crate) const FS_IOC_GETFSLABEL: u32 = _IOR::<[u8; FSLABEL_MAX]>(0x94, 49);
/// Sets the label.
pub(crate) const FS_IOC_SETFSLABEL: u32 = _IOW::<[u8; FSLABEL_MAX]>(0x94, 50);
/// Length of a UUID in bytes.
pub(crate) const UUID_LEN: u32 = 16;
/// The file system's UUID; the argument is a `struct fsuuid`: the length of the field and flags,
/// 32 bits each, then the field.
pub(crate) const EXT4_IOC_GETFSUUID: u32 = _IOR::<[u32; 2]>(b'f' as u32, 44);
/// Sets the UUID.
pub(crate) const EXT4_IOC_SETFSUUID: u32 = _IOW::<[u32; 2]>(b'f' as u32, 44);
/// Writes what is in the journal to its place; the argument is a 32-bit number of the flags below.
pub(crate) const EXT4_IOC_CHECKPOINT: u32 = _IOW::<u32>(b'f' as u32, 43);
/// The journal's blocks are discarded then.
pub(crate) const CHECKPOINT_DISCARD: u32 = 1;
/// The journal's blocks are filled with zeros then.
pub(crate) const CHECKPOINT_ZEROOUT: u32 = 2;
/// Nothing is done: would it be?
pub(crate) const CHECKPOINT_DRY_RUN: u32 = 4;
/// Discards free space; the argument is a `struct fstrim_range` of three 64-bit words.
pub(crate) const FITRIM: u32 = _IOWR::<[u64; 3]>(b'X' as u32, 121);
/// What blocks are used for; the argument is a `struct fsmap_head` with room for records behind it.
pub(crate) const FS_IOC_GETFSMAP: u32 = _IOWR::<[u64; 24]>(b'X' as u32, 59);
/// Gives a file an extent tree.
pub(crate) const EXT4_IOC_MIGRATE: u32 = _IO(b'f' as u32, 9);
/// Has a file exchange blocks with another one; the argument is a `struct move_extent`: two 32-bit words, the
/// second of which is the other file's descriptor, and four of 64 bits: where to begin in both, how many
/// blocks, and how many it has come to.
pub(crate) const EXT4_IOC_MOVE_EXT: u32 = _IOWR::<[u64; 5]>(b'f' as u32, 15);
/// Has a file exchange its contents with the boot loader's inode.
pub(crate) const EXT4_IOC_SWAP_BOOT: u32 = _IO(b'f' as u32, 17);
/// Has the blocks of all of a file's data allocated.
pub(crate) const EXT4_IOC_ALLOC_DA_BLKS: u32 = _IO(b'f' as u32, 12);
/// Shuts the file system down; the argument is a 32-bit number that says how.
pub(crate) const EXT4_IOC_SHUTDOWN: u32 = _IOR::<u32>(b'X' as u32, 125);
