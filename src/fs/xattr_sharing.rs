// SPDX-License-Identifier: GPL-2.0

//! What inodes share of extended attributes: how it is found, and who may change it.
//!
//! Attribute blocks with equal contents are one block, whose header counts its owners, and values
//! in inodes of their own (EA inodes) count the entries that refer to them. Two caches lead from
//! the hash of contents to blocks, and from that of a value to EA inodes (`nombcache`: none, and
//! nothing comes to be shared). An entry is a hint: contents are compared before they are shared.
//!
//! # Rules for blocks
//!
//! - A block's contents do not change while it has several owners, or while somebody may come to
//!   share it: its only owner first takes it out of the cache, which succeeds when nobody holds
//!   the entry ([`Sharing::decide`]). From then on the block is its owner's alone, under its
//!   xattr_sem, until it is entered again.
//! - Who holds an entry of the cache can rely on the block: it is neither changed nor freed.
//! - The number of owners changes under one of a few locks, chosen by the block's number. A block
//!   is verified under it as well: its checksum is not valid all the time once it has been changed
//!   (it is settled when the transaction commits), but it counts as verified from then on.
//!
//! The counts of all EA inodes change under one lock.
//!
//! Lock order: a handle, xattr_sem, one of the locks here, the slot of an inode. Under them there
//! is I/O and access to the journal, and no other lock of the file system but those of orphans. No
//! two of them are held at a time, and nobody waits for an entry of a cache under one.

use super::{options::Toggles, Sb};
use crate::{
    linux::{
        buffer::Buffer,
        mbcache::{MbCache, MbEntry},
    },
    ondisk::{
        features::Incompat,
        xattr_block::{self, SHARED_MAX},
    },
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        lock::{mutex::MutexBackend, Guard},
        Mutex,
    },
};

/// Hash chains of a cache, as a power of two: ext4's.
const CACHE_BITS: u32 = 10;
/// Locks for counts of owners, as a power of two.
const LOCK_BITS: u32 = 4;

/// A lock for a count.
pub(crate) type CountLock<'a> = Guard<'a, (), MutexBackend>;

/// Caches and locks of a file system that can be written.
pub(crate) struct Sharing {
    blocks: Option<MbCache>,
    values: Option<MbCache>,
    /// How often the file system has become writable: what was found out before does not count any
    /// more, since e2fsck may have been at work in between.
    epoch: AtomicU32,
    owners: Pin<KBox<[Mutex<()>; 1 << LOCK_BITS]>>,
    references: Pin<KBox<Mutex<()>>>,
}

/// Sees to it that there are caches and locks, and that what a cache knows is of this time of
/// writing. s_umount is held for writing, and nothing can be changed yet.
///
/// Errors: ENOMEM.
pub(crate) fn begin(sb: &Sb) -> Result {
    let info = sb.info();
    if let Some(sharing) = info.sharing.as_ref() {
        sharing.epoch.fetch_add(1, Relaxed);
        return Ok(());
    }
    let cache = |wanted: bool| match wanted && !info.has(Toggles::NO_MBCACHE) {
        true => MbCache::new(CACHE_BITS).map(Some),
        false => Ok(None),
    };
    let sharing = Sharing {
        blocks: cache(true)?,
        values: cache(info.geometry.has(Incompat::EA_INODE))?,
        epoch: AtomicU32::new(0),
        owners: KBox::pin_init(
            pin_init::pin_init_array_from_fn(|_| new_mutex!((), "rext4 xattr owners")),
            GFP_KERNEL,
        )?,
        references: KBox::pin_init(new_mutex!((), "rext4 xattr references"), GFP_KERNEL)?,
    };
    info.sharing.populate(sharing);
    Ok(())
}

/// What there is of it, for changes.
///
/// Errors: EROFS on a file system that was never writable.
pub(crate) fn of(sb: &Sb) -> Result<&Sharing> {
    sb.info().sharing.as_ref().ok_or(EROFS)
}

