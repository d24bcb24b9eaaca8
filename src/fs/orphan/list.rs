// SPDX-License-Identifier: GPL-2.0

//! The orphan list: from the superblock's `s_last_orphan` through the inodes' `i_dtime`.
//!
//! An inode that is taken off the list is taken from between two others, and the one before it
//! has to be written. So the list is in memory as well, as [`Listed`]s. An inode goes away when it
//! has no users, and may leave its entry behind (what it has on disk could not be freed); the list
//! has to go on all the same. Hence the entry, and not the inode, has the right to write the slot
//! from the time when the inode is first put on the list: [`SlotRight`].
//!
//! The list in memory is the one on disk, or its beginning: in a recovery it grows at its end.
//!
//! Locking: the list's mutex protects both lists. An entry's spinlock protects its right and its
//! neighbours' names; of these locks one is held at a time, inside that of the inode or none.

use super::super::{
    fault::Fault,
    inode::{number, InodeInfo},
    inode_write, super_image,
    tx::Handle,
    Sb, VfsInode,
};
use crate::{
    engine::orphan_list::{self, Before},
    linux::{insist::insist, jbd2::SlotKey},
    ondisk::{inode::InodeError, inode_edit::InodeEdit, Corrupt, Ino},
};
use core::{
    mem,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{Arc, Mutex, SpinLock},
};

/// The right to write an inode's slot, in the inode.
pub(crate) enum SlotRight {
    /// It is here.
    Own(SlotKey),
    /// The inode is, or was, on the list, and its entry has it.
    Listed(Arc<Listed>),
}

/// An entry of the list.
#[pin_data]
pub(crate) struct Listed {
    ino: Ino,
    /// The block of the inode table.
    block: u64,
    csum_seed: Option<u32>,
    #[pin]
    inner: SpinLock<Inner>,
}

struct Inner {
    key: SlotKey,
    prev: Option<Arc<Listed>>,
    next: Option<Arc<Listed>>,
}

impl Listed {
    fn new(ino: Ino, inode: &InodeInfo) -> impl PinInit<Self> + '_ {
        pin_init!(Self {
            ino,
            block: inode.slot_block,
            csum_seed: inode.csum_seed(),
            inner <- new_spinlock!(
                Inner { key: SlotKey::new(0, 0, 0), prev: None, next: None },
                "rext4 orphan"
            ),
        })
    }

    /// Runs `f` with the right to write the slot. `f` does not sleep.
    #[inline]
    pub(crate) fn with_key<R>(&self, f: impl FnOnce(&mut SlotKey) -> R) -> R {
        f(&mut self.inner.lock().key)
    }

    fn next(&self) -> Option<Arc<Listed>> {
        self.inner.lock().next.clone()
    }

    fn set_next(&self, to: Option<Arc<Listed>>) -> Option<Arc<Listed>> {
        mem::replace(&mut self.inner.lock().next, to)
    }

    fn set_prev(&self, to: Option<Arc<Listed>>) -> Option<Arc<Listed>> {
        mem::replace(&mut self.inner.lock().prev, to)
    }
}

/// The list.
pub(super) struct List {
    entries: Pin<KBox<Mutex<Entries>>>,
    /// How many entries have no inode in memory.
    left: AtomicU32,
}

struct Entries {
    first: Option<Arc<Listed>>,
}

impl Entries {
    fn push(&mut self, entry: Arc<Listed>) {
        let old = self.first.take();
        if let Some(old) = &old {
            old.set_prev(Some(entry.clone()));
        }
        entry.set_next(old);
        self.first = Some(entry);
    }

    fn remove(&mut self, entry: &Listed) {
        let (prev, next) = {
            let mut inner = entry.inner.lock();
            (inner.prev.take(), inner.next.take())
        };
        if let Some(next) = &next {
            next.set_prev(prev.clone());
        }
        match &prev {
            Some(prev) => drop(prev.set_next(next)),
            None => self.first = next,
        }
    }

    fn find(&self, f: impl Fn(&Listed) -> bool) -> Option<Arc<Listed>> {
        let mut at = self.first.clone();
        while let Some(entry) = at {
            if f(&entry) {
                return Some(entry);
            }
            at = entry.next();
        }
        None
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // One after another: neighbours hold each other, and would be dropped inside each other.
        while let Some(first) = self.first.clone() {
            self.remove(&first);
        }
    }
}

impl List {
    /// A list without entries.
    ///
    /// Errors: ENOMEM.
    pub(super) fn new() -> Result<Self> {
        let entries = Entries { first: None };
        Ok(Self {
            entries: KBox::pin_init(new_mutex!(entries, "rext4 orphan list"), GFP_KERNEL)?,
            left: AtomicU32::new(0),
        })
    }

    /// An entry's inode has left memory.
    pub(super) fn leave(&self) {
        self.left.fetch_add(1, Relaxed);
    }

    /// Notes that `inode` is in front of the list on disk, behind those that have been dealt with.
    ///
    /// Errors: ENOMEM.
    pub(super) fn adopt(&self, inode: &VfsInode) -> Result<(), Fault> {
        let entry = entry_of(inode)?;
        let mut entries = self.entries.lock();
        if entries.find(|other| other.ino == entry.ino).is_none() {
            entries.push(entry);
        }
        Ok(())
    }

    /// Forgets all entries: the list on disk is empty.
    pub(super) fn clear(&self) {
        *self.entries.lock() = Entries { first: None };
        self.left.store(0, Relaxed);
    }

