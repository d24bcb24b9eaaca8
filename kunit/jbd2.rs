// SPDX-License-Identifier: GPL-2.0

//! Handles, edits and commits, with a real journal on a RAM disk (`brd`, `/dev/ram0` and
//! `/dev/ram1`; the suites skip themselves where there is none).
//!
//! The journal is in the first blocks of the device and what it journals in those from [`HOME`] on.

#[cfg(CONFIG_KUNIT = "y")]
mod bed;
mod commits;
mod edits;
mod handles;
