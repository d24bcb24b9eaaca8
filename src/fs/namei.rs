// SPDX-License-Identifier: GPL-2.0

//! Names that come and go: create, mkdir, mknod, symlink, link, unlink, rmdir, tmpfile. (Renaming
//! is in [`super::rename`].)
//!
//! Each operation is one transaction. What it needs to find out comes first, then the handle, then
//! write access to the slots of the inodes concerned; only then something changes, and from the
//! directory's entry on nothing can fail but by damage that came into memory meanwhile, or because
//! the journal has been given up. A new inode is made before its name is put into the directory;
//! one that gets none is [abandoned](super::new_inode::Made::abandon).
//!
//! Space that has been freed can be had again after a commit only. So an operation that finds none
//! is tried again after one ([`retrying`]), as in C ext4.
//!
//! Locking: as [`crate::linux::namei_ops`] says.

use super::{
    delete::Fate,
    dir_change::{self, Located},
    dir_inline,
    dir_touch::Changing,
    fault::Fault,
    handle,
    inode::number,
    inode_write, map_change,
    new_inode::{Contents, Fresh, Made},
    orphan,
    tx::Handle,
    Rext4Fs, Sb, VfsInode,
};
use crate::{
    engine::{credits::Op, dir_lookup::Found},
    linux::{
        dentry::{Dentry, Instantiated, Negative},
        idmap::Idmap,
        inode_edit::InodeEdit as _,
        jbd2::NoHandle,
        namei_ops::Tmpfile,
        sole::Users,
        super_block::{message, Level},
    },
    ondisk::{
        dir::{FileType, NAME_MAX},
        features::RoCompat,
        geometry::LINK_MAX,
        inode::{InodeFlags, I_BLOCK_SIZE},
        FileBlock, Ino,
    },
};
use kernel::prelude::*;

/// File type and permissions of a symbolic link.
const LINK_MODE: u16 = 0o120777;
/// The file type of a directory, in a mode.
const DIR_MODE: u16 = 0o040000;

/// Runs `f`, and again after a commit while it fails for want of space that a commit may free.
pub(super) fn retrying<R>(sb: &Sb, mut f: impl FnMut() -> Result<R>) -> Result<R> {
    let mut tries = 0;
    loop {
        match f() {
            Err(e) if e == ENOSPC && handle::may_retry(sb, &mut tries) => {}
            result => return result,
        }
    }
}

/// A regular file.
pub(super) fn create<'a>(
    idmap: Idmap<'_>,
    dir: &VfsInode,
    name: Negative<'a, Rext4Fs>,
    mode: u16,
) -> Result<Instantiated<'a>> {
    let made = retrying(dir.super_block(), || {
        make(idmap, dir, &name, mode, Contents::Blocks, |_, _| Ok(()))
    })?;
    made.into_ready().instantiate(name)
}

/// A device, a FIFO or a socket.
pub(super) fn mknod<'a>(
    idmap: Idmap<'_>,
    dir: &VfsInode,
    name: Negative<'a, Rext4Fs>,
    mode: u16,
    (major, minor): (u32, u32),
) -> Result<Instantiated<'a>> {
    let contents = Contents::Special(major, minor);
    let made = retrying(dir.super_block(), || {
        make(idmap, dir, &name, mode, contents, |_, _| Ok(()))
    })?;
    made.into_ready().instantiate(name)
}

/// A symbolic link.
pub(super) fn symlink<'a>(
    idmap: Idmap<'_>,
    dir: &VfsInode,
    name: Negative<'a, Rext4Fs>,
    text: &[u8],
) -> Result<Instantiated<'a>> {
    let sb = dir.super_block();
    handle::may_write(sb)?;
    // With its NUL.
    if text.len() >= sb.block_size() {
        return Err(ENAMETOOLONG);
    }
    let made = if text.len() < I_BLOCK_SIZE {
        retrying(sb, || {
            let contents = Contents::Link(text);
            make(idmap, dir, &name, LINK_MODE, contents, |_, _| Ok(()))
        })
    } else {
        retrying(sb, || {
            make(
                idmap,
                dir,
                &name,
                LINK_MODE,
                Contents::Blocks,
                |handle, link| fill_link(handle, link, text),
            )
        })
    };
    made?.into_ready().instantiate(name)
}

/// Puts the text of a symbolic link into a block of its own, which is journalled.
fn fill_link(handle: &Handle<'_>, link: &VfsInode, text: &[u8]) -> Result<(), Fault> {
    let slot = inode_write::prepare(handle, link)?;
    let block = map_change::map_new(handle, link, FileBlock::ZERO)?;
    let mut edit = handle.create(link.super_block().device(), block.get())?;
    for (to, from) in edit.iter_mut().zip(text) {
        *to = *from;
    }
    edit.dirty(None);
    link.set_size(text.len() as u64);
    slot.store()?;
    Ok(())
}

