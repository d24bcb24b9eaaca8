// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's inline functions and macros that rext4 needs, as functions that Rust can call.
 * One line each, no logic: what a helper does is what the kernel function of its name does.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/compat.h>
#include <linux/crc16.h>
#include <linux/crc32.h>
#include <linux/debugfs.h>
#include <linux/fileattr.h>
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <linux/highmem.h>
#include <linux/iomap.h>
#include <linux/ioprio.h>
#include <linux/iversion.h>
#include <linux/jbd2.h>
#include <linux/mbcache.h>
#include <linux/pagemap.h>
#include <linux/part_stat.h>
#include <linux/percpu_counter.h>
#include <linux/posix_acl.h>
#include <linux/proc_fs.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/uio.h>
#include <linux/workqueue.h>
#include <linux/writeback.h>

#include <trace/events/rext4.h>

#include "rext4_trace.h"
#if IS_ENABLED(CONFIG_KUNIT)
#include <kunit/test.h>
#include <kunit/test-bug.h>
#endif

#if !IS_ENABLED(CONFIG_JBD2) || !IS_ENABLED(CONFIG_FS_IOMAP) || !IS_ENABLED(CONFIG_CRC16)
#error "rext4 needs CONFIG_JBD2, CONFIG_FS_IOMAP and CONFIG_CRC16: CONFIG_EXT4_FS brings all three"
#endif
#if !IS_ENABLED(CONFIG_FS_POSIX_ACL) || !IS_ENABLED(CONFIG_FS_VERITY)
#error "rext4 needs CONFIG_FS_POSIX_ACL (CONFIG_EXT4_FS_POSIX_ACL brings it) and CONFIG_FS_VERITY"
#endif

#if defined(__BINDGEN__) || !defined(CONFIG_RUST_INLINE_HELPERS)
#define __rext4_helper
#else
#define __rext4_helper __always_inline
#endif

/* --- inodes --- */

__rext4_helper void *rext4_helper_alloc_inode_sb(struct super_block *sb,
						 struct kmem_cache *cache, gfp_t gfp)
{
	return alloc_inode_sb(sb, cache, gfp);
}

__rext4_helper unsigned int rext4_helper_inode_state_read_once(struct inode *inode)
{
	return inode_state_read_once(inode);
}

__rext4_helper int rext4_helper_icount_read_once(const struct inode *inode)
{
	return icount_read_once(inode);
}

__rext4_helper void rext4_helper_remove_inode_hash(struct inode *inode)
{
	remove_inode_hash(inode);
}

__rext4_helper void rext4_helper_insert_inode_hash(struct inode *inode)
{
	insert_inode_hash(inode);
}

/* Whether the dentry, by way of which the inode is known, is the only such one, and nobody else holds either. */
__rext4_helper bool rext4_helper_d_drop_sole(struct dentry *dentry, unsigned int dentry_users, int inode_users)
{
	struct inode *inode = d_inode(dentry);
	bool sole;

	spin_lock(&inode->i_lock);
	spin_lock(&dentry->d_lock);
	sole = d_count(dentry) == dentry_users && icount_read(inode) == inode_users &&
	       inode->i_dentry.first == &dentry->d_alias && !dentry->d_alias.next;
	if (sole)
		__d_drop(dentry);
	spin_unlock(&dentry->d_lock);
	spin_unlock(&inode->i_lock);
	return sole;
}

__rext4_helper struct dentry *rext4_helper_debug_dir(const char *name, struct dentry *parent)
{
	return debugfs_create_dir(name, parent);
}

__rext4_helper void rext4_helper_debug_number(const char *name, struct dentry *dir, u32 *number)
{
	debugfs_create_u32(name, 0600, dir, number);
}

__rext4_helper void rext4_helper_debug_remove(struct dentry *dir)
{
	debugfs_remove(dir);
}

__rext4_helper void rext4_helper_finish_plug_here(void)
{
	if (current->plug)
		blk_finish_plug(current->plug);
}

__rext4_helper void rext4_helper_begin_completion(struct completion *done)
{
	init_completion(done);
}

__rext4_helper void rext4_helper_mtree_lock_here(struct maple_tree *tree)
{
	mtree_lock(tree);
}

__rext4_helper void rext4_helper_mtree_unlock_here(struct maple_tree *tree)
{
	mtree_unlock(tree);
}

