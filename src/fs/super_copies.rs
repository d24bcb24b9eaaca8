// SPDX-License-Identifier: GPL-2.0

//! Changing the superblock together with its copies in other groups: what an administrator sets,
//! label and UUID, is to be found in them when the primary is lost.
//!
//! The primary and the first two copies are changed in one transaction. The others, of which large
//! file systems have many, are written after that, each by itself: e2fsck makes all of them alike
//! if something comes in between. A copy that is damaged is reported and left as it is.
//!
//! Lock order: the lock of the copies, a handle, the lock of the image.

use super::{
    handle,
    super_image::{self, Image},
    tx::Handle,
    vec::filled,
    Sb,
};
use crate::{
    engine::backup::backups,
    linux::{
        jbd2::NoHandle,
        super_block::{message, Level},
    },
    ondisk::superblock::{self, Superblock},
};
use kernel::prelude::*;

/// Copies that are changed in the transaction.
const JOURNALLED: u32 = 2;

/// Applies `f` to the superblock and all its copies.
///
/// May sleep. Errors: EROFS, EIO; some copies may not have been changed then.
pub(crate) fn change(sb: &Sb, f: impl Fn(&mut Superblock)) -> Result {
    let info = sb.info();
    let _one = info.image.copies.lock();
    let mut copies = copies(sb, &info.image);
    {
        let mut outside = NoHandle::here()?;
        let handle = handle::begin_blocks(sb, &mut outside, JOURNALLED.saturating_add(1))?;
        let changed = super_image::edit(sb, &handle, |raw| {
            f(raw);
            true
        });
        let changed = changed.and_then(|()| {
            for _ in 0..JOURNALLED {
                if let Some((block, offset)) = copies.next() {
                    in_handle(sb, &handle, block, offset, &f)?;
                }
            }
            Ok(())
        });
        handle.stop().and(changed)?;
    }
    for (block, offset) in copies {
        at_once(sb, block, offset, &f)?;
    }
    Ok(())
}

/// Where the copies are: their blocks, and the offset in them. If the file system has been mounted
/// by one of them, the first superblock is a copy.
fn copies<'a>(sb: &'a Sb, image: &'a Image) -> impl Iterator<Item = (u64, usize)> + 'a {
    let geo = &sb.info().geometry;
    let first = superblock::location(1, geo.block_bits());
    let first = first.map(|(block, offset)| (block, offset as usize));
    let others = backups(geo).map(|copy| (copy.block.get(), 0));
    Iterator::chain(first.into_iter(), others).filter(|place| *place != image.place())
}

/// Applies `f` to a copy in `bytes`, which begin with it. Whether that has worked; if not, it has
/// been reported.
fn apply(sb: &Sb, block: u64, bytes: &mut [u8], f: impl Fn(&mut Superblock)) -> bool {
    match Superblock::verify_mut(bytes) {
        Ok(copy) => {
            f(copy);
            copy.update_checksum();
            true
        }
        Err(e) => {
            message(
                Level::Err,
                sb.id(),
                fmt!("backup superblock {}: {}\n", block, e.message()),
            );
            false
        }
    }
}

fn in_handle(
    sb: &Sb,
    handle: &Handle<'_>,
    block: u64,
    offset: usize,
    f: impl Fn(&mut Superblock),
) -> Result {
    let mut edit = handle.edit(sb.device().read(block)?)?;
    let bytes = edit.get_mut(offset..).unwrap_or(&mut []);
    if apply(sb, block, bytes, f) {
        edit.dirty(None);
    }
    Ok(())
}

fn at_once(sb: &Sb, block: u64, offset: usize, f: impl Fn(&mut Superblock)) -> Result {
    let mut buffer = sb.device().read(block)?;
    let mut copy = filled(0u8, superblock::SIZE)?;
    for (to, from) in copy.iter_mut().zip(buffer.get(offset..).unwrap_or(&[])) {
        *to = *from;
    }
    if apply(sb, block, &mut copy, f) {
        buffer.write_through(offset, &copy)?;
    }
    Ok(())
}
