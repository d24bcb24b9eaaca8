// SPDX-License-Identifier: GPL-2.0

//! Mapping blocks where there is a hole.

use super::path::Path;
use super::prepare::Splice;
use super::{ExtentEditor, Root};
use crate::engine::change::{Blocks, Transaction};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::{Entries, Extent, ExtentError, RawExtent};
use crate::ondisk::{Corrupt, FileBlock};

/// What came of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Inserted {
    /// The blocks are mapped.
    Done,
    /// Nothing has changed, because part of the range is mapped already, from this block on.
    Taken(FileBlock),
}

impl<T, B, Z> ExtentEditor<'_, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Maps `new`, all of which must be a hole, joining it with the extents around it in its
    /// leaf where they continue each other. At most [`max_len`] blocks long.
    ///
    /// May sleep. Errors: from the transaction and the allocator, [`Corrupt::Extent`] for a
    /// damaged tree or an extent that cannot be expressed; nothing has changed then. Cost: see
    /// [`change_needs`].
    ///
    /// [`max_len`]: crate::ondisk::extent::edit::max_len
    /// [`change_needs`]: super::change_needs
    pub fn insert(&self, root: &mut Root, new: &Extent) -> Result<Inserted, T::Error> {
        // What cannot be expressed is not looked up.
        new.entry().map_err(Corrupt::from)?;
        let mut path = Path::new();
        self.find(root, new.first, &mut path)?;
        let entries = path.leaf(root).map_err(Corrupt::from)?;
        let at = entries.up_to(new.first);
        let old_first = entries.first();
        let left = self.at(entries, at.checked_sub(1)).map_err(Corrupt::from)?;
        let right = self.at(entries, Some(at)).map_err(Corrupt::from)?;
        if left.is_some_and(|left| left.end() > new.first) {
            return Ok(Inserted::Taken(new.first));
        }
        let next = right.map_or(path.to, |right| right.first);
        if next < new.end() {
            return Ok(Inserted::Taken(next));
        }
        let (splice, first) = match place(at, left, new, right) {
            Ok(splice) => splice,
            Err(e) => return Err(Corrupt::from(e).into()),
        };
        // The key of the leaf's first entry is the root's own business if it is the leaf.
        let key = splice.at == 0 && path.depth > 0 && old_first != Some(first);
        let mut ready = self.unprepared();
        self.prepare(&mut path, &mut ready, splice.growth(), key, new.start)?;
        ready.apply(root, &mut path, &splice, key);
        Ok(Inserted::Done)
    }

    /// Entry `n`, checked; `None` if there is none.
    #[inline]
    pub(super) fn at(
        &self,
        entries: Entries<'_, RawExtent>,
        n: Option<usize>,
    ) -> Result<Option<Extent>, ExtentError> {
        match n.and_then(|n| entries.get(n)) {
            Some(raw) => raw.check(self.bounds).map(Some),
            None => Ok(None),
        }
    }
}

/// How `new` comes to stand between its neighbours, of which the right one is entry `at`; and
/// with which first block.
#[inline]
fn place(
    at: usize,
    left: Option<Extent>,
    new: &Extent,
    right: Option<Extent>,
) -> Result<(Splice, FileBlock), ExtentError> {
    let before = at.saturating_sub(1);
    let from_left = left.and_then(|left| left.join(new));
    let to_right = right.and_then(|right| new.join(&right));
    let both = from_left.zip(right).and_then(|(l, r)| l.join(&r));
    let (mut splice, joined) = match (both, from_left, to_right) {
        (Some(both), ..) => (Splice::new(before, 2), both),
        (None, Some(left), _) => (Splice::new(before, 1), left),
        (None, None, Some(right)) => (Splice::new(at, 1), right),
        (None, None, None) => (Splice::new(at, 0), *new),
    };
    splice.push(&joined)?;
    Ok((splice, joined.first))
}