__rext4_helper loff_t rext4_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

__rext4_helper void rext4_helper_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

__rext4_helper void rext4_helper_i_uid_write(struct inode *inode, uid_t uid)
{
	i_uid_write(inode, uid);
}

__rext4_helper void rext4_helper_i_gid_write(struct inode *inode, gid_t gid)
{
	i_gid_write(inode, gid);
}

__rext4_helper void rext4_helper_inode_set_atime(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_atime(inode, sec, nsec);
}

__rext4_helper void rext4_helper_inode_set_mtime(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_mtime(inode, sec, nsec);
}

__rext4_helper void rext4_helper_inode_set_ctime(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_ctime(inode, sec, nsec);
}

__rext4_helper void rext4_helper_inode_set_iversion_queried(struct inode *inode, u64 version)
{
	inode_set_iversion_queried(inode, version);
}

__rext4_helper void rext4_helper_inode_set_cached_link(struct inode *inode, char *link, int len)
{
	inode_set_cached_link(inode, link, len);
}

__rext4_helper void rext4_helper_posix_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}

__rext4_helper void rext4_helper_cache_no_acl(struct inode *inode)
{
	cache_no_acl(inode);
}

__rext4_helper dev_t rext4_helper_mkdev(unsigned int major, unsigned int minor)
{
	return MKDEV(major, minor);
}

__rext4_helper void rext4_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

__rext4_helper void rext4_helper_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

__rext4_helper void rext4_helper_inode_lock_shared(struct inode *inode)
{
	inode_lock_shared(inode);
}

__rext4_helper int rext4_helper_inode_trylock_shared(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

__rext4_helper void rext4_helper_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

/* --- files, directories --- */

__rext4_helper void rext4_helper_file_accessed(struct file *file)
{
	file_accessed(file);
}

__rext4_helper size_t rext4_helper_iov_iter_count(const struct iov_iter *i)
{
	return iov_iter_count(i);
}

__rext4_helper bool rext4_helper_dir_emit(struct dir_context *ctx, const char *name, int len,
					  u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, len, ino, type);
}

__rext4_helper bool rext4_helper_is_32bit_api(void)
{
#ifdef CONFIG_COMPAT
	return in_compat_syscall();
#else
	return BITS_PER_LONG == 32;
#endif
}

/* --- page cache, iomap --- */

__rext4_helper void rext4_helper_mapping_set_large_folios(struct address_space *mapping)
{
	mapping_set_large_folios(mapping);
}

__rext4_helper void rext4_helper_mapping_set_folio_min_order(struct address_space *mapping,
							     unsigned int min)
{
	mapping_set_folio_min_order(mapping, min);
}

__rext4_helper void rext4_helper_iomap_bio_read_folio(struct folio *folio,
						      const struct iomap_ops *ops)
{
	iomap_bio_read_folio(folio, ops);
}

__rext4_helper loff_t rext4_helper_readahead_pos(struct readahead_control *rac)
{
	return readahead_pos(rac);
}

__rext4_helper size_t rext4_helper_readahead_length(struct readahead_control *rac)
{
	return readahead_length(rac);
}

__rext4_helper gfp_t rext4_helper_mapping_gfp_constraint(struct address_space *mapping, gfp_t gfp)
{
	return mapping_gfp_constraint(mapping, gfp);
}

__rext4_helper struct folio *rext4_helper_readahead_folio(struct readahead_control *rac)
{
	return readahead_folio(rac);
}

__rext4_helper size_t rext4_helper_folio_size(const struct folio *folio)
{
	return folio_size(folio);
}

__rext4_helper bool rext4_helper_folio_test_uptodate(const struct folio *folio)
{
	return folio_test_uptodate(folio);
}

__rext4_helper struct folio *rext4_helper_filemap_lock_folio(struct address_space *mapping,
							     pgoff_t index)
{
	return filemap_lock_folio(mapping, index);
}

/*
 * Whether all of a locked folio is dirty, and it is one block, so that nothing more is known of its parts.
 * Its contents can be changed then.
 */
__rext4_helper bool rext4_helper_is_whole_and_dirty(struct folio *folio, size_t block)
{
	if (!folio_test_dirty(folio) || !folio_test_uptodate(folio) || folio_test_private(folio) ||
	    folio_size(folio) != block)
		return false;
	/* Who holds a page for writing makes it dirty without asking for a place. */
	if (folio_maybe_dma_pinned(folio))
		return false;
	folio_wait_stable(folio);
	return true;
}

