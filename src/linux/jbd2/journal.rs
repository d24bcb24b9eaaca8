// SPDX-License-Identifier: GPL-2.0

//! The life of a journal, and whom it belongs to.

use super::{
    commit::{self, Commit},
    map::BlockMap,
    outside::NoHandle,
};
use crate::linux::{
    bdev::ClaimedDevice, bindings, buffer::Device, fs_type::FileSystem, inode::Inode,
    super_block::check, super_block::SuperBlock,
};
use core::{
    marker::PhantomData,
    mem,
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use kernel::{error::from_err_ptr, ffi::c_int, prelude::*, sync::aref::ARef};

/// Whom a journal belongs to: what it calls back. It lives as long as the journal.
pub(crate) trait Owner: Sized + Send + Sync + 'static {
    /// The journal has been given up because of `error`, and nothing more is going to reach the
    /// disk. Called once per journal, by whoever notices first: a task at the start or the end of a
    /// handle, or jbd2's thread. May sleep; must not start a handle or wait for a commit.
    fn aborted(&self, error: Error);
}

/// A superblock as the owner of its journal.
///
/// # Invariants
///
/// The superblock outlives the value.
pub(crate) struct OfSuper<F: FileSystem>(NonNull<bindings::super_block>, PhantomData<F>);

// SAFETY: it stands for a `&SuperBlock<F>`, which is `Sync`.
unsafe impl<F: FileSystem> Send for OfSuper<F> {}
// SAFETY: as above.
unsafe impl<F: FileSystem> Sync for OfSuper<F> {}

impl<F: FileSystem> Deref for OfSuper<F> {
    type Target = SuperBlock<F>;

    fn deref(&self) -> &SuperBlock<F> {
        // SAFETY: made from a `&SuperBlock<F>`, which is alive by the type invariant.
        unsafe { SuperBlock::from_raw(self.0.as_ptr()) }
    }
}

impl<F: FileSystem> Owner for OfSuper<F> {
    fn aborted(&self, error: Error) {
        F::journal_aborted(self, error);
    }
}

/// What `j_private` points to.
pub(super) struct Private<O: Owner> {
    pub(super) owner: O,
    pub(super) at_commit: commit::Queue<O>,
    map: BlockMap,
    told: AtomicBool,
    /// The last transaction whose callbacks have run.
    called_back: AtomicU32,
}

/// Whether a journal has been given up. Once that is so it stays so.
///
/// # Safety
///
/// `raw` must be a journal.
unsafe fn is_aborted(raw: *mut bindings::journal_t) -> bool {
    // SAFETY: by contract; a word that jbd2 reads without its lock as well.
    let flags = unsafe { (&raw const (*raw).j_flags).read_volatile() };
    flags & bindings::JBD2_ABORT as usize != 0
}

impl<O: Owner> Private<O> {
    /// Tells the owner, once, if the journal has been given up.
    ///
    /// # Safety
    ///
    /// `raw` must be the journal that this belongs to.
    unsafe fn tell(&self, raw: *mut bindings::journal_t) {
        // SAFETY: by contract.
        if unsafe { is_aborted(raw) } && !self.told.swap(true, Ordering::Relaxed) {
            // SAFETY: by contract; a word, which is set before or soon after the flag.
            let errno = unsafe { (&raw const (*raw).j_errno).read_volatile() };
            self.owner.aborted(if errno < 0 {
                Error::from_errno(errno)
            } else {
                EIO
            });
        }
    }

    /// Transaction `tid` has been committed or given up: runs what waits for it.
    ///
    /// # Safety
    ///
    /// `raw` must be the journal that this belongs to; to be called once per transaction.
    pub(super) unsafe fn committed(&self, raw: *mut bindings::journal_t, tid: u32) {
        // SAFETY: by contract.
        let aborted = unsafe { is_aborted(raw) };
        let result = if aborted { Err(EIO) } else { Ok(()) };
        self.at_commit.run(&self.owner, Commit { tid, result });
        self.called_back.store(tid, Ordering::Release);
        if aborted {
            // SAFETY: by contract.
            unsafe { self.tell(raw) };
        }
    }
}

/// A journal of jbd2's.
///
/// # Invariants
///
/// `raw` came from `jbd2_journal_init_inode` or `jbd2_journal_init_dev` and has not been
/// destroyed; its `j_private` is `private`, which came from a `KBox` and is ours.
pub(super) struct Raw<'a, O: Owner> {
    pub(super) raw: NonNull<bindings::journal_t>,
    private: NonNull<Private<O>>,
    _p: PhantomData<(&'a (), O)>,
}

