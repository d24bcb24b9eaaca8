// SPDX-License-Identifier: GPL-2.0

//! FS_IOC_GETFSMAP: what the blocks of the devices are used for, in C ext4's shape.
//!
//! The file system's own blocks are known from the group descriptors, what is free from the groups'
//! maps in memory; what is in flight, or freed in a transaction that has not been committed, is used
//! by somebody unknown. It is no snapshot: groups are looked at one after another, and not all the
//! time while records are copied to user space, which can fault.

use super::{
    groups::Groups,
    ioctl::{half, word},
    vec, Rext4Fs, Sb,
};
use crate::{
    engine::{
        alloc::{cluster_of, first_block_of, Run},
        fsmap::{fixed, Owner, Record, Report},
        sort::sort_by_key,
    },
    linux::{file::UserArg, open_file::OpenFile, sched},
    ondisk::{group::Places, FsBlock, Group},
};
use kernel::prelude::*;

/// Size of `struct fsmap_head` without records, and of a record, in bytes.
const HEAD: usize = 192;
const RECORD: usize = 64;
/// Where the keys begin in it.
const KEYS: usize = 64;
/// FMH_OF_DEV_T: devices are told by number.
const BY_NUMBER: u32 = 1;
/// FMR_OF_SPECIAL_OWNER, FMR_OF_LAST.
const SPECIAL: u32 = 0x10;
const LAST: u32 = 0x20;

/// The place of a query's end, in blocks of a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    device: u32,
    block: u64,
    owner: u64,
}

impl Key {
    const END: Self = Self {
        device: u32::MAX,
        block: u64::MAX,
        owner: u64::MAX,
    };
}

/// A query and where its answer goes.
struct Query {
    arg: UserArg,
    bits: u32,
    /// How many records there is room for; 0 if they are only to be counted.
    room: u32,
    /// How many were found.
    found: u32,
    device: u32,
}

/// Why a query ends before its end.
enum Stop {
    /// There is no room for more.
    Full,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

/// Answers a query.
///
/// Errors: EFAULT; EINVAL for what is to be zero and is not, for a device that is none of the file
/// system's, and for keys in the wrong order; EINTR; EUCLEAN (reported), EIO, ENOMEM.
pub(crate) fn getfsmap(file: &OpenFile<Rext4Fs>, arg: UserArg) -> Result<isize> {
    let sb = file.inode().super_block();
    let bits = sb.info().geometry.block_bits() & 31;
    let mut head = [0u8; HEAD];
    arg.read(&mut head)?;
    let low = head.get(KEYS..).unwrap_or(&[]);
    let high = low.get(RECORD..).unwrap_or(&[]);
    let is_zero = |bytes: &[u8], at: usize, len: usize| {
        let field = bytes.get(at..at.saturating_add(len));
        field.unwrap_or(&[]).iter().all(|byte| *byte == 0)
    };
    if !is_zero(&head, 16, 48) || !is_zero(low, 40, 24) || !is_zero(high, 40, 24) {
        return Err(EINVAL);
    }
    // There are no offsets in files.
    if word(low, 24) != 0 || !matches!(word(high, 24), 0 | u64::MAX) {
        return Err(EINVAL);
    }
    let key = |bytes: &[u8]| Key {
        device: half(bytes, 0),
        block: word(bytes, 8) >> bits,
        owner: word(bytes, 16),
    };
    let (mut from, to) = (key(low), key(high));
    let data = sb.number().encode();
    let journal = sb.journal_device().map(|device| device.number().encode());
    let known =
        |device| matches!(device, 0 | u32::MAX) || device == data || Some(device) == journal;
    if half(&head, 0) != 0 || !known(from.device) || !known(to.device) {
        return Err(EINVAL);
    }
    // The last record of a query is the first key of the next one.
    from.block = from.block.saturating_add(word(low, 32) >> bits);
    from.owner = 0;
    if from >= to {
        return Err(EINVAL);
    }

    let mut query = Query {
        arg,
        bits,
        room: half(&head, 8),
        found: 0,
        device: 0,
    };
    let result = query.run(sb, data, journal, from, to);
    let complete = match result {
        Ok(()) => true,
        Err(Stop::Full) => false,
        Err(Stop::Failed(e)) => return Err(e),
    };
    if let (true, true, Some(last)) = (complete, query.room != 0, query.found.checked_sub(1)) {
        let flags = query.place(last).at(4);
        flags.write(&(SPECIAL | LAST).to_ne_bytes())?;
    }
    arg.at(4).write(&BY_NUMBER.to_ne_bytes())?;
    arg.at(12).write(&query.found.to_ne_bytes())
}

impl Query {
    /// Goes over the devices in the order of their numbers.
    fn run(
        &mut self,
        sb: &Sb,
        data: u32,
        journal: Option<u32>,
        from: Key,
        to: Key,
    ) -> Result<(), Stop> {
        let mut next = from.block;
        let mut low = from.block;
        let mut high = Key::END.block;
        let devices = match journal {
            Some(journal) if journal < data => [Some(journal), Some(data)],
            journal => [Some(data), journal],
        };
        for device in devices.into_iter().flatten() {
            if from.device > device {
                continue;
            }
            if to.device < device {
                break;
            }
            if to.device == device {
                high = to.block;
            }
            if from.device < device {
                low = 0;
            }
            self.device = device;
            if device == data {
                self.data(sb, next, low, high)?;
            } else {
                self.journal(sb, next, low)?;
            }
            next = 0;
        }
        Ok(())
    }

