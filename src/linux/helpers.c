// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's inline functions and macros that rext4 needs, as functions that Rust can call.
 * One line each, no logic: what a helper does is what the kernel function of its name does.
 */
#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/crc32.h>
#include <linux/fs.h>
#include <linux/iomap.h>
#include <linux/jbd2.h>
#include <linux/pagemap.h>

#if defined(__BINDGEN__) || !defined(CONFIG_RUST_INLINE_HELPERS)
#define __rext4_helper
#else
#define __rext4_helper __always_inline
#endif

__rext4_helper loff_t rext4_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}
