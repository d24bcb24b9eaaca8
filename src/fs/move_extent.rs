// SPDX-License-Identifier: GPL-2.0

//! EXT4_IOC_MOVE_EXT: a file takes over the blocks of another one, the donor, and keeps its contents.
//! e4defrag(8) has it done to a file in pieces that it has got a file in one piece for.
//!
//! Everything of both is on disk before, so that nothing is delayed or in flight, and nobody may write or
//! fill the page caches meanwhile. Then, piece by piece:
//! 1. the contents are copied from the page cache to the donor's blocks, past its page cache, and that is
//!    waited for;
//! 2. in one transaction each of the two gets the blocks of the other. What the donor gets is unwritten:
//!    it reads as zeroes. (The ioctl has always been like that.)
//!
//! What a crash may leave behind:
//! - The file has its old blocks or its new ones, each with all of its contents: those of a new one are on
//!   the device before the transaction commits, for which it has the device's cache flushed.
//! - Until then the old blocks are the file's, for all the disk knows. So the ioctl does not end, and lets
//!   nobody write to the donor, before the transaction has been committed. C ext4 does not wait.
//! - The donor's blocks are unwritten when they are copied to, on disk too; if they are not, that is
//!   committed before. So the donor never shows what is the other's.
//!
//! Holes of either file are passed over, as in C ext4; unwritten blocks change places and stay unwritten.
//! The page cache of the file stays as it is: it knows of no places. But a page that somebody holds for
//! writing (a direct read into a mapping of the file, say) could become dirty, and be written to its old place,
//! at any time: EBUSY. C ext4 copies in the page cache, and has no such case.
//!
//! Locking: i_rwsem and the invalidate lock of both files; a handle; `data_sem` of both.

