// SPDX-License-Identifier: GPL-2.0

//! Clusters that are taken in memory and not on disk: those of a write that has not completed.
//!
//! Nothing is journalled when they are taken, so a crash leaves them free. Whoever writes to them
//! owns them: when the write has completed they are settled, together with the change of the
//! file's map, or they are given back. Their group's map counts them, and a map that counts any is
//! not forgotten.
//!
//! They are still free on disk, and promised: nobody else can count on them.

use super::{find, groups, set_run};
use crate::{
    engine::alloc::{first_block_of, goal::Goal, Run},
    fs::{fault::Fault, groups::Locked, tx::Handle, Sb},
    ondisk::{Corrupt, FsBlock, Group},
};
use kernel::prelude::*;

/// Clusters in a row, in one group, that are in flight.
#[must_use = "to be settled or given back"]
#[derive(Debug)]
pub(crate) struct InFlight {
    group: Group,
    run: Run,
}

impl InFlight {
    /// Takes up to `len` (at least `min`) clusters near `goal`.
    ///
    /// May sleep, and needs no handle. Errors: ENOSPC, EIO, ENOMEM.
    pub(crate) fn take(sb: &Sb, goal: Goal, len: u32, min: u32) -> Result<Self, Fault> {
        let take = |locked: &mut Locked<'_>, run: Run| {
            let map = locked.map(sb)?;
            map.take(run).map_err(Corrupt::from)?;
            locked.promise(run.len);
            Ok(())
        };
        let (group, run) = find(sb, goal, len, min, take)?;
        Ok(Self { group, run })
    }

    /// The first block.
    pub(crate) fn start(&self, sb: &Sb) -> FsBlock {
        first_block_of(&sb.info().geometry, self.group, self.run.start)
    }

    /// How many clusters there are.
    pub(crate) fn clusters(&self) -> u32 {
        self.run.len
    }

    /// Up to `clusters` from the front, and the rest.
    pub(crate) fn split(self, clusters: u32) -> (Self, Option<Self>) {
        let front = self.run.first(clusters);
        let rest = Run::new(front.end(), self.run.len.saturating_sub(front.len));
        let group = self.group;
        let part = |run| Self { group, run };
        (part(front), (rest.len != 0).then(|| part(rest)))
    }

    /// The write has completed: the clusters are in use on disk as well. They stay in flight on an
    /// error, and come back with it.
    ///
    /// May sleep. Errors: EUCLEAN (reported) for a damaged group, EIO, ENOMEM, and those of a
    /// journal that has been given up.
    pub(crate) fn settle(self, sb: &Sb, handle: &Handle<'_>) -> Result<(), (Self, Error)> {
        match self.try_settle(sb, handle) {
            Ok(()) => Ok(()),
            Err(e) => Err((self, e)),
        }
    }

    fn try_settle(&self, sb: &Sb, handle: &Handle<'_>) -> Result {
        let mut locked = groups(sb)?.lock(self.group).ok_or(EUCLEAN)?;
        if !locked.trusts_clusters() {
            return Err(EUCLEAN);
        }
        let settled = set_run(sb, handle, &mut locked, self.run).and_then(|()| {
            let map = locked.map(sb)?;
            Ok(map.settle(self.run).map_err(Corrupt::from)?)
        });
        match settled {
            Ok(()) => {
                locked.count_clusters(self.run.len, true);
                locked.keep_promise(self.run.len);
                Ok(())
            }
            Err(e) => {
                let e = locked.distrust_clusters(e);
                drop(locked);
                Err(e.report(sb, 0, "block bitmap"))
            }
        }
    }

    /// The write has failed, or needs them no more: the clusters are free again.
    pub(crate) fn give_back(self, sb: &Sb) {
        let Ok(groups) = groups(sb) else {
            return;
        };
        let Some(mut locked) = groups.lock(self.group) else {
            return;
        };
        locked.keep_promise(self.run.len);
        if let Err(e) = locked.give_back(self.run) {
            let e = locked.distrust_clusters(Corrupt::from(e).into());
            drop(locked);
            let _ = e.report(sb, 0, "block bitmap");
        }
    }
}
