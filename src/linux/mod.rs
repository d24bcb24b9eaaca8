// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of Linux interfaces: all of rext4's `unsafe` is in this room.

pub(crate) mod bindings;
