// SPDX-License-Identifier: GPL-2.0
/* Extended attributes in the inode, in a block, shared, in inodes of their own; ACLs. */
#include "fill.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>

static void set(const char *path, const char *name, size_t len)
{
	static char value[65536];

	for (size_t i = 0; i < len; i++)
		value[i] = (char)rnd();
	TRY(lsetxattr(path, name, value, len, 0), path);
}

static void acl(const char *path, const char *name, unsigned int users)
{
	struct {
		struct posix_acl_xattr_header h;
		struct posix_acl_xattr_entry e[64];
	} a = { .h.a_version = POSIX_ACL_XATTR_VERSION };
	size_t n = 0;

	a.e[n++] = (struct posix_acl_xattr_entry){ ACL_USER_OBJ, 7, (uint32_t)ACL_UNDEFINED_ID };
	for (unsigned int i = 0; i < users; i++)
		a.e[n++] = (struct posix_acl_xattr_entry){ ACL_USER, (uint16_t)(i % 8),
							   1000 + i * 70000 };
	a.e[n++] = (struct posix_acl_xattr_entry){ ACL_GROUP_OBJ, 5, (uint32_t)ACL_UNDEFINED_ID };
	for (unsigned int i = 0; i < users / 2; i++)
		a.e[n++] = (struct posix_acl_xattr_entry){ ACL_GROUP, 4, 50 + i };
	if (users)
		a.e[n++] = (struct posix_acl_xattr_entry){ ACL_MASK, 6, (uint32_t)ACL_UNDEFINED_ID };
	a.e[n++] = (struct posix_acl_xattr_entry){ ACL_OTHER, 1, (uint32_t)ACL_UNDEFINED_ID };
	TRY(lsetxattr(path, name, &a, sizeof(a.h) + n * sizeof(a.e[0]), 0), path);
}

static void acls(void)
{
	static const unsigned int users[] = { 0, 1, 2, 5, 30 };

	make_dir("acls");
	for (size_t i = 0; i < sizeof(users) / sizeof(*users); i++) {
		const char *path = fmt("acls/file-%u", users[i]);

		touch(path);
		acl(path, "system.posix_acl_access", users[i]);
		path = fmt("acls/dir-%u", users[i]);
		make_dir(path);
		acl(path, "system.posix_acl_access", users[i]);
		acl(path, "system.posix_acl_default", users[i]);
		touch(fmt("%s/inherits", path));
		make_dir(fmt("%s/inherits-too", path));
	}
}

void fill_xattrs(void)
{
	static const char *const spaces[] = { "user", "trusted", "security" };
	/* Around what fits into inodes of 256 to 1024 bytes and into blocks of 1k and 4k. */
	static const size_t sizes[] = { 0, 1, 3, 4, 20, 40, 60, 64, 68, 72, 80, 200, 500, 740, 900,
					950, 960, 2000, 3900, 4000, 4020, 4096, 10000, 65535, 65536 };
	const char *path;

	make_dir("xattrs");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		path = fmt("xattrs/size-%zu", sizes[i]);
		file_of(path, i * 10);
		set(path, fmt("%s.value", spaces[i % 3]), sizes[i]);
	}
	path = "xattrs/many";
	touch(path);
	for (int i = 0; i < 60; i++)
		set(path, fmt("%s.%c%d", spaces[i % 3], 'z' - i % 26, i), 1 + below(40));
	/* Removed again: the rest moves up. */
	for (int i = 0; i < 60; i += 4)
		if (lremovexattr(path, fmt("%s.%c%d", spaces[i % 3], 'z' - i % 26, i)) &&
		    errno != ENODATA)
			cannot("lremovexattr", path);
	/* Both the inode and a block. */
	for (int i = 0; i < 10; i++) {
		path = fmt("xattrs/both-%d", i);
		file_of(path, 30);
		set(path, "user.small", 8);
		set(path, "user.large", 300 + 40 * (size_t)i);
	}
	/* The same large value on many inodes: one shared block. */
	for (int i = 0; i < 30; i++) {
		static char value[600];

		path = fmt("xattrs/shared-%d", i);
		touch(path);
		memset(value, 'A' + i / 10, sizeof(value));
		TRY(lsetxattr(path, "user.shared", value, sizeof(value), 0), path);
	}
	/* The same value in an inode of its own, referred to twice. */
	for (int i = 0; i < 2; i++) {
		static char value[20000] = "shared ea inode";

		path = fmt("xattrs/ea-shared-%d", i);
		touch(path);
		TRY(lsetxattr(path, "trusted.ea", value, sizeof(value), 0), path);
	}
	make_dir("xattrs/dir");
	set("xattrs/dir", "user.on-dir", 50);
	set("xattrs/dir", "trusted.on-dir", 500);
	TRY(symlink("target", "xattrs/symlink"), "symlink");
	set("xattrs/symlink", "trusted.on-symlink", 30);
	TRY(symlink(fmt("%0150d", 7), "xattrs/long-symlink"), "symlink");
	set("xattrs/long-symlink", "security.on-symlink", 100);
	TRY(mknod("xattrs/fifo", S_IFIFO | 0600, 0), "fifo");
	set("xattrs/fifo", "trusted.on-fifo", 77);
	touch("xattrs/long-name");
	set("xattrs/long-name", fmt("user.%0250d", 1), 10);
	acls();
}
