// SPDX-License-Identifier: GPL-2.0
/* The model that metaload keeps of what it has made: names, inodes, and the choice among them. */
#include "metaload.h"

#include <ftw.h>
#include <limits.h>
#include <stdarg.h>

#include "hash.h"

struct parameters par;
struct node *nodes;
struct inode *inodes;
struct set dirs, others;
uint32_t now, durable;
FILE *report_to;

static uint64_t state;
static unsigned int nodes_room, inodes_room;
static struct set free_nodes, free_inodes;
static int hot = -1;

/* Names of which there is none any more, to be used again: the last few, oldest overwritten. */
static struct {
	int dir;
	char *name;
} graves[64];
static unsigned int next_grave;

void rnd_seed(uint64_t seed)
{
	state = mix_u64(seed, 0x6d657461);
}

uint64_t rnd(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	return mix_u64(mix_u64(0, state), state >> 32);
}

uint32_t below(uint32_t n)
{
	return n ? (uint32_t)((rnd() >> 32) * n >> 32) : 0;
}

int report(int ret, const char *op, const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	if (!report_to)
		return ret;
	fprintf(report_to, "%u %s %s ", now, op, ret < 0 ? strerrorname_np(err) : "ok");
	va_start(ap, fmt);
	vfprintf(report_to, fmt, ap);
	va_end(ap);
	putc('\n', report_to);
	errno = err;
	return ret;
}

static char *room(void)
{
	static char rooms[4][PATH_MAX * 4];
	static unsigned int turn;

	return rooms[turn++ % 4];
}

const char *path_of(int node)
{
	char *buf = room();
	size_t at = PATH_MAX - 1;

	buf[at] = 0;
	for (int steps = 0; node; node = nodes[node].parent) {
		size_t len = strlen(nodes[node].name);

		if (steps++ > 2000) {
			fputs("metaload: a directory is its own ancestor\n", stderr);
			exit(1);
		}
		/* A system call takes PATH_MAX bytes, its end included. */
		if (len + 3 > at)
			return NULL;
		at -= len;
		memcpy(buf + at, nodes[node].name, len);
		buf[--at] = '/';
	}
	buf[--at] = '.';
	return buf + at;
}

const char *path_in(int dir, const char *name)
{
	const char *head = path_of(dir);
	char *buf = room();

	if (!head || strlen(head) + strlen(name) + 2 > PATH_MAX)
		return NULL;
	sprintf(buf, "%s/%s", head, name);
	return buf;
}

const char *shown(const char *path)
{
	char *buf = room(), *to = buf;

	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;

		if (c > ' ' && c < 127 && c != '\\')
			*to++ = (char)c;
		else
			to += sprintf(to, "\\%02x", c);
	}
	*to = 0;
	return buf;
}

static void set_add(struct set *s, int id)
{
	if (s->n == s->room) {
		s->room = s->room ? s->room * 2 : 64;
		s->ids = realloc(s->ids, s->room * sizeof(*s->ids));
		if (!s->ids)
			abort();
	}
	s->ids[s->n++] = id;
}

static struct set *set_of(int node)
{
	return S_ISDIR(inodes[nodes[node].inode].type) ? &dirs : &others;
}

int inode_new(mode_t type)
{
	int id = free_inodes.n ? free_inodes.ids[--free_inodes.n] : (int)inodes_room;

	if (id == (int)inodes_room) {
		inodes_room = inodes_room ? inodes_room * 2 : 256;
		inodes = realloc(inodes, inodes_room * sizeof(*inodes));
		if (!inodes)
			abort();
		for (unsigned int i = inodes_room; --i > (unsigned int)id;)
			set_add(&free_inodes, (int)i);
	}
	inodes[id] = (struct inode){ .type = type, .touched = now };
	return id;
}

void touch(int inode)
{
	inodes[inode].touched = now;
}

int node_new(int dir, char *name, int inode)
{
	int id = free_nodes.n ? free_nodes.ids[--free_nodes.n] : (int)nodes_room;
	struct set *s;

	if (id == (int)nodes_room) {
		nodes_room = nodes_room ? nodes_room * 2 : 256;
		nodes = realloc(nodes, nodes_room * sizeof(*nodes));
		if (!nodes)
			abort();
		for (unsigned int i = nodes_room; --i > (unsigned int)id;)
			set_add(&free_nodes, (int)i);
	}
	nodes[id] = (struct node){ .parent = dir, .inode = inode, .name = name };
	s = set_of(id);
	nodes[id].at = (int)s->n;
	set_add(s, id);
	inodes[inode].names++;
	/* Node 0 is its own parent, and counts as nobody's child. */
	if (id) {
		inodes[nodes[dir].inode].children++;
		changed_dir(dir);
	}
	return id;
}

