// SPDX-License-Identifier: GPL-2.0

//! The cache of shareable metadata blocks (`mbcache`): from the hash of a block's contents to
//! blocks that may have them.
//!
//! A file system enters its attribute blocks and attribute value inodes by the hash of what they
//! hold, and when it is about to write such contents again looks for a block to share. An entry is
//! a hint: who finds one has to look at the block itself, under the block's lock.
//!
//! An entry that somebody holds stays. Before a block is freed its entry has to go, so that nobody
//! comes to share it: [`delete_or_get`](MbCache::delete_or_get) removes it if nobody is using it, and
//! otherwise gives it back, to be waited for.
//!
//! The kernel shrinks the cache by itself when memory is short. Entries are small; the allocation
//! of one does not recurse into file systems, since it may happen under a handle.

use super::bindings;
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{error::to_result, ffi::c_int, prelude::*};

/// A cache.
///
/// # Invariants
///
/// The pointer is a cache that we own.
pub(crate) struct MbCache(NonNull<bindings::mb_cache>);

// SAFETY: a cache belongs to no thread.
unsafe impl Send for MbCache {}
// SAFETY: all functions on it lock what they use.
unsafe impl Sync for MbCache {}

impl MbCache {
    /// An empty cache with `1 << bits` hash chains; `bits` is 1 to 16 (ext4's is 10). May sleep.
    ///
    /// Errors: ENOMEM; EINVAL for another number.
    pub(crate) fn new(bits: u32) -> Result<Self> {
        if !(1..=16).contains(&bits) {
            return Err(EINVAL);
        }
        // SAFETY: no preconditions. CAST: at most 16.
        let raw = unsafe { bindings::mb_cache_create(bits as c_int) };
        // INVARIANT: just created; NULL for any error, all of which are a lack of memory.
        Ok(Self(NonNull::new(raw).ok_or(ENOMEM)?))
    }

    /// Enters block `value` under `key`, the hash of its contents. With `reusable` it can be found
    /// by [`find`](Self::find) as well; it is not when no more users can be added to it.
    ///
    /// Errors: EBUSY if it is there already, ENOMEM (nothing is lost then but a chance to share).
    pub(crate) fn insert(&self, key: u32, value: u64, reusable: bool) -> Result {
        // SAFETY: by the type invariant.
        to_result(unsafe {
            bindings::mb_cache_entry_create(
                self.0.as_ptr(),
                bindings::GFP_NOFS,
                key,
                value,
                reusable,
            )
        })
    }

    /// The first reusable entry under `key`; [`MbEntry::next`] has the others.
    pub(crate) fn find(&self, key: u32) -> Option<MbEntry<'_>> {
        // SAFETY: by the type invariant.
        unsafe { self.entry(bindings::mb_cache_entry_find_first(self.0.as_ptr(), key)) }
    }

    /// The entry of block `value` under `key`, reusable or not.
    pub(crate) fn get(&self, key: u32, value: u64) -> Option<MbEntry<'_>> {
        // SAFETY: by the type invariant.
        unsafe { self.entry(bindings::mb_cache_entry_get(self.0.as_ptr(), key, value)) }
    }

    /// Removes the entry of block `value` under `key` if nobody holds it; otherwise returns it, and
    /// the caller waits ([`MbEntry::wait_unused`]), drops it, and tries again.
    pub(crate) fn delete_or_get(&self, key: u32, value: u64) -> Option<MbEntry<'_>> {
        // SAFETY: by the type invariant.
        unsafe {
            self.entry(bindings::mb_cache_entry_delete_or_get(
                self.0.as_ptr(),
                key,
                value,
            ))
        }
    }

    /// # Safety
    ///
    /// `raw` must be NULL or an entry of this cache, of which a reference passes to the result.
    unsafe fn entry(&self, raw: *mut bindings::mb_cache_entry) -> Option<MbEntry<'_>> {
        // INVARIANT: by contract.
        NonNull::new(raw).map(|raw| MbEntry { cache: self, raw })
    }
}

impl Drop for MbCache {
    fn drop(&mut self) {
        // SAFETY: by the type invariant. Nobody holds an entry: `MbEntry` borrows the cache. (One
        // that was forgotten is never freed, and nothing leads to the cache from it.)
        unsafe { bindings::mb_cache_destroy(self.0.as_ptr()) };
    }
}

/// An entry that we hold.
///
/// # Invariants
///
/// `raw` is an entry of `cache`, of which we own a reference.
pub(crate) struct MbEntry<'a> {
    cache: &'a MbCache,
    raw: NonNull<bindings::mb_cache_entry>,
}

