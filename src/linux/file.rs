// SPDX-License-Identifier: GPL-2.0

//! Operations on open regular files.
//!
//! Reading is the kernel's: the page cache for buffered reads, iomap for direct ones. The file
//! system only says where the blocks are, through [`IomapOps`].
//!
//! Writing is in [`super::file_write`].

use super::{
    bindings,
    direct::DirectWrite,
    fallocate::Fallocate,
    file_write::Writing,
    fs_type::FileSystem,
    inode::Inode,
    inode_ops::when,
    ioctl as nr,
    iomap::{self, BufferedWrite, IomapOps, IomapTable},
    open_file::OpenFile,
};
use core::{marker::PhantomData, mem::MaybeUninit, ptr};
use kernel::{
    error::{from_result, VTABLE_DEFAULT_ERROR},
    ffi::{c_int, c_long, c_uint, c_ulong, c_void},
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};

/// Operations on a regular file.
#[vtable]
pub(crate) trait FileOps: 'static {
    /// The file system.
    type Fs: FileSystem;
    /// Where the blocks are, for direct reads.
    type Read: IomapOps<Fs = Self::Fs>;
    /// The same for reports (SEEK_HOLE, SEEK_DATA).
    type Report: IomapOps<Fs = Self::Fs>;
    /// Where data that is written will be.
    type Write: BufferedWrite<Fs = Self::Fs>;
    /// Where data goes that is written directly.
    type DirectWrite: DirectWrite<Fs = Self::Fs>;

    /// The largest offset that this file could have, in bytes.
    fn max_bytes(inode: &Inode<Self::Fs>) -> i64;
    /// How long a write that is not to be torn is, in bytes; `None` if the file can have none.
    fn untorn_size(inode: &Inode<Self::Fs>) -> Option<u32>;
    /// Whether direct reads and writes go to the device; otherwise they are served through the page cache.
    fn direct(inode: &Inode<Self::Fs>) -> bool;
    /// Whether the file may be opened. May sleep. The task may hold write access to the mount (an
    /// open that makes the file does, others do not).
    fn open(_file: &OpenFile<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
    /// The file is closed for the last time: the last use of it. May sleep.
    fn release(_file: &OpenFile<Self::Fs>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
    /// Whether contents can be changed at all. No lock is held.
    fn may_write(inode: &Inode<Self::Fs>) -> Result;
    /// More bytes than contents in the inode itself, of a file that has them there or may come to, can be;
    /// 0 for any other file, which will not have any there either. No lock is needed.
    fn inline_room(inode: &Inode<Self::Fs>) -> usize;
    /// Writes `bytes` to the file from byte `pos` on, in the inode and in the page cache; `false`, and
    /// nothing has changed, if they are not to be there. i_rwsem and the invalidate lock are held for
    /// writing.
    fn write_inline(inode: &Inode<Self::Fs>, pos: u64, bytes: &[u8]) -> Result<bool>;
    /// Has contents leave the inode, so that they can be written as others are. The invalidate lock is
    /// held for writing.
    fn leave_inode(inode: &Inode<Self::Fs>) -> Result;
    /// The next write begins at byte `pos`, behind the end of the file: what is in between is going
    /// to be read. i_rwsem is held for writing.
    fn skip_to(inode: &Inode<Self::Fs>, pos: u64) -> Result;
    /// Whether a write that has found no space is to be tried again; `tries` counts. i_rwsem is held
    /// for writing.
    fn may_retry(inode: &Inode<Self::Fs>, tries: &mut u32) -> bool;
    /// Whether files of this file system can have fs-verity; its commands give EOPNOTSUPP if not.
    fn has_verity(inode: &Inode<Self::Fs>) -> bool;
    /// ioctl(2), but for fs-verity's commands; ENOTTY for one that is not known.
    fn ioctl(file: &OpenFile<Self::Fs>, cmd: u32, arg: UserArg) -> Result<isize>;
    /// fallocate(2). No lock is held; may sleep.
    fn fallocate(file: &OpenFile<Self::Fs>, what: Fallocate) -> Result;
    /// fsync(2), fdatasync(2), and what else has to be on disk.
    fn fsync(file: &OpenFile<Self::Fs>, what: Fsync) -> Result;
}

/// What has to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fsync {
    /// The first byte of the file.
    pub(crate) start: i64,
    /// The last byte; `i64::MAX` for all.
    pub(crate) end: i64,
    /// Only what is needed to read the data again (fdatasync).
    pub(crate) datasync: bool,
}

