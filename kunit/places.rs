// SPDX-License-Identifier: GPL-2.0

//! Places for data in memory, and the promises that they take over, on file systems that are
//! mounted; see [`super::mounted`].

use kernel::prelude::*;

#[kunit_tests(rext4_places)]
mod tests {
    use super::super::{memory::Random, mounted::*};
    use crate::{
        fs::{
            alloc::{
                give_up, give_up_all, release, reserve, reserve_some, InFlight, Lack, Place, Wanted,
            },
            inode,
            vec::push,
        },
        linux::test_threads::in_parallel,
        ondisk::{FileBlock, FsBlock, Group, Ino},
    };
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use kernel::prelude::*;

    /// Promises: no more than there is, and statfs' two counts at each step.
    #[test]
    fn promises() -> Result {
        on_each("promises", |sb, groups| {
            let file = some_file(sb, Ino::ROOT)?;
            let free = groups.free_clusters.sum();
            let pool = sb.info().reserved.pool();
            // The test is an administrator's.
            check!(reserve(sb, free.saturating_sub(pool).saturating_add(1)).err() == Some(ENOSPC));
            check!(groups.promised.sum() == 0);
            let all = reserve(sb, free.saturating_sub(pool))?;
            check!(reserve(sb, 1).err() == Some(ENOSPC));
            check!(reserve_some(sb, 100).err() == Some(ENOSPC));
            let (some, rest) = all.split(3);
            release(sb, rest);
            check!(groups.promised.sum() == 3);
            let bits = sb.info().geometry.cluster_bits();
            let wanted = Wanted {
                lblk: FileBlock::new(FAR),
                len: 8u32.wrapping_shl(bits),
                dirty: 64u32.wrapping_shl(bits),
                hole: u32::MAX,
                goal: None,
            };
            let take = || Place::take(&file, &wanted).map_err(Lack::errno);
            let place = take()?;
            check!(groups.promised.sum() == 3);
            place.give_back(sb);
            check!(groups.promised.sum() == 3);
            // What is missing is promised, what is too much is not any more.
            let flight = take()?.backed_by(sb, some);
            check!(groups.promised.sum() == 8);
            let other = Wanted {
                lblk: FileBlock::new(FAR.wrapping_add(100u32.wrapping_shl(bits))),
                ..wanted
            };
            let place = Place::take(&file, &other).map_err(Lack::errno)?;
            let other = place.backed_by(sb, reserve(sb, 20)?);
            check!(groups.promised.sum() == 16);
            let settled = change(sb, |handle| {
                let settled = flight.settle(sb, handle).map_err(|(_, e)| e)?;
                check!(groups.promised.sum() == 8);
                check!(groups.free_clusters.sum() == free.saturating_sub(8));
                settled.undo(sb, handle)
            })?;
            check!(groups.promised.sum() == 16 && groups.free_clusters.sum() == free);
            settled.give_back(sb);
            other.give_back(sb);
            check!(groups.promised.sum() == 0);
            Ok(())
        })
    }

    /// Two files that are written by turns are each in one piece, as far as what is dirty goes.
    #[test]
    fn files_by_turns() -> Result {
        on_each("turns", |sb, _| {
            let files = [
                some_file(sb, Ino::ROOT)?,
                some_file(sb, lost_and_found(sb)?)?,
            ];
            let mut held: KVec<InFlight> = KVec::with_capacity(64, GFP_KERNEL)?;
            let (turns, len) = (16u32, 4u32);
            let mut ends = [None; 2];
            for turn in 0..turns {
                for (file, end) in files.iter().zip(&mut ends) {
                    let left = turns.wrapping_sub(turn).wrapping_sub(1).wrapping_mul(len);
                    let at = turn.wrapping_mul(len);
                    let new = fly(sb, file, at, (len, left), None)?;
                    check!(clusters(sb, &new) == len);
                    check!(end.is_none() || *end == Some(new.start()));
                    *end = new.start().checked_add(new.blocks().into());
                    push(&mut held, new)?;
                }
            }
            while let Some(old) = held.pop() {
                old.give_back(sb);
            }
            Ok(())
        })
    }

