// SPDX-License-Identifier: GPL-2.0

//! The allocator on file systems that are mounted, with their journals, against models; see
//! [`super::mounted`].

use kernel::prelude::*;

#[kunit_tests(rext4_space)]
mod tests {
    use super::super::{memory::Random, mounted::*};
    use crate::{
        engine::alloc::{first_block_of, goal::Goal, orlov::Parent},
        fs::{
            alloc::{free_inode, give_up_all, take_inode, Allocation, InFlight},
            groups::Groups,
            handle,
            vec::push,
            Sb,
        },
        ondisk::{Group, Ino},
    };
    use kernel::prelude::*;

    /// Clusters in flight and on disk, taken, split, settled, given back and freed at random, with
    /// commits and maps being forgotten in between: nothing is had twice, and the sums are right
    /// all the time.
    fn random_use(sb: &Sb, groups: &Groups) -> Result {
        let geo = &sb.info().geometry;
        let mut random = Random(0x5eed_1234);
        let mut held: KVec<Held> = KVec::with_capacity(MOST.saturating_add(2), GFP_KERNEL)?;
        let (free, mut taken, mut flying) = (groups.free_clusters.sum(), 0u64, 0u64);
        let bits = geo.cluster_bits();
        let files = [
            some_file(sb, Ino::ROOT)?,
            some_file(sb, lost_and_found(sb)?)?,
        ];
        let mut at_cluster = 0u32;
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
                    let file = files.get(random.below(2) as usize).ok_or(EINVAL)?;
                    let goal = (random.below(4) != 0).then_some(goal);
                    let soon = random.below(3).wrapping_mul(random.below(100));
                    let new = fly(sb, file, at_cluster, (len, soon), goal)?;
                    // Now and then the next one is where this has set something aside.
                    at_cluster = at_cluster.wrapping_add(len).wrapping_add(random.below(30));
                    check!(clusters(sb, &new) <= len);
                    flying = flying.saturating_add(u64::from(clusters(sb, &new)));
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
                        let (front, rest) = old.split(sb, len.wrapping_shl(bits));
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
                        let (start, len) = (old.start(), clusters(sb, &old));
                        let undone = random.below(4) == 0;
                        let back = change(sb, |handle| {
                            let settled = old.settle(sb, handle).map_err(|(_, e)| e)?;
                            let sectors = u64::from(len).wrapping_mul(sectors_of_cluster(sb));
                            check!(settled.sectors(sb) == sectors);
                            if undone {
                                return settled.undo(sb, handle).map(Some);
                            }
                            settled.mapped(sb);
                            Ok(None)
                        })?;
                        if let Some(back) = back {
                            add(sb, &mut held, Held::Flying(back))?;
                            continue;
                        }
                        flying = flying.saturating_sub(u64::from(len));
                        taken = taken.saturating_add(u64::from(len));
                        add(sb, &mut held, Held::OnDisk(start, len))?;
                    }
                    Some(Held::Flying(old)) => {
                        flying = flying.saturating_sub(u64::from(clusters(sb, &old)));
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
        give_up_all(sb);
        // Nothing but what is on disk is left in the maps.
        for group in 0..geo.groups_count() {
            if let Some(mut locked) = groups.lock(Group::new(group)) {
                locked.map(sb).map_err(errno)?;
                check!(locked.forget());
            }
        }
        Ok(())
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
            let file = some_file(sb, Ino::ROOT)?;
            let take = || fly(sb, &file, 0, (1, 0), Some(goal));
            let (start, len) = change(sb, |handle| {
                Allocation::new(sb, handle).take(goal, 8, 1).map_err(errno)
            })?;
            settled(sb)?;
            free_run(sb, start, len)?;
            let (first, end) = Held::OnDisk(start, len).span(sb);
            let other = take()?;
            let at = number(sb, other.start());
            // Without a journal there is nothing to wait for.
            check!((first..end).contains(&at) == sb.journal().is_none());
            other.give_back(sb);
            check!(groups.has_pending() == sb.journal().is_some());
            let mut tries = 0;
            check!(handle::may_retry(sb, &mut tries) == sb.journal().is_some());
            settled(sb)?;
            let other = take()?;
            check!(number(sb, other.start()) == first);
            other.give_back(sb);
            Ok(())
        })
    }

    /// All there is can be had, once, but for the pool.
    #[test]
    fn the_last_clusters() -> Result {
        on_each("last", |sb, groups| {
            let geo = &sb.info().geometry;
            let file = some_file(sb, Ino::ROOT)?;
            let mut at = 0u32;
            let mut held: KVec<InFlight> = KVec::with_capacity(400, GFP_KERNEL)?;
            let all = groups.free_clusters.sum();
            let mut taken = 0u64;
            let error = loop {
                let goal = Goal::Near(geo.group_first_block(Group::new(0)));
                // What others have set aside is no obstacle.
                at = at.wrapping_add(10_000);
                match fly(sb, &file, at, (700, 2000), Some(goal)) {
                    Ok(new) => {
                        taken = taken.saturating_add(u64::from(clusters(sb, &new)));
                        push(&mut held, new)?;
                    }
                    Err(e) => break e,
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