/// Makes an inode of `mode` with `contents`, has `fill` give it its first block, and puts `name`
/// into `dir`.
fn make(
    idmap: Idmap<'_>,
    dir: &VfsInode,
    name: &Negative<'_, Rext4Fs>,
    mode: u16,
    contents: Contents<'_>,
    fill: impl Fn(&Handle<'_>, &VfsInode) -> Result<(), Fault>,
) -> Result<Made> {
    let sb = dir.super_block();
    handle::may_write(sb)?;
    if name.name().len() > NAME_MAX {
        return Err(ENAMETOOLONG);
    }
    let is_dir = mode & 0o170000 == DIR_MODE;
    let mut outside = NoHandle::here()?;
    let fresh = Fresh::new(idmap, dir, Some(name), mode)?;
    let (map, initial) = (map_change::shape(dir), fresh.credits());
    let op = match contents {
        Contents::Blocks if is_dir => Op::Mkdir(map, initial),
        Contents::Inline(_) => Op::Mkdir(map, initial),
        Contents::Blocks if mode == LINK_MODE => Op::SlowSymlink(map, initial),
        _ => Op::Create(map, initial),
    };
    let handle = handle::begin(sb, &mut outside, op)?;
    if dir.is_dirsync() {
        handle.sync();
    }
    let report = |e: Fault| e.report_inode(dir, "create");
    let changing = if is_dir {
        Changing::begin_counted(&handle, dir)?
    } else {
        Changing::begin(&handle, dir)
    };
    let links = if is_dir { 2 } else { 1 };
    let made = fresh
        .make(&handle, dir, name.name(), contents, links)
        .map_err(report)?;
    let named = made
        .store_attributes(&handle)
        .and_then(|()| fill(&handle, made.inode()))
        .and_then(|()| {
            let ino = number(made.inode())?;
            let file_type = FileType::from_mode(made.inode().mode());
            dir_change::add(&handle, dir, name.name(), ino, file_type)
        });
    if let Err(e) = named {
        changing.failed();
        made.abandon(handle);
        return Err(report(e));
    }
    if is_dir {
        count_subdirectory(dir);
    }
    match changing.done().and(handle.stop()) {
        Ok(()) => Ok(made),
        Err(e) => {
            // It has its name, whatever becomes of that: its number must not be freed.
            made.release();
            Err(e)
        }
    }
}

/// Whether `dir` can have no more subdirectories.
pub(super) fn is_full_of_links(dir: &VfsInode) -> bool {
    let geo = &dir.super_block().info().geometry;
    let indexed = dir.data().flags().contains(InodeFlags::INDEX);
    dir.nlink() >= LINK_MAX && !(geo.has(RoCompat::DIR_NLINK) && indexed)
}

/// `dir` has one subdirectory more. Of an indexed one with too many, they are not counted any more
/// (`dir_nlink`): its link count is 1 from then on.
pub(super) fn count_subdirectory(dir: &VfsInode) {
    let more = dir.nlink().saturating_add(1);
    let indexed = dir.data().flags().contains(InodeFlags::INDEX);
    if indexed && (more > LINK_MAX || more == 2) {
        dir.set_nlink(1);
    } else {
        dir.inc_nlink();
    }
}

/// `dir` has one subdirectory less.
pub(super) fn uncount_subdirectory(dir: &VfsInode) {
    if dir.nlink() > 2 {
        dir.drop_nlink();
    }
}

/// A directory.
pub(super) fn mkdir<'a>(
    idmap: Idmap<'_>,
    dir: &VfsInode,
    name: Negative<'a, Rext4Fs>,
    mode: u16,
) -> Result<Instantiated<'a>> {
    if is_full_of_links(dir) {
        return Err(EMLINK);
    }
    let sb = dir.super_block();
    let parent = number(dir).map_err(|e| e.report_inode(dir, "mkdir"))?;
    let mode = mode & 0o7777 | DIR_MODE;
    if let Some(head) = dir_inline::new_head(sb, parent) {
        let contents = Contents::Inline(&head);
        match make(idmap, dir, &name, mode, contents, |handle, new| {
            dir_inline::create(handle, new)
        }) {
            // Its attributes may have left no room in the inode.
            Err(e) if e == ENOSPC => {}
            made => return made?.into_ready().instantiate(name),
        }
    }
    let made = retrying(sb, || {
        make(idmap, dir, &name, mode, Contents::Blocks, |handle, new| {
            let slot = inode_write::prepare(handle, new)?;
            dir_change::create(handle, new, parent)?;
            slot.store()?;
            Ok(())
        })
    })?;
    made.into_ready().instantiate(name)
}

