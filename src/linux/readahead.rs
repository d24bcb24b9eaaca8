// SPDX-License-Identifier: GPL-2.0

//! Reading ahead what lies in one run on the device.
//!
//! Most readahead windows are inside one extent. iomap gives each of their large folios a state
//! with a bit per block before it reads them, and a bio with room for every page. Here it is
//! known that whole folios are read by whole bios: a folio needs no state (iomap makes one from
//! the folio's own uptodate flag when somebody writes to it), and a bio no more segments than
//! there are folios.
//!
//! A failed read leaves its folios without contents and says nothing: readahead is a hint, and
//! whoever wants the data reads the folio through iomap, which reports the error.

use super::bindings;
use core::ptr;

/// Reads all folios of `rac` from byte `addr` of `bdev` on.
///
/// # Safety
///
/// For the `readahead` operation only, with its argument and before any folio was taken from it.
/// The device holds as many bytes from `addr` on, a multiple of 512, and `bdev` outlives the
/// page cache.
pub(super) unsafe fn read_run(
    rac: *mut bindings::readahead_control,
    bdev: *mut bindings::block_device,
    addr: u64,
) {
    let mut sector = addr >> 9;
    let mut bio: *mut bindings::bio = ptr::null_mut();
    // SAFETY: the request is valid, and its folios, which come locked, stay in the page cache as
    // long as they are locked: the bio's end unlocks them. A bio is ours until it is submitted.
    unsafe {
        let mut left = bindings::readahead_length(rac);
        loop {
            let folio = bindings::readahead_folio(rac);
            if folio.is_null() {
                break;
            }
            let len = bindings::folio_size(folio);
            if bio.is_null() || !bindings::bio_add_folio(bio, folio, len, 0) {
                submit(bio);
                // The folios of a window grow towards its middle: one more for the small ones.
                bio = alloc(rac, bdev, left.div_ceil(len.max(1)).wrapping_add(1));
                if bio.is_null() {
                    bindings::folio_end_read(folio, false);
                } else {
                    (*bio).bi_iter.bi_sector = sector;
                    bindings::bio_add_folio_nofail(bio, folio, len, 0);
                }
            }
            left = left.saturating_sub(len);
            sector = sector.wrapping_add((len >> 9) as u64);
        }
        submit(bio);
    }
}

/// A bio with room for `folios` folios, or for one, or NULL.
///
/// # Safety
///
/// As [`read_run`].
unsafe fn alloc(
    rac: *mut bindings::readahead_control,
    bdev: *mut bindings::block_device,
    folios: usize,
) -> *mut bindings::bio {
    let vecs = folios.min(bindings::BIO_MAX_VECS as usize) as u16;
    let op = bindings::REQ_OP_READ | bindings::REQ_RAHEAD;
    // SAFETY: the caller's contract.
    unsafe {
        let gfp = bindings::mapping_gfp_constraint((*rac).mapping, bindings::GFP_KERNEL);
        let easy = gfp | bindings::__GFP_NORETRY | bindings::__GFP_NOWARN;
        let set = &raw mut bindings::fs_bio_set;
        let mut bio = bindings::bio_alloc_bioset(bdev, vecs, op, easy, set);
        if bio.is_null() {
            bio = bindings::bio_alloc_bioset(bdev, 1, op, gfp, set);
        }
        if !bio.is_null() {
            (*bio).bi_end_io = Some(end_io);
        }
        bio
    }
}

/// # Safety
///
/// `bio` is NULL or has folios and was not submitted.
unsafe fn submit(bio: *mut bindings::bio) {
    if !bio.is_null() {
        // SAFETY: the caller's contract.
        unsafe { bindings::submit_bio(bio) };
    }
}

/// The end of a bio of [`read_run`]. May run in interrupt context.
///
/// # Safety
///
/// For the block layer only.
unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
    let mut at = bindings::folio_iter::default();
    // SAFETY: the bio is ours again; its folios are locked until they are ended here, each once,
    // and the iterator does not look back at one that it has left.
    unsafe {
        let success = (*bio).bi_status == 0;
        bindings::bio_first_folio(&mut at, bio, 0);
        while !at.folio.is_null() {
            bindings::folio_end_read(at.folio, success);
            bindings::bio_next_folio(&mut at, bio);
        }
        bindings::bio_put(bio);
    }
}
