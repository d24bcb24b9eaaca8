// SPDX-License-Identifier: GPL-2.0

//! Operations on inodes that change the file system: the C side of what [`InodeOps`] declares.
//!
//! In all of them the caller holds i_rwsem of the directories concerned exclusively, and of the
//! inode that loses or gains a name, or is changed; it has write access to the mount, and the
//! permission checks of the VFS are done.

use super::{
    acl::{Acl, AclKind},
    bindings,
    dentry::{Brand, Dentry, Instantiated, Negative},
    fileattr::FileAttr,
    fs_type::FileSystem,
    idmap::Idmap,
    inode::Inode,
    inode_new::ReadyInode,
    inode_ops::{InodeOps, InodeVtable},
    setattr::SetAttr,
};
use core::{marker::PhantomData, ptr};
use kernel::{
    error::from_result,
    ffi::{c_char, c_int, c_uint},
    prelude::*,
};

/// How a rename is to be done (`RENAME_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RenameFlags(u32);

impl RenameFlags {
    /// The new name must not exist. The VFS has seen to that: there is no target then.
    pub(crate) const NOREPLACE: Self = Self(bindings::RENAME_NOREPLACE);
    /// The two names trade places; there is a target then.
    pub(crate) const EXCHANGE: Self = Self(bindings::RENAME_EXCHANGE);
    /// The old name becomes a whiteout, a character device 0:0 (for overlayfs).
    pub(crate) const WHITEOUT: Self = Self(bindings::RENAME_WHITEOUT);
    const ALL: u32 = Self::NOREPLACE.0 | Self::EXCHANGE.0 | Self::WHITEOUT.0;

    /// Whether all bits of `flags` are set.
    pub(crate) fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// The arguments of a rename. Both directories are locked, and both inodes.
pub(crate) struct Rename<'a, F: FileSystem> {
    /// The mapping of the mount.
    pub(crate) idmap: Idmap<'a>,
    /// Where the name is.
    pub(crate) old_dir: &'a Inode<F>,
    /// The name.
    pub(crate) old: &'a Dentry<F>,
    /// What it names.
    pub(crate) inode: &'a Inode<F>,
    /// Where it goes; may be the same directory.
    pub(crate) new_dir: &'a Inode<F>,
    /// The new name.
    pub(crate) new: &'a Dentry<F>,
    /// What the new name names now, and will no longer.
    pub(crate) target: Option<&'a Inode<F>>,
    /// How it is to be done; no other bits than [`RenameFlags`] knows.
    pub(crate) flags: RenameFlags,
}

/// A file that is being opened with O_TMPFILE: it wants an inode without a name.
///
/// # Invariants
///
/// The file is the one that a running `tmpfile` was called with, on a published superblock of `F`;
/// its dentry has no inode.
pub(crate) struct Tmpfile<'a, F: FileSystem> {
    file: *mut bindings::file,
    dir: &'a Inode<F>,
    _once: Brand<'a>,
}

impl<'a, F: FileSystem> Tmpfile<'a, F> {
    /// Makes `inode` the file's and opens it to everybody; its link count becomes 0 in memory. On
    /// disk it has to be among the orphans by then.
    ///
    /// Unlike `d_tmpfile` this does not call back into the file system to write the inode: the
    /// operation has a handle and writes it together with the rest.
    ///
    /// Errors: EXDEV for an inode of another file system; it is dropped.
    pub(crate) fn attach(self, inode: ReadyInode<F>) -> Result<Instantiated<'a>> {
        if !ptr::eq(inode.super_block(), self.dir.super_block()) {
            return Err(EXDEV);
        }
        // SAFETY: the type invariant, of which this is the only use: `self` is consumed.
        unsafe { inode.instantiate_unnamed(self.file) };
        Ok(Instantiated::of_tmpfile(self._once))
    }
}

