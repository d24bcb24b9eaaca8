// SPDX-License-Identifier: GPL-2.0
/*
 * Rows of fsbench that change a file system.
 *
 * An operation costs more than its system call: what it has changed goes to the journal, and from there to its
 * place. So a row ends with syncfs(), which is counted: it commits the transaction, and writes back what
 * that has made dirty. (XFS writes back its metadata later. It is not in the figures, but the log is.) With
 * unlink, rmdir and tmpfile the inodes go as well, since nobody else uses them.
 *
 * All happens in a directory that is made anew for each turn, in a directory of its own below the root,
 * so that it always is near the same place. Everything is in memory from the operations before.
 */
#include "fsbench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef OBJECTS
#define OBJECTS 2000u			/* of each kind, in one directory */
#endif
#define NAME_SIZE 32

static int base = -1;			/* the directory below the root */
static int work = -1, links = -1;	/* the ones that are made anew, in it */
static char names[OBJECTS][NAME_SIZE];
static char new_names[OBJECTS][NAME_SIZE];
static char link_paths[OBJECTS][NAME_SIZE + 8];

void prepare_changes(void)
{
	unsigned i;

	for (i = 0; i < OBJECTS; i++) {
		file_name(names[i], NAME_SIZE, i);
		file_name(new_names[i], NAME_SIZE, i + OBJECTS);
		snprintf(link_paths[i], sizeof(link_paths[i]), "work/%s", names[i]);
	}
	base = open("base", O_RDONLY | O_DIRECTORY);
	if (base < 0 || fchdir(base))
		die("base");
}

void finish_changes(void)
{
	close(base);
}

/* ---- what a series begins and ends with ---- */

static void begin(void)
{
	work = make_dir("work");
}

static void finish(void)
{
	close(work);
	if (rmdir("work"))
		die("rmdir work");
}

static void end_sync(void)
{
	if (syncfs(base))
		die("syncfs");
}

static void remove_all(void)
{
	unsigned i;

	for (i = 0; i < OBJECTS; i++)
		if (unlinkat(work, names[i], 0) && errno != ENOENT)
			die("unlink %s", names[i]);
	finish();
}

static void begin_links(void)
{
	links = make_dir("links");
}

static void remove_links(void)
{
	unsigned i;

	for (i = 0; i < OBJECTS; i++)
		if (unlinkat(links, names[i], 0) && errno != ENOENT)
			die("unlink %s", names[i]);
	close(links);
	if (rmdir("links"))
		die("rmdir links");
}

/* ---- operations ---- */

static int op_create(unsigned i)
{
	int file = openat(work, names[i], O_CREAT | O_EXCL | O_WRONLY, 0644);

	return file < 0 ? -1 : close(file);
}

static int op_setxattr(unsigned i)
{
	return setxattr(link_paths[i], "user.bench", buffer, 32, XATTR_CREATE);
}

static int op_link(unsigned i)
{
	return linkat(work, names[i], links, names[i], 0);
}

static int op_rename(unsigned i)
{
	return renameat(work, names[i], work, new_names[i]);
}

static int op_unlink(unsigned i)
{
	return unlinkat(work, new_names[i], 0);
}

static int op_symlink(unsigned i)
{
	return symlinkat("../somewhere/else", work, names[i]);
}

static int op_mknod(unsigned i)
{
	return mknodat(work, names[i], S_IFCHR | 0644, makedev(1, 3));
}

static int op_mkdir(unsigned i)
{
	return mkdirat(work, names[i], 0755);
}

static int op_rmdir(unsigned i)
{
	return unlinkat(work, names[i], AT_REMOVEDIR);
}

static int op_tmpfile(unsigned i)
{
	int file = openat(work, ".", O_TMPFILE | O_RDWR, 0600);

	(void)i;
	return file < 0 ? -1 : close(file);
}

#define CHANGE(name, op, prepare, cleanup, series) \
	{ name, "call", NULL, prepare, op, OBJECTS, OBJECTS, end_sync, cleanup, series }

const struct row change_rows[] = {
	CHANGE("create", op_create, begin, NULL, 1),
	CHANGE("setxattr", op_setxattr, NULL, NULL, 1),
	CHANGE("link", op_link, begin_links, remove_links, 1),
	CHANGE("rename", op_rename, NULL, NULL, 1),
	CHANGE("unlink", op_unlink, NULL, finish, 1),
	CHANGE("symlink", op_symlink, begin, remove_all, 2),
	CHANGE("mknod", op_mknod, begin, remove_all, 3),
	CHANGE("mkdir", op_mkdir, begin, NULL, 4),
	CHANGE("rmdir", op_rmdir, NULL, finish, 4),
	CHANGE("tmpfile", op_tmpfile, begin, finish, 5),
};
const unsigned change_row_count = sizeof(change_rows) / sizeof(*change_rows);