impl<O: Owner> Raw<'_, O> {
    pub(super) fn private(&self) -> &Private<O> {
        // SAFETY: by the type invariant; only ever shared until the journal is destroyed.
        unsafe { self.private.as_ref() }
    }

    pub(super) fn is_aborted(&self) -> bool {
        // SAFETY: by the type invariant.
        unsafe { is_aborted(self.raw.as_ptr()) }
    }

    /// Tells the owner, once, if the journal has been given up.
    #[cold]
    pub(super) fn tell(&self) {
        // SAFETY: by the type invariant.
        unsafe { self.private().tell(self.raw.as_ptr()) };
    }

    /// Destroys the journal.
    ///
    /// Errors: EIO when it had been given up before.
    ///
    /// # Safety
    ///
    /// To be called once, as the last thing.
    unsafe fn destroy(&mut self) -> Result {
        // SAFETY: by the type invariant, and once. No handle is open, since each borrows the
        // journal. This commits what is left, with its callbacks, and stops the journal's thread,
        // after which nobody asks for blocks any more, so what it was given can go as well.
        unsafe {
            let ret = bindings::jbd2_journal_destroy(self.raw.as_ptr());
            drop(KBox::from_raw(self.private.as_ptr()));
            check(ret)
        }
    }
}

impl<O: Owner> Drop for Raw<'_, O> {
    fn drop(&mut self) {
        // SAFETY: `LoadedJournal::close` forgets what it has destroyed.
        let _ = unsafe { self.destroy() };
    }
}

/// A journal whose superblock has been read and checked, and nothing more.
pub(crate) struct Journal<'a, O: Owner>(Raw<'a, O>);

/// A journal that has been replayed and is empty, and can be written to.
pub(crate) struct LoadedJournal<'a, O: Owner>(pub(super) Raw<'a, O>);

// SAFETY: jbd2's functions lock for themselves and may be called from any thread; what is ours in
// a journal is behind atomics, and the owner is `Send` and `Sync`.
unsafe impl<O: Owner> Send for LoadedJournal<'_, O> {}
// SAFETY: as above.
unsafe impl<O: Owner> Sync for LoadedJournal<'_, O> {}

impl<'a, F: FileSystem> Journal<'a, OfSuper<F>> {
    /// Opens the journal in `inode`, whose blocks are those of `map`. With `barrier`, writes that
    /// must be on disk before others are flushed.
    ///
    /// Errors: EINVAL when the journal's superblock makes no sense, EFSBADCRC when its checksum is
    /// wrong, EIO, ENOMEM.
    pub(crate) fn open(inode: &'a Inode<F>, map: BlockMap, barrier: bool) -> Result<Self> {
        let sb = inode.super_block().as_raw();
        // INVARIANT: the journal, and with it its owner, goes before `'a` ends, for which the
        // inode and hence its superblock are borrowed.
        // SAFETY: a reference's pointer.
        let owner = OfSuper(unsafe { NonNull::new_unchecked(sb) }, PhantomData);
        let private = Self::private(owner, map)?;
        let reference = ARef::from(inode);
        // SAFETY: the inode is a referenced one of a published superblock; on success its
        // reference belongs to the journal, which puts it when it is destroyed.
        let raw = from_err_ptr(unsafe { bindings::jbd2_journal_init_inode(inode.as_raw()) })?;
        let _ = ARef::into_raw(reference);
        // SAFETY: new, and not an error.
        Ok(unsafe { Self::adopt(raw, private, Some(bmap::<OfSuper<F>>), barrier) })
    }
}

impl<'a, F: FileSystem> Journal<'a, OfSuper<F>> {
    /// Opens the journal of `sb` that fills `device` from block `start` on, where its superblock
    /// is, up to block `len`; `device` has got the block size of `sb`.
    ///
    /// Errors: as [`on_device`](Self::on_device).
    pub(crate) fn open_device(
        sb: &'a SuperBlock<F>,
        device: &'a ClaimedDevice<'_>,
        start: u64,
        len: u32,
        barrier: bool,
    ) -> Result<Self> {
        // INVARIANT: as in `open`.
        // SAFETY: a reference's pointer.
        let owner = OfSuper(unsafe { NonNull::new_unchecked(sb.as_raw()) }, PhantomData);
        let size = u32::try_from(sb.block_size())?;
        Self::on_device(device.blocks(size), start, len, sb.device(), owner, barrier)
    }
}

impl<'a, O: Owner> Journal<'a, O> {
    /// Opens the journal in the `len` blocks from block `start` of `device` on, the journal's
    /// superblock being the first, for a file system on `fs`, which may be the same device.
    ///
    /// Errors: EINVAL when the journal's superblock makes no sense, or for devices whose block
    /// sizes differ; EFSBADCRC when its checksum is wrong; EIO, ENOMEM.
    pub(crate) fn on_device(
        device: Device<'a>,
        start: u64,
        len: u32,
        fs: Device<'a>,
        owner: O,
        barrier: bool,
    ) -> Result<Self> {
        if device.block_size() != fs.block_size() {
            return Err(EINVAL);
        }
        let private = Self::private(owner, BlockMap::new())?;
        // SAFETY: both devices are open for `'a`, which is longer than the journal lives.
        let raw = from_err_ptr(unsafe {
            bindings::jbd2_journal_init_dev(
                device.as_raw(),
                fs.as_raw(),
                start,
                c_int::try_from(len)?,
                c_int::try_from(device.block_size())?,
            )
        })?;
        // SAFETY: new, and not an error.
        Ok(unsafe { Self::adopt(raw, private, None, barrier) })
    }

