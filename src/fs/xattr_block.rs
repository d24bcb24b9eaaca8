// SPDX-License-Identifier: GPL-2.0

//! Attribute blocks: read, changed, shared, made and given up.
//!
//! Who may do what to a block that several inodes share is said in [`super::xattr_sharing`]. Here
//! it is done, one block at a time: no function needs two blocks' locks. An inode that gets another
//! block first has the new one and then leaves the old one ([`leave`]), when it turns out whether
//! that has other owners.
//!
//! Each owner is charged for its block in `i_blocks`, as if nobody shared it.

use super::{
    alloc::Allocation,
    ea_inode,
    fault::Fault,
    inode::number,
    meta::Meta,
    tx::{Handle, Tx},
    xattr_release::Dropped,
    xattr_sharing::{self as sharing, Sharing},
    Sb, VfsInode,
};
use crate::{
    engine::{
        alloc::goal,
        change::{Blocks as _, Transaction as _, Was},
        source::BlockSource as _,
    },
    linux::{
        buffer::{Buffer, Verified},
        mbcache::MbEntry,
    },
    ondisk::{
        raw::copy_to_start,
        seal::Seal,
        xattr::{verify_block, XattrArea, XattrRules},
        xattr_block::{self, ea_references, GivenUp},
        FsBlock,
    },
};
use kernel::prelude::*;

/// How many entries of the cache are looked at for an equal block: others with the same hash may
/// be in the way, and the cache may change meanwhile.
const TRIES: u32 = 64;

/// Reads attribute block `number`, verified. The xattr_sem of an owner is held, or an entry of the
/// cache that leads to it. May sleep.
///
/// Errors: damage, EIO.
pub(crate) fn read(sb: &Sb, number: FsBlock, rules: XattrRules) -> Result<Buffer<'_>, Fault> {
    let block = sb.device().read(number.get())?;
    if block.is_verified(Verified::Xattr) {
        return Ok(block);
    }
    drop(block);
    let seed = sb.info().geometry.csum_seed();
    let verified = || {
        Meta::new(sb, Verified::Xattr).read(number, |block| {
            Ok(verify_block(block, number, rules, seed)?)
        })
    };
    let Some(sharing) = sb.info().sharing.as_ref() else {
        return verified();
    };
    let block = {
        let _lock = sharing.lock(number.get());
        verified()?
    };
    sharing.remember(&block);
    Ok(block)
}

/// What an owner is charged for its block, in 512-byte sectors.
pub(crate) fn charge(sb: &Sb) -> u64 {
    let geo = &sb.info().geometry;
    let bits = geo
        .block_bits()
        .saturating_add(geo.cluster_bits())
        .saturating_sub(9);
    1u64.wrapping_shl(bits)
}

/// Changes a block by `f`: one that is the inode's alone, or the number of owners under its lock.
///
/// Errors: EROFS, EIO, ENOMEM; nothing has changed then.
pub(crate) fn change(
    handle: &Handle<'_>,
    sb: &Sb,
    block: Buffer<'_>,
    f: impl FnOnce(&mut [u8]),
) -> Result<(), Fault> {
    let number = FsBlock::new(block.block());
    let tx = Tx::new(handle, sb.device(), Verified::Xattr);
    let mut edit = tx.edit(block)?;
    f(&mut edit);
    tx.dirty(edit, seal(sb, number));
    Ok(())
}

fn seal(sb: &Sb, number: FsBlock) -> Seal {
    Seal::xattr(sb.info().geometry.csum_seed(), number)
}

/// Looks for a block that is equal to `bytes`, attributes that the inode at hand is to have, and
/// makes that inode one of its owners. `own` is a block that is not meant: the inode has it. May
/// sleep.
///
/// Errors: EROFS, EIO; nothing has changed then.
pub(crate) fn share(
    handle: &Handle<'_>,
    sb: &Sb,
    bytes: &[u8],
    own: Option<FsBlock>,
) -> Result<Option<FsBlock>, Fault> {
    let sharing = sharing::of(sb)?;
    let rules = XattrRules::new(&sb.info().geometry);
    let Ok(hash @ 1..) = xattr_block::hash(bytes) else {
        return Ok(None);
    };
    let mut next = sharing.find_block(hash);
    for _ in 0..TRIES {
        let Some(entry) = next else {
            break;
        };
        let number = FsBlock::new(entry.value());
        if own != Some(number) {
            // One that cannot be read is none; its owners will hear of it.
            if let Ok(block) = read(sb, number, rules) {
                let equal = xattr_block::hash(&block) == Ok(hash)
                    && xattr_block::equal(bytes, &block).unwrap_or(false);
                if equal && join(handle, sb, sharing, block, &entry)? {
                    return Ok(Some(number));
                }
            }
        }
        next = entry.next();
    }
    Ok(None)
}

