/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trace events as Rust calls them: by number, through one function for each shape of arguments, after
 * a look at whether anybody wants them.
 */
#ifndef _REXT4_TRACE_H
#define _REXT4_TRACE_H

#include <linux/types.h>

struct inode;
struct super_block;

#define REXT4_RANGE_EVENTS(EVENT)	\
	EVENT(map_read)			\
	EVENT(map_report)		\
	EVENT(map_write)		\
	EVENT(map_zero)			\
	EVENT(map_writeback)		\
	EVENT(map_complete)		\
	EVENT(es_insert)		\
	EVENT(es_remove)		\
	EVENT(es_hit)			\
	EVENT(es_miss)

#define REXT4_PROMISE_EVENTS(EVENT)	\
	EVENT(reserve)			\
	EVENT(release)

#define REXT4_BLOCKS_EVENTS(EVENT)	\
	EVENT(take_place)		\
	EVENT(settle)			\
	EVENT(give_back)		\
	EVENT(allocate)			\
	EVENT(free)			\
	EVENT(discard)

#define REXT4_NUMBERED(name) REXT4_TRACE_##name,
enum rext4_trace_event {
	REXT4_RANGE_EVENTS(REXT4_NUMBERED)
	REXT4_PROMISE_EVENTS(REXT4_NUMBERED)
	REXT4_BLOCKS_EVENTS(REXT4_NUMBERED)
	REXT4_NUMBERED(es_shrink)
};

void rext4_trace_range(enum rext4_trace_event event, const struct inode *inode, u32 lblk, u32 len,
		       u8 kind, u64 at);
void rext4_trace_promise(enum rext4_trace_event event, const struct super_block *sb, u64 clusters);
void rext4_trace_blocks(enum rext4_trace_event event, const struct super_block *sb, u64 block,
			u64 len);
void rext4_trace_shrink(const struct super_block *sb, u64 wanted, u64 seen, u64 freed);

#endif /* _REXT4_TRACE_H */
