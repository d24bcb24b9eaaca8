// SPDX-License-Identifier: GPL-2.0

//! Reading a directory in the order of its names' hashes.
//!
//! The unit is a chain: one leaf, and those after it while the index says that a hash continues.
//! One pass over a chain collects the entries at or behind the current point into a [`Batch`],
//! sorts them, and hands them out from the block that holds them; then comes the next chain. If
//! a chain has more entries than the batch has room for, the smallest are handed out first, and
//! the next pass collects from there: memory is constant, and every entry comes exactly once.
//! The batch stays in the caller's memory between calls, so that a full user buffer in the
//! middle of a leaf costs no second pass, unless the directory's version has changed.
//!
//! Entries of equal hash (the legacy hash has collisions, and only 31 bits) share a position.
//! C ext4 keeps them in a list in which new ones go second: the first met comes first, the
//! others in reverse. How many of them have been handed out is part of the cursor. Should more
//! entries share one hash than a batch holds, they come in the order of the chain.
//!
//! Progress: an entry is handed out or skipped once; each further chain starts at a higher hash
//! than the one before (else the index is bad); a walk is bounded by the directory's size.

use crate::ondisk::dir::{DirArea, FileType};
use crate::ondisk::dx::{DxError, DOTDOT_OFFSET};
use crate::ondisk::inline::InlineDir;
use crate::ondisk::search::partition_point;
use crate::ondisk::{Corrupt, FileBlock};

use super::dir::{index_failure, DirBlock, DirBlocks, Directory, IndexFailure};
use super::dir_batch::{Batch, Record};
use super::dir_cookie::CookieWidth;
use super::dirhash::DirHash;
use super::htree::{Next, Walk};
use super::readdir::{Cursor, Item, Mode, Point};

/// Leaves that are read ahead of a reader in hash order.
const READAHEAD: u32 = 8;

/// One call's work in hash order.
pub(super) struct Hashed<'w, 'a, D: DirBlocks, F> {
    dir: &'w Directory<'a, D>,
    width: CookieWidth,
    /// The block that was used last.
    held: Option<(FileBlock, D::Block)>,
    /// A chain of several leaves did not fit the batch.
    crowded: bool,
    emit: &'w mut F,
}

/// Which entries a pass collects.
struct Filter {
    /// Those with this key or a larger one ...
    key: u64,
    /// ... but for so many of exactly this key.
    skip: u32,
}

impl Filter {
    #[inline]
    fn admits(&mut self, key: u64) -> bool {
        if key > self.key {
            return true;
        }
        if key < self.key {
            return false;
        }
        match self.skip.checked_sub(1) {
            Some(skip) => {
                self.skip = skip;
                false
            }
            None => true,
        }
    }
}

/// Inline directories have no blocks: these numbers stand in records for their parts.
mod part {
    use crate::ondisk::FileBlock;

    pub(super) const IMPLIED: FileBlock = FileBlock::new(0);
    pub(super) const FIRST: FileBlock = FileBlock::new(1);
    pub(super) const SECOND: FileBlock = FileBlock::new(2);
}