/// Counts one more owner of `block`, which `entry` leads to; says whether there was room for it.
fn join(
    handle: &Handle<'_>,
    sb: &Sb,
    sharing: &Sharing,
    block: Buffer<'_>,
    entry: &MbEntry<'_>,
) -> Result<bool, Fault> {
    let _lock = sharing.lock(block.block());
    if !xattr_block::can_share(&block) {
        entry.set_reusable(false);
        return Ok(false);
    }
    change(handle, sb, block, |bytes| {
        xattr_block::add_owner(bytes);
        entry.set_reusable(xattr_block::can_share(bytes));
    })?;
    entry.touch();
    Ok(true)
}

/// Makes a block with these contents for `inode`. May sleep.
///
/// Errors: ENOSPC, EIO, ENOMEM, EROFS; nothing has changed then.
pub(crate) fn create(
    handle: &Handle<'_>,
    inode: &VfsInode,
    bytes: &[u8],
) -> Result<FsBlock, Fault> {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    let group = geo.inode_location(number(inode)?).group;
    let allocation = Allocation::new(sb, handle);
    let at = allocation.allocate(goal::home(geo, group, false, 0))?;
    let tx = Tx::new(handle, sb.device(), Verified::Xattr);
    let mut edit = tx.create(at).inspect_err(|_| allocation.give_back(at))?;
    copy_to_start(&mut edit, bytes);
    tx.dirty(edit, seal(sb, at));
    let block = sb.device().read(at.get())?;
    sharing::of(sb)?.remember(&block);
    Ok(at)
}

/// Frees a block that is its owner's alone and that no cache leads to (see
/// [`Sharing::decide`]). What it refers to has been dealt with. No buffer of it is held. May sleep.
///
/// Errors: EIO, damage of the bitmap; EROFS.
pub(crate) fn free(handle: &Handle<'_>, sb: &Sb, number: FsBlock) -> Result<(), Fault> {
    let _ = Allocation::new(sb, handle).free(number, 1, Was::Metadata)?;
    Ok(())
}

/// `inode` gives up block `number`: it has one owner less, or is freed, with one reference to each
/// EA inode that it names. The xattr_sem of `inode` is held for writing. May sleep.
///
/// Errors: damage, EIO, EROFS.
pub(crate) fn leave(
    handle: &Handle<'_>,
    inode: &VfsInode,
    number: FsBlock,
    dropped: &mut Dropped,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    let rules = XattrRules::new(&sb.info().geometry);
    let block = read(sb, number, rules)?;
    if !leave_to_others(handle, sb, &block)? {
        drop_references(handle, inode, &block, rules, dropped);
        drop(block);
        free(handle, sb, number)?;
    }
    Ok(())
}

/// The part of [`leave`] for a block that others have as well, which has one owner less then; `false`
/// if nobody else has it. Then it is the inode's alone, and nobody can come to share it.
///
/// Errors: damage, EIO, EROFS; nothing has changed then.
pub(crate) fn leave_to_others(
    handle: &Handle<'_>,
    sb: &Sb,
    block: &Buffer<'_>,
) -> Result<bool, Fault> {
    let sharing = sharing::of(sb)?;
    sharing.decide(block, || {
        let shared = xattr_block::give_up(block)? == GivenUp::Shared;
        if shared {
            let again = sb.device().read(block.block())?;
            change(handle, sb, again, xattr_block::drop_owner)?;
            sharing.has_room(block);
        }
        Ok::<_, Fault>((shared, !shared))
    })
}

/// One reference less to each EA inode that `block`, which is going to be freed, names.
pub(crate) fn drop_references(
    handle: &Handle<'_>,
    inode: &VfsInode,
    block: &[u8],
    rules: XattrRules,
    dropped: &mut Dropped,
) {
    if !rules.ea_inode {
        return;
    }
    let Ok(area) = XattrArea::in_block(block, rules) else {
        return;
    };
    for reference in ea_references(&area).flatten() {
        ea_inode::release(handle, inode, &reference.into(), dropped);
    }
}
