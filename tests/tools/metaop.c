// SPDX-License-Identifier: GPL-2.0
/*
 * metaop: does what its standard input says, one system call a line, and compares how each went with what is
 * expected. Prints what differs; status 0 if nothing does.
 *
 *     EXPECTED OPERATION ARGUMENT...
 *
 * EXPECTED is `ok` or an errno's name (or a value, see `what`); several may be named with | between them.
 * With *N behind it the line is done N times, % in its arguments being 0, 1 ...; with + behind it, again and again
 * until the result is another than `ok`, which then has to be the one expected (at least one has to be ok
 * unless it is ++).
 * In arguments {c*N} is N times the character c. An empty line or one that begins with # says nothing.
 *
 *     usage: metaop DIR <lines
 */
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
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <linux/fs.h>

#define MAX_ARGS 8
#define MAX_TIMES 2000000u

static char result[128];

/* --- operations: each returns as a system call does, or says more in `result` --- */

static int close_new(int fd)
{
	return fd < 0 ? -1 : close(fd);
}

static int do_create(char **a)
{
	return close_new(open(a[0], O_CREAT | O_EXCL | O_RDONLY, 0644));
}

static int do_open(char **a)
{
	static const struct {
		char c;
		int flag;
	} known[] = { { 'w', O_WRONLY }, { 'b', O_RDWR }, { 't', O_TRUNC }, { 'a', O_APPEND }, { 'c', O_CREAT },
		      { 'd', O_DIRECTORY }, { 'n', O_NOFOLLOW } };
	int flags = O_NONBLOCK;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strchr(a[0], known[i].c))
			flags |= known[i].flag;
	return close_new(open(a[1], flags, 0644));
}

static int do_mkdir(char **a) { return mkdir(a[0], 0755); }
static int do_rmdir(char **a) { return rmdir(a[0]); }
static int do_unlink(char **a) { return unlink(a[0]); }
static int do_link(char **a) { return link(a[0], a[1]); }
static int do_symlink(char **a) { return symlink(a[0], a[1]); }
static int do_chmod(char **a) { return chmod(a[1], (mode_t)strtoul(a[0], NULL, 8)); }
static int do_chown(char **a) { return lchown(a[1], (uid_t)strtoul(a[0], NULL, 0), (gid_t)-1); }
static int do_truncate(char **a) { return truncate(a[1], strtoll(a[0], NULL, 0)); }
static int do_removexattr(char **a) { return lremovexattr(a[1], a[0]); }
static int do_utime(char **a) { return utimensat(AT_FDCWD, a[0], NULL, AT_SYMLINK_NOFOLLOW); }

static int do_utime_to(char **a)
{
	struct timespec t[2] = { { .tv_sec = atol(a[0]) }, { .tv_sec = atol(a[0]) } };

	return utimensat(AT_FDCWD, a[1], t, AT_SYMLINK_NOFOLLOW);
}

static int do_mknod(char **a)
{
	mode_t type = a[0][0] == 'c' ? S_IFCHR : a[0][0] == 'b' ? S_IFBLK : a[0][0] == 'p' ? S_IFIFO :
		      a[0][0] == 's' ? S_IFSOCK : S_IFREG;

	return mknod(a[1], type | 0644, a[0][0] == 'c' || a[0][0] == 'b' ? makedev(1, 3) : 0);
}

static int do_rename(char **a)
{
	unsigned int flags = 0;

	for (const char *c = a[2] ? a[2] : ""; *c; c++)
		flags |= *c == 'n' ? 1u : *c == 'x' ? 2u : *c == 'w' ? 4u : 8u;
	return renameat2(AT_FDCWD, a[0], AT_FDCWD, a[1], flags);
}

static int do_tmpfile(char **a)
{
	int fd = open(a[0], O_TMPFILE | O_RDWR, 0644), ret = -1;

	if (fd < 0)
		return -1;
	ret = a[1] ? linkat(fd, "", AT_FDCWD, a[1], AT_EMPTY_PATH) : 0;
	close(fd);
	return ret;
}

static int do_setxattr(char **a)
{
	static char value[65536];

	memset(value, a[3] ? a[3][0] : 'v', sizeof(value));
	return lsetxattr(a[2], a[0], value, strtoul(a[1], NULL, 0), 0);
}

static int do_flags(char **a)
{
	int fd = open(a[1], O_RDONLY | O_NONBLOCK), flags = 0, ret;
	int flag = a[0][1] == 'i' ? FS_IMMUTABLE_FL : a[0][1] == 'a' ? FS_APPEND_FL :
		   a[0][1] == 'D' ? FS_DIRSYNC_FL : FS_NODUMP_FL;

	if (fd < 0)
		return -1;
	ret = ioctl(fd, FS_IOC_GETFLAGS, &flags);
	flags = a[0][0] == '+' ? flags | flag : flags & ~flag;
	if (!ret)
		ret = ioctl(fd, FS_IOC_SETFLAGS, &flags);
	close(fd);
	return ret;
}

static int do_fsync(char **a)
{
	int fd = open(a[0], O_RDONLY | O_NONBLOCK), ret;

	if (fd < 0)
		return -1;
	ret = fsync(fd);
	close(fd);
	return ret;
}

