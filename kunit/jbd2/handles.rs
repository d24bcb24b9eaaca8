// SPDX-License-Identifier: GPL-2.0

//! Starting, nesting, extending and stopping handles, and giving up the journal.

use kernel::prelude::*;

#[kunit_tests(rext4_jbd2_handles)]
mod tests {
    use crate::{
        kunit::jbd2::bed::{credits, start, Bed, Note, Told, HOME},
        linux::{
            jbd2::{Checksums, Credits, Handle, JournalFeatures, NoHandle, Room},
            test_device::{warnings_in, with_journal_info},
        },
    };
    use core::sync::atomic::Ordering::Relaxed;
    use kernel::{prelude::*, time::delay::fsleep, time::Delta};

    /// An inner handle adds its credits to the outer's, and the outer one outlives it.
    #[test]
    fn a_handle_within_adds_credits() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 5)?;
        assert_eq!(handle.remaining(), credits(5));
        assert!(matches!(NoHandle::here(), Err(EDEADLK)));
        let more = Credits {
            blocks: 3,
            revokes: 2,
        };
        let inner = Handle::join(Some(&journal), more, 0)?;
        assert_eq!(inner.tid(), handle.tid());
        assert_eq!(handle.remaining().blocks, 8);
        assert_eq!(handle.remaining().revokes, 2);
        inner.stop()?;
        assert!(handle.tid().is_some());
        assert!(matches!(NoHandle::here(), Err(EDEADLK)));
        handle.stop()?;
        assert!(NoHandle::here().is_ok());
        journal.close()
    }

    /// While a commit waits for the outer handle there are no credits to be had: an inner handle
    /// lives on what is left, or is refused.
    #[test]
    fn a_handle_within_a_transaction_that_is_closing() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let mut handle = start(&journal, &mut outside, 5)?;
        assert_eq!(journal.start_commit(), handle.tid());
        let mut full = false;
        for _ in 0..2000 {
            full = handle.extend(Credits::default())? == Room::Full;
            if full {
                break;
            }
            fsleep(Delta::from_millis(1));
        }
        assert!(full);
        assert_eq!(handle.ensure(credits(5))?, Room::Granted);
        assert_eq!(handle.ensure(credits(6))?, Room::Full);
        let inner = Handle::join(Some(&journal), credits(5), 0)?;
        inner.stop()?;
        assert!(matches!(
            Handle::join(Some(&journal), credits(6), 0),
            Err(ENOSPC)
        ));
        // The refused one has left the outer as it was.
        let old = handle.tid();
        handle.restart(credits(7))?;
        assert_eq!(handle.remaining(), credits(7));
        assert!(handle.tid() != old);
        handle.stop()?;
        journal.close()
    }

    /// Whatever else is in `current` is no handle of this journal.
    #[test]
    fn a_foreign_handle_is_refused() -> Result {
        let (Some(bed), Some(other)) = (Bed::new(0)?, Bed::new(1)?) else {
            return Ok(());
        };
        let (journal, second) = (bed.journal()?, other.journal()?);
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 1)?;
        assert!(matches!(
            Handle::join(Some(&second), credits(1), 0),
            Err(EINVAL)
        ));
        handle.stop()?;
        let zeros = KBox::new([0usize; 8], GFP_KERNEL)?;
        let inside = core::ptr::from_ref(&*zeros) as usize;
        let chain = KBox::new([inside; 8], GFP_KERNEL)?;
        let chain = core::ptr::from_ref(&*chain) as usize;
        for bogus in [1, 8, usize::MAX, 0xdead_0000_0000_0100, inside, chain] {
            let joined = with_journal_info(bogus, || {
                assert!(matches!(NoHandle::here(), Err(EDEADLK)));
                Handle::join(Some(&journal), credits(1), 0).err()
            });
            assert_eq!(joined, Some(EINVAL));
        }
        journal.close()?;
        second.close()
    }

    /// A restart is another transaction, and not to be had for part of an operation.
    #[test]
    fn restarts() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let mut handle = start(&journal, &mut outside, 2)?;
        let first = handle.tid();
        let mut inner = Handle::join(Some(&journal), credits(1), 0)?;
        assert_eq!(inner.restart(credits(1)), Err(EBUSY));
        inner.stop()?;
        let most = journal.max_credits();
        assert_eq!(handle.restart(credits(most.saturating_add(1))), Err(ENOSPC));
        assert_eq!(handle.tid(), first);
        // The same transaction or the next: jbd2 only asks for a commit.
        handle.restart(credits(4))?;
        assert!(handle.tid().is_some() && handle.tid() >= first);
        assert_eq!(handle.remaining(), credits(4));
        handle.stop()?;
        let mut outside = NoHandle::here()?;
        assert!(start(&journal, &mut outside, most.saturating_add(1)).is_err());
        start(&journal, &mut outside, most)?.stop()?;
        journal.close()
    }

    /// A reserved handle is taken out once, survives the handle that it came with, and can be
    /// started while no other can.
    #[test]
    fn reserved_handles() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = Handle::start(Some(&journal), &mut outside, credits(3), 7, 0)?;
        let reserved = handle.take_reserved(&journal).ok_or(EINVAL)?;
        assert!(handle.take_reserved(&journal).is_none());
        handle.stop()?;
        let mut outside = NoHandle::here()?;
        let handle = reserved.start(&mut outside, 0)?;
        assert_eq!(handle.remaining(), credits(7));
        handle.stop()?;
        // One that is not taken, and one that is not started, give back what they have.
        let mut outside = NoHandle::here()?;
        let half = journal.max_credits() / 2;
        for take in [false, true, false, true] {
            let mut outside = NoHandle::here()?;
            let handle = Handle::start(Some(&journal), &mut outside, credits(1), half, 0)?;
            drop(take.then(|| handle.take_reserved(&journal)));
            handle.stop()?;
        }
        // Waits until there are none.
        drop(journal.lock_updates(&mut outside));
        journal.close()
    }

    /// The barrier of a freeze lets handles start again when it goes.
    #[test]
    fn locked_updates() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let locked = journal.lock_updates(&mut outside);
        journal.flush(locked.outside())?;
        drop(locked);
        start(&journal, &mut outside, 1)?.stop()?;
        journal.might_wait_for_commit();
        journal.set_barrier(false);
        journal.set_barrier(true);
        journal.set_batch_times(0, 1000);
        journal.close()
    }

    /// Synchronous handles, numbers of transactions, and waiting for them.
    #[test]
    fn commits_are_waited_for() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 1)?;
        let tid = handle.tid().ok_or(EINVAL)?;
        handle.need_data_flush();
        handle.sync();
        handle.stop()?;
        assert!(journal.is_committed(tid));
        let handle = start(&journal, &mut outside, 1)?;
        let next = handle.tid().ok_or(EINVAL)?;
        assert_eq!(next, tid.wrapping_add(1));
        handle.stop()?;
        let outside = NoHandle::here()?;
        assert!(!journal.is_committed(next));
        journal.commit_and_wait(&outside, next)?;
        assert!(journal.is_committed(next));
        journal.commit_and_wait(&outside, tid)?;
        journal.force_commit(&outside)?;
        journal.close()
    }

    /// A journal that is given up says so everywhere, and to its owner once.
    #[test]
    fn a_journal_that_is_given_up() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 2)?;
        assert!(handle.on_commit(Note::new(1)?).is_none());
        let edit = handle.edit(bed.device().read(2048)?)?;
        journal.abort(ENOSPC);
        assert!(journal.is_aborted());
        assert_eq!(journal.errno(), EROFS.to_errno());
        edit.dirty(None);
        assert_eq!(handle.tid(), None);
        assert_eq!(handle.remaining(), Credits::default());
        assert_eq!(handle.extend(credits(1)), Err(EROFS));
        assert!(matches!(handle.edit(bed.device().read(2049)?), Err(EROFS)));
        assert!(matches!(handle.create(bed.device(), 2049), Err(EROFS)));
        assert_eq!(handle.revoke(bed.device(), 2049), Err(EROFS));
        assert!(Handle::join(Some(&journal), credits(1), 0).is_err());
        assert_eq!(handle.stop(), Err(EIO));
        let mut outside = NoHandle::here()?;
        assert!(matches!(start(&journal, &mut outside, 1), Err(EROFS)));
        assert!(journal.force_commit(&outside).is_err());
        assert_eq!(journal.close(), Err(EIO));
        assert_eq!(bed.watch.aborts.load(Relaxed), 1);
        assert_eq!(bed.watch.errno.load(Relaxed), ENOSPC.to_errno());
        // What waited for the commit has been told.
        assert_eq!(bed.watch.notes.load(Relaxed), 0x81);
        Ok(())
    }

    /// A handle within a handle that changes more blocks than it asked for, which jbd2 does not see
    /// as long as the outer one has credits left, is warned of in debug builds: where it stops, and
    /// where it is dropped. One that keeps to what it asked for is not.
    #[test]
    fn more_than_was_asked_for() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 8)?;
        let change = |inner: &Handle<'_, Told>, from: u64, count: u64| -> Result {
            for block in from..from.saturating_add(count) {
                inner.edit(bed.device().read(block)?)?.dirty(None);
            }
            Ok(())
        };
        let expected = i32::from(cfg!(debug_assertions));

        let inner = Handle::join(Some(&journal), credits(2), 0)?;
        let (result, warnings) = warnings_in(|| {
            change(&inner, HOME, 2)?;
            // One that has been changed already costs nothing.
            change(&inner, HOME, 1)?;
            inner.stop()
        });
        assert_eq!((result, warnings), (Ok(()), 0));

        let inner = Handle::join(Some(&journal), credits(1), 0)?;
        let (result, warnings) = warnings_in(|| {
            change(&inner, HOME + 2, 2)?;
            inner.stop()
        });
        assert_eq!((result, warnings), (Ok(()), expected));

        let inner = Handle::join(Some(&journal), credits(1), 0)?;
        assert_eq!(inner.extend(credits(1))?, Room::Granted);
        let (result, warnings) = warnings_in(|| {
            let inner = inner;
            change(&inner, HOME + 4, 3)
        });
        assert_eq!((result, warnings), (Ok(()), expected));
        handle.stop()?;
        journal.close()
    }

    /// An outermost handle has no more than it asked for: jbd2 warns and refuses, and since the
    /// change is in memory already the journal is given up.
    #[test]
    fn more_than_there_is() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let journal = bed.journal()?;
        let mut outside = NoHandle::here()?;
        let handle = start(&journal, &mut outside, 1)?;
        let (result, warnings) = warnings_in(|| {
            handle.edit(bed.device().read(HOME)?)?.dirty(None);
            handle.edit(bed.device().read(HOME + 1)?)?.dirty(None);
            handle.stop()
        });
        assert_eq!((result, warnings), (Err(ENOSPC), 1));
        assert_eq!(journal.close(), Err(EIO));
        assert_eq!(bed.watch.errno.load(Relaxed), ENOSPC.to_errno());
        Ok(())
    }

    /// The error of the last mount is there after the next load, until it is cleared.
    #[test]
    fn the_error_is_on_disk() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        bed.journal()?.abort(EIO);
        let mut journal = bed.journal()?;
        assert_eq!(journal.errno(), EIO.to_errno());
        journal.clear_errno();
        assert_eq!(journal.errno(), 0);
        let mut outside = NoHandle::here()?;
        start(&journal, &mut outside, 1)?.stop()?;
        journal.close()?;
        let journal = bed.journal()?;
        journal.close()
    }

    /// Features can be chosen as long as nothing has been done.
    #[test]
    fn features() -> Result {
        let Some(bed) = Bed::new(0)? else {
            return Ok(());
        };
        let mut journal = bed.journal()?;
        for checksums in [Checksums::None, Checksums::Compat, Checksums::V3] {
            journal.set_features(JournalFeatures {
                checksums,
                wide: true,
                async_commit: checksums == Checksums::Compat,
            })?;
            // They reach the disk with the first commit.
            let mut outside = NoHandle::here()?;
            start(&journal, &mut outside, 1)?.stop()?;
            journal.close()?;
            // compat, incompat: revoke, 64bit, and what was chosen.
            let found = bed.on_disk(0, |b| {
                let word = |at: usize| b.get(at..).and_then(|b| b.first_chunk());
                word(0x24)
                    .zip(word(0x28))
                    .map(|(a, b)| (u32::from_be_bytes(*a), u32::from_be_bytes(*b)))
            })?;
            let expected = match checksums {
                Checksums::None => (0, 3),
                Checksums::Compat => (1, 7),
                Checksums::V3 => (0, 0x13),
            };
            assert_eq!(found, Some(expected));
            journal = bed.journal()?;
        }
        journal.close()
    }

    /// Without a journal a handle has no limits, and nobody waits for it.
    #[test]
    fn without_a_journal() -> Result {
        let mut outside = NoHandle::here()?;
        let mut handle = Handle::<Told>::start(None, &mut outside, credits(1), 0, 0)?;
        assert!(!handle.is_journalled());
        assert_eq!(handle.tid(), None);
        assert!(NoHandle::here().is_ok());
        assert_eq!(handle.extend(credits(u32::MAX))?, Room::Granted);
        assert_eq!(handle.ensure(credits(u32::MAX))?, Room::Granted);
        handle.restart(credits(1))?;
        let inner = Handle::<Told>::join(None, credits(1), 0)?;
        inner.stop()?;
        handle.need_data_flush();
        assert!(handle
            .on_commit(Note::new(3)?)
            .is_some_and(|note| note.0 == 3));
        handle.stop()
    }
}
