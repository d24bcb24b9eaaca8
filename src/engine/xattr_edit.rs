// SPDX-License-Identifier: GPL-2.0

//! Setting and removing extended attributes: where the value goes.
//!
//! A value is put into the inode's body if it fits there, else into the attribute block, else,
//! with the `ea_inode` feature, into an inode of its own, whose entry goes into the body or the
//! block in turn. Large values take the last way at once. An attribute that grows out of one
//! place moves to the other. The order is C ext4's, so that both make the same images.
//!
//! [`plan`] decides ([`plan_in_body`] where nothing but the body is concerned), reading the two
//! places only; [`Plan::apply_body`] and [`Plan::apply_block`]
//! carry it out on the same bytes and cannot fail. Between them the caller does what can fail:
//!
//! 1. If [`Plan::value_in_inode`]: finds or makes an EA inode with the value, and counts the new
//!    reference to it (`ea_inode::add_reference`).
//! 2. If [`Plan::old_ea_inode`] says so: checks that EA inode and counts one reference less.
//! 3. According to [`Plan::block`]: takes write access to the block, or to a new one. For a copy,
//!    which the others keep the original of: counts one more reference to each EA inode of
//!    [`other_ea_inodes`], as two blocks name it then; and counts one owner less in the original
//!    (`xattr_block::drop_owner`).
//!
//! The owner is charged for its values in EA inodes, in quota and in `i_blocks`, as if they were
//! its own and nobody else's: the size rounded up to clusters, for the new value and, in the other
//! direction, for the old one (not for EA inodes that Lustre made).
//!
//! A block that will be new, or changed, may turn out equal to one that is there already. To use
//! that one instead, the caller applies the plan to a buffer of its own, looks for the hash
//! (`xattr_block::hash`) and an equal block that can be shared, and if it finds one adds an owner
//! to it and gives up its own (`xattr_block::give_up`).
//!
//! The second part of inline data (`system.data`) does not go through here: it stays in the body,
//! and who writes inline data uses `ondisk::xattr_edit` for it.
//!
//! Locking: the inode's attribute lock, exclusively, from before [`plan`] to the end.

use crate::ondisk::ea_inode::EaReference;
use crate::ondisk::xattr::{XattrArea, XattrError, XattrRules, XattrValue};
use crate::ondisk::xattr_block;
use crate::ondisk::xattr_edit::{
    put_block, put_body, remove_block, remove_body, survey_block, survey_body, NewValue,
    OldEaInode, OldValue, Spot, NAME_MAX,
};

/// Whether the attribute may, or must, exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Either is fine.
    Any,
    /// It must not exist (XATTR_CREATE).
    Forbidden,
    /// It must exist (XATTR_REPLACE).
    Required,
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Name index.
    pub index: u8,
    /// The name behind the prefix that the index stands for.
    pub name: &'a [u8],
    /// The value, or `None` to remove the attribute.
    pub value: Option<&'a [u8]>,
    /// Whether it may exist already.
    pub existing: Existing,
    /// Whether the value must not be in the inode's body, to make room there ([`to_move_out`]).
    pub outside: bool,
}

/// What follows the inode's extra fields.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// No space for attributes.
    None,
    /// So many bytes, which are not known to be anything: there are no attributes in them.
    Blank(usize),
    /// These bytes: attributes, if they begin with the magic number.
    Read(&'a [u8]),
}

/// The inode's attribute block.
#[derive(Clone, Copy, Debug)]
pub enum Block<'a> {
    /// There is none.
    None,
    /// There is one, which the caller would rather not read.
    Unread,
    /// Its bytes, verified.
    Read(&'a [u8]),
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The name is longer than 255 bytes: ERANGE.
    NameTooLong,
    /// The name has a NUL, or the index is 0: EINVAL.
    BadName,
    /// The attribute must not exist and does: EEXIST.
    Exists,
    /// The attribute must exist and does not: ENODATA.
    Missing,
    /// There is no room: ENOSPC.
    NoSpace,
    /// One of the places is damaged.
    Corrupt(XattrError),
}

impl<'a> Body<'a> {
    /// From where offsets of values count.
    #[inline]
    fn values(self) -> Option<&'a [u8]> {
        match self {
            Self::Read(space) => space.get(4..),
            Self::None | Self::Blank(_) => None,
        }
    }
}

impl From<XattrError> for Refused {
    #[inline]
    fn from(e: XattrError) -> Self {
        Self::Corrupt(e)
    }
}

/// The answer of [`plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The attribute is as it should be already.
    Unchanged,
    /// The block must be read for an answer.
    NeedBlock,
    /// This is to be done.
    Change(Plan),
}

