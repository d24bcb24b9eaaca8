// SPDX-License-Identifier: GPL-2.0

//! Moving what is mapped to another place in the file: a range is taken out of it, or put into it.
//!
//! An extent that moves changes its first logical block and nothing else, so a leaf is changed
//! where it stands, and of the nodes above only keys. One leaf per call: towards the file's
//! beginning from there on, towards its end from behind, so that the tree is whole after each call
//! and the caller can restart its transaction between any two. Nothing is allocated, so that a
//! move that has been begun does not fail for want of space.

use super::path::Path;
use super::prepare::{Above, Splice};
use super::{ExtentEditor, Progress, Root};
use crate::engine::change::{Blocks, Transaction};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::edit::{Entry, NodeMut};
use crate::ondisk::extent::{Entries, Extent, ExtentError, RawExtent};
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// Where blocks move, by how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Towards the file's beginning.
    Back(u32),
    /// Towards its end.
    Forth(u32),
}

impl Shift {
    /// Where the block `at` comes to; `None` if no file has such a block.
    #[inline]
    pub fn of(self, at: FileBlock) -> Option<FileBlock> {
        let to = match self {
            Self::Back(by) => at.get().checked_sub(by)?,
            Self::Forth(by) => at.get().checked_add(by)?,
        };
        (to <= FileBlock::END.get()).then_some(FileBlock::new(to))
    }
}

impl<T, B, Z> ExtentEditor<'_, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Sees to it that an extent begins at `at` if block `at` is mapped: one that it is in the middle
    /// of becomes two.
    ///
    /// May sleep. Errors: as for [`insert`](Self::insert); nothing has changed then. Cost: see
    /// [`change_needs`](super::change_needs).
    pub fn split(&self, root: &mut Root, at: FileBlock) -> Result<(), T::Error> {
        let mut path = Path::new();
        self.find(root, at, &mut path)?;
        let entries = path.leaf(root).map_err(Corrupt::from)?;
        let Some(n) = entries.up_to(at).checked_sub(1) else {
            return Ok(());
        };
        let extent = self.at(entries, Some(n)).map_err(Corrupt::from)?;
        let parts = extent.and_then(|extent| {
            let head = extent.clip(FileBlock::ZERO, at)?;
            Some((extent, head, extent.clip(at, FileBlock::END)?))
        });
        let Some((extent, head, tail)) = parts else {
            return Ok(());
        };
        let mut splice = Splice::new(n, 1);
        let pushed = splice.push(&head).and_then(|()| splice.push(&tail));
        pushed.map_err(Corrupt::from)?;
        let mut ready = self.unprepared();
        self.prepare(&mut path, &mut ready, splice.growth(), false, extent.start)?;
        ready.apply(root, &mut path, &splice, false);
        Ok(())
    }

    /// Moves the extents that begin at `from` or behind by `shift`: those of one leaf per call. None
    /// of them begins before `from` and ends behind it (see [`split`](Self::split)), and what they
    /// move to is a hole, or is what has moved away.
    ///
    /// Towards the beginning, `at` is `from` in the first call, and what [`Progress::More`] says in
    /// the next. Towards the end it is [`FileBlock::END`] first. Both are places as they were before
    /// anything had been moved.
    ///
    /// May sleep. Errors: as for [`insert`](Self::insert), [`ExtentError::BadRun`] if an extent would
    /// come to be behind the end of what a file can have; nothing has changed then. A call changes at
    /// most the nodes of one path, and allocates nothing.
    pub fn shift(
        &self,
        root: &mut Root,
        from: FileBlock,
        at: FileBlock,
        shift: Shift,
    ) -> Result<Progress, T::Error> {
        let inside = match shift {
            Shift::Back(_) => at.max(from),
            Shift::Forth(_) => FileBlock::new(at.get().saturating_sub(1)),
        };
        if inside >= FileBlock::END || inside < from {
            return Ok(Progress::Done);
        }
        let mut path = Path::new();
        self.find(root, inside, &mut path)?;
        if path.depth > 0 && path.from > inside {
            // Nothing is mapped as far towards the beginning: this is the first leaf once more.
            return Ok(match shift {
                Shift::Forth(_) => Progress::Done,
                Shift::Back(_) => Progress::More(path.from),
            });
        }
        let entries = path.leaf(root).map_err(Corrupt::from)?;
        let n = match from.get().checked_sub(1) {
            Some(before) => entries.up_to(FileBlock::new(before)),
            None => 0,
        };
        let next = match shift {
            Shift::Back(_) if path.to < FileBlock::END => Progress::More(path.to),
            Shift::Forth(_) if path.from > from => Progress::More(path.from),
            _ => Progress::Done,
        };
        if n >= entries.len() {
            return Ok(next);
        }
        let joined = self.check_shift(entries, n, shift).map_err(Corrupt::from)?;
        let mut ready = self.unprepared();
        let key = n == 0 && path.depth > 0;
        self.prepare(&mut path, &mut ready, 0, key, FsBlock::new(0))?;
        let change = |node: &mut NodeMut<'_>| {
            node.move_keys(n, |first| shift.of(first));
            if let Some(entry) = joined {
                node.splice(n.saturating_sub(1), 2, &[entry]);
            }
        };
        let Some(leaf) = path.last() else {
            if let Some(mut node) = NodeMut::root(root) {
                change(&mut node);
            }
            return Ok(next);
        };
        let mut above = Above::default();
        if let Some(mut edit) = path.take(leaf) {
            if let Some(mut node) = NodeMut::open(&mut edit, self.capacity) {
                change(&mut node);
                above.key = node.first().filter(|_| key);
            }
            self.tx.dirty(edit, self.seal);
        }
        ready.ascend(root, &mut path, leaf, above);
        Ok(next)
    }

    /// Whether the entries of a leaf from `n` on can be moved; and the entry that takes the place of
    /// the one before and the first of them, if they continue each other then.
    fn check_shift(
        &self,
        entries: Entries<'_, RawExtent>,
        n: usize,
        shift: Shift,
    ) -> Result<Option<Entry>, ExtentError> {
        let moved = |extent: Extent| -> Result<Extent, ExtentError> {
            let first = shift.of(extent.first).ok_or(ExtentError::BadRun)?;
            shift.of(extent.end()).ok_or(ExtentError::BadRun)?;
            Ok(Extent { first, ..extent })
        };
        let before = self.at(entries, n.checked_sub(1))?;
        let first = self.at(entries, Some(n))?.map(moved).transpose()?;
        let last = entries.len().checked_sub(1);
        self.at(entries, last)?.map(moved).transpose()?;
        let (Some(before), Some(first)) = (before, first) else {
            return Ok(None);
        };
        if before.end() > first.first {
            return Err(ExtentError::Unsorted);
        }
        before.join(&first).map(|both| both.entry()).transpose()
    }
}
