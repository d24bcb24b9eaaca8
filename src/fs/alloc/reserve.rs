// SPDX-License-Identifier: GPL-2.0

//! Promises of space to data that has no place yet.
//!
//! What is promised is counted together with what is in flight: neither is free for anybody else,
//! nor for statfs, and a promise that becomes a place in flight changes nothing in the count
//! ([`super::place::Place::backed_by`]). Only when the clusters are in use on disk both counts, the
//! free ones and the promised, go down together.
//!
//! Locking: none. From any context that may sleep; no handle is needed, and having one does not
//! matter.

use super::groups;
use crate::{
    engine::reserve::{self, Reservation, Shortage},
    fs::{trace::PromiseEvent, Sb},
};
use kernel::prelude::*;

/// Promises `clusters` to the calling task.
///
/// Errors: ENOSPC when they are not to be had by who asks (see [`crate::fs::reserved`]), also if a
/// commit would bring some (`handle::may_retry`); EROFS on a file system that cannot be written.
pub(crate) fn reserve(sb: &Sb, clusters: u64) -> Result<Reservation> {
    let groups = groups(sb)?;
    let info = sb.info();
    let by = i64::try_from(clusters).map_err(|_| ENOSPC)?;
    // Counted before it is checked: of two who want the last ones, not both get them.
    groups.promised.add(by);
    match info.reserved.check(&info.geometry, groups, 0, false) {
        Ok(()) => {
            PromiseEvent::Reserve.of(sb, clusters);
            Ok(Reservation::of(clusters))
        }
        Err(e) => {
            groups.promised.sub(by);
            Err(e)
        }
    }
}

/// As [`reserve`], or fewer if there are not as many: at least 1.
///
/// Errors: as `reserve`.
pub(crate) fn reserve_some(sb: &Sb, clusters: u32) -> Result<Reservation> {
    let mut want = clusters.max(1);
    loop {
        match reserve(sb, want.into()) {
            Err(e) if e == ENOSPC && want > 1 => want >>= 1,
            result => return result,
        }
    }
}

/// What was promised is not needed any more.
pub(crate) fn release(sb: &Sb, reservation: Reservation) {
    let clusters = reservation.into_clusters();
    if clusters == 0 {
        return;
    }
    PromiseEvent::Release.of(sb, clusters);
    if let (Ok(groups), Ok(by)) = (groups(sb), i64::try_from(clusters)) {
        groups.promised.sub(by);
    }
}

/// How short space is: whether writers are to be asked to write back, or to find places at once. By
/// counts that are approximate, and cheap.
pub(crate) fn shortage(sb: &Sb) -> Shortage {
    let Ok(groups) = groups(sb) else {
        return Shortage::default();
    };
    let (free, promised) = (&groups.free_clusters, &groups.promised);
    reserve::shortage(free.read(), promised.read(), free.error())
}
