// SPDX-License-Identifier: GPL-2.0
/* metaload's operations on names. */
#include "metaload.h"

#include <sys/sysmacros.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#endif

#define MAX_ORPHANS 12

static int orphans[MAX_ORPHANS];	/* descriptors + 1; 0 is free */

static mode_t some_mode(void)
{
	static const mode_t modes[] = { 0644, 0600, 0755, 04755, 02755, 02644, 0, 0777, 0640, 01777 };

	return ONE_OF(modes);
}

/*
 * What making a name comes to: prepared, a directory and a name in it that does not exist, now and then one
 * that does. False if the path would be too long.
 */
struct making {
	int dir;
	char *name;
	const char *path;
	bool exists;
};

static bool prepare(struct making *m)
{
	m->dir = pick_dir();
	m->exists = false;
	if (!below(25)) {
		int other = pick_any();

		if (other >= 0) {
			m->dir = nodes[other].parent;
			m->name = nodes[other].name;
			m->path = path_of(other);
			m->exists = true;
			return m->path != NULL;
		}
	}
	m->name = new_name(m->dir);
	m->path = path_in(m->dir, m->name);
	if (!m->path)
		free(m->name);
	return m->path != NULL;
}

/* The call has returned: the model follows. */
static void made(struct making *m, int ret, const char *op, mode_t type)
{
	report(ret, op, "%o %s", type, shown(m->path));
	if (ret >= 0 && m->exists) {
		fprintf(stderr, "metaload: %u: made what exists already: %s\n", now, m->path);
		exit(1);
	}
	if (ret >= 0)
		node_new(m->dir, m->name, inode_new(type));
	else if (!m->exists)
		bury(m->dir, m->name);
}