__rext4_helper size_t rext4_helper_copy_to_folio(struct folio *folio, size_t offset, size_t bytes,
						 struct iov_iter *from)
{
	size_t copied;

	if (mapping_writably_mapped(folio->mapping))
		flush_dcache_folio(folio);
	copied = copy_folio_from_iter_atomic(folio, offset, bytes, from);
	flush_dcache_folio(folio);
	return copied;
}

__rext4_helper void rext4_helper_memcpy_to_folio(struct folio *folio, size_t offset,
						 const char *from, size_t len)
{
	memcpy_to_folio(folio, offset, from, len);
}

__rext4_helper void rext4_helper_folio_put(struct folio *folio)
{
	folio_put(folio);
}

__rext4_helper size_t rext4_helper_copy_from_iter(void *addr, size_t bytes, struct iov_iter *i)
{
	return copy_from_iter(addr, bytes, i);
}

__rext4_helper void rext4_helper_bio_first_folio(struct folio_iter *fi, struct bio *bio, int i)
{
	bio_first_folio(fi, bio, i);
}

__rext4_helper void rext4_helper_bio_next_folio(struct folio_iter *fi, struct bio *bio)
{
	bio_next_folio(fi, bio);
}

__rext4_helper void rext4_helper_iomap_bio_readahead(struct readahead_control *rac,
						     const struct iomap_ops *ops)
{
	iomap_bio_readahead(rac, ops);
}

__rext4_helper ssize_t rext4_helper_iomap_dio_read_simple(struct kiocb *iocb,
							  struct iov_iter *iter,
							  iomap_iter_begin_fn begin)
{
	return iomap_dio_read_simple(iocb, iter, begin);
}

/* --- block devices, buffers --- */

__rext4_helper bool rext4_helper_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

__rext4_helper loff_t rext4_helper_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

__rext4_helper unsigned int rext4_helper_bdev_dma_alignment(struct block_device *bdev)
{
	return bdev_dma_alignment(bdev);
}

__rext4_helper bool rext4_helper_bdev_can_atomic_write(struct block_device *bdev)
{
	return bdev_can_atomic_write(bdev);
}

__rext4_helper unsigned int rext4_helper_bdev_atomic_write_unit_min_bytes(struct block_device *bdev)
{
	return bdev_atomic_write_unit_min_bytes(bdev);
}

__rext4_helper unsigned int rext4_helper_bdev_atomic_write_unit_max_bytes(struct block_device *bdev)
{
	return bdev_atomic_write_unit_max_bytes(bdev);
}

__rext4_helper unsigned int rext4_helper_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

__rext4_helper void rext4_helper_get_bh(struct buffer_head *bh)
{
	get_bh(bh);
}

__rext4_helper void rext4_helper_brelse(struct buffer_head *bh)
{
	brelse(bh);
}

__rext4_helper void rext4_helper_lock_buffer(struct buffer_head *bh)
{
	lock_buffer(bh);
}

__rext4_helper void rext4_helper_set_buffer_bit(unsigned long nr, unsigned long *addr)
{
	set_bit(nr, addr);
}

__rext4_helper void rext4_helper_clear_buffer_bit(unsigned long nr, unsigned long *addr)
{
	clear_bit(nr, addr);
}

__rext4_helper void rext4_helper_clear_buffer_bit_unlock(unsigned long nr, unsigned long *addr)
{
	clear_bit_unlock(nr, addr);
}

__rext4_helper bool rext4_helper_test_and_set_buffer_bit(unsigned long nr, unsigned long *addr)
{
	return test_and_set_bit(nr, addr);
}

__rext4_helper bool rext4_helper_test_and_clear_buffer_bit(unsigned long nr, unsigned long *addr)
{
	return test_and_clear_bit(nr, addr);
}

__rext4_helper void rext4_helper_wait_on_buffer(struct buffer_head *bh)
{
	wait_on_buffer(bh);
}

/* --- jbd2 --- */

__rext4_helper void *rext4_helper_journal_info_here(void)
{
	return current->journal_info;
}

__rext4_helper void rext4_helper_set_journal_info_here(void *info)
{
	current->journal_info = info;
}

