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
    linux::bindings,
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

/// A maple tree whose entries are values.
///
/// # Invariants
///
/// The tree is initialised, in RCU mode, and every entry in it is a value entry.
#[pin_data(PinnedDrop)]
pub(crate) struct RangeTree {
    #[pin]
    tree: Opaque<bindings::maple_tree>,
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
                    bindings::mt_init_flags(place.cast(), bindings::MT_FLAGS_USE_RCU);
                }
            }),
        })
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

    /// Stores `entry`, a value entry or NULL for nothing, over `first..=last`.
    ///
    /// Errors: ENOMEM; then nothing has changed, since the tree allocates before it writes.
    fn put(&self, first: u32, last: u32, entry: *mut c_void) -> Result {
        // SAFETY: the tree is initialised; takes its lock, and gives it up while it allocates.
        to_result(unsafe {
            bindings::mtree_store_range(
                self.tree.get(),
                first as usize,
                last as usize,
                entry,
                // The file system may be what memory is reclaimed from.
                bindings::GFP_NOFS,
            )
        })
    }
}

impl RangeStore for RangeTree {
    type Error = Error;

    fn find(&self, at: u32) -> Option<Range> {
        let mut state = bindings::ma_state {
            tree: self.tree.get(),
            index: at as usize,
            last: at as usize,
            node: ptr::null_mut(),
            min: 0,
            max: usize::MAX,
            status: bindings::maple_status_ma_start,
            store_type: bindings::store_type_wr_invalid,
            ..Default::default()
        };
        let guard = rcu::Guard::new();
        // SAFETY: the state is a fresh one for this tree, and we are in an RCU read section.
        let entry = unsafe { bindings::mas_find(&mut state, u32::MAX as usize) };
        drop(guard);
        if entry.is_null() {
            return None;
        }
        // CAST: within the first 2^32 indices, which is all that `put` uses; beside a writer the
        // bounds may be anything, and are thrown away.
        Some(Range {
            first: state.index as u32,
            last: state.last as u32,
            value: RangeValue::from_raw(from_entry(entry)),
        })
    }

    fn store(&self, range: Range) -> Result {
        self.put(range.first, range.last, to_entry(range.value.raw()))
    }

    fn erase(&self, first: u32, last: u32) -> Result {
        self.put(first, last, ptr::null_mut())
    }

    fn clear(&self) {
        // SAFETY: the tree is initialised, and can be used again. Its nodes are freed after a
        // grace period, so a lookup that is under way is not disturbed.
        unsafe { bindings::mtree_destroy(self.tree.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for RangeTree {
    fn drop(self: Pin<&mut Self>) {
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
