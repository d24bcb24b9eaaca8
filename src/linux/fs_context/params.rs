// SPDX-License-Identifier: GPL-2.0

//! Options: the table of their names, and their values.
//!
//! The rows of the table are written once, in Rust; the C table that the VFS reads is made of them
//! at compile time. A row's number in the C table is its number in Rust, so that a match leads back
//! to the row, and with it to the type of the value and to the file system's own tag.

use super::FsContext;
use crate::linux::{bindings, cstr};
use core::{marker::PhantomData, mem::MaybeUninit, ptr};
use kernel::{
    error::to_result,
    ffi::{c_int, c_void},
    prelude::*,
};

/// An option as the user gave it.
pub(crate) struct Given<'a, O> {
    /// Which one: the tag of its row.
    pub(crate) opt: O,
    /// Its name.
    pub(crate) name: &'static str,
    /// Its value, of the kind that the row asks for.
    pub(crate) value: Value<'a>,
}

/// The value of an option.
pub(crate) enum Value<'a> {
    /// The name stands alone.
    Flag,
    /// A number.
    U32(u32),
    /// A number that may be negative.
    S32(i32),
    /// The number that the [`Choices`] of the row give the word.
    Choice(u32),
    /// A user or group, as the kernel counts them in the initial user namespace.
    Id(u32),
    /// Text; empty only where the row allows it.
    Text(&'a [u8]),
    /// A path, to be looked up when it is needed.
    Device(DevicePath<'a>),
}

/// The kind of value that an option takes.
#[derive(Clone, Copy)]
enum Kind {
    Flag,
    U32,
    S32,
    Choice(*const bindings::constant_table),
    Uid,
    Gid,
    Text { may_be_empty: bool },
    Device,
}

/// One option: its name, what its value is, and the file system's tag for it.
///
/// A name may stand twice, once as a flag and once with a value.
#[derive(Clone, Copy)]
pub(crate) struct Param<O> {
    name: &'static CStr,
    /// The name once more, for messages.
    shown: &'static str,
    kind: Kind,
    opt: O,
}

// SAFETY: the only pointer leads to a static table.
unsafe impl<O: Send> Send for Param<O> {}
// SAFETY: as above.
unsafe impl<O: Sync> Sync for Param<O> {}

impl<O: Copy> Param<O> {
    const fn new(name: &'static CStr, kind: Kind, opt: O) -> Self {
        let shown = match name.to_str() {
            Ok(text) => text,
            Err(_) => "?",
        };
        Self {
            name,
            shown,
            kind,
            opt,
        }
    }

    /// `name` without a value.
    pub(crate) const fn flag(name: &'static CStr, opt: O) -> Self {
        Self::new(name, Kind::Flag, opt)
    }

    /// `name=<number>`.
    pub(crate) const fn u32(name: &'static CStr, opt: O) -> Self {
        Self::new(name, Kind::U32, opt)
    }

    /// `name=<number>`, which may be negative.
    pub(crate) const fn s32(name: &'static CStr, opt: O) -> Self {
        Self::new(name, Kind::S32, opt)
    }

    /// `name=<word>`, one of `choices`.
    pub(crate) const fn choice<const N: usize>(
        name: &'static CStr,
        choices: &'static Choices<N>,
        opt: O,
    ) -> Self {
        Self::new(name, Kind::Choice(choices.0.as_ptr()), opt)
    }

    /// `name=<user id>`.
    pub(crate) const fn uid(name: &'static CStr, opt: O) -> Self {
        Self::new(name, Kind::Uid, opt)
    }

    /// `name=<group id>`.
    pub(crate) const fn gid(name: &'static CStr, opt: O) -> Self {
        Self::new(name, Kind::Gid, opt)
    }

    /// `name=<text>`.
    pub(crate) const fn text(name: &'static CStr, opt: O) -> Self {
        Self::new(
            name,
            Kind::Text {
                may_be_empty: false,
            },
            opt,
        )
    }

    /// `name=[<text>]`.
    pub(crate) const fn text_or_nothing(name: &'static CStr, opt: O) -> Self {
        Self::new(name, Kind::Text { may_be_empty: true }, opt)
    }

    /// `name=<path of a block device>`.
    pub(crate) const fn device(name: &'static CStr, opt: O) -> Self {
        Self::new(name, Kind::Device, opt)
    }

    /// The row of the C table, which answers to a match with `index`.
    const fn spec(&self, index: usize) -> bindings::fs_parameter_spec {
        let mut data: *const c_void = ptr::null();
        let mut flags = 0;
        let type_: bindings::fs_param_type = match self.kind {
            Kind::Flag => None,
            Kind::U32 => Some(bindings::fs_param_is_u32),
            Kind::S32 => Some(bindings::fs_param_is_s32),
            Kind::Choice(table) => {
                data = table.cast();
                Some(bindings::fs_param_is_enum)
            }
            Kind::Uid => Some(bindings::fs_param_is_uid),
            Kind::Gid => Some(bindings::fs_param_is_gid),
            Kind::Text { may_be_empty } => {
                if may_be_empty {
                    flags = bindings::fs_param_can_be_empty as u16;
                }
                Some(bindings::fs_param_is_string)
            }
            Kind::Device => Some(bindings::fs_param_is_blockdev),
        };
        bindings::fs_parameter_spec {
            name: self.name.to_bytes_with_nul().as_ptr().cast(),
            type_,
            opt: index as u8,
            flags,
            data,
        }
    }
}

/// The words that an option chooses from, and a number for each.
///
/// # Invariants
///
/// The last entry is all zeroes, which ends the table for C.
pub(crate) struct Choices<const N: usize>([bindings::constant_table; N]);

// SAFETY: a read-only table of pointers to static strings.
unsafe impl<const N: usize> Sync for Choices<N> {}

impl<const N: usize> Choices<N> {
    /// A table of `words`, which must be one less than `N`.
    pub(crate) const fn new<const WORDS: usize>(words: [(&'static CStr, u32); WORDS]) -> Self {
        const { assert!(WORDS + 1 == N) };
        // SAFETY: a null name and a number; zero is a value of both.
        let mut table: [bindings::constant_table; N] =
            unsafe { MaybeUninit::zeroed().assume_init() };
        let mut i = 0;
        while i < WORDS {
            table[i].name = words[i].0.to_bytes_with_nul().as_ptr().cast();
            table[i].value = words[i].1 as c_int;
            i += 1;
        }
        // INVARIANT: the last entry was not touched.
        Self(table)
    }
}

/// The rows of a [`ParamTable`] in the form that C reads.
///
/// # Invariants
///
/// The last entry is all zeroes, which ends the table for C.
pub(crate) struct Specs<const N: usize>([bindings::fs_parameter_spec; N]);

// SAFETY: a read-only table of pointers to static strings and tables, and to functions.
unsafe impl<const N: usize> Sync for Specs<N> {}

impl<const N: usize> Specs<N> {
    /// The C form of `params`, which must be one less than `N`, and fewer than 256.
    pub(crate) const fn new<O: Copy, const ROWS: usize>(params: &[Param<O>; ROWS]) -> Self {
        const { assert!(ROWS + 1 == N && ROWS < 256) };
        // SAFETY: null pointers, absent functions, and numbers; zero is a value of all of them.
        let mut table: [bindings::fs_parameter_spec; N] =
            unsafe { MaybeUninit::zeroed().assume_init() };
        let mut i = 0;
        while i < ROWS {
            table[i] = params[i].spec(i);
            i += 1;
        }
        // INVARIANT: the last entry was not touched.
        Self(table)
    }
}

/// All options of a file system: the rows, and the C table made of them.
pub(crate) struct ParamTable<O: 'static> {
    rows: &'static [Param<O>],
    specs: *const bindings::fs_parameter_spec,
}

impl<O: Copy> ParamTable<O> {
    /// The table of `rows`, for which `specs` was made.
    pub(crate) const fn new<const N: usize>(
        rows: &'static [Param<O>],
        specs: &'static Specs<N>,
    ) -> Self {
        Self {
            rows,
            specs: specs.0.as_ptr(),
        }
    }

    /// The C table.
    pub(in crate::linux) const fn as_ptr(&self) -> *const bindings::fs_parameter_spec {
        self.specs
    }

    /// Finds the option that `param` names and converts its value.
    ///
    /// Errors: ENOPARAM for an unknown name, EINVAL (reported to the context's log) for a value
    /// that cannot be converted.
    ///
    /// # Safety
    ///
    /// `fc` and `param` must be valid and the caller's alone for `'a`.
    pub(super) unsafe fn find<'a>(
        &self,
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> Result<Given<'a, O>> {
        let mut parsed = bindings::fs_parse_result::default();
        // SAFETY: by contract, and by the invariant of `Specs` the table is terminated.
        let ret =
            unsafe { bindings::__fs_parse(&raw mut (*fc).log, self.specs, param, &raw mut parsed) };
        to_result(ret)?;
        // `__fs_parse` returns the number of the row, which is why rows are fewer than 256.
        let row = usize::try_from(ret)
            .ok()
            .and_then(|index| self.rows.get(index))
            .ok_or(EINVAL)?;
        // SAFETY: `parsed` was zeroed and at most one number in it has been set since; every
        // member is a number for which all bit patterns are values.
        let (number, signed) = unsafe {
            let number = &parsed.__bindgen_anon_1;
            (*number.uint_32.as_ref(), *number.int_32.as_ref())
        };
        let value = match row.kind {
            Kind::Flag => Value::Flag,
            Kind::U32 => Value::U32(number),
            Kind::S32 => Value::S32(signed),
            Kind::Choice(_) => Value::Choice(number),
            // `kuid_t` and `kgid_t` are numbers in a struct.
            Kind::Uid | Kind::Gid => Value::Id(number),
            Kind::Text { .. } => {
                // SAFETY: `fs_param_is_string` has accepted the parameter: it is a string, which
                // belongs to the caller and stays for `'a`.
                Value::Text(unsafe { cstr::bytes_of((*param).__bindgen_anon_1.string) })
            }
            Kind::Device => Value::Device(DevicePath {
                fc,
                param,
                _p: PhantomData,
            }),
        };
        Ok(Given {
            opt: row.opt,
            name: row.shown,
            value,
        })
    }
}

/// The path of a block device, not looked up yet.
pub(crate) struct DevicePath<'a> {
    fc: *mut bindings::fs_context,
    param: *mut bindings::fs_parameter,
    _p: PhantomData<&'a ()>,
}

