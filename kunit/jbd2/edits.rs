// SPDX-License-Identifier: GPL-2.0

//! Write access to blocks, and what becomes of what is written.

use kernel::prelude::*;

#[kunit_tests(rext4_jbd2_edits)]
mod tests {
    use crate::{
        engine::change::Transaction,
        fs::tx::Tx,
        kunit::jbd2::bed::{credits, fill, holds, start, Bed, Told, BLOCK, HOME},
        linux::{
            buffer::Verified,
            jbd2::{Credits, Handle, NoHandle, SlotKey},
        },
        ondisk::{dir, seal::Seal, FsBlock},
    };
    use kernel::prelude::*;

    /// What is changed reaches the disk, with the commit and not before; what is not, does not.
    #[test]
    fn changes_reach_the_disk() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let (device, old) = (bed.device(), [0xee; BLOCK / 4]);
        bed.write(HOME, &old)?;
        bed.write(HOME + 1, &old)?;
        bed.write(HOME + 2, &old)?;
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 2)?;

        let mut edit = handle.edit(device.read(HOME)?)?;
        fill(&mut edit, 1, 1, false);
        edit.dirty(None);
        // Again, which costs nothing.
        let mut edit = handle.edit(device.read(HOME)?)?;
        fill(&mut edit, 1, 2, false);
        edit.dirty(None);
        assert_eq!(handle.remaining(), credits(1));

        device.read(HOME + 1)?.set_verified(Verified::Xattr);
        let mut edit = handle.create(device, HOME + 1)?;
        assert!(edit.len() == BLOCK && edit.iter().all(|b| *b == 0));
        fill(&mut edit, 2, 1, false);
        edit.dirty_as(Verified::Dir, None);
        let buffer = device.read(HOME + 1)?;
        assert!(buffer.is_verified(Verified::Dir) && !buffer.is_verified(Verified::Xattr));
        drop(buffer);
        assert_eq!(handle.remaining(), credits(0));

        drop(handle.edit(device.read(HOME + 2)?)?);
        handle.stop()?;

        let outside = NoHandle::here()?;
        device.sync()?;
        assert!(holds(&device.read(HOME)?, 1, 2, false));
        journal.force_commit(&outside)?;
        journal.flush(&outside)?;
        assert!(bed.on_disk(HOME, |b| holds(b, 1, 2, false))?);
        assert!(bed.on_disk(HOME + 1, |b| holds(b, 2, 1, false))?);
        assert!(bed.on_disk(HOME + 2, |b| b.get(..old.len()) == Some(&old[..]))?);
        // It came back from the disk, so it is to be verified again.
        assert!(!device.read(HOME + 1)?.is_verified(Verified::Dir));
        journal.close()
    }

    /// There is one edit of a block at a time.
    #[test]
    fn edits_exclude_each_other() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let (journal, device) = (bed.journal()?, bed.device());
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 2)?;
        let inner = Handle::join(Some(&journal), credits(1), 0)?;
        let edit = handle.edit(device.read(HOME)?)?;
        assert!(matches!(handle.edit(device.read(HOME)?), Err(EBUSY)));
        assert!(matches!(inner.edit(device.read(HOME)?), Err(EBUSY)));
        assert!(matches!(inner.create(device, HOME), Err(EBUSY)));
        drop(edit);
        inner.edit(device.read(HOME)?)?.dirty(None);
        handle.create(device, HOME + 1)?.dirty(None);
        drop(handle.edit(device.read(HOME + 1)?)?);
        inner.stop()?;
        handle.stop()?;
        journal.close()
    }

    /// Two owners of one block change their parts at the same time, and nothing else.
    #[test]
    fn slots_share_a_block() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let device = bed.device();
        bed.write(HOME, &[0xee; BLOCK / 4])?;
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 2)?;
        let (mut first, mut second) = (SlotKey::new(HOME, 0, 256), SlotKey::new(HOME, 256, 256));
        let one = handle.access(device.read(HOME)?)?;
        let two = handle.access(device.read(HOME)?)?;
        match (one.open(&mut first), two.open(&mut second)) {
            (Some(mut a), Some(mut b)) => {
                assert!(a.len() == 256 && b.len() == 256);
                a.fill(1);
                b.fill(2);
                assert!(a.iter().all(|byte| *byte == 1));
            }
            _ => assert!(false),
        }
        for (block, offset, len) in [
            (HOME + 1, 0, 256),
            (HOME, 4000, 256),
            (HOME, 4097, 0),
            (HOME, u32::MAX, u32::MAX),
        ] {
            assert!(one.open(&mut SlotKey::new(block, offset, len)).is_none());
        }
        assert!(one.open(&mut SlotKey::new(HOME, 0, 4096)).is_some());
        assert_eq!(second.block(), HOME);
        assert!(second.read(one.buffer()).is_some_and(|b| b == [2; 256]));
        one.dirty();
        two.dirty();
        assert_eq!(handle.remaining(), credits(1));
        handle.stop()?;
        journal.flush(&NoHandle::here()?)?;
        let parts = |b: &[u8]| {
            let part = |from: usize, to: usize, v: u8| {
                b.get(from..to).is_some_and(|b| b.iter().all(|x| *x == v))
            };
            part(0, 256, 1) && part(256, 512, 2) && part(512, BLOCK / 4, 0xee)
        };
        assert!(bed.on_disk(HOME, parts)?);
        journal.close()
    }

    /// Freeing needs credits, can be done once, and forgets what was in memory.
    #[test]
    fn freed_blocks() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let device = bed.device();
        bed.write(HOME, &[0xee; BLOCK / 4])?;
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 2)?;
        let mut edit = handle.edit(device.read(HOME)?)?;
        fill(&mut edit, 1, 1, false);
        edit.dirty_as(Verified::Extent, None);
        assert_eq!(handle.revoke(device, HOME), Err(ENOSPC));
        let more = Credits {
            blocks: 0,
            revokes: 2,
        };
        let inner = Handle::join(Some(&journal), more, 0)?;
        inner.revoke(device, HOME)?;
        assert_eq!(inner.revoke(device, HOME), Err(EUCLEAN));
        // One that nobody has in memory.
        device.invalidate();
        inner.revoke(device, HOME + 9)?;
        assert_eq!(inner.remaining().revokes, 0);
        assert!(!device.read(HOME)?.is_verified(Verified::Extent));
        inner.stop()?;
        handle.stop()?;
        journal.flush(&NoHandle::here()?)?;
        // It was never to be written.
        assert!(bed.on_disk(HOME, |b| b.first() == Some(&0xee))?);
        // Free means usable again.
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 2)?;
        let mut edit = handle.create(device, HOME)?;
        fill(&mut edit, 3, 1, false);
        edit.dirty(None);
        handle.stop()?;
        journal.flush(&NoHandle::here()?)?;
        assert!(bed.on_disk(HOME, |b| holds(b, 3, 1, false))?);
        journal.close()
    }

    /// Without a journal blocks are dirty at once, and freed ones are not written any more.
    #[test]
    fn without_a_journal() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let device = bed.device();
        for n in 0..3 {
            bed.write(HOME + n, &[0xee; BLOCK / 4])?;
        }
        let mut outside = NoHandle::here()?;
        let handle = Handle::<Told>::start(None, &mut outside, credits(0), 0, 0)?;
        let mut edit = handle.edit(device.read(HOME)?)?;
        assert!(matches!(handle.edit(device.read(HOME)?), Err(EBUSY)));
        fill(&mut edit, 1, 1, false);
        edit.dirty(None);
        let mut edit = handle.create(device, HOME + 1)?;
        assert!(edit.iter().all(|b| *b == 0));
        fill(&mut edit, 2, 1, false);
        edit.dirty(None);
        handle.revoke(device, HOME + 1)?;
        handle.sync();
        let access = handle.access(device.read(HOME + 2)?)?;
        if let Some(mut slot) = access.open(&mut SlotKey::new(HOME + 2, 0, 8)) {
            slot.fill(7);
        }
        access.dirty();
        handle.stop()?;
        assert!(bed.on_disk(HOME, |b| holds(b, 1, 1, false))?);
        assert!(bed.on_disk(HOME + 1, |b| b.first() == Some(&0xee))?);
        assert!(bed.on_disk(HOME + 2, |b| b.get(..9)
            == Some(&[7, 7, 7, 7, 7, 7, 7, 7, 0xee]))?);
        Ok(())
    }

    /// The engine's view: sealed blocks are right on disk, with a journal and without.
    #[test]
    fn sealed_blocks() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let device = bed.device();
        let journal = bed.journal()?;
        let seal = Seal::DirLeaf(99);
        for journalled in [true, false] {
            let at = HOME + u64::from(journalled);
            let mut outside = NoHandle::here()?;
            let log = journalled.then_some(&journal);
            let handle = Handle::start(log, &mut outside, credits(1), 0, 0)?;
            let tx = Tx::new(&handle, device, Verified::Dir);
            let mut edit = tx.create(FsBlock::new(at)).map_err(|_| EIO)?;
            // An entry over all of the block, and the tail that holds the checksum.
            let parts = [
                (4, 4084u16.to_le_bytes()),
                (4088, [12, 0]),
                (4090, [0, 0xde]),
            ];
            for (at, bytes) in parts {
                let place = edit.get_mut(at..).ok_or(EIO)?;
                place.iter_mut().zip(bytes).for_each(|(to, b)| *to = b);
            }
            tx.dirty(edit, seal);
            let buffer = device.read(at)?;
            assert!(buffer.is_verified(Verified::Dir));
            assert_eq!(dir::verify_checksum(&buffer, 99).is_ok(), !journalled);
            drop(buffer);
            handle.stop()?;
            let outside = NoHandle::here()?;
            journal.flush(&outside)?;
            assert!(bed.on_disk(at, |b| dir::verify_checksum(b, 99).is_ok())?);
            assert!(bed.on_disk(at, |b| dir::verify_checksum(b, 98).is_err())?);
        }
        journal.close()
    }
}
