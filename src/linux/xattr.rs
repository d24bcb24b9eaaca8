// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: reading and setting one, and listing the names of all.
//!
//! The VFS finds the handler of an attribute by the prefix of its name and passes the rest of the
//! name on. A file system says which prefixes it has ([`XattrOps::PREFIXES`]), reads a value
//! ([`XattrOps::get`]) and sets it ([`XattrOps::set`]); [`HandlerTable`] is the C table made from
//! that. Without `set` the VFS answers EOPNOTSUPP; on a read-only mount EROFS, before it looks.
//!
//! `system.posix_acl_*` does not come here: the VFS reads these through `get_inode_acl` and sets
//! them through `set_acl` (see [`super::acl`]), and turns them into their user-space form itself.
//!
//! Reading and listing are two in one: without a buffer they only measure. [`ListBuffer`] hides that
//! from the file system; a value's length is returned apart from the value.

use super::{bindings, cstr, fs_type::FileSystem, idmap::Idmap, inode::Inode, inode_ops::when};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{self, NonNull},
    slice,
};
use kernel::{
    error::{from_result, VTABLE_DEFAULT_ERROR},
    ffi::{c_char, c_int, c_void},
    prelude::*,
};

/// A prefix of attribute names and what the format calls it.
pub(crate) struct Prefix {
    /// The prefix with its dot, for example `user.`.
    pub(crate) prefix: &'static CStr,
    /// The number that stands for the prefix on disk.
    pub(crate) index: u8,
}

/// Reads and sets extended attributes.
#[vtable]
pub(crate) trait XattrOps: 'static {
    /// The file system.
    type Fs: FileSystem;

    /// The prefixes that the file system knows, at most [`MAX_PREFIXES`].
    const PREFIXES: &'static [Prefix];

    /// The length in bytes of the value of attribute `name` (1 byte or more, without the prefix)
    /// in the name space `index`. If there is an `out`, the value has been appended to it.
    ///
    /// May sleep. Errors: ENODATA if there is no such attribute, ERANGE if the value does not fit
    /// `out`, EOPNOTSUPP if the name space is switched off.
    fn get(
        inode: &Inode<Self::Fs>,
        index: u8,
        name: &[u8],
        out: Option<&mut ValueBuffer<'_>>,
    ) -> Result<usize>;

    /// Gives attribute `name` in the name space `index` the value `value`, which may be empty, or
    /// removes it. i_rwsem is held exclusively. May sleep.
    ///
    /// Errors: EEXIST, ENODATA as `existing` says, ENODATA if there is nothing to remove, ENOSPC,
    /// EOPNOTSUPP if the name space is switched off.
    fn set(
        _idmap: Idmap<'_>,
        _inode: &Inode<Self::Fs>,
        _index: u8,
        _name: &[u8],
        _value: Option<&[u8]>,
        _existing: Existing,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What an attribute that is being set has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// No attribute of the name (`XATTR_CREATE`), else EEXIST.
    Forbidden,
    /// One (`XATTR_REPLACE`), else ENODATA.
    Required,
    /// Either.
    Any,
}

impl Existing {
    /// From the flags of setxattr(2), where the VFS refuses others; both together cannot be met,
    /// and are taken as the first, as ext4 does.
    fn from_flags(flags: c_int) -> Self {
        // CAST: two bits.
        let flags = flags as u32;
        if flags & bindings::XATTR_CREATE != 0 {
            Self::Forbidden
        } else if flags & bindings::XATTR_REPLACE != 0 {
            Self::Required
        } else {
            Self::Any
        }
    }
}

/// The most prefixes that a table can hold.
pub(crate) const MAX_PREFIXES: usize = 7;

/// A NULL-terminated array of handlers, as a superblock holds it.
///
/// # Invariants
///
/// The pointer is to a constant array that ends with a NULL pointer.
#[derive(Clone, Copy)]
pub(crate) struct HandlerTable(*const *const bindings::xattr_handler);

impl HandlerTable {
    /// The table of `T`'s prefixes.
    pub(crate) const fn of<T: XattrOps>() -> Self {
        // INVARIANT: `TABLE` is one element longer than the prefixes can be, and starts as NULLs.
        let table: &'static [_; MAX_PREFIXES + 1] = &Handlers::<T>::TABLE;
        Self(table.as_ptr())
    }

