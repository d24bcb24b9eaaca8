// SPDX-License-Identifier: GPL-2.0

//! The kernel's maple tree as a store of ranges of file blocks.
//!
//! This is where the extent status cache of a fragmented file lives
//! ([`crate::engine::extent_map`]). A value stands in the tree as a value entry, which has one
//! bit less than a word; so this is for 64-bit machines.
//!
//! # Locking
//! Lookups run under RCU alone. A slot and the pivot that bounds it are two loads, and the tree
//! does not promise that they belong together while a writer is at work: whoever looks up without
//! the writers' lock compares a sequence count, as `extent_map` says.
//!
//! Writers are serialised by the tree's own spinlock. They hold the inode's `i_data_sem` anyway,
//! and the tree could be told to rely on it; but then a safe method here would be sound only under
//! a lock that it cannot see. The spinlock is never contended and costs little beside the tree
//! walk on disk that led here. It is not an irq- or bh-safe lock, which is why dropping a store
//! does not take it when the store is empty: inodes are freed by RCU, in softirq context.

use crate::{
    engine::extent_map::{Range, RangeStore, RangeValue},
    linux::{
        bindings,
        shrinker::{Member, Shelf},
    },
};
use core::ptr;
use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*,
    sync::rcu,
    types::Opaque, //
};

const _: () = assert!(usize::BITS == 64);

/// Readers under RCU; and inner nodes of the kind that the kernel's address spaces use, though
/// nobody asks for gaps here. In the other kind the last slot shares its place with the node's
/// metadata: mt_destroy_walk() clears that in the top node of what it hands to RCU, and if
/// all 16 slots are taken it clears part of a pointer that mt_free_walk() then frees.
const MT_FLAGS: u32 = bindings::MT_FLAGS_USE_RCU | bindings::MT_FLAGS_ALLOC_RANGE;

/// A maple tree whose entries are values.
///
/// # Invariants
///
/// The tree is initialised, in RCU mode, and every entry in it is a value entry.
#[pin_data(PinnedDrop)]
pub(crate) struct RangeTree {
    #[pin]
    tree: Opaque<bindings::maple_tree>,
    /// By which it is found when memory is short.
    #[pin]
    member: Member,
}

// SAFETY: the tree does its own locking, see the module's head.
unsafe impl Send for RangeTree {}
// SAFETY: as above.
unsafe impl Sync for RangeTree {}

