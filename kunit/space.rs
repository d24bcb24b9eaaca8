// SPDX-License-Identifier: GPL-2.0

//! The allocator on file systems that are mounted, with their journals, against models.
//!
//! At insmod nothing is mounted, and the cases have nothing to do. The guest test `space` mounts
//! file systems of all kinds under the label that says that they may be used, runs the suite again
//! through debugfs, sees in the log that it has found them, unmounts them and has e2fsck look: what
//! was taken has been freed by then. (A case that has skipped itself once KUnit never runs again.)

use kernel::prelude::*;

#[kunit_tests(rext4_space)]
mod tests {
    use super::super::memory::Random;
    use crate::{
        engine::{
            alloc::{cluster_of, first_block_of, goal::Goal, orlov::Parent},
            change::{Blocks, Was},
            credits::{Map, Op},
        },
        fs::{
            alloc::{free_inode, take_inode, Allocation, InFlight},
            groups::Groups,
            handle,
            vec::push,
            Rext4Fs, Sb,
        },
        linux::{jbd2::NoHandle, test_device::with_mounted},
        ondisk::{FsBlock, Group, Ino},
    };
    use kernel::{
        prelude::*,
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
    const MOST: usize = 60;

    /// Runs `case` on every file system that may be used and can be written.
    fn on_each(name: &str, case: impl Fn(&Sb, &Groups) -> Result) -> Result {
        let mut result = Ok(());
        with_mounted::<Rext4Fs>(c"rext4", |sb| {
            let usable = sb.info().image.with(|raw| raw.volume_name() == LABEL);
            if let Some(groups) = sb.info().groups.as_ref().filter(|_| usable) {
                let before = sums(groups);
                let ran = case(sb, groups).and_then(|()| settled(sb));
                // All that the case has taken is free again.
                let same = sums(groups) == before && groups.promised.sum() == 0;
                result = result
                    .and(ran)
                    .and(if same { Ok(()) } else { Err(EUCLEAN) });
                pr_info!("rext4_space: {} has run\n", name);
            }
        });
        result
    }

    fn sums(groups: &Groups) -> (u64, u64, u64) {
        (
            groups.free_clusters.sum(),
            groups.free_inodes.sum(),
            groups.used_dirs.sum(),
        )
    }

    /// Commits, and sees what has been freed released, which may be discarded before.
    fn settled(sb: &Sb) -> Result {
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
    fn change<R>(sb: &Sb, f: impl FnOnce(&crate::fs::tx::Handle<'_>) -> Result<R>) -> Result<R> {
        let mut outside = NoHandle::here()?;
        let op = Op::Allocate(Map::Extents { depth: 0 }, 4);
        let handle = handle::begin(sb, &mut outside, op)?;
        let result = f(&handle);
        handle.stop().and(result)
    }

    fn errno(e: crate::fs::fault::Fault) -> Error {
        match e {
            crate::fs::fault::Fault::Errno(e) => e,
            crate::fs::fault::Fault::Corrupt(_) => EUCLEAN,
        }
    }

    /// Clusters from the beginning of the file system.
    fn number(sb: &Sb, block: FsBlock) -> u64 {
        let geo = &sb.info().geometry;
        let (group, at) = cluster_of(geo, block);
        u64::from(group.get())
            .saturating_mul(geo.clusters_per_group().get().into())
            .saturating_add(at.into())
    }

    /// What a model holds.
    enum Held {
        Flying(InFlight),
        OnDisk(FsBlock, u32),
    }

    impl Held {
        fn span(&self, sb: &Sb) -> (u64, u64) {
            let (start, len) = match self {
                Self::Flying(held) => (held.start(sb), held.clusters()),
                Self::OnDisk(start, len) => (*start, *len),
            };
            let start = number(sb, start);
            (start, start.saturating_add(len.into()))
        }
    }

    /// A block that exists.
    fn somewhere(sb: &Sb, random: &mut Random) -> FsBlock {
        let geo = &sb.info().geometry;
        let group = Group::new(random.below(geo.groups_count()));
        let cluster = random.below(geo.group_clusters(group).max(1));
        first_block_of(geo, group, cluster)
    }

    /// Clusters in flight and on disk, taken, split, settled, given back and freed at random, with
    /// commits and maps being forgotten in between: nothing is had twice, and the sums are right
    /// all the time.
    fn random_use(sb: &Sb, groups: &Groups) -> Result {
        let geo = &sb.info().geometry;
        let mut random = Random(0x5eed_1234);
        let mut held: KVec<Held> = KVec::with_capacity(MOST.saturating_add(2), GFP_KERNEL)?;
        let (free, mut taken, mut flying) = (groups.free_clusters.sum(), 0u64, 0u64);
        for _ in 0..900 {
            let what = random.below(16);
            let at = random.below(u32::try_from(held.len())?.max(1)) as usize;
            let goal = Goal::Near(somewhere(sb, &mut random));
            let goal = match (random.below(2), held.get(at)) {
                (0, Some(other)) => {
                    let (_, end) = other.span(sb);
                    let first = first_block_of(geo, Group::new(0), 0);
                    let end = first.checked_add(end.wrapping_shl(geo.cluster_bits()));
                    let end = end.and_then(|end| geo.check_block(end.get()));
                    end.map_or(goal, Goal::Extend)
                }
                _ => goal,
            };
            let len = random.below(40).wrapping_add(1);
            let min = random.below(len).wrapping_add(1);
            match what {
                0..=4 if held.len() < MOST => {
                    let new = InFlight::take(sb, goal, len, min).map_err(errno)?;
                    check!(new.clusters() >= min && new.clusters() <= len);
                    flying = flying.saturating_add(u64::from(new.clusters()));
                    add(sb, &mut held, Held::Flying(new))?;
                }
                5..=6 if held.len() < MOST => {
                    let (start, len) = change(sb, |handle| {
                        Allocation::new(sb, handle)
                            .take(goal, len, min)
                            .map_err(errno)
                    })?;
                    taken = taken.saturating_add(u64::from(len));
                    add(sb, &mut held, Held::OnDisk(start, len))?;
                }
                7 if held.len() < MOST => match remove(&mut held, at) {
                    Some(Held::Flying(old)) => {
                        let (front, rest) = old.split(len);
                        add(sb, &mut held, Held::Flying(front))?;
                        if let Some(rest) = rest {
                            add(sb, &mut held, Held::Flying(rest))?;
                        }
                    }
                    Some(other) => add(sb, &mut held, other)?,
                    None => {}
                },
                8..=13 => match remove(&mut held, at) {
                    Some(Held::Flying(old)) if what < 11 => {
                        let (start, len) = (old.start(sb), old.clusters());
                        change(sb, |handle| old.settle(sb, handle).map_err(|(_, e)| e))?;
                        flying = flying.saturating_sub(u64::from(len));
                        taken = taken.saturating_add(u64::from(len));
                        add(sb, &mut held, Held::OnDisk(start, len))?;
                    }
                    Some(Held::Flying(old)) => {
                        flying = flying.saturating_sub(u64::from(old.clusters()));
                        old.give_back(sb);
                    }
                    Some(Held::OnDisk(start, len)) => {
                        taken = taken.saturating_sub(u64::from(len));
                        free_run(sb, start, len)?;
                    }
                    None => {}
                },
                14 => {
                    let group = Group::new(random.below(geo.groups_count()));
                    if let Some(mut locked) = groups.lock(group) {
                        locked.forget();
                    }
                }
                _ => settled(sb)?,
            }
            check!(groups.free_clusters.sum() == free.saturating_sub(taken));
            check!(groups.promised.sum() == flying);
        }
        while let Some(old) = held.pop() {
            match old {
                Held::Flying(old) => old.give_back(sb),
                Held::OnDisk(start, len) => free_run(sb, start, len)?,
            }
        }
        settled(sb)?;
        // Nothing but what is on disk is left in the maps.
        for group in 0..geo.groups_count() {
            if let Some(mut locked) = groups.lock(Group::new(group)) {
                locked.map(sb).map_err(errno)?;
                check!(locked.forget());
            }
        }
        Ok(())
    }

    /// Adds what has been taken, which nobody may have.
    fn add(sb: &Sb, held: &mut KVec<Held>, new: Held) -> Result {
        let (start, end) = new.span(sb);
        for other in held.iter() {
            let (other, other_end) = other.span(sb);
            check!(end <= other || other_end <= start);
        }
        push(held, new)
    }

    fn remove(held: &mut KVec<Held>, at: usize) -> Option<Held> {
        let last = held.pop()?;
        Some(match held.get_mut(at) {
            Some(place) => core::mem::replace(place, last),
            None => last,
        })
    }

    fn free_run(sb: &Sb, start: FsBlock, clusters: u32) -> Result {
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

    #[test]
    fn clusters_match_a_model() -> Result {
        on_each("clusters", random_use)
    }

    /// What a transaction has freed cannot be had before it has been committed, and then it can.
    #[test]
    fn freed_clusters_wait_for_the_commit() -> Result {
        on_each("freed", |sb, groups| {
            let goal = Goal::Near(sb.info().geometry.group_first_block(Group::new(0)));
            let take = || InFlight::take(sb, goal, 1, 1).map_err(errno);
            let (start, len) = change(sb, |handle| {
                Allocation::new(sb, handle).take(goal, 8, 1).map_err(errno)
            })?;
            settled(sb)?;
            free_run(sb, start, len)?;
            let (first, end) = Held::OnDisk(start, len).span(sb);
            let other = take()?;
            let at = number(sb, other.start(sb));
            // Without a journal there is nothing to wait for.
            check!((first..end).contains(&at) == sb.journal().is_none());
            other.give_back(sb);
            check!(groups.has_pending() == sb.journal().is_some());
            let mut tries = 0;
            check!(handle::may_retry(sb, &mut tries) == sb.journal().is_some());
            settled(sb)?;
            let other = take()?;
            check!(number(sb, other.start(sb)) == first);
            other.give_back(sb);
            Ok(())
        })
    }

    /// All there is can be had, once, but for the pool.
    #[test]
    fn the_last_clusters() -> Result {
        on_each("last", |sb, groups| {
            let geo = &sb.info().geometry;
            let mut held: KVec<InFlight> = KVec::with_capacity(400, GFP_KERNEL)?;
            let all = groups.free_clusters.sum();
            let mut taken = 0u64;
            let error = loop {
                let goal = Goal::Near(geo.group_first_block(Group::new(0)));
                match InFlight::take(sb, goal, 700, 1) {
                    Ok(new) => {
                        taken = taken.saturating_add(u64::from(new.clusters()));
                        push(&mut held, new)?;
                    }
                    Err(e) => break errno(e),
                }
            };
            check!(error == ENOSPC);
            // The test is an administrator's.
            let left = all.saturating_sub(taken);
            check!(left <= sb.info().reserved.pool().max(1));
            // So little is left that a handle gets nothing either.
            let goal = Goal::Near(geo.group_first_block(Group::new(0)));
            let more = change(sb, |handle| {
                Allocation::new(sb, handle)
                    .take(goal, 700, 700)
                    .map_err(errno)
            });
            check!(more.err() == Some(ENOSPC));
            while let Some(old) = held.pop() {
                old.give_back(sb);
            }
            Ok(())
        })
    }

    /// Inodes, taken and freed.
    #[test]
    fn inodes_match_a_model() -> Result {
        on_each("inodes", |sb, groups| {
            let geo = &sb.info().geometry;
            let mut random = Random(0x1234_5eed);
            let mut held: KVec<(Ino, bool)> =
                KVec::with_capacity(MOST.saturating_add(2), GFP_KERNEL)?;
            let (free, dirs) = (groups.free_inodes.sum(), groups.used_dirs.sum());
            for _ in 0..400 {
                let at = random.below(u32::try_from(held.len())?.max(1)) as usize;
                if random.below(5) < 3 && held.len() < MOST {
                    let is_dir = random.below(3) == 0;
                    let parent = Parent {
                        ino: Ino::ROOT,
                        group: Group::new(random.below(geo.groups_count())),
                        last: None,
                        spreads: random.below(2) == 0,
                    };
                    let hash = random.below(1 << 30);
                    let ino = change(sb, |handle| {
                        take_inode(sb, handle, &parent, is_dir, hash).map_err(errno)
                    })?;
                    check!(ino.get() >= geo.first_ino() && ino.get() <= geo.inodes_count());
                    check!(held.iter().all(|(other, _)| *other != ino));
                    push(&mut held, (ino, is_dir))?;
                } else if let Some(last) = held.pop() {
                    let (ino, is_dir) = match held.get_mut(at) {
                        Some(place) => core::mem::replace(place, last),
                        None => last,
                    };
                    change(sb, |handle| free_inode(sb, handle, ino, is_dir))?;
                }
                let count = held
                    .iter()
                    .fold(0u64, |n, (_, is_dir)| n.saturating_add((*is_dir).into()));
                let left = free.saturating_sub(u64::try_from(held.len())?);
                check!(groups.free_inodes.sum() == left);
                let dirs = dirs.saturating_add(count);
                check!(groups.used_dirs.sum() == dirs);
            }
            while let Some((ino, is_dir)) = held.pop() {
                change(sb, |handle| free_inode(sb, handle, ino, is_dir))?;
            }
            Ok(())
        })
    }
}
