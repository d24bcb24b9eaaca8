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

use super::{bindings, folio::UnreadFolio};
use core::{mem::ManuallyDrop, ptr::NonNull};

/// Reads all folios of `rac` from byte `addr` of `bdev` on.
///
/// # Safety
///
/// For the `readahead` operation only, with its argument and before any folio was taken from it.
/// `bdev` outlives the page cache.
pub(super) unsafe fn read_run(
    rac: *mut bindings::readahead_control,
    bdev: *mut bindings::block_device,
    addr: u64,
) {
    let mut sector = addr >> 9;
    // SAFETY: the request is valid.
    let mut left = unsafe { bindings::readahead_length(rac) };
    let mut bio: Option<ReadBio> = None;
    // SAFETY: as above.
    while let Some(folio) = unsafe { UnreadFolio::next(rac) } {
        let len = folio.size();
        let refused = match &mut bio {
            Some(bio) => bio.add(folio),
            None => Some(folio),
        };
        if let Some(folio) = refused {
            if let Some(full) = bio.take() {
                full.submit();
            }
            // The folios of a window grow towards its middle: one more for the small ones.
            let folios = left.div_ceil(len.max(1)).wrapping_add(1);
            // Without a bio the folio is dropped, which is to say not read.
            // SAFETY: by contract, and the request's mapping is that of its folios.
            bio = unsafe { ReadBio::new((*rac).mapping, bdev, folios, sector) }.map(|mut bio| {
                bio.add(folio);
                bio
            });
        }
        left = left.saturating_sub(len);
        sector = sector.wrapping_add((len >> 9) as u64);
    }
    if let Some(bio) = bio {
        bio.submit();
    }
}

/// A read of the device into folios that is being put together.
///
/// # Invariants
///
/// The bio is ours, and so is every folio in it ([`UnreadFolio`]), until it is submitted.
struct ReadBio(NonNull<bindings::bio>);

impl ReadBio {
    /// A read from `sector` (512 bytes) of `bdev` on, with room for `folios` folios, or for one if
    /// memory is short, of the page cache `mapping`. `None` without memory.
    ///
    /// # Safety
    ///
    /// `mapping` must be valid, and `bdev` stay open until the read has ended.
    unsafe fn new(
        mapping: *mut bindings::address_space,
        bdev: *mut bindings::block_device,
        folios: usize,
        sector: u64,
    ) -> Option<Self> {
        let vecs = folios.min(bindings::BIO_MAX_VECS as usize) as u16;
        let op = bindings::REQ_OP_READ | bindings::REQ_RAHEAD;
        let set = &raw mut bindings::fs_bio_set;
        // SAFETY: by contract; the set is the kernel's.
        unsafe {
            let gfp = bindings::mapping_gfp_constraint(mapping, bindings::GFP_KERNEL);
            let easy = gfp | bindings::__GFP_NORETRY | bindings::__GFP_NOWARN;
            let bio = NonNull::new(bindings::bio_alloc_bioset(bdev, vecs, op, easy, set))
                .or_else(|| NonNull::new(bindings::bio_alloc_bioset(bdev, 1, op, gfp, set)))?;
            (*bio.as_ptr()).bi_end_io = Some(end_io);
            (*bio.as_ptr()).bi_iter.bi_sector = sector;
            // INVARIANT: nobody else has it, and it is empty.
            Some(Self(bio))
        }
    }

    /// Adds a folio behind the others; gives it back if there is no room.
    #[inline]
    fn add(&mut self, folio: UnreadFolio) -> Option<UnreadFolio> {
        // SAFETY: by the type invariant; the whole of a folio is added.
        if unsafe { bindings::bio_add_folio(self.0.as_ptr(), folio.as_raw(), folio.size(), 0) } {
            // INVARIANT: it is the bio's now.
            folio.into_raw();
            return None;
        }
        Some(folio)
    }

    /// Hands it to the block layer.
    #[inline]
    fn submit(self) {
        // SAFETY: by the type invariant; `end_io` gets it back.
        unsafe { bindings::submit_bio(ManuallyDrop::new(self).0.as_ptr()) };
    }
}

impl Drop for ReadBio {
    fn drop(&mut self) {
        // SAFETY: by the type invariant; never submitted, so it ends here.
        unsafe { finish(self.0.as_ptr(), false) };
    }
}

/// The end of a submitted [`ReadBio`]. May run in interrupt context.
///
/// # Safety
///
/// For the block layer only.
unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
    // SAFETY: the bio is ours again, with its folios.
    unsafe { finish(bio, (*bio).bi_status == 0) };
}

/// Ends the folios of a bio and frees it.
///
/// # Safety
///
/// The bio must be that of a [`ReadBio`] which is not used any more.
#[inline]
unsafe fn finish(bio: *mut bindings::bio, success: bool) {
    let mut at = bindings::folio_iter::default();
    // SAFETY: by contract. The iterator goes past a folio without looking at it again.
    unsafe {
        bindings::bio_first_folio(&mut at, bio, 0);
        while let Some(folio) = NonNull::new(at.folio) {
            UnreadFolio::from_raw(folio).end(success);
            bindings::bio_next_folio(&mut at, bio);
        }
        bindings::bio_put(bio);
    }
}