/// What happens to one of the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Put(Spot),
    Remove(Spot),
}

/// What happens to the attribute block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFate {
    /// It stays as it is, or there is none.
    Keep,
    /// It is changed. It is nobody else's.
    Change,
    /// The inode gets a changed copy, in a new block; the original has one owner less.
    Copy,
    /// The inode gets its first block.
    New,
    /// The inode gives up its block, which holds nothing else: it is freed, as it is. What its
    /// only entry refers to is in [`Plan::old_ea_inode`].
    Free,
    /// The inode gives up its block, which others go on sharing: it has one owner less.
    Leave,
}

/// An EA inode that the attribute refers to no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The reference.
    pub inode: OldEaInode,
    /// Whether one reference less is to be counted: not if a shared block keeps it. (The owner is
    /// charged for it no more in any case.)
    pub uncount: bool,
}

/// What is to be done; see the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    body: Step,
    in_block: Step,
    fate: BlockFate,
    in_inode: bool,
    dropped: Option<Dropped>,
}

/// A change of the body, which concerns nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InBody(Spot);

/// The answer of [`plan_in_body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quick {
    /// The attribute is as it should be already.
    Unchanged,
    /// This is to be done, and nothing else.
    Change(InBody),
    /// It is not so simple: [`plan`] has the answer.
    Ask,
}

/// As [`plan`], for what is usual, at less expense: an attribute that is in the body, or comes there,
/// with its value. `has_block` is whether there is a block, which might have the attribute.
#[inline]
pub fn plan_in_body(
    request: &Request<'_>,
    body: Body<'_>,
    has_block: bool,
    rules: XattrRules,
    block_size: u32,
) -> Result<Quick, Refused> {
    check_name(request)?;
    let (index, name) = (request.index, request.name);
    let spot = match body {
        Body::None => return Ok(Quick::Ask),
        Body::Blank(len) => Spot::in_blank_body(len),
        Body::Read(space) => survey_body(space, rules, index, name)?,
    };
    if spot.is_new() {
        if has_block {
            return Ok(Quick::Ask);
        }
        if request.existing == Existing::Required {
            return Err(Refused::Missing);
        }
    } else if request.existing == Existing::Forbidden {
        return Err(Refused::Exists);
    }
    if request.outside || matches!(spot.old(), Some(OldValue::EaInode(_))) {
        return Ok(Quick::Ask);
    }
    let Some(value) = request.value else {
        return Ok(if spot.is_new() {
            Quick::Unchanged
        } else {
            Quick::Change(InBody(spot))
        });
    };
    if is_same(&Some(spot), body.values(), value) {
        return Ok(Quick::Unchanged);
    }
    let elsewhere = rules.ea_inode && value.len() > large(block_size);
    Ok(if !elsewhere && spot.fits(name.len(), value.len()) {
        Quick::Change(InBody(spot))
    } else {
        Quick::Ask
    })
}

impl InBody {
    /// Changes the body: `space` is what was planned with, `request` the same.
    #[inline]
    pub fn apply(&self, request: &Request<'_>, space: &mut [u8]) {
        match request.value {
            Some(value) => {
                let value = NewValue::Here(value);
                put_body(space, &self.0, request.index, request.name, &value);
            }
            None => remove_body(space, &self.0),
        }
    }
}

/// Checks what does not depend on what is there.
#[inline]
fn check_name(request: &Request<'_>) -> Result<(), Refused> {
    if request.name.len() > NAME_MAX {
        return Err(Refused::NameTooLong);
    }
    // Index and name of nothing would look like the end of the entries.
    if request.index == 0 || !request.name.iter().all(|&byte| byte != 0) {
        return Err(Refused::BadName);
    }
    Ok(())
}

