// SPDX-License-Identifier: GPL-2.0

//! Numbers of ioctl commands, as `_IOR` and its kin make them (asm-generic/ioctl.h).

use kernel::ioctl::{_IOR, _IOW, _IOWR};

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
/// Discards free space; the argument is a `struct fstrim_range` of three 64-bit words.
pub(crate) const FITRIM: u32 = _IOWR::<[u64; 3]>(b'X' as u32, 121);