/// A regular file without a name.
pub(super) fn tmpfile<'a>(
    idmap: Idmap<'_>,
    dir: &VfsInode,
    file: Tmpfile<'a, Rext4Fs>,
    mode: u16,
) -> Result<Instantiated<'a>> {
    let sb = dir.super_block();
    let made = retrying(sb, || {
        handle::may_write(sb)?;
        let mut outside = NoHandle::here()?;
        let fresh = Fresh::new(idmap, dir, None, mode)?;
        let handle = handle::begin(sb, &mut outside, Op::Tmpfile(fresh.credits()))?;
        let report = |e: Fault| e.report_inode(dir, "tmpfile");
        let made = fresh
            .make(&handle, dir, b"", Contents::Blocks, 0)
            .map_err(report)?;
        let stored = made.store_attributes(&handle);
        let stored = stored.and_then(|()| Ok(orphan::add(&handle, made.inode())?));
        if let Err(e) = stored {
            made.abandon(handle);
            return Err(report(e));
        }
        handle.stop().map(|()| made)
    })?;
    file.attach(made.into_ready())
}

/// Whether what is in `dir` must not be given names elsewhere or get names here, for its project's
/// sake.
pub(super) fn keeps_projects_apart(dir: &VfsInode, inode: &VfsInode) -> bool {
    let info = dir.data();
    info.flags().contains(InodeFlags::PROJINHERIT) && info.projid() != inode.data().projid()
}

/// One more name for `inode`.
pub(super) fn link<'a>(
    inode: &VfsInode,
    dir: &VfsInode,
    name: Negative<'a, Rext4Fs>,
) -> Result<Instantiated<'a>> {
    let sb = dir.super_block();
    if inode.nlink() >= LINK_MAX {
        return Err(EMLINK);
    }
    if keeps_projects_apart(dir, inode) {
        return Err(EXDEV);
    }
    if name.name().len() > NAME_MAX {
        return Err(ENAMETOOLONG);
    }
    let held = inode.grab().ok_or(ENOENT)?;
    retrying(sb, || {
        handle::may_write(sb)?;
        let mut outside = NoHandle::here()?;
        let op = Op::Link(map_change::shape(dir));
        let handle = handle::begin(sb, &mut outside, op)?;
        if dir.is_dirsync() {
            handle.sync();
        }
        let report = |e: Fault| e.report_inode(dir, "link");
        let changing = Changing::begin(&handle, dir);
        let slot = inode_write::prepare(&handle, inode)?;
        let ino = number(inode).map_err(report)?;
        let file_type = FileType::from_mode(inode.mode());
        if let Err(e) = dir_change::add(&handle, dir, name.name(), ino, file_type) {
            changing.failed();
            return Err(report(e));
        }
        // A file that was made without a name.
        let unnamed = inode.nlink() == 0;
        inode.inc_nlink();
        inode.inc_version();
        inode.touch_ctime();
        let orphan = if unnamed {
            orphan::del(&handle, inode)
        } else {
            Ok(())
        };
        let stored = slot.store().and(changing.done()).and(orphan);
        stored.and(handle.stop())
    })?;
    name.instantiate(held)
}

/// Where `name` is in `dir`, which it has to be for `inode`.
///
/// Errors: ENOENT if it is not, or not for that inode; damage (reported), EIO.
pub(super) fn find_entry(dir: &VfsInode, name: &[u8], inode: &VfsInode) -> Result<Found> {
    Ok(locate_entry(dir, name, inode)?.0)
}

/// Checks that `..` in the directory `inode` leads to `dir`, which it is going to leave.
///
/// Errors: EUCLEAN if not; damage (reported), EIO.
pub(super) fn check_parent(inode: &VfsInode, dir: &VfsInode) -> Result {
    match find(inode, b"..")? {
        Some(found) if u64::from(found.ino.get()) == dir.ino() => Ok(()),
        _ => Err(EUCLEAN),
    }
}

/// What `name` is in `dir`.
///
/// Errors: damage (reported), EIO.
fn find(dir: &VfsInode, name: &[u8]) -> Result<Option<Found>> {
    dir_change::find(dir, name).map_err(|e| e.report_inode(dir, "lookup"))
}

