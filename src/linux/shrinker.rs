// SPDX-License-Identifier: GPL-2.0

//! Extent status caches that are given up when memory is short.
//!
//! A superblock has a list of those of its inodes whose cache has outgrown the inode and stands in a
//! tree, and a shrinker that has the file system empty some of them. A tree puts itself on the list with its first
//! range, and leaves it when it is cleared ([`Member`]); inodes with few ranges are never on it.
//!
//! # Locking
//! The list has a spinlock of its own, inside of everything; nothing else is taken under it. The shrinker
//! holds no reference to an inode: dropping the last one would evict it, for which memory may have to be
//! found. It looks at inodes inside an RCU read section, and inodes are freed after a grace period: one that
//! is being evicted meanwhile stays allocated, and what of it is used is behind the locks that eviction
//! takes as well. So nothing sleeps there.

use super::{
    bindings, fs_type::FileSystem, inode, percpu::PercpuCounter, super_block::SuperBlock,
    time::monotonic_ns, trace,
};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed},
};
use kernel::{
    container_of,
    ffi::{c_ulong, c_void},
    new_spinlock,
    prelude::*,
    sync::{rcu, SpinLock},
    types::Opaque,
};

/// How much a CPU may count for itself.
const BATCH: i32 = 64;

/// The trees of a superblock that hold anything.
///
/// # Invariants
///
/// `head` is a list of `Member::entry`, changed under `members`, which says how many there are. A
/// member leaves it before it ceases to exist.
#[pin_data]
pub(super) struct Shelf {
    #[pin]
    head: Opaque<bindings::list_head>,
    #[pin]
    members: SpinLock<u32>,
    /// Ranges in all trees.
    #[pin]
    ranges: PercpuCounter,
}

// SAFETY: the list is used under its lock.
unsafe impl Send for Shelf {}
// SAFETY: as above.
unsafe impl Sync for Shelf {}

impl Shelf {
    fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: the list is empty.
        try_pin_init!(Self {
            head <- Opaque::ffi_init(|place| {
                // SAFETY: the place is valid for writes.
                unsafe { init_list(place) }
            }),
            members <- new_spinlock!(0, "rext4 extent caches"),
            ranges <- PercpuCounter::new(0, BATCH),
        }? Error)
    }

    /// The member that has waited longest; it goes to the end.
    ///
    /// The result is valid during the RCU read section that `_section` shows.
    fn next(&self, _section: &rcu::Guard) -> Option<NonNull<Member>> {
        let _members = self.members.lock();
        // SAFETY: by the type invariant; under the lock.
        unsafe {
            let entry = (*self.head.get()).next;
            if entry == self.head.get() {
                return None;
            }
            bindings::list_move_last(entry, self.head.get());
            NonNull::new(Member::of(entry).cast_mut())
        }
    }

    /// Visits all members.
    fn for_each(&self, mut visit: impl FnMut(&Member)) {
        let _members = self.members.lock();
        // SAFETY: by the type invariant; under the lock.
        unsafe {
            let mut entry = (*self.head.get()).next;
            while entry != self.head.get() {
                visit(&*Member::of(entry));
                entry = (*entry).next;
            }
        }
    }
}

/// Makes `place` the head of an empty list, or an entry that is on none.
///
/// # Safety
///
/// `place` must be valid for writes.
unsafe fn init_list(place: *mut bindings::list_head) {
    // SAFETY: by contract.
    unsafe {
        (*place).next = place;
        (*place).prev = place;
    }
}

/// A tree's part in this: its place on the list, and how many ranges it holds.
///
/// # Invariants
///
/// `shelf` is NULL or valid as long as the member exists; `inode` then is the inode that the member is in.
/// `entry` is initialised. It is on the list of `shelf` if `listed` says so, which is changed under that
/// list's lock.
#[pin_data(PinnedDrop)]
pub(super) struct Member {
    #[pin]
    entry: Opaque<bindings::list_head>,
    listed: AtomicBool,
    ranges: AtomicU32,
    shelf: AtomicPtr<Shelf>,
    inode: AtomicPtr<bindings::inode>,
}

