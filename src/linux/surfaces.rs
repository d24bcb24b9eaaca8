// SPDX-License-Identifier: GPL-2.0

//! What a file system shows of itself: /sys/fs/<type>/<device>/ and /proc/fs/<type>/<device>/.
//!
//! The directories of a type ([`TypeDirs`]) exist as long as the type is registered, and contain
//! in sysfs `features/`, the list of what the driver can do. Those of a superblock
//! ([`Surfaces`]) are made at the end of a mount.
//!
//! What the files of a superblock print is read from the superblock and its private data, so
//! they must be gone before these go. That is why a superblock owns them ([`Slot`]) and a file
//! system can make but not hold them.

use super::{
    fs_type::FileSystem,
    proc::{ProcDir, ProcFile, ProcFiles},
    super_block::SuperBlock,
    sysfs::{Attribute, Directory, Object, Page},
};
use core::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// The directories of a file system type. Several types may share them.
pub(crate) struct TypeDirs {
    // In this order: children first.
    _features: Pin<KBox<Object<Driver>>>,
    sysfs: Directory,
    /// `None` where there is no procfs to speak of; then its files are missing, and no more.
    proc: Option<Arc<ProcDir>>,
}

/// What the attributes in `features/` are about: the driver, of which there is one.
pub(crate) struct Driver;

impl TypeDirs {
    /// Makes /sys/fs/`name` with `features` in it, and /proc/fs/`name`. The names must be free,
    /// which they are when the type `name` has just been registered.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new(
        name: &CStr,
        features: &'static [Attribute<Driver>],
    ) -> Result<Arc<TypeDirs>> {
        let sysfs = Directory::new(name)?;
        let features = Object::new(&sysfs, c"features", features, &Driver)?;
        let path = CString::try_from_fmt(fmt!("fs/{}", name))?;
        let proc = match ProcDir::new(&path) {
            Ok(dir) => Some(Arc::new(dir, GFP_KERNEL)?),
            Err(_) => None,
        };
        Ok(Arc::new(
            TypeDirs {
                _features: features,
                sysfs,
                proc,
            },
            GFP_KERNEL,
        )?)
    }
}

/// A feature that the driver has; its file says so.
pub(crate) const fn feature(name: &'static CStr) -> Attribute<Driver> {
    Attribute::ro(name, supported)
}

fn supported(_: &Driver, page: &mut Page<'_>) -> Result {
    page.push(b"supported\n")
}

/// What a mounted file system shows.
pub(crate) trait SuperSurfaces: 'static {
    /// The file system.
    type Fs: FileSystem;
    /// The files in /sys/fs/<type>/<device>/.
    const ATTRIBUTES: &'static [Attribute<SuperBlock<Self::Fs>>];
    /// The files in /proc/fs/<type>/<device>/.
    const PROC_FILES: &'static [ProcFile<Self::Fs>];
}

/// The directories of one superblock. Dropping them removes them.
pub(super) struct Surfaces<F: FileSystem> {
    _proc: Option<ProcFiles<F>>,
    _sysfs: Pin<KBox<Object<SuperBlock<F>>>>,
    // The parents, which must be there until the children are gone.
    _dirs: Arc<TypeDirs>,
}

impl<F: FileSystem> Surfaces<F> {
    /// Makes the directories `name` in `dirs`.
    ///
    /// # Safety
    ///
    /// The result must be dropped while `sb` and its private data are still valid.
    unsafe fn new<T: SuperSurfaces<Fs = F>>(
        sb: &SuperBlock<F>,
        name: &CStr,
        dirs: Arc<TypeDirs>,
    ) -> Result<Self> {
        // SAFETY: the caller takes over the obligation.
        let sysfs = unsafe { Object::with_target(&dirs.sysfs, name, T::ATTRIBUTES, sb) }?;
        let proc = match &dirs.proc {
            // SAFETY: as above.
            Some(dir) => unsafe { ProcFiles::new(sb, dir, name, T::PROC_FILES) }.ok(),
            None => None,
        };
        Ok(Self {
            _proc: proc,
            _sysfs: sysfs,
            _dirs: dirs,
        })
    }
}

/// The place in a superblock's private allocation that owns its [`Surfaces`].
///
/// # Invariants
///
/// The pointer is NULL or comes from `KBox::into_raw`.
pub(super) struct Slot<F: FileSystem>(AtomicPtr<Surfaces<F>>);

impl<F: FileSystem> Slot<F> {
    /// An empty slot.
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Shows `T` of `sb` under `name` in `dirs`.
    ///
    /// # Safety
    ///
    /// [`Slot::clear`] must be called before `sb` or its private data become invalid.
    ///
    /// Errors: ENOMEM, or what sysfs says.
    pub(super) unsafe fn fill<T: SuperSurfaces<Fs = F>>(
        &self,
        sb: &SuperBlock<F>,
        name: &CStr,
        dirs: Arc<TypeDirs>,
    ) -> Result {
        // SAFETY: `clear` drops it, by this function's contract in time.
        let surfaces = unsafe { Surfaces::new::<T>(sb, name, dirs) }?;
        self.put(KBox::into_raw(KBox::new(surfaces, GFP_KERNEL)?));
        Ok(())
    }

    /// Removes what is shown; afterwards no callback is running and none will.
    pub(super) fn clear(&self) {
        self.put(ptr::null_mut());
    }

    fn put(&self, new: *mut Surfaces<F>) {
        let old = self.0.swap(new, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: by the type invariant, and whoever swaps a pointer out owns it.
            drop(unsafe { KBox::from_raw(old) });
        }
    }
}
