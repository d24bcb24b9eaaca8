// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin that counts instructions between the marks of fsbench, per mark: how often each translated block
 * of code runs, and by which calls it was reached.
 *
 *	-plugin profile.so,out=FILE,switch=ADDRESS,fork=ADDRESS
 *
 * A mark is the no-op `0f 1f 80 displacement` with a displacement of 0x52340000 + N: N from 0 to 127 begins counting
 * under N, 255 ends it. FILE gets a line `N ADDRESS INSTRUCTIONS TIMES` per block and mark, and FILE.tree a line
 * `ID PARENT N ADDRESS INSTRUCTIONS CALLS` per way of calls that led to the function at ADDRESS. One processor
 * only (icount).
 *
 * A way is followed by calls and returns in the code: a call pushes where it will return to, and a block that
 * begins there behind a return pops it. Each task has a stack of its own: `switch` is the address of
 * __switch_to_asm(), whose second argument is the next task, and `fork` that of ret_from_fork_asm(), where a new one
 * begins. In user space the stack is empty. An interrupt belongs to what it interrupts. A call that an exception
 * kept from happening leaves an entry that the next return removes.
 *
 * QEMU's own header is not packaged in Debian: what is used of the plugin interface, and of glib, is declared here.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;
typedef struct {
	uint8_t *data;
	unsigned len;
} GByteArray;
typedef struct {
	struct qemu_plugin_register *handle;
	const char *name;
	const char *feature;
} qemu_plugin_reg_descriptor;
typedef struct {
	qemu_plugin_reg_descriptor *data;
	unsigned len;
} GArray;

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t n);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t size);
extern void qemu_plugin_register_vcpu_init_cb(plugin_id id, void (*call)(plugin_id, unsigned));
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
						   void (*call)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
						  void (*call)(unsigned, void *), int flags, void *data);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
						    void (*call)(unsigned, void *), int flags, void *data);
extern void qemu_plugin_register_atexit_cb(plugin_id id, void (*call)(plugin_id, void *), void *data);
extern GArray *qemu_plugin_get_registers(void);
extern int qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *buf);
extern GByteArray *g_byte_array_new(void);
extern GByteArray *g_byte_array_set_size(GByteArray *array, unsigned length);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;
#define READS_REGISTERS 1		/* QEMU_PLUGIN_CB_R_REGS */

#define MARKS 192
#define MARK_END 255
#define MARK_BASE 0x52340000u
#define BUCKETS (1u << 18)
#define DEPTH 256
#define TASK_BUCKETS 1024u
#define KERNEL (1ull << 63)		/* addresses from here on */

enum ending { ENDS_OTHERWISE, ENDS_WITH_CALL, ENDS_WITH_RETURN };

struct block {
	struct block *next;
	uint64_t address, end;
	uint32_t instructions;
	enum ending ending;
	uint64_t times[MARKS];
};

/* A function as it was reached by a way of calls. */
struct node {
	struct node *parent, *children, *sibling;
	uint64_t address, instructions, calls;
	unsigned id;
};

struct frame {
	uint64_t returns_to, callee;
};

struct stack {
	struct stack *next;
	uint64_t task;
	unsigned depth;
	struct frame frames[DEPTH];
	struct node *nodes[DEPTH + 1];		/* of the frames below, under `mark` */
	unsigned mark;
};

static struct block *blocks[BUCKETS];
static struct node roots[MARKS];
static struct stack *stacks[TASK_BUCKETS];
static struct stack first = { .mark = MARK_END };
static struct stack *stack = &first;
static const struct block *before;	/* the block that was run last */
static unsigned current = MARK_END;
static uint64_t switch_address, fork_address;
static struct qemu_plugin_register *rsi;
static GByteArray *bytes;
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

static struct node *child(struct node *parent, uint64_t address)
{
	struct node **at, *node;

	for (at = &parent->children; (node = *at); at = &node->sibling)
		if (node->address == address) {
			/* To the front, where it is found again. */
			*at = node->sibling;
			node->sibling = parent->children;
			return parent->children = node;
		}
	node = calloc(1, sizeof(*node));
	node->parent = parent;
	node->address = address;
	node->sibling = parent->children;
	return parent->children = node;
}

/* Finds the nodes of the present stack anew when the mark has changed. */
static void renew(void)
{
	unsigned i;

	stack->mark = current;
	if (current == MARK_END)
		return;
	stack->nodes[0] = &roots[current];
	for (i = 0; i < stack->depth; i++)
		stack->nodes[i + 1] = child(stack->nodes[i], stack->frames[i].callee);
}

static void push(uint64_t returns_to, uint64_t callee)
{
	if (stack->depth == DEPTH)
		return;
	stack->frames[stack->depth].returns_to = returns_to;
	stack->frames[stack->depth].callee = callee;
	stack->depth++;
	if (current != MARK_END) {
		stack->nodes[stack->depth] = child(stack->nodes[stack->depth - 1], callee);
		stack->nodes[stack->depth]->calls++;
	}
}

static void pop(uint64_t address)
{
	unsigned i;

	for (i = stack->depth; i; i--)
		if (stack->frames[i - 1].returns_to == address) {
			stack->depth = i - 1;
			return;
		}
}