    /// The device of an external journal, all of which is that.
    fn journal(&mut self, sb: &Sb, next: u64, low: u64) -> Result<(), Stop> {
        let Some(journal) = sb.journal().filter(|_| low == 0) else {
            return Ok(());
        };
        let (start, len) = journal.place();
        let mut report = Report::new(next);
        let mut tell = |record| self.tell(record);
        report.add(Record::new(start, len, Owner::Journal), &mut tell)?;
        report.go_to(0, &mut tell)
    }

    /// The blocks from `low` to `high`, the last one included. The report begins with block `next`.
    fn data(&mut self, sb: &Sb, next: u64, low: u64, high: u64) -> Result<(), Stop> {
        let geo = &sb.info().geometry;
        let blocks = geo.blocks_count();
        if low >= blocks {
            return Ok(());
        }
        let low = low.max(geo.first_data_block().into());
        let high = high.min(blocks.saturating_sub(1));
        if high < low {
            return Ok(());
        }
        let groups = Groups::known(sb)?;
        let own = own_blocks(sb, groups, low, high)?;
        let mut own = own.iter().copied().peekable();
        let mut report = Report::new(next);
        let mut tell = |record| self.tell(record);
        let (first, last) = (
            cluster_of(geo, FsBlock::new(low)),
            cluster_of(geo, FsBlock::new(high)),
        );
        for number in first.0.get()..=last.0.get() {
            // Groups without free space report nothing.
            if sched::relax().is_err() {
                return Err(Stop::Failed(EINTR));
            }
            let group = Group::new(number);
            let mut at = if group == first.0 { first.1 } else { 0 };
            let end = if group == last.0 { last.1 } else { u32::MAX };
            let mut runs = FreeRuns::new(sb, groups, group)?;
            while let Some(run) = runs.next(at)?.filter(|run| run.start <= end) {
                let len = run.len.min(end.saturating_sub(run.start).saturating_add(1));
                let start = first_block_of(geo, group, run.start).get();
                let len = u64::from(len).wrapping_shl(geo.cluster_bits());
                let len = len.min(blocks.saturating_sub(start));
                while let Some(record) = own.next_if(|record| record.start < start) {
                    report.add(record, &mut tell)?;
                }
                report.add(Record::new(start, len, Owner::Free), &mut tell)?;
                at = run.end();
            }
        }
        for record in own {
            report.add(record, &mut tell)?;
        }
        report.go_to(high.saturating_add(1), &mut tell)
    }

