// SPDX-License-Identifier: GPL-2.0

//! The orphan file: blocks full of slots, each with an orphan's number or 0.
//!
//! Where the blocks are is found out once, from the file's block map, and kept; the blocks
//! themselves are in the buffer cache, which has them most of the time. A block is verified when
//! it comes into memory.
//!
//! Each block counts its free slots. A task begins to look at a block that depends on its CPU, and
//! takes a free slot from the count before it looks for one in the block: so it goes past full
//! blocks without reading them, and a block in which it looks has one.
//!
//! Locking: a block's spinlock protects its slots. A block is verified under a mutex, and before
//! anybody changes it: to others its checksum is wrong from the first change to the commit.

use super::super::{
    fault::Fault,
    inode::iget,
    map,
    meta::Meta,
    tx::{self, Handle},
    vec, Sb, VfsInode,
};
use crate::{
    engine::{mapping::MapKind, source::BlockSource},
    linux::{
        buffer::{Buffer, Verified},
        jbd2::SlotKey,
        sched::relax,
        super_block::{message, Level},
    },
    ondisk::{
        features::Compat,
        inode::Purpose,
        orphan::{self, OrphanBlock, OrphanError},
        orphan_edit,
        seal::Seal,
        Corrupt, FileBlock, FsBlock, Ino,
    },
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::{
    cpu::CpuId,
    fmt, new_mutex, new_spinlock,
    prelude::*,
    sync::{Mutex, SpinLock},
};

/// How far apart tasks on neighbouring CPUs begin to look. As in C ext4: prime, and large enough
/// that they do not soon come to each other's blocks.
const SPREAD: u32 = 13;

/// The orphan file.
pub(super) struct File {
    blocks: KVec<Pin<KBox<Block>>>,
    /// Slots in a block, at least 1.
    slots: u32,
    /// What checksums of the blocks start from.
    seed: Option<u32>,
    /// Held while a block is verified.
    verifying: Pin<KBox<Mutex<()>>>,
}

/// A block of it.
#[pin_data]
struct Block {
    number: FsBlock,
    seal: Seal,
    /// How many slots are free. Never more than there are.
    free: AtomicU32,
    #[pin]
    slots: SpinLock<Slots>,
}

/// The right to change a block's slots.
struct Slots {
    /// All of the block.
    key: SlotKey,
    /// Where a free slot may well be.
    hint: u32,
}

impl File {
    /// The file of `sb`, if that has one.
    ///
    /// Errors (reported): EUCLEAN, EIO, ENOMEM.
    pub(super) fn load(sb: &Sb) -> Result<Self> {
        let geo = &sb.info().geometry;
        let mut file = Self {
            blocks: KVec::new(),
            slots: orphan::slots_per_block(geo).max(1),
            seed: None,
            verifying: KBox::pin_init(new_mutex!((), "rext4 orphan file"), GFP_KERNEL)?,
        };
        if !geo.has(Compat::ORPHAN_FILE) {
            return Ok(file);
        }
        let ino = geo.check_ino(sb.info().raw.orphan_file_inum());
        let inode = ino
            .ok_or(EUCLEAN)
            .and_then(|ino| iget(sb, ino, Purpose::Special));
        let inode = inode.inspect_err(|_| complain(sb, fmt!("get orphan inode failed\n")))?;
        let blocks = orphan::file_blocks(geo, inode.size()).map_err(|_| {
            complain(sb, fmt!("orphan file too big: {}\n", inode.size()));
            EUCLEAN
        })?;
        file.seed = inode.data().csum_seed();
        file.blocks = KVec::with_capacity(blocks as usize, GFP_KERNEL)?;
        for n in 0..blocks {
            let (mapping, _) = map::lookup(&inode, FileBlock::new(n), false)?;
            let at = mapping.clip(FileBlock::new(n), FileBlock::END);
            let Some(MapKind::Written(number)) = at.map(|at| at.kind) else {
                complain(sb, fmt!("orphan file block {}: not there\n", n));
                return Err(EUCLEAN);
            };
            let block =
                KBox::pin_init(Block::new(number, file.seed, geo.block_size()), GFP_KERNEL)?;
            vec::push(&mut file.blocks, block)?;
        }
        file.count(sb)?;
        Ok(file)
    }

    /// Counts the free slots. Nobody uses the file meanwhile.
    ///
    /// Errors (reported): EUCLEAN, EIO.
    pub(super) fn count(&self, sb: &Sb) -> Result {
        for (n, block) in self.blocks.iter().enumerate() {
            let free = self.read(sb, block).and_then(|buffer| {
                let parsed = OrphanBlock::verify(None, block.number, &buffer);
                let parsed = parsed.map_err(Corrupt::from)?;
                Ok(u32::try_from(parsed.free_slots()).unwrap_or(0))
            });
            let free = free.map_err(|e| {
                complain(sb, fmt!("orphan file block {}: cannot be used\n", n));
                let ino = sb.info().raw.orphan_file_inum();
                e.report(sb, ino.into(), "orphan file")
            })?;
            block.free.store(free.min(self.slots), Relaxed);
        }
        Ok(())
    }

    /// Whether there are no orphans in it.
    pub(super) fn is_empty(&self) -> bool {
        let all = |block: &Pin<KBox<Block>>| block.free.load(Relaxed) == self.slots;
        self.blocks.iter().all(all)
    }

    /// Calls `f` for each orphan with its slot and what is in it. `f` may free slots. Memory is
    /// taken for one block's orphans at a time.
    ///
    /// Errors: EUCLEAN, EIO, ENOMEM; the rest is left out then.
    pub(super) fn for_each(&self, sb: &Sb, mut f: impl FnMut(u32, u32)) -> Result<(), Fault> {
        for (n, block) in (0..u32::MAX).zip(&self.blocks) {
            let used = self.slots.saturating_sub(block.free.load(Relaxed));
            let mut found = KVVec::with_capacity(used as usize, GFP_KERNEL).map_err(Error::from)?;
            {
                let buffer = self.read(sb, block)?;
                let parsed = OrphanBlock::verify(None, block.number, &buffer);
                for orphan in parsed.map_err(Corrupt::from)?.used() {
                    // Those that somebody has written there meanwhile are none.
                    let _ = vec::push(&mut found, orphan);
                }
            }
            for (slot, ino) in found {
                f(n.wrapping_mul(self.slots).wrapping_add(slot), ino);
                relax()?;
            }
        }
        Ok(())
    }

    /// A block, verified. May sleep.
    ///
    /// Errors: EIO; what is wrong with it.
    fn read<'s>(&self, sb: &'s Sb, block: &Block) -> Result<Buffer<'s>, Fault> {
        if let Some(buffer) = sb.device().cached(block.number.get()) {
            if buffer.is_verified(Verified::Orphan) {
                return Ok(buffer);
            }
        }
        let _verifying = self.verifying.lock();
        Meta::new(sb, Verified::Orphan).read(block.number, |bytes| {
            OrphanBlock::verify(self.seed, block.number, bytes)?;
            Ok(())
        })
    }

    /// Puts `inode`, whose number is `ino`, into a free slot, in `handle`: which one, `None` if
    /// there is none. May sleep.
    ///
    /// Errors: EUCLEAN, EIO; EROFS when the journal has been given up. Nothing has changed then.
    #[inline]
    pub(super) fn add(
        &self,
        handle: &Handle<'_>,
        inode: &VfsInode,
        ino: Ino,
    ) -> Result<Option<u32>, Fault> {
        // CAST: at most `MAX_FILE_BLOCKS`.
        let count = self.blocks.len() as u32;
        let first = CpuId::current().as_u32().wrapping_mul(SPREAD);
        let Some(first) = first.checked_rem(count) else {
            return Ok(None);
        };
        let Some((before, behind)) = self.blocks.split_at_checked(first as usize) else {
            return Ok(None);
        };
        for (start, blocks) in [(first, behind), (0, before)] {
            for (n, block) in (start..count).zip(blocks) {
                if !block.reserve() {
                    continue;
                }
                match self.claim(handle, inode, ino, block) {
                    Ok(Some(slot)) => {
                        return Ok(Some(n.wrapping_mul(self.slots).wrapping_add(slot)));
                    }
                    // Somebody has written to the device. The count is not to be had again.
                    Ok(None) => {}
                    Err(e) => {
                        block.free.fetch_add(1, Relaxed);
                        return Err(e);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Finds a free slot in `block`.
    fn claim(
        &self,
        handle: &Handle<'_>,
        inode: &VfsInode,
        ino: Ino,
        block: &Block,
    ) -> Result<Option<u32>, Fault> {
        self.change(handle, inode, block, |bytes, hint| {
            let slot = orphan_edit::add(bytes, *hint, ino);
            if let Some(slot) = slot {
                *hint = slot.wrapping_add(1);
            }
            slot
        })
    }

    /// Frees `slot`, which `inode` is in, in `handle`. May sleep.
    ///
    /// Errors: as [`add`](Self::add); EUCLEAN also if it is not there.
    pub(super) fn del(
        &self,
        handle: &Handle<'_>,
        inode: &VfsInode,
        ino: Ino,
        slot: u32,
    ) -> Result<(), Fault> {
        let bad = Corrupt::from(OrphanError::BadInode);
        let n = slot.checked_div(self.slots).unwrap_or(u32::MAX);
        let slot = slot.checked_rem(self.slots).unwrap_or(u32::MAX);
        let block = self.blocks.get(n as usize).ok_or(bad)?;
        let freed = self.change(handle, inode, block, |bytes, hint| {
            let removed = orphan_edit::remove(bytes, slot, ino).ok();
            if removed.is_some() {
                *hint = slot;
            }
            removed
        })?;
        freed.ok_or(bad)?;
        block.free.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Changes `block`, unless `f` says that it has not.
    #[inline]
    fn change<R>(
        &self,
        handle: &Handle<'_>,
        inode: &VfsInode,
        block: &Block,
        f: impl FnOnce(&mut [u8], &mut u32) -> Option<R>,
    ) -> Result<Option<R>, Fault> {
        let buffer = self.read(inode.super_block(), block)?;
        let access = handle.access(buffer)?;
        let (trigger, result) = {
            let mut slots = block.slots.lock();
            let Slots { key, hint } = &mut *slots;
            let Some(mut bytes) = access.open(key) else {
                return Ok(None);
            };
            let Some(result) = f(&mut bytes, hint) else {
                return Ok(None);
            };
            (
                tx::apply(block.seal, handle.is_journalled(), &mut bytes),
                result,
            )
        };
        access.dirty_with(trigger);
        Ok(Some(result))
    }
}

impl Block {
    fn new(number: FsBlock, seed: Option<u32>, size: u32) -> impl PinInit<Self> {
        let seal = Seal::orphan(seed, number);
        pin_init!(Self {
            number,
            seal,
            free: AtomicU32::new(0),
            slots <- new_spinlock!(
                Slots { key: SlotKey::new(number.get(), 0, size), hint: 0 },
                "rext4 orphan slots"
            ),
        })
    }

    /// Takes a free slot from the count; whether there was one.
    #[inline]
    fn reserve(&self) -> bool {
        let less = |free: u32| free.checked_sub(1);
        self.free.fetch_update(Relaxed, Relaxed, less).is_ok()
    }
}

#[cold]
fn complain(sb: &Sb, what: fmt::Arguments<'_>) {
    message(Level::Err, sb.id(), what);
}
