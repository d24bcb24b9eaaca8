// SPDX-License-Identifier: GPL-2.0

//! ioctl(2) on files and directories.
//!
//! FS_IOC_GETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_FIEMAP, FIBMAP and others come through operations
//! of their own; here are those that only the file system can answer.

use super::{
    fsmap, handle, inode::MapKind, inode_write, map, migrate, move_extent, shutdown, super_copies,
    swap_boot, trim, Rext4Fs,
};
use crate::{
    engine::credits::Op,
    linux::{
        capability,
        file::UserArg,
        inode_edit::InodeEdit as _,
        ioctl as nr,
        jbd2::{Emptied, NoHandle},
        open_file::OpenFile,
    },
    ondisk::{
        features::{Compat, Incompat, RoCompat},
        superblock::Superblock,
    },
};
use kernel::prelude::*;

/// Answers `cmd`.
///
/// Errors: EFAULT; ENOTTY for a command that is not known; EROFS for one that would change the
/// file system.
pub(crate) fn ioctl(file: &OpenFile<Rext4Fs>, cmd: u32, arg: UserArg) -> Result<isize> {
    let inode = file.inode();
    let sb = inode.super_block();
    let info = sb.info();
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
            info.image.with(|raw| {
                for (to, from) in label.iter_mut().zip(raw.volume_name()) {
                    *to = *from;
                }
            });
            arg.write(&label)
        }
        nr::FS_IOC_GETFSMAP => fsmap::getfsmap(file, arg),
        nr::EXT4_IOC_ALLOC_DA_BLKS => allocate(file),
        nr::EXT4_IOC_MIGRATE => migrate::migrate(file),
        nr::EXT4_IOC_MOVE_EXT => move_extent::move_extents(file, arg),
        nr::EXT4_IOC_SWAP_BOOT => swap_boot::swap_boot(file),
        nr::EXT4_IOC_GETFSUUID => uuid(&info.image.with(|raw| *raw.uuid()), arg),
        nr::FS_IOC_SETVERSION
        | nr::EXT4_IOC_SETVERSION
        | nr::FS_IOC32_SETVERSION
        | nr::EXT4_IOC32_SETVERSION => set_version(file, arg),
        nr::EXT4_IOC_SHUTDOWN => {
            if !capability::sys_admin() {
                return Err(EPERM);
            }
            let mut how = [0u8; 4];
            arg.read(&mut how)?;
            shutdown::shut_down(sb, u32::from_ne_bytes(how)).map(|()| 0)
        }
        nr::EXT4_IOC_CHECKPOINT => checkpoint(file, arg),
        nr::EXT4_IOC_SETFSUUID | nr::FS_IOC_SETFSLABEL | nr::FITRIM if !capability::sys_admin() => {
            Err(EPERM)
        }
        nr::FS_IOC_SETFSLABEL => set_label(file, arg),
        nr::FITRIM => fitrim(file, arg),
        nr::EXT4_IOC_SETFSUUID => set_uuid(file, arg),
        _ => Err(ENOTTY),
    }
}

/// FS_IOC_SETFSLABEL, of the superblock and its copies.
///
/// Errors: EFAULT; EINVAL for a label of more than 16 bytes; EROFS and EIO.
fn set_label(file: &OpenFile<Rext4Fs>, arg: UserArg) -> Result<isize> {
    let mut label = [0u8; 17];
    arg.read(&mut label)?;
    let len = label.iter().position(|b| *b == 0).ok_or(EINVAL)?;
    let label = label.get(..len).unwrap_or(&[]);
    let _write = file.want_write()?;
    super_copies::change(file.inode().super_block(), |raw| {
        // It is not too long.
        let _ = raw.set_volume_name(label);
    })?;
    Ok(0)
}

/// EXT4_IOC_SETFSUUID, of the superblock and its copies.
///
/// Errors: EOPNOTSUPP where something depends on the UUID; EFAULT; EINVAL for any other length than
/// 16, and for flags; EROFS and EIO.
fn set_uuid(file: &OpenFile<Rext4Fs>, arg: UserArg) -> Result<isize> {
    let sb = file.inode().super_block();
    let features = sb.info().image.with(Superblock::features);
    let sums = features.has(RoCompat::GDT_CSUM) || features.has(RoCompat::METADATA_CSUM);
    if sums && !features.has(Incompat::CSUM_SEED) || features.has(Compat::STABLE_INODES) {
        return Err(EOPNOTSUPP);
    }
    let mut head = [0u8; 8];
    arg.read(&mut head)?;
    let [a, b, c, d, flags @ ..] = head;
    if u32::from_ne_bytes([a, b, c, d]) != nr::UUID_LEN || flags != [0; 4] {
        return Err(EINVAL);
    }
    let mut all = [0u8; 24];
    arg.read(&mut all)?;
    let uuid = all.last_chunk().ok_or(EINVAL)?;
    let _write = file.want_write()?;
    super_copies::change(sb, |raw| raw.set_uuid(uuid))?;
    Ok(0)
}