/// The argument of an ioctl: a user space address or a number.
#[derive(Clone, Copy)]
pub(crate) struct UserArg(usize);

impl UserArg {
    /// The address `bytes` behind this one. One that is none is found out when it is used.
    pub(crate) fn at(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// Copies `bytes` to the user space address.
    ///
    /// Errors: EFAULT.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<isize> {
        UserSlice::new(UserPtr::from_addr(self.0), bytes.len())
            .writer()
            .write_slice(bytes)?;
        Ok(0)
    }

    /// Copies `bytes` from the user space address.
    ///
    /// Errors: EFAULT.
    pub(crate) fn read(self, bytes: &mut [u8]) -> Result {
        UserSlice::new(UserPtr::from_addr(self.0), bytes.len())
            .reader()
            .read_slice(bytes)
    }
}

pub(super) struct FileVtable<T: FileOps>(PhantomData<T>);

impl<T: FileOps> FileVtable<T> {
    pub(super) const TABLE: bindings::file_operations = bindings::file_operations {
        // `owner` stays NULL: an open file keeps its mount, and the mount the module.
        fop_flags: bindings::FOP_BUFFER_RASYNC
            | bindings::FOP_DONTCACHE
            | bindings::FOP_DIO_PARALLEL_WRITE,
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        iopoll: Some(bindings::iocb_bio_iopoll),
        unlocked_ioctl: Some(ioctl::<T>),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: bindings::compat_ptr_ioctl,
        mmap_prepare: Some(Writing::<T>::mmap_prepare),
        write_iter: Some(Writing::<T>::write_iter),
        splice_write: Some(bindings::iter_file_splice_write),
        open: Some(Self::open),
        release: when!(T::HAS_RELEASE, Self::release),
        fsync: Some(fsync::<T>),
        fallocate: Some(Self::fallocate),
        get_unmapped_area: when!(
            cfg!(CONFIG_TRANSPARENT_HUGEPAGE),
            bindings::thp_get_unmapped_area
        ),
        splice_read: Some(bindings::filemap_splice_read),
        setlease: Some(bindings::generic_setlease),
        // SAFETY: a table of optional function pointers; all-zero means none.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        if T::HAS_OPEN {
            // SAFETY: the VFS holds the file, which has its inode and path.
            if let Err(e) = T::open(unsafe { OpenFile::from_raw(file) }) {
                return e.to_errno();
            }
        }
        // SAFETY: the file is being opened, so its mode is ours to change.
        unsafe {
            let err = bindings::fsverity_file_open(inode, file);
            if err != 0 {
                return err;
            }
            (*file).f_mode |= bindings::FMODE_NOWAIT | bindings::FMODE_CAN_ODIRECT;
            if T::untorn_size(Inode::from_raw(inode)).is_some() {
                (*file).f_mode |= bindings::FMODE_CAN_ATOMIC_WRITE;
            }
            bindings::generic_file_open(inode, file)
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: the VFS calls this before it lets go of inode and path.
        T::release(unsafe { OpenFile::from_raw(file) });
        0
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        to: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: the VFS passes a valid request.
        unsafe {
            if (*iocb).ki_flags & bindings::IOCB_DIRECT != 0 {
                return Self::read_direct(iocb, to);
            }
            bindings::filemap_read(iocb, to, 0)
        }
    }

