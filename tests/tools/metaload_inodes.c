// SPDX-License-Identifier: GPL-2.0
/* metaload's operations on inodes. */
#include "metaload.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>

#include "hash.h"

/* What has no data of its own to follow: not a symlink. */
static int pick_no_symlink(void)
{
	for (int i = 0; i < 8; i++) {
		int node = pick_any();

		if (node >= 0 && !S_ISLNK(inodes[nodes[node].inode].type))
			return node;
	}
	return -1;
}

static int pick_openable(void)
{
	int node = below(3) ? pick_regular() : pick_dir();

	return node > 0 ? node : -1;
}

static int done(int node, int ret)
{
	if (!ret)
		touch(nodes[node].inode);
	return ret;
}

void op_chmod(void)
{
	static const mode_t modes[] = { 0, 0777, 0644, 0755, 0600, 04711, 02770, 02755, 01777, 07777, 0111 };
	int node = pick_no_symlink();
	mode_t mode = ONE_OF(modes);
	const char *path;

	if (node < 0 || !(path = path_of(node)))
		return;
	/* The mode is one transaction, the ACL's mask another. */
	if (par.crash && inodes[nodes[node].inode].acl)
		return;
	done(node, report(chmod(path, mode), "chmod", "%o %s", mode, shown(path)));
}

void op_chown(void)
{
	static const uint32_t ids[] = { 0, 1, 1000, 65534, 65535, 65536, 0x12345678, 0xfffffffe, 0xffffffff };
	uid_t uid = ONE_OF(ids);
	gid_t gid = ONE_OF(ids);
	int node = pick_any();
	const char *path;

	if (node >= 0 && (path = path_of(node)))
		done(node, report(lchown(path, uid, gid), "chown", "%u:%u %s", uid, gid, shown(path)));
}

static void some_time(struct timespec *t, uint64_t r)
{
	/* The edges of 32 bits, of the two epoch bits, and what lies beyond them. */
	static const int64_t edges[] = { -2147483649, -2147483648, -1, 0, 1, 2147483647, 2147483648,
		4294967295, 4294967296, 6442450943, 8589934592, 15032385535, 15032385536 };
	static const long ns[] = { 0, 1, 999999999, 123456789 };

	t->tv_nsec = ns[r & 3];
	t->tv_sec = r & 4 ? (int64_t)(r >> 8) % 2000000000 : edges[(r >> 8) % (sizeof(edges) / sizeof(edges[0]))];
}

void op_times(void)
{
	struct timespec t[2];
	int node = pick_any();
	const char *path;

	some_time(&t[0], rnd());
	some_time(&t[1], rnd());
	if (node >= 0 && (path = path_of(node)))
		done(node, report(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), "times", "%s", shown(path)));
}

/* A name of an attribute, out of few enough that names are met again. */
static const char *attr_name(bool symlink)
{
	static const char *const spaces[] = { "user", "user", "trusted", "security" };
	static char name[300];
	int n = sprintf(name, "%s.", ONE_OF(spaces));
	unsigned int i = below(symlink ? 5 : 6);

	n += sprintf(name + n, "%c%u", 'a' + (int)i, i);
	if (i == 5) {
		unsigned int len = below(2) ? 40 : 200;

		memset(name + n, 'n', len);
		name[(unsigned int)n + len] = 0;
	}
	return name;
}

void op_setxattr(void)
{
	static const unsigned int sizes[] = { 0, 1, 3, 4, 10, 20, 40, 60, 72, 100, 200, 300, 500, 700,
		900, 960, 1500, 2500, 3000, 3900, 4000, 4040, 4096, 5000, 9000, 20000, 65535, 65536 };
	static unsigned char value[65536];
	int node = pick_any();
	/*
	 * e2fsck (1.47) takes a fast symlink for a slow one if it has a value in an inode of its own, where any
	 * value may come to be for which there is no other room: symlinks have few and small ones.
	 */
	bool symlink = node >= 0 && S_ISLNK(inodes[nodes[node].inode].type);
	const char *name = attr_name(symlink), *path;
	unsigned int size = symlink ? sizes[below(6)] : below(3) ? sizes[below(12)] : ONE_OF(sizes);
	int flags = below(12) ? 0 : below(2) ? XATTR_CREATE : XATTR_REPLACE;
	uint64_t h = below(2) ? rnd() : below(3);

	/* Half of the values are few, so that blocks are shared. */
	for (unsigned int i = 0; i < size; i++) {
		if (i % 8 == 0)
			h = mix_u64(h, size);
		value[i] = (unsigned char)(h >> (i % 8 * 8));
	}
	if (node >= 0 && (path = path_of(node)))
		done(node, report(lsetxattr(path, name, value, size, flags), "setxattr", "%.20s %u %d %s", name, size,
				  flags, shown(path)));
}