impl DevicePath<'_> {
    /// The number of the device at the path, in the encoding of `s_journal_dev`. May sleep.
    ///
    /// Errors: ENOENT and the like; ENOTBLK when the path leads to something else. The context's
    /// log has been told.
    pub(crate) fn lookup(&self) -> Result<u32> {
        let mut path = MaybeUninit::<bindings::path>::zeroed();
        // SAFETY: context and parameter are valid while `self` is, and nobody else uses them;
        // `path` is written on success only.
        to_result(unsafe {
            bindings::fs_lookup_param(
                self.fc,
                self.param,
                true,
                bindings::LOOKUP_FOLLOW,
                path.as_mut_ptr(),
            )
        })?;
        // SAFETY: the lookup found a positive dentry, whose inode is a block device, and took a
        // reference, which is given back here.
        let dev = unsafe {
            let dev = (*(*(*path.as_ptr()).dentry).d_inode).i_rdev;
            bindings::path_put(path.as_ptr());
            dev
        };
        Ok(encode_dev(dev))
    }
}

/// `new_encode_dev`: major and minor number of the kernel's `dev_t` as they are stored on disk.
fn encode_dev(dev: u32) -> u32 {
    let (major, minor) = (dev >> 20, dev & 0xf_ffff);
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Parses options from a text of the form `name,name=value`, as if a user had given them, and
/// calls `each` for every one. `id` names the file system in messages.
///
/// Errors: E2BIG for a text that is too long; those of `each`; ENOPARAM for an unknown name;
/// EINVAL for a bad value. Whatever comes after an error is not looked at.
pub(crate) fn parse_text<O: Copy>(
    table: &ParamTable<O>,
    id: &[u8],
    text: &[u8],
    mut each: impl FnMut(&FsContext, Given<'_, O>) -> Result,
) -> Result {
    const LONGEST: usize = 64;

    let mut name = [0u8; 32];
    for (slot, b) in name.iter_mut().take(31).zip(id) {
        *slot = *b;
    }
    if text.len() >= LONGEST {
        return Err(E2BIG);
    }
    // The functions that convert values log through a context; this one has no log of its own,
    // which means the kernel log. It is too large for the stack.
    let mut memory = KBox::<bindings::fs_context>::new_uninit(GFP_KERNEL)?;
    let fc = memory.as_mut_ptr();
    // SAFETY: zero is a value of every member: null pointers, an unlocked mutex that nobody
    // takes, numbers.
    unsafe {
        fc.write_bytes(0, 1);
        (*fc).source = name.as_ptr().cast();
    }
    let mut rest = Some(text);
    while let Some(part) = rest {
        let (option, behind) = cut(part, b',');
        rest = behind;
        let (key, value) = cut(option, b'=');
        if key.is_empty() {
            continue;
        }
        let (mut key_text, mut value_text) = ([0u8; LONGEST], [0u8; LONGEST]);
        copy(&mut key_text, key);
        let mut param = bindings::fs_parameter {
            key: key_text.as_ptr().cast(),
            ..Default::default()
        };
        match value {
            None => param.set_type(bindings::fs_value_type_fs_value_is_flag),
            Some(value) => {
                copy(&mut value_text, value);
                param.set_type(bindings::fs_value_type_fs_value_is_string);
                param.__bindgen_anon_1.string = value_text.as_mut_ptr().cast();
                param.size = value.len();
            }
        }
        // SAFETY: both live until the end of the loop's body and are ours alone. The texts end in
        // a NUL, being longer than anything that was copied into them.
        unsafe {
            let given = table.find(fc, &raw mut param)?;
            each(FsContext::from_raw(fc), given)?;
        }
    }
    Ok(())
}

/// Copies as much of `from` as fits into `to`, leaving its last byte alone.
fn copy(to: &mut [u8; 64], from: &[u8]) {
    for (slot, b) in to.iter_mut().take(63).zip(from) {
        *slot = *b;
    }
}

/// What is in front of the first `at`, and what is behind it if there is one.
fn cut(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    let mut len = 0usize;
    for b in text {
        if *b == at {
            if let Some((front, behind)) = text.split_at_checked(len) {
                return (front, behind.get(1..));
            }
        }
        len = len.wrapping_add(1);
    }
    (text, None)
}
