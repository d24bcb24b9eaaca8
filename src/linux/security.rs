// SPDX-License-Identifier: GPL-2.0

//! The security attributes that a new inode starts with.

use super::{
    bindings, cstr,
    dentry::Dentry,
    fs_type::FileSystem,
    inode::{Inode, NewInode},
    inode_edit::RawInode,
    inode_new::FreshInode,
};
use core::{ptr, slice};
use kernel::{
    error::{from_result, to_result},
    ffi::{c_int, c_void},
    prelude::*,
};

/// Inodes that security modules may still label: not unlocked yet.
pub(crate) trait Unlabelled: RawInode {}

impl<F: FileSystem> Unlabelled for FreshInode<F> {}
impl<F: FileSystem> Unlabelled for NewInode<F> {}

/// Asks the security modules what `inode`, a new one in `dir`, is to be labelled with, and hands
/// over each attribute to `set`: its name without `security.`, and its value. `name` is the name
/// that it is made under; `None` for a file without one. Owner and mode have to be set. May sleep,
/// without recursing into file systems.
///
/// So that nothing has to be undone, a file system asks before it changes anything on disk, and
/// keeps copies until it stores the attributes. EVM's depends on the inode's number and generation,
/// and is to be asked for once more when these are known.
///
/// Errors: ENOMEM, those of `set`, what a module says.
pub(crate) fn label_new<F, I, S>(
    inode: &I,
    dir: &Inode<F>,
    name: Option<&Dentry<F>>,
    mut set: S,
) -> Result
where
    F: FileSystem,
    I: Unlabelled,
    S: FnMut(&[u8], &[u8]) -> Result,
{
    // SAFETY: the address of a field of a valid dentry.
    let name = name.map_or(ptr::null(), |d| unsafe {
        (&raw const (*d.as_raw()).__bindgen_anon_1.d_name).cast::<bindings::qstr>()
    });
    // SAFETY: both inodes are valid; the name is stable, as the operation that makes the inode has
    // the directory locked. `each::<S>` is called, if at all, before this returns, with `set`.
    to_result(unsafe {
        bindings::security_inode_init_security(
            inode.raw_inode(),
            dir.as_raw(),
            name,
            Some(each::<S>),
            (&raw mut set).cast(),
        )
    })
}

/// Calls the closure behind `set` for each attribute.
///
/// # Safety
///
/// For the kernel only: `attributes` is an array of attributes that ends with one without a name,
/// and `set` leads to an `S` that nobody else uses.
unsafe extern "C" fn each<S: FnMut(&[u8], &[u8]) -> Result>(
    _inode: *mut bindings::inode,
    attributes: *const bindings::xattr,
    set: *mut c_void,
) -> c_int {
    from_result(|| {
        // SAFETY: by contract.
        let set = unsafe { &mut *set.cast::<S>() };
        let mut at = attributes;
        loop {
            // SAFETY: by contract, since the end of the array has not been reached.
            let attribute = unsafe { &*at };
            if attribute.name.is_null() {
                return Ok(0);
            }
            let value = if attribute.value.is_null() {
                &[][..]
            } else {
                // SAFETY: by contract a value is as long as its length says.
                unsafe { slice::from_raw_parts(attribute.value.cast::<u8>(), attribute.value_len) }
            };
            // SAFETY: by contract a name is NUL-terminated.
            set(unsafe { cstr::bytes_of(attribute.name) }, value)?;
            // SAFETY: behind an attribute with a name comes another.
            at = unsafe { at.add(1) };
        }
    })
}

#[kunit_tests(rext4_security)]
mod tests {
    use super::*;

    /// Each attribute is handed over, in order, and the first error ends it.
    #[test]
    fn attributes() {
        let mut bytes = *b"label";
        let attribute =
            |name: *const kernel::ffi::c_char, value: *mut u8, value_len| bindings::xattr {
                name,
                value: value.cast(),
                value_len,
            };
        let array = [
            attribute(c"selinux".as_char_ptr(), bytes.as_mut_ptr(), 5),
            attribute(c"evm".as_char_ptr(), ptr::null_mut(), 0),
            attribute(ptr::null(), ptr::null_mut(), 0),
        ];
        fn run<S: FnMut(&[u8], &[u8]) -> Result>(
            array: &[bindings::xattr; 3],
            mut set: S,
        ) -> c_int {
            // SAFETY: the array ends as it has to; the closure is ours.
            unsafe {
                each::<S>(
                    ptr::null_mut(),
                    array.as_ptr(),
                    (&raw mut set).cast::<c_void>(),
                )
            }
        }
        let mut calls = 0;
        let ret = run(&array, |name, value| {
            calls = u32::wrapping_add(calls, 1);
            match calls {
                1 => assert!(name == b"selinux" && value == b"label"),
                _ => assert!(name == b"evm" && value.is_empty()),
            }
            Ok(())
        });
        assert_eq!((ret, calls), (0, 2));
        let mut calls = 0;
        let ret = run(&array, |_, _| {
            calls = u32::wrapping_add(calls, 1);
            Err(ENOSPC)
        });
        assert_eq!((ret, calls), (ENOSPC.to_errno(), 1));
    }
}
