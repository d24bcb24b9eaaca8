// SPDX-License-Identifier: GPL-2.0

//! KUnit suites that need more than one of the module's rooms. They run at insmod on a kernel
//! with KUnit and compile to nothing elsewhere.

#![forbid(unsafe_code)]

mod extent_cache;
mod jbd2;
mod platform;
