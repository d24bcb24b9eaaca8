// SPDX-License-Identifier: GPL-2.0

//! A request for a report of a file's extents (FS_IOC_FIEMAP).
//!
//! iomap does the reporting (see [`super::iomap::fiemap`]); what it does not know are the two
//! flags that are taken off the request here before it sees it.

use super::bindings;

/// One request, while the VFS has it answered.
pub(crate) struct FiemapInfo<'a>(&'a mut bindings::fiemap_extent_info);

impl FiemapInfo<'_> {
    /// # Safety
    ///
    /// `raw` must be the argument of a running `fiemap`, the caller's alone for the life of the
    /// result.
    pub(super) unsafe fn from_raw(raw: *mut bindings::fiemap_extent_info) -> Self {
        // SAFETY: by contract.
        Self(unsafe { &mut *raw })
    }

    pub(super) fn as_raw(&mut self) -> *mut bindings::fiemap_extent_info {
        self.0
    }

    /// Whether the extended attributes are asked for instead of the data (FIEMAP_FLAG_XATTR); the
    /// flag is taken off.
    pub(crate) fn take_xattr_flag(&mut self) -> bool {
        self.take(bindings::FIEMAP_FLAG_XATTR)
    }

    /// Whether the extents are to be read into the extent status cache (FIEMAP_FLAG_CACHE); the
    /// flag is taken off.
    pub(crate) fn take_cache_flag(&mut self) -> bool {
        self.take(bindings::FIEMAP_FLAG_CACHE)
    }

    fn take(&mut self, flag: u32) -> bool {
        let set = self.0.fi_flags & flag != 0;
        self.0.fi_flags &= !flag;
        set
    }
}
