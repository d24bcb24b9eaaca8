// SPDX-License-Identifier: GPL-2.0

//! What happens when a transaction is committed: callbacks, checksums, the log and its replay.

use kernel::prelude::*;

#[kunit_tests(rext4_jbd2_commits)]
mod tests {
    use crate::{
        kunit::jbd2::bed::{
            fill, holds, is_settled, start, word, Bed, Expected, Note, Sum, Told, BLOCK, HOME, LOG,
            MAGIC, SEED, SETTLED, TASK,
        },
        linux::{
            buffer::Device,
            jbd2::{AtCommit, Credits, Handle, NoHandle, Trigger},
        },
    };
    use core::sync::atomic::Ordering::Relaxed;
    use kernel::{
        prelude::*,
        time::{delay::fsleep, Delta},
    };

    /// Callbacks run with their transaction's commit, in order, and once.
    #[test]
    fn callbacks_follow_the_commit() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 1)?;
        assert!(handle.on_commit(Note::new(1)?).is_none());
        let mut note = Note::new(0)?;
        note.0 = 2;
        assert!(handle.on_commit(note).is_none());
        let tid = handle.tid();
        handle.stop()?;
        let handle = start(&journal, &mut outside, 1)?;
        assert!(handle.on_commit(Note::new(3)?).is_none());
        handle.stop()?;
        assert!(bed.noted(0));
        journal.force_commit(&outside)?;
        assert!(bed.noted(0x1_02_03));
        assert_eq!(Some(bed.watch.tid.load(Relaxed)), tid);
        journal.force_commit(&outside)?;
        // The next one, and then the last, which is committed when the journal goes.
        for n in [4, 5] {
            let handle = start(&journal, &mut outside, 1)?;
            assert!(handle.on_commit(Note::new(n)?).is_none());
            handle.stop()?;
            if n == 4 {
                journal.force_commit(&outside)?;
            }
        }
        assert!(bed.noted(0x1_02_03_04));
        journal.close()?;
        assert!(bed.noted(0x1_02_03_04_05));
        assert_eq!(bed.watch.aborts.load(Relaxed), 0);
        Ok(())
    }

    /// Puts generation `generation` into block `HOME + id`.
    fn change(
        handle: &Handle<'_, Told>,
        device: Device<'_>,
        id: u32,
        generation: u32,
        escape: bool,
    ) -> Result {
        let mut edit = handle.edit(device.read(HOME + u64::from(id))?)?;
        fill(&mut edit, id, generation, escape);
        edit.dirty(Some(Trigger::of::<Sum>()));
        Ok(())
    }

    /// A block has its checksum after the commit and not before, and may change hands.
    #[test]
    fn checksums_are_computed_by_the_commit() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let (journal, device) = (bed.journal()?, bed.device());
        let mut outside = NoHandle::here()?;
        for (generation, escape) in [(1, false), (2, true), (3, false)] {
            let handle = start(&journal, &mut outside, 2)?;
            change(&handle, device, 0, 0, escape)?;
            change(&handle, device, 0, generation, escape)?;
            let buffer = device.read(HOME)?;
            assert!(word(&buffer, 4) == Some(SEED) && holds(&buffer, 0, generation, escape));
            drop(buffer);
            handle.stop()?;
            journal.force_commit(&outside)?;
            assert!(is_settled(&device.read(HOME)?, 0, generation, escape));
            // Access without a change leaves it so.
            let handle = start(&journal, &mut outside, 2)?;
            drop(handle.edit(device.read(HOME)?)?);
            handle.stop()?;
            journal.force_commit(&outside)?;
            assert!(is_settled(&device.read(HOME)?, 0, generation, escape));
        }
        // As something else, without a checksum: nothing is put in its place.
        let handle = start(&journal, &mut outside, 2)?;
        let mut edit = handle.edit(device.read(HOME)?)?;
        fill(&mut edit, 0, 4, false);
        edit.dirty(None);
        handle.stop()?;
        journal.flush(&outside)?;
        let plain = |b: &[u8]| word(b, 4) == Some(SEED) && holds(b, 0, 4, false);
        assert!(bed.on_disk(HOME, plain)?);
        // Sealed and then plain in one transaction, and the other way round.
        let handle = start(&journal, &mut outside, 4)?;
        change(&handle, device, 0, 5, false)?;
        let mut edit = handle.edit(device.read(HOME)?)?;
        fill(&mut edit, 0, 4, false);
        edit.dirty(None);
        handle.edit(device.read(HOME + 1)?)?.dirty(None);
        change(&handle, device, 1, 6, false)?;
        handle.stop()?;
        journal.flush(&outside)?;
        assert!(bed.on_disk(HOME, plain)?);
        assert!(bed.on_disk(HOME + 1, |b| is_settled(b, 1, 6, false))?);
        journal.close()
    }

    /// Copies a block.
    fn take(to: &mut [u8], from: &[u8]) {
        if to.len() == from.len() {
            to.copy_from_slice(from);
        }
    }

    /// The blocks of the log that hold generation `generation` of a block, by `id`: how many there
    /// are, and how many of those are settled.
    fn in_log(bed: &Bed, id: u32, generation: u32, escape: bool) -> Result<(u32, u32)> {
        let (mut found, mut settled) = (0u32, 0u32);
        let mut copy = KVec::from_elem(0u8, BLOCK, GFP_KERNEL)?;
        for block in 1..u64::from(LOG) {
            let buffer = bed.device().read(block)?;
            if word(&buffer, 8) != Some(id) || word(&buffer, 12) != Some(generation) {
                continue;
            }
            take(&mut copy, &buffer);
            if escape {
                // jbd2 has put 0 where its own number was.
                copy.iter_mut().zip(MAGIC).for_each(|(to, from)| *to = from);
            }
            found = found.saturating_add(1);
            if is_settled(&copy, id, generation, escape) {
                settled = settled.saturating_add(1);
            }
        }
        Ok((found, settled))
    }

    /// While a transaction is being committed the next one changes the same blocks: each is
    /// settled in the log, and on the device in the end, whoever was first.
    #[test]
    fn the_next_transaction_changes_the_same_blocks() -> Result {
        const IDS: u32 = 80;
        const ROUNDS: u32 = 40;
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let (journal, device) = (bed.journal()?, bed.device());
        TASK.store(kernel::current!().pid(), Relaxed);
        SETTLED.iter().for_each(|n| n.store(0, Relaxed));
        let escape = |id: u32| id & 3 == 3;
        let mut outside = NoHandle::here()?;
        let mut before = None;
        for generation in 0..ROUNDS {
            // The next transaction begins in the middle of the commit of the one before.
            loop {
                let handle = start(&journal, &mut outside, IDS)?;
                if handle.tid() == before {
                    handle.stop()?;
                    fsleep(Delta::from_micros(50));
                    continue;
                }
                before = handle.tid();
                let tid = before.ok_or(EINVAL)?;
                let expected = AtCommit::new(Expected(tid), GFP_KERNEL)?;
                assert!(handle.on_commit(expected).is_none());
                for n in 0..IDS {
                    // From both ends: the commit begins with the first.
                    let id = if generation & 1 == 0 { n } else { IDS - 1 - n };
                    change(&handle, device, id, generation, escape(id))?;
                }
                handle.stop()?;
                break;
            }
            assert_eq!(journal.start_commit(), before);
        }
        journal.force_commit(&outside)?;
        let last = ROUNDS - 1;
        for id in 0..IDS {
            let buffer = device.read(HOME + u64::from(id))?;
            assert!(is_settled(&buffer, id, last, escape(id)));
        }
        let [ours, others] = [&SETTLED[0], &SETTLED[1]].map(|n| n.load(Relaxed));
        pr_info!(
            "settled: {} by the next transaction, {} by commits\n",
            ours,
            others
        );
        assert_eq!(ours.wrapping_add(others), IDS * ROUNDS);
        // Both ways were taken, or the test has shown nothing.
        assert!(ours > 0 && others > 0);
        device.sync()?;
        device.invalidate();
        let mut seen = 0;
        for id in 0..IDS {
            for generation in ROUNDS - 8..ROUNDS {
                let (found, settled) = in_log(&bed, id, generation, escape(id))?;
                assert_eq!(found, settled);
                seen = found.saturating_add(seen);
            }
        }
        assert_eq!(seen, IDS * 8);
        journal.flush(&outside)?;
        // All but perhaps the last have been called, and all in their own commit.
        let [right, wrong] = [&bed.watch.met[0], &bed.watch.met[1]].map(|n| n.load(Relaxed));
        assert_eq!(wrong, 0);
        assert!(right >= last);
        for id in 0..IDS {
            let at = HOME + u64::from(id);
            assert!(bed.on_disk(at, |b| is_settled(b, id, last, escape(id)))?);
        }
        journal.close()
    }

    /// After a crash the log brings back what was committed, settled, and nothing of a block that
    /// was freed.
    #[test]
    fn a_crash() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let device = bed.device();
        for id in 0..4 {
            bed.write(HOME + id, &[0xee; BLOCK])?;
        }
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 4)?;
        for id in 0..3 {
            change(&handle, device, id, 1, id == 2)?;
        }
        handle.stop()?;
        journal.force_commit(&outside)?;
        // Block 1 is freed, and block 2 freed and used again, in later transactions.
        let freeing = Credits {
            blocks: 2,
            revokes: 2,
        };
        let handle = Handle::start(Some(&journal), &mut outside, freeing, 0, 0)?;
        handle.revoke(device, HOME + 1)?;
        handle.revoke(device, HOME + 2)?;
        handle.stop()?;
        journal.force_commit(&outside)?;
        let handle = start(&journal, &mut outside, 4)?;
        let mut edit = handle.create(device, HOME + 2)?;
        fill(&mut edit, 2, 7, false);
        edit.dirty(Some(Trigger::of::<Sum>()));
        handle.stop()?;
        journal.force_commit(&outside)?;
        // This one does not get that far.
        let handle = start(&journal, &mut outside, 4)?;
        change(&handle, device, 3, 1, false)?;
        handle.stop()?;

        // What is on the device now is what a crash leaves.
        const USED: usize = 32;
        let mut crashed = KVVec::from_elem(0u8, USED * BLOCK, GFP_KERNEL)?;
        for (block, copy) in (0..).zip(crashed.chunks_exact_mut(BLOCK)) {
            take(copy, &device.read(block)?);
        }
        journal.abort(EIO);
        assert!(journal.close().is_err());
        for (block, copy) in (0..).zip(crashed.chunks_exact(BLOCK)) {
            bed.write(block, copy)?;
        }
        for id in 0..4 {
            bed.write(HOME + id, &[0xee; BLOCK])?;
        }
        bed.journal()?.close()?;
        assert!(bed.on_disk(HOME, |b| is_settled(b, 0, 1, false))?);
        assert!(bed.on_disk(HOME + 1, |b| b.iter().all(|b| *b == 0xee))?);
        assert!(bed.on_disk(HOME + 2, |b| is_settled(b, 2, 7, false))?);
        assert!(bed.on_disk(HOME + 3, |b| b.iter().all(|b| *b == 0xee))?);
        Ok(())
    }
}
