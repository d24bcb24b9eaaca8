// SPDX-License-Identifier: GPL-2.0

//! What the blocks of a device are used for, as FS_IOC_GETFSMAP tells it.
//!
//! Known are the file system's own blocks, which are in fixed places, and what is free; the rest is
//! used by somebody, whom ext4 cannot name. [`Report`] is given what is known in the order of the
//! device, puts together what continues, and names what is between.

use crate::ondisk::{group::Places, FsBlock, Geometry, Group};

/// Who has blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    Free,
    /// Somebody.
    Unknown,
    /// The superblock or a copy of it.
    Superblock,
    /// An external journal.
    Journal,
    /// Inode tables.
    Inodes,
    /// Group descriptors.
    Descriptors,
    /// Room for more group descriptors.
    ReservedDescriptors,
    /// Block bitmaps.
    BlockBitmap,
    /// Inode bitmaps.
    InodeBitmap,
}

impl Owner {
    /// The number that stands for it in `fmr_owner`.
    pub const fn code(self) -> u64 {
        const fn special(kind: u8, code: u64) -> u64 {
            ((kind as u64) << 32) | code
        }
        match self {
            Self::Free => special(0, 1),
            Self::Unknown => special(0, 2),
            Self::Superblock => special(b'X', 1),
            Self::Journal => special(b'X', 2),
            Self::Inodes => special(b'X', 5),
            Self::Descriptors => special(b'f', 1),
            Self::ReservedDescriptors => special(b'f', 2),
            Self::BlockBitmap => special(b'f', 3),
            Self::InodeBitmap => special(b'f', 4),
        }
    }
}

/// Blocks in a row that one owner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The first one.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// Who has them.
    pub owner: Owner,
}

impl Record {
    /// `len` blocks from `start`.
    pub const fn new(start: u64, len: u64, owner: Owner) -> Self {
        Self { start, len, owner }
    }

    /// One past the last block.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// The file system's own blocks that `group` is responsible for, wherever they are. Some may be of no
/// length.
pub fn fixed(geo: &Geometry, group: Group, places: &Places) -> [Record; 6] {
    let (start, head) = geo.base_meta_run(group).unwrap_or((FsBlock::new(0), 0));
    let descs = geo.group_desc_blocks(group).min(head);
    // What base_meta_run consists of; a boot block goes with the superblock.
    let reserved = if geo.group_has_super(group) && descs != 0 {
        let in_meta = geo.base_meta_blocks(group).saturating_sub(descs);
        in_meta.saturating_sub(1).min(head)
    } else {
        0
    };
    let first = head.saturating_sub(descs).saturating_sub(reserved);
    let mut at = start.get();
    let mut next = |len: u32, owner| {
        let record = Record::new(at, len.into(), owner);
        at = record.end();
        record
    };
    [
        next(first, Owner::Superblock),
        next(descs, Owner::Descriptors),
        next(reserved, Owner::ReservedDescriptors),
        Record::new(places.block_bitmap.get(), 1, Owner::BlockBitmap),
        Record::new(places.inode_bitmap.get(), 1, Owner::InodeBitmap),
        Record::new(
            places.inode_table.get(),
            geo.itable_blocks_per_group().into(),
            Owner::Inodes,
        ),
    ]
}

/// Makes a report without gaps of records in order.
pub struct Report {
    /// Up to where everything has been told of, or is held.
    next: u64,
    held: Option<Record>,
}

impl Report {
    /// A report that begins with block `next`.
    pub const fn new(next: u64) -> Self {
        Self { next, held: None }
    }

    /// The next thing that is known: `record`, none of which lies before those that were added. One
    /// that begins before the report does is told of as a whole.
    ///
    /// Errors: those of `tell`.
    pub fn add<E>(
        &mut self,
        record: Record,
        tell: &mut impl FnMut(Record) -> Result<(), E>,
    ) -> Result<(), E> {
        if record.len == 0 || record.end() <= self.next {
            return Ok(());
        }
        if let Some(held) = &mut self.held {
            if held.owner == record.owner && held.end() == record.start {
                held.len = held.len.saturating_add(record.len);
                self.next = held.end();
                return Ok(());
            }
        }
        self.go_to(record.start, tell)?;
        self.next = record.end();
        self.held = Some(record);
        Ok(())
    }

    /// That was all up to block `end`.
    ///
    /// Errors: those of `tell`.
    pub fn go_to<E>(
        &mut self,
        end: u64,
        tell: &mut impl FnMut(Record) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(held) = self.held.take() {
            tell(held)?;
        }
        let gap = end.saturating_sub(self.next);
        if gap != 0 {
            tell(Record::new(self.next, gap, Owner::Unknown))?;
            self.next = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(from: u64, to: u64, records: &[(u64, u64, Owner)]) -> Vec<(u64, u64, Owner)> {
        let mut out = Vec::new();
        let mut tell = |r: Record| {
            out.push((r.start, r.len, r.owner));
            Ok::<(), ()>(())
        };
        let mut report = Report::new(from);
        for (start, len, owner) in records {
            report
                .add(Record::new(*start, *len, *owner), &mut tell)
                .unwrap();
        }
        report.go_to(to, &mut tell).unwrap();
        out
    }

    #[test]
    fn gaps_have_an_owner() {
        use Owner::*;
        let all = [
            (0, 1, Superblock),
            (1, 2, Descriptors),
            (10, 5, Free),
            (15, 5, Free),
            (20, 1, BlockBitmap),
            (21, 0, Inodes),
            (21, 4, BlockBitmap),
        ];
        assert_eq!(
            report(0, 30, &all),
            [
                (0, 1, Superblock),
                (1, 2, Descriptors),
                (3, 7, Unknown),
                (10, 10, Free),
                (20, 5, BlockBitmap),
                (25, 5, Unknown)
            ]
        );
        // From the middle: what lies before is left out, what reaches into it is not.
        assert_eq!(
            report(2, 30, &all)[..2],
            [(1, 2, Descriptors), (3, 7, Unknown)]
        );
        assert_eq!(report(3, 12, &all[..3])[..1], [(3, 7, Unknown)]);
        assert_eq!(report(0, 4, &[]), [(0, 4, Unknown)]);
    }

    #[test]
    fn errors_end_it() {
        let mut report = Report::new(0);
        let mut told = 0;
        let mut tell = |_| {
            told += 1;
            if told == 2 {
                Err(())
            } else {
                Ok(())
            }
        };
        let record = |start| Record::new(start, 2, Owner::Free);
        assert!(report.add(record(0), &mut tell).is_ok());
        assert!(report.add(record(10), &mut tell).is_err());
    }
}