/// As [`find_entry`], with the entry's block.
pub(super) fn locate_entry<'d>(
    dir: &'d VfsInode,
    name: &[u8],
    inode: &VfsInode,
) -> Result<Located<'d>> {
    let located = dir_change::locate(dir, name).map_err(|e| e.report_inode(dir, "lookup"))?;
    located
        .filter(|(found, _)| u64::from(found.ino.get()) == inode.ino())
        .ok_or(ENOENT)
}

/// A name less for `inode`, which is no directory.
pub(super) fn unlink(dir: &VfsInode, name: &Dentry<Rext4Fs>, inode: &VfsInode) -> Result {
    let sb = dir.super_block();
    handle::may_write(sb)?;
    let (found, held) = locate_entry(dir, name.name(), inode)?;
    let mut outside = NoHandle::here()?;
    let handle = handle::begin(sb, &mut outside, Op::Unlink(map_change::shape(dir)))?;
    if dir.is_dirsync() {
        handle.sync();
    }
    let changing = Changing::begin(&handle, dir);
    let slot = inode_write::prepare(&handle, inode)?;
    let links = inode.nlink();
    let fate = match links {
        0 => {
            warn(inode, "deleting a file with no links");
            orphan::add(&handle, inode)?;
            Fate::Stays
        }
        1 => Fate::of_last_name(&handle, name, inode, Users::UNLINK)?,
        _ => Fate::Stays,
    };
    if let Err(e) = dir_change::remove_held(&handle, dir, name.name(), found.place, held) {
        fate.averted(&handle);
        return Err(e.report_inode(dir, "unlink"));
    }
    inode.drop_nlink();
    let stored = changing.done().and(fate.settle(&handle, slot));
    stored.and(handle.stop())
}

/// The empty directory `inode` goes.
pub(super) fn rmdir(dir: &VfsInode, name: &Dentry<Rext4Fs>, inode: &VfsInode) -> Result {
    let sb = dir.super_block();
    handle::may_write(sb)?;
    let (found, held) = locate_entry(dir, name.name(), inode).map_err(|e| {
        // A directory has one name: if that is another's, something is wrong.
        match find(dir, name.name()) {
            Ok(Some(_)) if e == ENOENT => EUCLEAN,
            _ => e,
        }
    })?;
    check_empty(inode)?;
    let mut outside = NoHandle::here()?;
    let handle = handle::begin(sb, &mut outside, Op::Rmdir(map_change::shape(dir)))?;
    if dir.is_dirsync() {
        handle.sync();
    }
    let changing = Changing::begin_counted(&handle, dir)?;
    let slot = inode_write::prepare(&handle, inode)?;
    let fate = Fate::of_last_name(&handle, name, inode, Users::RMDIR)?;
    if let Err(e) = dir_change::remove_held(&handle, dir, name.name(), found.place, held) {
        fate.averted(&handle);
        return Err(e.report_inode(dir, "rmdir"));
    }
    if inode.nlink() > 2 {
        warn(inode, "empty directory has too many links");
    }
    inode.clear_nlink();
    // As whoever has it open sees it.
    inode.set_size(0);
    uncount_subdirectory(dir);
    let stored = changing.done().and(fate.settle(&handle, slot));
    stored.and(handle.stop())
}

/// `inode`, an empty directory, has lost its name: it is none any more.
pub(super) fn end_directory(inode: &VfsInode) {
    inode.inc_version();
    inode.clear_nlink();
    inode.touch_ctime();
}

/// Checks that the directory `inode` can be removed.
///
/// Errors: ENOTEMPTY, also for one that is damaged (reported): what is in it is not to be lost;
/// EIO and the like.
pub(super) fn check_empty(inode: &VfsInode) -> Result {
    match dir_change::is_empty(inode) {
        Ok(true) => Ok(()),
        Ok(false) => Err(ENOTEMPTY),
        Err(e @ Fault::Corrupt(_)) => {
            let _ = e.report_inode(inode, "rmdir");
            Err(ENOTEMPTY)
        }
        Err(Fault::Errno(e)) => Err(e),
    }
}

/// Reports something odd that nothing is lost by.
#[cold]
fn warn(inode: &VfsInode, what: &'static str) {
    let sb = inode.super_block();
    sb.info().errors.count_warning();
    if sb.info().errors.may_print() {
        message(
            Level::Warning,
            sb.id(),
            fmt!(
                "warning: inode #{}: {} ({})\n",
                inode.ino(),
                what,
                inode.nlink()
            ),
        );
    }
}

/// The number of `inode`.
///
/// Errors: EUCLEAN (reported).
pub(super) fn ino(inode: &VfsInode) -> Result<Ino> {
    number(inode).map_err(|e| e.report_inode(inode, "rename"))
}
