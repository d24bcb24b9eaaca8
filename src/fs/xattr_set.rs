// SPDX-License-Identifier: GPL-2.0

//! Setting and removing extended attributes.
//!
//! `engine::xattr_edit` decides where an attribute goes; this carries it out. The order of its steps
//! is such that what can fail for want of space, or because of damage, comes before the first
//! change that others could see:
//!
//! 1. the plan, for which the block is only read if the answer depends on it;
//! 2. the EA inodes: the one that the attribute refers to now, and the one that holds the new value,
//!    which is found or made, and refused again if one of the next steps fails;
//! 3. the attribute block: changed in its place if the inode is its only owner, else a new one, or
//!    one that is there already and is equal ([`super::xattr_block`]);
//! 4. what the inode gives up: its former block, the reference to its former value. From here on
//!    only a journal that has been given up, or damage, can be in the way, and if it is, the rest is
//!    done all the same;
//! 5. the body, and the inode, in one change of the slot.
//!
//! Locking: i_rwsem of the inode exclusively, as the VFS has it; a handle; xattr_sem for writing,
//! from the plan to the end.

use super::{
    ea_inode::{self, Value},
    fault::Fault,
    handle,
    inode::XattrPlaces,
    inode_write::{self, Prepared},
    super_image,
    tx::Handle,
    xattr_block,
    xattr_release::Dropped,
    xattr_sharing as sharing, Sb, VfsInode,
};
use crate::{
    engine::{
        credits::Op,
        xattr_edit::{
            other_ea_inodes, plan, plan_in_body, Block, BlockFate, Body, Outcome, Plan, Quick,
            Refused, Request,
        },
    },
    linux::{buffer::Buffer, inode_edit::InodeEdit as _, jbd2::NoHandle, rwsem::WriteGuard},
    ondisk::{
        features::{Compat, Incompat},
        inode::BASE_SIZE,
        raw::copy_to_start,
        superblock::Superblock,
        xattr::{verify_inode, EaKind, XattrArea, XattrRules, MAGIC},
        xattr_block::ea_references,
        xattr_edit::NewValue,
        FsBlock,
    },
};
use kernel::prelude::*;

/// Why an attribute could not be set.
pub(super) enum Failure {
    /// There is no room where attributes go, and no commit will bring any.
    NoRoom,
    /// Anything else.
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::Fault(e.into())
    }
}

impl Failure {
    /// The fault that an operation ends with.
    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::NoRoom => ENOSPC.into(),
            Self::Fault(e) => e,
        }
    }
}

fn refused(why: Refused) -> Failure {
    Failure::Fault(match why {
        Refused::NameTooLong => ERANGE.into(),
        Refused::BadName => EINVAL.into(),
        Refused::Exists => EEXIST.into(),
        Refused::Missing => ENODATA.into(),
        Refused::NoSpace => return Failure::NoRoom,
        Refused::Corrupt(e) => e.into(),
    })
}

/// What becomes of the inode with an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// It has been changed.
    Changed,
    /// It has been changed, and gets this mode: also if the attribute is as it should be already.
    Mode(u16),
    /// Nobody is to see a difference.
    Quiet,
    /// It is being deleted: it does not come to share a block any more, which would change counts of
    /// all EA inodes that are named there.
    Ending,
}

impl Touch {
    fn apply(self, inode: &VfsInode) {
        if let Self::Mode(mode) = self {
            inode.set_mode(mode);
        }
        if matches!(self, Self::Changed | Self::Mode(_)) {
            inode.touch_ctime();
            inode.inc_version();
        }
    }
}

