/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trace events of rext4: where blocks of files are, what the extent status cache knows, and what the
 * allocator does. In /sys/kernel/tracing/events/rext4.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM rext4

#if !defined(_TRACE_REXT4_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_REXT4_H

#include <linux/fs.h>
#include <linux/tracepoint.h>

/* As src/fs/trace.rs passes them. */
#define show_rext4_kind(kind)			\
	__print_symbolic(kind,			\
			 { 0, "unknown" },	\
			 { 1, "hole" },		\
			 { 2, "written" },	\
			 { 3, "unwritten" },	\
			 { 4, "delayed" },	\
			 { 5, "in flight" })

/* Blocks of a file; "at" is 0 for what has no place on the device. */
DECLARE_EVENT_CLASS(rext4_range,
	TP_PROTO(const struct inode *inode, u32 lblk, u32 len, u8 kind, u64 at),

	TP_ARGS(inode, lblk, len, kind, at),

	TP_STRUCT__entry(
		__field(dev_t,	dev)
		__field(u64,	ino)
		__field(u64,	at)
		__field(u32,	lblk)
		__field(u32,	len)
		__field(u8,	kind)
	),

	TP_fast_assign(
		__entry->dev = inode->i_sb->s_dev;
		__entry->ino = inode->i_ino;
		__entry->at = at;
		__entry->lblk = lblk;
		__entry->len = len;
		__entry->kind = kind;
	),

	TP_printk("dev %d,%d ino %llu lblk %u len %u %s at %llu",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino, __entry->lblk,
		  __entry->len, show_rext4_kind(__entry->kind), __entry->at)
);

#define DEFINE_REXT4_RANGE_EVENT(name)						\
DEFINE_EVENT(rext4_range, name,							\
	TP_PROTO(const struct inode *inode, u32 lblk, u32 len, u8 kind, u64 at),	\
	TP_ARGS(inode, lblk, len, kind, at))

/* Which mapping iomap was given, and for what. */
DEFINE_REXT4_RANGE_EVENT(rext4_map_read);
DEFINE_REXT4_RANGE_EVENT(rext4_map_report);
DEFINE_REXT4_RANGE_EVENT(rext4_map_write);
DEFINE_REXT4_RANGE_EVENT(rext4_map_zero);
DEFINE_REXT4_RANGE_EVENT(rext4_map_writeback);
/* What was written has come into the file's map. */
DEFINE_REXT4_RANGE_EVENT(rext4_map_complete);
/* The extent status cache. */
DEFINE_REXT4_RANGE_EVENT(rext4_es_insert);
DEFINE_REXT4_RANGE_EVENT(rext4_es_remove);
DEFINE_REXT4_RANGE_EVENT(rext4_es_hit);
DEFINE_REXT4_RANGE_EVENT(rext4_es_miss);

TRACE_EVENT(rext4_es_shrink,
	TP_PROTO(const struct super_block *sb, u64 wanted, u64 seen, u64 freed),

	TP_ARGS(sb, wanted, seen, freed),

	TP_STRUCT__entry(
		__field(dev_t,	dev)
		__field(u64,	wanted)
		__field(u64,	seen)
		__field(u64,	freed)
	),

	TP_fast_assign(
		__entry->dev = sb->s_dev;
		__entry->wanted = wanted;
		__entry->seen = seen;
		__entry->freed = freed;
	),

	TP_printk("dev %d,%d wanted %llu seen %llu freed %llu",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->wanted, __entry->seen,
		  __entry->freed)
);

/* Promises of space, in clusters. */
DECLARE_EVENT_CLASS(rext4_promise,
	TP_PROTO(const struct super_block *sb, u64 clusters),

	TP_ARGS(sb, clusters),

	TP_STRUCT__entry(
		__field(dev_t,	dev)
		__field(u64,	clusters)
	),

	TP_fast_assign(
		__entry->dev = sb->s_dev;
		__entry->clusters = clusters;
	),

	TP_printk("dev %d,%d clusters %llu",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->clusters)
);

#define DEFINE_REXT4_PROMISE_EVENT(name)				\
DEFINE_EVENT(rext4_promise, name,					\
	TP_PROTO(const struct super_block *sb, u64 clusters),		\
	TP_ARGS(sb, clusters))

DEFINE_REXT4_PROMISE_EVENT(rext4_reserve);
DEFINE_REXT4_PROMISE_EVENT(rext4_release);

/* Blocks of the device. */
DECLARE_EVENT_CLASS(rext4_blocks,
	TP_PROTO(const struct super_block *sb, u64 block, u64 len),

	TP_ARGS(sb, block, len),

	TP_STRUCT__entry(
		__field(dev_t,	dev)
		__field(u64,	block)
		__field(u64,	len)
	),

	TP_fast_assign(
		__entry->dev = sb->s_dev;
		__entry->block = block;
		__entry->len = len;
	),

	TP_printk("dev %d,%d block %llu len %llu",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->block, __entry->len)
);

#define DEFINE_REXT4_BLOCKS_EVENT(name)					\
DEFINE_EVENT(rext4_blocks, name,					\
	TP_PROTO(const struct super_block *sb, u64 block, u64 len),	\
	TP_ARGS(sb, block, len))

/* Data has a place, in memory only; it is in use on disk; it is not needed. */
DEFINE_REXT4_BLOCKS_EVENT(rext4_take_place);
DEFINE_REXT4_BLOCKS_EVENT(rext4_settle);
DEFINE_REXT4_BLOCKS_EVENT(rext4_give_back);
/* Blocks are taken, or freed, in a transaction; the device is told. */
DEFINE_REXT4_BLOCKS_EVENT(rext4_allocate);
DEFINE_REXT4_BLOCKS_EVENT(rext4_free);
DEFINE_REXT4_BLOCKS_EVENT(rext4_discard);

#endif /* _TRACE_REXT4_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
