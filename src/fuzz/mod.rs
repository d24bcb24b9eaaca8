// SPDX-License-Identifier: GPL-2.0

//! Entry points for fuzzing and for tests with arbitrary bytes, one file per area.
//!
//! Each takes a byte string, acts as a hostile disk with it, and panics when a promise of the
//! code under test is broken. Host only: the kernel module does not contain this folder, and the
//! rules of the kernel-free rooms (no panics) do not hold in it.

pub mod mapping;