/// Does what `request` says to an attribute of `inode`, and sets its `mode` if there is one, in one
/// transaction. May sleep.
///
/// Errors: EEXIST, ENODATA as the request says; ERANGE for a name that is too long; ENOSPC; EUCLEAN
/// (reported), EIO, EROFS, ENOMEM. But for an I/O error on the way nothing has changed then.
pub(crate) fn set(inode: &VfsInode, request: &Request<'_>, mode: Option<u16>) -> Result {
    let sb = inode.super_block();
    let mut tries = 0;
    loop {
        let e = match set_once(inode, request, mode) {
            Ok(()) => return Ok(()),
            Err(Failure::NoRoom) => return Err(ENOSPC),
            Err(Failure::Fault(e)) => e.report_inode(inode, "setxattr"),
        };
        if e != ENOSPC || !handle::may_retry(sb, &mut tries) {
            return Err(e);
        }
    }
}

fn set_once(inode: &VfsInode, request: &Request<'_>, mode: Option<u16>) -> Result<(), Failure> {
    let sb = inode.super_block();
    handle::may_write(sb)?;
    let mut outside = NoHandle::here()?;
    let len = request.value.map_or(0, <[u8]>::len);
    let op = Op::SetXattr {
        len: u32::try_from(len).unwrap_or(u32::MAX),
        others: values_in_block(inode)?,
    };
    let mut dropped = Dropped::new();
    let handle = handle::begin(sb, &mut outside, op)?;
    let touch = mode.map_or(Touch::Changed, Touch::Mode);
    let applied = apply(&handle, inode, request, touch, &mut dropped);
    let stopped = handle.stop();
    dropped.put(&outside);
    applied?;
    Ok(stopped?)
}

/// How many values of the attribute block are in EA inodes. i_rwsem keeps it as it is.
fn values_in_block(inode: &VfsInode) -> Result<u32, Fault> {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    if !geo.has(Incompat::EA_INODE) {
        return Ok(0);
    }
    let places = inode.data().xattr_sem.read();
    let Some(number) = places.block else {
        return Ok(0);
    };
    let rules = XattrRules::new(geo);
    let block = xattr_block::read(sb, number, rules)?;
    let area = XattrArea::in_block(&block, rules)?;
    Ok(ea_references(&area).fold(0u32, |count, _| count.saturating_add(1)))
}

/// As [`set`], in `handle`, which has the credits for it. xattr_sem is not held.
pub(super) fn apply(
    handle: &Handle<'_>,
    inode: &VfsInode,
    request: &Request<'_>,
    touch: Touch,
    dropped: &mut Dropped,
) -> Result<(), Failure> {
    let sb = inode.super_block();
    let rules = XattrRules::new(&sb.info().geometry);
    let slot = inode_write::prepare(handle, inode)?;
    let mut places = inode.data().xattr_sem.write();
    let body = body(&slot, &places, rules)?;
    let (has_block, size) = (places.block.is_some(), sb.device().block_size());
    let change = match plan_in_body(request, body, has_block, rules, size).map_err(refused)? {
        Quick::Change(change) => change,
        Quick::Unchanged => return Ok(leave_alone(handle, slot, inode, &places, touch)?),
        Quick::Ask => return apply_anywhere(slot, handle, inode, request, touch, dropped, places),
    };
    if inode.is_sync() {
        handle.sync();
    }
    use_ext_attr(sb, handle)?;
    touch.apply(inode);
    let mut in_body = places.in_body;
    let stored = slot.store_stamped_with(&places, |edit| {
        if let Some(space) = edit.xattr_space() {
            change.apply(request, space);
            in_body = is_in_use(space);
        }
    });
    places.in_body = in_body;
    Ok(stored?)
}

/// Whether there are attributes in the space behind the extra fields.
fn is_in_use(space: &[u8]) -> bool {
    space.first_chunk() == Some(&MAGIC.to_le_bytes())
}

/// The attribute is as it should be; the mode may not be.
fn leave_alone(
    handle: &Handle<'_>,
    slot: Prepared<'_, '_>,
    inode: &VfsInode,
    places: &XattrPlaces,
    touch: Touch,
) -> Result {
    if let Touch::Mode(_) = touch {
        if inode.is_sync() {
            handle.sync();
        }
        touch.apply(inode);
        slot.store_attributed(places)?;
    }
    Ok(())
}

