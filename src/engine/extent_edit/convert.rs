// SPDX-License-Identifier: GPL-2.0

//! Marking mapped blocks as written, or as unwritten.

use super::path::Path;
use super::prepare::Splice;
use super::{ExtentEditor, Root};
use crate::engine::change::{Blocks, Transaction};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::edit::max_len;
use crate::ondisk::extent::{Entries, Extent, ExtentError, RawExtent};
use crate::ondisk::{Corrupt, FileBlock};

impl<T, B, Z> ExtentEditor<'_, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Marks the blocks of `from..to` that are mapped as unwritten, or as written if not
    /// `unwritten`: in one extent per call. Holes and what is in that state already are passed
    /// over. Yields how far it has come, which is above `from`; once that is `to`, all is done.
    ///
    /// What an I/O completion converts is one extent nearly always, so that one call does it; and
    /// a call is what either happens or does not.
    ///
    /// May sleep. Errors: as for [`insert`](Self::insert); nothing has changed then. Cost of a
    /// call: see [`change_needs`](super::change_needs).
    pub fn convert(
        &self,
        root: &mut Root,
        from: FileBlock,
        to: FileBlock,
        unwritten: bool,
    ) -> Result<FileBlock, T::Error> {
        if from >= to {
            return Ok(to);
        }
        let mut path = Path::new();
        self.find(root, from, &mut path)?;
        let entries = path.leaf(root).map_err(Corrupt::from)?;
        let found = self.next_in_state(entries, from, !unwritten);
        let (n, old) = match found.map_err(Corrupt::from)? {
            Some((n, old)) if old.first < to => (n, old),
            // The leaf ends above `from`, or the range before it does and `from` is passed over
            // together with the leaf: there is nothing to do in either.
            _ => return Ok(path.to.min(to)),
        };
        let planned = self.plan(entries, n, &old, from, to);
        let (splice, reached) = planned.map_err(Corrupt::from)?;
        let mut ready = self.unprepared();
        self.prepare(&mut path, &mut ready, splice.growth(), false, old.start)?;
        // The first entry of a leaf keeps its key: it may lose its tail, or grow.
        ready.apply(root, &mut path, &splice, false);
        Ok(reached)
    }

    /// The first extent in the leaf that ends above `from` and is unwritten, or written if not
    /// `unwritten`.
    fn next_in_state(
        &self,
        entries: Entries<'_, RawExtent>,
        from: FileBlock,
        unwritten: bool,
    ) -> Result<Option<(usize, Extent)>, ExtentError> {
        let mut n = entries.up_to(from).saturating_sub(1);
        while let Some(extent) = self.at(entries, Some(n))? {
            if extent.unwritten == unwritten && extent.end() > from {
                return Ok(Some((n, extent)));
            }
            n = n.wrapping_add(1);
        }
        Ok(None)
    }

    /// Replaces `old`, which is entry `n`, by the part before `from`, the part in `from..to` in
    /// its new state, and the part behind; the middle is joined with the neighbours where it
    /// touches them. Yields also the end of the middle.
    fn plan(
        &self,
        entries: Entries<'_, RawExtent>,
        n: usize,
        old: &Extent,
        from: FileBlock,
        to: FileBlock,
    ) -> Result<(Splice, FileBlock), ExtentError> {
        let start = old.first.max(from);
        // A written extent can be one block longer than an unwritten one.
        let to = to.min(start.saturating_add(max_len(!old.unwritten)));
        let mut middle = old.clip(start, to).ok_or(ExtentError::BadRun)?;
        middle.unwritten = !old.unwritten;
        let reached = middle.end();
        let splice = self.exchange(entries, n, old, middle)?;
        Ok((splice, reached))
    }
}
