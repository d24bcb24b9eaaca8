// SPDX-License-Identifier: GPL-2.0

//! jbd2: the kernel's journal.
//!
//! The life of a journal is a typestate: [`Journal::open`] reads its superblock,
//! [`Journal::load`] replays what a crash left in it and turns it into a [`LoadedJournal`], and
//! dropping either destroys it, once. A journal that has been loaded is marked as empty on disk
//! when it is destroyed.
//!
//! Where the journal's blocks are is told to jbd2 beforehand, in a [`BlockMap`]: during a replay
//! the journal's inode and its block map are metadata like any other, and may be overwritten.
//!
//! # Changing metadata
//!
//! A [`Handle`] is one operation's part in the running transaction. It reserves room in the log
//! ([`Credits`]), keeps the transaction from being committed, and gives write access to blocks:
//! - [`Handle::edit`] and [`Handle::create`] to a whole block ([`Edit`]),
//! - [`Handle::access`] to a block that has several owners, each of which changes its own range
//!   ([`Access`], [`SlotEdit`]).
//!
//! Without a journal a handle is the same type with nothing inside; changed blocks are then marked
//! as dirty at once.
//!
//! # Who excludes whom
//!
//! jbd2 orders changes against commits, and nothing else: two threads in one transaction may have
//! write access to one block. Whoever edits a structure holds the lock that protects it, and so do
//! its readers; a reader that holds a [`Buffer`](super::buffer::Buffer) of a block sees every byte
//! that an edit changes as it changes. Two [`Edit`]s of one block are refused by a bit in the
//! buffer, so that no safe code has two `&mut` to the same bytes.
//!
//! The lock order is: locks of inodes and folios, then the handle, then the locks of block maps,
//! groups and buffers. A commit waits for all open handles, so nothing that waits for a commit, and
//! nothing whose progress needs a new handle, may be called under one: [`NoHandle`].

mod commit;
mod control;
mod edit;
mod handle;
mod journal;
mod kept;
mod map;
mod outside;
mod slot;
mod trigger;

pub(super) use self::kept::Kept;
pub(crate) use self::{
    commit::{AtCommit, Commit, CommitCallback},
    control::{Checksums, Emptied, JournalFeatures, UpdatesLocked},
    edit::Edit,
    handle::{Credits, Handle, Reserved, Room},
    journal::{Journal, LoadedJournal, OfSuper, Owner},
    map::BlockMap,
    outside::NoHandle,
    slot::{Access, SlotEdit, SlotKey},
    trigger::{Settle, Trigger},
};