/* Type as ls shows it, and number of links: d3; a device's numbers as well: c1:0:0. */
static int do_what(char **a)
{
	static const char types[] = "?pc?d?b?-?l?s???";
	struct stat st;
	int n;

	if (lstat(a[0], &st))
		return -1;
	n = sprintf(result, "%c%lu", types[st.st_mode >> 12 & 15], (unsigned long)st.st_nlink);
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		sprintf(result + n, ":%u:%u", major(st.st_rdev), minor(st.st_rdev));
	return 0;
}

static int do_size(char **a)
{
	struct stat st;

	if (lstat(a[0], &st))
		return -1;
	sprintf(result, "%lld", (long long)st.st_size);
	return 0;
}

/* Whether two paths lead to one inode: yes or no. */
static int do_same(char **a)
{
	struct stat x, y;

	if (lstat(a[0], &x) || lstat(a[1], &y))
		return -1;
	strcpy(result, x.st_ino == y.st_ino ? "yes" : "no");
	return 0;
}

static const struct {
	const char *name;
	int (*run)(char **args);
	int args;
} table[] = {
	{ "create", do_create, 1 }, { "open", do_open, 2 },	  { "mkdir", do_mkdir, 1 },
	{ "rmdir", do_rmdir, 1 },   { "unlink", do_unlink, 1 },	  { "link", do_link, 2 },
	{ "symlink", do_symlink, 2 }, { "chmod", do_chmod, 2 },	  { "chown", do_chown, 2 },
	{ "truncate", do_truncate, 2 }, { "utime", do_utime, 1 }, { "utime-to", do_utime_to, 2 },
	{ "mknod", do_mknod, 2 },   { "rename", do_rename, 2 },	  { "tmpfile", do_tmpfile, 1 },
	{ "setxattr", do_setxattr, 3 }, { "removexattr", do_removexattr, 2 }, { "flags", do_flags, 2 },
	{ "fsync", do_fsync, 1 },   { "what", do_what, 1 },	  { "size", do_size, 1 },
	{ "same", do_same, 2 },
};

/* --- lines --- */

/* Replaces {c*N} and %. */
static void expand(const char *from, char *to, size_t room, unsigned int turn)
{
	size_t n = 0;
	unsigned int times;
	char c;
	int len;

	while (*from && n + 16 < room) {
		if (*from == '{' && sscanf(from, "{%c*%u}%n", &c, &times, &len) == 2) {
			while (times-- && n + 16 < room)
				to[n++] = c;
			from += len;
		} else if (*from == '%') {
			n += (size_t)sprintf(to + n, "%u", turn);
			from++;
		} else {
			to[n++] = *from++;
		}
	}
	to[n] = 0;
}

static const char *run(char **words, unsigned int turn)
{
	static char rooms[MAX_ARGS][70000];
	char *args[MAX_ARGS + 1] = { NULL };
	int n = 0;

	for (; words[n + 1] && n < MAX_ARGS; n++) {
		expand(words[n + 1], rooms[n], sizeof(rooms[n]), turn);
		args[n] = rooms[n];
	}
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(words[0], table[i].name))
			continue;
		if (n < table[i].args)
			return "too-few-arguments";
		strcpy(result, "ok");
		if (table[i].run(args) < 0)
			snprintf(result, sizeof(result), "%s", strerrorname_np(errno));
		return result;
	}
	return "no-such-operation";
}

static bool among(const char *expected, const char *is)
{
	size_t len = strlen(is);

	for (const char *at = expected; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
		if (!strncmp(at, is, len) && (!at[len] || at[len] == '|'))
			return true;
	return false;
}

/* Whether the line went as it should; prints if not. */
static bool line(char *text, unsigned int number)
{
	char *words[MAX_ARGS + 3] = { NULL }, *expected, *mark;
	static char whole[4096];
	unsigned int times = 1, turn = 0;
	bool until = false, none = false;
	const char *is = "ok";
	int n = 0;

	snprintf(whole, sizeof(whole), "%s", text);
	for (char *w = strtok(text, " \t\n"); w && n < MAX_ARGS + 1; w = strtok(NULL, " \t\n"))
		words[n++] = w;
	if (!n || words[0][0] == '#')
		return true;
	expected = words[0];
	mark = strpbrk(expected, "*+");
	if (mark) {
		until = *mark == '+';
		none = until && mark[1] == '+';
		times = until ? MAX_TIMES : (unsigned int)strtoul(mark + 1, NULL, 0);
		*mark = 0;
	}
	if (n < 2 || !times) {
		printf("line %u: cannot be read: %s\n", number, whole);
		return false;
	}
	for (; turn < times; turn++) {
		is = run(words + 1, turn);
		if (until ? strcmp(is, "ok") != 0 : !among(expected, is))
			break;
	}
	if (until) {
		printf("# %u times: %s", turn, whole);
		if (among(expected, is) && (turn || none))
			return true;
	} else if (turn == times) {
		return true;
	}
	printf("line %u: is %s (turn %u), expected %s", number, is, turn, whole);
	return false;
}

int main(int argc, char **argv)
{
	char text[4096];
	unsigned int number = 0, wrong = 0;

	if (argc != 2 || chdir(argv[1])) {
		perror("usage: metaop DIR <lines");
		return 2;
	}
	umask(0);
	while (fgets(text, sizeof(text), stdin))
		wrong += !line(text, ++number);
	return wrong ? 1 : 0;
}
