// SPDX-License-Identifier: GPL-2.0
/* Inodes: links, devices, owners, modes, flags, timestamps. */
#include "fill.h"

#include <sys/sysmacros.h>

static void links(void)
{
	static const unsigned int lengths[] = { 1, 2, 30, 58, 59, 60, 61, 100, 155, 160, 200, 400,
						800, 1000, 1022, 1023, 1024, 2000, 4000, 4094, 4095 };
	char target[4100];

	make_dir("links");
	make_dir("links/other");
	file_of("links/file", 5000);
	for (int i = 0; i < 20; i++)
		TRY(link("links/file", fmt("links/%shard-%d", i % 2 ? "other/" : "", i)), "hard");
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		for (unsigned int j = 0; j < lengths[i]; j++)
			target[j] = j % 9 == 8 ? '/' : (char)('a' + below(26));
		target[lengths[i]] = 0;
		TRY(symlink(target, fmt("links/sym-%u", lengths[i])), "symlink");
	}
	TRY(symlink("file", "links/to-file"), "symlink");
	TRY(symlink("loop", "links/loop"), "symlink");
	TRY(link("links/sym-30", "links/hard-to-sym"), "symlink");
}

static void devices(void)
{
	/* Old (8:8), and new encodings, which begin where either half exceeds 8 bits. */
	static const unsigned int dev[][2] = { { 0, 0 }, { 1, 3 }, { 255, 255 }, { 256, 0 }, { 0, 256 },
					       { 259, 65537 }, { 4095, 0xfffff }, { 7, 1048575 } };

	make_dir("devices");
	for (size_t i = 0; i < sizeof(dev) / sizeof(*dev); i++) {
		dev_t d = makedev(dev[i][0], dev[i][1]);

		TRY(mknod(fmt("devices/c%zu", i), S_IFCHR | 0640, d), "chr");
		TRY(mknod(fmt("devices/b%zu", i), S_IFBLK | 0640, d), "blk");
	}
	TRY(mknod("devices/fifo", S_IFIFO | 0622, 0), "fifo");
	TRY(mknod("devices/socket", S_IFSOCK | 0777, 0), "socket");
}

static void owners(void)
{
	static const uid_t ids[] = { 0, 1, 65534, 65535, 65536, 0x12345678, 0xfffffffe };

	make_dir("owners");
	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		const char *path = fmt("owners/%zu", i);

		touch(path);
		TRY(chown(path, ids[i], ids[sizeof(ids) / sizeof(*ids) - 1 - i]), path);
	}
	for (unsigned int m = 0; m < 8; m++) {
		const char *path = fmt("owners/mode-%u", m);

		touch(path);
		TRY(chmod(path, m << 9 | (m * 73 & 0777)), path);
	}
	make_dir("owners/sticky");
	TRY(chmod("owners/sticky", 03777), "sticky");
}

static void times(void)
{
	/* The edges of 32 bits, of the two epoch bits, and what lies beyond them. */
	static const int64_t secs[] = { -2147483649, -2147483648, -2147483647, -1, 0, 1,
		2147483647, 2147483648, 4294967295, 4294967296, 6442450943, 6442450944,
		8589934592, 10737418239, 10737418240, 15032385535, 15032385536 };
	static const uint32_t ns[] = { 0, 1, 999999999, 123456789 };

	make_dir("times");
	for (size_t i = 0; i < sizeof(secs) / sizeof(*secs); i++) {
		const char *path = fmt("times/%zu", i);
		struct timespec t[2] = { { secs[i], ns[i % 4] }, { secs[i], ns[(i + 1) % 4] } };

		if (i % 5 == 4)
			make_dir(path);
		else
			touch(path);
		TRY(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), path);
	}
}

static void set_flag(const char *path, int flag)
{
	int fd = open(path, O_RDONLY), flags = 0;

	if (fd < 0)
		return cannot("open", path);
	if (!TRY(ioctl(fd, FS_IOC_GETFLAGS, &flags), path)) {
		flags |= flag;
		TRY(ioctl(fd, FS_IOC_SETFLAGS, &flags), path);
	}
	close(fd);
}

static void set_project(const char *path, uint32_t id, uint32_t xflags)
{
	struct fsxattr fsx;
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return cannot("open", path);
	if (!TRY(ioctl(fd, FS_IOC_FSGETXATTR, &fsx), path)) {
		fsx.fsx_projid = id;
		fsx.fsx_xflags |= xflags;
		TRY(ioctl(fd, FS_IOC_FSSETXATTR, &fsx), path);
	}
	close(fd);
}

static void flags(void)
{
	static const int file_flags[] = { FS_SECRM_FL, FS_UNRM_FL, FS_COMPR_FL, FS_SYNC_FL,
		FS_NODUMP_FL, FS_NOATIME_FL, FS_JOURNAL_DATA_FL, FS_NOTAIL_FL, FS_DAX_FL,
		FS_NOATIME_FL | FS_NODUMP_FL | FS_SYNC_FL, FS_APPEND_FL, FS_IMMUTABLE_FL };
	static const int dir_flags[] = { FS_DIRSYNC_FL, FS_TOPDIR_FL, FS_NODUMP_FL, FS_SYNC_FL,
		FS_PROJINHERIT_FL, FS_APPEND_FL, FS_IMMUTABLE_FL };

	make_dir("flags");
	for (size_t i = 0; i < sizeof(file_flags) / sizeof(*file_flags); i++) {
		const char *path = fmt("flags/file-%x", file_flags[i]);

		file_of(path, 100 * (i + 1));
		set_flag(path, file_flags[i]);
	}
	for (size_t i = 0; i < sizeof(dir_flags) / sizeof(*dir_flags); i++) {
		const char *path = fmt("flags/dir-%x", dir_flags[i]);

		make_dir(path);
		touch(fmt("%s/inside", path));
		set_flag(path, dir_flags[i]);
	}
	make_dir("flags/project");
	set_project("flags/project", 1234, FS_XFLAG_PROJINHERIT);
	touch("flags/project/inherits");
	file_of("flags/project-max", 10);
	set_project("flags/project-max", 0xfffffffe, 0);
}

void fill_inodes(void)
{
	links();
	devices();
	owners();
	times();
	flags();
}
