// SPDX-License-Identifier: GPL-2.0

//! truncate(2) of files whose data is in the inode (`inline_data`).
//!
//! Such a file gets shorter in one transaction: what it loses is cleared in the slot, so that it is
//! not there when the file gets longer again. It can get as long as `i_block` and the value of
//! `system.data` together, which stays as long as it is; a file that is to get longer gets blocks, as
//! with C ext4 ([`super::file_inline`]).
//!
//! Locking: i_rwsem and the invalidate lock are held for writing; xattr_sem is taken here.

use super::{fault::Fault, handle, inode_write, Rext4Fs};
use crate::{
    engine::credits::Op,
    linux::{inode_edit::InodeEdit as _, jbd2::NoHandle, setattr::SetAttr},
    ondisk::{
        inline::{file::DATA, HEAD_SIZE},
        inode_edit::InodeEdit,
        xattr::{index, XattrError, XattrRules},
        xattr_edit::{survey_body, OldValue},
        Corrupt,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// The magic number of the attributes in a slot, from behind which offsets count.
const MAGIC_LEN: usize = 4;

/// Makes the file `size` bytes long, and changes what else `attr` says; `false`, and nothing has
/// changed, if there is no place for so many.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM, EROFS.
pub(super) fn set_size(
    attr: &SetAttr<'_, Rext4Fs>,
    size: u64,
    outside: &mut NoHandle,
) -> Result<bool> {
    let inode = attr.inode();
    let sb = inode.super_block();
    let info = inode.data();
    let old = inode.size();
    {
        let handle = handle::begin(sb, outside, Op::SetSize)?;
        if inode.is_sync() {
            handle.sync();
        }
        let places = info.xattr_sem.write();
        let rules = XattrRules::new(&sb.info().geometry);
        let kept = usize::try_from(size.min(old)).unwrap_or(usize::MAX);
        let cleared =
            inode_write::prepare(&handle, inode)?.edit(|slot| clear(slot, rules, kept, size));
        let fits = cleared?
            .map_err(|e| Fault::from(Corrupt::from(e)).report_inode(inode, "inline data"))?;
        if !fits {
            handle.stop()?;
            return Ok(false);
        }
        let slot = inode_write::prepare(&handle, inode)?;
        if size != old {
            let _root = info.data_sem.write();
            info.set_disksize(size);
            inode.set_size(size);
            inode.inc_version();
        }
        if size == 0 && old != 0 {
            // What comes in its place may be too long for the inode.
            info.was_replaced.store(true, Relaxed);
        }
        inode.touch();
        attr.apply();
        slot.store_attributed(&places)?;
        handle.stop()?;
    }
    inode.truncate_page_cache(outside, size.min(old));
    Ok(true)
}

/// Clears what is stored behind the first `kept` bytes; `false`, and nothing has changed, if there
/// is no room for `size` bytes.
///
/// Errors: the attributes are damaged; nothing has changed then.
fn clear(
    slot: &mut InodeEdit<'_>,
    rules: XattrRules,
    kept: usize,
    size: u64,
) -> Result<bool, XattrError> {
    let space = slot.xattr_space().unwrap_or_default();
    let spot = survey_body(space, rules, index::SYSTEM, DATA)?;
    let Some(OldValue::Here { offset, size: len }) = spot.old() else {
        return Err(XattrError::BadEaInode);
    };
    let room = (HEAD_SIZE as u64).saturating_add(len.into());
    if size > room {
        return Ok(false);
    }
    let start = usize::from(offset).saturating_add(MAGIC_LEN);
    let end = start.saturating_add(len as usize);
    let from = start
        .saturating_add(kept.saturating_sub(HEAD_SIZE))
        .min(end);
    if let Some(tail) = space.get_mut(from..end) {
        tail.fill(0);
    }
    if let Some(tail) = slot.i_block().get_mut(kept..) {
        tail.fill(0);
    }
    Ok(true)
}
