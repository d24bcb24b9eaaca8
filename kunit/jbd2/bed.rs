// SPDX-License-Identifier: GPL-2.0

//! What the suites have in common: a device, a journal on it, and blocks whose contents tell what
//! they are.

use crate::{
    linux::{
        buffer::Device,
        jbd2::{
            AtCommit, Checksums, Commit, CommitCallback, Credits, Handle, Journal, JournalFeatures,
            LoadedJournal, NoHandle, Owner, Settle,
        },
        test_device::{skip, TestDevice},
    },
    ondisk::crc::crc32c,
};
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};

/// Bytes of a block.
pub(super) const BLOCK: usize = 4096;
/// Blocks of a journal.
pub(super) const LOG: u32 = 1024;
/// The first block behind it.
pub(super) const HOME: u64 = 2048;
/// What jbd2's own blocks begin with.
pub(super) const MAGIC: [u8; 4] = [0xc0, 0x3b, 0x39, 0x98];

const RAMDISK_MAJOR: u32 = 1;

/// Numbers of transactions never come again, so that no log has a block that an earlier test's
/// log might have.
static SEQUENCE: AtomicU32 = AtomicU32::new(1);

/// What a journal has told its owner.
#[derive(Default)]
pub(super) struct Watch {
    /// How often it was given up, and why.
    pub(super) aborts: AtomicU32,
    /// See `aborts`.
    pub(super) errno: AtomicI32,
    /// The notes of commits, the last in the lowest byte; 0x80 is added after an error.
    pub(super) notes: AtomicU64,
    /// The transaction of the last note.
    pub(super) tid: AtomicU32,
    /// How many [`Expected`] met their own transaction, and how many another.
    pub(super) met: [AtomicU32; 2],
}

pub(super) struct Told(Arc<Watch>);

impl Owner for Told {
    fn aborted(&self, error: Error) {
        self.0.aborts.fetch_add(1, Relaxed);
        self.0.errno.store(error.to_errno(), Relaxed);
    }
}

/// Something to be noted at a commit.
pub(super) struct Note(pub(super) u8);

impl Note {
    pub(super) fn new(n: u8) -> Result<AtCommit<Told, Note>> {
        AtCommit::new(Note(n), GFP_KERNEL)
    }
}

impl CommitCallback<Told> for Note {
    fn committed(self, owner: &Told, commit: Commit) {
        let error = if commit.result.is_err() { 0x80 } else { 0 };
        let note = u64::from(self.0 | error);
        let old = owner.0.notes.load(Relaxed);
        owner.0.notes.store(old << 8 | note, Relaxed);
        owner.0.tid.store(commit.tid, Relaxed);
    }
}

/// The transaction that it was added to.
pub(super) struct Expected(pub(super) u32);

impl CommitCallback<Told> for Expected {
    fn committed(self, owner: &Told, commit: Commit) {
        let [right, wrong] = &owner.0.met;
        let met = if commit.tid == self.0 { right } else { wrong };
        met.fetch_add(1, Relaxed);
    }
}

/// A device to journal on.
pub(super) struct Bed {
    device: TestDevice,
    pub(super) watch: Arc<Watch>,
}

pub(super) type Log<'a> = LoadedJournal<'a, Told>;

impl Bed {
    /// The RAM disk `minor`, with an empty journal; `None`, and the test is skipped, without one
    /// that is marked as ours (see `TestDevice::open`).
    pub(super) fn new(minor: u32) -> Result<Option<Self>> {
        let device = match TestDevice::open(RAMDISK_MAJOR, minor, BLOCK as u32) {
            Ok(device) => device,
            Err(_) => {
                skip();
                return Ok(None);
            }
        };
        let bed = Self {
            device,
            watch: Arc::new(Watch::default(), GFP_KERNEL)?,
        };
        let mut head = [0u8; 80];
        let sequence = SEQUENCE.fetch_add(1000, Relaxed);
        let words = [
            u32::from_be_bytes(MAGIC),
            4,
            0,
            BLOCK as u32,
            LOG,
            1,
            sequence,
        ];
        for (to, word) in head.chunks_exact_mut(4).zip(words) {
            to.iter_mut()
                .zip(word.to_be_bytes())
                .for_each(|(to, b)| *to = b);
        }
        bed.write(0, &[0; BLOCK / 4])?;
        bed.write(0, &head)?;
        Ok(Some(bed))
    }

