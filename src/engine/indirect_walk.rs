// SPDX-License-Identifier: GPL-2.0

//! From a file block to a physical block through an ext2/ext3 block map.
//!
//! At most three indirect blocks are read, a number that follows from the logical block alone.
//! The answer is the longest run around the block in the last table that was read, so that a
//! contiguous file costs one lookup per indirect block; a missing subtree is a hole as long as
//! the subtree, joined with its missing neighbours.
//!
//! Locking: the map must not change during a call (the caller holds the inode's data lock).

use super::mapping::{MapKind, Mapping};
use super::source::BlockSource;
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::indirect::{
    verify_block, IndirectError, Path, PointerBits, SlotRun, Table, ROOT_SIZE,
};
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// An inode's block map: the 15 pointers of `i_block` and what is needed to check the rest.
pub struct IndirectMap<'a, B> {
    root: &'a [u8; ROOT_SIZE],
    bits: PointerBits,
    bounds: &'a B,
}

/// A part of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Blocks with data.
    Data(Mapping),
    /// A block with pointers.
    Table(FsBlock),
}

/// The last table on the way to a block.
struct Found<K> {
    /// The block that holds it, with how many levels of tables lie below; `None` for `i_block`.
    block: Option<(K, u32)>,
    path: Path,
}

impl<K: core::ops::Deref<Target = [u8]>> Found<K> {
    /// The table, and the slot to look at in it.
    #[inline]
    fn table<'f, B>(
        &'f self,
        map: &IndirectMap<'f, B>,
    ) -> Result<(Table<'f>, usize), IndirectError> {
        match &self.block {
            None => Ok((Table::root(map.root, map.bits)?, self.path.root_slot())),
            Some((block, below)) => {
                Ok((self.path.table(block, *below)?, self.path.slot_in(*below)))
            }
        }
    }
}

impl<'a, B: BlockBounds> IndirectMap<'a, B> {
    /// The map of an inode whose `i_block` is `root`, on a file system with blocks of
    /// `2^(bits + 2)` bytes. `root` should have passed
    /// [`verify_root`](crate::ondisk::indirect::verify_root) when the inode was read.
    #[inline]
    pub fn new(root: &'a [u8; ROOT_SIZE], bits: PointerBits, bounds: &'a B) -> Self {
        Self { root, bits, bounds }
    }

    /// The longest known range around logical block `at`; what lies beyond the reach of the map
    /// is a hole.
    ///
    /// May sleep in `source`. Errors: from `source`, or [`Corrupt::Indirect`].
    pub fn lookup<S: BlockSource>(&self, source: &S, at: FileBlock) -> Result<Mapping, S::Error> {
        let Some(path) = self.path(at) else {
            return Ok(self.beyond(at));
        };
        let found = self.descend(source, path)?;
        Ok(self.search(&found, at).map_err(Corrupt::from)?)
    }

    /// Like [`lookup`](Self::lookup), and offers everything that the last table on the way tells
    /// to `visit`: runs and holes in order. Subtrees that were not read are left out.
    ///
    /// On an error some ranges may have been offered; each of them is what the disk says.
    pub fn lookup_leaf<S, F>(
        &self,
        source: &S,
        at: FileBlock,
        mut visit: F,
    ) -> Result<Mapping, S::Error>
    where
        S: BlockSource,
        F: FnMut(&Mapping),
    {
        let Some(path) = self.path(at) else {
            let hole = self.beyond(at);
            if at < FileBlock::END {
                visit(&hole);
            }
            return Ok(hole);
        };
        let found = self.descend(source, path)?;
        Ok(self.each(&found, at, &mut visit).map_err(Corrupt::from)?)
    }

    /// Visits all of the map in the order of the file: runs of data, which need not be as long as they
    /// could be, and the tables, each before what it leads to.
    ///
    /// May sleep in `source`. Errors: from `source` and `visit`, or [`Corrupt::Indirect`].
    pub fn for_each<S, F>(&self, source: &S, visit: &mut F) -> Result<(), S::Error>
    where
        S: BlockSource,
        F: FnMut(Part) -> Result<(), S::Error>,
    {
        let root = Table::root(self.root, self.bits).map_err(Corrupt::from)?;
        self.each_below(source, &root, None, visit)
    }

