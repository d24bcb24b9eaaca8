/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads. The kernel crate's own bindings come first in src/linux/bindings.rs; this
 * adds the headers that it does not cover. Constants that bindgen cannot evaluate are repeated
 * as REXT4_CONST_*, and lose the prefix in the generated file.
 */
#include <linux/hrtimer_types.h>

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/crc16.h>
#include <linux/crc32.h>
#include <linux/exportfs.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/filelock.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/fserror.h>
#include <linux/fsverity.h>
#include <linux/iomap.h>
#include <linux/ioprio.h>
#include <linux/iversion.h>
#include <linux/jbd2.h>
#include <linux/kobject.h>
#include <linux/maple_tree.h>
#include <linux/mbcache.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/statfs.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include <linux/writeback.h>
#include <linux/xattr.h>

#include "rext4_trace.h"

const unsigned long REXT4_CONST_SB_RDONLY = SB_RDONLY;
const unsigned long REXT4_CONST_SB_SILENT = SB_SILENT;
const unsigned long REXT4_CONST_SB_POSIXACL = SB_POSIXACL;
const unsigned long REXT4_CONST_SB_LAZYTIME = SB_LAZYTIME;
const unsigned long REXT4_CONST_SB_NOSEC = SB_NOSEC;
const fop_flags_t REXT4_CONST_FOP_BUFFER_RASYNC = FOP_BUFFER_RASYNC;
const fop_flags_t REXT4_CONST_FOP_DONTCACHE = FOP_DONTCACHE;
const fop_flags_t REXT4_CONST_FOP_DIO_PARALLEL_WRITE = FOP_DIO_PARALLEL_WRITE;
const gfp_t REXT4_CONST_GFP_NOFS = GFP_NOFS;
const slab_flags_t REXT4_CONST_SLAB_RECLAIM_ACCOUNT = SLAB_RECLAIM_ACCOUNT;
const slab_flags_t REXT4_CONST_SLAB_ACCOUNT = SLAB_ACCOUNT;
const gfp_t REXT4_CONST___GFP_MOVABLE = __GFP_MOVABLE;
const gfp_t REXT4_CONST___GFP_NOFAIL = __GFP_NOFAIL;
const gfp_t REXT4_CONST___GFP_NORETRY = __GFP_NORETRY;
const gfp_t REXT4_CONST___GFP_NOWARN = __GFP_NOWARN;
const blk_mode_t REXT4_CONST_BLK_OPEN_READ = BLK_OPEN_READ;
const blk_mode_t REXT4_CONST_BLK_OPEN_WRITE = BLK_OPEN_WRITE;
const blk_mode_t REXT4_CONST_BLK_OPEN_RESTRICT_WRITES = BLK_OPEN_RESTRICT_WRITES;
const blk_opf_t REXT4_CONST_REQ_OP_READ = REQ_OP_READ;
const blk_opf_t REXT4_CONST_REQ_RAHEAD = REQ_RAHEAD;
const fmode_t REXT4_CONST_FMODE_32BITHASH = FMODE_32BITHASH;
const fmode_t REXT4_CONST_FMODE_64BITHASH = FMODE_64BITHASH;
const fmode_t REXT4_CONST_FMODE_READ = FMODE_READ;
const fmode_t REXT4_CONST_FMODE_WRITE = FMODE_WRITE;
const fmode_t REXT4_CONST_FMODE_NOWAIT = FMODE_NOWAIT;
const fmode_t REXT4_CONST_FMODE_CAN_ODIRECT = FMODE_CAN_ODIRECT;
const fmode_t REXT4_CONST_FMODE_CAN_ATOMIC_WRITE = FMODE_CAN_ATOMIC_WRITE;
const int REXT4_CONST_FALLOC_FL_KEEP_SIZE = FALLOC_FL_KEEP_SIZE;
const int REXT4_CONST_FALLOC_FL_PUNCH_HOLE = FALLOC_FL_PUNCH_HOLE;
const int REXT4_CONST_FALLOC_FL_COLLAPSE_RANGE = FALLOC_FL_COLLAPSE_RANGE;
const int REXT4_CONST_FALLOC_FL_ZERO_RANGE = FALLOC_FL_ZERO_RANGE;
const int REXT4_CONST_FALLOC_FL_INSERT_RANGE = FALLOC_FL_INSERT_RANGE;
const int REXT4_CONST_FALLOC_FL_WRITE_ZEROES = FALLOC_FL_WRITE_ZEROES;
const unsigned int REXT4_CONST_O_DSYNC = O_DSYNC;
const int REXT4_CONST_IOCB_NOWAIT = IOCB_NOWAIT;
const int REXT4_CONST_IOCB_DIRECT = IOCB_DIRECT;
const int REXT4_CONST_IOCB_APPEND = IOCB_APPEND;
const int REXT4_CONST_IOCB_HIPRI = IOCB_HIPRI;
const int REXT4_CONST_IOCB_ATOMIC = IOCB_ATOMIC;
const int REXT4_CONST_IOCB_DONTCACHE = IOCB_DONTCACHE;
const int REXT4_CONST_IOCB_DSYNC = IOCB_DSYNC;
const unsigned int REXT4_CONST_LOOKUP_FOLLOW = LOOKUP_FOLLOW;
const unsigned int REXT4_CONST_HZ = HZ;
const unsigned int REXT4_CONST_SB_I_VERSION = SB_I_VERSION;
