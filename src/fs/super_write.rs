// SPDX-License-Identifier: GPL-2.0

//! When the superblock is written: what mounting for writing, remounting, freezing, syncing and
//! unmounting do to it and to the journal.
//!
//! While a file system is mounted for writing, its superblock on disk says so: with a journal by
//! `needs_recovery` (and `orphan_present` where there is an orphan file), without one by a state
//! that is not "clean". [`begin`] puts that there before anything else is written, and [`end`]
//! takes it back when everything else is in its place: after the journal has been closed or
//! flushed, or all buffers have been written. [`Writing`] remembers in between. An error in
//! between, or a shutdown, leaves it there.
//!
//! # The journal
//!
//! A mount for writing opens it and keeps it. A read-only mount has replayed it if needed and does
//! not keep it open: there is nothing to write, and it may be the very mount that e2fsck needs to
//! repair the root file system. (C ext4 does keep it, and has to be told of what e2fsck has
//! changed.) A remount for writing opens it then. A remount to read-only flushes it and keeps it,
//! idle: whoever has found it before that may still look at it.
//!
//! All of this happens with `s_umount` held, so none of it meets another.

use super::{
    alloc,
    groups::Groups,
    handle::{self, may_write},
    journal, lazy_init, options, orphan, super_image,
    tunables::Number,
    tx, xattr_sharing, Sb,
};
use crate::{
    linux::{
        fs_context::FsContext,
        jbd2::NoHandle,
        super_block::{message, Level},
        time::real_seconds,
    },
    ondisk::{
        features::{Compat, Incompat, RoCompat},
        superblock::Superblock,
    },
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::{fmt, prelude::*};
use options::{Options, Toggles};

/// Milliseconds to the next try to write the record of errors, when the file system is frozen.
const RETRY: u32 = 1000;

/// What the superblock on disk is to say when writing ends.
pub(crate) struct Writing(AtomicU32);

impl Writing {
    /// It says now that somebody may be writing.
    const ON: u32 = 1;
    /// It was in order before that.
    const WAS_VALID: u32 = 2;
    /// The orphan file, or the list, had entries before that, which nobody has dealt with.
    const HAD_ORPHANS: u32 = 4;

    /// Nobody is writing.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// What was left by those who had the file system before has been dealt with: the orphan file
    /// and the list are empty.
    pub(crate) fn orphans_done(&self) {
        self.0.fetch_and(!Self::HAD_ORPHANS, Relaxed);
    }

    fn has(&self, bit: u32) -> bool {
        self.0.load(Relaxed) & bit != 0
    }
}

/// Whether the superblock on disk says that somebody may be writing.
pub(crate) fn is_writing(sb: &Sb) -> bool {
    sb.info().writing.has(Writing::ON)
}

/// Makes the file system ready to be written, in a mount or a remount. `keep` is given the journal
/// if it has to be opened.
///
/// Errors (reported): EINVAL for features that rext4 does not write, for a journal that needs
/// recovery and did not get it, and for one that it cannot use; EIO, EROFS, ENOMEM.
pub(crate) fn begin(sb: &Sb, keep: impl FnOnce(tx::Log<'_>) -> Result) -> Result {
    make_ready(sb, keep)?;
    warn_of_state(sb);
    mark(sb, |raw| {
        raw.count_mount();
        raw.set_mtime(real_seconds());
    })?;
    lazy_init::start(sb);
    sb.start_background(0);
    Ok(())
}

/// Makes everything ready that writing needs.
///
/// Errors: as [`begin`].
fn make_ready(sb: &Sb, keep: impl FnOnce(tx::Log<'_>) -> Result) -> Result {
    let info = sb.info();
    let features = info.image.with(Superblock::features);
    if let Some(name) = features.not_written_yet() {
        error(
            sb,
            fmt!(
                "couldn't mount RDWR because of unsupported optional feature {}",
                name
            ),
        );
        return Err(EINVAL);
    }
    if features.has(Incompat::RECOVER) {
        // `noload`, or a device that has changed under a read-only mount.
        error(
            sb,
            fmt!("required journal recovery suppressed and not mounted read-only"),
        );
        return Err(EINVAL);
    }
    load_groups(sb)?;
    orphan::prepare(sb)?;
    journal::open(sb, keep)?;
    set_journal_options(sb, &info.options.lock());
    xattr_sharing::begin(sb)
}

/// Has the superblock on disk say that somebody may be writing, and what `f` says besides.
///
/// Errors: EIO (reported).
fn mark(sb: &Sb, f: impl FnOnce(&mut Superblock)) -> Result {
    let info = sb.info();
    let with_journal = sb.journal().is_some();
    let (mut valid, mut orphans) = (false, false);
    super_image::commit(sb, |raw| {
        let features = raw.features();
        valid = raw.state().is_valid();
        orphans = raw.last_orphan() != 0 || features.has(RoCompat::ORPHAN_PRESENT);
        f(raw);
        if with_journal {
            raw.set_needs_recovery();
            if features.has(Compat::ORPHAN_FILE) {
                raw.set_orphan_present(true);
            }
        } else {
            raw.set_valid(false);
        }
    })?;
    let mut bits = Writing::ON;
    if valid {
        bits |= Writing::WAS_VALID;
    }
    if orphans {
        bits |= Writing::HAD_ORPHANS;
    }
    info.writing.0.store(bits, Relaxed);
    Ok(())
}

/// Whether a read-only mount is to deal with orphans; says so.
///
/// Errors (reported): EUCLEAN for an orphan file that makes no sense; EIO, ENOMEM.
pub(crate) fn wants_cleanup(sb: &Sb) -> Result<bool> {
    let info = sb.info();
    let (features, listed, errors) = info.image.with(|raw| {
        let listed = raw.last_orphan() != 0;
        (raw.features(), listed, raw.state().has_errors())
    });
    if !listed && !features.has(RoCompat::ORPHAN_PRESENT) {
        return Ok(false);
    }
    // Who wants the journal left alone wants everything left alone.
    if info.has(Toggles::NOLOAD) || features.has(Incompat::RECOVER) {
        return Ok(false);
    }
    orphan::prepare(sb)?;
    if sb.device().is_rdonly() {
        let why = "write access unavailable, skipping orphan cleanup";
        return Ok(skipped(sb, Level::Err, why));
    }
    if features.unsupported_ro_compat().is_some() || features.not_written_yet().is_some() {
        let why = "Skipping orphan cleanup due to unknown ROCOMPAT features";
        return Ok(skipped(sb, Level::Info, why));
    }
    if errors || features.has(RoCompat::READONLY) {
        return Ok(false);
    }
    if orphan::any(sb) {
        message(
            Level::Info,
            sb.id(),
            fmt!("orphan cleanup on readonly fs\n"),
        );
    }
    Ok(true)
}

/// Says why orphans are left where they are, if there are any. `false`.
fn skipped(sb: &Sb, level: Level, why: &str) -> bool {
    if orphan::any(sb) {
        message(level, sb.id(), fmt!("{}\n", why));
    }
    false
}

/// Deals with orphans in a mount that is read-only otherwise, and for which everything has to be in
/// its place afterwards. The superblock's flags allow writing meanwhile. What goes wrong has been
/// reported, and the mount is none the worse.
pub(crate) fn clean_up(sb: &Sb, keep: impl FnOnce(tx::Log<'_>) -> Result) {
    let done = make_ready(sb, keep).and_then(|()| mark(sb, |_| ()));
    if done.is_err() {
        return;
    }
    orphan::recover(sb);
    settle(sb);
}

/// Brings everything to its place, and ends writing.
fn settle(sb: &Sb) {
    match sb.journal() {
        Some(journal) => match NoHandle::here() {
            Ok(mut outside) => {
                let locked = journal.lock_updates(&mut outside);
                let flushed = journal.flush(locked.outside());
                journal.wait_called_back(locked.outside());
                alloc::release_all(sb);
                end(sb, flushed);
            }
            Err(e) => end(sb, Err(e)),
        },
        None => {
            alloc::release_all(sb);
            end(sb, sb.device().sync());
        }
    }
}

/// Learns what is free where.
///
/// Errors: EUCLEAN (reported) for a descriptor that makes no sense, EIO, ENOMEM.
fn load_groups(sb: &Sb) -> Result {
    let groups = &sb.info().groups;
    match groups.as_ref() {
        // It has been read-only meanwhile.
        Some(groups) => {
            let _loading = groups.loading.lock();
            groups.reload(sb)
        }
        None => {
            groups.populate(Groups::load(sb)?);
            Ok(())
        }
    }
}

/// Tells jbd2 what the options say of the journal.
pub(crate) fn set_journal_options(sb: &Sb, options: &Options) {
    if let Some(journal) = sb.journal() {
        let (min, max) = options.batch_times();
        journal.set_commit_interval(options.commit());
        journal.set_batch_times(min, max);
        journal.set_barrier(options.has(Toggles::BARRIER));
        journal.set_io_priority(options.journal_ioprio());
    }
}

/// Reminds the user of e2fsck where the superblock asks for it.
fn warn_of_state(sb: &Sb) {
    let due = sb.info().image.with(|raw| {
        let (state, max) = (raw.state(), raw.max_mnt_count());
        if !state.is_valid() {
            Some("mounting unchecked fs")
        } else if state.has_errors() {
            Some("mounting fs with errors")
        } else if max > 0 && raw.mnt_count() >= max.unsigned_abs() {
            Some("maximal mount count reached")
        } else if raw.check_interval() != 0
            && raw.lastcheck().saturating_add(raw.check_interval().into()) <= real_seconds()
        {
            Some("checktime reached")
        } else {
            None
        }
    });
    if let Some(why) = due {
        message(
            Level::Warning,
            sb.id(),
            fmt!("warning: {}, running e2fsck is recommended\n", why),
        );
    }
}

/// Writing has ended, and `clean` says whether everything is in its place: then the superblock
/// says so as well. For an unmount, or a remount to read-only.
pub(crate) fn end(sb: &Sb, clean: Result) {
    let writing = &sb.info().writing;
    if !writing.has(Writing::ON) {
        return;
    }
    let emergency = &sb.info().emergency;
    if emergency.is_shut_down() || emergency.is_readonly() {
        return;
    }
    let (valid, orphans) = (
        writing.has(Writing::WAS_VALID),
        writing.has(Writing::HAD_ORPHANS),
    );
    if clean.is_err() {
        error(sb, fmt!("could not write everything, run e2fsck"));
    } else {
        // The marks have to be the last that reaches the medium.
        if sb.journal().is_none() && sb.info().has(Toggles::BARRIER) {
            let _ = sb.device().flush();
        }
        writing.0.store(0, Relaxed);
    }
    // A failure has been reported, and there is nobody left to tell.
    let _ = super_image::commit(sb, |raw| {
        if clean.is_ok() {
            raw.clear_needs_recovery();
            raw.set_orphan_present(orphans);
            raw.set_valid(valid);
        }
    });
}

/// Remounts for writing.
///
/// Errors: as [`begin`]; EROFS after an emergency and for a file system that cannot be written;
/// EUCLEAN for a superblock that was changed meanwhile.
pub(crate) fn remount_rw(sb: &Sb, fc: &FsContext) -> Result {
    let info = sb.info();
    if info.emergency.is_shut_down() || info.emergency.is_readonly() {
        return Err(EROFS);
    }
    // It may have been checked while it was read-only.
    super_image::reload(sb)?;
    let features = info.image.with(Superblock::features);
    if features.has(RoCompat::READONLY) {
        message(Level::Info, sb.id(), fmt!("filesystem is read-only\n"));
        return Err(EROFS);
    }
    if let Some(name) = features.unsupported_ro_compat() {
        error(
            sb,
            fmt!(
                "couldn't mount RDWR because of unsupported optional feature {}",
                name
            ),
        );
        return Err(EROFS);
    }
    orphan::prepare(sb)?;
    if orphan::any(sb) {
        message(
            Level::Warning,
            sb.id(),
            fmt!(
                "Couldn't remount RDWR because of unprocessed orphan inode list.  \
                 Please umount/remount instead\n"
            ),
        );
        return Err(EINVAL);
    }
    begin(sb, |journal| sb.keep_journal_at(fc, journal))
}

/// Remounts to read-only: everything goes to its place, and the superblock says so. That works
/// also where the journal has an error; then the superblock goes on asking for a recovery.
///
/// Errors: those of writing data; EROFS after an emergency.
pub(crate) fn remount_ro(sb: &Sb, fc: &FsContext) -> Result {
    let emergency = &sb.info().emergency;
    if emergency.is_shut_down() || emergency.is_readonly() {
        return Err(EROFS);
    }
    sb.sync_filesystem(fc)?;
    sb.pause_background();
    lazy_init::stop(sb);
    settle(sb);
    sb.start_background(0);
    Ok(())
}

/// sync(2): commits, and with `wait` returns when all is on the medium.
///
/// Errors: EIO after a shutdown or when the journal has been given up, EROFS after an error.
pub(crate) fn sync(sb: &Sb, wait: bool) -> Result {
    may_write(sb)?;
    let barrier = wait && sb.info().has(Toggles::BARRIER);
    let Some(journal) = sb.journal() else {
        if wait {
            // The VFS writes the device's buffers after this, and nobody would flush after that.
            sb.device().sync()?;
        }
        return if barrier { sb.device().flush() } else { Ok(()) };
    };
    let running = journal.start_commit();
    let will_flush = running.is_some_and(|tid| journal.will_flush(tid));
    if let Some(tid) = running.filter(|_| wait) {
        journal.commit_and_wait(&NoHandle::here()?, tid)?;
    }
    // What was written before the transaction may be in the device's cache.
    if barrier && !will_flush {
        sb.device().flush()?;
    }
    Ok(())
}

/// Makes the device consistent by itself: it is going to be copied.
///
/// Errors: EIO; the freeze does not happen then.
pub(crate) fn freeze(sb: &Sb) -> Result {
    let Some(journal) = sb.journal() else {
        return super_image::commit(sb, |_| ());
    };
    let mut outside = NoHandle::here()?;
    // The VFS keeps everybody out from now on: the journal need not stay locked.
    let locked = journal.lock_updates(&mut outside);
    journal.flush(locked.outside())?;
    // Files may be open that have no name any more.
    let orphans = sb.info().writing.has(Writing::HAD_ORPHANS) || orphan::any(sb);
    super_image::commit(sb, |raw| {
        raw.clear_needs_recovery();
        raw.set_orphan_present(orphans);
    })
}

/// Writing goes on after a freeze.
///
/// Errors: none; an error of the device has been reported.
pub(crate) fn thaw(sb: &Sb) -> Result {
    if may_write(sb).is_err() {
        return Ok(());
    }
    let journal = sb.journal().is_some();
    let _ = super_image::commit(sb, |raw| {
        if journal {
            raw.set_needs_recovery();
            raw.set_orphan_present(raw.features().has(Compat::ORPHAN_FILE));
        }
    });
    Ok(())
}

/// Writes the record of errors, for a file system that goes on after them. A step of the
/// background work: the milliseconds to the next.
pub(crate) fn record_errors(sb: &Sb) -> Option<u32> {
    if !is_writing(sb) || may_write(sb).is_err() || !super_image::has_unwritten_errors(sb) {
        return None;
    }
    let Some(_write) = sb.try_start_write() else {
        return Some(RETRY);
    };
    // Without a journal nobody else writes the superblock either.
    let result = match sb.journal() {
        None => super_image::commit(sb, |_| ()),
        Some(_) => change(sb, |handle| super_image::refresh(sb, handle)),
    };
    // If not now, then at the end.
    let _ = result;
    None
}

/// Writes the superblock with the running transaction when what it says on disk has become too old,
/// as sysfs says. A step of the background work: the milliseconds to the next look.
pub(crate) fn refresh_old(sb: &Sb) -> Option<u32> {
    if !is_writing(sb) || may_write(sb).is_err() {
        return None;
    }
    // Without one nothing is written all the time.
    sb.journal()?;
    let info = sb.info();
    let max_age = info.tunables.get(Number::SbUpdateSec);
    let (written, kbytes) = info.image.with(|raw| (raw.wtime(), raw.kbytes_written()));
    let age = real_seconds().saturating_sub(written);
    let left = u64::from(max_age).saturating_sub(age);
    if left != 0 {
        return Some(milliseconds(left));
    }
    let now = info.raw.kbytes_written();
    let now = now.saturating_add(info.image.session_kbytes(sb.device()));
    if now.saturating_sub(kbytes) > info.tunables.get(Number::SbUpdateKb).into() {
        let Some(_write) = sb.try_start_write() else {
            return Some(RETRY);
        };
        // If not now, then at the end.
        let _ = change(sb, |handle| super_image::refresh(sb, handle));
    }
    Some(milliseconds(u64::from(max_age).clamp(1, 600)))
}

fn milliseconds(seconds: u64) -> u32 {
    u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX)
}

/// Changes the superblock in a transaction of its own.
///
/// Errors: EROFS, EIO, ENOMEM; those of `f`.
pub(crate) fn change(sb: &Sb, f: impl FnOnce(&tx::Handle<'_>) -> Result) -> Result {
    let mut outside = NoHandle::here()?;
    let handle = handle::begin_super(sb, &mut outside)?;
    let result = f(&handle);
    result.and(handle.stop())
}

/// Stores where the file system is mounted, when a file is first opened.
pub(crate) fn store_path<'a>(sb: &Sb, path: impl FnOnce() -> Result<&'a [u8]>) {
    if super_image::path_is_taken(sb) || may_write(sb).is_err() {
        return;
    }
    let Some(_write) = sb.try_start_intwrite() else {
        return;
    };
    if !super_image::take_path(sb) {
        return;
    }
    let stored = path().and_then(|path| {
        change(sb, |handle| {
            super_image::edit(sb, handle, |raw| {
                raw.set_last_mounted(path);
                true
            })
        })
    });
    // Nothing depends on it.
    let _ = stored;
}

fn error(sb: &Sb, what: fmt::Arguments<'_>) {
    message(Level::Err, sb.id(), fmt!("{}\n", what));
}