// SAFETY: the entry is used under the list's lock, and the rest is atomic.
unsafe impl Send for Member {}
// SAFETY: as above.
unsafe impl Sync for Member {}

impl Member {
    /// A member of nothing.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            entry <- Opaque::ffi_init(|place| {
                // SAFETY: the place is valid for writes.
                unsafe { init_list(place) }
            }),
            listed: AtomicBool::new(false),
            ranges: AtomicU32::new(0),
            shelf: AtomicPtr::new(ptr::null_mut()),
            inode: AtomicPtr::new(ptr::null_mut()),
        })
    }

    /// The member of an entry of a list.
    ///
    /// # Safety
    ///
    /// `entry` is on a list of members.
    unsafe fn of(entry: *mut bindings::list_head) -> *const Self {
        let place = Opaque::cast_from(entry.cast_const());
        // SAFETY: by contract.
        unsafe { container_of!(place, Self, entry) }
    }

    /// Has the tree belong to an inode of a superblock.
    ///
    /// # Safety
    ///
    /// Nobody else uses the tree yet. It is in `inode`, an inode of a file system whose superblock has
    /// `shelf` until after all its inodes are gone.
    pub(super) unsafe fn join(&self, shelf: *const Shelf, inode: *mut bindings::inode) {
        self.inode.store(inode, Relaxed);
        self.shelf.store(shelf.cast_mut(), Relaxed);
    }

    fn shelf(&self) -> Option<&Shelf> {
        // SAFETY: by the type invariant.
        unsafe { self.shelf.load(Relaxed).as_ref() }
    }

    /// How many ranges the tree holds.
    pub(super) fn ranges(&self) -> u32 {
        self.ranges.load(Relaxed)
    }

    /// There are `by` ranges more now, or fewer. For the writer.
    pub(super) fn count(&self, by: i32) {
        // One writer at a time.
        let ranges = self.ranges().saturating_add_signed(by);
        self.ranges.store(ranges, Relaxed);
        let Some(shelf) = self.shelf() else {
            return;
        };
        if by != 0 {
            shelf.ranges.add(by.into());
        }
        if !self.listed.load(Relaxed) {
            let mut members = shelf.members.lock();
            // SAFETY: by the type invariants; under the lock. The member leaves before it is dropped.
            unsafe {
                if !self.listed.swap(true, Relaxed) {
                    bindings::list_add_last(self.entry.get(), shelf.head.get());
                    *members = members.saturating_add(1);
                }
            }
        }
    }

    /// The tree is empty. For the writer.
    pub(super) fn leave(&self) {
        let ranges = self.ranges.swap(0, Relaxed);
        let Some(shelf) = self.shelf() else {
            return;
        };
        shelf.ranges.sub(ranges.into());
        let mut members = shelf.members.lock();
        if self.listed.swap(false, Relaxed) {
            // SAFETY: by the type invariants; under the lock.
            unsafe { bindings::list_unlink(self.entry.get()) };
            *members = members.saturating_sub(1);
        }
    }

    /// Whether it is on a list.
    pub(super) fn is_listed(&self) -> bool {
        self.listed.load(Relaxed)
    }
}

#[pinned_drop]
impl PinnedDrop for Member {
    fn drop(self: Pin<&mut Self>) {
        if self.is_listed() {
            self.leave();
        }
    }
}

/// The shrinker of a superblock.
///
/// # Invariants
///
/// `shrinker` comes from `shrinker_alloc` and is ours to free; if it is registered, its private data
/// is `self`.
#[pin_data(PinnedDrop)]
pub(super) struct Caches<F: FileSystem> {
    #[pin]
    shelf: Shelf,
    shrinker: NonNull<bindings::shrinker>,
    sb: *mut bindings::super_block,
    /// Running averages, and the maximum: nanoseconds of a scan, ranges that it has freed.
    scan_time: AtomicU64,
    max_scan_time: AtomicU64,
    shrunk: AtomicU64,
    _p: PhantomData<F>,
}

