// SPDX-License-Identifier: GPL-2.0

//! What rext4 shows in /proc/fs/<type>/<device>/.

use super::{Rext4Fs, Sb};
use crate::linux::proc::ProcFile;
use kernel::{prelude::*, seq_file::SeqFile};

/// The files there.
pub(crate) const FILES: &[ProcFile<Rext4Fs>] = &[ProcFile {
    name: c"options",
    show: show_options,
}];

/// All options that are in effect, defaults included.
fn show_options(sb: &Sb, out: &SeqFile) -> Result {
    sb.info().options.lock().show_all(sb.is_rdonly(), out);
    Ok(())
}