impl RangeTree {
    /// An empty store. Allocates nothing.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: an empty tree has no entries.
        pin_init!(Self {
            tree <- Opaque::ffi_init(|place: *mut bindings::maple_tree| {
                // SAFETY: the place is valid and pinned. The kernel crate's bindings have the same
                // C type under another Rust name.
                unsafe {
                    bindings::mt_init_flags(place.cast(), MT_FLAGS);
                }
            }),
            member <- Member::new(),
        })
    }

    /// Has the shrinker of `shelf` know of the tree whenever there is anything in it.
    ///
    /// # Safety
    ///
    /// As [`Member::join`].
    pub(super) unsafe fn join(&self, shelf: *const Shelf, inode: *mut bindings::inode) {
        // SAFETY: by contract.
        unsafe { self.member.join(shelf, inode) };
    }

    /// Whether the store is empty.
    fn is_empty(&self) -> bool {
        // SAFETY: the tree is initialised; the root is a word that is read racily by design.
        unsafe {
            (&raw const (*self.tree.get()).ma_root)
                .read_volatile()
                .is_null()
        }
    }

    /// Gives `from..=to` its value, or none, joined with what it touches of the same.
    ///
    /// One walk to where the change is, and mostly no other: what is there, and beside it, is looked at
    /// from the place that is then written to.
    ///
    /// Errors: ENOMEM; then nothing has changed, since the tree allocates before it writes.
    fn put(&self, from: u32, to: u32, value: Option<RangeValue>) -> Result {
        let (mut first, mut last) = (from, to);
        // How many ranges more there will be.
        let mut growth = i32::from(value.is_some());
        let mut state = self.state(from.saturating_sub(1));
        let behind = to.saturating_add(1) as usize;
        // SAFETY: the tree is initialised. The state is a fresh one of this tree and is used under the
        // tree's lock. Only `mas_store_gfp` gives that up, to allocate nodes, and walks anew then.
        let stored = unsafe {
            bindings::mtree_lock_here(self.tree.get());
            // Each turn goes past a range that is replaced or touched.
            loop {
                let entry = bindings::mas_find(&mut state, behind);
                if entry.is_null() {
                    break;
                }
                let range = found(&state, entry);
                if Some(range.value) == value {
                    (first, last) = (first.min(range.first), last.max(range.last));
                    growth = growth.wrapping_sub(1);
                } else if range.first <= to && range.last >= from {
                    let ends = i32::from(range.first < from).wrapping_add((range.last > to).into());
                    growth = growth.wrapping_add(ends.wrapping_sub(1));
                }
                if range.last as usize >= behind {
                    break;
                }
            }
            // All in the range that was found last: the state need not walk again.
            let inside = state.status == bindings::maple_status_ma_active
                && state.index <= first as usize
                && last as usize <= state.last;
            if !inside {
                state = self.state(0);
            }
            (state.index, state.last) = (first as usize, last as usize);
            let entry = value.map_or(ptr::null_mut(), |value| to_entry(value.raw()));
            // The file system may be what memory is reclaimed from.
            let stored = bindings::mas_store_gfp(&mut state, entry, bindings::GFP_NOFS);
            bindings::mtree_unlock_here(self.tree.get());
            stored
        };
        to_result(stored)?;
        self.member.count(growth);
        Ok(())
    }

    /// A walk of the tree that begins at `at`.
    #[inline]
    fn state(&self, at: u32) -> bindings::ma_state {
        bindings::ma_state {
            tree: self.tree.get(),
            index: at as usize,
            last: at as usize,
            node: ptr::null_mut(),
            min: 0,
            max: usize::MAX,
            status: bindings::maple_status_ma_start,
            store_type: bindings::store_type_wr_invalid,
            ..Default::default()
        }
    }
}

/// The range at which a walk has found `entry`.
#[inline]
fn found(state: &bindings::ma_state, entry: *mut c_void) -> Range {
    // CAST: within the first 2^32 indices, which is all that `put` uses; beside a writer the
    // bounds may be anything, and are thrown away.
    Range {
        first: state.index as u32,
        last: state.last as u32,
        value: RangeValue::from_raw(from_entry(entry)),
    }
}

impl RangeStore for RangeTree {
    type Error = Error;

    fn find(&self, at: u32) -> Option<Range> {
        let mut state = self.state(at);
        let guard = rcu::Guard::new();
        // SAFETY: the state is a fresh one for this tree, and we are in an RCU read section.
        let entry = unsafe { bindings::mas_find(&mut state, u32::MAX as usize) };
        drop(guard);
        (!entry.is_null()).then(|| found(&state, entry))
    }

    fn store(&self, range: Range) -> Result {
        self.put(range.first, range.last, Some(range.value))
    }

    fn erase(&self, first: u32, last: u32) -> Result {
        self.put(first, last, None)
    }

    fn clear(&self) {
        // SAFETY: the tree is initialised, and can be used again. Its nodes are freed after a
        // grace period, so a lookup that is under way is not disturbed.
        unsafe { bindings::mtree_destroy(self.tree.get()) };
        self.member.leave();
    }
}

#[pinned_drop]
impl PinnedDrop for RangeTree {
    fn drop(self: Pin<&mut Self>) {
        // Not even the lock is taken where eviction has emptied the store, see the module's head.
        if !self.is_empty() {
            self.clear();
        }
    }
}

/// A value as an entry (`xa_mk_value`). Values have 51 bits, see [`RangeValue::raw`].
#[inline]
fn to_entry(value: u64) -> *mut c_void {
    ptr::without_provenance_mut(((value << 1) | 1) as usize)
}

/// The value in an entry (`xa_to_value`).
#[inline]
fn from_entry(entry: *mut c_void) -> u64 {
    (entry.addr() >> 1) as u64
}

