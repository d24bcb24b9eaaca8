// SPDX-License-Identifier: GPL-2.0

//! Trace events (include/trace/events/rext4.h).
//!
//! Whether anybody listens to one is a static key, or a load and a comparison where the architecture
//! has none; the rest is out of line, in C. In a kernel without tracepoints nothing is left of it.

use super::{bindings, fs_type::FileSystem, inode::Inode, super_block::SuperBlock};

/// Events about a range of blocks of a file.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum RangeEvent {
    MapRead = bindings::rext4_trace_event_REXT4_TRACE_map_read,
    MapReport = bindings::rext4_trace_event_REXT4_TRACE_map_report,
    MapWrite = bindings::rext4_trace_event_REXT4_TRACE_map_write,
    MapZero = bindings::rext4_trace_event_REXT4_TRACE_map_zero,
    MapWriteback = bindings::rext4_trace_event_REXT4_TRACE_map_writeback,
    MapComplete = bindings::rext4_trace_event_REXT4_TRACE_map_complete,
    CacheInsert = bindings::rext4_trace_event_REXT4_TRACE_es_insert,
    CacheRemove = bindings::rext4_trace_event_REXT4_TRACE_es_remove,
    CacheHit = bindings::rext4_trace_event_REXT4_TRACE_es_hit,
    CacheMiss = bindings::rext4_trace_event_REXT4_TRACE_es_miss,
}

/// Events about blocks of the device.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum BlocksEvent {
    TakePlace = bindings::rext4_trace_event_REXT4_TRACE_take_place,
    Settle = bindings::rext4_trace_event_REXT4_TRACE_settle,
    GiveBack = bindings::rext4_trace_event_REXT4_TRACE_give_back,
    Allocate = bindings::rext4_trace_event_REXT4_TRACE_allocate,
    Free = bindings::rext4_trace_event_REXT4_TRACE_free,
    Discard = bindings::rext4_trace_event_REXT4_TRACE_discard,
}

/// Events about promises of space.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum PromiseEvent {
    Reserve = bindings::rext4_trace_event_REXT4_TRACE_reserve,
    Release = bindings::rext4_trace_event_REXT4_TRACE_release,
}

/// Whether anybody wants to know of an event. To be asked with a constant.
#[inline(always)]
fn is_on(event: u32) -> bool {
    // SAFETY: looks at a word that always exists.
    unsafe { bindings::traces(event) }
}

impl RangeEvent {
    /// Whether anybody wants to know.
    #[inline(always)]
    pub(crate) fn is_on(self) -> bool {
        is_on(self as u32)
    }

    /// Tells of `len` blocks of `inode` from `lblk`, of this `kind`, at block `at` of the device.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell<F: FileSystem>(
        self,
        inode: &Inode<F>,
        lblk: u32,
        len: u32,
        kind: u8,
        at: u64,
    ) {
        // SAFETY: the inode is valid, and so is its superblock.
        unsafe {
            bindings::rext4_trace_range(self as u32, inode.as_raw(), lblk, len, kind, at);
        }
    }
}

impl BlocksEvent {
    /// Tells of `len` blocks from `block`.
    #[inline(always)]
    pub(crate) fn of<F: FileSystem>(self, sb: &SuperBlock<F>, block: u64, len: u64) {
        if is_on(self as u32) {
            // SAFETY: the superblock is valid.
            unsafe { bindings::rext4_trace_blocks(self as u32, sb.as_raw(), block, len) };
        }
    }
}

impl PromiseEvent {
    /// Tells of a number of clusters.
    #[inline(always)]
    pub(crate) fn of<F: FileSystem>(self, sb: &SuperBlock<F>, clusters: u64) {
        if is_on(self as u32) {
            // SAFETY: the superblock is valid.
            unsafe { bindings::rext4_trace_promise(self as u32, sb.as_raw(), clusters) };
        }
    }
}

/// The extent status caches of a superblock were to give up `wanted` ranges; `seen` were looked at.
///
/// # Safety
///
/// `sb` must be valid.
pub(super) unsafe fn shrink(sb: *const bindings::super_block, wanted: u64, seen: u64, freed: u64) {
    if is_on(bindings::rext4_trace_event_REXT4_TRACE_es_shrink) {
        // SAFETY: by contract.
        unsafe { bindings::rext4_trace_shrink(sb, wanted, seen, freed) };
    }
}
