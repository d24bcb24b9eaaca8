// SPDX-License-Identifier: GPL-2.0

//! A block device of its own for a KUnit suite, and other things that only tests do.

use super::{
    bindings,
    buffer::Device,
    fs_type::FileSystem,
    super_block::{check, SuperBlock},
};
use core::ptr::{self, NonNull};
use kernel::{error::from_err_ptr, ffi::c_void, prelude::*};

/// A block device that has been opened by its number.
///
/// # Invariants
///
/// `file` is an open file of a block device, and ours. Its block size is `block_size`.
pub(crate) struct TestDevice {
    file: NonNull<bindings::file>,
    block_size: u32,
}

static HOLDER: u8 = 0;

/// What says that nobody minds losing a device.
const MARK: &[u8] = b"rext4 KUnit may overwrite this device";

impl TestDevice {
    /// Opens device `major:minor` for blocks of `block_size` bytes. Suites run wherever the module
    /// is loaded on a kernel with KUnit, and what they write to is lost: so only a device will do
    /// whose last block begins with [`MARK`].
    ///
    /// Errors: ENXIO when there is none, EPERM for one without the mark.
    pub(crate) fn open(major: u32, minor: u32, block_size: u32) -> Result<Self> {
        // A holder, so that nobody else has it, and its block size may be set.
        // SAFETY: any address that stays makes a holder; it has no operations.
        let file = from_err_ptr(unsafe {
            bindings::bdev_file_open_by_dev(
                bindings::mkdev(major, minor),
                bindings::BLK_OPEN_READ | bindings::BLK_OPEN_WRITE,
                (&raw const HOLDER).cast_mut().cast(),
                ptr::null(),
            )
        })?;
        // INVARIANT: opened above; the size follows.
        let this = Self {
            // SAFETY: not an error, hence a file.
            file: unsafe { NonNull::new_unchecked(file) },
            block_size,
        };
        // SAFETY: open, and no buffers of it are held by us.
        check(unsafe { bindings::set_blocksize(file, i32::try_from(block_size)?) })?;
        // SAFETY: open.
        let bytes = unsafe { bindings::bdev_nr_bytes(bindings::file_bdev(file)) };
        let blocks = u64::try_from(bytes)?.checked_div(block_size.into());
        let last = blocks.and_then(|n| n.checked_sub(1)).ok_or(EPERM)?;
        if !this.device().read(last)?.starts_with(MARK) {
            return Err(EPERM);
        }
        Ok(this)
    }

    /// The device, for the buffer cache.
    pub(crate) fn device(&self) -> Device<'_> {
        // SAFETY: by the type invariant the device is open for as long as `self` lives.
        unsafe {
            let bdev = bindings::file_bdev(self.file.as_ptr());
            Device::from_raw(NonNull::new_unchecked(bdev), self.block_size)
        }
    }
}

impl Drop for TestDevice {
    fn drop(&mut self) {
        super::super_block::forget_buffers(self.device());
        // SAFETY: by the type invariant it is open, and ours.
        unsafe { bindings::bdev_fput(self.file.as_ptr()) };
    }
}

/// Calls `f` with each mounted file system of type `name`, which is one of `F`'s own; none is
/// unmounted or remounted meanwhile.
pub(crate) fn with_mounted<F: FileSystem>(name: &CStr, mut f: impl FnMut(&SuperBlock<F>)) {
    /// # Safety
    ///
    /// For `iterate_supers_type`, with a superblock of `F` and a `G`.
    unsafe extern "C" fn call<F: FileSystem, G: FnMut(&SuperBlock<F>)>(
        sb: *mut bindings::super_block,
        f: *mut c_void,
    ) {
        // SAFETY: by contract; a superblock that is locked has been filled, or there is no root.
        unsafe {
            if !(*sb).s_root.is_null() {
                (*f.cast::<G>())(SuperBlock::from_raw(sb));
            }
        }
    }
    fn callback<F: FileSystem, G: FnMut(&SuperBlock<F>)>(_: &G) -> Callback {
        call::<F, G>
    }
    type Callback = unsafe extern "C" fn(*mut bindings::super_block, *mut c_void);

    let callback = callback::<F, _>(&f);
    // SAFETY: the type is held while it is used, by a reference to its module. Its superblocks are
    // `F`'s, as the caller says.
    unsafe {
        let fs_type = bindings::get_fs_type(name.as_char_ptr());
        if !fs_type.is_null() {
            bindings::iterate_supers_type(fs_type, Some(callback), (&raw mut f).cast());
            bindings::module_put((*fs_type).owner);
        }
    }
}

/// Says that the running test cannot be run here, for want of a device.
pub(crate) fn skip() {
    // SAFETY: changes the state of the test that the current task runs, if it does.
    unsafe { bindings::kunit_skip_here() };
}

/// Runs `f`, and counts the kernel's warnings (`WARN_ON` and the like) that this task brings about
/// meanwhile, none of which is printed.
pub(crate) fn warnings_in<R>(f: impl FnOnce() -> R) -> (R, i32) {
    // SAFETY: asks for warnings of the current task to be counted; NULL outside of a test.
    let counter = unsafe { bindings::kunit_expect_warnings() };
    let result = f();
    // SAFETY: the counter is what the call above has returned, and is given back once.
    let count = unsafe { bindings::kunit_expected_warnings(counter) };
    (result, count)
}

/// Runs `f` in a task that has `value` as some file system's private data of its transaction.
pub(crate) fn with_journal_info<R>(value: usize, f: impl FnOnce() -> R) -> R {
    // SAFETY: the field is the current task's. It is put back before anybody but `f` could look.
    unsafe {
        let old = bindings::journal_info_here();
        bindings::set_journal_info_here(ptr::without_provenance_mut::<c_void>(value));
        let r = f();
        bindings::set_journal_info_here(old);
        r
    }
}