/// The rest of [`apply`], for attributes that are not in the body alone.
#[cold]
fn apply_anywhere(
    slot: Prepared<'_, '_>,
    handle: &Handle<'_>,
    inode: &VfsInode,
    request: &Request<'_>,
    touch: Touch,
    dropped: &mut Dropped,
    mut places: WriteGuard<'_, XattrPlaces>,
) -> Result<(), Failure> {
    let (plan, block) = decide(inode, &slot, &places, request)?;
    let Some(plan) = plan else {
        return Ok(leave_alone(handle, slot, inode, &places, touch)?);
    };
    if inode.is_sync() {
        handle.sync();
    }
    use_ext_attr(inode.super_block(), handle)?;
    Change {
        handle,
        inode,
        request,
        plan,
        touch,
    }
    .carry_out(slot, &mut places, block, dropped)
}

/// The plan, `None` if there is nothing to do; and the block, if it is concerned.
fn decide<'a>(
    inode: &'a VfsInode,
    slot: &Prepared<'_, '_>,
    places: &XattrPlaces,
    request: &Request<'_>,
) -> Result<(Option<Plan>, Option<Buffer<'a>>), Failure> {
    let sb = inode.super_block();
    let rules = XattrRules::new(&sb.info().geometry);
    let body = body(slot, places, rules)?;
    let ask = |block: Block<'_>| {
        let outcome = plan(request, body, block, rules, sb.device().block_size());
        outcome.map_err(refused)
    };
    let unread = places.block.map_or(Block::None, |_| Block::Unread);
    let (outcome, block) = match (ask(unread)?, places.block) {
        (Outcome::NeedBlock, Some(number)) => {
            let block = xattr_block::read(sb, number, rules)?;
            let outcome = sharing::of(sb)?.decide(&block, || {
                let outcome = ask(Block::Read(&block))?;
                Ok::<_, Failure>((outcome, takes_over(&outcome)))
            })?;
            (outcome, Some(block))
        }
        (outcome, _) => (outcome, None),
    };
    match outcome {
        Outcome::Change(plan) => Ok((Some(plan), block)),
        Outcome::Unchanged => Ok((None, None)),
        // It has been read.
        Outcome::NeedBlock => Err(EUCLEAN.into()),
    }
}

/// Whether the block is the inode's alone and will not be as it was.
fn takes_over(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Change(plan) => matches!(plan.block(), BlockFate::Change | BlockFate::Free),
        _ => false,
    }
}

/// The space behind the extra fields, verified if there is anything in it.
fn body<'a>(
    slot: &'a Prepared<'_, '_>,
    places: &XattrPlaces,
    rules: XattrRules,
) -> Result<Body<'a>, Fault> {
    let start = BASE_SIZE.saturating_add(places.extra_isize.into());
    Ok(match slot.bytes().get(start..) {
        // Without extra fields there is no saying where the space begins.
        Some(space) if places.extra_isize != 0 && space.len() >= 4 => {
            if places.in_body {
                verify_inode(space, rules)?;
                Body::Read(space)
            } else {
                Body::Blank(space.len())
            }
        }
        _ => Body::None,
    })
}

/// Sees to it that the superblock says that there are attributes.
///
/// Errors: EROFS, EIO.
pub(super) fn use_ext_attr(sb: &Sb, handle: &Handle<'_>) -> Result {
    if sb.info().geometry.has(Compat::EXT_ATTR) {
        return Ok(());
    }
    super_image::edit(sb, handle, Superblock::add_ext_attr)
}

/// A plan that is being carried out.
struct Change<'a, 'j> {
    handle: &'a Handle<'j>,
    inode: &'a VfsInode,
    request: &'a Request<'a>,
    plan: Plan,
    touch: Touch,
}

