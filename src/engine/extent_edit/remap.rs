// SPDX-License-Identifier: GPL-2.0

//! Having part of an extent be somewhere else on the device.
//!
//! Two files exchange blocks by one such change in each of their trees, and both have to happen or
//! none. So what can fail is apart from the change itself: [`ExtentEditor::remap`] prepares it, and
//! [`Remap::apply`] does it. One that is dropped instead has changed nothing.

use super::path::Path;
use super::prepare::{Prepared, Splice};
use super::{ExtentEditor, Root};
use crate::engine::change::{Blocks, Transaction};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::{Entries, Extent, ExtentError, RawExtent};
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// A change that has been prepared.
#[must_use = "to be applied"]
pub struct Remap<'t, T: Transaction, B: Blocks> {
    path: Path<T>,
    ready: Prepared<'t, T, B>,
    splice: Splice,
}

impl<T: Transaction, B: Blocks> Remap<'_, T, B> {
    /// Makes the change. `root` is what it was prepared with, and has not changed since.
    pub fn apply(mut self, root: &mut Root) {
        // What is mapped stays mapped, so that no first key changes.
        self.ready.apply(root, &mut self.path, &self.splice, false);
    }
}

impl<T, B, Z> ExtentEditor<'_, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Prepares that the blocks of `old`, which is an extent or part of one, lie from `start` on and
    /// are unwritten, or written if not `unwritten`; joined with the extents around them in their leaf
    /// where they continue each other. `None` if the tree does not say what `old` says.
    ///
    /// `start` and what follows has been checked as a run for this file. The tree must not change
    /// before the change is applied or dropped.
    ///
    /// May sleep. Errors: as for [`insert`](Self::insert); nothing has changed then. Cost: see
    /// [`change_needs`](super::change_needs).
    pub fn remap(
        &self,
        root: &Root,
        old: &Extent,
        start: FsBlock,
        unwritten: bool,
    ) -> Result<Option<Remap<'_, T, B>>, T::Error> {
        let mut path = Path::new();
        self.find(root, old.first, &mut path)?;
        let entries = path.leaf(root).map_err(Corrupt::from)?;
        let Some(n) = entries.up_to(old.first).checked_sub(1) else {
            return Ok(None);
        };
        let Some(extent) = self.at(entries, Some(n)).map_err(Corrupt::from)? else {
            return Ok(None);
        };
        if extent.clip(old.first, old.end()) != Some(*old) {
            return Ok(None);
        }
        let new = Extent {
            start,
            unwritten,
            ..*old
        };
        let splice = self.exchange(entries, n, &extent, new);
        let splice = splice.map_err(Corrupt::from)?;
        let mut ready = self.unprepared();
        self.prepare(&mut path, &mut ready, splice.growth(), false, extent.start)?;
        Ok(Some(Remap {
            path,
            ready,
            splice,
        }))
    }

    /// Replaces `extent`, which is entry `n`, by what of it is before `new`, by `new`, which is joined with the
    /// neighbours where it touches them, and by what is behind that.
    pub(super) fn exchange(
        &self,
        entries: Entries<'_, RawExtent>,
        n: usize,
        extent: &Extent,
        new: Extent,
    ) -> Result<Splice, ExtentError> {
        let head = extent.clip(FileBlock::ZERO, new.first);
        let tail = extent.clip(new.end(), FileBlock::END);
        let (mut middle, mut at, mut remove) = (new, n, 1usize);
        if head.is_none() {
            let left = self.at(entries, n.checked_sub(1))?;
            if let Some(joined) = left.and_then(|left| left.join(&middle)) {
                middle = joined;
                at = n.saturating_sub(1);
                remove = 2;
            }
        }
        if tail.is_none() {
            let right = self.at(entries, n.checked_add(1))?;
            if let Some(joined) = right.and_then(|right| middle.join(&right)) {
                middle = joined;
                remove = remove.wrapping_add(1);
            }
        }
        let mut splice = Splice::new(at, remove);
        for part in [head, Some(middle), tail].iter().flatten() {
            splice.push(part)?;
        }
        Ok(splice)
    }
}