    /// Where record `nr` goes.
    fn place(&self, nr: u32) -> UserArg {
        self.arg
            .at(RECORD.saturating_mul(nr as usize).saturating_add(HEAD))
    }

    fn tell(&mut self, record: Record) -> Result<(), Stop> {
        if sched::relax().is_err() {
            return Err(Stop::Failed(EINTR));
        }
        let room = if self.room == 0 { u32::MAX } else { self.room };
        if self.found >= room {
            return Err(Stop::Full);
        }
        if self.room != 0 {
            let mut out = [0u8; RECORD];
            let [a, b, c, d] = self.device.to_ne_bytes();
            let [e, f, g, h] = SPECIAL.to_ne_bytes();
            let words = [
                [a, b, c, d, e, f, g, h],
                record.start.wrapping_shl(self.bits).to_ne_bytes(),
                record.owner.code().to_ne_bytes(),
                [0; 8],
                record.len.wrapping_shl(self.bits).to_ne_bytes(),
            ];
            for (to, word) in out.chunks_exact_mut(8).zip(words) {
                let bytes = to.iter_mut().zip(word);
                bytes.for_each(|(to, from)| *to = from);
            }
            self.place(self.found).write(&out)?;
        }
        self.found = self.found.saturating_add(1);
        Ok(())
    }
}

/// The file system's own blocks in `low..=high`, in order.
///
/// Errors: ENOMEM; ERESTARTSYS.
fn own_blocks(sb: &Sb, groups: &Groups, low: u64, high: u64) -> Result<KVVec<Record>> {
    let info = sb.info();
    let mut own = KVVec::new();
    for number in 0..info.geometry.groups_count() {
        let group = Group::new(number);
        let table = info.inode_tables.get(number as usize).ok_or(EUCLEAN)?;
        let places = {
            let locked = groups.lock(group).ok_or(EUCLEAN)?;
            Places {
                block_bitmap: FsBlock::new(locked.state.block_bitmap),
                inode_bitmap: FsBlock::new(locked.state.inode_bitmap),
                inode_table: FsBlock::new(*table),
            }
        };
        for record in fixed(&info.geometry, group, &places) {
            if record.len != 0 && record.start <= high && record.end() > low {
                vec::make_room(&mut own)?;
                vec::push(&mut own, record)?;
            }
        }
        sched::relax()?;
    }
    sort_by_key(&mut own, |record| record.start);
    Ok(own)
}

/// The free runs of a group, one by one. A map that was built for it is forgotten again.
struct FreeRuns<'a> {
    sb: &'a Sb,
    groups: &'a Groups,
    group: Group,
    was_known: bool,
}

impl<'a> FreeRuns<'a> {
    fn new(sb: &'a Sb, groups: &'a Groups, group: Group) -> Result<Self> {
        let mut locked = groups.lock(group).ok_or(EUCLEAN)?;
        if !locked.trusts_clusters() {
            return Err(EUCLEAN);
        }
        if sb.is_rdonly() {
            // e2fsck may have changed what the bitmap says.
            locked.forget();
        }
        let was_known = locked.known_map().is_some();
        drop(locked);
        Ok(Self {
            sb,
            groups,
            group,
            was_known,
        })
    }

    /// The first one at cluster `from` or behind it.
    ///
    /// Errors: EUCLEAN (reported), EIO, ENOMEM.
    fn next(&mut self, from: u32) -> Result<Option<Run>> {
        let mut locked = self.groups.lock(self.group).ok_or(EUCLEAN)?;
        let found = locked.map(self.sb).map(|map| {
            let tree = map.tree();
            let start = tree.find(from, 1)?.start;
            Some(Run::new(start, tree.run_at(start, u32::MAX)))
        });
        drop(locked);
        found.map_err(|e| e.report(self.sb, 0, "block bitmap"))
    }
}

impl Drop for FreeRuns<'_> {
    fn drop(&mut self) {
        if let (false, Some(mut locked)) = (self.was_known, self.groups.lock(self.group)) {
            locked.forget();
        }
    }
}