void node_gone(int node)
{
	struct set *s = set_of(node);
	int inode = nodes[node].inode, last = s->ids[--s->n];

	s->ids[nodes[node].at] = last;
	nodes[last].at = nodes[node].at;
	inodes[nodes[nodes[node].parent].inode].children--;
	changed_dir(nodes[node].parent);
	if (node == hot)
		hot = -1;
	for (unsigned int i = 0; i < 64; i++)
		if (graves[i].name && graves[i].dir == node)
			graves[i].dir = 0;
	set_add(&free_nodes, node);
	touch(inode);
	if (--inodes[inode].names == 0)
		set_add(&free_inodes, inode);
}

void node_move(int node, int dir, char *name)
{
	inodes[nodes[nodes[node].parent].inode].children--;
	changed_dir(nodes[node].parent);
	nodes[node].parent = dir;
	nodes[node].name = name;
	inodes[nodes[dir].inode].children++;
	changed_dir(dir);
	touch(nodes[node].inode);
}

void changed_dir(int dir)
{
	struct inode *i = &inodes[nodes[dir].inode];

	i->touched = now;
	if (i->flags & FS_DIRSYNC_FL)
		durable = now;
}

int pick_dir(void)
{
	if (hot < 0 || !below(60))
		hot = dirs.ids[below(dirs.n)];
	if (!below(par.hot))
		return hot;
	return dirs.ids[below(dirs.n)];
}

int pick_other(void)
{
	return others.n ? others.ids[below(others.n)] : -1;
}

int pick_any(void)
{
	unsigned int i = below(dirs.n - 1 + others.n);

	if (dirs.n - 1 + others.n == 0)
		return -1;
	/* Node 0 is the first of the directories, always: it never goes. */
	return i < dirs.n - 1 ? dirs.ids[1 + i] : others.ids[i - (dirs.n - 1)];
}

int pick_regular(void)
{
	for (int i = 0; i < 8 && others.n; i++) {
		int node = pick_other();

		if (S_ISREG(inodes[nodes[node].inode].type))
			return node;
	}
	return -1;
}

char *name_of_length(unsigned int len)
{
	static unsigned int serial;
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	char name[300];
	unsigned int n = 0;
	bool odd = !below(10);

	/* The serial number makes it unique, its end marked, since what follows is arbitrary. */
	for (unsigned int v = serial++; v || !n; v /= 36)
		name[n++] = digits[v % 36];
	name[n++] = '.';
	while (n < len) {
		char c = digits[10 + below(26)];

		if (odd) {
			c = (char)(1 + below(255));
			if (c == '/')
				c = 'S';
		}
		name[n++] = c;
	}
	name[n] = 0;
	return strdup(name);
}

char *new_name(int dir)
{
	static const unsigned int edges[] = { 12, 13, 28, 100, 251, 252, 254, 255 };
	unsigned int i = below(64);

	if (!below(3) && graves[i].name && graves[i].dir == dir) {
		char *name = graves[i].name;

		graves[i].name = NULL;
		return name;
	}
	if (!below(par.longs))
		return name_of_length(below(3) ? 200 + below(56) : ONE_OF(edges));
	return name_of_length(below(24));
}

void bury(int dir, char *name)
{
	unsigned int i = next_grave++ % 64;

	free(graves[i].name);
	graves[i].dir = dir;
	graves[i].name = name;
}

static unsigned int found;

static int count(const char *path, const struct stat *st, int kind, struct FTW *w)
{
	(void)path;
	(void)st;
	(void)w;
	if (kind != FTW_NS && kind != FTW_DNR)
		found++;
	return 0;
}

bool verify(void)
{
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < dirs.n + others.n; i++) {
		int node = i < dirs.n ? dirs.ids[i] : others.ids[i - dirs.n];
		const struct inode *inode = &inodes[nodes[node].inode];
		const char *path = path_of(node), *why = NULL;
		struct stat st;

		/* A directory that has been moved may have paths in it that are too long to be asked for. */
		if (!path) {
			found++;
			continue;
		}
		if (lstat(path, &st))
			why = strerrorname_np(errno);
		else if ((st.st_mode & S_IFMT) != inode->type)
			why = "is of another type";
		else if (!S_ISDIR(inode->type) && st.st_nlink != inode->names)
			why = "has another number of links";
		if (why && wrong++ < 5)
			fprintf(stderr, "metaload: %s: %s\n", shown(path), why);
	}
	if (nftw(".", count, 64, FTW_PHYS)) {
		perror("metaload: walking");
		return true;
	}
	if (found != dirs.n + others.n && wrong++ < 6)
		fprintf(stderr, "metaload: there are %u names, not %u\n", found, dirs.n + others.n);
	return wrong != 0;
}