__rext4_helper bool rext4_helper_handle_is_aborted(handle_t *handle)
{
	return is_handle_aborted(handle);
}

__rext4_helper int rext4_helper_handle_buffer_credits(handle_t *handle)
{
	return jbd2_handle_buffer_credits(handle);
}

__rext4_helper void rext4_helper_might_wait_for_commit(journal_t *journal)
{
	jbd2_might_wait_for_commit(journal);
}

__rext4_helper void rext4_helper_journal_state_lock(journal_t *journal)
{
	write_lock(&journal->j_state_lock);
}

__rext4_helper void rext4_helper_journal_state_unlock(journal_t *journal)
{
	write_unlock(&journal->j_state_lock);
}

__rext4_helper void rext4_helper_journal_wait_called_back(journal_t *journal, const unsigned int *done)
{
	tid_t tid = READ_ONCE(journal->j_commit_sequence);

	wait_event(journal->j_wait_done_commit, tid_geq(smp_load_acquire(done), tid));
}

__rext4_helper int rext4_helper_sync_dirty_buffer_fua(struct buffer_head *bh)
{
	return __sync_dirty_buffer(bh, REQ_SYNC | REQ_FUA);
}

__rext4_helper void *rext4_helper_proc_data_of(const struct seq_file *seq)
{
	return pde_data(file_inode(seq->file));
}

__rext4_helper bool rext4_helper_bdev_is_rotational(struct block_device *bdev)
{
	return bdev_rot(bdev);
}

__rext4_helper int rext4_helper_journal_task_pid(journal_t *journal)
{
	return task_pid_vnr(journal->j_task);
}

__rext4_helper unsigned int rext4_helper_bdev_max_discard_sectors(struct block_device *bdev)
{
	return bdev_max_discard_sectors(bdev);
}

__rext4_helper unsigned int rext4_helper_bdev_discard_granularity(struct block_device *bdev)
{
	return bdev_discard_granularity(bdev);
}

__rext4_helper bool rext4_helper_freezing_here(void)
{
	return freezing(current);
}

__rext4_helper unsigned long rext4_helper_bdev_sectors_written(struct block_device *bdev)
{
	return part_stat_read(bdev, sectors[STAT_WRITE]);
}

__rext4_helper void rext4_helper_warn_on_once(bool condition)
{
	WARN_ON_ONCE(condition);
}

/* --- superblocks, memory order --- */

__rext4_helper void rext4_helper_super_set_uuid(struct super_block *sb, const u8 *uuid,
						unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}

__rext4_helper void rext4_helper_super_set_sysfs_name_bdev(struct super_block *sb)
{
	super_set_sysfs_name_bdev(sb);
}

__rext4_helper void rext4_helper_read_barrier(void)
{
	smp_rmb();
}

__rext4_helper void rext4_helper_write_barrier(void)
{
	smp_wmb();
}

/* --- tasks --- */

__rext4_helper void rext4_helper_cond_resched_here(void)
{
	cond_resched();
}

__rext4_helper bool rext4_helper_fatal_signal_pending_here(void)
{
	return fatal_signal_pending(current);
}

__rext4_helper unsigned int rext4_helper_nofs_save(void)
{
	return memalloc_nofs_save();
}

__rext4_helper void rext4_helper_rwsem_set_class(struct rw_semaphore *sem, const char *name,
						  struct lock_class_key *key)
{
	lockdep_set_class_and_name(sem, key, name);
}

__rext4_helper void rext4_helper_rwsem_write_nested(struct rw_semaphore *sem)
{
	down_write_nested(sem, SINGLE_DEPTH_NESTING);
}

__rext4_helper void rext4_helper_memalloc_retry_wait_nofs(void)
{
	memalloc_retry_wait(GFP_NOFS);
}

__rext4_helper void rext4_helper_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

__rext4_helper u64 rext4_helper_inode_peek_iversion(const struct inode *inode)
{
	return inode_peek_iversion(inode);
}

__rext4_helper bool rext4_helper_list_is_empty(const struct list_head *head)
{
	return list_empty(head);
}

/* --- fs-verity --- */

__rext4_helper int rext4_helper_fsverity_file_open(struct inode *inode, struct file *file)
{
	return fsverity_file_open(inode, file);
}