    fn private(owner: O, map: BlockMap) -> Result<KBox<Private<O>>> {
        Ok(KBox::new(
            Private {
                owner,
                at_commit: commit::Queue::new(),
                map,
                told: AtomicBool::new(false),
                called_back: AtomicU32::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// # Safety
    ///
    /// `raw` must be a journal that has just been initialised, which becomes ours.
    unsafe fn adopt(
        raw: *mut bindings::journal_t,
        private: KBox<Private<O>>,
        bmap: Option<Bmap>,
        barrier: bool,
    ) -> Self {
        // The log goes on where it ended instead of at its start, so that the older blocks stay
        // readable for those who look for what happened.
        let mut flags = bindings::JBD2_CYCLE_RECORD;
        if barrier {
            flags |= bindings::JBD2_BARRIER;
        }
        let private = NonNull::from(KBox::leak(private));
        // SAFETY: by contract. The journal is new: it has no thread yet, and the shrinker that can
        // see it looks at a counter of its own only. The private data stays until the journal is
        // destroyed.
        let raw = unsafe {
            (*raw).j_private = private.as_ptr().cast();
            if bmap.is_some() {
                (*raw).j_bmap = bmap;
            }
            (*raw).j_commit_callback = Some(commit::callback::<O>);
            (*raw).j_flags |= flags as usize;
            NonNull::new_unchecked(raw)
        };
        // INVARIANT: made above.
        Self(Raw {
            raw,
            private,
            _p: PhantomData,
        })
    }

    /// Forgets what is in the journal, on disk as well: nothing of it is replayed.
    ///
    /// Errors: EFSBADCRC and EUCLEAN for a damaged log, EIO, ENOMEM.
    pub(crate) fn wipe(&mut self) -> Result {
        // SAFETY: by the type invariant of `Raw`; not loaded yet.
        check(unsafe { bindings::jbd2_journal_wipe(self.0.raw.as_ptr(), 1) })
    }

    /// Replays what is in the journal: its blocks go to their places in the device's page cache,
    /// and from there to the device. May take long.
    ///
    /// No buffer of the device may be borrowed meanwhile, since any may change.
    ///
    /// Errors: EFSBADCRC and EUCLEAN for a damaged log, EIO, ENOMEM. Some blocks may have been
    /// written, and the journal still holds all.
    pub(crate) fn load(self) -> Result<LoadedJournal<'a, O>> {
        // SAFETY: by the type invariant of `Raw`.
        check(unsafe { bindings::jbd2_journal_load(self.0.raw.as_ptr()) })?;
        // SAFETY: as above; nothing has been committed since.
        let last = unsafe { (*self.0.raw.as_ptr()).j_commit_sequence };
        self.0.private().called_back.store(last, Ordering::Relaxed);
        Ok(LoadedJournal(self.0))
    }
}

impl<O: Owner> LoadedJournal<'_, O> {
    /// The error that made the last mount give up the journal, negative; 0 for none. EROFS once
    /// this one has.
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

    /// Waits until what was to be done after the commits that have ended so far has been done (see
    /// [`CommitCallback`](super::CommitCallback)). Not from such a callback.
    pub(crate) fn wait_called_back(&self, _: &NoHandle) {
        let done = self.0.private().called_back.as_ptr();
        // SAFETY: by the type invariant of `Raw`; the word is only changed atomically. jbd2 wakes
        // those who wait when it returns from the callbacks of a transaction, of which there are
        // some for every one that is committed.
        unsafe { bindings::journal_wait_called_back(self.0.raw.as_ptr(), done) };
    }

    /// Commits what is left, marks the journal as empty on disk and lets it go.
    ///
    /// Errors: EIO when it had to be given up.
    pub(crate) fn close(mut self) -> Result {
        // SAFETY: the last use of the journal: it is forgotten right away.
        let ret = unsafe { self.0.destroy() };
        mem::forget(self);
        ret
    }
}

type Bmap = unsafe extern "C" fn(*mut bindings::journal_t, *mut bindings::sector_t) -> c_int;

/// `j_bmap`: from a block of the journal to one of the device.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
unsafe extern "C" fn bmap<O: Owner>(
    journal: *mut bindings::journal_t,
    block: *mut bindings::sector_t,
) -> c_int {
    // SAFETY: jbd2 calls this for a journal that `adopt` has made, before it is destroyed, with a
    // variable of its own; the map is only read, ever.
    unsafe {
        let map = &(*(*journal).j_private.cast::<Private<O>>()).map;
        match u32::try_from(*block).ok().and_then(|b| map.physical(b)) {
            Some(physical) => {
                *block = physical;
                0
            }
            None => EUCLEAN.to_errno(),
        }
    }
}