impl<'w, 'a, D, F> Hashed<'w, 'a, D, F>
where
    D: DirBlocks,
    F: FnMut(&Item<'_>) -> bool,
{
    pub(super) fn new(dir: &'w Directory<'a, D>, width: CookieWidth, emit: &'w mut F) -> Self {
        Self {
            dir,
            width,
            held: None,
            crowded: false,
            emit,
        }
    }

    /// Hands out entries from the cursor's point on. On success the cursor's position is where
    /// the reader continues; on failure its point is.
    pub(super) fn fill(
        &mut self,
        cursor: &mut Cursor,
        records: &mut [Record],
    ) -> Result<(), IndexFailure<D::Error>> {
        if cursor.position == self.width.end() {
            return Ok(());
        }
        let mut spare = [Record::EMPTY; 4];
        let records = if records.is_empty() {
            cursor.len = 0;
            &mut spare[..]
        } else {
            records
        };
        if cursor.version != self.dir.version {
            cursor.version = self.dir.version;
            cursor.len = 0;
        }
        // Stands at the leaf where the next chain starts, once there was one.
        let mut walk = None;
        loop {
            if cursor.len == 0 {
                self.collect(cursor, Batch::new(records), &mut walk)?;
                cursor.crowded |= self.crowded;
            }
            cursor.mode = Mode::Hashed;
            if !self.hand_out(cursor, records)? {
                return Ok(());
            }
            cursor.len = 0;
            match cursor.after {
                Some(point) => cursor.at = point,
                None => {
                    cursor.position = self.width.end();
                    return Ok(());
                }
            }
        }
    }

    /// Hands out the batch; `false` if the reader is full.
    #[inline(never)] // Keeps the stack flat: the reader's memory may have to be faulted in.
    fn hand_out(
        &mut self,
        cursor: &mut Cursor,
        records: &[Record],
    ) -> Result<bool, IndexFailure<D::Error>> {
        let dir = self.dir;
        let records = records.get(..cursor.len).unwrap_or_default();
        while let Some(&first) = records.get(cursor.next) {
            if tied(records, cursor.next) || first.key() == cursor.at.key || dir.inline.is_some() {
                let rest = records.get(cursor.next..).unwrap_or_default();
                let count = rest.iter().take_while(|r| r.key() == first.key()).count();
                if !self.hand_out_ties(cursor, rest.get(..count).unwrap_or_default())? {
                    return Ok(false);
                }
                cursor.next = cursor.next.wrapping_add(count);
                continue;
            }
            // Most entries have a hash of their own and are in the same block as the next one.
            let lblk = first.lblk();
            let area = match hold(dir, &mut self.held, lblk) {
                Ok(block) => dir.area(block),
                Err(e) => {
                    cursor.at = Point::at_key(first.key());
                    return Err(e);
                }
            };
            let mut record = first;
            let mut nr = cursor.next;
            loop {
                let position = self.width.position(record.key());
                if !emit_entry(dir, area, record, position, self.emit) {
                    cursor.at = Point::at_key(record.key());
                    cursor.position = position;
                    cursor.next = nr;
                    return Ok(false);
                }
                nr = nr.wrapping_add(1);
                match records.get(nr) {
                    Some(&next) if next.lblk() == lblk && !tied(records, nr) => record = next,
                    _ => break,
                }
            }
            cursor.next = nr;
        }
        Ok(true)
    }

    /// Hands out records of equal key; `false` if the reader is full.
    #[cold]
    fn hand_out_ties(
        &mut self,
        cursor: &mut Cursor,
        ties: &[Record],
    ) -> Result<bool, IndexFailure<D::Error>> {
        let Some(key) = ties.first().map(|first| first.key()) else {
            return Ok(true);
        };
        let start = if cursor.at.key == key {
            cursor.at
        } else {
            Point::at_key(key)
        };
        let position = self.width.position(key);
        let mut nr = if start.large {
            0
        } else {
            start.emitted as usize
        };
        while nr < ties.len() {
            let place = if nr == 0 || start.large {
                nr
            } else {
                ties.len().wrapping_sub(nr)
            };
            let Some(&record) = ties.get(place) else {
                break;
            };
            let more = self.hand_out_one(record, position);
            if !matches!(more, Ok(true)) {
                // Both are at most the number of a directory's entries.
                let nr32 = nr as u32;
                cursor.at = start;
                cursor.position = position;
                if start.large {
                    cursor.at.emitted = start.emitted.wrapping_add(nr32);
                    cursor.next = cursor.next.wrapping_add(nr);
                } else {
                    cursor.at.emitted = nr32;
                }
                return more;
            }
            nr = nr.wrapping_add(1);
        }
        Ok(true)
    }

    /// Hands out the entry of one record; `false` if the reader is full.
    fn hand_out_one(
        &mut self,
        record: Record,
        position: u64,
    ) -> Result<bool, IndexFailure<D::Error>> {
        let dir = self.dir;
        if let Some(inline) = &dir.inline {
            return Ok(self.hand_out_inline(inline, record, position));
        }
        let area = dir.area(hold(dir, &mut self.held, record.lblk())?);
        Ok(emit_entry(dir, area, record, position, self.emit))
    }

    fn hand_out_inline(&mut self, inline: &InlineDir<'_>, record: Record, position: u64) -> bool {
        let dir = self.dir;
        let (first, second) = inline.areas();
        let lblk = record.lblk();
        if lblk == part::FIRST || lblk == part::SECOND {
            let area = if lblk == part::FIRST { first } else { second };
            return emit_entry(dir, dir.area(area), record, position, self.emit);
        }
        let (name, ino) = if record.offset() == 0 {
            (&b"."[..], dir.ino)
        } else {
            match dir.inline_parent(inline) {
                Ok(parent) => (&b".."[..], parent),
                Err(e) => {
                    dir.blocks.report(Corrupt::from(e), FileBlock::ZERO);
                    return true;
                }
            }
        };
        let file_type = FileType::Directory;
        (self.emit)(&Item {
            name,
            ino,
            file_type: if dir.format.file_types {
                file_type
            } else {
                FileType::Unknown
            },
            position,
        })
    }

    /// Fills the batch from the cursor's point on, with what one chain has. An empty batch means
    /// that nothing is left.
    #[inline(never)] // Keeps the stack flat: blocks may have to be read from disk.
    fn collect(
        &mut self,
        cursor: &mut Cursor,
        mut batch: Batch<'_>,
        walk: &mut Option<Walk<'w, 'a, D>>,
    ) -> Result<(), IndexFailure<D::Error>> {
        let at = cursor.at;
        let mut filter = Filter {
            key: at.key,
            skip: if at.large { at.emitted } else { 0 },
        };
        cursor.next = 0;
        cursor.after = if self.dir.has_index() {
            self.collect_chain(&mut filter, &mut batch, walk)?
        } else {
            self.collect_small(&mut filter, &mut batch)?;
            None
        };
        let truncated = batch.truncated();
        let kept = batch.sort(at.key, cursor.after.map_or(u64::MAX, |after| after.key));
        cursor.len = kept.len();
        if !truncated {
            return Ok(());
        }
        let Some(last) = kept.last().map(|last| last.key()) else {
            return Ok(());
        };
        // The last key's entries may not all be here, so they wait for the next pass ...
        let whole = partition_point(kept, |record| record.key() < last);
        if whole != 0 {
            cursor.len = whole;
            cursor.after = Some(Point::at_key(last));
            return Ok(());
        }
        // ... unless there is no other key: then there are more than fit.
        if !(at.large && at.key == last) {
            let emitted = if at.key == last { at.emitted } else { 0 };
            cursor.next = (emitted as usize).min(kept.len());
            cursor.at = Point {
                key: last,
                emitted,
                large: true,
            };
        }
        // Counted in 32 bits, as many as there can be inodes with links here.
        let fresh = kept.len().saturating_sub(cursor.next) as u32;
        cursor.after = Some(Point {
            emitted: cursor.at.emitted.saturating_add(fresh),
            ..cursor.at
        });
        Ok(())
    }

    /// Collects from the leaves of one chain, or of several until something is found; returns
    /// where the next chain starts.
    fn collect_chain(
        &mut self,
        filter: &mut Filter,
        batch: &mut Batch<'_>,
        walk: &mut Option<Walk<'w, 'a, D>>,
    ) -> Result<Option<Point>, IndexFailure<D::Error>> {
        let dir = self.dir;
        let mut floor = (filter.key >> 32) as u32;
        let walk = match walk {
            Some(walk) => walk,
            none => none.insert(Walk::new(dir)?),
        };
        if !walk.starts_at(floor) {
            walk.seek(floor)?;
        }
        // `.` and `..` stand in front of the index; ext4 gives them the hashes 0 and 2.
        for (key, offset) in [(0, 0), (2 << 32, DOTDOT_OFFSET)] {
            if filter.admits(key) {
                batch.push(Record::new(key, 0, FileBlock::ZERO, offset));
            }
        }
        let mut chain = 0u16;
        let mut ahead = 0u32;
        loop {
            let leaf = walk.leaf();
            match ahead.checked_sub(1) {
                Some(left) => ahead = left,
                None => {
                    walk.readahead(READAHEAD);
                    ahead = READAHEAD;
                }
            }
            let block = read_block(dir, leaf)?;
            collect_area(
                dir,
                dir.area(&block),
                leaf,
                chain,
                walk.hash(),
                filter,
                batch,
            );
            self.held = Some((leaf, block));
            // Records count leaves in 16 bits; names do not collide in such numbers by themselves.
            chain = match chain.checked_add(1) {
                Some(chain) => chain,
                None => return Err(index_failure(DxError::Order)),
            };
            self.crowded |= chain > 1 && batch.truncated();
            dir.blocks.relax().map_err(IndexFailure::Fatal)?;
            let hash = match walk.advance()? {
                Next::Leaf(hash) => hash,
                Next::End => return Ok(None),
            };
            let (lowest, continues) = (hash & !1, hash & 1 != 0);
            if lowest < floor || (lowest == floor && !continues) {
                return Err(index_failure(DxError::Order));
            }
            floor = lowest;
            if batch.len() != 0 && !continues {
                return Ok(Some(Point::at_key(u64::from(lowest) << 32)));
            }
        }
    }

    /// Collects from a directory that has no index yet: all it has, `.` and `..` among the rest.
    fn collect_small(
        &mut self,
        filter: &mut Filter,
        batch: &mut Batch<'_>,
    ) -> Result<(), IndexFailure<D::Error>> {
        let dir = self.dir;
        let Some(hash) = &dir.format.default_hash else {
            return Ok(());
        };
        let Some(inline) = &dir.inline else {
            let block = read_block(dir, FileBlock::ZERO)?;
            let area = dir.area(&block);
            collect_area(dir, area, FileBlock::ZERO, 0, hash, filter, batch);
            self.held = Some((FileBlock::ZERO, block));
            return Ok(());
        };
        for (name, offset) in [(&b"."[..], 0), (b"..", DOTDOT_OFFSET)] {
            let key = hash.hash(name).key();
            if filter.admits(key) {
                batch.push(Record::new(key, 0, part::IMPLIED, offset));
            }
        }
        let (first, second) = inline.areas();
        collect_area(dir, dir.area(first), part::FIRST, 1, hash, filter, batch);
        collect_area(dir, dir.area(second), part::SECOND, 2, hash, filter, batch);
        Ok(())
    }
}

/// Whether record `nr` has the same hash as the next one.
#[inline]
fn tied(records: &[Record], nr: usize) -> bool {
    match (records.get(nr), records.get(nr.wrapping_add(1))) {
        (Some(first), Some(second)) => first.key() == second.key(),
        _ => false,
    }
}

/// Block `lblk`, from `held` or put there.
#[inline]
fn hold<'h, D: DirBlocks>(
    dir: &Directory<'_, D>,
    held: &'h mut Option<(FileBlock, D::Block)>,
    lblk: FileBlock,
) -> Result<&'h D::Block, IndexFailure<D::Error>> {
    if !matches!(held, Some((number, _)) if *number == lblk) {
        *held = Some((lblk, read_block(dir, lblk)?));
    }
    match held {
        Some((_, block)) => Ok(block),
        None => Err(index_failure(DxError::PastEnd)),
    }
}

