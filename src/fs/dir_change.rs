// SPDX-License-Identifier: GPL-2.0

//! Changing directories in a transaction: the engine's [`DirChange`] on a handle of the journal's,
//! and what the operations on names are made of.
//!
//! Each function is complete or leaves no trace (see `engine::change`). What they do not do is to
//! change the directory's times, its link count and its slot: an operation does that once, after
//! all changes of the directory ([`super::dir_touch`]).
//!
//! Directories that are in their inode are [`super::dir_inline`]'s.
//!
//! Locking: i_rwsem of the directory exclusively, and a handle.

use super::{
    dir::{self, Blocks},
    dir_inline,
    fault::Fault,
    inode::number,
    inode_write, map_change,
    tx::{Handle, Tx},
    Rext4Fs, VfsInode,
};
use crate::{
    engine::{
        change::{DirChange, Transaction as _},
        dir::{DirBlock, DirBlocks, Directory, Verdict},
        dir_edit::{self, EditError, Inserted},
        dir_lookup::{self, Found, Held, Place},
    },
    linux::{
        buffer::{Buffer, Verified},
        inode_edit::InodeEdit as _,
        jbd2::{Edit, OfSuper},
        super_block::{message, Level},
    },
    ondisk::{
        dir::{edit::init_leaf, DirError, FileType},
        inode::InodeFlags,
        seal::Seal,
        Corrupt, FileBlock, Ino,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// The blocks of one directory, for changes.
pub(super) struct Change<'a> {
    blocks: Blocks<'a>,
    dir: &'a VfsInode,
    handle: &'a Handle<'a>,
    tx: Tx<'a, OfSuper<Rext4Fs>>,
}

impl<'a> Change<'a> {
    fn new(handle: &'a Handle<'a>, dir: &'a VfsInode) -> Self {
        Self {
            blocks: Blocks::new(dir),
            dir,
            handle,
            tx: Tx::new(handle, dir.super_block().device(), Verified::Dir),
        }
    }

    fn block_size(&self) -> u64 {
        self.dir.super_block().block_size() as u64
    }

    /// The number of blocks that the directory has now.
    fn end(&self) -> Result<FileBlock, Fault> {
        let bits = self.dir.super_block().info().geometry.block_bits() & 31;
        let blocks = u32::try_from(self.dir.size() >> bits).map_err(|_| EFBIG)?;
        Ok(FileBlock::new(blocks))
    }

    /// Makes block `lblk`, which has filled a hole, one without entries: no reader minds, and it is
    /// used next time.
    fn clear(&self, lblk: FileBlock) -> Result<(), Fault> {
        let DirBlock::Mapped(block) = self.blocks.read(lblk, |_| Ok(Verdict::Usable))? else {
            return Ok(());
        };
        let info = self.dir.data();
        let mut edit = self.tx.edit(block)?;
        let size = self.dir.super_block().info().geometry.block_size();
        init_leaf(&mut edit, size, info.csum_seed().is_some());
        self.tx
            .dirty(edit, info.csum_seed().map_or(Seal::Plain, Seal::DirLeaf));
        Ok(())
    }

    /// Takes write access to the directory's slot: what it says is going to change, and storing it
    /// must not fail then.
    fn will_be_stored(&self) -> Result<(), Fault> {
        drop(inode_write::prepare(self.handle, self.dir)?);
        Ok(())
    }

    /// The map has been changed, or may have been: it is not what the slot says until somebody has
    /// stored the inode. (Nobody who stores it meanwhile misses the change: data_sem.)
    fn note_unstored(&self) {
        self.dir.data().unstored.store(true, Relaxed);
    }

    /// Takes the last block off the directory's map and size.
    fn drop_last(&self, lblk: FileBlock) -> Result<(), Fault> {
        let result = map_change::unmap_last(self.handle, self.dir, lblk);
        self.note_unstored();
        result?;
        let size = u64::from(lblk.get()).saturating_mul(self.block_size());
        self.dir.set_size(size);
        Ok(())
    }
}

impl<'a> DirBlocks for Change<'a> {
    type Block = Buffer<'a>;
    type Error = Fault;

    #[inline]
    fn read<V>(&self, lblk: FileBlock, verify: V) -> Result<DirBlock<Buffer<'a>>, Fault>
    where
        V: FnOnce(&[u8]) -> Result<Verdict, Corrupt>,
    {
        self.blocks.read(lblk, verify)
    }

    fn report(&self, what: Corrupt, lblk: FileBlock) {
        self.blocks.report(what, lblk);
    }

    fn readahead(&self, lblk: FileBlock, blocks: u32) {
        self.blocks.readahead(lblk, blocks);
    }
}

impl<'a> DirChange for Change<'a> {
    type Edit = Edit<'a>;

    #[inline]
    fn edit(&self, block: Buffer<'a>) -> Result<Edit<'a>, Fault> {
        self.tx.edit(block)
    }

    #[inline]
    fn dirty(&self, edit: Edit<'a>, seal: Seal) {
        self.tx.dirty(edit, seal);
    }

    fn append(&self, hole: Option<FileBlock>) -> Result<(FileBlock, Edit<'a>), Fault> {
        self.will_be_stored()?;
        let end = self.end()?;
        let lblk = hole.unwrap_or(end);
        if lblk == end {
            let most = u64::from(
                self.dir
                    .super_block()
                    .info()
                    .options
                    .lock()
                    .max_dir_size_kb(),
            );
            if most != 0 && self.dir.size() >> 10 >= most {
                return Err(ENOSPC.into());
            }
        }
        let block = map_change::map_new(self.handle, self.dir, lblk)?;
        self.note_unstored();
        match self.tx.create(block) {
            Ok(edit) => {
                if lblk == end {
                    let end = u64::from(lblk.get()).saturating_add(1);
                    self.dir.set_size(end.saturating_mul(self.block_size()));
                }
                Ok((lblk, edit))
            }
            Err(e) => {
                if lblk == end {
                    // Fails only if the journal has been given up.
                    let _ = map_change::unmap_last(self.handle, self.dir, lblk);
                }
                Err(e)
            }
        }
    }

    fn take_back(&self, lblk: FileBlock) {
        let last = self.end().ok().and_then(|end| end.get().checked_sub(1));
        let result = if last == Some(lblk.get()) {
            self.drop_last(lblk)
        } else {
            self.clear(lblk)
        };
        if let Err(e) = result {
            // Unless the journal has been given up, damage that was not there a moment ago.
            let _ = e.report_inode(self.dir, "directory");
        }
    }

    fn remove_last(&self, lblk: FileBlock) -> Result<(), Fault> {
        self.will_be_stored()?;
        self.drop_last(lblk)
    }
}

impl From<EditError<Fault>> for Fault {
    fn from(e: EditError<Fault>) -> Self {
        match e {
            EditError::Exists => EEXIST.into(),
            EditError::IndexFull => ENOSPC.into(),
            EditError::Name => EINVAL.into(),
            EditError::Gone => ENOENT.into(),
            EditError::Store(e) => e,
        }
    }
}

/// Runs `f` over `dir`, which is not in its inode, as the engine sees it.
fn with_blocks<'h, R>(
    handle: &'h Handle<'_>,
    dir: &'h VfsInode,
    f: impl FnOnce(&Directory<'_, Change<'h>>) -> Result<R, EditError<Fault>>,
) -> Result<R, Fault> {
    let info = dir.data();
    let change = Change::new(handle, dir);
    Ok(f(&Directory {
        blocks: &change,
        format: &dir.super_block().info().dir_format,
        ino: number(dir)?,
        size: dir.size(),
        seed: info.csum_seed(),
        indexed: info.flags().contains(InodeFlags::INDEX),
        version: info.changes.load(Relaxed),
        inline: None,
    })?)
}

fn is_inline(dir: &VfsInode) -> bool {
    dir.data().flags().contains(InodeFlags::INLINE_DATA)
}

/// Finds `name` in `dir`. Also without a handle.
///
/// Errors: damage, EIO.
pub(super) fn find(dir: &VfsInode, name: &[u8]) -> Result<Option<Found>, Fault> {
    dir::with_directory(dir, |d| dir_lookup::lookup(d, name, FileBlock::ZERO))
}

/// An entry of a directory, with its block if it is in one.
pub(super) type Located<'a> = (Found, Option<Held<Buffer<'a>>>);

