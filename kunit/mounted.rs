// SPDX-License-Identifier: GPL-2.0

//! File systems that are mounted, for suites that use their allocator.
//!
//! At insmod nothing is mounted, and the cases have nothing to do. The guest test `space` mounts
//! file systems of all kinds under the label that says that they may be used, runs the suites again
//! through debugfs, sees in the log that they have found them, unmounts them and has e2fsck look: what
//! was taken has been freed by then. (A case that has skipped itself once KUnit never runs again.)

use super::memory::Random;
use crate::{
    engine::{
        alloc::{cluster_of, first_block_of, goal::Goal},
        change::{Blocks, Was},
        credits::{Map, Op},
    },
    fs::{
        alloc::{give_up_all, release, reserve_some, Allocation, InFlight, Place, Wanted},
        groups::Groups,
        handle, inode,
        vec::push,
        Rext4Fs, Sb, VfsInode,
    },
    linux::{jbd2::NoHandle, test_device::with_mounted},
    ondisk::{inode::Purpose, FileBlock, FsBlock, Group, Ino},
};
use kernel::{
    prelude::*,
    sync::aref::ARef,
    time::{delay::fsleep, Delta},
};

/// As `assert!`, which does not work outside of the cases themselves: what does not hold ends the
/// case with an error, and nothing is left locked.
macro_rules! check {
    ($condition:expr) => {
        if !$condition {
            pr_err!(
                "line {}: {} does not hold\n",
                line!(),
                stringify!($condition)
            );
            return Err(EUCLEAN);
        }
    };
}

/// The label of file systems that may be used.
const LABEL: &[u8] = b"rext4 KUnit";
/// How many things a model holds at most.
pub(super) const MOST: usize = 60;

/// Runs `case` on every file system that may be used and can be written.
pub(super) fn on_each(name: &str, case: impl Fn(&Sb, &Groups) -> Result) -> Result {
    let mut result = Ok(());
    with_mounted::<Rext4Fs>(c"rext4", |sb| {
        let usable = sb.info().image.with(|raw| raw.volume_name() == LABEL);
        if let Some(groups) = sb.info().groups.as_ref().filter(|_| usable) {
            let before = sums(groups);
            let ran = case(sb, groups).and_then(|()| settled(sb));
            give_up_all(sb);
            // All that the case has taken is free again.
            let same = sums(groups) == before && groups.promised.sum() == 0;
            result = result
                .and(ran)
                .and(if same { Ok(()) } else { Err(EUCLEAN) });
            pr_info!("{} has run here\n", name);
        }
    });
    result
}

pub(super) fn sums(groups: &Groups) -> (u64, u64, u64) {
    (
        groups.free_clusters.sum(),
        groups.free_inodes.sum(),
        groups.used_dirs.sum(),
    )
}

/// Commits, and sees what has been freed released, which may be discarded before.
pub(super) fn settled(sb: &Sb) -> Result {
    let (Some(journal), Some(groups)) = (sb.journal(), sb.info().groups.as_ref()) else {
        return Ok(());
    };
    let outside = NoHandle::here()?;
    journal.force_commit(&outside)?;
    journal.wait_called_back(&outside);
    for _ in 0..1000 {
        if !groups.has_pending() {
            return Ok(());
        }
        fsleep(Delta::from_millis(1));
    }
    Err(ETIME)
}

