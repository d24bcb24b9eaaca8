// SPDX-License-Identifier: GPL-2.0

//! jbd2: the kernel's journal.
//!
//! The life of a journal is a typestate: [`Journal::open`] reads its superblock,
//! [`Journal::load`] replays what a crash left in it and turns it into a [`LoadedJournal`], and
//! dropping either destroys it, once. A journal that has been loaded is marked as empty on disk
//! when it is destroyed.
//!
//! Where the journal's blocks are is told to jbd2 beforehand, in a [`BlockMap`]: during a replay
//! the journal's inode and its block map are metadata like any other, and may be overwritten.

use super::{
    bdev::ClaimedDevice,
    bindings,
    fs_type::FileSystem,
    inode::Inode,
    super_block::{check, SuperBlock},
};
use core::{marker::PhantomData, mem, ptr::NonNull};
use kernel::{error::from_err_ptr, ffi::c_int, prelude::*, rbtree::RBTree, sync::aref::ARef};

/// Where the blocks of a journal are, without a hole.
///
/// Runs of blocks that are consecutive both in the journal and on the device, found by their last
/// block: the first run that does not end before a block is the one that holds it, if any does.
///
/// # Invariants
///
/// Both trees hold the same runs. In the journal each begins where the one before ends, the first
/// at 0, and the last ends in front of `len`; on the device they do not overlap.
pub(crate) struct BlockMap {
    /// Last block of a run in the journal: its first block there, and on the device.
    logical: RBTree<u32, (u32, u64)>,
    /// Last block of a run on the device: its first block there.
    physical: RBTree<u64, u64>,
    len: u32,
}

impl BlockMap {
    /// A map of no blocks.
    pub(crate) fn new() -> Self {
        Self {
            logical: RBTree::new(),
            physical: RBTree::new(),
            len: 0,
        }
    }

    /// Blocks of the journal that are mapped.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Adds `len` blocks from `start` of the device on, behind those that are mapped.
    ///
    /// Errors: EUCLEAN for nothing at all, for blocks beyond the end of all devices, and for
    /// blocks that are mapped already; ENOMEM, after which the map is of no use.
    pub(crate) fn push(&mut self, start: u64, len: u32) -> Result {
        let more = len.checked_sub(1).ok_or(EUCLEAN)?;
        let last = self.len.checked_add(more).ok_or(EUCLEAN)?;
        let end = last.checked_add(1).ok_or(EUCLEAN)?;
        let last_physical = start.checked_add(more.into()).ok_or(EUCLEAN)?;
        if self.overlaps(start, last_physical) {
            return Err(EUCLEAN);
        }
        self.physical
            .try_create_and_insert(last_physical, start, GFP_KERNEL)?;
        self.logical
            .try_create_and_insert(last, (self.len, start), GFP_KERNEL)?;
        // INVARIANT: the run begins where the one before ended.
        self.len = end;
        Ok(())
    }

    /// Where block `block` of the journal is; `None` beyond its end.
    pub(crate) fn physical(&self, block: u32) -> Option<u64> {
        let cursor = self.logical.cursor_lower_bound(&block)?;
        let (first, start) = *cursor.current().1;
        start.checked_add(block.checked_sub(first)?.into())
    }

    /// Whether block `block` of the device belongs to the journal.
    pub(crate) fn contains(&self, block: u64) -> bool {
        self.overlaps(block, block)
    }

    /// Whether any of `first..=last` of the device belongs to the journal.
    fn overlaps(&self, first: u64, last: u64) -> bool {
        match self.physical.cursor_lower_bound(&first) {
            Some(cursor) => *cursor.current().1 <= last,
            None => false,
        }
    }
}

/// A journal of jbd2's.
///
/// # Invariants
///
/// `raw` came from `jbd2_journal_init_inode` or `jbd2_journal_init_dev` and has not been
/// destroyed. In the first case its `j_private` is `map`, which came from `KBox::into_raw` and is
/// ours; in the second there is none, since the journal's blocks are the device's.
struct Raw<'a> {
    raw: NonNull<bindings::journal_t>,
    map: Option<NonNull<BlockMap>>,
    _sb: PhantomData<&'a ()>,
}

impl Raw<'_> {
    /// Destroys the journal.
    ///
    /// Errors: EIO when it had been given up before.
    ///
    /// # Safety
    ///
    /// To be called once, as the last thing.
    unsafe fn destroy(&mut self) -> Result {
        // SAFETY: by the type invariant, and once. This stops the journal's thread, after which
        // nobody asks for blocks any more, so the map can go as well.
        unsafe {
            let ret = bindings::jbd2_journal_destroy(self.raw.as_ptr());
            if let Some(map) = self.map {
                drop(KBox::from_raw(map.as_ptr()));
            }
            check(ret)
        }
    }
}

/// jbd2's flags for a journal.
fn flags(barrier: bool) -> usize {
    // The log goes on where it ended instead of at its start, so that the older blocks stay
    // readable for those who look for what happened.
    let mut flags = bindings::JBD2_CYCLE_RECORD;
    if barrier {
        flags |= bindings::JBD2_BARRIER;
    }
    flags as usize
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // SAFETY: `LoadedJournal::close` forgets what it has destroyed.
        let _ = unsafe { self.destroy() };
    }
}

