// SPDX-License-Identifier: GPL-2.0

//! Writing the page cache of a regular file to disk.
//!
//! iomap walks the dirty folios and asks, for each dirty range of a folio, where it goes
//! ([`WritebackOps::place`]); neighbouring ranges that go to neighbouring places share an I/O. When
//! one has ended, the file system may have something to do before the folios are clean
//! ([`WritebackOps::complete`], see [`super::ioend`]).

use super::{
    bindings,
    fs_type::FileSystem,
    inode::Inode,
    ioend::{self, Batch},
    iomap::Iomap,
};
use core::marker::PhantomData;
use kernel::{ffi::c_int, prelude::*};

/// Where dirty data goes.
pub(crate) trait WritebackOps: 'static {
    /// The file system.
    type Fs: FileSystem;
    /// What a pass over a file keeps from one range to the next.
    type Pass: Default;

    /// Says where the dirty bytes from `pos` on are to be written, at most `len` (whole blocks) of
    /// them; a hole says that they need not be. The folio that they are in is locked. May sleep, and
    /// wait for a commit.
    ///
    /// Errors: what fsync is to say. [`abandon`](Self::abandon) is called then.
    fn place(
        inode: &Inode<Self::Fs>,
        pass: &mut Self::Pass,
        pos: u64,
        len: u64,
        out: &mut Iomap<'_>,
    ) -> Result;

    /// The bytes `from..to` of a locked folio will not be written: they are not dirty any more.
    fn abandon(inode: &Inode<Self::Fs>, from: u64, to: u64);

    /// The pass has ended. No folio is locked.
    fn end(inode: &Inode<Self::Fs>, pass: Self::Pass);

    /// Whether an in-place write that ends at byte `end` of the file is to be completed by
    /// [`complete`](Self::complete). (Others are.)
    fn wants_completion(inode: &Inode<Self::Fs>, start: u64, end: u64) -> bool;

    /// Writes have ended, with errors or without. The folios stay under writeback until it returns.
    /// On a workqueue; may sleep, but must not wait for a folio, or for an inode's lock.
    fn complete(inode: &Inode<Self::Fs>, batch: &Batch<'_>);
}

/// A pass over a file. iomap sees the first member.
#[repr(C)]
struct Context<W: WritebackOps> {
    raw: bindings::iomap_writepage_ctx,
    pass: W::Pass,
}

/// `writepages` of a file that is written by `W`.
///
/// # Safety
///
/// For the page cache only.
pub(super) unsafe extern "C" fn writepages<W: WritebackOps>(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // SAFETY: the caller holds the inode of the mapping, which is one of ours.
    unsafe {
        let inode = (*mapping).host;
        let mut context = Context::<W> {
            raw: bindings::iomap_writepage_ctx {
                inode,
                wbc,
                ops: &Table::<W>::TABLE,
                ..Default::default()
            },
            pass: W::Pass::default(),
        };
        let ret = bindings::iomap_writepages(&raw mut context.raw);
        W::end(Inode::from_raw(inode), context.pass);
        ret
    }
}

struct Table<W: WritebackOps>(PhantomData<W>);

impl<W: WritebackOps> Table<W> {
    const TABLE: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        writeback_range: Some(range::<W>),
        writeback_submit: Some(submit::<W>),
    };
}

/// `writeback_range`.
///
/// # Safety
///
/// For iomap only, in `writepages`: `wpc` is the first member of a `Context<W>`.
unsafe extern "C" fn range<W: WritebackOps>(
    wpc: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    pos: u64,
    len: u32,
    end_pos: u64,
) -> isize {
    // SAFETY: by contract; the folio is locked, and of the inode's mapping.
    unsafe {
        let context: *mut Context<W> = wpc.cast();
        let raw = (*wpc).inode;
        let inode = Inode::from_raw(raw);
        let iomap = &mut (*wpc).iomap;
        *iomap = bindings::iomap {
            bdev: (*(*raw).i_sb).s_bdev,
            ..Default::default()
        };
        let placed = W::place(
            inode,
            &mut (*context).pass,
            pos,
            len.into(),
            &mut Iomap::new(iomap),
        );
        let ret = match placed {
            Ok(()) => bindings::iomap_add_to_ioend(wpc, folio, pos as i64, end_pos as i64, len),
            Err(e) => e.to_errno() as isize,
        };
        if ret < 0 {
            W::abandon(inode, pos, bindings::folio_end_pos(folio) as u64);
        }
        ret
    }
}

/// `writeback_submit`.
///
/// # Safety
///
/// For iomap only, in `writepages`, when there is an ioend.
unsafe extern "C" fn submit<W: WritebackOps>(
    wpc: *mut bindings::iomap_writepage_ctx,
    error: c_int,
) -> c_int {
    // SAFETY: by contract.
    unsafe {
        let ioend: *mut bindings::iomap_ioend = (*wpc).wb_ctx.cast();
        let flags = u32::from((*ioend).io_flags);
        let special = bindings::IOMAP_IOEND_SHARED | bindings::IOMAP_IOEND_UNWRITTEN;
        let start = (*ioend).io_offset as u64;
        let end = start.saturating_add((*ioend).io_size as u64);
        if flags & special != 0 || W::wants_completion(Inode::from_raw((*wpc).inode), start, end) {
            ioend::note_len(ioend);
            ioend::complete_by::<W>(ioend);
        }
        bindings::iomap_ioend_writeback_submit(wpc, error)
    }
}