__rext4_helper void rext4_helper_set_verity_operations(struct super_block *sb,
						       const struct fsverity_operations *ops)
{
#ifdef CONFIG_FS_VERITY
	sb->s_vop = ops;
#endif
}

/*
 * Not inline in the kernel, but a loop over inline functions; the copy ends at the first error. If settled, what
 * is not on disk as it is in the page cache, or may come not to be, is an error.
 */
__rext4_helper int rext4_helper_read_mapping_bytes(struct inode *inode, loff_t pos, char *to,
						   size_t len, bool settled)
{
	while (len) {
		struct folio *folio = read_mapping_folio(inode->i_mapping, pos >> PAGE_SHIFT, NULL);
		size_t offset, n;

		if (IS_ERR(folio))
			return PTR_ERR(folio);
		if (settled && (folio_test_dirty(folio) || folio_test_writeback(folio) ||
				folio_maybe_dma_pinned(folio))) {
			folio_put(folio);
			return -EBUSY;
		}
		offset = offset_in_folio(folio, pos);
		n = min(len, folio_size(folio) - offset);
		memcpy_from_folio(to, folio, offset, n);
		folio_put(folio);
		to += n;
		pos += n;
		len -= n;
	}
	return 0;
}

/* Whether the mapping is to be written to by others; if not, it will not be later either. */
__rext4_helper bool rext4_helper_forbid_shared_writes(struct vm_area_desc *desc)
{
	if (vma_desc_test_all(desc, VMA_SHARED_BIT, VMA_WRITE_BIT))
		return true;
	if (is_shared_maywrite(&desc->vma_flags))
		vma_desc_clear_flags(desc, VMA_MAYWRITE_BIT);
	return false;
}

__rext4_helper bool rext4_helper_buffer_is_uptodate(const struct buffer_head *bh)
{
	return buffer_uptodate(bh);
}

/* --- KUnit --- */

#if IS_ENABLED(CONFIG_KUNIT)
__rext4_helper void rext4_helper_kunit_skip_here(void)
{
	struct kunit *test = kunit_get_current_test();

	if (test)
		kunit_mark_skipped(test, "needs two RAM disks that are marked (see tests/run.sh)");
}

__rext4_helper void *rext4_helper_kunit_expect_warnings(void)
{
	struct kunit *test = kunit_get_current_test();

	return test ? kunit_start_suppress_warning(test) : NULL;
}

/* How many there were; @expected is not to be used any more. */
__rext4_helper int rext4_helper_kunit_expected_warnings(void *expected)
{
	int count = kunit_suppressed_warning_count(expected);

	kunit_end_suppress_warning(kunit_get_current_test(), expected);
	return count;
}
#endif

/* --- changing inodes --- */

__rext4_helper uid_t rext4_helper_i_uid_read(const struct inode *inode)
{
	return i_uid_read(inode);
}

__rext4_helper gid_t rext4_helper_i_gid_read(const struct inode *inode)
{
	return i_gid_read(inode);
}

__rext4_helper struct timespec64 rext4_helper_inode_get_atime(const struct inode *inode)
{
	return inode_get_atime(inode);
}

__rext4_helper struct timespec64 rext4_helper_inode_get_mtime(const struct inode *inode)
{
	return inode_get_mtime(inode);
}

__rext4_helper struct timespec64 rext4_helper_inode_get_ctime(const struct inode *inode)
{
	return inode_get_ctime(inode);
}

__rext4_helper void rext4_helper_inode_spin_lock(struct inode *inode)
{
	spin_lock(&inode->i_lock);
}

__rext4_helper void rext4_helper_inode_spin_unlock(struct inode *inode)
{
	spin_unlock(&inode->i_lock);
}

__rext4_helper bool rext4_helper_is_sync(const struct inode *inode)
{
	return IS_SYNC(inode);
}

__rext4_helper bool rext4_helper_is_dirsync(const struct inode *inode)
{
	return IS_DIRSYNC(inode);
}

/* Writeback, which comes to the inode for that, expects what dirtying it would have set. */
__rext4_helper void rext4_helper_set_inode_metadata_writeback(struct inode *inode)
{
	spin_lock(&inode->i_lock);
	inode_attach_wb(inode, NULL);
	inode_state_set(inode, I_METADATA_WRITEBACK);
	spin_unlock(&inode->i_lock);
}