/// Decides how to carry out `request`. `block_size` is in bytes.
///
/// [`Outcome::NeedBlock`] comes only for a block that is [`Block::Unread`].
pub fn plan(
    request: &Request<'_>,
    body: Body<'_>,
    block: Block<'_>,
    rules: XattrRules,
    block_size: u32,
) -> Result<Outcome, Refused> {
    check_name(request)?;
    let (index, name) = (request.index, request.name);
    let mut places = Places {
        body: None,
        block: None,
        bytes: None,
    };
    places.body = match body {
        Body::None => None,
        Body::Blank(len) => Some(Spot::in_blank_body(len)),
        Body::Read(space) => Some(survey_body(space, rules, index, name)?),
    };
    let body_has = has(&places.body);
    match block {
        Block::Read(bytes) => {
            places.block = Some(survey_block(bytes, rules, index, name)?);
            places.bytes = Some(bytes);
        }
        Block::Unread if !body_has => return Ok(Outcome::NeedBlock),
        _ => (),
    }
    if body_has || has(&places.block) {
        if request.existing == Existing::Forbidden {
            return Err(Refused::Exists);
        }
    } else if request.existing == Existing::Required {
        return Err(Refused::Missing);
    } else if request.value.is_none() {
        return Ok(Outcome::Unchanged);
    }
    let Some(value) = request.value else {
        // From the body, if it is in both: as it was found.
        return if body_has {
            places.finish(Act::Remove, Act::Keep, false)
        } else {
            places.finish(Act::Keep, Act::Remove, false)
        };
    };
    let stays = !request.outside;
    if (stays && is_same(&places.body, body.values(), value))
        || (!body_has && is_same(&places.block, places.bytes, value))
    {
        return Ok(Outcome::Unchanged);
    }
    let fits = |spot: &Option<Spot>, size| spot.is_some_and(|spot| spot.fits(name.len(), size));
    let mut in_inode = rules.ea_inode && value.len() > large(block_size);
    loop {
        let size = if in_inode { 0 } else { value.len() };
        if stays && fits(&places.body, size) {
            // What the block has of it, if that has been read, is superseded.
            return places.finish(Act::Put, Act::Remove, in_inode);
        }
        if matches!(block, Block::Unread) {
            return Ok(Outcome::NeedBlock);
        }
        if places.block.is_none() {
            places.block = Some(Spot::in_new_block(block_size));
        }
        // Room for names of attributes whose values are elsewhere is not used up by a value that
        // can be elsewhere.
        let reserve = if rules.ea_inode {
            block_size.wrapping_shr(3).min(1024) as usize
        } else {
            0
        };
        let leaves = |spot: Spot| spot.leaves(size, reserve);
        if fits(&places.block, size) && places.block.is_some_and(leaves) {
            return places.finish(Act::Remove, Act::Put, in_inode);
        }
        if in_inode || !rules.ea_inode || value.is_empty() {
            return Err(Refused::NoSpace);
        }
        in_inode = true;
    }
}

/// Whether the attribute exists.
fn has(spot: &Option<Spot>) -> bool {
    spot.as_ref().is_some_and(|spot| !spot.is_new())
}

/// A value above this goes into an inode of its own at once, if that is possible: what a block
/// holds with one name of up to 4 bytes.
const fn large(block_size: u32) -> usize {
    // Header 32, entry 20, end of the entries 4; sizes are padded to 4 before they are compared,
    // and so is this.
    (block_size as usize).saturating_sub(32 + 20 + 4)
}

/// What is known about both places.
struct Places<'a> {
    body: Option<Spot>,
    block: Option<Spot>,
    bytes: Option<&'a [u8]>,
}

/// What happens to one of the places; a removal, only if the attribute is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Keep,
    Put,
    Remove,
}

impl Places<'_> {
    /// Adds what follows for the block and for EA inodes.
    fn finish(&self, body: Act, block: Act, in_inode: bool) -> Result<Outcome, Refused> {
        let body = step(&self.body, body);
        let in_block = step(&self.block, block);
        let shared = match self.bytes {
            Some(bytes) if in_block != Step::Keep => xattr_block::owners(bytes)? > 1,
            _ => false,
        };
        let fate = match &in_block {
            Step::Keep => BlockFate::Keep,
            Step::Put(_) if self.bytes.is_none() => BlockFate::New,
            Step::Remove(spot) if spot.is_alone() => {
                if shared {
                    BlockFate::Leave
                } else {
                    BlockFate::Free
                }
            }
            _ if shared => BlockFate::Copy,
            _ => BlockFate::Change,
        };
        let dropped = match (old_ea_inode(&body), old_ea_inode(&in_block)) {
            (Some(inode), _) => Some(Dropped {
                inode,
                uncount: true,
            }),
            (None, Some(inode)) => Some(Dropped {
                inode,
                uncount: !shared,
            }),
            (None, None) => None,
        };
        Ok(Outcome::Change(Plan {
            body,
            in_block,
            fate,
            in_inode,
            dropped,
        }))
    }
}

fn step(spot: &Option<Spot>, act: Act) -> Step {
    match (spot, act) {
        (Some(spot), Act::Put) => Step::Put(*spot),
        (Some(spot), Act::Remove) if !spot.is_new() => Step::Remove(*spot),
        _ => Step::Keep,
    }
}