impl Change<'_, '_> {
    fn carry_out(
        &self,
        slot: Prepared<'_, '_>,
        places: &mut XattrPlaces,
        block: Option<Buffer<'_>>,
        dropped: &mut Dropped,
    ) -> Result<(), Failure> {
        let Self {
            handle,
            inode,
            request,
            plan,
            touch,
        } = *self;
        let sb = inode.super_block();
        let bytes = request.value.unwrap_or_default();

        let old = match plan.old_ea_inode() {
            Some(old) => Some((ea_inode::open(inode, &old.inode, dropped)?, old)),
            None => None,
        };
        let new = if plan.value_in_inode() {
            Some(ea_inode::find_or_make(handle, inode, bytes, dropped)?)
        } else {
            None
        };
        let value = new.as_ref().map_or(NewValue::Here(bytes), Value::as_new);
        let fate = self.change_block(places.block, block, &value, new.as_ref(), dropped);
        let (now, mut late) = match fate {
            Ok(fate) => fate,
            Err(e) => {
                if let Some(new) = new {
                    let _ = new.give_up(handle);
                }
                return Err(e.into());
            }
        };

        // From here on everything is done, whatever happens.
        let mut more = 0;
        let mut less = 0;
        if let Some(new) = new {
            more = ea_inode::charge(sb, new.size());
        }
        if let Some((old, what)) = old {
            if old.kind == EaKind::Hashed {
                less = ea_inode::charge(sb, what.inode.size);
            }
            if what.uncount {
                late = late.and(old.drop_reference(handle));
            }
        }
        match (places.block, now) {
            (None, Some(_)) => more = more.saturating_add(xattr_block::charge(sb)),
            (Some(_), None) => less = less.saturating_add(xattr_block::charge(sb)),
            _ => {}
        }
        if more != less {
            inode.update_sectors(|old| old.saturating_add(more).saturating_sub(less));
        }
        touch.apply(inode);
        places.block = now;
        let mut in_body = places.in_body;
        let stored = slot.store_attributed_with(places, |edit| {
            if !plan.changes_body() {
                return;
            }
            if let Some(space) = edit.xattr_space() {
                plan.apply_body(request, &value, space);
                in_body = is_in_use(space);
            }
        });
        places.in_body = in_body;
        stored?;
        Ok(late?)
    }

    /// Carries out what the plan says of the block: the block that the inode has then. What fails
    /// in giving up its former one comes beside it.
    ///
    /// Errors: ENOSPC, damage, EIO, ENOMEM, EROFS; nothing has changed then.
    fn change_block(
        &self,
        had: Option<FsBlock>,
        block: Option<Buffer<'_>>,
        value: &NewValue<'_>,
        new: Option<&Value>,
        dropped: &mut Dropped,
    ) -> Result<(Option<FsBlock>, Result<(), Fault>), Fault> {
        let (handle, inode) = (self.handle, self.inode);
        let sb = inode.super_block();
        Ok(match (self.plan.block(), had, block) {
            (BlockFate::Change, Some(had), Some(block)) => {
                let (now, late) = self.change_in_place(had, block, value, dropped)?;
                (Some(now), late)
            }
            (BlockFate::New, ..) => {
                let (now, late) = self.make_block(&[], value, new, dropped)?;
                (Some(now), late)
            }
            (BlockFate::Copy, Some(had), Some(block)) => {
                let (now, late) = self.make_block(&block, value, new, dropped)?;
                drop(block);
                let left = xattr_block::leave(handle, inode, had, dropped);
                (Some(now), late.and(left))
            }
            (BlockFate::Leave, Some(had), block) => {
                drop(block);
                (None, xattr_block::leave(handle, inode, had, dropped))
            }
            (BlockFate::Free, Some(had), block) => {
                drop(block);
                // Its only reference, if it has one, is dropped with the old value.
                (None, xattr_block::free(handle, sb, had))
            }
            _ => (had, Ok(())),
        })
    }

