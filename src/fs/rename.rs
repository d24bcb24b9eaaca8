// SPDX-License-Identifier: GPL-2.0

//! Renaming, with all its flags, and exchanging two names.
//!
//! A rename changes up to three places in directories: the new name, the old one, and `..` of a
//! directory that gets another parent. Each change is complete or leaves no trace, and what can be
//! expected to fail (for want of space) is the first of them that can; should a later one fail all
//! the same, those before it are taken back. C ext4 leaves two names then.
//!
//! The target of a rename becomes an orphan before anything else, so that no crash and no error
//! leaves an inode without a name that nobody finds.
//!
//! Locking: as [`crate::linux::namei_ops`] says.

use super::{
    delayed, dir_change,
    dir_touch::Changing,
    fault::Fault,
    handle, inode_write, map_change,
    namei::{
        check_empty, check_parent, count_subdirectory, end_directory, find_entry, ino,
        is_full_of_links, keeps_projects_apart, locate_entry, retrying, uncount_subdirectory,
    },
    new_inode::{Contents, Fresh, Made},
    options::Toggles,
    orphan,
    tx::Handle,
    Rext4Fs, VfsInode,
};
use crate::{
    engine::{
        credits::Op,
        dir_lookup::{Held, Place},
    },
    linux::{
        buffer::Buffer,
        inode_edit::InodeEdit as _,
        jbd2::NoHandle,
        namei_ops::{Rename, RenameFlags},
    },
    ondisk::{
        dir::{FileType, NAME_MAX},
        inode::InodeError,
        Corrupt, Ino,
    },
};
use core::ptr;
use kernel::prelude::*;

/// File type and permissions of a whiteout: a character device 0:0.
const WHITEOUT_MODE: u16 = 0o020000;

/// The VFS's rename.
pub(super) fn rename(args: &Rename<'_, Rext4Fs>) -> Result {
    let sb = args.old_dir.super_block();
    handle::may_write(sb)?;
    if args.new.name().len() > NAME_MAX {
        return Err(ENAMETOOLONG);
    }
    if args.flags.contains(RenameFlags::EXCHANGE) {
        return exchange(args);
    }
    retrying(sb, || move_name(args))
}

/// One of the two ends of a rename.
struct End<'a> {
    dir: &'a VfsInode,
    name: &'a [u8],
}

fn same(a: &VfsInode, b: &VfsInode) -> bool {
    ptr::eq(a, b)
}