    /// The pointer for `s_xattr`.
    pub(super) const fn as_ptr(self) -> *const *const bindings::xattr_handler {
        self.0
    }
}

struct Handlers<T: XattrOps>(PhantomData<T>);

impl<T: XattrOps> Handlers<T> {
    // Both arrays are filled when the module is compiled; an overlong list of prefixes fails to.
    const HANDLERS: [bindings::xattr_handler; MAX_PREFIXES] = {
        // SAFETY: pointers, optional functions and a number, of all of which zero is a value.
        let mut all: [bindings::xattr_handler; MAX_PREFIXES] =
            unsafe { MaybeUninit::zeroed().assume_init() };
        let mut i = 0;
        while i < T::PREFIXES.len() {
            all[i].prefix = T::PREFIXES[i].prefix.to_bytes_with_nul().as_ptr().cast();
            all[i].flags = T::PREFIXES[i].index as c_int;
            all[i].get = Some(Self::get);
            all[i].set = when!(T::HAS_SET, Self::set);
            i += 1;
        }
        all
    };

    const TABLE: [*const bindings::xattr_handler; MAX_PREFIXES + 1] = {
        let handlers: &'static [bindings::xattr_handler; MAX_PREFIXES] = &Self::HANDLERS;
        let mut all = [ptr::null(); MAX_PREFIXES + 1];
        let mut i = 0;
        while i < T::PREFIXES.len() {
            all[i] = core::ptr::from_ref(&handlers[i]);
            i += 1;
        }
        all
    };

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn get(
        handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        buffer: *mut c_void,
        size: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS calls a handler of ours, which is one of `HANDLERS`, on an inode of
            // ours that it holds, with a NUL-terminated name.
            let (inode, index, name) = unsafe {
                (
                    Inode::<T::Fs>::from_raw(inode),
                    // CAST: `HANDLERS` put a byte there.
                    (*handler).flags as u8,
                    cstr::bytes_of(name),
                )
            };
            let len = match NonNull::new(buffer.cast::<u8>()) {
                None => T::get(inode, index, name, None),
                Some(ptr) => {
                    // SAFETY: a buffer that is there has `size` bytes, the caller's alone.
                    let mut out = unsafe { ValueBuffer::from_raw(ptr, size) };
                    T::get(inode, index, name, Some(&mut out))
                }
            }?;
            Ok(c_int::try_from(len)?)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn set(
        handler: *const bindings::xattr_handler,
        idmap: *mut bindings::mnt_idmap,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: as in `get`. A value that is there has `size` bytes, which belong to the
            // caller and do not change; without one the attribute is to go.
            unsafe {
                let value = NonNull::new(value.cast_mut().cast::<u8>())
                    .map(|value| slice::from_raw_parts(value.as_ptr(), size));
                T::set(
                    Idmap::from_raw(idmap),
                    Inode::<T::Fs>::from_raw(inode),
                    // CAST: `HANDLERS` put a byte there.
                    (*handler).flags as u8,
                    cstr::bytes_of(name),
                    value,
                    Existing::from_flags(flags),
                )?;
            }
            Ok(0)
        })
    }
}

/// Where the value of an attribute goes.
///
/// # Invariants
///
/// `ptr` is valid for writes of `size` bytes for `'a`, exclusively; the first `len` of them, `len`
/// not above `size`, are initialised.
pub(crate) struct ValueBuffer<'a> {
    ptr: NonNull<u8>,
    size: usize,
    len: usize,
    _buffer: PhantomData<&'a mut [u8]>,
}

impl<'a> ValueBuffer<'a> {
    /// An empty buffer over `memory`.
    pub(crate) fn new(memory: &'a mut [u8]) -> Self {
        // INVARIANT: a mutable slice is exclusively ours for `'a`.
        Self {
            ptr: NonNull::from(&mut *memory).cast(),
            size: memory.len(),
            len: 0,
            _buffer: PhantomData,
        }
    }

    /// # Safety
    ///
    /// `ptr` must be valid for writes of `size` bytes and the caller's alone for `'a`.
    unsafe fn from_raw(ptr: NonNull<u8>, size: usize) -> Self {
        // INVARIANT: by contract; nothing is initialised yet.
        Self {
            ptr,
            size,
            len: 0,
            _buffer: PhantomData,
        }
    }