__rext4_helper u64 rext4_helper_inode_peek_iversion_raw(const struct inode *inode)
{
	return inode_peek_iversion_raw(inode);
}

__rext4_helper void rext4_helper_inode_set_iversion_raw(struct inode *inode, u64 version)
{
	inode_set_iversion_raw(inode, version);
}

__rext4_helper void rext4_helper_inode_fsuid_set(struct inode *inode, struct mnt_idmap *idmap)
{
	inode_fsuid_set(inode, idmap);
}

/* The ids that setattr asks for, as they will be stored; (uid_t)-1 for one without a mapping. */
__rext4_helper uid_t rext4_helper_iattr_uid(struct mnt_idmap *idmap, const struct inode *inode,
					    const struct iattr *attr)
{
	return from_kuid(i_user_ns(inode),
			 from_vfsuid(idmap, i_user_ns(inode), attr->ia_vfsuid));
}

__rext4_helper gid_t rext4_helper_iattr_gid(struct mnt_idmap *idmap, const struct inode *inode,
					    const struct iattr *attr)
{
	return from_kgid(i_user_ns(inode),
			 from_vfsgid(idmap, i_user_ns(inode), attr->ia_vfsgid));
}

__rext4_helper bool rext4_helper_iattr_changes_owner(struct mnt_idmap *idmap,
						     const struct inode *inode,
						     const struct iattr *attr)
{
	return i_uid_needs_update(idmap, attr, inode) || i_gid_needs_update(idmap, attr, inode);
}

__rext4_helper int rext4_helper_security_inode_init_security(struct inode *inode,
							     struct inode *dir,
							     const struct qstr *name,
							     const initxattrs initxattrs,
							     void *fs_data)
{
	return security_inode_init_security(inode, dir, name, initxattrs, fs_data);
}

__rext4_helper bool rext4_helper_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}

/* --- the writers' side of freezing; files --- */

__rext4_helper void rext4_helper_sb_start_intwrite(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

__rext4_helper bool rext4_helper_sb_start_intwrite_trylock(struct super_block *sb)
{
	return sb_start_intwrite_trylock(sb);
}

__rext4_helper void rext4_helper_sb_end_intwrite(struct super_block *sb)
{
	sb_end_intwrite(sb);
}

__rext4_helper bool rext4_helper_sb_start_write_trylock(struct super_block *sb)
{
	return sb_start_write_trylock(sb);
}

__rext4_helper void rext4_helper_sb_end_write(struct super_block *sb)
{
	sb_end_write(sb);
}

__rext4_helper int rext4_helper_sb_issue_discard(struct super_block *sb, sector_t block,
						 sector_t blocks, gfp_t gfp)
{
	return sb_issue_discard(sb, block, blocks, gfp, 0);
}

__rext4_helper bool rext4_helper_is_nosec(struct inode *inode)
{
	return IS_NOSEC(inode);
}

__rext4_helper bool rext4_helper_bdev_write_zeroes_unmap(struct block_device *bdev)
{
	return bdev_write_zeroes_unmap_sectors(bdev) != 0;
}

__rext4_helper int rext4_helper_sb_issue_zeroout(struct super_block *sb, sector_t block,
						 sector_t blocks, gfp_t gfp)
{
	return sb_issue_zeroout(sb, block, blocks, gfp);
}

__rext4_helper struct mnt_idmap *rext4_helper_file_mnt_idmap(const struct file *file)
{
	return file_mnt_idmap(file);
}

/* --- credentials --- */

__rext4_helper bool rext4_helper_current_fsuid_is(uid_t uid)
{
	return uid_eq(KUIDT_INIT(uid), current_fsuid());
}

__rext4_helper bool rext4_helper_current_in_group(gid_t gid)
{
	return in_group_p(KGIDT_INIT(gid));
}

/* --- per-CPU counters, the attribute block cache --- */

__rext4_helper int rext4_helper_percpu_counter_init(struct percpu_counter *counter, s64 amount,
						    gfp_t gfp)
{
	return percpu_counter_init(counter, amount, gfp);
}

__rext4_helper void rext4_helper_percpu_counter_destroy(struct percpu_counter *counter)
{
	percpu_counter_destroy(counter);
}

__rext4_helper void rext4_helper_percpu_counter_add_by(struct percpu_counter *counter, s64 amount,
						       s32 batch)
{
	percpu_counter_add_batch(counter, amount, batch);
}

__rext4_helper s64 rext4_helper_percpu_counter_sum_positive(struct percpu_counter *counter)
{
	return percpu_counter_sum_positive(counter);
}

__rext4_helper s64 rext4_helper_percpu_counter_read_positive(struct percpu_counter *counter)
{
	return percpu_counter_read_positive(counter);
}

__rext4_helper int rext4_helper_percpu_counter_compare_by(struct percpu_counter *counter, s64 to,
							  s32 batch)
{
	return __percpu_counter_compare(counter, to, batch);
}

__rext4_helper void rext4_helper_mb_cache_entry_put(struct mb_cache *cache,
						    struct mb_cache_entry *entry)
{
	mb_cache_entry_put(cache, entry);
}

__rext4_helper void rext4_helper_mb_cache_set_reusable(struct mb_cache_entry *entry, bool reusable)
{
	assign_bit(MBE_REUSABLE_B, &entry->e_flags, reusable);
}

/* The journal's thread has best-effort I/O of this level, 0 to 7. */
__rext4_helper void rext4_helper_set_journal_ioprio(journal_t *journal, int level)
{
	if (journal->j_task)
		set_task_ioprio(journal->j_task, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, level));
}

