// SPDX-License-Identifier: GPL-2.0

//! ioctl(2) on files and directories.
//!
//! FS_IOC_GETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_FIEMAP, FIBMAP and others come through operations
//! of their own; here are those that only the file system can answer.

use super::{inode::MapKind, map, VfsInode};
use crate::linux::{capability, file::UserArg, ioctl as nr};
use kernel::prelude::*;

/// Answers `cmd`.
///
/// Errors: EFAULT; ENOTTY for a command that is not known; EROFS for one that would change the
/// file system.
pub(crate) fn ioctl(inode: &VfsInode, cmd: u32, arg: UserArg) -> Result<isize> {
    let info = inode.super_block().info();
    match cmd {
        nr::FS_IOC_GETVERSION
        | nr::EXT4_IOC_GETVERSION
        | nr::FS_IOC32_GETVERSION
        | nr::EXT4_IOC32_GETVERSION => arg.write(&inode.generation().to_ne_bytes()),
        nr::EXT4_IOC_PRECACHE_EXTENTS => {
            if inode.data().map_kind() == MapKind::Extents {
                map::precache(inode)?;
            }
            Ok(0)
        }
        nr::FS_IOC_GETFSLABEL => {
            // A label of at most 16 bytes in a field of 256, padded with zeroes.
            let mut label = [0u8; nr::FSLABEL_MAX];
            for (to, from) in label.iter_mut().zip(info.raw.volume_name()) {
                *to = *from;
            }
            arg.write(&label)
        }
        nr::EXT4_IOC_GETFSUUID => uuid(info.geometry.uuid(), arg),
        // As ext4: the generation is in every checksum of the inode's blocks.
        nr::FS_IOC_SETVERSION
        | nr::EXT4_IOC_SETVERSION
        | nr::FS_IOC32_SETVERSION
        | nr::EXT4_IOC32_SETVERSION
            if info.geometry.csum_seed().is_some() =>
        {
            Err(ENOTTY)
        }
        nr::EXT4_IOC_SETFSUUID | nr::FS_IOC_SETFSLABEL | nr::FITRIM if !capability::sys_admin() => {
            Err(EPERM)
        }
        nr::EXT4_IOC_SETFSUUID
        | nr::FS_IOC_SETVERSION
        | nr::EXT4_IOC_SETVERSION
        | nr::FS_IOC32_SETVERSION
        | nr::EXT4_IOC32_SETVERSION
        | nr::FS_IOC_SETFSLABEL
        | nr::FITRIM => Err(EROFS),
        _ => Err(ENOTTY),
    }
}

/// EXT4_IOC_GETFSUUID: fills in the length if that is 0, else length and UUID.
///
/// Errors: EINVAL for a field that is too short, and for flags; EFAULT.
fn uuid(uuid: &[u8; 16], arg: UserArg) -> Result<isize> {
    let mut head = [0u8; 8];
    arg.read(&mut head)?;
    let [a, b, c, d, flags @ ..] = head;
    let len = u32::from_ne_bytes([a, b, c, d]);
    if len == 0 {
        return arg.write(&nr::UUID_LEN.to_ne_bytes());
    }
    if len < nr::UUID_LEN || flags != [0; 4] {
        return Err(EINVAL);
    }
    let mut out = [0u8; 24];
    let head = out.iter_mut().zip(nr::UUID_LEN.to_ne_bytes());
    head.for_each(|(to, from)| *to = from);
    let field = out.iter_mut().skip(8).zip(uuid);
    field.for_each(|(to, from)| *to = *from);
    arg.write(&out)
}