fn old_ea_inode(step: &Step) -> Option<OldEaInode> {
    match step {
        Step::Put(spot) | Step::Remove(spot) => match spot.old() {
            Some(OldValue::EaInode(inode)) => Some(inode),
            _ => None,
        },
        Step::Keep => None,
    }
}

/// Whether the attribute has this value beside the entries of an area.
fn is_same(spot: &Option<Spot>, bytes: Option<&[u8]>, value: &[u8]) -> bool {
    let Some(OldValue::Here { offset, size }) = spot.and_then(|spot| spot.old()) else {
        return false;
    };
    if size as usize != value.len() {
        return false;
    }
    let rest = bytes.unwrap_or_default().get(offset.into()..);
    size == 0 || rest.and_then(|rest| rest.get(..value.len())) == Some(value)
}

impl Plan {
    /// Whether the value goes into an inode of its own, which must exist before the plan is
    /// applied.
    #[inline]
    pub fn value_in_inode(&self) -> bool {
        self.in_inode
    }

    /// The EA inode that held the value until now.
    #[inline]
    pub fn old_ea_inode(&self) -> Option<Dropped> {
        self.dropped
    }

    /// Whether the inode's body changes.
    #[inline]
    pub fn changes_body(&self) -> bool {
        self.body != Step::Keep
    }

    /// What happens to the block.
    #[inline]
    pub fn block(&self) -> BlockFate {
        self.fate
    }

    /// Changes the body: `space` is what was planned with. `value` is the request's, or the EA
    /// inode that holds it; for a removal it does not matter.
    pub fn apply_body(&self, request: &Request<'_>, value: &NewValue<'_>, space: &mut [u8]) {
        match &self.body {
            Step::Keep => (),
            Step::Put(spot) => put_body(space, spot, request.index, request.name, value),
            Step::Remove(spot) => remove_body(space, spot),
        }
    }

    /// Changes the block, or makes the new one. `block` holds the block that was planned with, a
    /// copy of it ([`BlockFate::Copy`]), or anything ([`BlockFate::New`]).
    pub fn apply_block(&self, request: &Request<'_>, value: &NewValue<'_>, block: &mut [u8]) {
        match self.fate {
            BlockFate::Keep | BlockFate::Free | BlockFate::Leave => return,
            BlockFate::New => xattr_block::init(block),
            BlockFate::Copy => xattr_block::own(block),
            BlockFate::Change => (),
        }
        match &self.in_block {
            Step::Keep => (),
            Step::Put(spot) => put_block(block, spot, request.index, request.name, value),
            Step::Remove(spot) => remove_block(block, spot),
        }
    }
}

/// The EA inodes that a block refers to with other attributes than that of the request.
pub fn other_ea_inodes<'a>(
    area: &XattrArea<'a>,
    request: &Request<'a>,
) -> impl Iterator<Item = Result<EaReference<'a>, XattrError>> {
    let (index, name) = (request.index, request.name);
    area.iter().filter_map(move |xattr| match xattr {
        Ok(xattr) if xattr.index == index && xattr.name == name => None,
        Ok(xattr) => match xattr.value {
            XattrValue::EaInode(reference) => Some(Ok(reference)),
            XattrValue::Here(_) => None,
        },
        Err(e) => Some(Err(e)),
    })
}

/// The attribute to move out of an inode's body (index and name), so that at least `missing`
/// bytes come free there: the smallest that is enough, else the largest; `None` if there is none
/// that can be moved. The second part of inline data stays, as it is part of the contents, and so
/// do entries whose values are in inodes of their own, which take little. The caller sets the
/// attribute again, with [`Request::outside`], and asks again if that was not enough.
///
/// Errors: the area is damaged.
pub fn to_move_out<'a>(
    area: &XattrArea<'a>,
    missing: usize,
) -> Result<Option<(u8, &'a [u8])>, XattrError> {
    use crate::ondisk::xattr::index;
    let mut best: Option<(usize, u8, &[u8])> = None;
    for xattr in area.iter() {
        let xattr = xattr?;
        if xattr.index == index::SYSTEM && xattr.name == b"data" {
            continue;
        }
        let value = match xattr.value {
            XattrValue::Here(value) => value.len(),
            XattrValue::EaInode(_) => continue,
        };
        let room = crate::ondisk::xattr_edit::room(xattr.name.len(), value);
        let better = match best {
            None => true,
            Some((other, ..)) if other >= missing => room >= missing && room < other,
            Some((other, ..)) => room > other,
        };
        if better {
            best = Some((room, xattr.index, xattr.name));
        }
    }
    Ok(best.map(|(_, index, name)| (index, name)))
}
