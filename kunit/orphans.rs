// SPDX-License-Identifier: GPL-2.0

//! Orphans on file systems that are mounted, against a model: what is in the orphan file and on the
//! list is what should be.
//!
//! At insmod nothing is mounted, and the case has nothing to do. The guest test `orphans` mounts
//! file systems under the label that says that they may be used, runs the suite again through
//! debugfs, sees in the log that it has found them, and has e2fsck look afterwards.

use kernel::prelude::*;

#[kunit_tests(rext4_orphans)]
mod tests {
    use super::super::memory::Random;
    use crate::{
        engine::{credits::Op, mapping::MapKind},
        fs::{
            handle,
            inode::{iget, read_slot},
            map, orphan,
            vec::push,
            Rext4Fs, Sb, VfsInode,
        },
        linux::{jbd2::NoHandle, test_device::with_mounted},
        ondisk::{
            inode::{dtime, Purpose},
            orphan::OrphanBlock,
            superblock::Superblock,
            FileBlock, Ino,
        },
    };
    use kernel::{prelude::*, sync::aref::ARef};

    /// The label of file systems that may be used.
    const LABEL: &[u8] = b"rext4 KUnit";
    /// How many files there are for this, from the first inode on that is not reserved.
    const FILES: u32 = 400;

    fn check(what: bool) -> Result {
        what.then_some(()).ok_or(EUCLEAN)
    }

    /// `count()` of an iterator would check for an overflow, and panic.
    fn count<T>(all: &[T], which: impl Fn(&T) -> bool) -> usize {
        all.iter()
            .fold(0, |n, one| usize::from(which(one)).wrapping_add(n))
    }

    /// What is noted on disk, in memory: of the transaction that is running.
    fn noted(sb: &Sb) -> Result<(KVVec<u32>, KVVec<u32>)> {
        let geo = &sb.info().geometry;
        let room = || KVVec::with_capacity(FILES as usize, GFP_KERNEL);
        let (mut file, mut list) = (room()?, room()?);
        if let Some(ino) = geo.check_ino(sb.info().raw.orphan_file_inum()) {
            let inode = iget(sb, ino, Purpose::Special)?;
            let blocks = u32::try_from(inode.size() >> (geo.block_bits() & 31))?;
            for n in 0..blocks {
                let n = FileBlock::new(n);
                let at = map::lookup(&inode, n, false)?.0.clip(n, FileBlock::END);
                let Some(MapKind::Written(block)) = at.map(|at| at.kind) else {
                    return Err(EUCLEAN);
                };
                let buffer = sb.device().read(block.get())?;
                let parsed = OrphanBlock::verify(None, block, &buffer).map_err(|_| EUCLEAN)?;
                for (_, ino) in parsed.used() {
                    push(&mut file, ino)?;
                }
            }
        }
        let mut next = sb.info().image.with(Superblock::last_orphan);
        while let Some(ino) = Ino::new(next) {
            push(&mut list, next)?;
            let slot = read_slot(sb, ino).map_err(|_| EIO)?;
            next = dtime(&slot).ok_or(EUCLEAN)?;
        }
        Ok((file, list))
    }

    /// Makes `inode` an orphan, or not any more, in a transaction of its own.
    fn change(inode: &VfsInode, add: bool) -> Result {
        inode.with_lock(|| {
            let mut outside = NoHandle::here()?;
            let op = if add { Op::OrphanAdd } else { Op::OrphanDel };
            let handle = handle::begin(inode.super_block(), &mut outside, op)?;
            let result = if add {
                orphan::add(&handle, inode)
            } else {
                orphan::del(&handle, inode)
            };
            result.and(handle.stop())
        })
    }

    fn run(sb: &Sb) -> Result {
        let mut inodes: KVVec<(ARef<VfsInode>, bool)> =
            KVVec::with_capacity(FILES as usize, GFP_KERNEL)?;
        for ino in (sb.info().geometry.first_ino()..u32::MAX).take(1024) {
            if inodes.len() == FILES as usize {
                break;
            }
            let inode = Ino::new(ino).map(|ino| iget(sb, ino, Purpose::Path));
            if let Some(Ok(inode)) = inode {
                if inode.is_regular() {
                    push(&mut inodes, (inode, false))?;
                }
            }
        }
        check(inodes.len() == FILES as usize)?;
        let mut random = Random(1);
        let (mut most, mut listed) = (0, 0);
        for step in 0..4000u32 {
            // More and more, then fewer and fewer.
            let chosen = random.below(FILES) as usize;
            let add = random.below(4000) > step;
            let (inode, orphan) = inodes.get_mut(chosen).ok_or(EINVAL)?;
            // Once more, or though it is none, does nothing.
            change(inode, add)?;
            *orphan = add;
            if step % 100 != 99 {
                continue;
            }
            let (file, list) = noted(sb)?;
            let orphans = count(&inodes, |(_, orphan)| *orphan);
            check(file.len().wrapping_add(list.len()) == orphans)?;
            for (inode, orphan) in &inodes {
                let ino = u32::try_from(inode.ino())?;
                let times = |places: &[u32]| count(places, |n| *n == ino);
                let times = times(&file).wrapping_add(times(&list));
                check(times == usize::from(*orphan))?;
            }
            most = most.max(orphans);
            listed = listed.max(list.len());
        }
        for (inode, _) in &inodes {
            change(inode, false)?;
        }
        let (file, list) = noted(sb)?;
        check(file.is_empty() && list.is_empty() && !orphan::any(sb))?;
        pr_info!(
            "rext4_orphans: {} at most, {} of them on the list\n",
            most,
            listed
        );
        Ok(())
    }

    #[test]
    fn random_changes() -> Result {
        let mut result = Ok(());
        with_mounted::<Rext4Fs>(c"rext4", |sb| {
            let usable = sb.info().image.with(|raw| raw.volume_name() == LABEL);
            if usable && sb.journal().is_some() && !sb.is_rdonly() {
                result = result.and(run(sb));
                pr_info!("rext4_orphans: has run\n");
            }
        });
        result
    }
}