    /// How many bytes still fit.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.size.saturating_sub(self.len)
    }

    /// Appends `bytes`.
    ///
    /// Errors: ERANGE if they do not fit; then nothing has been appended.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result {
        if bytes.len() > self.room() {
            return Err(ERANGE);
        }
        // SAFETY: by the type invariant and the check, `len..len + bytes.len()` lies within the
        // buffer, which is exclusively ours and so cannot overlap `bytes`.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.ptr.as_ptr().add(self.len), bytes.len())
        };
        // INVARIANT: these bytes are initialised now, and fitted.
        self.len = self.len.saturating_add(bytes.len());
        Ok(())
    }

    /// What has been appended.
    pub(crate) fn filled(&self) -> &[u8] {
        // SAFETY: by the type invariant.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

/// Where the names of the attributes go, each with its prefix and a NUL; or, without a buffer,
/// what counts how long they are.
pub(crate) struct ListBuffer<'a> {
    out: Option<ValueBuffer<'a>>,
    len: usize,
}

impl ListBuffer<'_> {
    /// # Safety
    ///
    /// Unless it is NULL, `ptr` must be valid for writes of `size` bytes and the caller's alone
    /// for the life of the result.
    pub(super) unsafe fn from_raw(ptr: *mut u8, size: usize) -> Self {
        Self {
            // SAFETY: by contract.
            out: NonNull::new(ptr).map(|ptr| {
                // SAFETY: by contract, if there is a buffer.
                unsafe { ValueBuffer::from_raw(ptr, size) }
            }),
            len: 0,
        }
    }

    /// Adds a name of two parts.
    ///
    /// Errors: ERANGE if there is a buffer and the name does not fit.
    pub(crate) fn add(&mut self, prefix: &[u8], name: &[u8]) -> Result {
        let len = prefix.len().saturating_add(name.len()).saturating_add(1);
        if let Some(out) = &mut self.out {
            if len > out.room() {
                return Err(ERANGE);
            }
            out.push(prefix)?;
            out.push(name)?;
            out.push(&[0])?;
        }
        self.len = self.len.saturating_add(len);
        Ok(())
    }

    /// What `listxattr` returns: the length of the list in bytes.
    pub(super) fn finish(self) -> Result<isize> {
        Ok(isize::try_from(self.len)?)
    }
}

#[kunit_tests(rext4_xattr_buffers)]
mod tests {
    use super::*;

    /// The flags of setxattr(2).
    #[test]
    fn existing() {
        assert_eq!(Existing::from_flags(0), Existing::Any);
        assert_eq!(Existing::from_flags(1), Existing::Forbidden);
        assert_eq!(Existing::from_flags(2), Existing::Required);
    }

    /// Values are appended as long as they fit, and not in part.
    #[test]
    fn value() {
        let mut memory = [0u8; 5];
        let mut out = ValueBuffer::new(&mut memory);
        assert_eq!(out.push(b"abc"), Ok(()));
        assert_eq!(out.push(b"def"), Err(ERANGE));
        assert_eq!(out.push(b"de"), Ok(()));
        assert_eq!(out.push(b""), Ok(()));
        assert_eq!(out.push(b"f"), Err(ERANGE));
        assert_eq!(out.filled(), b"abcde");
        assert_eq!(out.room(), 0);
    }

    /// Without a buffer a list is measured; with one it is written, unless it is too long.
    #[test]
    fn list() {
        let names = |out: &mut ListBuffer<'_>| {
            out.add(b"user.", b"one")?;
            out.add(b"trusted.", b"")
        };
        // SAFETY: no buffer.
        let mut out = unsafe { ListBuffer::from_raw(ptr::null_mut(), 0) };
        assert_eq!(names(&mut out), Ok(()));
        assert_eq!(out.finish(), Ok(18));

        let mut memory = [0xffu8; 19];
        // SAFETY: the array is ours.
        let mut out = unsafe { ListBuffer::from_raw(memory.as_mut_ptr(), 18) };
        assert_eq!(names(&mut out), Ok(()));
        assert_eq!(out.finish(), Ok(18));
        assert_eq!(&memory, b"user.one\0trusted.\0\xff");

        for short in [0, 8, 17] {
            // SAFETY: as above.
            let mut out = unsafe { ListBuffer::from_raw(memory.as_mut_ptr(), short) };
            assert_eq!(names(&mut out), Err(ERANGE));
        }
    }
}