impl<T: InodeOps> InodeVtable<T> {
    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds all of them for the call. The dentry is negative and stays so
            // but for us, since the directory's i_rwsem is held exclusively.
            let (idmap, dir, name) = unsafe {
                (
                    Idmap::from_raw(idmap),
                    Inode::from_raw(dir),
                    Negative::from_raw(dentry),
                )
            };
            let _: Instantiated<'_> = T::create(idmap, dir, name, mode)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: as in `create`; the old dentry is positive.
            let (inode, dir, name) = unsafe {
                (
                    Inode::from_raw((*old).d_inode),
                    Inode::from_raw(dir),
                    Negative::from_raw(dentry),
                )
            };
            let _: Instantiated<'_> = T::link(inode, dir, name)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn unlink(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds both, and the dentry is positive.
            unsafe {
                T::unlink(
                    Inode::from_raw(dir),
                    Dentry::from_raw(dentry),
                    Inode::from_raw((*dentry).d_inode),
                )?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        from_result(|| {
            // SAFETY: as in `create`; the target is a NUL-terminated string of the caller's.
            let (idmap, dir, name, target) = unsafe {
                (
                    Idmap::from_raw(idmap),
                    Inode::from_raw(dir),
                    Negative::from_raw(dentry),
                    super::cstr::bytes_of(target),
                )
            };
            let _: Instantiated<'_> = T::symlink(idmap, dir, name, target)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        // SAFETY: as in `create`.
        let (idmap, dir, name) = unsafe {
            (
                Idmap::from_raw(idmap),
                Inode::from_raw(dir),
                Negative::from_raw(dentry),
            )
        };
        match T::mkdir(idmap, dir, name, mode) {
            // The dentry that was passed has got the directory: there is no other to return.
            Ok(Instantiated { .. }) => ptr::null_mut(),
            Err(e) => e.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn rmdir(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: as in `unlink`.
            unsafe {
                T::rmdir(
                    Inode::from_raw(dir),
                    Dentry::from_raw(dentry),
                    Inode::from_raw((*dentry).d_inode),
                )?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        rdev: bindings::dev_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: as in `create`.
            let (idmap, dir, name) = unsafe {
                (
                    Idmap::from_raw(idmap),
                    Inode::from_raw(dir),
                    Negative::from_raw(dentry),
                )
            };
            // The kernel's encoding: 12 bits above 20.
            let rdev = (rdev >> 20, rdev & 0xf_ffff);
            let _: Instantiated<'_> = T::mknod(idmap, dir, name, mode, rdev)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn rename(
        idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        from_result(|| {
            if flags & !RenameFlags::ALL != 0 {
                return Err(EINVAL);
            }
            // SAFETY: the VFS holds all of them for the call, and their names are stable under its
            // locks; the old dentry is positive.
            let args = unsafe {
                let new = Dentry::from_raw(new);
                Rename::<'_, T::Fs> {
                    idmap: Idmap::from_raw(idmap),
                    old_dir: Inode::from_raw(old_dir),
                    old: Dentry::from_raw(old),
                    inode: Inode::from_raw((*old).d_inode),
                    new_dir: Inode::from_raw(new_dir),
                    new,
                    target: new.inode(),
                    flags: RenameFlags(flags),
                }
            };
            T::rename(&args)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds all of them for the call.
            let (idmap, inode) = unsafe { (Idmap::from_raw(idmap), Inode::from_raw(dir)) };
            // INVARIANT: the VFS has given the file a new dentry, which nobody else knows.
            let wants = Tmpfile {
                file,
                dir: inode,
                _once: PhantomData,
            };
            let _: Instantiated<'_> = T::tmpfile(idmap, inode, wants, mode)?;
            // SAFETY: the file is being opened, and its dentry, which it holds, has an inode now.
            let ret = unsafe {
                bindings::finish_open(file, (*file).__bindgen_anon_1.f_path.dentry, None)
            };
            Ok(ret)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds both, the dentry is positive and its inode's i_rwsem held
            // exclusively; `attr` is the caller's.
            T::setattr(&mut unsafe { SetAttr::from_raw(idmap, dentry, attr) })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn set_acl(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        acl: *mut kernel::bindings::posix_acl,
        kind: c_int,
    ) -> c_int {
        from_result(|| {
            let kind = AclKind::from_raw(kind).ok_or(EINVAL)?;
            // SAFETY: the VFS holds all of them for the call; the dentry is positive, the list is
            // NULL or complete.
            unsafe {
                T::set_acl(
                    Idmap::from_raw(idmap),
                    Dentry::from_raw(dentry),
                    Inode::from_raw((*dentry).d_inode),
                    Acl::from_raw(acl.cast()),
                    kind,
                )?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn fileattr_set(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        fa: *mut kernel::bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds the dentry, which is positive; `fa` is the caller's.
            unsafe {
                T::fileattr_set(
                    Idmap::from_raw(idmap),
                    Inode::from_raw((*dentry).d_inode),
                    &FileAttr::from_raw(fa.cast()),
                )?
            };
            Ok(0)
        })
    }
}
