// SPDX-License-Identifier: GPL-2.0

//! The kernel's C interfaces: what the kernel crate binds, and what it does not.
//!
//! The generated files hold the declarations of the headers listed in Kbuild and nothing that
//! those include, so each type exists once: an item of ours shadows the glob import where the
//! kernel crate has only an opaque declaration of the same name.

#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    dead_code,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    improper_ctypes,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

mod raw {
    pub(crate) use super::helpers::*;
    pub(crate) use kernel::bindings::*;
    use kernel::ffi;

    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    include!(concat!(env!("REXT4_BINDINGS"), "/bindings_generated.rs"));
}

mod helpers {
    use super::raw::*;
    use kernel::ffi;

    include!(concat!(env!("REXT4_BINDINGS"), "/helpers_generated.rs"));
}

pub(crate) use raw::*;