    /// # Safety
    ///
    /// As `read_iter`.
    #[inline]
    unsafe fn read_direct(iocb: *mut bindings::kiocb, to: *mut bindings::iov_iter) -> isize {
        // SAFETY: the request is valid, and its file with its inode held while it runs.
        unsafe {
            if bindings::iov_iter_count(to) == 0 {
                // Nothing to read: the access time stays.
                return 0;
            }
            let inode = (*(*iocb).ki_filp).f_inode;
            if (*iocb).ki_flags & bindings::IOCB_NOWAIT != 0 {
                if bindings::inode_trylock_shared(inode) == 0 {
                    return EAGAIN.to_errno() as isize;
                }
            } else {
                bindings::inode_lock_shared(inode);
            }
            if !T::direct(Inode::from_raw(inode)) {
                bindings::inode_unlock_shared(inode);
                (*iocb).ki_flags &= !bindings::IOCB_DIRECT;
                return bindings::filemap_read(iocb, to, 0);
            }
            let mut ret = bindings::iomap_dio_read_simple(iocb, to, Some(iomap::begin::<T::Read>));
            if ret == -(bindings::ENOTBLK as isize) {
                ret = bindings::iomap_dio_rw(
                    iocb,
                    to,
                    &IomapTable::<T::Read>::TABLE,
                    ptr::null(),
                    0,
                    ptr::null_mut(),
                    0,
                );
            }
            bindings::inode_unlock_shared(inode);
            bindings::file_accessed((*iocb).ki_filp);
            ret
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        offset: i64,
        len: i64,
    ) -> c_long {
        // SAFETY: the VFS holds the file.
        let file = unsafe { OpenFile::from_raw(file) };
        let done = Fallocate::new(mode, offset, len).and_then(|what| T::fallocate(file, what));
        done.map_or_else(|e| e.to_errno() as c_long, |()| 0)
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
        // SAFETY: the VFS holds the file, and the file its inode.
        unsafe {
            let raw = (*file).f_inode;
            let inode = Inode::<T::Fs>::from_raw(raw);
            let max = T::max_bytes(inode);
            let ops = &IomapTable::<T::Report>::TABLE;
            let found = match whence as u32 {
                bindings::SEEK_HOLE => {
                    inode.with_shared_lock(|| bindings::iomap_seek_hole(raw, offset, ops))
                }
                bindings::SEEK_DATA => {
                    inode.with_shared_lock(|| bindings::iomap_seek_data(raw, offset, ops))
                }
                _ => {
                    let size = bindings::i_size_read(raw);
                    return bindings::generic_file_llseek_size(file, offset, whence, max, size);
                }
            };
            if found < 0 {
                return found;
            }
            bindings::vfs_setpos(file, found, max)
        }
    }
}

/// `fsync`, of files and directories.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
pub(super) unsafe extern "C" fn fsync<T: FileOps>(
    file: *mut bindings::file,
    start: i64,
    end: i64,
    datasync: c_int,
) -> c_int {
    let what = Fsync {
        start,
        end,
        datasync: datasync != 0,
    };
    // SAFETY: the VFS holds the file.
    from_result(|| T::fsync(unsafe { OpenFile::from_raw(file) }, what).map(|()| 0))
}

/// `unlocked_ioctl`, of files and directories.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
pub(super) unsafe extern "C" fn ioctl<T: FileOps>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: the VFS holds the file.
    let this = unsafe { OpenFile::<T::Fs>::from_raw(file) };
    if nr::is_verity(cmd) {
        if !T::has_verity(this.inode()) {
            return EOPNOTSUPP.to_errno() as c_long;
        }
        let arg = ptr::with_exposed_provenance_mut::<c_void>(arg);
        // SAFETY: the file is held; the callees check the user's address and what it points to.
        let ret = unsafe {
            match cmd {
                nr::FS_IOC_ENABLE_VERITY => bindings::fsverity_ioctl_enable(file, arg),
                nr::FS_IOC_MEASURE_VERITY => bindings::fsverity_ioctl_measure(file, arg),
                _ => bindings::fsverity_ioctl_read_metadata(file, arg),
            }
        };
        return ret as c_long;
    }
    let ret: Result<isize> = T::ioctl(this, cmd, UserArg(arg));
    match ret {
        Ok(n) => n as c_long,
        Err(e) => e.to_errno() as c_long,
    }
}
