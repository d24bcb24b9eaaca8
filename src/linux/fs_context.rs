// SPDX-License-Identifier: GPL-2.0

//! The context of a mount or remount, and its options.
//!
//! A file system implements [`ContextOps`] and declares its options as [`Param`]s. The VFS finds an
//! option's row and converts the value ([`ParamTable`] is the C table that it works from); the file
//! system then gets the row's own tag and a [`Value`] of the type that the row asked for. What
//! generic code knows (`ro`, `sync`, `lazytime`, `source`, the security modules' options) never
//! arrives here.
//!
//! Messages about options go to the kernel log, where ext4 users look for them, and to the log of
//! the context, which mount(8) prints when it uses the new mount calls: see [`FsContext::error`].

mod params;

pub(crate) use params::{parse_text, Choices, Given, Param, ParamTable, Specs, Value};

use super::{
    bindings,
    buffer::Device,
    cstr,
    fs_type::FileSystem,
    super_block::{forget_buffers, message, Level, NewSuper, SuperBlock},
};
use core::{marker::PhantomData, mem::MaybeUninit, ptr};
use kernel::{
    error::from_result,
    ffi::{c_char, c_int, c_uint, c_void},
    fmt,
    prelude::*,
    types::Opaque,
};

/// Ticks of the kernel's clock in a second.
pub(crate) const HZ: u32 = bindings::HZ;
/// The flag of superblocks that keep inode versions, for [`ContextOps::SB_FLAGS`].
pub(crate) const SB_I_VERSION: u32 = bindings::SB_I_VERSION;

