// SPDX-License-Identifier: GPL-2.0

//! Writing to a part of a page that is dirty already, as who appends to a log does.
//!
//! Such a write needs no mapping: a dirty folio that is one block has its place on disk, or the promise
//! of one, for as long as it is locked. Only its contents change, and maybe the size of the file. iomap
//! has no such case, and asks for a mapping each time.
//!
//! Locking: i_rwsem is held for writing, and the folio's lock is taken here.

use super::{bindings, fs_type::FileSystem, inode::Inode, inode_edit::InodeEdit as _};
use kernel::{error::from_err_ptr, page::PAGE_SHIFT};

/// Writes all of `from`, if it goes to a part of a dirty page: how much that is, or 0 and nothing has been
/// taken from it.
///
/// # Safety
///
/// `iocb` is a valid request, of a file with `inode`, whose i_rwsem is held for writing; it may be
/// carried out.
#[inline]
pub(super) unsafe fn rewrite<F: FileSystem>(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
    inode: &Inode<F>,
) -> usize {
    const NOT_HERE: i32 = bindings::IOCB_NOWAIT | bindings::IOCB_DIRECT | bindings::IOCB_DONTCACHE;
    // SAFETY: by contract.
    unsafe {
        let (pos, count) = ((*iocb).ki_pos as u64, bindings::iov_iter_count(from));
        let (block, size) = (inode.super_block().block_size(), inode.size());
        let into = (pos & (block as u64).wrapping_sub(1)) as usize;
        let part = count < block && count <= block.saturating_sub(into);
        // A block of which the file has something.
        let begun = pos < size || (pos == size && into != 0);
        if !part || !begun || (*iocb).ki_flags & NOT_HERE != 0 {
            return 0;
        }
        let mapping = (*inode.as_raw()).i_mapping;
        let Ok(folio) = from_err_ptr(bindings::filemap_lock_folio(
            mapping,
            (pos >> PAGE_SHIFT) as usize,
        )) else {
            return 0;
        };
        let mut copied = 0;
        if bindings::is_whole_and_dirty(folio, block) {
            // As iomap does it: no page is to be waited for, which could be this one.
            copied = bindings::copy_to_folio(folio, into, count, from);
            if copied == count {
                let end = pos.saturating_add(count as u64);
                (*iocb).ki_pos = end as i64;
                if end > size {
                    inode.set_size(end);
                }
            } else {
                bindings::iov_iter_revert(from, copied);
                copied = 0;
            }
        }
        bindings::folio_unlock(folio);
        bindings::folio_put(folio);
        copied
    }
}
