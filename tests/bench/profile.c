// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin that counts how often each translated block of code runs between the marks of fsbench, per mark.
 *
 *	-plugin profile.so,out=FILE
 *
 * A mark is the no-op `0f 1f 80 displacement` with a displacement of 0x52340000 + N: N from 0 to 63 begins counting
 * under N, 255 ends it. FILE gets a line `N ADDRESS INSTRUCTIONS TIMES` per block and mark. One processor
 * only (icount). QEMU's own header is not packaged in Debian: what is used of the plugin interface is declared
 * here.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t n);
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t size);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
						   void (*call)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
						  void (*call)(unsigned, void *), int flags, void *data);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
						    void (*call)(unsigned, void *), int flags, void *data);
extern void qemu_plugin_register_atexit_cb(plugin_id id, void (*call)(plugin_id, void *), void *data);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;

#define MARKS 64
#define MARK_END 255
#define MARK_BASE 0x52340000u
#define BUCKETS (1u << 18)

struct block {
	struct block *next;
	uint64_t address;
	uint32_t instructions;
	uint64_t times[MARKS];
};

static struct block *blocks[BUCKETS];
static unsigned current = MARK_END;
static char *out;

static struct block *find(uint64_t address, uint32_t instructions)
{
	struct block **at = &blocks[(address * 0x9e3779b97f4a7c15u >> 40) % BUCKETS];
	struct block *block;

	for (block = *at; block; block = block->next)
		if (block->address == address && block->instructions == instructions)
			return block;
	block = calloc(1, sizeof(*block));
	block->address = address;
	block->instructions = instructions;
	block->next = *at;
	return *at = block;
}

static void on_block(unsigned cpu, void *data)
{
	struct block *block = data;

	(void)cpu;
	if (current < MARKS)
		block->times[current]++;
}

static void on_mark(unsigned cpu, void *data)
{
	(void)cpu;
	current = (unsigned)(uintptr_t)data;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb), i;
	unsigned char code[16];
	uint32_t mark;

	(void)id;
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (qemu_plugin_insn_data(insn, code, sizeof(code)) != 7 ||
		    memcmp(code, "\x0f\x1f\x80", 3))
			continue;
		memcpy(&mark, code + 3, sizeof(mark));
		mark -= MARK_BASE;
		if (mark < MARKS || mark == MARK_END)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, 0, (void *)(uintptr_t)mark);
	}
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, find(qemu_plugin_tb_vaddr(tb), n));
}

static void on_exit_(plugin_id id, void *data)
{
	FILE *file = fopen(out, "w");
	struct block *block;
	unsigned i, mark;

	(void)id;
	(void)data;
	if (!file)
		return;
	for (i = 0; i < BUCKETS; i++)
		for (block = blocks[i]; block; block = block->next)
			for (mark = 0; mark < MARKS; mark++)
				if (block->times[mark])
					fprintf(file, "%u %llx %u %llu\n", mark,
						(unsigned long long)block->address, block->instructions,
						(unsigned long long)block->times[mark]);
	fclose(file);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fputs("profile: needs out=FILE\n", stderr);
		return -1;
	}
	out = strdup(argv[0] + 4);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_, NULL);
	return 0;
}