impl MbEntry<'_> {
    /// The block.
    pub(crate) fn value(&self) -> u64 {
        // SAFETY: by the type invariant; constant.
        unsafe { (*self.raw.as_ptr()).e_value }
    }

    /// The next reusable entry with the same key. Who runs into an entry that has gone meanwhile
    /// starts again with the first: the caller bounds its loop.
    pub(crate) fn next(self) -> Option<Self> {
        let this = ManuallyDrop::new(self);
        // SAFETY: by the type invariant; the reference goes to the function, and the result comes
        // with one.
        unsafe {
            this.cache.entry(bindings::mb_cache_entry_find_next(
                this.cache.0.as_ptr(),
                this.raw.as_ptr(),
            ))
        }
    }

    /// It has been of use: it stays in memory longer than others.
    pub(crate) fn touch(&self) {
        // SAFETY: by the type invariant; sets a bit atomically.
        unsafe { bindings::mb_cache_entry_touch(self.cache.0.as_ptr(), self.raw.as_ptr()) };
    }

    /// Says whether the block can have more users than it has, that is whether
    /// [`find`](MbCache::find) is to find it. The block's lock is held.
    pub(crate) fn set_reusable(&self, reusable: bool) {
        // SAFETY: by the type invariant; a bit, set atomically.
        unsafe {
            bindings::mb_cache_set_reusable(self.raw.as_ptr(), reusable);
        }
    }

    /// Sleeps until nobody else holds it.
    pub(crate) fn wait_unused(&self) {
        // SAFETY: by the type invariant.
        unsafe { bindings::mb_cache_entry_wait_unused(self.raw.as_ptr()) };
    }
}

impl Drop for MbEntry<'_> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant.
        unsafe { bindings::mb_cache_entry_put(self.cache.0.as_ptr(), self.raw.as_ptr()) };
    }
}

#[kunit_tests(rext4_mbcache)]
mod tests {
    use super::*;

    fn has(cache: &MbCache, key: u32, value: u64) -> bool {
        cache.get(key, value).is_some()
    }

    /// Entries are found by key, and by key and value.
    #[test]
    fn finding() -> Result {
        let cache = MbCache::new(3)?;
        assert!(cache.find(1).is_none());
        for value in [10, 11, 12] {
            cache.insert(1, value, true)?;
        }
        cache.insert(2, 10, true)?;
        cache.insert(1, 99, false)?;
        assert_eq!(cache.insert(1, 11, true), Err(EBUSY));
        let mut seen = 0u64;
        let mut count = 0;
        let mut entry = cache.find(1);
        while let Some(e) = entry {
            seen |= 1u64.wrapping_shl(e.value() as u32);
            count = u32::wrapping_add(count, 1);
            assert!(count <= 3);
            e.touch();
            entry = e.next();
        }
        assert_eq!((seen, count), (7 << 10, 3));
        assert!(has(&cache, 1, 99) && has(&cache, 2, 10) && !has(&cache, 2, 11));
        Ok(())
    }

    /// What is held is not deleted; what is not, is.
    #[test]
    fn deleting() -> Result {
        let cache = MbCache::new(4)?;
        cache.insert(5, 1, true)?;
        let held = cache.find(5).ok_or(ENOENT)?;
        let back = cache.delete_or_get(5, 1);
        assert!(back.is_some_and(|e| e.value() == 1));
        drop(held);
        if let Some(e) = cache.get(5, 1) {
            e.wait_unused();
        }
        assert!(cache.delete_or_get(5, 1).is_none());
        assert!(!has(&cache, 5, 1));
        assert!(cache.delete_or_get(5, 1).is_none());
        Ok(())
    }

    /// An entry can be taken out of the search and put back.
    #[test]
    fn reusing() -> Result {
        let cache = MbCache::new(1)?;
        cache.insert(7, 1, true)?;
        cache.get(7, 1).ok_or(ENOENT)?.set_reusable(false);
        assert!(cache.find(7).is_none() && has(&cache, 7, 1));
        cache.get(7, 1).ok_or(ENOENT)?.set_reusable(true);
        assert!(cache.find(7).is_some());
        Ok(())
    }

    /// Sizes that make no sense.
    #[test]
    fn sizes() {
        assert!(MbCache::new(0).is_err_and(|e| e == EINVAL));
        assert!(MbCache::new(17).is_err_and(|e| e == EINVAL));
    }
}