void op_removexattr(void)
{
	const char *name = attr_name(false), *path;
	int node = pick_any();

	/* Mostly the first few, which exist more often. */
	for (int i = 0; i < 6 && node >= 0; i++, node = pick_any())
		if ((path = path_of(node)) && lgetxattr(path, name, NULL, 0) >= 0)
			break;
	if (node >= 0 && (path = path_of(node)))
		done(node, report(lremovexattr(path, name), "removexattr", "%.20s %s", name, shown(path)));
}

void op_acl(void)
{
	static const unsigned int users_of[] = { 0, 1, 2, 5, 30, 110 };
	struct {
		struct posix_acl_xattr_header h;
		struct posix_acl_xattr_entry e[180];
	} a = { .h.a_version = POSIX_ACL_XATTR_VERSION };
	int node = below(2) ? pick_dir() : pick_no_symlink();
	bool dir = node > 0 && S_ISDIR(inodes[nodes[node].inode].type);
	const char *name = "system.posix_acl_access", *path;
	unsigned int users = ONE_OF(users_of);
	size_t n = 0;
	int ret;

	if (node <= 0 || !(path = path_of(node)))
		return;
	if (below(20) ? dir && below(2) : 1)
		name = "system.posix_acl_default";
	if (!below(4)) {
		done(node, report(lremovexattr(path, name), "acl-remove", "%s %s", name, shown(path)));
		return;
	}
	a.e[n++] = (struct posix_acl_xattr_entry){ ACL_USER_OBJ, (uint16_t)below(8), (uint32_t)ACL_UNDEFINED_ID };
	for (unsigned int i = 0; i < users; i++)
		a.e[n++] = (struct posix_acl_xattr_entry){ ACL_USER, (uint16_t)below(8), 1000 + i * 70000 };
	a.e[n++] = (struct posix_acl_xattr_entry){ ACL_GROUP_OBJ, (uint16_t)below(8), (uint32_t)ACL_UNDEFINED_ID };
	for (unsigned int i = 0; i < users / 2; i++)
		a.e[n++] = (struct posix_acl_xattr_entry){ ACL_GROUP, (uint16_t)below(8), 50 + i };
	if (users)
		a.e[n++] = (struct posix_acl_xattr_entry){ ACL_MASK, (uint16_t)below(8), (uint32_t)ACL_UNDEFINED_ID };
	a.e[n++] = (struct posix_acl_xattr_entry){ ACL_OTHER, (uint16_t)below(8), (uint32_t)ACL_UNDEFINED_ID };
	ret = lsetxattr(path, name, &a, sizeof(a.h) + n * sizeof(a.e[0]), 0);
	if (!done(node, report(ret, "acl", "%s %u %s", name, users, shown(path))))
		inodes[nodes[node].inode].acl = true;
}

/* To nothing, or longer than it is: what needs no data to be written. */
void op_truncate(void)
{
	static const int64_t sizes[] = { 0, 0, 0, 1, 59, 60, 61, 160, 1023, 1024, 4095, 4096, 4097, 65536, 100000,
		1 << 20, 1ll << 31, 1ll << 34, 1ll << 42, 1ll << 44, 1ll << 60 };
	int node = below(20) ? pick_regular() : pick_no_symlink();
	int64_t size = ONE_OF(sizes);
	const char *path;
	struct stat st;

	if (node < 0 || !(path = path_of(node)) || stat(path, &st) || st.st_size > size)
		size = 0;
	/* Opening what is no file or directory may wait for somebody at its other end; truncating does not open. */
	if (node >= 0 && path)
		done(node, report(truncate(path, size), "truncate", "%lld %s", (long long)size, shown(path)));
}

