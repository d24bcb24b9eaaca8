// SPDX-License-Identifier: GPL-2.0

//! The file attributes of FS_IOC_GETFLAGS and FS_IOC_FSGETXATTR.

use super::bindings;

/// The attributes of one file, being filled in.
pub(crate) struct FileAttr<'a>(&'a mut bindings::file_kattr);

impl FileAttr<'_> {
    /// # Safety
    ///
    /// `raw` must be valid and the caller's alone for the life of the result.
    pub(super) unsafe fn from_raw(raw: *mut bindings::file_kattr) -> Self {
        // SAFETY: by contract.
        Self(unsafe { &mut *raw })
    }

    /// Sets the `FS_*_FL` flags, from which the VFS derives the `FS_XFLAG_*` ones.
    pub(crate) fn set_flags(&mut self, flags: u32) {
        // SAFETY: the structure is ours.
        unsafe { bindings::fileattr_fill_flags(self.0, flags) };
    }

    /// Sets the project id.
    pub(crate) fn set_project(&mut self, project: u32) {
        self.0.fsx_projid = project;
    }
}