    /// Small files that nobody has open are side by side.
    #[test]
    fn small_files() -> Result {
        on_each("small", |sb, _| {
            if sb.info().geometry.cluster_ratio() != 1 {
                // Their places in the file decide there.
                return Ok(());
            }
            let files = [
                some_file(sb, Ino::ROOT)?,
                some_file(sb, lost_and_found(sb)?)?,
            ];
            let mut held: KVec<InFlight> = KVec::with_capacity(32, GFP_KERNEL)?;
            // A task may go to another CPU, whose pool is elsewhere.
            let (mut end, mut apart) = (None, 0u32);
            for turn in 0..8u32 {
                for file in &files {
                    let wanted = Wanted {
                        lblk: FileBlock::new(turn.wrapping_mul(2)),
                        len: 2,
                        dirty: 2,
                        hole: 2,
                        goal: None,
                    };
                    let place = Place::take(file, &wanted).map_err(Lack::errno)?;
                    if end.is_some() && end != Some(place.start()) {
                        apart = apart.wrapping_add(1);
                    }
                    end = place.start().checked_add(place.blocks().into());
                    push(&mut held, place.backed_by(sb, reserve(sb, 2)?))?;
                }
            }
            check!(apart <= 2);
            while let Some(old) = held.pop() {
                old.give_back(sb);
            }
            Ok(())
        })
    }

    /// Clusters of which several writes have parts: one cluster on disk, which is free when the last
    /// of them has gone, unless one has completed.
    #[test]
    fn parts_of_clusters() -> Result {
        on_each("parts", |sb, groups| {
            let geo = &sb.info().geometry;
            let ratio = geo.cluster_ratio();
            if ratio == 1 {
                return Ok(());
            }
            let file = some_file(sb, Ino::ROOT)?;
            let free = groups.free_clusters.sum();
            let take = |at: u32, len: u32| {
                let wanted = Wanted {
                    lblk: FileBlock::new(FAR.wrapping_add(at)),
                    len,
                    dirty: len,
                    hole: len,
                    goal: None,
                };
                Place::take(&file, &wanted).map_err(Lack::errno)
            };
            let place = |at: u32, len: u32| -> Result<InFlight> {
                Ok(take(at, len)?.backed_by(sb, reserve(sb, 1)?))
            };
            let base = |flight: &InFlight| flight.start().get() & !u64::from(ratio.wrapping_sub(1));
            // Three parts of one cluster, and one that goes on into the next.
            let a = place(1, 2)?;
            let b = place(5, 1)?;
            let c = place(ratio.wrapping_sub(1), 3)?;
            check!(base(&a) == base(&b) && base(&b) == base(&c));
            check!(a.start().get() == base(&a).wrapping_add(1) && a.blocks() == 2);
            check!(b.start().get() == base(&a).wrapping_add(5) && c.blocks() == 1);
            check!(groups.promised.sum() == 1);
            let (d, rest) = place(ratio, ratio.wrapping_add(3))?.split(sb, 2);
            let rest = rest.ok_or(EINVAL)?;
            check!(base(&d) == base(&rest) && base(&d) != base(&a));
            check!(groups.promised.sum() == 3);
            // Nothing is free before the last one goes.
            a.give_back(sb);
            c.give_back(sb);
            d.give_back(sb);
            check!(groups.promised.sum() == 3);
            rest.give_back(sb);
            check!(groups.promised.sum() == 1);
            // It was settled by one, so it is not free when the other goes.
            let e = place(7, 1)?;
            check!(base(&e) == base(&b) && groups.promised.sum() == 1);
            let (start, sectors) = (e.start(), sectors_of_cluster(sb));
            change(sb, |handle| {
                let settled = e.settle(sb, handle).map_err(|(_, e)| e)?;
                check!(settled.sectors(sb) == sectors);
                settled.mapped(sb);
                Ok(())
            })?;
            check!(groups.free_clusters.sum() == free.saturating_sub(1));
            check!(groups.promised.sum() == 0);
            // What is taken out of the map meanwhile is in flight again, and not to be had.
            free_run(
                sb,
                FsBlock::new(start.get() & !u64::from(ratio.wrapping_sub(1))),
                1,
            )?;
            check!(groups.free_clusters.sum() == free && groups.promised.sum() == 1);
            settled(sb)?;
            change(sb, |handle| {
                let settled = b.settle(sb, handle).map_err(|(_, e)| e)?;
                check!(settled.sectors(sb) == sectors);
                settled.mapped(sb);
                Ok(())
            })?;
            check!(groups.free_clusters.sum() == free.saturating_sub(1));
            check!(groups.promised.sum() == 0);
            free_run(
                sb,
                FsBlock::new(start.get() & !u64::from(ratio.wrapping_sub(1))),
                1,
            )?;
            // A cluster that the file has is used again.
            let own = Wanted {
                lblk: FileBlock::new(1),
                len: 1,
                dirty: 1,
                hole: 1,
                goal: None,
            };
            let place = Place::take(&file, &own).map_err(Lack::errno)?;
            let first = crate::fs::map::lookup(&file, FileBlock::ZERO, false)?.0;
            if let crate::engine::mapping::MapKind::Written(first) = first.kind {
                check!(first.checked_add(1) == Some(place.start()));
            }
            place.backed_by(sb, reserve(sb, 1)?).give_back(sb);
            settled(sb)
        })
    }

