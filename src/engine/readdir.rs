// SPDX-License-Identifier: GPL-2.0

//! Reading a directory, with positions that stay good.
//!
//! With `dir_index`, directories that have an index, or could get one (a single block, inline),
//! are read in the order of their names' hashes, and positions are made from the hash. All
//! others are read from front to back, and positions are offsets in bytes. Order, positions and
//! the position after each entry are those of C ext4, so that a position survives a change of
//! driver.
//!
//! # Hash order
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
//!
//! # Damage
//!
//! As in C ext4: in hash order, a leaf that is missing, cannot be read or fails its checksum
//! ends reading with an error, and behind a bad record the rest of a leaf is ignored. From front
//! to back, a block with a bad checksum is skipped, and so is the rest of a block behind a bad
//! record; only I/O errors end reading. What is passed over is reported. An index that is
//! unusable from the start is reported, and the directory is read from front to back; one that
//! turns out so later, when positions made from hashes are out already, gives an error.

use crate::ondisk::dir::{DirArea, FileType};
use crate::ondisk::dx::{DxError, DOTDOT_OFFSET};
use crate::ondisk::inline::InlineDir;
use crate::ondisk::search::partition_point;
use crate::ondisk::{Corrupt, FileBlock, Ino};

use super::dir::{index_failure, DirBlock, DirBlocks, Directory, IndexFailure};
use super::dir_batch::{Batch, Record};
use super::dir_cookie::CookieWidth;
use super::dirhash::DirHash;
use super::htree::{Next, Walk};
use super::readdir_linear;

/// Leaves that are read ahead of a reader in hash order.
const READAHEAD: u32 = 8;

/// An entry on its way to the reader.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The name as it is on disk: up to 255 bytes, possibly none, possibly any.
    pub name: &'a [u8],
    /// The inode.
    pub ino: Ino,
    /// The type, if the file system records types.
    pub file_type: FileType,
    /// This entry's own position: what a reader who stops in front of it continues from.
    pub position: u64,
}

/// What the next entry to hand out is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    /// Entries with smaller keys are done.
    key: u64,
    /// So many with exactly this key are done, too.
    emitted: u32,
    /// Whether there are more of them than a batch holds, so that they come in the order of the
    /// chain.
    large: bool,
}

impl Point {
    #[inline]
    fn at_key(key: u64) -> Self {
        Self {
            key,
            emitted: 0,
            large: false,
        }
    }
}

/// How positions are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Not known yet: nothing has been handed out since the position was set.
    Fresh,
    /// As hashes.
    Hashed,
    /// As offsets.
    Linear,
}

/// The state of one open directory between calls of [`fill`]. Starts at position 0.
#[derive(Clone, Debug)]
pub struct Cursor {
    mode: Mode,
    position: u64,
    /// The directory's version when the batch was filled or `position` was found to be good.
    version: u64,
    at: Point,
    /// The part of the caller's records that is still to be handed out.
    next: usize,
    len: usize,
    /// Where to go on behind them; `None` for the end.
    after: Option<Point>,
}

impl Default for Cursor {
    fn default() -> Self {
        Self::new()
    }
}

impl Cursor {
    /// A cursor at the start.
    pub const fn new() -> Self {
        Self {
            mode: Mode::Fresh,
            position: 0,
            version: 0,
            at: Point {
                key: 0,
                emitted: 0,
                large: false,
            },
            next: 0,
            len: 0,
            after: None,
        }
    }

    /// The position to continue from: that of the first entry that was not handed out, or the
    /// end's.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    fn seek(&mut self, position: u64, width: CookieWidth) {
        *self = Self {
            position,
            at: Point::at_key(width.key(position)),
            ..Self::new()
        };
    }
}

impl<D: DirBlocks> Directory<'_, D> {
    /// Whether the directory is read in hash order: it has an index or could get one. Then the
    /// largest position, for `llseek`, is [`CookieWidth::end`].
    #[inline]
    pub fn hash_order(&self) -> bool {
        if !self.format.dir_index {
            return false;
        }
        // What has no index is sorted by the default hash, if there is such a function.
        let small = self.inline.is_some() || self.size >> self.block_bits() == 1;
        self.has_index() || (small && self.format.default_hash.is_some())
    }
}

/// Hands entries to `emit` from `position` on, until it returns `false` or all are done;
/// afterwards [`Cursor::position`] is where the reader continues. If `position` is not what the
/// cursor was left at, the reader has sought there: any value is allowed.
///
/// `records` is scratch memory that belongs to `cursor` from one call to the next (its contents
/// may change only in here; if it is another slice, give it a new cursor). Room for a 16th of the
/// block size makes nearly every leaf a single pass.
///
/// Errors: see the module's head. Entries handed out before an error stay handed out.
pub fn fill<D, F>(
    dir: &Directory<'_, D>,
    cursor: &mut Cursor,
    records: &mut [Record],
    position: u64,
    width: CookieWidth,
    mut emit: F,
) -> Result<(), D::Error>
where
    D: DirBlocks,
    F: FnMut(&Item<'_>) -> bool,
{
    if cursor.position != position {
        cursor.seek(position, width);
    }
    if cursor.mode != Mode::Linear && dir.hash_order() {
        let mut reader = Hashed {
            dir,
            width,
            held: None,
            emit: &mut emit,
        };
        let failure = match reader.fill(cursor, records) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        cursor.len = 0;
        let error = match failure {
            IndexFailure::Unusable(what) if cursor.mode == Mode::Fresh && position <= dir.size => {
                dir.blocks.report(what, FileBlock::ZERO);
                None
            }
            IndexFailure::Unusable(what) => Some(what.into()),
            IndexFailure::Fatal(e) => Some(e),
        };
        if let Some(error) = error {
            cursor.position = width.position(cursor.at.key);
            return Err(error);
        }
    }
    let trusted = cursor.mode == Mode::Linear && cursor.version == dir.version;
    cursor.mode = Mode::Linear;
    cursor.version = dir.version;
    readdir_linear::fill(dir, &mut cursor.position, trusted, &mut emit)
}

/// One call's work in hash order.
struct Hashed<'w, 'a, D: DirBlocks, F> {
    dir: &'w Directory<'a, D>,
    width: CookieWidth,
    /// The block that was used last.
    held: Option<(FileBlock, D::Block)>,
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
    fn fill(
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
            chain = chain.saturating_add(1);
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