    /// Puts `inode` in front of the list, on disk in `handle`. May sleep.
    ///
    /// Errors: EUCLEAN, EIO, ENOMEM; EROFS when the journal has been given up. Nothing has changed
    /// then.
    #[cold]
    pub(super) fn add(&self, handle: &Handle<'_>, inode: &VfsInode) -> Result<(), Fault> {
        let sb = inode.super_block();
        let geo = &sb.info().geometry;
        let entry = entry_of(inode)?;
        let slot = inode_write::prepare(handle, inode)?;
        let mut entries = self.entries.lock();
        edit_head(sb, handle, |head| {
            let plan = orphan_list::add(geo, entry.ino, head).map_err(Corrupt::from)?;
            slot.try_edit(|slot| slot.set_dtime(plan.next))?;
            Ok(Some(plan.head))
        })?;
        entries.push(entry);
        Ok(())
    }

    /// Takes `inode` off the list, on disk in `handle`. May sleep.
    ///
    /// Errors: as [`add`](Self::add); EUCLEAN also if the list on disk is another one. Nothing has
    /// changed then.
    #[cold]
    pub(super) fn del(&self, handle: &Handle<'_>, inode: &VfsInode) -> Result<(), Fault> {
        let sb = inode.super_block();
        let geo = &sb.info().geometry;
        let entry = entry_of(inode)?;
        let slot = inode_write::prepare(handle, inode)?;
        let mut entries = self.entries.lock();
        let dtime = slot.dtime()?;
        let prev = entry.inner.lock().prev.clone();
        match prev {
            Some(prev) => {
                let access = handle.access(sb.device().read(prev.block)?)?;
                let link = |new: Option<u32>| {
                    prev.with_key(|key| {
                        let opened = access.open(key);
                        let mut bytes = opened.ok_or(Corrupt::from(InodeError::Truncated))?;
                        link(sb, &entry, &prev, &mut bytes, dtime, new)
                    })
                };
                // Whether it can be done; nobody else changes these fields.
                let next = link(None)?;
                slot.try_edit(|slot| slot.set_dtime(0))?;
                link(Some(next))?;
                access.dirty();
            }
            None => edit_head(sb, handle, |head| {
                let plan = orphan_list::remove(geo, entry.ino, dtime, Before::Superblock, head);
                let plan = plan.map_err(Corrupt::from)?;
                slot.try_edit(|slot| slot.set_dtime(0))?;
                Ok(Ino::new(plan.next))
            })?,
        }
        entries.remove(&entry);
        Ok(())
    }
}

/// Replaces the superblock's `s_last_orphan` by what `f` says, which is given it.
///
/// Errors: EROFS, EIO when the journal has been given up; those of `f`. Nothing has changed then.
fn edit_head(
    sb: &Sb,
    handle: &Handle<'_>,
    f: impl FnOnce(u32) -> Result<Option<Ino>, Fault>,
) -> Result<(), Fault> {
    let mut result = Ok(());
    super_image::edit(sb, handle, |raw| match f(raw.last_orphan()) {
        Ok(head) => {
            raw.set_last_orphan(head);
            true
        }
        Err(e) => {
            result = Err(e);
            false
        }
    })?;
    result
}

/// The entry that inode `ino`, which comes into memory now, has left behind; `None` almost always.
pub(crate) fn left_behind(sb: &Sb, ino: Ino) -> Option<Arc<Listed>> {
    let list = &sb.info().orphans.as_ref()?.list;
    if list.left.load(Relaxed) == 0 {
        return None;
    }
    let entries = list.entries.lock();
    let entry = entries.find(|entry| entry.ino == ino)?;
    list.left.fetch_sub(1, Relaxed);
    Some(entry)
}

/// Plans to take `entry`, whose `i_dtime` is `dtime`, from behind `prev`, whose slot is `bytes`,
/// and yields the number that comes to stand there; with `new` stores it.
fn link(
    sb: &Sb,
    entry: &Listed,
    prev: &Listed,
    bytes: &mut [u8],
    dtime: u32,
    new: Option<u32>,
) -> Result<u32, Fault> {
    let geo = &sb.info().geometry;
    let mut slot = InodeEdit::open(geo, bytes).map_err(Corrupt::from)?;
    if let Some(new) = new {
        slot.set_dtime(new);
        slot.finish(prev.csum_seed);
        return Ok(new);
    }
    let before = Before::Inode(prev.ino);
    let plan = orphan_list::remove(geo, entry.ino, dtime, before, slot.dtime());
    Ok(plan.map_err(Corrupt::from)?.next)
}

/// The entry of `inode`, which gets the right to write the slot if it is made now.
///
/// Errors: ENOMEM.
fn entry_of(inode: &VfsInode) -> Result<Arc<Listed>, Fault> {
    let info = inode.data();
    if let SlotRight::Listed(entry) = &*info.slot_key.lock() {
        return Ok(entry.clone());
    }
    // Only the holder of i_rwsem makes it: nobody else does meanwhile. What cannot be undone any more
    // may make an orphan, so there will be memory.
    let ino = number(inode)?;
    let entry = insist(|| Arc::pin_init(Listed::new(ino, info), GFP_KERNEL))?;
    let mut right = info.slot_key.lock();
    if let SlotRight::Own(key) = &mut *right {
        entry.with_key(|place| mem::swap(place, key));
        *right = SlotRight::Listed(entry.clone());
    }
    Ok(entry)
}
