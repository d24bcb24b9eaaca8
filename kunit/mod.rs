// SPDX-License-Identifier: GPL-2.0

//! KUnit suites that need more than one of the module's rooms. They run at insmod on a kernel
//! with KUnit and compile to nothing elsewhere.

#![forbid(unsafe_code)]

mod alloc;
mod dir_edit;
mod extent_cache;
mod extent_edit;
mod jbd2;
#[cfg(CONFIG_KUNIT = "y")]
mod memory;
#[cfg(CONFIG_KUNIT = "y")]
mod mounted;
mod orphans;
mod places;
mod platform;
mod space;