    pub(super) fn device(&self) -> Device<'_> {
        self.device.device()
    }

    /// The journal, replayed, with checksums as ext4's has them.
    pub(super) fn journal(&self) -> Result<Log<'_>> {
        let mut journal = Journal::on_device(
            self.device(),
            0,
            LOG,
            self.device(),
            Told(self.watch.clone()),
            true,
        )?
        .load()?;
        journal.set_features(JournalFeatures {
            checksums: Checksums::V3,
            wide: true,
            async_commit: false,
        })?;
        // Commits happen when the tests say so.
        journal.set_commit_interval(3600);
        Ok(journal)
    }

    /// Whether the notes of commits come to be `expected`. A commit's callbacks may still run when
    /// those who wait for it go on.
    pub(super) fn noted(&self, expected: u64) -> bool {
        for _ in 0..1000 {
            if self.watch.notes.load(Relaxed) == expected {
                return true;
            }
            fsleep(Delta::from_millis(1));
        }
        false
    }

    /// Writes to the beginning of a block, past every journal.
    pub(super) fn write(&self, block: u64, bytes: &[u8]) -> Result {
        self.device().read(block)?.write_through(0, bytes)
    }

    /// Calls `f` with what is on the device itself.
    pub(super) fn on_disk<R>(&self, block: u64, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.device().sync()?;
        self.device().invalidate();
        Ok(f(&self.device().read(block)?))
    }
}

/// Credits for `blocks` blocks.
pub(super) fn credits(blocks: u32) -> Credits {
    Credits { blocks, revokes: 0 }
}

/// Starts a handle for `blocks` blocks.
pub(super) fn start<'a>(
    journal: &'a Log<'a>,
    outside: &'a mut NoHandle,
    blocks: u32,
) -> Result<Handle<'a, Told>> {
    Handle::start(Some(journal), outside, credits(blocks), 0, 0)
}

/// Fills a block with what depends on both numbers. With `escape` it begins like jbd2's own.
pub(super) fn fill(bytes: &mut [u8], id: u32, generation: u32, escape: bool) {
    let seed = id.wrapping_mul(2_654_435_761) ^ generation.wrapping_mul(40_503);
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = (seed.rotate_left(n as u32 & 31) as u8) ^ (n >> 5) as u8;
    }
    let head = if escape { MAGIC } else { [1, 2, 3, 4] };
    let words = [
        head,
        SEED.to_le_bytes(),
        id.to_le_bytes(),
        generation.to_le_bytes(),
    ];
    let head = words.as_flattened();
    bytes.iter_mut().zip(head).for_each(|(to, b)| *to = *b);
}

/// Whether that is what is in the block, and its checksum right.
pub(super) fn is_settled(bytes: &[u8], id: u32, generation: u32, escape: bool) -> bool {
    holds(bytes, id, generation, escape)
        && word(bytes, 4) == Some(crc32c(SEED, bytes.get(8..).unwrap_or(&[])))
}

/// Whether that is what is in the block, whatever its checksum.
pub(super) fn holds(bytes: &[u8], id: u32, generation: u32, escape: bool) -> bool {
    let Ok(mut expected) = KVec::from_elem(0u8, bytes.len(), GFP_KERNEL) else {
        return false;
    };
    fill(&mut expected, id, generation, escape);
    expected.get(..4) == bytes.get(..4) && expected.get(8..) == bytes.get(8..)
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// What is in the checksum's place of a block that is to be settled.
pub(super) const SEED: u32 = 0x1234_5678;

/// The checksum of these blocks: in bytes 4 to 7, of those from 8 on. Settling twice spoils it.
pub(super) struct Sum;

/// How often a block was settled by the task that [`Sum::TASK`] names, and by others.
pub(super) static SETTLED: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
/// See [`SETTLED`].
pub(super) static TASK: AtomicI32 = AtomicI32::new(0);

impl Settle for Sum {
    fn settle(bytes: &mut [u8]) {
        let sum = word(bytes, 4)
            .zip(bytes.get(8..))
            .map(|(seed, rest)| crc32c(seed, rest));
        let place = bytes.get_mut(4..).and_then(|b| b.first_chunk_mut());
        if let Some((sum, place)) = sum.zip(place) {
            *place = sum.to_le_bytes();
        }
        let [ours, others] = &SETTLED;
        let here = kernel::current!().pid() == TASK.load(Relaxed);
        if here { ours } else { others }.fetch_add(1, Relaxed);
    }
}
