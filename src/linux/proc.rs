// SPDX-License-Identifier: GPL-2.0

//! Directories and files in /proc/fs.
//!
//! A file here is a function that prints into a [`SeqFile`]. Removing an entry waits for readers
//! that are inside the function and keeps others out, so what a file shows need only outlive the
//! entry.

use super::{bindings, fs_type::FileSystem, super_block::SuperBlock};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
};
use kernel::{
    error::from_result,
    ffi::{c_int, c_void},
    prelude::*,
    seq_file::SeqFile,
    sync::Arc,
};

/// A directory. Dropping it removes it and all that is in it.
///
/// # Invariants
///
/// `entry` is a directory that we made, in `parent` if there is one; nobody else removes it.
pub(crate) struct ProcDir {
    entry: NonNull<bindings::proc_dir_entry>,
    // Removal looks the entry up in its parent, which therefore has to be there still.
    _parent: Option<Arc<ProcDir>>,
}

// SAFETY: procfs has its own locks.
unsafe impl Send for ProcDir {}
// SAFETY: as above.
unsafe impl Sync for ProcDir {}

impl ProcDir {
    /// Makes the directory `path`, relative to /proc; only its last component may be missing.
    ///
    /// Errors: ENOMEM, which covers a name that is taken.
    pub(crate) fn new(path: &CStr) -> Result<Self> {
        Self::make(path, None)
    }

    /// Makes the directory `name` in `parent`.
    ///
    /// Errors: as for [`ProcDir::new`].
    pub(crate) fn child(parent: &Arc<ProcDir>, name: &CStr) -> Result<Self> {
        Self::make(name, Some(parent.clone()))
    }

    fn make(name: &CStr, parent: Option<Arc<ProcDir>>) -> Result<Self> {
        let raw_parent = match &parent {
            Some(dir) => dir.entry.as_ptr(),
            None => ptr::null_mut(),
        };
        // SAFETY: the name is NUL-terminated and copied; the parent is a directory that exists as
        // long as `parent` does.
        let entry = unsafe { bindings::proc_mkdir(name.as_char_ptr(), raw_parent) };
        Ok(Self {
            entry: NonNull::new(entry).ok_or(ENOMEM)?,
            _parent: parent,
        })
    }
}

impl Drop for ProcDir {
    fn drop(&mut self) {
        // SAFETY: by the type invariant the entry exists and is ours to remove; `_parent` is
        // dropped after this.
        unsafe { bindings::proc_remove(self.entry.as_ptr()) };
    }
}

/// A read-only file that shows something of a superblock.
pub(crate) struct ProcFile<F: FileSystem> {
    /// The file's name.
    pub(crate) name: &'static CStr,
    /// What is in it.
    pub(crate) contents: Contents<F>,
}

/// Where the contents of a [`ProcFile`] come from. All of it may sleep, and may be called again for
/// the same reader, with more room.
pub(crate) enum Contents<F: FileSystem> {
    /// Printed at once.
    Whole(fn(&SuperBlock<F>, &SeqFile) -> Result),
    /// Printed entry by entry, which suits what may be long: how many entries there are, and one of
    /// them, counted from 0.
    Entries(
        fn(&SuperBlock<F>) -> u64,
        fn(&SuperBlock<F>, u64, &SeqFile) -> Result,
    ),
}

impl<F: FileSystem> Clone for Contents<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: FileSystem> Copy for Contents<F> {}

/// The directory of one superblock and its files. Dropping it removes them.
pub(super) struct ProcFiles<F: FileSystem> {
    // In this order: the entries point into the array.
    _dir: ProcDir,
    _targets: KVec<Target<F>>,
}

/// What an entry points to.
struct Target<F: FileSystem> {
    sb: *const SuperBlock<F>,
    contents: Contents<F>,
}