/// EXT4_IOC_CHECKPOINT: writes what is in the journal to its place, so that it is empty, and discards or
/// overwrites its blocks: what was deleted before is not to be found in it either.
///
/// Errors: EFAULT, EPERM; EINVAL for flags; ENODEV without a journal; EOPNOTSUPP where its device
/// cannot discard; EIO.
fn checkpoint(file: &OpenFile<Rext4Fs>, arg: UserArg) -> Result<isize> {
    let mut flags = [0u8; 4];
    arg.read(&mut flags)?;
    if !capability::sys_admin() {
        return Err(EPERM);
    }
    let flags = u32::from_ne_bytes(flags);
    let blocks = match flags & !nr::CHECKPOINT_DRY_RUN {
        0 => Emptied::Left,
        nr::CHECKPOINT_DISCARD => Emptied::Discarded,
        nr::CHECKPOINT_ZEROOUT => Emptied::Zeroed,
        _ => return Err(EINVAL),
    };
    let journal = file.inode().super_block().journal().ok_or(ENODEV)?;
    if blocks == Emptied::Discarded && !journal.can_discard() {
        return Err(EOPNOTSUPP);
    }
    if flags & nr::CHECKPOINT_DRY_RUN != 0 {
        return Ok(0);
    }
    let mut outside = NoHandle::here()?;
    let locked = journal.lock_updates(&mut outside);
    journal.flush_and(locked.outside(), blocks)?;
    Ok(0)
}

/// EXT4_IOC_ALLOC_DA_BLKS: data that is delayed gets its blocks, and so is written.
///
/// Errors: EACCES, EROFS, EIO, ENOSPC.
fn allocate(file: &OpenFile<Rext4Fs>) -> Result<isize> {
    let inode = file.inode();
    if !file.idmap().owner_or_capable(inode) {
        return Err(EACCES);
    }
    let _write = file.want_write()?;
    if inode.data().delayed() != 0 {
        // A block is the file's when it has been written.
        inode.write_and_wait(&NoHandle::here()?, 0, u64::MAX)?;
    }
    Ok(0)
}

/// FITRIM: discards what is free in a range.
///
/// Errors: those of [`trim::trim`]; EFAULT.
fn fitrim(file: &OpenFile<Rext4Fs>, arg: UserArg) -> Result<isize> {
    let sb = file.inode().super_block();
    // What is to be said of the device comes before a look at the argument.
    trim::check(sb)?;
    let mut words = [0u8; 24];
    arg.read(&mut words)?;
    let mut range = trim::Range {
        start: word(&words, 0),
        len: word(&words, 8),
        min_len: word(&words, 16),
    };
    range.len = trim::trim(sb, range)?;
    let mut out = [0u8; 24];
    let numbers = [range.start, range.len, range.min_len];
    for (to, number) in out.chunks_exact_mut(8).zip(numbers) {
        let bytes = to.iter_mut().zip(number.to_ne_bytes());
        bytes.for_each(|(to, from)| *to = from);
    }
    arg.write(&out)
}

/// FS_IOC_SETVERSION: sets the inode's generation.
///
/// Errors: EPERM; ENOTTY with metadata checksums, as ext4: the generation is in every checksum of
/// the inode's blocks; EROFS, EFAULT, EIO, ENOMEM.
fn set_version(file: &OpenFile<Rext4Fs>, arg: UserArg) -> Result<isize> {
    let inode = file.inode();
    let sb = inode.super_block();
    if !file.idmap().owner_or_capable(inode) {
        return Err(EPERM);
    }
    if sb.info().geometry.csum_seed().is_some() {
        return Err(ENOTTY);
    }
    let _write = file.want_write()?;
    let mut generation = [0u8; 4];
    arg.read(&mut generation)?;
    inode.with_lock(|| {
        let mut outside = NoHandle::here()?;
        let handle = handle::begin(sb, &mut outside, Op::UpdateInode)?;
        let slot = inode_write::prepare(&handle, inode)?;
        inode.touch_ctime();
        inode.inc_version();
        inode.set_generation(u32::from_ne_bytes(generation));
        slot.store()?;
        handle.stop()
    })?;
    Ok(0)
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

/// The 64-bit word at byte `at` of an argument, in the order of the machine.
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    word.map_or(0, |word| u64::from_ne_bytes(*word))
}

/// The 32-bit word at byte `at` of an argument, in the order of the machine.
pub(super) fn half(bytes: &[u8], at: usize) -> u32 {
    let half = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    half.map_or(0, |half| u32::from_ne_bytes(*half))
}
