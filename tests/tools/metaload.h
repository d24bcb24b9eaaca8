/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of metaload share; metaload.c says what the program is. */
#ifndef REXT4_TOOLS_METALOAD_H
#define REXT4_TOOLS_METALOAD_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#include <linux/fs.h>

/* What the model knows of an inode. It lives as long as it has names, or is open. */
struct inode {
	mode_t type;		/* S_IFREG ... */
	unsigned int names;	/* of a directory: always 1 */
	unsigned int children;	/* of a directory: names in it */
	uint32_t touched;	/* number of the operation that changed it last, for certain */
	int flags;		/* those that an operation has set (FS_..._FL) */
	bool acl;		/* may have an access ACL */
};

/* A name. Node 0 is the directory that all of it happens in. Every live node's name is unique. */
struct node {
	int parent;
	int inode;
	int at;			/* its place in the set */
	char *name;
};

struct set {
	int *ids;
	unsigned int n, room;
};

struct parameters {
	uint64_t seed;
	unsigned int names;	/* from here on more names are removed than made */
	unsigned int hot;	/* one in so many directories picked is the hot one */
	unsigned int longs;	/* one in so many names is long */
	bool crash;		/* leave out operations that are two transactions */
};

extern struct parameters par;
extern struct node *nodes;
extern struct inode *inodes;
extern struct set dirs, others;
extern uint32_t now;		/* the operation's number, from 1 */
extern uint32_t durable;	/* all operations up to this one have been made durable */
extern FILE *report_to;

uint64_t rnd(void);
void rnd_seed(uint64_t seed);
uint32_t below(uint32_t n);
#define ONE_OF(list) ((list)[below(sizeof(list) / sizeof((list)[0]))])

/* Writes a line of the log: number, operation, how it went, and what it was about. Returns ret. */
int report(int ret, const char *op, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The path of a node, in one of a few static buffers, good for one operation; NULL if too long. */
const char *path_of(int node);
/* Likewise of a name that is to be made. */
const char *path_in(int dir, const char *name);
/* A path as it appears in the log, likewise. */
const char *shown(const char *path);

int pick_dir(void);
int pick_other(void);
int pick_any(void);		/* never node 0 */
int pick_regular(void);		/* -1 if a few attempts find none */

/* A name that no live node has, of whatever length; the caller's to free or to give to a node. */
char *new_name(int dir);
/* A name of len bytes (or a few more), likewise. */
char *name_of_length(unsigned int len);
void bury(int dir, char *name);

int inode_new(mode_t type);
/* The operation has changed the inode: now is the time. */
void touch(int inode);
int node_new(int dir, char *name, int inode);
/* The name has gone; if the inode has gone with it, unless `kept`, it is forgotten. */
void node_gone(int node);
void node_move(int node, int dir, char *name);
/* A directory whose names are made durable at once has changed. */
void changed_dir(int dir);

/* The operations: each does one thing, or several with the same number. */
void op_create(void);
void op_mkdir(void);
void op_mknod(void);
void op_symlink(void);
void op_link(void);
void op_unlink(void);
void op_rmdir(void);
void op_rename(void);
void op_rename_over(void);
void op_rename_flags(void);
void op_tmpfile(void);
void op_burst(void);
void op_thin(void);
void op_deep(void);
void op_orphan(void);
void op_chmod(void);
void op_chown(void);
void op_times(void);
void op_setxattr(void);
void op_removexattr(void);
void op_acl(void);
void op_truncate(void);
void op_flags(void);
void op_project(void);
void op_sync(void);

/* Closes files that are open though they have no name any more. */
void orphans_close(void);
/* Makes what depends on the time of day a function of the seed: flags that forbid it, then all times. */
void settle(void);
/* Whether the tree is another than the model; prints how. */
bool verify(void);

#endif
