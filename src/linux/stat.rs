// SPDX-License-Identifier: GPL-2.0

//! What stat(2), statx(2) and statfs(2) report.

use super::bindings;

/// The result of statx for one file, already filled with what every file has.
pub(crate) struct KStat<'a> {
    raw: &'a mut bindings::kstat,
    request: u32,
}

impl KStat<'_> {
    /// # Safety
    ///
    /// `raw` must be valid and the caller's alone for the life of the result.
    pub(super) unsafe fn from_raw(raw: *mut bindings::kstat, request: u32) -> Self {
        Self {
            // SAFETY: by contract.
            raw: unsafe { &mut *raw },
            request,
        }
    }

    /// Whether the caller asked for any of `mask` (`STATX_*`).
    #[inline]
    pub(crate) fn wants(&self, mask: u32) -> bool {
        self.request & mask != 0
    }

    /// Sets the birth time.
    pub(crate) fn set_btime(&mut self, sec: i64, nsec: u32) {
        self.raw.result_mask |= bindings::STATX_BTIME;
        self.raw.btime.tv_sec = sec;
        self.raw.btime.tv_nsec = nsec as isize;
    }

    /// Sets the alignments for direct I/O, in bytes; 0 means that there is none.
    pub(crate) fn set_dio_align(&mut self, memory: u32, offset: u32) {
        self.raw.result_mask |= bindings::STATX_DIOALIGN;
        self.raw.dio_mem_align = memory;
        self.raw.dio_offset_align = offset;
    }

    /// Sets `attributes` (`STATX_ATTR_*`) out of those in `known`.
    #[inline]
    pub(crate) fn set_attributes(&mut self, attributes: u64, known: u64) {
        self.raw.attributes |= attributes & known;
        self.raw.attributes_mask |= known;
    }

    /// Adds 512-byte sectors to the space used.
    pub(crate) fn add_sectors(&mut self, sectors: u64) {
        self.raw.blocks = self.raw.blocks.wrapping_add(sectors);
    }

    /// Says how long untorn writes are, in bytes; 0 if there are none.
    pub(crate) fn set_untorn(&mut self, size: u32) {
        // SAFETY: the structure is ours; zero sizes mean "not supported".
        unsafe { bindings::generic_fill_statx_atomic_writes(self.raw, size, size, 0) };
    }
}

/// The result of statfs.
pub(crate) struct StatFs(bindings::kstatfs);

impl StatFs {
    /// # Safety
    ///
    /// `raw` must be valid and the caller's alone for `'a`.
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::kstatfs) -> &'a mut Self {
        // SAFETY: by contract; a newtype of the same layout.
        unsafe { &mut *raw.cast() }
    }

    /// Fills the result in. Counts are in blocks of `block_size` bytes; `fsid` is derived from
    /// the UUID, so that it stays the same wherever the file system is mounted.
    pub(crate) fn fill(&mut self, s: &StatFsFacts) {
        let f = &mut self.0;
        f.f_type = s.magic as isize;
        f.f_bsize = s.block_size as isize;
        f.f_blocks = s.blocks;
        f.f_bfree = s.blocks_free;
        f.f_bavail = s.blocks_available;
        f.f_files = s.files;
        f.f_ffree = s.files_free;
        f.f_namelen = 255;
        f.f_fsid.val = [s.fsid as u32 as i32, (s.fsid >> 32) as u32 as i32];
    }
}

/// The numbers of statfs.
pub(crate) struct StatFsFacts {
    pub(crate) magic: usize,
    pub(crate) block_size: u32,
    pub(crate) blocks: u64,
    pub(crate) blocks_free: u64,
    pub(crate) blocks_available: u64,
    pub(crate) files: u64,
    pub(crate) files_free: u64,
    pub(crate) fsid: u64,
}

/// Asks for the birth time.
pub(crate) const BTIME: u32 = bindings::STATX_BTIME;
/// Asks for the alignment of direct I/O.
pub(crate) const DIOALIGN: u32 = bindings::STATX_DIOALIGN;
/// Asks for untorn writes.
pub(crate) const WRITE_ATOMIC: u32 = bindings::STATX_WRITE_ATOMIC;
/// Append-only.
pub(crate) const ATTR_APPEND: u64 = bindings::STATX_ATTR_APPEND as u64;
/// Compressed.
pub(crate) const ATTR_COMPRESSED: u64 = bindings::STATX_ATTR_COMPRESSED as u64;
/// Encrypted.
pub(crate) const ATTR_ENCRYPTED: u64 = bindings::STATX_ATTR_ENCRYPTED as u64;
/// Immutable.
pub(crate) const ATTR_IMMUTABLE: u64 = bindings::STATX_ATTR_IMMUTABLE as u64;
/// Not to be dumped.
pub(crate) const ATTR_NODUMP: u64 = bindings::STATX_ATTR_NODUMP as u64;