/// As [`find`], for [`remove_held`].
///
/// Errors: as there.
pub(super) fn locate<'d>(dir: &'d VfsInode, name: &[u8]) -> Result<Option<Located<'d>>, Fault> {
    dir::with_directory(dir, |d| dir_lookup::locate(d, name, FileBlock::ZERO))
}

/// Whether there is nothing in `dir` but `.` and `..`. Also without a handle.
///
/// Errors: damage, EIO; ERESTARTSYS.
#[allow(
    clippy::redundant_closure,
    reason = "the function itself is not general enough in its lifetimes"
)]
pub(super) fn is_empty(dir: &VfsInode) -> Result<bool, Fault> {
    dir::with_directory(dir, |d| dir_edit::is_empty(d))
}

/// Adds `name` for inode `ino` to `dir`.
///
/// Errors: EEXIST, ENOSPC, damage, EIO, ENOMEM, those of a journal that has been given up; nothing
/// has changed then.
pub(super) fn add(
    handle: &Handle<'_>,
    dir: &VfsInode,
    name: &[u8],
    ino: Ino,
    file_type: FileType,
) -> Result<(), Fault> {
    if is_inline(dir) {
        if dir_inline::add(handle, dir, name, ino, file_type)? {
            return Ok(());
        }
        // It has blocks now.
    }
    let before = dir.data().flags();
    let added = with_blocks(handle, dir, |d| {
        let added = dir_edit::insert(d, name, ino, file_type);
        if let Err(EditError::IndexFull) = added {
            warn_full(dir);
        }
        added
    });
    let Inserted { indexed, .. } = added?;
    if before.contains(InodeFlags::INDEX) != indexed {
        let index = InodeFlags::INDEX.bits();
        let others = before.bits() & !index;
        let bits = if indexed { others | index } else { others };
        dir.data().set_flags(InodeFlags::from_bits(bits));
    }
    Ok(())
}

