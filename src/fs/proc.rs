// SPDX-License-Identifier: GPL-2.0

//! What rext4 shows in /proc/fs/<type>/<device>/.

use super::{options, Rext4Fs, Sb};
use crate::linux::proc::ProcFile;
use kernel::{prelude::*, seq_file::SeqFile, seq_print};

/// The files there.
pub(crate) const FILES: &[ProcFile<Rext4Fs>] = &[ProcFile {
    name: c"options",
    show: show_options,
}];

/// All options that are in effect, one per line, defaults included; in front of them whether the
/// file system is mounted read-only.
fn show_options(sb: &Sb, out: &SeqFile) -> Result {
    seq_print!(out, "{}", if sb.is_rdonly() { "ro" } else { "rw" });
    options::show_all(sb, out)?;
    seq_print!(out, "\n");
    Ok(())
}
