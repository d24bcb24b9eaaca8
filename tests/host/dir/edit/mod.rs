// SPDX-License-Identifier: GPL-2.0

//! Changing directories.

mod credits;
mod deep;
mod faults;
mod fsck;
mod inline;
mod oddities;
mod random;
mod readers;
mod store;
mod subject;