/// Reads the block of a record: a leaf, or block 0 of an indexed directory for `.` and `..`.
#[inline]
fn read_block<D: DirBlocks>(
    dir: &Directory<'_, D>,
    lblk: FileBlock,
) -> Result<D::Block, IndexFailure<D::Error>> {
    if lblk == FileBlock::ZERO && dir.has_index() {
        return match dir.read_any(lblk) {
            Ok(DirBlock::Mapped(block)) => Ok(block),
            Ok(DirBlock::Hole(_)) => Err(index_failure(DxError::NotAnIndex)),
            Err(e) => Err(IndexFailure::Fatal(e.into_error())),
        };
    }
    dir.read_leaf(lblk)
        .map_err(|e| IndexFailure::Fatal(e.into_error()))
}

/// Collects the entries of one area; what follows a bad record is reported and ignored.
fn collect_area<D: DirBlocks>(
    dir: &Directory<'_, D>,
    area: DirArea<'_>,
    lblk: FileBlock,
    chain: u16,
    hash: &DirHash,
    filter: &mut Filter,
    batch: &mut Batch<'_>,
) {
    for entry in area.entries() {
        match entry {
            Ok(entry) => {
                if entry.ino.is_some() {
                    let key = hash.hash(entry.name).key();
                    if filter.admits(key) {
                        batch.push(Record::new(key, chain, lblk, entry.offset));
                    }
                }
            }
            Err(e) => dir.blocks.report(Corrupt::from(e), lblk),
        }
    }
}

/// Hands out the entry that a record stands for; `false` if the reader is full. An entry that
/// has gone bad or free since it was collected is passed over.
#[inline(always)]
fn emit_entry<D: DirBlocks, F>(
    dir: &Directory<'_, D>,
    area: DirArea<'_>,
    record: Record,
    position: u64,
    emit: &mut F,
) -> bool
where
    F: FnMut(&Item<'_>) -> bool,
{
    match area.entry_again(record.offset()) {
        Some((ino, file_type, name)) => emit(&Item {
            name,
            ino,
            file_type: dir.format.file_type(file_type),
            position,
        }),
        None => true,
    }
}