/// The making of a mount.
#[vtable]
pub(crate) trait ContextOps: 'static {
    /// The file system.
    type Fs: FileSystem;
    /// What options are collected in, from the first one to `fill` or `reconfigure`.
    type Context: Send + Default;
    /// What the file system calls its options.
    type Opt: Copy + 'static;
    /// All options.
    const PARAMETERS: ParamTable<Self::Opt>;
    /// Flags (`SB_*`) that every superblock gets.
    const SB_FLAGS: u32;

    /// Takes one option. Options come in the order in which the user wrote them.
    ///
    /// Errors: whatever it returns ends the mount, EINVAL for a value that makes no sense.
    fn parse(ctx: &mut Self::Context, fc: &FsContext, given: Given<'_, Self::Opt>) -> Result;

    /// Fills a new superblock; on success it has a root. May sleep.
    fn fill(ctx: &mut Self::Context, sb: NewSuper<'_, Self::Fs>, fc: &FsContext) -> Result;

    /// Changes a mounted file system to what was asked for. `s_umount` is held for writing. The
    /// VFS applies the generic flags of `fc` afterwards. May sleep.
    fn reconfigure(
        ctx: &mut Self::Context,
        sb: &SuperBlock<Self::Fs>,
        fc: &mut FsContext,
    ) -> Result;
}

/// A mount or remount that is being made.
#[repr(transparent)]
pub(crate) struct FsContext(Opaque<bindings::fs_context>);

impl FsContext {
    /// # Safety
    ///
    /// `ptr` must be valid for `'a`, and nobody but the caller may use it meanwhile.
    unsafe fn from_raw<'a>(ptr: *mut bindings::fs_context) -> &'a mut Self {
        // SAFETY: by contract; the layout is transparent.
        unsafe { &mut *ptr.cast() }
    }

    fn as_raw(&self) -> *mut bindings::fs_context {
        self.0.get()
    }

    /// Whether this changes a mounted file system.
    pub(crate) fn is_reconfigure(&self) -> bool {
        // SAFETY: a bit field of a valid context that we are the only user of.
        let purpose = unsafe { (*self.as_raw()).purpose() };
        purpose == bindings::fs_context_purpose_FS_CONTEXT_FOR_RECONFIGURE
    }

    /// The name of the file system type that is being mounted; empty for a context that
    /// [`parse_text`] has made.
    pub(crate) fn type_name(&self) -> &[u8] {
        // SAFETY: a context holds its type, whose name never changes.
        unsafe {
            let fs_type = (*self.as_raw()).fs_type;
            if fs_type.is_null() {
                b""
            } else {
                cstr::bytes_of((*fs_type).name)
            }
        }
    }

    /// A short name for messages: that of the mounted device, or the last part of what is to be
    /// mounted.
    pub(crate) fn id(&self) -> &[u8] {
        // SAFETY: nobody else uses the context; it owns the string, and holds the superblock of its
        // root, whose name does not change.
        let source = unsafe {
            let context = self.as_raw();
            let root = (*context).root;
            if !root.is_null() {
                return cstr::bytes_of((&raw const (*(*root).d_sb).s_id).cast());
            }
            if (*context).source.is_null() {
                return b"?";
            }
            cstr::bytes_of((*context).source)
        };
        let (mut last, mut rest) = (source, source);
        while let Some((b, behind)) = rest.split_first() {
            if *b == b'/' {
                last = behind;
            }
            rest = behind;
        }
        last
    }

    /// Whether this changes the mounted file system `sb`, which it holds.
    pub(super) fn is_remount_of(&self, sb: *const bindings::super_block) -> bool {
        // SAFETY: nobody else uses the context, which holds its root, and that its superblock.
        let own = unsafe {
            let root = (*self.as_raw()).root;
            if root.is_null() {
                return false;
            }
            (*root).d_sb
        };
        self.is_reconfigure() && ptr::eq(own, sb)
    }

    /// Whether a read-only mount is asked for.
    pub(crate) fn asks_for_rdonly(&self) -> bool {
        // SAFETY: a word of a valid context that we are the only user of.
        unsafe { (*self.as_raw()).sb_flags & bindings::SB_RDONLY as c_uint != 0 }
    }

    /// Whether a remount says `ro` or `rw` at all.
    pub(crate) fn changes_rdonly(&self) -> bool {
        // SAFETY: as in `asks_for_rdonly`.
        unsafe { (*self.as_raw()).sb_flags_mask & bindings::SB_RDONLY as c_uint != 0 }
    }

    /// Makes what is being mounted or remounted read-only, or not, whatever was asked for. The VFS
    /// applies it when the operation has succeeded; while [`ContextOps::fill`] runs,
    /// [`NewSuper::force_rdonly`] is what counts. In a remount `false` only takes back a `true`:
    /// what the VFS has to do for a mount to become writable, it does for one that asks.
    #[allow(dead_code, reason = "the write path is being built on top of this")]
    pub(crate) fn set_rdonly(&mut self, rdonly: bool) {
        let bit = bindings::SB_RDONLY as c_uint;
        // SAFETY: words of a valid context that we are the only user of.
        unsafe {
            let fc = self.as_raw();
            (*fc).sb_flags_mask |= bit;
            if rdonly {
                (*fc).sb_flags |= bit;
            } else {
                (*fc).sb_flags &= !bit;
            }
        }
    }

    /// Reports why the operation fails.
    #[cold]
    pub(crate) fn error(&self, args: fmt::Arguments<'_>) {
        self.log(Level::Err, b'e', args);
    }

    /// As [`error`](Self::error), and returns EINVAL.
    #[cold]
    pub(crate) fn invalid(&self, args: fmt::Arguments<'_>) -> Error {
        self.error(args);
        EINVAL
    }

    /// Reports something that the user should look at; the operation goes on.
    #[cold]
    pub(crate) fn warn(&self, args: fmt::Arguments<'_>) {
        self.log(Level::Warning, b'w', args);
    }

    /// Reports something worth knowing.
    #[cold]
    pub(crate) fn info(&self, args: fmt::Arguments<'_>) {
        self.log(Level::Info, b'i', args);
    }

    /// To the kernel log, and to the context's, if the mount was made with calls that have one.
    /// `args` come without the newline: each log adds its own.
    fn log(&self, level: Level, letter: u8, args: fmt::Arguments<'_>) {
        message(level, self.id(), fmt!("{}\n", args));
        // SAFETY: nobody else uses the context.
        let log = unsafe { (*self.as_raw()).log.log };
        if log.is_null() {
            return;
        }
        // SAFETY: the log lives as long as the context; `%pA` takes a pointer to arguments, which
        // stay until the call returns.
        unsafe {
            bindings::logfc(
                log,
                ptr::null(),
                letter as c_char,
                c"%pA".as_char_ptr(),
                ptr::from_ref(&args).cast::<c_void>(),
            );
        }
    }
}

struct ContextVtable<C: ContextOps>(PhantomData<C>);

impl<C: ContextOps> ContextVtable<C> {
    const TABLE: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(Self::free),
        parse_param: Some(Self::parse_param),
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
        // SAFETY: a table of optional function pointers; all-zero means none.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// `fc` must have been through `init::<C>`, and be the caller's alone for `'a`.
    unsafe fn context<'a>(fc: *mut bindings::fs_context) -> &'a mut C::Context {
        // SAFETY: by contract `fs_private` is the box that `init` made, and `free` has not run.
        unsafe { &mut *(*fc).fs_private.cast::<C::Context>() }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
        // SAFETY: the VFS calls this once for a context that `init` succeeded on.
        unsafe {
            drop(KBox::from_raw((*fc).fs_private.cast::<C::Context>()));
            (*fc).fs_private = ptr::null_mut();
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS passes an initialised context and a parameter, and serialises all
            // calls on a context (`uapi_mutex`, or a context that only mount(2) knows).
            unsafe {
                let given = C::PARAMETERS.find(fc, param)?;
                C::parse(Self::context(fc), FsContext::from_raw(fc), given)?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: the VFS passes an initialised context.
        unsafe { bindings::get_tree_bdev(fc, Some(Self::fill)) }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn fill(
        sb: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `get_tree_bdev` passes a new superblock, locked and known to nobody else,
            // and the context that it was called with.
            unsafe {
                C::fill(
                    Self::context(fc),
                    NewSuper::new(sb),
                    FsContext::from_raw(fc),
                )
                .inspect_err(|_| forget_buffers(Device::of_super(sb)))?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: the VFS calls this for a context whose root is on a mounted superblock of
            // this type, which therefore was published.
            unsafe {
                let sb = SuperBlock::from_raw((*(*fc).root).d_sb);
                C::reconfigure(Self::context(fc), sb, FsContext::from_raw(fc))?;
            }
            Ok(0)
        })
    }
}

/// `init_fs_context` of a file system type.
///
/// # Safety
///
/// For the VFS only.
pub(super) unsafe extern "C" fn init<C: ContextOps>(fc: *mut bindings::fs_context) -> c_int {
    from_result(|| {
        let ctx = KBox::new(C::Context::default(), GFP_KERNEL)?;
        // SAFETY: the VFS passes a context that is being set up; `free` takes the box back.
        unsafe {
            (*fc).fs_private = KBox::into_raw(ctx).cast();
            (*fc).ops = &ContextVtable::<C>::TABLE;
            (*fc).sb_flags |= C::SB_FLAGS;
        }
        Ok(0)
    })
}