/// A journal whose superblock has been read and checked, and nothing more.
pub(crate) struct Journal<'a>(Raw<'a>);

/// A journal that has been replayed and is empty.
pub(crate) struct LoadedJournal<'a>(Raw<'a>);

impl<'a> Journal<'a> {
    /// Opens the journal in `inode`, whose blocks are those of `map`. With `barrier`, writes that
    /// must be on disk before others are flushed.
    ///
    /// Errors: EINVAL when the journal's superblock makes no sense, EFSBADCRC when its checksum is
    /// wrong, EIO, ENOMEM.
    pub(crate) fn open<F: FileSystem>(
        inode: &'a Inode<F>,
        map: BlockMap,
        barrier: bool,
    ) -> Result<Self> {
        let map = KBox::new(map, GFP_KERNEL)?;
        let reference = ARef::from(inode);
        // SAFETY: the inode is a referenced one of a published superblock; on success its
        // reference belongs to the journal, which puts it when it is destroyed.
        let raw = from_err_ptr(unsafe { bindings::jbd2_journal_init_inode(inode.as_raw()) })?;
        let _ = ARef::into_raw(reference);
        let map = NonNull::from(KBox::leak(map));
        // SAFETY: `from_err_ptr` gave no error, so the pointer is one. The journal is new: it has
        // no thread yet, and the shrinker that can see it looks at a counter of its own only. The
        // map stays until the journal is destroyed.
        let raw = unsafe {
            (*raw).j_private = map.as_ptr().cast();
            (*raw).j_bmap = Some(bmap);
            (*raw).j_flags |= flags(barrier);
            NonNull::new_unchecked(raw)
        };
        // INVARIANT: made above.
        Ok(Self(Raw {
            raw,
            map: Some(map),
            _sb: PhantomData,
        }))
    }

    /// Opens the journal that fills `device` from block `start` on, where its superblock is, up to
    /// block `len`; `device` has got the block size of `sb`. With `barrier` as in
    /// [`open`](Self::open).
    ///
    /// Errors: as [`open`](Self::open).
    pub(crate) fn open_device<F: FileSystem>(
        sb: &'a SuperBlock<F>,
        device: &'a ClaimedDevice<'_>,
        start: u64,
        len: u32,
        barrier: bool,
    ) -> Result<Self> {
        let size = i32::try_from(sb.block_size())?;
        let len = i32::try_from(len)?;
        // SAFETY: both devices are open for `'a`, which the journal does not outlive.
        let raw = from_err_ptr(unsafe {
            let (journal, data) = (device.bdev(), sb.device().as_raw());
            bindings::jbd2_journal_init_dev(journal, data, start, len, size)
        })?;
        // SAFETY: as in `open`; without `j_bmap` jbd2 takes its block numbers for the device's.
        let raw = unsafe {
            (*raw).j_flags |= flags(barrier);
            NonNull::new_unchecked(raw)
        };
        // INVARIANT: made above.
        Ok(Self(Raw {
            raw,
            map: None,
            _sb: PhantomData,
        }))
    }

    /// Replays what is in the journal: its blocks go to their places in the device's page cache,
    /// and from there to the device. May take long.
    ///
    /// No buffer of the device may be borrowed meanwhile, since any may change.
    ///
    /// Errors: EFSBADCRC and EUCLEAN for a damaged log, EIO, ENOMEM. Some blocks may have been
    /// written, and the journal still holds all.
    pub(crate) fn load(self) -> Result<LoadedJournal<'a>> {
        // SAFETY: by the type invariant of `Raw`.
        check(unsafe { bindings::jbd2_journal_load(self.0.raw.as_ptr()) })?;
        Ok(LoadedJournal(self.0))
    }
}

impl LoadedJournal<'_> {
    /// The error that made the last mount give up the journal, negative; 0 for none.
    pub(crate) fn errno(&self) -> i32 {
        // SAFETY: by the type invariant of `Raw`.
        unsafe { bindings::jbd2_journal_errno(self.0.raw.as_ptr()) }
    }

    /// Forgets that error, also on disk.
    pub(crate) fn clear_errno(&mut self) {
        // SAFETY: by the type invariant of `Raw`; a loaded journal has its superblock in memory.
        unsafe {
            bindings::jbd2_journal_clear_err(self.0.raw.as_ptr());
            bindings::jbd2_journal_update_sb_errno(self.0.raw.as_ptr());
        }
    }

    /// Marks the journal as empty on disk and lets it go.
    ///
    /// Errors: EIO when it had to be given up.
    pub(crate) fn close(mut self) -> Result {
        // SAFETY: the last use of the journal: it is forgotten right away.
        let ret = unsafe { self.0.destroy() };
        mem::forget(self);
        ret
    }
}

/// `j_bmap`: from a block of the journal to one of the device.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
unsafe extern "C" fn bmap(
    journal: *mut bindings::journal_t,
    block: *mut bindings::sector_t,
) -> c_int {
    // SAFETY: jbd2 calls this for a journal that `open` has made, before it is destroyed, with a
    // variable of its own; the map is only read, ever.
    unsafe {
        let map = &*(*journal).j_private.cast::<BlockMap>();
        match u32::try_from(*block).ok().and_then(|b| map.physical(b)) {
            Some(physical) => {
                *block = physical;
                0
            }
            None => EUCLEAN.to_errno(),
        }
    }
}
