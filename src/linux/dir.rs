// SPDX-License-Identifier: GPL-2.0

//! Operations on open directories.

use super::{
    bindings,
    file::{self, FileOps},
    fs_type::FileSystem,
    inode::Inode,
};
use core::{marker::PhantomData, mem::MaybeUninit};
use kernel::{
    error::from_result,
    ffi::{c_int, c_void},
    new_mutex,
    prelude::*,
    sync::Mutex,
};

/// Operations on a directory.
pub(crate) trait DirOps: 'static {
    /// The file system.
    type Fs: FileSystem;
    /// What an open directory remembers between two calls.
    type State: Default + Send + Unpin;
    /// Where ioctl and fsync are implemented.
    type File: FileOps<Fs = Self::Fs>;

    /// Emits entries from `ctx`'s position on, until the reader's buffer is full or the directory
    /// ends. i_rwsem is held shared.
    fn iterate(dir: &Inode<Self::Fs>, state: &mut Self::State, ctx: &mut DirContext<'_>) -> Result;

    /// The largest position of `dir`, and its end: hash cookies or byte offsets.
    fn seek_limits(dir: &Inode<Self::Fs>, narrow: bool) -> (i64, i64);
}

/// A reader of a directory.
pub(crate) struct DirContext<'a> {
    raw: &'a mut bindings::dir_context,
    narrow: bool,
}

impl DirContext<'_> {
    /// Where the reader is: the cookie of the next entry.
    #[inline]
    pub(crate) fn position(&self) -> i64 {
        self.raw.pos
    }

    /// Moves the reader.
    #[inline]
    pub(crate) fn set_position(&mut self, pos: i64) {
        self.raw.pos = pos;
    }

    /// Whether the reader can only take cookies of 31 bits (a 32-bit process, or NFS v2).
    #[inline]
    pub(crate) fn narrow(&self) -> bool {
        self.narrow
    }

    /// Hands over an entry, whose cookie is the current position; `dtype` is a `DT_*` value.
    /// Returns false when the reader's buffer is full: the entry was not taken.
    #[inline]
    pub(crate) fn emit(&mut self, name: &[u8], ino: u64, dtype: u8) -> bool {
        // SAFETY: the context is the VFS's; the actor copies the name.
        unsafe {
            bindings::dir_emit(
                self.raw,
                name.as_ptr().cast(),
                name.len() as c_int,
                ino,
                dtype.into(),
            )
        }
    }
}

pub(super) struct DirVtable<T: DirOps>(PhantomData<T>);

impl<T: DirOps> DirVtable<T> {
    pub(super) const TABLE: bindings::file_operations = bindings::file_operations {
        llseek: Some(Self::llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate),
        unlocked_ioctl: Some(file::ioctl::<T::File>),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: bindings::compat_ptr_ioctl,
        open: Some(Self::open),
        release: Some(Self::release),
        fsync: Some(file::fsync::<T::File>),
        setlease: Some(bindings::generic_setlease),
        // SAFETY: a table of optional function pointers; all-zero means none.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        let state = match KBox::pin_init(new_mutex!(T::State::default()), GFP_KERNEL) {
            Ok(state) => state,
            Err(e) => return e.to_errno(),
        };
        // SAFETY: the value is never moved out of its box: `iterate` borrows it and `release`
        // drops it.
        let state = KBox::into_raw(unsafe { Pin::into_inner_unchecked(state) });
        // SAFETY: the file is being opened, so its private pointer is ours to set.
        unsafe { (*file).private_data = state.cast::<c_void>() };
        0
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: set in `open`, and this is the last use of the file.
        drop(unsafe { KBox::from_raw((*file).private_data.cast::<Mutex<T::State>>()) });
        0
    }

    /// Whether a reader through `file` takes only narrow cookies.
    ///
    /// # Safety
    ///
    /// `file` must be valid.
    unsafe fn narrow(file: *mut bindings::file) -> bool {
        // SAFETY: the mode does not change after open, but for these two bits, which nfsd sets
        // before it reads.
        let mode = unsafe { (*file).f_mode };
        if mode & bindings::FMODE_32BITHASH != 0 {
            true
        } else if mode & bindings::FMODE_64BITHASH != 0 {
            false
        } else {
            // SAFETY: asks about the current task.
            unsafe { bindings::is_32bit_api() }
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn iterate(
        file: *mut bindings::file,
        ctx: *mut bindings::dir_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds the file, and the file its inode and its private data, set
            // in `open`; the context is ours for the call.
            unsafe {
                let state = &*(*file).private_data.cast::<Mutex<T::State>>();
                let mut ctx = DirContext {
                    raw: &mut *ctx,
                    narrow: Self::narrow(file),
                };
                T::iterate(
                    Inode::from_raw((*file).f_inode),
                    &mut state.lock(),
                    &mut ctx,
                )?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
        // SAFETY: the VFS holds the file, and the file its inode.
        unsafe {
            let (max, eof) = T::seek_limits(Inode::from_raw((*file).f_inode), Self::narrow(file));
            bindings::generic_file_llseek_size(file, offset, whence, max, eof)
        }
    }
}
