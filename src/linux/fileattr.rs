// SPDX-License-Identifier: GPL-2.0

//! The file attributes of FS_IOC_GETFLAGS and FS_IOC_FSGETXATTR.

use super::bindings;

/// The attributes of one file: being filled in, or wanted.
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

    /// Whether the caller gave `FS_*_FL` flags (FS_IOC_SETFLAGS), as opposed to the fields of
    /// FS_IOC_FSSETXATTR. The VFS has then derived the ones from the others, as far as they say
    /// the same.
    #[allow(dead_code, reason = "the write path is being built on top of this")]
    pub(crate) fn by_flags(&self) -> bool {
        self.0.flags_valid()
    }

    /// The wanted `FS_*_FL` flags.
    #[allow(dead_code, reason = "the write path is being built on top of this")]
    pub(crate) fn flags(&self) -> u32 {
        self.0.flags
    }

    /// The wanted `FS_XFLAG_*` flags.
    #[allow(dead_code, reason = "the write path is being built on top of this")]
    pub(crate) fn xflags(&self) -> u32 {
        self.0.fsx_xflags
    }

    /// The wanted project id; it counts unless [`by_flags`](Self::by_flags).
    #[allow(dead_code, reason = "the write path is being built on top of this")]
    pub(crate) fn project(&self) -> u32 {
        self.0.fsx_projid
    }

    /// The wanted extent size hint in bytes.
    #[allow(dead_code, reason = "the write path is being built on top of this")]
    pub(crate) fn extent_size(&self) -> u32 {
        self.0.fsx_extsize
    }

    /// Whether anything is wanted that no `FS_*_FL` flag stands for: a project id, an extent size,
    /// other `FS_XFLAG_*` flags.
    #[allow(dead_code, reason = "the write path is being built on top of this")]
    pub(crate) fn has_extended(&self) -> bool {
        // SAFETY: reads the structure, which is ours.
        unsafe { bindings::fileattr_has_fsx(self.0) }
    }
}