static void on_block(unsigned cpu, void *data)
{
	struct block *block = data;

	(void)cpu;
	if (stack->mark != current)
		renew();
	if (block->address < KERNEL || block->address == fork_address)
		stack->depth = 0;
	else if (before && before->address >= KERNEL) {
		if (before->ending == ENDS_WITH_CALL)
			push(before->end, block->address);
		else if (before->ending == ENDS_WITH_RETURN)
			pop(block->address);
	} else if (!stack->depth)
		/* From user space: by a system call or an exception. */
		push(0, block->address);
	before = block;
	if (current != MARK_END) {
		block->times[current]++;
		stack->nodes[stack->depth]->instructions += block->instructions;
	}
}

/* At the entry of __switch_to_asm(). */
static void on_switch(unsigned cpu, void *data)
{
	struct stack **at;
	uint64_t task;

	(void)cpu;
	on_block(cpu, data);
	g_byte_array_set_size(bytes, 0);
	if (!rsi || qemu_plugin_read_register(rsi, bytes) != sizeof(task))
		return;
	memcpy(&task, bytes->data, sizeof(task));
	for (at = &stacks[(task >> 6) % TASK_BUCKETS]; *at && (*at)->task != task; at = &(*at)->next)
		;
	if (!*at) {
		*at = calloc(1, sizeof(**at));
		(*at)->task = task;
		(*at)->mark = MARK_END;
	}
	stack = *at;
	if (stack->mark != current)
		renew();
}

static void on_mark(unsigned cpu, void *data)
{
	(void)cpu;
	current = (unsigned)(uintptr_t)data;
}

static enum ending ending_of(const unsigned char *code, size_t size)
{
	size_t i = 0;

	/* Prefixes of a segment and of operand sizes. */
	while (i < size && (code[i] == 0x2e || code[i] == 0x3e || code[i] == 0xf2 || code[i] == 0xf3 ||
			    code[i] == 0x66 || (code[i] & 0xf0) == 0x40))
		i++;
	if (i == size)
		return ENDS_OTHERWISE;
	if (code[i] == 0xe8 || (code[i] == 0xff && i + 1 < size && (code[i + 1] >> 3 & 7) == 2))
		return ENDS_WITH_CALL;
	if (code[i] == 0xc3 || code[i] == 0xc2)
		return ENDS_WITH_RETURN;
	return ENDS_OTHERWISE;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb), i, size = 0;
	unsigned char code[16];
	struct block *block;
	uint64_t address = 0;
	uint32_t mark;

	(void)id;
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		size = qemu_plugin_insn_data(insn, code, sizeof(code));
		address = qemu_plugin_insn_vaddr(insn);
		if (size != 7 || memcmp(code, "\x0f\x1f\x80", 3))
			continue;
		memcpy(&mark, code + 3, sizeof(mark));
		mark -= MARK_BASE;
		if (mark < MARKS || mark == MARK_END)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, 0, (void *)(uintptr_t)mark);
	}
	block = find(qemu_plugin_tb_vaddr(tb), n);
	block->end = address + size;
	block->ending = ending_of(code, size);
	if (block->address == switch_address)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, on_switch, READS_REGISTERS, block);
	else
		qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, block);
}

static void on_start(plugin_id id, unsigned cpu)
{
	GArray *registers = qemu_plugin_get_registers();
	unsigned i;

	(void)id;
	(void)cpu;
	bytes = g_byte_array_new();
	for (i = 0; i < registers->len; i++)
		if (!strcmp(registers->data[i].name, "rsi"))
			rsi = registers->data[i].handle;
	if (!rsi)
		fputs("profile: no register rsi\n", stderr);
}

static void write_node(FILE *file, struct node *node, unsigned mark)
{
	static unsigned id;
	struct node *child;

	node->id = id++;
	fprintf(file, "%u %d %u %" PRIx64 " %" PRIu64 " %" PRIu64 "\n", node->id,
		node->parent ? (int)node->parent->id : -1, mark, node->address, node->instructions, node->calls);
	for (child = node->children; child; child = child->sibling)
		write_node(file, child, mark);
}

static void on_exit_(plugin_id id, void *data)
{
	char *tree = malloc(strlen(out) + 6);
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
					fprintf(file, "%u %" PRIx64 " %u %" PRIu64 "\n", mark, block->address,
						block->instructions, block->times[mark]);
	fclose(file);
	sprintf(tree, "%s.tree", out);
	file = fopen(tree, "w");
	if (!file)
		return;
	for (mark = 0; mark < MARKS; mark++)
		if (roots[mark].children)
			write_node(file, &roots[mark], mark);
	fclose(file);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 3 || strncmp(argv[0], "out=", 4) || strncmp(argv[1], "switch=", 7) ||
	    strncmp(argv[2], "fork=", 5)) {
		fputs("profile: needs out=FILE,switch=ADDRESS,fork=ADDRESS\n", stderr);
		return -1;
	}
	out = strdup(argv[0] + 4);
	switch_address = strtoull(argv[1] + 7, NULL, 16);
	fork_address = strtoull(argv[2] + 5, NULL, 16);
	qemu_plugin_register_vcpu_init_cb(id, on_start);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_, NULL);
	return 0;
}
