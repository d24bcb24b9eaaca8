// SPDX-License-Identifier: GPL-2.0
/*
 * The trace events themselves. They are here and not with the inline helpers, which become part of the
 * Rust crate: what goes into sections that the kernel looks for is better left to the C compiler.
 */
#include <linux/fs.h>

#define CREATE_TRACE_POINTS
#include <trace/events/rext4.h>

#include "rext4_trace.h"

void rext4_trace_range(enum rext4_trace_event event, const struct inode *inode, u32 lblk, u32 len,
		       u8 kind, u64 at)
{
	switch (event) {
#define EVENT(name)								\
	case REXT4_TRACE_##name:						\
		trace_rext4_##name(inode, lblk, len, kind, at);			\
		break;
	REXT4_RANGE_EVENTS(EVENT)
#undef EVENT
	default:
		break;
	}
}

void rext4_trace_promise(enum rext4_trace_event event, const struct super_block *sb, u64 clusters)
{
	switch (event) {
#define EVENT(name)								\
	case REXT4_TRACE_##name:						\
		trace_rext4_##name(sb, clusters);				\
		break;
	REXT4_PROMISE_EVENTS(EVENT)
#undef EVENT
	default:
		break;
	}
}

void rext4_trace_blocks(enum rext4_trace_event event, const struct super_block *sb, u64 block,
			u64 len)
{
	switch (event) {
#define EVENT(name)								\
	case REXT4_TRACE_##name:						\
		trace_rext4_##name(sb, block, len);				\
		break;
	REXT4_BLOCKS_EVENTS(EVENT)
#undef EVENT
	default:
		break;
	}
}

void rext4_trace_shrink(const struct super_block *sb, u64 wanted, u64 seen, u64 freed)
{
	trace_rext4_es_shrink(sb, wanted, seen, freed);
}