    /// Changes the inode's own block. Should it be equal to another one then, the inode has that.
    fn change_in_place(
        &self,
        had: FsBlock,
        block: Buffer<'_>,
        value: &NewValue<'_>,
        dropped: &mut Dropped,
    ) -> Result<(FsBlock, Result<(), Fault>), Fault> {
        let (handle, inode) = (self.handle, self.inode);
        let sb = inode.super_block();
        xattr_block::change(handle, sb, block, |bytes| {
            self.plan.apply_block(self.request, value, bytes);
        })?;
        if self.touch == Touch::Ending {
            return Ok((had, Ok(())));
        }
        let Ok(block) = sb.device().read(had.get()) else {
            return Ok((had, Ok(())));
        };
        // An error would have shown in changing the block as well: the next one will.
        match xattr_block::share(handle, sb, &block, Some(had)) {
            Ok(Some(other)) => {
                let rules = XattrRules::new(&sb.info().geometry);
                xattr_block::drop_references(handle, inode, &block, rules, dropped);
                drop(block);
                Ok((other, xattr_block::free(handle, sb, had)))
            }
            _ => {
                sharing::of(sb)?.remember(&block);
                Ok((had, Ok(())))
            }
        }
    }

    /// A block with the attributes of `original` (shared, or empty if there was none) and the new
    /// one: one that is there, or another. `new` is what the new one refers to.
    fn make_block(
        &self,
        original: &[u8],
        value: &NewValue<'_>,
        new: Option<&Value>,
        dropped: &mut Dropped,
    ) -> Result<(FsBlock, Result<(), Fault>), Fault> {
        let (handle, inode) = (self.handle, self.inode);
        let sb = inode.super_block();
        let mut bytes = KVVec::from_elem(0u8, sb.block_size(), GFP_KERNEL).map_err(Error::from)?;
        copy_to_start(&mut bytes, original);
        self.plan.apply_block(self.request, value, &mut bytes);
        if let Some(other) = xattr_block::share(handle, sb, &bytes, None)? {
            // That one has its reference counted.
            let late = new.map_or(Ok(()), |new| new.give_up(handle));
            return Ok((other, late));
        }
        self.refer_to_others(original, dropped)?;
        match xattr_block::create(handle, inode, &bytes) {
            Ok(number) => Ok((number, Ok(()))),
            Err(e) => {
                self.forget_others(original, u32::MAX, dropped);
                Err(e)
            }
        }
    }

    /// Two blocks are going to name the other values of `original` that are in EA inodes: one
    /// reference more to each of them.
    fn refer_to_others(&self, original: &[u8], dropped: &mut Dropped) -> Result<(), Fault> {
        let rules = XattrRules::new(&self.inode.super_block().info().geometry);
        if !rules.ea_inode || original.is_empty() {
            return Ok(());
        }
        let area = XattrArea::in_block(original, rules)?;
        let mut done = 0u32;
        for other in other_ea_inodes(&area, self.request) {
            let counted = other.map_err(Fault::from).and_then(|other| {
                ea_inode::open(self.inode, &other.into(), dropped)?.add_reference(self.handle)
            });
            if let Err(e) = counted {
                self.forget_others(original, done, dropped);
                return Err(e);
            }
            done = done.saturating_add(1);
        }
        Ok(())
    }

    /// Undoes the first `most` steps of [`refer_to_others`](Self::refer_to_others).
    fn forget_others(&self, original: &[u8], most: u32, dropped: &mut Dropped) {
        let rules = XattrRules::new(&self.inode.super_block().info().geometry);
        let Ok(area) = XattrArea::in_block(original, rules) else {
            return;
        };
        let mut left = most;
        for other in other_ea_inodes(&area, self.request).flatten() {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(1);
            ea_inode::release(self.handle, self.inode, &other.into(), dropped);
        }
    }
}
