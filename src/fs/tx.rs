// SPDX-License-Identifier: GPL-2.0

//! Changing metadata blocks: the engine's [`Transaction`] on a handle of the journal's.
//!
//! With a journal, a block's checksum is computed once per commit: the block is left with the seed
//! in the checksum's place, and jbd2 has it settled (see `linux::jbd2`'s `Trigger`). Without one it
//! is computed with each change.

use super::{fault::Fault, meta::Meta, Rext4Fs};
use crate::{
    engine::{change::Transaction, source::BlockSource},
    linux::{
        buffer::{Buffer, Device, Verified},
        jbd2::{self, OfSuper, Owner, Settle, Trigger},
    },
    ondisk::{
        seal::{Seal, SealKind},
        Corrupt, FsBlock,
    },
};
use kernel::prelude::*;

/// A journal of rext4's.
pub(crate) type Log<'a> = jbd2::LoadedJournal<'a, OfSuper<Rext4Fs>>;

/// A handle of rext4's.
pub(crate) type Handle<'a> = jbd2::Handle<'a, OfSuper<Rext4Fs>>;

/// Blocks of one kind of metadata, read and changed in one handle.
///
/// `O` is whom the journal belongs to: of no concern here.
pub(crate) struct Tx<'a, O: Owner> {
    handle: &'a jbd2::Handle<'a, O>,
    device: Device<'a>,
    meta: Meta<'a>,
    kind: Verified,
}

impl<'a, O: Owner> Tx<'a, O> {
    /// Blocks of `device` that are verified as `kind`, changed in `handle`.
    #[inline]
    pub(crate) fn new(handle: &'a jbd2::Handle<'a, O>, device: Device<'a>, kind: Verified) -> Self {
        Self {
            handle,
            device,
            meta: Meta::of_device(device, kind),
            kind,
        }
    }
}

impl<'a, O: Owner> BlockSource for Tx<'a, O> {
    type Block = Buffer<'a>;
    type Error = Fault;

    #[inline]
    fn read<V>(&self, block: FsBlock, verify: V) -> Result<Buffer<'a>, Fault>
    where
        V: FnOnce(&[u8]) -> Result<(), Corrupt>,
    {
        self.meta.read(block, verify)
    }
}

impl<'a, O: Owner> Transaction for Tx<'a, O> {
    type Edit = jbd2::Edit<'a>;

    #[inline]
    fn edit(&self, block: Buffer<'a>) -> Result<jbd2::Edit<'a>, Fault> {
        Ok(self.handle.edit(block)?)
    }

    fn create(&self, at: FsBlock) -> Result<jbd2::Edit<'a>, Fault> {
        Ok(self.handle.create(self.device, at.get())?)
    }

    #[inline]
    fn dirty(&self, mut edit: jbd2::Edit<'a>, seal: Seal) {
        let trigger = apply(seal, self.handle.is_journalled(), &mut edit);
        edit.dirty_as(self.kind, trigger);
    }
}

/// Sees to the checksum of a block that has been changed: what is to settle it when it is
/// committed, if that is when.
pub(crate) fn apply(seal: Seal, journalled: bool, bytes: &mut [u8]) -> Option<Trigger> {
    let (kind, _) = seal.parts()?;
    if journalled {
        seal.defer(bytes);
        return Some(trigger(kind));
    }
    seal.close(bytes);
    None
}

/// What settles a block of a kind.
fn trigger(kind: SealKind) -> Trigger {
    match kind {
        SealKind::Extent => Trigger::of::<Extent>(),
        SealKind::DirLeaf => Trigger::of::<DirLeaf>(),
        SealKind::DxRoot => Trigger::of::<DxRoot>(),
        SealKind::DxNode => Trigger::of::<DxNode>(),
        SealKind::Xattr => Trigger::of::<Xattr>(),
        SealKind::Orphan => Trigger::of::<Orphan>(),
    }
}

macro_rules! settle {
    ($($kind:ident),*) => { $(
        struct $kind;

        impl Settle for $kind {
            fn settle(bytes: &mut [u8]) {
                SealKind::$kind.settle(bytes);
            }
        }
    )* };
}

settle!(Extent, DirLeaf, DxRoot, DxNode, Xattr, Orphan);
