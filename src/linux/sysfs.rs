// SPDX-License-Identifier: GPL-2.0

//! Directories and attributes in /sys/fs.
//!
//! A directory is a kobject, an attribute is a file in it with a function that prints its value
//! and perhaps one that takes a new value. [`Directory`] has no attributes; [`Object`] has a
//! table of them, which show something of type `C`.
//!
//! A kobject is counted by references that others may hold, so it cannot simply be freed:
//! dropping an [`Object`] removes it from sysfs, which waits for callbacks that are running, gives
//! up our reference, and waits until the last one is gone.

use super::bindings;
use core::{
    fmt,
    marker::PhantomPinned,
    mem::MaybeUninit,
    ptr::{self, NonNull},
    slice,
};
use kernel::{
    container_of,
    error::{from_result, to_result},
    ffi::{c_char, c_ulonglong},
    page::PAGE_SIZE,
    prelude::*,
    sync::Completion,
    types::Opaque,
};

/// A directory in /sys/fs without attributes. Dropping it removes it.
///
/// # Invariants
///
/// We own a reference on `kobj`, which is in sysfs.
pub(crate) struct Directory {
    kobj: NonNull<bindings::kobject>,
}

// SAFETY: sysfs has its own locks.
unsafe impl Send for Directory {}
// SAFETY: as above.
unsafe impl Sync for Directory {}

impl Directory {
    /// Makes /sys/fs/`name`. The name must be free.
    ///
    /// Errors: ENOMEM, which covers whatever else can go wrong.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        // SAFETY: /sys/fs exists from boot on and is never removed; the name is copied. The kernel
        // crate's bindings have the same C type under another Rust name.
        let kobj = unsafe {
            bindings::kobject_create_and_add(name.as_char_ptr(), bindings::fs_kobj.cast())
        };
        // INVARIANT: the function returns a reference.
        Ok(Self {
            kobj: NonNull::new(kobj).ok_or(ENOMEM)?,
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: by the type invariant we own a reference. The object is the kernel's own kind,
        // whose release needs nothing of this module, so nobody waits for it.
        unsafe {
            bindings::kobject_del(self.kobj.as_ptr());
            bindings::kobject_put(self.kobj.as_ptr());
        }
    }
}

/// Where an attribute is printed: one page of text.
pub(crate) struct Page<'a> {
    buf: &'a mut [MaybeUninit<u8>],
    len: usize,
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl Page<'_> {
    /// Appends text that need not be UTF-8.
    ///
    /// Errors: ENOSPC if the page is full; then nothing has been appended.
    pub(crate) fn push(&mut self, text: &[u8]) -> Result {
        let room = self
            .buf
            .get_mut(self.len..)
            .and_then(|rest| rest.get_mut(..text.len()))
            .ok_or(ENOSPC)?;
        for (to, from) in room.iter_mut().zip(text) {
            to.write(*from);
        }
        self.len = self.len.saturating_add(text.len());
        Ok(())
    }

    /// Appends formatted text.
    ///
    /// Errors: ENOSPC if the page is full.
    pub(crate) fn print(&mut self, args: kernel::fmt::Arguments<'_>) -> Result {
        fmt::Write::write_fmt(self, args).map_err(|_| ENOSPC)
    }
}

/// What was written to an attribute.
///
/// # Invariants
///
/// A NUL follows the slice.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// As it was written.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// A number as the kernel's other attributes take it: spaces in front, decimal, `0x`
    /// hexadecimal or `0` octal, and a line feed at the end.
    ///
    /// Errors: EINVAL, ERANGE.
    pub(crate) fn number(self) -> Result<u64> {
        let mut value: c_ulonglong = 0;
        // SAFETY: by the type invariant the text is NUL-terminated, and `skip_spaces` returns a
        // pointer into it.
        to_result(unsafe {
            bindings::kstrtoull(bindings::skip_spaces(self.0.as_ptr().cast()), 0, &mut value)
        })?;
        Ok(value)
    }
}