fn move_name(args: &Rename<'_, Rext4Fs>) -> Result {
    let (inode, target) = (args.inode, args.target);
    let old = End {
        dir: args.old_dir,
        name: args.old.name(),
    };
    let new = End {
        dir: args.new_dir,
        name: args.new.name(),
    };
    let sb = old.dir.super_block();
    if let Some(target) = target {
        if target.nlink() == 0 {
            let e = Fault::from(Corrupt::from(InodeError::NamedWithoutLinks));
            return Err(e.report_inode(target, "rename"));
        }
    }
    if keeps_projects_apart(new.dir, inode) {
        return Err(EXDEV);
    }
    let (old_found, old_held) = locate_entry(old.dir, old.name, inode)?;
    let new_place = match target {
        Some(target) => Some(find_entry(new.dir, new.name, target)?.place),
        None => None,
    };
    let is_dir = inode.is_dir();
    let moves_dir = is_dir && !same(old.dir, new.dir);
    if is_dir {
        match target {
            Some(target) => check_empty(target)?,
            None if moves_dir && is_full_of_links(new.dir) => return Err(EMLINK),
            None => {}
        }
    }
    if moves_dir {
        check_parent(inode, old.dir)?;
    }

    let mut outside = NoHandle::here()?;
    if target.is_some() && inode.is_regular() && !sb.info().has(Toggles::NO_AUTO_DA_ALLOC) {
        // Applications count on finding the old contents or the new ones, all of them.
        delayed::write_out(inode, &outside)?;
    }
    let to = map_change::shape(new.dir);
    let whiteout = args.flags.contains(RenameFlags::WHITEOUT);
    let (op, fresh) = if whiteout {
        let fresh = Fresh::new(args.idmap, old.dir, Some(args.old), WHITEOUT_MODE)?;
        (Op::RenameWhiteout(to, fresh.credits()), Some(fresh))
    } else {
        let from = map_change::shape(old.dir);
        (Op::Rename { from, to }, None)
    };
    let handle = handle::begin(sb, &mut outside, op)?;
    if old.dir.is_dirsync() || new.dir.is_dirsync() {
        handle.sync();
    }
    let made = match fresh {
        Some(fresh) => {
            let made = fresh.make(&handle, old.dir, old.name, Contents::Special(0, 0), 1);
            Some(made.map_err(|e| e.report_inode(old.dir, "rename"))?)
        }
        None => None,
    };
    let plan = Plan {
        handle: &handle,
        inode,
        target,
        old: &old,
        new: &new,
        old_place: old_found.place,
        new_place,
        moves_dir,
        whiteout: made.as_ref(),
    };
    let whiteout = match &made {
        Some(made) => made
            .store_attributes(&handle)
            .map_err(|e| e.report_inode(old.dir, "rename")),
        None => Ok(()),
    };
    let done = whiteout.and_then(|()| plan.carry_out(old_held));
    let Some(made) = made else {
        return done.and(handle.stop());
    };
    if made.is_named() {
        // Nobody needs it in memory.
        let stopped = handle.stop();
        made.release();
        done.and(stopped)
    } else {
        made.abandon(handle);
        done
    }
}

/// What is known of a rename before it changes anything.
struct Plan<'a> {
    handle: &'a Handle<'a>,
    inode: &'a VfsInode,
    target: Option<&'a VfsInode>,
    old: &'a End<'a>,
    new: &'a End<'a>,
    old_place: Place,
    new_place: Option<Place>,
    /// A directory gets another parent.
    moves_dir: bool,
    whiteout: Option<&'a Made>,
}

