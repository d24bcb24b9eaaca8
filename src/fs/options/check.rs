// SPDX-License-Identifier: GPL-2.0

//! What can be said against options only when the file system and the options in force are known.

use super::{MountedAs, Options, Parsed, QuotaFile, Toggles};
use crate::{
    linux::fs_context::FsContext,
    ondisk::{features::RoCompat, geometry::Geometry},
};
use kernel::prelude::*;

impl Options {
    /// Checks `given` against the file system and the options in force. The result is `given`
    /// without what is ignored, which has been reported.
    pub(super) fn check(
        &self,
        fc: &FsContext,
        kind: MountedAs,
        given: &Parsed,
        geometry: &Geometry,
        remount: bool,
    ) -> Result<Parsed> {
        if given.not_ext2 && kind == MountedAs::Ext2 {
            return Err(fc.invalid(fmt!("Mount option(s) incompatible with ext2")));
        }
        if given.not_ext3 && kind == MountedAs::Ext3 {
            return Err(fc.invalid(fmt!("Mount option(s) incompatible with ext3")));
        }
        let room = u32::from(geometry.inode_size()).saturating_sub(128);
        if let Some(size) = given.want_extra_isize {
            if size > room {
                return Err(fc.invalid(fmt!("Invalid want_extra_isize {}", size)));
            }
        }
        let mut given = given.clone();
        if remount {
            self.check_remount(fc, &mut given)?;
        }
        self.check_quota(fc, &mut given, geometry)?;
        Ok(given)
    }

    /// What a remount may not change.
    fn check_remount(&self, fc: &FsContext, given: &mut Parsed) -> Result {
        if given.data.is_some() && self.data.is_none() {
            fc.warn(fmt!(
                "Remounting file system with no journal so ignoring journalled data option"
            ));
            given.data = None;
        }
        if given.data.is_some() && given.data != self.data {
            return Err(fc.invalid(fmt!("Cannot change data mode on remount")));
        }
        if self.toggles.has(Toggles::DELALLOC) && given.off.has(Toggles::DELALLOC) {
            return Err(fc.invalid(fmt!("can't disable delalloc during remount")));
        }
        if self.data.is_none() && given.on.has(Toggles::DATA_ERR_ABORT) {
            fc.warn(fmt!(
                "Remounting fs w/o journal so ignoring data_err option"
            ));
            given.turn(Toggles::DATA_ERR_ABORT, false);
        }
        match given.dax {
            Some(dax) if dax != self.dax => {
                Err(fc.invalid(fmt!("can't change dax mount option while remounting")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the quota options fit together and the file system.
    fn check_quota(&self, fc: &FsContext, given: &mut Parsed, geometry: &Geometry) -> Result {
        if given.on.has(Toggles::PRJQUOTA) && !geometry.has(RoCompat::PROJECT) {
            return Err(fc.invalid(fmt!(
                "Project quota feature not enabled. Cannot enable project quota enforcement."
            )));
        }
        let has_feature = geometry.has(RoCompat::QUOTA);
        if given.quota_files.iter().any(Option::is_some) {
            for (mine, theirs, name) in self.quota_files_beside(given) {
                if let (Some(mine), Some(theirs)) = (mine, theirs) {
                    if mine.as_bytes() != theirs.as_bytes() {
                        return Err(fc.invalid(fmt!("{} quota file already specified", name)));
                    }
                }
            }
            if has_feature {
                fc.info(fmt!(
                    "Journaled quota options ignored when QUOTA feature is enabled"
                ));
            }
        } else if given.quota_format.is_some() && has_feature {
            fc.info(fmt!(
                "Quota format mount options ignored when QUOTA feature is enabled"
            ));
        }
        if has_feature {
            given.quota_files = [None, None];
            given.quota_format = None;
            return Ok(());
        }

        // The older way (usrquota, with the file's name fixed) and the newer (usrjquota=, jqfmt=)
        // exclude each other, for users and groups together.
        let mut journaled = false;
        let mut plain = false;
        let kinds = [Toggles::USRQUOTA, Toggles::GRPQUOTA];
        for ((mine, theirs, _), toggle) in self.quota_files_beside(&given.clone()).zip(kinds) {
            if mine.is_some() || theirs.is_some() {
                journaled = true;
                given.turn(toggle, false);
            } else if given.on.has(toggle) || self.toggles.has(toggle) {
                plain = true;
            }
        }
        if journaled && plain {
            return Err(fc.invalid(fmt!("old and new quota format mixing")));
        }
        if journaled && given.quota_format.or(self.quota_format).is_none() {
            return Err(fc.invalid(fmt!("journaled quota format not specified")));
        }
        Ok(())
    }

    /// For users and groups: the quota file in force, the one that is given, and what they are
    /// called in messages.
    fn quota_files_beside<'a>(
        &'a self,
        given: &'a Parsed,
    ) -> impl Iterator<Item = (Option<&'a QuotaFile>, Option<&'a QuotaFile>, &'static str)> {
        self.quota_files
            .iter()
            .zip(&given.quota_files)
            .zip(["user", "group"])
            .map(|((mine, theirs), name)| {
                (
                    mine.as_ref(),
                    theirs.as_ref().and_then(Option::as_ref),
                    name,
                )
            })
    }
}