impl<F: FileSystem> ProcFiles<F> {
    /// Makes the directory `name` in `parent` with `files` in it.
    ///
    /// # Safety
    ///
    /// The result must be dropped while `sb` and its private data are still valid.
    ///
    /// Errors: ENOMEM.
    pub(super) unsafe fn new(
        sb: &SuperBlock<F>,
        parent: &Arc<ProcDir>,
        name: &CStr,
        files: &'static [ProcFile<F>],
    ) -> Result<Self> {
        let mut targets = KVec::with_capacity(files.len(), GFP_KERNEL)?;
        for file in files {
            targets.push(
                Target {
                    sb: ptr::from_ref(sb),
                    contents: file.contents,
                },
                GFP_KERNEL,
            )?;
        }
        let dir = ProcDir::child(parent, name)?;
        for (file, target) in files.iter().zip(targets.iter()) {
            let data: *mut c_void = ptr::from_ref(target).cast_mut().cast();
            let (name, parent) = (file.name.as_char_ptr(), dir.entry.as_ptr());
            // SAFETY: the directory exists. The target is in an array that grows no more, and
            // outlives the entry: `_dir` is dropped before `_targets`.
            let entry = unsafe {
                match file.contents {
                    Contents::Whole(_) => bindings::proc_create_single_data(
                        name,
                        0o444,
                        parent,
                        Some(show::<F>),
                        data,
                    ),
                    Contents::Entries(..) => bindings::proc_create_seq_private(
                        name,
                        0o444,
                        parent,
                        Entries::<F>::OPS,
                        0,
                        data,
                    ),
                }
            };
            if entry.is_null() {
                return Err(ENOMEM);
            }
        }
        Ok(Self {
            _dir: dir,
            _targets: targets,
        })
    }
}

/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
unsafe extern "C" fn show<F: FileSystem>(
    seq: *mut bindings::seq_file,
    _token: *mut c_void,
) -> c_int {
    from_result(|| {
        // SAFETY: procfs puts the entry's data into `private`: a `Target<F>`, which is valid as
        // long as the entry exists, and so during this call. The superblock is valid by the
        // contract of `ProcFiles::new`; the seq_file is this reader's alone.
        unsafe {
            let target = &*(*seq).private.cast::<Target<F>>();
            if let Contents::Whole(show) = target.contents {
                show(&*target.sb, SeqFile::from_raw(seq.cast()))?;
            }
        }
        Ok(0)
    })
}

/// The operations of files with entries. A position is that of an entry, and what stands for it is
/// one more, since 0 is the end.
struct Entries<F: FileSystem>(PhantomData<F>);

impl<F: FileSystem> Entries<F> {
    const OPS: &'static bindings::seq_operations = &bindings::seq_operations {
        start: Some(Self::start),
        next: Some(Self::next),
        stop: Some(Self::stop),
        show: Some(Self::show),
    };

    /// The superblock and the contents of a file.
    ///
    /// # Safety
    ///
    /// For the operations only, whose file exists during a call.
    unsafe fn of<'a>(
        seq: *mut kernel::bindings::seq_file,
    ) -> Option<(&'a SuperBlock<F>, Functions<F>)> {
        // SAFETY: `proc_create_seq_private` was given a `Target<F>`, see `show` above.
        unsafe {
            let target = &*bindings::proc_data_of(seq.cast()).cast::<Target<F>>();
            match target.contents {
                Contents::Entries(count, show) => Some((&*target.sb, (count, show))),
                Contents::Whole(_) => None,
            }
        }
    }

    /// # Safety
    ///
    /// As of all functions here: for the kernel only, with the arguments that this operation is
    /// documented to get.
    unsafe extern "C" fn start(
        seq: *mut kernel::bindings::seq_file,
        pos: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: by contract.
        unsafe {
            match (u64::try_from(*pos), Self::of(seq)) {
                (Ok(at), Some((sb, (count, _)))) if at < count(sb) => {
                    ptr::without_provenance_mut(at.saturating_add(1) as usize)
                }
                _ => ptr::null_mut(),
            }
        }
    }

    /// # Safety
    ///
    /// See [`start`](Self::start).
    unsafe extern "C" fn next(
        seq: *mut kernel::bindings::seq_file,
        _entry: *mut c_void,
        pos: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: by contract.
        unsafe {
            *pos = (*pos).saturating_add(1);
            Self::start(seq, pos)
        }
    }

    /// # Safety
    ///
    /// See [`start`](Self::start).
    unsafe extern "C" fn stop(_seq: *mut kernel::bindings::seq_file, _entry: *mut c_void) {}

    /// # Safety
    ///
    /// See [`start`](Self::start).
    unsafe extern "C" fn show(seq: *mut kernel::bindings::seq_file, entry: *mut c_void) -> c_int {
        from_result(|| {
            let at = (entry.addr() as u64).saturating_sub(1);
            // SAFETY: by contract; the seq_file is this reader's alone.
            unsafe {
                if let Some((sb, (_, show))) = Self::of(seq) {
                    show(sb, at, SeqFile::from_raw(seq.cast()))?;
                }
            }
            Ok(0)
        })
    }
}

/// The functions of [`Contents::Entries`].
type Functions<F> = (
    fn(&SuperBlock<F>) -> u64,
    fn(&SuperBlock<F>, u64, &SeqFile) -> Result,
);