    /// The same for a table that has `below` further levels of tables under it, or for the root.
    fn each_below<S, F>(
        &self,
        source: &S,
        table: &Table<'_>,
        below: Option<u32>,
        visit: &mut F,
    ) -> Result<(), S::Error>
    where
        S: BlockSource,
        F: FnMut(Part) -> Result<(), S::Error>,
    {
        for run in table.runs().filter(|run| run.start != 0) {
            let mapping = self.mapping(&run).map_err(Corrupt::from)?;
            visit(Part::Data(mapping))?;
        }
        for slot in (0..table.len()).filter(|slot| !table.is_data(*slot)) {
            let next = table.pointer(slot, self.bounds).map_err(Corrupt::from)?;
            let (Some(next), Some(path)) = (next, self.bits.path(table.slot_start(slot))) else {
                continue;
            };
            // One level less with each turn, so that even a map in circles has an end.
            let below = below.unwrap_or(path.levels()).checked_sub(1);
            let below = below.ok_or(Corrupt::from(IndirectError::BadPointer))?;
            let block = source.read(next, |bytes| verify_block(bytes, self.bounds))?;
            visit(Part::Table(next))?;
            let child = path.table(&block, below).map_err(Corrupt::from)?;
            self.each_below(source, &child, Some(below), visit)?;
        }
        Ok(())
    }

    #[inline]
    fn path(&self, at: FileBlock) -> Option<Path> {
        if at >= FileBlock::END {
            return None;
        }
        self.bits.path(at)
    }

    /// The answer for blocks that the map cannot address.
    #[inline]
    fn beyond(&self, at: FileBlock) -> Mapping {
        if at >= FileBlock::END {
            Mapping::at_end()
        } else {
            Mapping::hole(self.bits.end(), FileBlock::END)
        }
    }

    /// Follows `path` down to a table of data pointers, or to one where it breaks off.
    fn descend<S: BlockSource>(&self, source: &S, path: Path) -> Result<Found<S::Block>, S::Error> {
        let mut found = Found { block: None, path };
        for below in (0..path.levels()).rev() {
            let (table, slot) = found.table(self).map_err(Corrupt::from)?;
            let Some(next) = table.pointer(slot, self.bounds).map_err(Corrupt::from)? else {
                break;
            };
            let block = source.read(next, |bytes| verify_block(bytes, self.bounds))?;
            found.block = Some((block, below));
        }
        Ok(found)
    }

    /// The range around the path's slot in its last table.
    fn search<K>(&self, found: &Found<K>, at: FileBlock) -> Result<Mapping, IndirectError>
    where
        K: core::ops::Deref<Target = [u8]>,
    {
        let (table, slot) = found.table(self)?;
        // The slot was empty, or holds data, when the descent ended at it: unless the block has
        // changed since, there is a run.
        let run = table.run_around(slot).ok_or(IndirectError::BadPointer)?;
        let mapping = self.mapping(&run)?;
        if mapping.contains(at) {
            Ok(mapping)
        } else {
            Err(IndirectError::BadPointer)
        }
    }

    /// All ranges of the path's last table; yields the one around `at`.
    #[inline]
    fn each<K, F>(
        &self,
        found: &Found<K>,
        at: FileBlock,
        visit: &mut F,
    ) -> Result<Mapping, IndirectError>
    where
        K: core::ops::Deref<Target = [u8]>,
        F: FnMut(&Mapping),
    {
        let (table, _) = found.table(self)?;
        let mut around = None;
        for run in table.runs() {
            let mapping = self.mapping(&run)?;
            if mapping.contains(at) {
                around = Some(mapping);
            }
            visit(&mapping);
        }
        around.ok_or(IndirectError::BadPointer)
    }

    #[inline]
    fn mapping(&self, run: &SlotRun) -> Result<Mapping, IndirectError> {
        let len = run.first.distance_to(run.end);
        let kind = if run.start == 0 {
            MapKind::Hole
        } else {
            match self.bounds.check_run(u64::from(run.start), len) {
                Some(start) => MapKind::Written(start),
                None => return Err(IndirectError::BadPointer),
            }
        };
        Ok(Mapping {
            lblk: run.first,
            len,
            kind,
        })
    }
}