/// Runs `f` in a transaction of its own.
pub(super) fn change<R>(
    sb: &Sb,
    f: impl FnOnce(&crate::fs::tx::Handle<'_>) -> Result<R>,
) -> Result<R> {
    let mut outside = NoHandle::here()?;
    let op = Op::Allocate(Map::Extents { depth: 0 }, 4);
    let handle = handle::begin(sb, &mut outside, op)?;
    let result = f(&handle);
    handle.stop().and(result)
}

pub(super) fn errno(e: crate::fs::fault::Fault) -> Error {
    match e {
        crate::fs::fault::Fault::Errno(e) => e,
        crate::fs::fault::Fault::Corrupt(_) => EUCLEAN,
    }
}

/// Clusters from the beginning of the file system.
pub(super) fn number(sb: &Sb, block: FsBlock) -> u64 {
    let geo = &sb.info().geometry;
    let (group, at) = cluster_of(geo, block);
    u64::from(group.get())
        .saturating_mul(geo.clusters_per_group().get().into())
        .saturating_add(at.into())
}

/// What a model holds.
pub(super) enum Held {
    Flying(InFlight),
    OnDisk(FsBlock, u32),
}

impl Held {
    pub(super) fn span(&self, sb: &Sb) -> (u64, u64) {
        let (start, len) = match self {
            Self::Flying(held) => (held.start(), clusters(sb, held)),
            Self::OnDisk(start, len) => (*start, *len),
        };
        let start = number(sb, start);
        (start, start.saturating_add(len.into()))
    }
}

pub(super) fn clusters(sb: &Sb, held: &InFlight) -> u32 {
    let geo = &sb.info().geometry;
    let up = held
        .blocks()
        .wrapping_add(geo.cluster_ratio().wrapping_sub(1));
    up.wrapping_shr(geo.cluster_bits())
}

/// The directory that every file system has, in the part of contents.
pub(super) fn some_file(sb: &Sb, ino: Ino) -> Result<ARef<VfsInode>> {
    inode::iget(sb, ino, Purpose::Path)
}

/// Where in a file the models begin: behind all that it has.
pub(super) const FAR: u32 = 1 << 20;

/// Takes up to `len` clusters for `file`, from cluster `at` of it on; `soon` more are dirty.
pub(super) fn fly(
    sb: &Sb,
    file: &VfsInode,
    at: u32,
    (len, soon): (u32, u32),
    goal: Option<Goal>,
) -> Result<InFlight> {
    let bits = sb.info().geometry.cluster_bits();
    let reserved = reserve_some(sb, len)?;
    let len = u32::try_from(reserved.clusters())?;
    let blocks = |clusters: u32| clusters.wrapping_shl(bits);
    let wanted = Wanted {
        lblk: FileBlock::new(blocks(at).wrapping_add(FAR)),
        len: blocks(len),
        dirty: blocks(len.wrapping_add(soon)),
        hole: u32::MAX,
        goal,
    };
    match Place::take(file, &wanted) {
        Ok(place) => Ok(place.backed_by(sb, reserved)),
        Err(e) => {
            release(sb, reserved);
            Err(e.errno())
        }
    }
}

/// A block that exists.
pub(super) fn somewhere(sb: &Sb, random: &mut Random) -> FsBlock {
    let geo = &sb.info().geometry;
    let group = Group::new(random.below(geo.groups_count()));
    let cluster = random.below(geo.group_clusters(group).max(1));
    first_block_of(geo, group, cluster)
}

/// A directory that mkfs makes, besides the root.
pub(super) fn lost_and_found(sb: &Sb) -> Result<Ino> {
    Ino::new(sb.info().geometry.first_ino()).ok_or(EINVAL)
}

pub(super) fn sectors_of_cluster(sb: &Sb) -> u64 {
    let geo = &sb.info().geometry;
    u64::from(geo.block_size() >> 9).wrapping_shl(geo.cluster_bits())
}

/// Adds what has been taken, which nobody may have.
pub(super) fn add(sb: &Sb, held: &mut KVec<Held>, new: Held) -> Result {
    let (start, end) = new.span(sb);
    for other in held.iter() {
        let (other, other_end) = other.span(sb);
        check!(end <= other || other_end <= start);
    }
    push(held, new)
}

pub(super) fn remove(held: &mut KVec<Held>, at: usize) -> Option<Held> {
    let last = held.pop()?;
    Some(match held.get_mut(at) {
        Some(place) => core::mem::replace(place, last),
        None => last,
    })
}

pub(super) fn free_run(sb: &Sb, start: FsBlock, clusters: u32) -> Result {
    change(sb, |handle| {
        let allocation = Allocation::new(sb, handle);
        let geo = &sb.info().geometry;
        let blocks = clusters.wrapping_shl(geo.cluster_bits());
        // A run that was taken is in one group.
        let freed = allocation.free(start, blocks, Was::Data).map_err(errno)?;
        check!(freed == blocks);
        let sectors = u64::from(blocks).wrapping_mul((geo.block_size() >> 9).into());
        check!(allocation.sectors() == (0, sectors));
        Ok(())
    })
}

/// Gives up what a model holds.
pub(super) fn end(sb: &Sb, held: Held) -> Result {
    match held {
        Held::Flying(old) => {
            old.give_back(sb);
            Ok(())
        }
        Held::OnDisk(start, len) => free_run(sb, start, len),
    }
}

pub(super) use check;