#[cold]
fn warn_full(dir: &VfsInode) {
    let sb = dir.super_block();
    sb.info().errors.count_warning();
    if sb.info().errors.may_print() {
        message(
            Level::Warning,
            sb.id(),
            fmt!("warning: inode #{}: Directory index full!\n", dir.ino()),
        );
    }
}

/// Removes `name`, which [`find`] has found at `place`. Changes of the directory in between may
/// have moved it; then it is looked for once more.
///
/// Errors: ENOENT, damage, EIO, those of a journal that has been given up; nothing has changed then.
pub(super) fn remove(
    handle: &Handle<'_>,
    dir: &VfsInode,
    name: &[u8],
    place: Place,
) -> Result<(), Fault> {
    at(dir, name, place, |place| {
        if is_inline(dir) {
            return dir_inline::remove(handle, dir, name, place);
        }
        with_blocks(handle, dir, |d| dir_edit::remove(d, name, place))?;
        Ok(())
    })
}

/// As [`remove`], with the block that [`locate`] has found the entry in, if it is in one.
///
/// Errors: as there.
pub(super) fn remove_held(
    handle: &Handle<'_>,
    dir: &VfsInode,
    name: &[u8],
    place: Place,
    held: Option<Held<Buffer<'_>>>,
) -> Result<(), Fault> {
    if let Some(held) = held {
        let removed = with_blocks(handle, dir, |d| dir_edit::remove_held(d, name, place, held));
        match removed {
            Err(Fault::Errno(e)) if e == ENOENT => {}
            result => return result.map(|_| ()),
        }
    }
    remove(handle, dir, name, place)
}

/// Has `name`, which [`find`] has found at `place`, stand for inode `ino`; otherwise as [`remove`].
///
/// Errors: as there.
pub(super) fn replace(
    handle: &Handle<'_>,
    dir: &VfsInode,
    name: &[u8],
    place: Place,
    ino: Ino,
    file_type: FileType,
) -> Result<(), Fault> {
    at(dir, name, place, |place| {
        if is_inline(dir) {
            return dir_inline::replace(handle, dir, name, place, ino, file_type);
        }
        with_blocks(handle, dir, |d| {
            dir_edit::replace(d, name, place, ino, file_type)
        })
    })
}

/// Runs `f` with `place`, and if `name` is not there (ENOENT), with the place where it is now.
fn at(
    dir: &VfsInode,
    name: &[u8],
    place: Place,
    f: impl Fn(Place) -> Result<(), Fault>,
) -> Result<(), Fault> {
    match f(place) {
        Err(Fault::Errno(e)) if e == ENOENT => match find(dir, name)? {
            Some(found) if found.place != place => f(found.place),
            _ => Err(ENOENT.into()),
        },
        result => result,
    }
}

/// Gives `dir`, a new directory without blocks, its first one.
///
/// Errors: ENOSPC, EIO, ENOMEM, those of a journal that has been given up; nothing has changed then.
pub(super) fn create(handle: &Handle<'_>, dir: &VfsInode, parent: Ino) -> Result<(), Fault> {
    with_blocks(handle, dir, |d| dir_edit::create(d, parent))
}

/// Gives `dir`, which was in its inode, its first block, with the entries in `inline`. The inode has
/// a block map without blocks by now.
///
/// Errors: as [`create`], and damage.
pub(super) fn convert(
    handle: &Handle<'_>,
    dir: &VfsInode,
    inline: &crate::ondisk::inline::InlineDir<'_>,
) -> Result<(), Fault> {
    with_blocks(handle, dir, |d| dir_edit::convert_inline(d, inline))
}

/// Has `..` in `dir` lead to `parent`.
///
/// Errors: damage, EIO, those of a journal that has been given up; nothing has changed then.
pub(super) fn set_parent(handle: &Handle<'_>, dir: &VfsInode, parent: Ino) -> Result<(), Fault> {
    if is_inline(dir) {
        return dir_inline::set_parent(handle, dir, parent);
    }
    with_blocks(handle, dir, |d| dir_edit::set_parent(d, parent)).map_err(|e| match e {
        // A directory without `..`.
        Fault::Errno(e) if e == ENOENT => Corrupt::from(DirError::Hole).into(),
        e => e,
    })
}