// SAFETY: the shrinker belongs to no thread.
unsafe impl<F: FileSystem> Send for Caches<F> {}
// SAFETY: what changes is atomic, or `Sync` itself.
unsafe impl<F: FileSystem> Sync for Caches<F> {}

impl<F: FileSystem> Caches<F> {
    /// The caches of `sb`, of which there are none yet. [`register`](Self::register) is to be called.
    ///
    /// Errors: ENOMEM.
    pub(super) fn new(sb: *mut bindings::super_block) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            shelf <- Shelf::new(),
            shrinker: {
                // SAFETY: `s_id` is a NUL-terminated string.
                let raw = unsafe { bindings::shrinker_alloc_for((&raw const (*sb).s_id).cast()) };
                NonNull::new(raw).ok_or(ENOMEM)?
            },
            sb,
            scan_time: AtomicU64::new(0),
            max_scan_time: AtomicU64::new(0),
            shrunk: AtomicU64::new(0),
            _p: PhantomData,
        }? Error)
    }

    /// Opens the list to the kernel's search for memory.
    ///
    /// # Safety
    ///
    /// To be called once; `this` stays where it is.
    pub(super) unsafe fn register(this: *const Self) {
        // SAFETY: by contract and the type invariant; nobody else has the shrinker yet. It is freed, and
        // its callbacks have ended, before `this` is gone.
        unsafe {
            let shrinker = (*this).shrinker.as_ptr();
            (*shrinker).count_objects = Some(count::<F>);
            (*shrinker).scan_objects = Some(scan::<F>);
            (*shrinker).private_data = this.cast_mut().cast::<c_void>();
            bindings::shrinker_register(shrinker);
        }
    }

    /// The list, for inodes to be on.
    pub(super) fn shelf(&self) -> *const Shelf {
        &raw const self.shelf
    }

    /// The caches that a shrinker is for.
    ///
    /// # Safety
    ///
    /// `shrinker` is what a callback of a registered one has been given.
    unsafe fn of<'a>(shrinker: *mut bindings::shrinker) -> &'a Self {
        // SAFETY: by contract; freeing it waits for callbacks.
        unsafe { &*(*shrinker).private_data.cast::<Self>() }
    }

    /// Has the file system empty trees, until some `wanted` ranges have been looked at: how many were
    /// freed, and how many were seen.
    fn shrink(&self, wanted: u64) -> (u64, u64) {
        let start = monotonic_ns();
        let (mut freed, mut seen) = (0u64, 0u64);
        let members = *self.shelf.members.lock();
        for _ in 0..members {
            if seen >= wanted {
                break;
            }
            let section = rcu::Guard::new();
            let Some(member) = self.shelf.next(&section) else {
                break;
            };
            // SAFETY: a member of the list is in an inode of `F`, which stays allocated during the
            // section: inodes leave the list before they are freed, which is a grace period later.
            let (ranges, info) = unsafe {
                let member = member.as_ref();
                let inode = member.inode.load(Relaxed);
                (u64::from(member.ranges()), inode::data_ref::<F>(inode))
            };
            seen = seen.saturating_add(ranges);
            if F::shrink(info) {
                freed = freed.saturating_add(ranges);
            }
        }
        let time = monotonic_ns().saturating_sub(start);
        self.max_scan_time.fetch_max(time, Relaxed);
        average(&self.scan_time, time);
        average(&self.shrunk, freed);
        (freed, seen)
    }

    fn facts(&self) -> Facts {
        let mut facts = Facts {
            ranges: self.shelf.ranges.sum(),
            scan_us: self.scan_time.load(Relaxed) / 1000,
            max_scan_us: self.max_scan_time.load(Relaxed) / 1000,
            shrunk: self.shrunk.load(Relaxed),
            ..Facts::default()
        };
        self.shelf.for_each(|member| {
            let inode = member.inode.load(Relaxed);
            // SAFETY: a member of the list is in an inode of `F`, and leaves the list first.
            let (ino, info) = unsafe { ((*inode).i_ino, inode::data_ref::<F>(inode)) };
            let ranges = member.ranges();
            let free = if F::is_shrinkable(info) { ranges } else { 0 };
            facts.inodes = facts.inodes.saturating_add(1);
            facts.shrinkable = facts.shrinkable.saturating_add(free.into());
            if facts.most.is_none_or(|most| most.1 < ranges) {
                facts.most = Some((ino, ranges, free));
            }
        });
        facts
    }
}