#[kunit_tests(rext4_maple)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            extent_map::{ExtentMap, InlineMap},
            mapping::{MapKind, Mapping},
        },
        ondisk::{FileBlock, FsBlock},
    };

    fn range(first: u32, last: u32, physical: u64) -> Range {
        let value = RangeValue::of(&written(first, 1, physical));
        Range {
            first,
            last,
            value: value.unwrap_or(RangeValue::from_raw(0)),
        }
    }

    fn written(first: u32, len: u32, physical: u64) -> Mapping {
        Mapping {
            lblk: FileBlock::new(first),
            len,
            kind: MapKind::Written(FsBlock::new(physical)),
        }
    }

    fn tree() -> Result<Pin<KBox<RangeTree>>> {
        KBox::pin_init(RangeTree::new(), GFP_KERNEL)
    }

    /// A range is found from inside and from below, and nothing is found above it.
    #[test]
    fn finds_around_and_above() -> Result {
        let t = tree()?;
        assert!(t.find(0).is_none());
        t.store(range(100, 199, 5000))?;
        for at in [0, 99, 100, 150, 199] {
            assert_eq!(t.find(at), Some(range(100, 199, 5000)));
        }
        assert!(t.find(200).is_none());
        Ok(())
    }

    /// Block 0 alone, the last block, and the whole space are stored like any other range.
    #[test]
    fn ends_of_the_space() -> Result {
        let t = tree()?;
        t.store(range(0, 0, 7))?;
        assert_eq!(t.find(0), Some(range(0, 0, 7)));
        assert!(t.find(1).is_none());
        t.store(range(u32::MAX - 1, u32::MAX, (1 << 48) - 1))?;
        assert_eq!(
            t.find(1),
            Some(range(u32::MAX - 1, u32::MAX, (1 << 48) - 1))
        );
        t.store(range(0, u32::MAX, 1))?;
        assert_eq!(t.find(u32::MAX), Some(range(0, u32::MAX, 1)));
        Ok(())
    }

    /// What touches others of the same value is one range with them, on either side and at the ends of the
    /// space.
    #[test]
    fn joins() -> Result {
        let t = tree()?;
        let value = RangeValue::from_raw(5);
        let store = |first, last| t.store(Range { first, last, value });
        let all = |first, last| Some(Range { first, last, value });
        store(0, 9)?;
        store(20, 29)?;
        assert_eq!((t.find(0), t.member.ranges()), (all(0, 9), 2));
        store(10, 19)?;
        assert_eq!((t.find(15), t.member.ranges()), (all(0, 29), 1));
        store(u32::MAX - 9, u32::MAX)?;
        store(u32::MAX - 19, u32::MAX - 10)?;
        assert_eq!(t.find(30), all(u32::MAX - 19, u32::MAX));
        assert_eq!(t.member.ranges(), 2);
        store(30, u32::MAX - 20)?;
        assert_eq!((t.find(1), t.member.ranges()), (all(0, u32::MAX), 1));
        t.erase(5, 5)?;
        assert_eq!((t.find(5), t.member.ranges()), (all(6, u32::MAX), 2));
        store(5, 5)?;
        assert_eq!((t.find(5), t.member.ranges()), (all(0, u32::MAX), 1));
        Ok(())
    }

    /// A change in the middle leaves both ends with their value.
    #[test]
    fn cuts() -> Result {
        let t = tree()?;
        t.store(range(0, 999, 5000))?;
        t.store(range(300, 399, 90_000))?;
        t.erase(600, 699)?;
        let value = range(0, 999, 5000).value;
        let part = |first, last| Some(Range { first, last, value });
        assert_eq!(t.find(0), part(0, 299));
        assert_eq!(t.find(300), Some(range(300, 399, 90_000)));
        assert_eq!(t.find(400), part(400, 599));
        assert_eq!(t.find(600), part(700, 999));
        // Any part of a range maps as the whole did.
        let m = value.mapping(FileBlock::new(700), 300);
        assert_eq!(
            m.map(|m| m.kind),
            Some(MapKind::Written(FsBlock::new(5700)))
        );
        Ok(())
    }

    /// A cleared tree is empty and can be used again.
    #[test]
    fn clears() -> Result {
        let t = tree()?;
        for round in 0..3u32 {
            for i in 0..2000u32 {
                t.store(range(i * 10, i * 10 + 4, u64::from(i * 100 + round)))?;
            }
            assert_eq!(
                t.find(9_997),
                Some(range(10_000, 10_004, u64::from(100_000 + round)))
            );
            assert_eq!(t.member.ranges(), 2000);
            t.clear();
            assert!(t.is_empty());
            assert_eq!(t.member.ranges(), 0);
            assert!(t.find(0).is_none());
        }
        Ok(())
    }

    /// Trees of every width are freed, nodes without a spare slot among them.
    #[test]
    fn frees_full_nodes() -> Result {
        // With the kernel's checks it takes a hundred times as long: not every number then, but every
        // remainder by the sizes of nodes, 10 and 16.
        let step = if cfg!(debug_assertions) { 7 } else { 1 };
        for count in (1..400u32).step_by(step) {
            let t = tree()?;
            for i in 0..count {
                t.store(range(i * 2, i * 2, u64::from(i) + 1))?;
            }
            // Removes subtrees from a tree that stays.
            t.erase(count / 4, count)?;
            for i in 0..count {
                t.store(range(i * 2, i * 2, u64::from(i) + 1))?;
            }
            t.clear();
        }
        // The nodes are freed after a grace period. SAFETY: this may sleep.
        unsafe { bindings::rcu_barrier() };
        Ok(())
    }

    /// Against a model: random stores and erasures, then every block looked up.
    #[test]
    fn random_changes() -> Result {
        const SPACE: u32 = 512;
        let t = tree()?;
        let mut model = KVec::from_elem(0u64, SPACE as usize, GFP_KERNEL)?;
        let mut seed = 0x1234_5678_9abc_def1u64;
        let mut random = |mask: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u32 & mask
        };
        for _ in 0..3000 {
            let first = random(SPACE - 1);
            let last = first.saturating_add(random(31)).min(SPACE - 1);
            // Few values, so that ranges touch others of the same.
            let value = u64::from(random(3));
            if value == 0 {
                t.erase(first, last)?;
            } else {
                let value = RangeValue::from_raw(value);
                t.store(Range { first, last, value })?;
            }
            for (slot, at) in model.iter_mut().zip(0u32..) {
                if (first..=last).contains(&at) {
                    *slot = value;
                }
            }
        }
        let mut ranges = 0u32;
        let mut before = 0u64;
        for value in &model {
            ranges = ranges.saturating_add((*value != 0 && *value != before).into());
            before = *value;
        }
        assert_eq!(t.member.ranges(), ranges);
        for (value, at) in model.iter().zip(0u32..) {
            let found = t.find(at).filter(|r| r.first <= at);
            assert_eq!(found.map_or(0, |r| r.value.raw()), *value);
            if let Some(r) = found {
                for (other, at) in model.iter().zip(0u32..) {
                    assert!(!(r.first..=r.last).contains(&at) || other == value);
                }
            }
        }
        Ok(())
    }

    /// The extent map on this store, beyond its inline slots.
    #[test]
    fn extent_map() -> Result {
        let (inline, store) = (InlineMap::new(), tree()?);
        let map = ExtentMap::new(&inline, &*store);
        for i in 0..500u32 {
            map.fill(&written(i * 8, 4, u64::from(i) * 1000 + 64))?;
        }
        assert!(inline.is_spilled());
        for i in 0..500u32 {
            let known = written(i * 8, 4, u64::from(i) * 1000 + 64);
            assert_eq!(map.lookup(FileBlock::new(i * 8 + 3)), Some(known));
            assert_eq!(map.lookup(FileBlock::new(i * 8 + 4)), None);
        }
        // Neighbours that continue each other become one range.
        map.set(&written(4, 4, 68))?;
        assert_eq!(map.lookup(FileBlock::new(0)), Some(written(0, 8, 64)));
        map.clear();
        assert!(store.is_empty());
        assert_eq!(map.lookup(FileBlock::new(0)), None);
        Ok(())
    }
}
