// SPDX-License-Identifier: GPL-2.0

//! File handles: names of inodes that survive a reboot, for NFS and `open_by_handle_at`.
//!
//! A handle is an inode number and a generation, and for a non-directory possibly the same of its
//! parent, in the kernel's standard form for 32-bit inode numbers. A file system finds the inode
//! again ([`ExportOps::inode`]) and the parent of a directory ([`ExportOps::parent`]).

use super::{bindings, dentry::Dentry, fs_type::FileSystem, inode::Inode, super_block::SuperBlock};
use core::{marker::PhantomData, mem::MaybeUninit};
use kernel::{ffi::c_int, prelude::*, sync::aref::ARef};

/// Finds inodes by what is in a file handle, none of which can be trusted: a client may have made
/// it up.
pub(crate) trait ExportOps: 'static {
    /// The file system.
    type Fs: FileSystem;

    /// The inode `ino` of generation `generation`; 0 stands for any generation. May sleep.
    ///
    /// Errors: ESTALE if there is no such inode (any more).
    fn inode(sb: &SuperBlock<Self::Fs>, ino: u64, generation: u32)
        -> Result<ARef<Inode<Self::Fs>>>;

    /// The directory that contains directory `dir`. May sleep.
    ///
    /// Errors: ENOENT if `dir` does not say.
    fn parent(dir: &Inode<Self::Fs>) -> Result<ARef<Inode<Self::Fs>>>;
}

/// The C table for `T`.
pub(crate) struct ExportTable<T: ExportOps>(PhantomData<T>);

impl<T: ExportOps> ExportTable<T> {
    /// For `s_export_op`.
    pub(crate) const TABLE: &'static bindings::export_operations = &bindings::export_operations {
        encode_fh: Some(bindings::generic_encode_ino32_fh),
        fh_to_dentry: Some(Self::fh_to_dentry),
        fh_to_parent: Some(Self::fh_to_parent),
        get_parent: Some(Self::get_parent),
        // SAFETY: optional function pointers, a flag word and a pointer; all-zero means none.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn fh_to_dentry(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        // SAFETY: exportfs's own arguments, passed on.
        unsafe { bindings::generic_fh_to_dentry(sb, fid, len, kind, Some(Self::inode)) }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn fh_to_parent(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        // SAFETY: as above.
        unsafe { bindings::generic_fh_to_parent(sb, fid, len, kind, Some(Self::inode)) }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn inode(
        sb: *mut bindings::super_block,
        ino: u64,
        generation: u32,
    ) -> *mut bindings::inode {
        // SAFETY: a mounted superblock of ours, since it has this table.
        let sb = unsafe { SuperBlock::from_raw(sb) };
        into_raw(T::inode(sb, ino, generation))
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: exportfs holds the dentry, which is a directory's of ours.
        let child = unsafe { Dentry::<T::Fs>::from_raw(child) };
        let parent = match child.inode() {
            Some(dir) => T::parent(dir),
            None => Err(ESTALE),
        };
        // SAFETY: takes over the reference on the inode, or passes the error on.
        unsafe { bindings::d_obtain_alias(into_raw(parent)) }
    }
}

/// The pointer, with its reference, or the error in a pointer's form.
fn into_raw<F: FileSystem>(inode: Result<ARef<Inode<F>>>) -> *mut bindings::inode {
    match inode {
        Ok(inode) => ARef::into_raw(inode).as_ptr().cast(),
        Err(e) => e.to_ptr(),
    }
}