static int change_flags(int node, int set, int clear, const char *op)
{
	const char *path = path_of(node);
	int fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
	int flags = 0, ret;

	if (fd < 0)
		return -1;
	ret = ioctl(fd, FS_IOC_GETFLAGS, &flags);
	if (!ret) {
		flags = (flags | set) & ~clear;
		ret = ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	close(fd);
	report(ret, op, "+%x -%x %s", set, clear, shown(path));
	if (!done(node, ret)) {
		int *known = &inodes[nodes[node].inode].flags;

		*known = (*known | set) & ~clear;
	}
	return ret;
}

static int pick_locked(int from)
{
	for (unsigned int i = 0; i < dirs.n + others.n; i++) {
		unsigned int at = ((unsigned int)from + i) % (dirs.n + others.n);
		int node = at < dirs.n ? dirs.ids[at] : others.ids[at - dirs.n];

		if (inodes[nodes[node].inode].flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))
			return node;
	}
	return -1;
}

void op_flags(void)
{
	static const int file_flags[] = { FS_SYNC_FL, FS_NODUMP_FL, FS_NOATIME_FL, FS_SECRM_FL, FS_UNRM_FL,
		FS_NOTAIL_FL, FS_APPEND_FL, FS_IMMUTABLE_FL };
	static const int dir_flags[] = { FS_DIRSYNC_FL, FS_NODUMP_FL, FS_NOATIME_FL, FS_TOPDIR_FL, FS_SYNC_FL,
		FS_PROJINHERIT_FL, FS_APPEND_FL, FS_IMMUTABLE_FL };
	int node = pick_openable(), locked = pick_locked((int)below(dirs.n + others.n)), flag;

	/* What is locked does not stay so for long. */
	if (locked >= 0 && below(3)) {
		change_flags(locked, 0, FS_IMMUTABLE_FL | FS_APPEND_FL, "unlock");
		return;
	}
	if (node < 0)
		return;
	flag = S_ISDIR(inodes[nodes[node].inode].type) ? ONE_OF(dir_flags) : ONE_OF(file_flags);
	if (below(3))
		change_flags(node, flag, 0, "flags");
	else
		change_flags(node, 0, flag, "flags");
}

void op_project(void)
{
	int node = pick_openable(), fd;
	struct fsxattr fsx = { 0 };
	const char *path;
	int ret;

	if (node < 0 || !(path = path_of(node)))
		return;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	ret = ioctl(fd, FS_IOC_FSGETXATTR, &fsx);
	if (!ret) {
		fsx.fsx_projid = below(3) * 1000;
		ret = ioctl(fd, FS_IOC_FSSETXATTR, &fsx);
	}
	done(node, report(ret, "project", "%u %s", fsx.fsx_projid, shown(path)));
	close(fd);
}

/*
 * After an inode has been synced, everything up to its last change is durable: transactions are committed
 * whole and in order. After the file system has been, everything is.
 */
void op_sync(void)
{
	int node = below(2) ? pick_dir() : pick_openable(), fd;
	bool whole = !below(6);
	const char *path;
	int ret;

	if (node < 0 || !(path = path_of(node)))
		return;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	ret = report(whole ? syncfs(fd) : fsync(fd), whole ? "syncfs" : "fsync", "%s", shown(path));
	close(fd);
	if (!ret && whole)
		durable = now;
	else if (!ret && inodes[nodes[node].inode].touched > durable)
		durable = inodes[nodes[node].inode].touched;
}

void settle(void)
{
	static const struct timespec zero[2];
	int node;

	/* What was made by mkfs at some time, and by the first mkdir. */
	utimensat(AT_FDCWD, "..", zero, 0);
	utimensat(AT_FDCWD, "../lost+found", zero, 0);
	while ((node = pick_locked(0)) >= 0)
		if (change_flags(node, 0, FS_IMMUTABLE_FL | FS_APPEND_FL, "unlock"))
			break;
	for (unsigned int i = 0; i < dirs.n + others.n; i++) {
		const char *path = path_of(i < dirs.n ? dirs.ids[i] : others.ids[i - dirs.n]);
		struct timespec t[2];

		some_time(&t[0], mix_u64(par.seed, i));
		some_time(&t[1], mix_u64(par.seed, i + 1000000));
		if (path)
			report(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), "settle", "%s", shown(path));
	}
}