/// A file of an [`Object`].
#[repr(C)]
pub(crate) struct Attribute<C: 'static> {
    raw: bindings::attribute,
    show: Option<fn(&C, &mut Page<'_>) -> Result>,
    store: Option<fn(&C, Text<'_>) -> Result>,
}

impl<C: 'static> Attribute<C> {
    /// A file that can be read.
    pub(crate) const fn ro(name: &'static CStr, show: fn(&C, &mut Page<'_>) -> Result) -> Self {
        Self::new(name, 0o444, Some(show), None)
    }

    /// A file that can be read, and written by root. `store` gets the text as it was written.
    pub(crate) const fn rw(
        name: &'static CStr,
        show: fn(&C, &mut Page<'_>) -> Result,
        store: fn(&C, Text<'_>) -> Result,
    ) -> Self {
        Self::new(name, 0o644, Some(show), Some(store))
    }

    /// A file that can only be written, by root.
    pub(crate) const fn wo(name: &'static CStr, store: fn(&C, Text<'_>) -> Result) -> Self {
        Self::new(name, 0o200, None, Some(store))
    }

    const fn new(
        name: &'static CStr,
        mode: u16,
        show: Option<fn(&C, &mut Page<'_>) -> Result>,
        store: Option<fn(&C, Text<'_>) -> Result>,
    ) -> Self {
        // SAFETY: pointers and numbers, and with lockdep a key and a flag, of all of which zero is
        // a value: lockdep then takes the address of the key inside.
        let mut raw: bindings::attribute = unsafe { MaybeUninit::zeroed().assume_init() };
        raw.name = name.to_bytes_with_nul().as_ptr().cast();
        raw.mode = mode;
        Self { raw, show, store }
    }
}

/// A directory with attributes that show a `C`. Dropping it removes it.
///
/// # Invariants
///
/// `kobj` was initialised with the type [`Self::TYPE`] and we own a reference on it. `released` is
/// completed when the last reference is gone. `target` is valid.
#[pin_data(PinnedDrop)]
pub(crate) struct Object<C: 'static> {
    #[pin]
    kobj: Opaque<bindings::kobject>,
    #[pin]
    released: Completion,
    target: *const C,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: the kobject has its own locks, and all else is reached by shared reference to `C`.
unsafe impl<C: Sync> Send for Object<C> {}
// SAFETY: as above.
unsafe impl<C: Sync> Sync for Object<C> {}

impl<C: Sync + 'static> Object<C> {
    /// Makes the directory `name` in `parent` with `attributes` in it, which show `target`. The
    /// name must be free.
    ///
    /// Errors: ENOMEM, or what sysfs says.
    pub(crate) fn new(
        parent: &Directory,
        name: &CStr,
        attributes: &'static [Attribute<C>],
        target: &'static C,
    ) -> Result<Pin<KBox<Self>>> {
        // SAFETY: 'static outlives everything.
        unsafe { Self::with_target(parent, name, attributes, target) }
    }

    /// Like [`Self::new`], for a target that does not live for ever.
    ///
    /// # Safety
    ///
    /// The result must be dropped while `target` is still valid.
    pub(super) unsafe fn with_target(
        parent: &Directory,
        name: &CStr,
        attributes: &'static [Attribute<C>],
        target: &C,
    ) -> Result<Pin<KBox<Self>>> {
        let object = KBox::pin_init(
            pin_init!(Self {
                kobj <- Opaque::ffi_init(|place: *mut bindings::kobject| {
                    // SAFETY: the place is valid, and a kobject starts as zeroes.
                    unsafe {
                        place.write_bytes(0, 1);
                        bindings::kobject_init(place, Self::TYPE);
                    }
                }),
                released <- Completion::new(),
                target: ptr::from_ref(target),
                _pin: PhantomPinned,
            }),
            GFP_KERNEL,
        )?;
        let kobj = object.kobj.get();
        // From here on, whatever fails, dropping `object` cleans up.
        // SAFETY: initialised above; the parent is in sysfs, and gets a reference from its child.
        // The format has one argument, a string, which is copied.
        to_result(unsafe {
            bindings::kobject_add(
                kobj,
                parent.kobj.as_ptr(),
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;
        for attribute in attributes {
            // SAFETY: the object is in sysfs; attributes are constants. They are `Attribute<C>`s
            // all of them, as the operations expect.
            to_result(unsafe {
                bindings::sysfs_create_file_ns(kobj, &attribute.raw, ptr::null())
            })?;
        }
        Ok(object)
    }

    const OPS: &'static bindings::sysfs_ops = &bindings::sysfs_ops {
        show: Some(Self::show),
        store: Some(Self::store),
    };

    const TYPE: &'static bindings::kobj_type = &bindings::kobj_type {
        release: Some(release::<C>),
        sysfs_ops: Self::OPS,
        // SAFETY: optional function pointers and a pointer; all-zero means none.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// The object and the attribute of a callback.
    ///
    /// # Safety
    ///
    /// For the callbacks of [`Self::OPS`] only, during which sysfs keeps the object in place.
    unsafe fn of<'a>(
        kobj: *mut bindings::kobject,
        attribute: *mut bindings::attribute,
    ) -> (&'a C, &'a Attribute<C>) {
        // SAFETY: a kobject with these operations is in an `Object<C>`, in which `target` is valid,
        // and its attributes are the first members of `Attribute<C>`s, since `Object::with_target`
        // adds no others. Removing the object waits for the callback.
        unsafe {
            let object: *const Self = container_of!(Opaque::cast_from(kobj), Self, kobj);
            (&*(*object).target, &*attribute.cast())
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn show(
        kobj: *mut bindings::kobject,
        attribute: *mut bindings::attribute,
        buf: *mut c_char,
    ) -> isize {
        // SAFETY: we are a callback.
        let (target, attribute) = unsafe { Self::of(kobj, attribute) };
        from_result(|| {
            let mut page = Page {
                // SAFETY: sysfs passes a page that is ours during this call.
                buf: unsafe { slice::from_raw_parts_mut(buf.cast(), PAGE_SIZE) },
                len: 0,
            };
            (attribute.show.ok_or(EIO)?)(target, &mut page)?;
            Ok(isize::try_from(page.len)?)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn store(
        kobj: *mut bindings::kobject,
        attribute: *mut bindings::attribute,
        buf: *const c_char,
        len: usize,
    ) -> isize {
        // SAFETY: we are a callback.
        let (target, attribute) = unsafe { Self::of(kobj, attribute) };
        from_result(|| {
            // SAFETY: kernfs passes what was written, `len` bytes, and puts a NUL behind it; it is
            // ours during this call.
            let text = Text(unsafe { slice::from_raw_parts(buf.cast(), len) });
            (attribute.store.ok_or(EIO)?)(target, text)?;
            Ok(isize::try_from(len)?)
        })
    }
}

/// The last reference on an object's kobject is gone.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
unsafe extern "C" fn release<C: 'static>(kobj: *mut bindings::kobject) {
    // SAFETY: a kobject of our type is in an `Object<C>`, whose drop waits for what is done here
    // and so has not freed it.
    unsafe {
        let object: *const Object<C> = container_of!(Opaque::cast_from(kobj), Object<C>, kobj);
        (*object).released.complete_all();
    }
}

#[pinned_drop]
impl<C: 'static> PinnedDrop for Object<C> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: by the type invariant the object is initialised and a reference is ours; one that
        // was never added is not in sysfs and has no parent, which `kobject_del` copes with.
        unsafe {
            bindings::kobject_del(self.kobj.get());
            bindings::kobject_put(self.kobj.get());
        }
        self.released.wait_for_completion();
    }
}
