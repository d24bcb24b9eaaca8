// SPDX-License-Identifier: GPL-2.0

//! Operations on inodes: the trait that a file system implements, and the C table made of it.
//!
//! The C side of the operations that read is here, that of the others in [`super::namei_ops`].

use super::{
    bindings,
    dentry::{self, Dentry, Instantiated, Negative},
    fileattr::FileAttr,
    fs_type::FileSystem,
    idmap::Idmap,
    inode::Inode,
    link::DelayedLink,
    namei_ops::{Rename, Tmpfile},
    setattr::SetAttr,
    stat::KStat,
    xattr::ListBuffer,
};
use core::{marker::PhantomData, mem::MaybeUninit, ptr};
use kernel::{
    error::{from_result, VTABLE_DEFAULT_ERROR},
    ffi::{c_int, c_uint},
    prelude::*,
    sync::aref::ARef,
};

/// Operations on an inode. Absent ones stay NULL, which the VFS gives a meaning of its own.
#[vtable]
pub(crate) trait InodeOps: 'static {
    /// The file system.
    type Fs: FileSystem;

    /// Finds `name` in directory `dir`; i_rwsem is held, at least shared. `None`: no such name.
    fn lookup(_dir: &Inode<Self::Fs>, _name: &[u8]) -> Result<Option<ARef<Inode<Self::Fs>>>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The text of a symbolic link that is not in the inode. May sleep.
    fn get_link(_inode: &Inode<Self::Fs>) -> Result<DelayedLink> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Fills in what stat shows, after the generic part.
    fn getattr(_inode: &Inode<Self::Fs>, _stat: &mut KStat<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes the names of all extended attributes, NUL-terminated.
    fn listxattr(_inode: &Inode<Self::Fs>, _out: &mut ListBuffer<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads an ACL; see [`super::acl`].
    fn get_acl(
        _inode: &Inode<Self::Fs>,
        _kind: super::acl::AclKind,
    ) -> Result<Option<super::acl::PosixAcl>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reports the extents of `start..start + len` (bytes).
    fn fiemap(
        _inode: &Inode<Self::Fs>,
        _info: &mut super::fiemap::FiemapInfo<'_>,
        _start: u64,
        _len: u64,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The flags that lsattr and FS_IOC_FSGETXATTR show.
    fn fileattr_get(_inode: &Inode<Self::Fs>, _out: &mut FileAttr<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    // What changes something: i_rwsem is held exclusively, of each directory and each inode that
    // is an argument; write access to the mount is held; the checks of the VFS are done. All of
    // them may sleep.

    /// Makes a regular file of `mode` with the name `name` in `dir`.
    fn create<'a>(
        _idmap: Idmap<'_>,
        _dir: &Inode<Self::Fs>,
        _name: Negative<'a, Self::Fs>,
        _mode: u16,
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives `inode`, which is no directory, the name `name` in `dir`. Its link count is 0 if it
    /// was opened with O_TMPFILE.
    fn link<'a>(
        _inode: &Inode<Self::Fs>,
        _dir: &Inode<Self::Fs>,
        _name: Negative<'a, Self::Fs>,
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes the name `name` of `inode`, which is no directory, from `dir`.
    fn unlink(
        _dir: &Inode<Self::Fs>,
        _name: &Dentry<Self::Fs>,
        _inode: &Inode<Self::Fs>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a symbolic link to `target` (no NUL, 1 byte or more).
    fn symlink<'a>(
        _idmap: Idmap<'_>,
        _dir: &Inode<Self::Fs>,
        _name: Negative<'a, Self::Fs>,
        _target: &[u8],
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a directory of `mode`.
    fn mkdir<'a>(
        _idmap: Idmap<'_>,
        _dir: &Inode<Self::Fs>,
        _name: Negative<'a, Self::Fs>,
        _mode: u16,
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes the empty directory `inode`.
    ///
    /// Errors: ENOTEMPTY, among others.
    fn rmdir(_dir: &Inode<Self::Fs>, _name: &Dentry<Self::Fs>, _inode: &Inode<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a device node, FIFO or socket of `mode`, which says which; `rdev` is major and minor
    /// number of a device.
    fn mknod<'a>(
        _idmap: Idmap<'_>,
        _dir: &Inode<Self::Fs>,
        _name: Negative<'a, Self::Fs>,
        _mode: u16,
        _rdev: (u32, u32),
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Renames; the dentries follow when this has succeeded.
    fn rename(_args: &Rename<'_, Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file of `mode` without a name for `file`, as one of `dir`'s would be made.
    fn tmpfile<'a>(
        _idmap: Idmap<'_>,
        _dir: &Inode<Self::Fs>,
        _file: Tmpfile<'a, Self::Fs>,
        _mode: u16,
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// chmod, chown, utimes and truncate. Without this the VFS changes the inode in memory only.
    fn setattr(_attr: &mut SetAttr<'_, Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets the ACL of a kind, or removes it; see [`super::acl`].
    fn set_acl(
        _idmap: Idmap<'_>,
        _name: &Dentry<Self::Fs>,
        _inode: &Inode<Self::Fs>,
        _acl: Option<&super::acl::Acl>,
        _kind: super::acl::AclKind,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets the flags of chattr and FS_IOC_FSSETXATTR; what generic code can check, it has.
    fn fileattr_set(_idmap: Idmap<'_>, _inode: &Inode<Self::Fs>, _wanted: &FileAttr<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

pub(super) struct InodeVtable<T: InodeOps>(PhantomData<T>);

/// `Some(f)` when the trait has the operation.
macro_rules! when {
    ($has:expr, $f:expr) => {
        if $has {
            Some($f)
        } else {
            None
        }
    };
}
pub(super) use when;

impl<T: InodeOps> InodeVtable<T> {
    pub(super) const TABLE: bindings::inode_operations = bindings::inode_operations {
        lookup: when!(T::HAS_LOOKUP, Self::lookup),
        get_link: when!(T::HAS_GET_LINK, Self::get_link),
        getattr: when!(T::HAS_GETATTR, Self::getattr),
        listxattr: when!(T::HAS_LISTXATTR, Self::listxattr),
        get_inode_acl: when!(T::HAS_GET_ACL, Self::get_inode_acl),
        fiemap: when!(T::HAS_FIEMAP, Self::fiemap),
        fileattr_get: when!(T::HAS_FILEATTR_GET, Self::fileattr_get),
        create: when!(T::HAS_CREATE, Self::create),
        link: when!(T::HAS_LINK, Self::link),
        unlink: when!(T::HAS_UNLINK, Self::unlink),
        symlink: when!(T::HAS_SYMLINK, Self::symlink),
        mkdir: when!(T::HAS_MKDIR, Self::mkdir),
        rmdir: when!(T::HAS_RMDIR, Self::rmdir),
        mknod: when!(T::HAS_MKNOD, Self::mknod),
        rename: when!(T::HAS_RENAME, Self::rename),
        tmpfile: when!(T::HAS_TMPFILE, Self::tmpfile),
        setattr: when!(T::HAS_SETATTR, Self::setattr),
        set_acl: when!(T::HAS_SET_ACL, Self::set_acl),
        fileattr_set: when!(T::HAS_FILEATTR_SET, Self::fileattr_set),
        // `update_time` stays absent: the VFS changes the times and reports the inode dirty, which
        // is what the format needs.
        // SAFETY: a table of optional function pointers; all-zero means none.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: the VFS holds both, and the directory's i_rwsem, which keeps the name stable.
        let found = unsafe {
            T::lookup(
                Inode::from_raw(dir),
                Dentry::<T::Fs>::from_raw(dentry).name(),
            )
        };
        dentry::splice(found, dentry)
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn get_link(
        dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        done: *mut bindings::delayed_call,
    ) -> *const kernel::ffi::c_char {
        if dentry.is_null() {
            // RCU walk: we would have to sleep.
            return ECHILD.to_ptr::<kernel::ffi::c_char>();
        }
        // SAFETY: the VFS holds the inode and passes an unset `delayed_call`.
        match T::get_link(unsafe { Inode::from_raw(inode) }) {
            // SAFETY: as above.
            Ok(link) => unsafe { link.hand_over(done) },
            Err(e) => e.to_ptr::<kernel::ffi::c_char>(),
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _query_flags: c_uint,
    ) -> c_int {
        // SAFETY: the VFS holds the path, whose dentry is positive.
        unsafe {
            let inode = (*(*path).dentry).d_inode;
            bindings::generic_fillattr(idmap, request_mask, inode, stat);
            T::getattr(
                Inode::from_raw(inode),
                &mut KStat::from_raw(stat, request_mask),
            );
        }
        0
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn listxattr(
        dentry: *mut bindings::dentry,
        buffer: *mut kernel::ffi::c_char,
        size: usize,
    ) -> isize {
        from_result(|| {
            // SAFETY: the VFS holds the dentry; `buffer` is NULL or `size` bytes of its own.
            unsafe {
                let mut out = ListBuffer::from_raw(buffer.cast(), size);
                T::listxattr(Inode::from_raw((*dentry).d_inode), &mut out)?;
                out.finish()
            }
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn get_inode_acl(
        inode: *mut bindings::inode,
        kind: c_int,
        rcu: bool,
    ) -> *mut kernel::bindings::posix_acl {
        if rcu {
            return ECHILD.to_ptr();
        }
        let Some(kind) = super::acl::AclKind::from_raw(kind) else {
            return EINVAL.to_ptr();
        };
        // SAFETY: the VFS holds the inode.
        match T::get_acl(unsafe { Inode::from_raw(inode) }, kind) {
            Ok(Some(acl)) => acl.into_raw().cast(),
            Ok(None) => ptr::null_mut(),
            Err(e) => e.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut kernel::bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds the inode; `info` is the caller's for this call.
            unsafe {
                T::fiemap(
                    Inode::from_raw(inode),
                    &mut super::fiemap::FiemapInfo::from_raw(info.cast()),
                    start,
                    len,
                )?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn fileattr_get(
        dentry: *mut bindings::dentry,
        fa: *mut kernel::bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds the dentry, which is positive; `fa` is the caller's.
            unsafe {
                T::fileattr_get(
                    Inode::from_raw((*dentry).d_inode),
                    &mut FileAttr::from_raw(fa.cast()),
                )?
            };
            Ok(0)
        })
    }
}