#[pinned_drop]
impl<F: FileSystem> PinnedDrop for Caches<F> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: by the type invariant; this waits for callbacks.
        unsafe { bindings::shrinker_free(self.shrinker.as_ptr()) };
    }
}

/// A running average: a quarter of it is what is new.
fn average(value: &AtomicU64, new: u64) {
    let old = value.load(Relaxed);
    let next = match old {
        0 => new,
        old => old.saturating_mul(3).saturating_add(new) / 4,
    };
    value.store(next, Relaxed);
}

/// What there is to be said of the caches of a superblock.
#[derive(Default)]
pub(crate) struct Facts {
    /// Ranges in all trees.
    pub(crate) ranges: u64,
    /// Those of them that could be given up.
    pub(crate) shrinkable: u64,
    /// How many inodes have a tree.
    pub(crate) inodes: u32,
    /// The one of them with the most ranges: its number, the ranges, those that could be given up.
    pub(crate) most: Option<(u64, u32, u32)>,
    /// How long a scan takes, in microseconds.
    pub(crate) scan_us: u64,
    /// How long the longest one has taken.
    pub(crate) max_scan_us: u64,
    /// How many ranges a scan frees.
    pub(crate) shrunk: u64,
}

impl<F: FileSystem> SuperBlock<F> {
    /// About the extent status caches of its inodes. Walks over all that have a tree.
    pub(crate) fn cache_facts(&self) -> Facts {
        self.caches().facts()
    }
}

/// `count_objects`.
///
/// # Safety
///
/// For the kernel only, with a shrinker that [`Caches::register`] has registered.
unsafe extern "C" fn count<F: FileSystem>(
    shrinker: *mut bindings::shrinker,
    _control: *mut bindings::shrink_control,
) -> c_ulong {
    // SAFETY: by contract.
    let ranges = &unsafe { Caches::<F>::of(shrinker) }.shelf.ranges;
    let about = ranges.read();
    // The last ones could be taken for none.
    let count = if about > ranges.error() {
        about
    } else {
        ranges.sum()
    };
    // CAST: a word has 64 bits here.
    count as c_ulong
}

/// `scan_objects`.
///
/// # Safety
///
/// As of [`count`].
unsafe extern "C" fn scan<F: FileSystem>(
    shrinker: *mut bindings::shrinker,
    control: *mut bindings::shrink_control,
) -> c_ulong {
    // SAFETY: by contract; the request is the caller's.
    let (caches, control) = unsafe { (Caches::<F>::of(shrinker), &mut *control) };
    let wanted = control.nr_to_scan as u64;
    let (freed, seen) = caches.shrink(wanted);
    // SAFETY: the caches are part of the superblock's data.
    unsafe { trace::shrink(caches.sb, wanted, seen, freed) };
    if seen == 0 {
        // SHRINK_STOP: there is nothing more.
        return c_ulong::MAX;
    }
    // CAST: as above.
    control.nr_scanned = seen.max(wanted) as c_ulong;
    freed as c_ulong
}