    /// Several tasks at once, each with clusters of its own, in flight, on disk, given back and
    /// freed; what is kept for files is given up in between, and so are maps.
    #[test]
    fn at_the_same_time() -> Result {
        on_each("parallel", |sb, groups| {
            let geo = &sb.info().geometry;
            let files = [
                some_file(sb, Ino::ROOT)?,
                some_file(sb, lost_and_found(sb)?)?,
            ];
            // What is taken is noted: nobody else may have it.
            let total = geo.blocks_count().wrapping_shr(geo.cluster_bits());
            let words = usize::try_from(total >> 5)?.saturating_add(1);
            let mut owned: KVVec<AtomicU32> = KVVec::with_capacity(words, GFP_KERNEL)?;
            for _ in 0..words {
                owned
                    .push_within_capacity(AtomicU32::new(0))
                    .map_err(|_| ENOMEM)?;
            }
            let failed = AtomicU32::new(0);
            let note = |held: &Held, take: bool| {
                let (start, end) = held.span(sb);
                for at in start..end {
                    let bit = 1u32.wrapping_shl(at as u32 & 31);
                    let Some(word) = owned.get((at >> 5) as usize) else {
                        return false;
                    };
                    let old = if take {
                        word.fetch_or(bit, Relaxed)
                    } else {
                        word.fetch_and(!bit, Relaxed)
                    };
                    if (old & bit != 0) == take {
                        return false;
                    }
                }
                true
            };
            let work = |nr: usize| -> Result {
                let mut random = Random(0x1357_9bdf ^ (nr as u32).wrapping_mul(0x9e37_79b9));
                let mut held: KVec<Held> = KVec::with_capacity(32, GFP_KERNEL)?;
                let file = files.get(nr & 1).ok_or(EINVAL)?;
                let mut at = (nr as u32).wrapping_mul(1 << 16);
                for _ in 0..150 {
                    let len = random.below(12).wrapping_add(1);
                    match random.below(10) {
                        0..=4 if held.len() < 30 => {
                            let soon = random.below(2).wrapping_mul(64);
                            let new = fly(sb, file, at, (len, soon), None)?;
                            at = at.wrapping_add(clusters(sb, &new));
                            let new = Held::Flying(new);
                            check!(note(&new, true));
                            push(&mut held, new)?;
                        }
                        5 => {
                            give_up(sb, inode::number(file).map_err(errno)?);
                        }
                        6 => {
                            let group = Group::new(random.below(geo.groups_count()));
                            if let Some(mut locked) = groups.lock(group) {
                                locked.forget();
                            }
                        }
                        what => {
                            let at = random.below(u32::try_from(held.len())?.max(1)) as usize;
                            match remove(&mut held, at) {
                                Some(Held::Flying(old)) if what < 8 => {
                                    let (start, len) = (old.start(), clusters(sb, &old));
                                    change(sb, |handle| {
                                        let settled = old.settle(sb, handle).map_err(|(_, e)| e)?;
                                        settled.mapped(sb);
                                        Ok(())
                                    })?;
                                    push(&mut held, Held::OnDisk(start, len))?;
                                }
                                Some(old) => {
                                    check!(note(&old, false));
                                    end(sb, old)?;
                                }
                                None => {}
                            }
                        }
                    }
                }
                while let Some(old) = held.pop() {
                    check!(note(&old, false));
                    end(sb, old)?;
                }
                Ok(())
            };
            in_parallel(4, &|nr| {
                if let Err(e) = work(nr) {
                    pr_err!("task {}: {:?}\n", nr, e);
                    failed.fetch_add(1, Relaxed);
                }
            })?;
            check!(failed.load(Relaxed) == 0);
            check!(groups.promised.sum() == 0);
            settled(sb)?;
            give_up_all(sb);
            for group in 0..geo.groups_count() {
                if let Some(mut locked) = groups.lock(Group::new(group)) {
                    locked.map(sb).map_err(errno)?;
                    check!(locked.forget());
                }
            }
            Ok(())
        })
    }
}
