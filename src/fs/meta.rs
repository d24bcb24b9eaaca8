// SPDX-License-Identifier: GPL-2.0

//! Metadata blocks for the engine: read through the buffer cache, verified once per time in
//! memory.

use super::{fault::Fault, Sb};
use crate::{
    engine::source::BlockSource,
    linux::buffer::{Buffer, Device, Verified},
    ondisk::{bounds::BlockBounds, Corrupt, FsBlock},
};

use super::super_info::SuperInfo;

/// Blocks of one kind of metadata.
#[derive(Clone, Copy)]
pub(crate) struct Meta<'a> {
    device: Device<'a>,
    kind: Verified,
}

impl<'a> Meta<'a> {
    /// Blocks that are verified as `kind`.
    #[inline]
    pub(crate) fn new(sb: &'a Sb, kind: Verified) -> Self {
        Self {
            device: sb.device(),
            kind,
        }
    }

    /// The same, before there is a superblock.
    pub(crate) fn of_device(device: Device<'a>, kind: Verified) -> Self {
        Self { device, kind }
    }
}

impl<'a> BlockSource for Meta<'a> {
    type Block = Buffer<'a>;
    type Error = Fault;

    #[inline]
    fn read<V>(&self, block: FsBlock, verify: V) -> Result<Buffer<'a>, Fault>
    where
        V: FnOnce(&[u8]) -> Result<(), Corrupt>,
    {
        let buffer = self.device.read(block.get())?;
        if !buffer.is_verified(self.kind) {
            verify(&buffer)?;
            buffer.set_verified(self.kind);
        }
        Ok(buffer)
    }
}

/// Which blocks a file may refer to: inside the device and outside of the metadata zones
/// (`block_validity`, which is always on). The journal's own inode is in a zone by itself.
pub(crate) struct FileBounds<'a> {
    info: &'a SuperInfo,
    ino: u64,
}

impl<'a> FileBounds<'a> {
    /// The bounds for blocks of inode `ino`.
    #[inline]
    pub(crate) fn new(info: &'a SuperInfo, ino: u64) -> Self {
        Self { info, ino }
    }
}

impl BlockBounds for FileBounds<'_> {
    #[inline]
    fn check_run(&self, first: u64, len: u32) -> Option<FsBlock> {
        let run = BlockBounds::check_run(&self.info.geometry, first, len)?;
        self.info.allows(self.ino, run, len).then_some(run)
    }
}