impl Plan<'_> {
    /// Changes everything, or nothing. `held` is the block of the old name.
    fn carry_out(&self, held: Option<Held<Buffer<'_>>>) -> Result {
        let Self {
            handle,
            inode,
            target,
            old,
            new,
            ..
        } = *self;
        let begin = |dir| {
            if inode.is_dir() {
                Changing::begin_counted(handle, dir)
            } else {
                Ok(Changing::begin(handle, dir))
            }
        };
        let old_changing = begin(old.dir)?;
        let new_changing = if same(old.dir, new.dir) {
            None
        } else {
            Some(begin(new.dir)?)
        };
        let slot = inode_write::prepare(handle, inode)?;
        let target_slot = match target {
            Some(target) => Some(inode_write::prepare(handle, target)?),
            None => None,
        };
        let is_dir = inode.is_dir();
        // Its last name, or the only one that a directory has.
        let dying = target.filter(|target| is_dir || target.nlink() <= 1);
        if let Some(dying) = dying {
            orphan::add(handle, dying)?;
        }
        if let Err((e, dir)) = self.change_names(held) {
            if let Some(dying) = dying {
                let _ = orphan::del(handle, dying);
            }
            old_changing.failed();
            if let Some(changing) = new_changing {
                changing.failed();
            }
            return Err(e.report_inode(dir, "rename"));
        }
        if let Some(made) = self.whiteout {
            made.has_name();
        }

        inode.inc_version();
        inode.touch_ctime();
        if let Some(target) = target {
            if is_dir {
                end_directory(target);
                uncount_subdirectory(new.dir);
            } else {
                target.drop_nlink();
                target.inc_version();
                target.touch_ctime();
            }
        }
        if self.moves_dir {
            uncount_subdirectory(old.dir);
            count_subdirectory(new.dir);
        }
        let mut stored = slot.store().and(old_changing.done());
        if let Some(changing) = new_changing {
            stored = stored.and(changing.done());
        }
        if let Some(slot) = target_slot {
            stored = stored.and(slot.store());
        }
        stored
    }

    /// Changes the directories' entries. An error, with the directory that it comes from, means
    /// that all are as they were.
    fn change_names(&self, held: Option<Held<Buffer<'_>>>) -> Result<(), (Fault, &VfsInode)> {
        let Self {
            handle,
            inode,
            target,
            old,
            new,
            ..
        } = *self;
        let ino = ino(inode).map_err(|e| (e.into(), inode))?;
        let file_type = FileType::from_mode(inode.mode());
        let room = |dir: &VfsInode| (dir.size(), dir.sectors());
        let room_before = room(old.dir);
        // The new name: the only step that may want space.
        match self.new_place {
            Some(place) => {
                dir_change::replace(handle, new.dir, new.name, place, ino, file_type)
                    .map_err(|e| (e, new.dir))?;
            }
            None => {
                dir_change::add(handle, new.dir, new.name, ino, file_type)
                    .map_err(|e| (e, new.dir))?;
            }
        }
        let undo = || self.undo_new(target);
        if self.moves_dir {
            if let Err(e) = self.set_parent(new.dir) {
                undo();
                return Err((e, inode));
            }
        }
        // A new name that wants no more room leaves the others where they are.
        let (old_place, held) = if room(old.dir) == room_before {
            (self.old_place, held)
        } else {
            drop(held);
            match dir_change::find(old.dir, old.name) {
                Ok(Some(found)) => (found.place, None),
                Ok(None) => (self.old_place, None),
                Err(e) => {
                    undo();
                    return Err((e, old.dir));
                }
            }
        };
        let gone = match self.whiteout {
            Some(made) => number_of(made).and_then(|ino| {
                let file_type = FileType::CharDevice;
                dir_change::replace(handle, old.dir, old.name, old_place, ino, file_type)
            }),
            None => dir_change::remove_held(handle, old.dir, old.name, old_place, held),
        };
        gone.map_err(|e| {
            if self.moves_dir {
                let _ = self.set_parent(old.dir);
            }
            undo();
            (e, old.dir)
        })
    }

    fn set_parent(&self, parent: &VfsInode) -> Result<(), Fault> {
        let parent = super::inode::number(parent)?;
        dir_change::set_parent(self.handle, self.inode, parent)
    }

    /// Takes the new name back, which stands for the target again if there is one. Something has
    /// gone wrong already; what goes wrong here is reported.
    #[cold]
    fn undo_new(&self, target: Option<&VfsInode>) {
        let new = self.new;
        let undone = match (target, dir_change::find(new.dir, new.name)) {
            (_, Err(e)) => Err(e),
            (_, Ok(None)) => Ok(()),
            (None, Ok(Some(found))) => {
                dir_change::remove(self.handle, new.dir, new.name, found.place)
            }
            (Some(target), Ok(Some(found))) => super::inode::number(target).and_then(|ino| {
                let file_type = FileType::from_mode(target.mode());
                dir_change::replace(self.handle, new.dir, new.name, found.place, ino, file_type)
            }),
        };
        if let Err(e) = undone {
            let _ = e.report_inode(new.dir, "rename");
        }
    }
}

fn number_of(made: &Made) -> Result<Ino, Fault> {
    super::inode::number(made.inode())
}