use super::{
    alloc::{self, Allocation},
    completion,
    fault::Fault,
    handle,
    inode::{number, MapKind as Kind},
    inode_write,
    ioctl::{half, word},
    map,
    map_change::{self, account},
    map_steps::{self, Edit},
    meta::FileBounds,
    truncate,
    tx::{Handle, Tx},
    Rext4Fs, Sb, VfsInode,
};
use crate::{
    engine::{
        credits::{Map, Op},
        extent_edit::ExtentEditor,
        mapping::{MapKind, Mapping},
    },
    linux::{
        buffer::Verified,
        delay::Place,
        file::UserArg,
        inode_edit::InodeEdit as _,
        jbd2::NoHandle,
        nofs::NoFs,
        open_file::OpenFile,
        sched::relax,
        super_block::{message, Level},
        two_files::Bounce,
    },
    ondisk::{
        extent::{edit::max_len, Extent},
        inode::InodeFlags,
        FileBlock, FsBlock,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::{page::PAGE_SIZE, prelude::*};

/// Length of `struct move_extent` in bytes.
const ARGUMENT: usize = 40;
/// Where in it is how much has been moved.
const MOVED: usize = 32;

/// Set-user-ID and set-group-ID.
const SET_ID: u16 = 0o6000;

/// How much changes places in one transaction at most, in bytes.
const PIECE: u32 = 8 << 20;
/// How much is copied at once, in bytes.
const COPY: usize = 256 << 10;

/// How often in a row a map may turn out to have got deeper.
const MAX_STALLS: u32 = 16;

/// Answers the ioctl; how many blocks have been moved is told in any case.
///
/// Errors: as C ext4. EBADF for files that are not open for reading (the first) and writing; EXDEV; EINVAL
/// for a range that cannot be, and for files that are no two regular ones with contents; EOPNOTSUPP for
/// such as have no extents, and with bigalloc; EPERM, ETXTBSY for donors and files that are protected;
/// EBUSY when somebody keeps on writing past us; ENOSPC for the trees; EFAULT, EROFS, EIO, ENOMEM, EUCLEAN
/// (reported); ERESTARTSYS when the task is to die.
pub(super) fn move_extents(file: &OpenFile<Rext4Fs>, arg: UserArg) -> Result<isize> {
    if !file.is_readable() || !file.is_writable() {
        return Err(EBADF);
    }
    let mut bytes = [0u8; ARGUMENT];
    arg.read(&mut bytes)?;
    let donor = file.other(half(&bytes, 4))?;
    let _write = file.want_write()?;
    let asked = Asked {
        origin: word(&bytes, 8),
        donor: word(&bytes, 16),
        len: word(&bytes, 24),
    };
    let mut moved = 0;
    let result = exchange(file.inode(), donor.inode(), asked, &mut moved);
    arg.at(MOVED).write(&u64::from(moved).to_ne_bytes())?;
    result.map(|()| 0)
}

/// What is asked for, in blocks: where it begins in both files.
#[derive(Clone, Copy)]
struct Asked {
    origin: u64,
    donor: u64,
    len: u64,
}

/// The two files.
#[derive(Clone, Copy)]
struct Pair<'a> {
    sb: &'a Sb,
    origin: &'a VfsInode,
    donor: &'a VfsInode,
}

fn exchange(origin: &VfsInode, donor: &VfsInode, asked: Asked, moved: &mut u32) -> Result {
    let regular = origin.is_regular() && donor.is_regular();
    if origin.ino() == donor.ino() || !regular {
        return Err(EINVAL);
    }
    let pair = Pair {
        sb: origin.super_block(),
        origin,
        donor,
    };
    let mut outside = NoHandle::here()?;
    origin.with_both_locked(donor, || pair.locked(asked, moved, &mut outside))
}

/// Where the first block of a part is in both files, and its length.
#[derive(Clone, Copy)]
struct Part {
    origin: FileBlock,
    donor: FileBlock,
    len: u32,
}

/// A part that is one run in both files.
struct Piece {
    /// The file's blocks, as its map has them.
    mine: Extent,
    /// The donor's.
    theirs: Extent,
}

impl Pair<'_> {
    /// Whether these files can exchange anything.
    ///
    /// Errors: see [`move_extents`].
    fn check(&self) -> Result {
        let refused = |why: &str| {
            if self.sb.info().errors.may_print() {
                message(
                    Level::Err,
                    self.sb.id(),
                    fmt!("Online defrag not supported {}\n", why),
                );
            }
            Err(EOPNOTSUPP)
        };
        let both = [self.origin, self.donor];
        let any = |flag| (both.iter()).any(|inode| inode.data().flags().contains(flag));
        if self.sb.info().geometry.cluster_bits() != 0 {
            return refused("with bigalloc");
        }
        if self.sb.journal().is_some() && any(InodeFlags::JOURNAL_DATA) {
            return refused("with data journaling");
        }
        if any(InodeFlags::ENCRYPT) {
            return refused("for encrypted files");
        }
        if (both.iter()).any(|inode| inode.data().map_kind() != Kind::Extents) {
            return refused("for non-extent files");
        }
        if self.donor.mode() & SET_ID != 0 {
            return Err(EINVAL);
        }
        if self.donor.is_immutable() || self.donor.is_append_only() {
            return Err(EPERM);
        }
        if (both.iter()).any(|inode| inode.is_swap_file()) {
            return Err(ETXTBSY);
        }
        if (both.iter()).any(|inode| inode.size() == 0) {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// The part of what is asked for that both files have.
    ///
    /// Errors: EINVAL.
    fn clip(&self, asked: Asked) -> Result<Part> {
        let bits = self.sb.info().geometry.block_bits() & 63;
        // Both begin at the same place in a page: C ext4 moves folios.
        let in_page = ((PAGE_SIZE as u64) >> bits).max(1).wrapping_sub(1);
        if (asked.origin ^ asked.donor) & in_page != 0 {
            return Err(EINVAL);
        }
        let most = u64::from(FileBlock::END.get());
        let fits = |start: u64| start < most && start.saturating_add(asked.len) < most;
        if asked.len > most || !fits(asked.origin) || !fits(asked.donor) {
            return Err(EINVAL);
        }
        let block = |at: u64| u32::try_from(at).map(FileBlock::new);
        let (origin, donor) = (block(asked.origin)?, block(asked.donor)?);
        let has = |inode: &VfsInode, from: FileBlock| {
            from.distance_to(truncate::end_block(inode, inode.size()))
        };
        let len = u32::try_from(asked.len)?
            .min(has(self.origin, origin))
            .min(has(self.donor, donor));
        if len == 0 {
            return Err(EINVAL);
        }
        Ok(Part { origin, donor, len })
    }

    /// The first byte of a block.
    fn byte(&self, at: FileBlock) -> u64 {
        u64::from(at.get()) << (self.sb.info().geometry.block_bits() & 31)
    }

    /// [`move_extents`], with i_rwsem of both held.
    fn locked(&self, asked: Asked, moved: &mut u32, outside: &mut NoHandle) -> Result {
        self.check()?;
        handle::may_write(self.sb)?;
        self.origin.wait_for_direct_io(outside);
        self.donor.wait_for_direct_io(outside);
        let part = self.clip(asked)?;
        let _invalidate = self.origin.lock_both_invalidate(self.donor);
        let bytes = |from: FileBlock| (self.byte(from), self.byte(from.saturating_add(part.len)));
        let (from, to) = bytes(part.origin);
        self.origin.write_and_wait(outside, from, to)?;
        // Its folios may reach beyond the part, and go as a whole.
        self.donor.write_and_wait(outside, 0, u64::MAX)?;
        let (from, to) = bytes(part.donor);
        self.donor.drop_clean_folios(outside, from, to)?;

        // Of blocks that have become unwritten just before (FALLOC_FL_ZERO_RANGE) the disk may not know.
        let tid = self.donor.data().datasync_tid.load(Relaxed);
        if (self.sb.journal()).is_some_and(|journal| !journal.is_committed(tid)) {
            self.commit(outside)?;
        }

        let result = self.pieces(part, moved, outside);
        if *moved == 0 {
            return result;
        }
        for inode in [self.origin, self.donor] {
            if let Ok(ino) = number(inode) {
                alloc::give_up(self.sb, ino);
            }
        }
        // See the module's head.
        result.and(self.commit(outside))
    }

    /// Has all of this on disk, with a journal.
    fn commit(&self, outside: &NoHandle) -> Result {
        (self.sb.journal()).map_or(Ok(()), |journal| journal.force_commit(outside))
    }

    /// Goes through `part` by the runs that both files have there.
    fn pieces(&self, part: Part, moved: &mut u32, outside: &mut NoHandle) -> Result {
        let bits = self.sb.info().geometry.block_bits() & 31;
        let most = PIECE.wrapping_shr(bits).min(max_len(true));
        let mut bounce = None;
        let mut done = 0u32;
        // Each turn goes past a range, or has one be unwritten that was not.
        while done < part.len {
            relax()?;
            let left = part.len.saturating_sub(done);
            let mine = run(self.origin, part.origin.saturating_add(done), left)?;
            let theirs = run(self.donor, part.donor.saturating_add(done), mine.len)?;
            let len = mine.len.min(theirs.len);
            let (Some(mine), Some(theirs)) = (extent(&mine, most), extent(&theirs, most)) else {
                // What nobody has, or is not on disk, stays where it is.
                done = done.saturating_add(len);
                continue;
            };
            let len = mine.len.min(theirs.len);
            if !mine.unwritten && !theirs.unwritten {
                self.clear(theirs.first, len, outside)?;
                continue;
            }
            let piece = Piece {
                mine: Extent { len, ..mine },
                theirs: Extent { len, ..theirs },
            };
            if !mine.unwritten {
                let bounce = match &mut bounce {
                    Some(bounce) => bounce,
                    none => none.insert(Bounce::new(COPY, self.sb.block_size())?),
                };
                self.copy(&piece, bounce)?;
                Place::Copied.pass();
            }
            self.swap(&piece, outside)?;
            *moved = moved.saturating_add(len);
            done = done.saturating_add(len);
        }
        Ok(())
    }

    /// What the donor has in blocks from `at` on is going to be overwritten: they are unwritten from now
    /// on, on disk too.
    fn clear(&self, at: FileBlock, len: u32, outside: &mut NoHandle) -> Result {
        let mut handle = handle::begin(self.sb, outside, map_steps::op(self.donor))?;
        let edit = Edit::State {
            from: at,
            to: at.saturating_add(len),
            unwritten: true,
        };
        let done = map_steps::run(&mut handle, self.donor, edit);
        done.and(handle.stop())?;
        self.commit(outside)
    }

    /// Copies the file's contents to the donor's blocks.
    fn copy(&self, piece: &Piece, bounce: &mut Bounce) -> Result {
        let device = self.sb.device();
        let bits = self.sb.info().geometry.block_bits() & 31;
        let size = self.origin.size();
        let (mut pos, end) = (self.byte(piece.mine.first), self.byte(piece.mine.end()));
        let mut block = piece.theirs.start.get();
        while pos < end {
            relax()?;
            let left = usize::try_from(end.saturating_sub(pos)).unwrap_or(usize::MAX);
            let len = bounce.bytes().len().min(left);
            let bytes = bounce.bytes().get_mut(..len).ok_or(EINVAL)?;
            self.origin.read_settled(pos, bytes)?;
            // What a mapping has been given behind the end of the file is nobody's.
            let kept = usize::try_from(size.saturating_sub(pos)).unwrap_or(usize::MAX);
            if let Some(behind) = bytes.get_mut(kept..) {
                behind.fill(0);
            }
            bounce.write(device, block, len)?;
            pos = pos.saturating_add(len as u64);
            block = block.saturating_add((len as u64) >> bits);
        }
        Ok(())
    }

    /// Has the blocks of `piece` change places.
    fn swap(&self, piece: &Piece, outside: &mut NoHandle) -> Result {
        let (mut tries, mut stalls) = (0, 0u32);
        loop {
            match self.try_swap(piece, outside) {
                Ok(true) => return Ok(()),
                Ok(false) if stalls < MAX_STALLS => stalls = stalls.saturating_add(1),
                Ok(false) => return Err(EUCLEAN),
                Err(e) if e == ENOSPC && handle::may_retry(self.sb, &mut tries) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// As [`swap`](Self::swap), if no tree has got deeper meanwhile; whether that is so.
    fn try_swap(&self, piece: &Piece, outside: &mut NoHandle) -> Result<bool> {
        let shapes = [self.origin, self.donor].map(map_change::shape);
        let [mine, theirs] = shapes;
        let handle = handle::begin(self.sb, outside, Op::Swap(mine, theirs))?;
        if self.origin.is_sync() || self.donor.is_sync() {
            handle.sync();
        }
        handle.need_data_flush();
        let swapped = self.swap_in(&handle, piece, shapes);
        let swapped = swapped.map_err(|e| e.report_inode(self.origin, "block map"));
        let stopped = handle.stop();
        stopped.and(swapped)
    }

    fn swap_in(&self, handle: &Handle<'_>, piece: &Piece, shapes: [Map; 2]) -> Result<bool, Fault> {
        let sb = self.sb;
        let slot = inode_write::prepare(handle, self.origin)?;
        let other_slot = inode_write::prepare(handle, self.donor)?;
        let (info, other) = (self.origin.data(), self.donor.data());
        let (mut root, mut other_root) = info.data_sem.write_both(&other.data_sem);
        let depths = [&root, &other_root].map(|root| map_change::depth(root));
        let deeper = shapes
            .iter()
            .zip(depths)
            .any(|(shape, now)| matches!(shape, Map::Extents { depth } if now > *depth));
        if deeper {
            return Ok(false);
        }
        if info.map_kind() != Kind::Extents || other.map_kind() != Kind::Extents {
            return Err(EUCLEAN.into());
        }

        let tx = Tx::new(handle, sb.device(), Verified::Extent);
        let allocations =
            [self.origin, self.donor].map(|inode| Allocation::of_map(inode, handle).using_pool());
        let bounds = [self.origin, self.donor].map(|inode| FileBounds::new(sb.info(), inode.ino()));
        let ([mine, theirs], [bound, other_bound]) = (&allocations, &bounds);
        let size = sb.block_size();
        let editor = ExtentEditor::new(&tx, mine, bound, info.csum_seed(), size);
        let other_editor = ExtentEditor::new(&tx, theirs, other_bound, other.csum_seed(), size);
        let Piece {
            mine: old,
            theirs: new,
        } = piece;
        // All that can fail comes before the first change.
        let ready = editor
            .remap(&root.block, old, new.start, old.unwritten)
            .and_then(|ready| {
                let other = other_editor.remap(&other_root.block, new, old.start, true);
                let other = other.map_err(|e| e.report_inode(self.donor, "block map"))?;
                // Both have been looked up under these locks.
                ready.zip(other).ok_or(EUCLEAN.into())
            });
        let swapped = ready.map(|(ready, other)| {
            ready.apply(&mut root.block);
            other.apply(&mut other_root.block);
        });
        account(self.origin, mine);
        account(self.donor, theirs);
        swapped?;

        let known = |at: &Extent, start: FsBlock, unwritten: bool| Mapping {
            lblk: at.first,
            len: at.len,
            kind: if unwritten {
                MapKind::Unwritten(start)
            } else {
                MapKind::Written(start)
            },
        };
        completion::remember(self.origin, &known(old, new.start, old.unwritten));
        completion::remember(self.donor, &known(new, old.start, true));
        let stored = slot.store_mapped(&root);
        let other_stored = other_slot.store_mapped(&other_root);
        inode_write::note_change(handle, self.origin, true);
        inode_write::note_change(handle, self.donor, true);
        if let Err(e) = stored.and(other_stored) {
            // One has what the other has not given up.
            if let Some(journal) = sb.journal() {
                journal.abort(EIO);
            }
            return Err(e.into());
        }
        Ok(true)
    }
}

/// What is at `at`, within `len` blocks, as far as one entry of the map on disk says it. May sleep.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM.
fn run(inode: &VfsInode, at: FileBlock, len: u32) -> Result<Mapping> {
    let info = inode.data();
    let found = {
        let root = info.data_sem.read();
        let _nofs = NoFs::new();
        map::find(inode, info, &root, at)
    };
    let found = found.map_err(|e| e.report_inode(inode, "block map"))?;
    found.clip(at, at.saturating_add(len)).ok_or(EUCLEAN)
}

/// A run of blocks on disk as an extent of at most `most` blocks; `None` for anything else.
fn extent(run: &Mapping, most: u32) -> Option<Extent> {
    Some(Extent {
        first: run.lblk,
        len: run.len.min(most),
        start: run.physical()?,
        unwritten: matches!(run.kind, MapKind::Unwritten(_)),
    })
}