impl Sharing {
    /// The lock for the number of owners of block `number`. May sleep.
    pub(crate) fn lock(&self, number: u64) -> CountLock<'_> {
        // Neighbours are likely to be used together.
        let chosen = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - LOCK_BITS);
        let [first, ..] = &*self.owners;
        self.owners.get(chosen as usize).unwrap_or(first).lock()
    }

    /// The lock for counts of references to EA inodes. May sleep.
    pub(crate) fn lock_references(&self) -> CountLock<'_> {
        self.references.lock()
    }

    /// The key of contents with this hash, at present. Contents that are equal have equal hashes,
    /// so that nothing equal is found of another epoch.
    fn key(&self, hash: u32) -> u32 {
        hash ^ self.epoch.load(Relaxed)
    }

    /// Runs `decide` while the number of owners of `block` stands still; under the lock for that.
    /// `decide` says whether the inode at hand, as its only owner, is going to change or free the
    /// block: then nobody else can come to share it afterwards. If somebody is about to, that is
    /// waited for, and `decide` runs again.
    ///
    /// The xattr_sem of an owner is held for writing. May sleep. Errors: those of `decide`.
    pub(crate) fn decide<T, E>(
        &self,
        block: &Buffer<'_>,
        mut decide: impl FnMut() -> Result<(T, bool), E>,
    ) -> Result<T, E> {
        loop {
            let lock = self.lock(block.block());
            let (decision, alone) = decide()?;
            if !alone {
                return Ok(decision);
            }
            match self.forget(block) {
                None => return Ok(decision),
                Some(entry) => {
                    drop(lock);
                    entry.wait_unused();
                }
            }
        }
    }

    /// Enters `block`, which has been verified, for others to share. The xattr_sem of an owner is
    /// held. Costs nothing but a chance if it fails.
    pub(crate) fn remember(&self, block: &Buffer<'_>) {
        if let (Some(cache), Ok(hash @ 1..)) = (&self.blocks, xattr_block::hash(block)) {
            let room = xattr_block::can_share(block);
            let _ = cache.insert(self.key(hash), block.block(), room);
        }
    }

    /// `block` has lost an owner: if it had as many as can be, it can be found again. The lock for
    /// its number of owners is held.
    pub(crate) fn has_room(&self, block: &Buffer<'_>) {
        if xattr_block::owners(block) != Ok(SHARED_MAX.wrapping_sub(1)) {
            return;
        }
        if let (Some(cache), Ok(hash)) = (&self.blocks, xattr_block::hash(block)) {
            if let Some(entry) = cache.get(self.key(hash), block.block()) {
                entry.set_reusable(true);
            }
        }
    }

    /// Takes the entry of `block` out of the cache; returns it if somebody holds it.
    fn forget(&self, block: &Buffer<'_>) -> Option<MbEntry<'_>> {
        let hash = xattr_block::hash(block).ok()?;
        self.blocks
            .as_ref()?
            .delete_or_get(self.key(hash), block.block())
    }

    /// The first entry of blocks whose contents have this hash.
    pub(crate) fn find_block(&self, hash: u32) -> Option<MbEntry<'_>> {
        self.blocks.as_ref()?.find(self.key(hash))
    }

    /// Enters EA inode `ino`, whose value has this hash, for others to share.
    pub(crate) fn remember_value(&self, hash: u32, ino: u64) {
        if let Some(cache) = &self.values {
            let _ = cache.insert(self.key(hash), ino, true);
        }
    }

    /// Takes EA inode `ino` out of the cache. Waits until nobody holds its entry.
    pub(crate) fn forget_value(&self, hash: u32, ino: u64) {
        let Some(cache) = &self.values else {
            return;
        };
        while let Some(entry) = cache.delete_or_get(self.key(hash), ino) {
            entry.wait_unused();
        }
    }

    /// The first entry of EA inodes whose values have this hash.
    pub(crate) fn find_value(&self, hash: u32) -> Option<MbEntry<'_>> {
        self.values.as_ref()?.find(self.key(hash))
    }
}