/// Two names trade what they stand for.
fn exchange(args: &Rename<'_, Rext4Fs>) -> Result {
    let sb = args.old_dir.super_block();
    let (a, b) = (args.inode, args.target.ok_or(ENOENT)?);
    let (a_dir, b_dir) = (args.old_dir, args.new_dir);
    let (a_name, b_name) = (args.old.name(), args.new.name());
    if keeps_projects_apart(b_dir, a) || keeps_projects_apart(a_dir, b) {
        return Err(EXDEV);
    }
    let a_place = find_entry(a_dir, a_name, a)?.place;
    let b_place = find_entry(b_dir, b_name, b)?.place;
    let across = !same(a_dir, b_dir);
    // Which of the directories gains a subdirectory.
    let gains = match (across, a.is_dir(), b.is_dir()) {
        (true, true, false) => Some((b_dir, a_dir)),
        (true, false, true) => Some((a_dir, b_dir)),
        _ => None,
    };
    if gains.is_some_and(|(dir, _)| is_full_of_links(dir)) {
        return Err(EMLINK);
    }
    if across {
        for (inode, dir) in [(a, a_dir), (b, b_dir)] {
            if inode.is_dir() {
                check_parent(inode, dir)?;
            }
        }
    }

    let mut outside = NoHandle::here()?;
    let handle = handle::begin(sb, &mut outside, Op::Exchange)?;
    if a_dir.is_dirsync() || b_dir.is_dirsync() {
        handle.sync();
    }
    let stored = trade(&handle, args, b, (a_place, b_place), gains);
    stored.and(handle.stop())
}

/// Exchanges the names of `args.inode` and `b`, which are at these two places. `gains` are the
/// directories of which the first gets a subdirectory from the other.
///
/// Errors: those of changing the directories, when nothing has changed; those of storing.
fn trade(
    handle: &Handle<'_>,
    args: &Rename<'_, Rext4Fs>,
    b: &VfsInode,
    (a_place, b_place): (Place, Place),
    gains: Option<(&VfsInode, &VfsInode)>,
) -> Result {
    let a = args.inode;
    let (a_dir, b_dir) = (args.old_dir, args.new_dir);
    let (a_name, b_name) = (args.old.name(), args.new.name());
    let across = !same(a_dir, b_dir);
    let a_changing = Changing::begin_counted(handle, a_dir)?;
    let b_changing = if across {
        Some(Changing::begin_counted(handle, b_dir)?)
    } else {
        None
    };
    let a_slot = inode_write::prepare(handle, a)?;
    let b_slot = inode_write::prepare(handle, b)?;

    let set = |dir: &VfsInode, name: &[u8], place: Place, to: &VfsInode| {
        let ino = super::inode::number(to)?;
        let file_type = FileType::from_mode(to.mode());
        dir_change::replace(handle, dir, name, place, ino, file_type)
    };
    let parent = |inode: &VfsInode, dir: &VfsInode| {
        if !across || !inode.is_dir() {
            return Ok(());
        }
        dir_change::set_parent(handle, inode, super::inode::number(dir)?)
    };
    // Each step with what takes it back.
    type Step<'s> = (
        &'s dyn Fn() -> Result<(), Fault>,
        &'s dyn Fn() -> Result<(), Fault>,
        &'s VfsInode,
    );
    let steps: [Step<'_>; 4] = [
        (
            &|| set(b_dir, b_name, b_place, a),
            &|| set(b_dir, b_name, b_place, b),
            b_dir,
        ),
        (
            &|| set(a_dir, a_name, a_place, b),
            &|| set(a_dir, a_name, a_place, a),
            a_dir,
        ),
        (&|| parent(a, b_dir), &|| parent(a, a_dir), a),
        (&|| parent(b, a_dir), &|| parent(b, b_dir), b),
    ];
    for (n, (step, _, at)) in (0usize..).zip(&steps) {
        if let Err(e) = step() {
            for (_, back, at) in steps.iter().take(n).rev() {
                if let Err(e) = back() {
                    let _ = e.report_inode(at, "rename");
                }
            }
            return Err(e.report_inode(at, "rename"));
        }
    }

    for inode in [a, b] {
        inode.inc_version();
        inode.touch_ctime();
    }
    if let Some((more, less)) = gains {
        count_subdirectory(more);
        uncount_subdirectory(less);
    }
    let mut stored = a_slot.store().and(b_slot.store());
    stored = stored.and(a_changing.done());
    if let Some(changing) = b_changing {
        stored = stored.and(changing.done());
    }
    stored
}