/* --- writing to files --- */

__rext4_helper int rext4_helper_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

__rext4_helper void rext4_helper_iov_iter_truncate(struct iov_iter *i, u64 count)
{
	iov_iter_truncate(i, count);
}

__rext4_helper ssize_t rext4_helper_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

__rext4_helper struct file *rext4_helper_vmf_file(struct vm_fault *vmf)
{
	return vmf->vma->vm_file;
}

__rext4_helper vm_fault_t rext4_helper_vmf_error(int err)
{
	return vmf_fs_error(err);
}

__rext4_helper void rext4_helper_sb_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

__rext4_helper void rext4_helper_sb_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

__rext4_helper loff_t rext4_helper_folio_end_pos(struct folio *folio)
{
	return folio_pos(folio) + folio_size(folio);
}

__rext4_helper void rext4_helper_list_add_head(struct list_head *entry, struct list_head *head)
{
	list_add(entry, head);
}

__rext4_helper void rext4_helper_list_add_last(struct list_head *entry, struct list_head *head)
{
	list_add_tail(entry, head);
}

__rext4_helper void rext4_helper_list_move_last(struct list_head *entry, struct list_head *head)
{
	list_move_tail(entry, head);
}

__rext4_helper void rext4_helper_list_unlink(struct list_head *entry)
{
	list_del_init(entry);
}

__rext4_helper struct shrinker *rext4_helper_shrinker_alloc_for(const char *id)
{
	return shrinker_alloc(0, "rext4-es:%s", id);
}

__rext4_helper u64 __percpu *rext4_helper_alloc_tally(void)
{
	return alloc_percpu(u64);
}

__rext4_helper void rext4_helper_free_tally(u64 __percpu *tally)
{
	free_percpu(tally);
}

__rext4_helper void rext4_helper_tally_inc(u64 __percpu *tally)
{
	this_cpu_inc(*tally);
}

__rext4_helper u64 rext4_helper_tally_sum(u64 __percpu *tally)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(tally, cpu));
	return sum;
}

/* A macro where the kernel has no swap. */
__rext4_helper int rext4_helper_swapfile_activate(struct swap_info_struct *info, struct file *file,
						  sector_t *span, const struct iomap_ops *ops)
{
	return iomap_swapfile_activate(info, file, span, ops);
}

/* Folios stay under writeback until its work is done, and reclaim waits for these. */
__rext4_helper struct workqueue_struct *rext4_helper_alloc_completion_queue(const char *id)
{
	return alloc_workqueue("rext4-conv/%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, id);
}

/* --- trace events --- */

/* Whether anybody wants to know of an event. With a constant, one test is left of it. */
__rext4_helper bool rext4_helper_traces(unsigned int event)
{
	switch (event) {
#define EVENT(name)							\
	case REXT4_TRACE_##name:					\
		return trace_rext4_##name##_enabled();
	REXT4_RANGE_EVENTS(EVENT)
	REXT4_PROMISE_EVENTS(EVENT)
	REXT4_BLOCKS_EVENTS(EVENT)
	EVENT(es_shrink)
#undef EVENT
	default:
		return false;
	}
}