void op_create(void)
{
	mode_t mode = some_mode();
	struct making m;
	int fd;

	if (!prepare(&m))
		return;
	fd = open(m.path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	made(&m, fd, "create", S_IFREG);
	if (fd >= 0)
		close(fd);
}

void op_mkdir(void)
{
	mode_t mode = some_mode();
	struct making m;

	if (prepare(&m))
		made(&m, mkdir(m.path, mode), "mkdir", S_IFDIR);
}

void op_mknod(void)
{
	static const mode_t types[] = { S_IFREG, S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };
	static const unsigned int majors[] = { 0, 1, 8, 255, 256, 4095 };
	static const unsigned int minors[] = { 0, 3, 255, 256, 65536, 0xfffff };
	mode_t type = ONE_OF(types), mode = some_mode();
	dev_t dev = makedev(ONE_OF(majors), ONE_OF(minors));
	struct making m;

	if (!prepare(&m))
		return;
	if (type != S_IFCHR && type != S_IFBLK)
		dev = 0;
	made(&m, mknod(m.path, type | mode, dev), "mknod", type);
}

void op_symlink(void)
{
	static const unsigned int lengths[] = { 1, 7, 30, 58, 59, 60, 61, 100, 150, 500, 1000, 1022,
						1023, 1024, 2000, 4000, 4094, 4095 };
	unsigned int len = ONE_OF(lengths);
	static char target[4100];
	struct making m;

	for (unsigned int i = 0; i < len; i++)
		target[i] = i % 9 == 8 ? '/' : (char)('a' + below(26));
	target[len] = 0;
	if (prepare(&m))
		made(&m, symlink(target, m.path), "symlink", S_IFLNK);
}

void op_link(void)
{
	int from = below(20) ? pick_other() : pick_any(), dir = pick_dir(), ret;
	const char *old, *new;
	char *name;

	if (from < 0 || !(old = path_of(from)))
		return;
	name = new_name(dir);
	new = path_in(dir, name);
	if (!new) {
		free(name);
		return;
	}
	ret = report(link(old, new), "link", "%s %s", shown(old), shown(new));
	if (ret) {
		bury(dir, name);
		return;
	}
	node_new(dir, name, nodes[from].inode);
	touch(nodes[from].inode);
}

static void remove_node(int node)
{
	int dir = nodes[node].parent;
	char *name = nodes[node].name;

	node_gone(node);
	bury(dir, name);
}

static void unlink_node(int node)
{
	const char *path = path_of(node);

	if (path && !report(unlink(path), "unlink", "%s", shown(path)))
		remove_node(node);
}

void op_unlink(void)
{
	int node = below(25) ? pick_other() : pick_any();

	if (node >= 0)
		unlink_node(node);
}

void op_rmdir(void)
{
	int node = -1;
	const char *path;

	for (int i = 0; i < 6; i++) {
		node = dirs.n > 1 ? dirs.ids[1 + below(dirs.n - 1)] : -1;
		if (node >= 0 && !inodes[nodes[node].inode].children)
			break;
	}
	if (!below(30))
		node = pick_any();
	if (node >= 0 && (path = path_of(node)) && !report(rmdir(path), "rmdir", "%s", shown(path)))
		remove_node(node);
}

/* The new name is `dir`/`name`, or that of node `over`. */
static void rename_to(int node, int over, int dir, char *name, unsigned int flags)
{
	const char *old = path_of(node), *new = over >= 0 ? path_of(over) : path_in(dir, name);
	char *old_name = nodes[node].name;
	int old_dir = nodes[node].parent, ret;

	if (!old || !new) {
		free(name);
		return;
	}
	ret = renameat2(AT_FDCWD, old, AT_FDCWD, new, flags);
	report(ret, "rename", "%u %s %s", flags, shown(old), shown(new));
	if (ret) {
		if (name)
			bury(dir, name);
		return;
	}
	if (over >= 0 && (over == node || nodes[over].inode == nodes[node].inode))
		return;
	if (flags & RENAME_EXCHANGE) {
		char *new_name = nodes[over].name;
		int new_dir = nodes[over].parent;

		node_move(node, new_dir, new_name);
		node_move(over, old_dir, old_name);
		return;
	}
	if (over >= 0) {
		dir = nodes[over].parent;
		name = nodes[over].name;
		node_gone(over);
	}
	node_move(node, dir, name);
	if (flags & RENAME_WHITEOUT)
		node_new(old_dir, old_name, inode_new(S_IFCHR));
	else
		bury(old_dir, old_name);
}

void op_rename(void)
{
	int node = pick_any(), dir = pick_dir();

	if (node >= 0)
		rename_to(node, -1, dir, new_name(dir), 0);
}

/* Mostly over something of the same kind, which is what succeeds. */
static int pick_over(int node)
{
	int over = pick_any();

	for (int i = 0; i < 4 && over >= 0; i++) {
		bool both = S_ISDIR(inodes[nodes[over].inode].type) ==
			    S_ISDIR(inodes[nodes[node].inode].type);

		if (both && !inodes[nodes[over].inode].children)
			break;
		over = pick_any();
	}
	return over;
}

void op_rename_over(void)
{
	int node = pick_any();

	if (node >= 0)
		rename_to(node, pick_over(node), -1, NULL, 0);
}

void op_rename_flags(void)
{
	static const unsigned int flags[] = { RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE,
					      RENAME_WHITEOUT, RENAME_WHITEOUT | RENAME_NOREPLACE };
	int node = pick_any(), dir = pick_dir(), over = -1;
	unsigned int f = ONE_OF(flags);

	if (node < 0)
		return;
	if (below(10) < (f & RENAME_EXCHANGE ? 9 : f & RENAME_NOREPLACE ? 2 : 4))
		over = f & RENAME_EXCHANGE ? pick_any() : pick_over(node);
	rename_to(node, over, dir, over < 0 ? new_name(dir) : NULL, f);
}

void op_tmpfile(void)
{
	int dir = pick_dir(), fd, ret;
	const char *in = path_of(dir), *path;
	mode_t mode = some_mode();
	bool keep = below(4);
	char *name;

	if (!in)
		return;
	fd = open(in, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	report(fd, "tmpfile", "%s", shown(in));
	if (fd < 0)
		return;
	if (!below(3))
		report(fchmod(fd, some_mode()), "tmpfile-chmod", "%s", shown(in));
	if (!below(3))
		report(ftruncate(fd, below(100000)), "tmpfile-truncate", "%s", shown(in));
	name = new_name(dir);
	path = path_in(dir, name);
	if (keep && path) {
		ret = report(linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH), "tmpfile-link", "%s",
			     shown(path));
		if (!ret) {
			node_new(dir, name, inode_new(S_IFREG));
			name = NULL;
		}
	}
	free(name);
	close(fd);
}

/* A file that is open when its last name goes, for some time. */
void op_orphan(void)
{
	unsigned int i = below(MAX_ORPHANS);
	int node = pick_regular();
	const char *path;

	if (orphans[i]) {
		if (below(2))
			report(ftruncate(orphans[i] - 1, below(3) ? 0 : below(200000)), "orphan-truncate", "%u", i);
		close(orphans[i] - 1);
		orphans[i] = 0;
		return;
	}
	if (node < 0 || inodes[nodes[node].inode].names != 1 || !(path = path_of(node)))
		return;
	orphans[i] = open(path, O_RDWR | O_CLOEXEC) + 1;
	report(orphans[i] - 1, "orphan", "%u %s", i, shown(path));
	unlink_node(node);
}

void orphans_close(void)
{
	for (unsigned int i = 0; i < MAX_ORPHANS; i++) {
		if (orphans[i])
			close(orphans[i] - 1);
		orphans[i] = 0;
	}
}

/* One more name in one directory; several calls of these with the same `crowded` make a crowd. */
static int crowded = -1, stem = -1;

void op_burst(void)
{
	int dir, ret;
	const char *path, *old;
	char *name;

	if (!below(80) || crowded < 0)
		crowded = dirs.ids[below(dirs.n)];
	/* It may have gone in the meantime, and its number may be another's. */
	dir = (unsigned int)nodes[crowded].at < dirs.n && dirs.ids[nodes[crowded].at] == crowded ? crowded : 0;
	name = name_of_length(below(par.longs) ? 10 + below(40) : 240);
	path = path_in(dir, name);
	if (!path) {
		free(name);
		return;
	}
	if (stem < 0 || (unsigned int)nodes[stem].at >= others.n || others.ids[nodes[stem].at] != stem)
		stem = pick_other();
	if (stem >= 0 && below(4) && (old = path_of(stem))) {
		ret = report(link(old, path), "burst-link", "%s %s", shown(old), shown(path));
		if (!ret) {
			node_new(dir, name, nodes[stem].inode);
			touch(nodes[stem].inode);
			return;
		}
	} else {
		ret = report(mknod(path, S_IFREG | 0644, 0), "burst-mknod", "%s", shown(path));
		if (!ret) {
			node_new(dir, name, inode_new(S_IFREG));
			return;
		}
	}
	free(name);
}

/* A name less in the crowd. */
void op_thin(void)
{
	for (int i = 0; i < 30 && others.n; i++) {
		int node = pick_other();

		if (nodes[node].parent == crowded) {
			unlink_node(node);
			return;
		}
	}
	op_unlink();
}

/* A directory in the directory that was made last. */
void op_deep(void)
{
	int dir = dirs.ids[below(8) ? dirs.n - 1 : below(dirs.n)];
	const char *path;
	char *name = name_of_length(below(12));

	path = path_in(dir, name);
	if (!path || strlen(path) > 3000 || report(mkdir(path, 0755), "deep", "%s", shown(path)))
		free(name);
	else
		node_new(dir, name, inode_new(S_IFDIR));
}
