// SPDX-License-Identifier: GPL-2.0
/* What an inode shows beside its contents, and what the file system shows of itself. */
#include "census.h"

#include <sys/statfs.h>
#include <sys/xattr.h>

#ifndef SYS_file_getattr
#define SYS_file_getattr 468
#endif
#ifndef AT_HANDLE_CONNECTABLE
#define AT_HANDLE_CONNECTABLE 0x002
#endif
#ifndef FS_IOC_GETFSUUID
struct fsuuid2 {
	__u8 len;
	__u8 uuid[16];
};
#define FS_IOC_GETFSUUID _IOR(0x15, 0, struct fsuuid2)
#endif
#ifndef FS_IOC_GETFSSYSFSPATH
struct fs_sysfs_path {
	__u8 len;
	__u8 name[128];
};
#define FS_IOC_GETFSSYSFSPATH _IOR(0x15, 1, struct fs_sysfs_path)
#endif
/* ext4's own numbers, from before the generic ones existed. */
#define EXT4_IOC_GETVERSION _IOR('f', 3, long)
struct ext4_fsuuid {
	__u32 len;
	__u32 flags;
	__u8 uuid[16];
};
#define EXT4_IOC_GETFSUUID _IOR('f', 44, __u64) /* the size counts the head alone */

/* Flags that say where a directory's entries are, which may depend on how large it once was. */
#define PLACES (FS_INDEX_FL | FS_INLINE_DATA_FL)

static void put_time(const char *key, const struct statx_timestamp *t)
{
	put(key, "%lld.%09u", (long long)t->tv_sec, t->tv_nsec);
}

void census_stat(int dir, const char *name, const struct statx *stx)
{
	put("mode", "%06o", stx->stx_mode);
	put("own", "%u:%u", stx->stx_uid, stx->stx_gid);
	put("nlink", "%u", stx->stx_nlink);
	/* A directory that was larger may keep its blocks, or not. */
	if (!opt.portable || !S_ISDIR(stx->stx_mode)) {
		put("size", "%llu", stx->stx_size);
		put("blocks", "%llu/%u", stx->stx_blocks, stx->stx_blksize);
	}
	if (opt.times) {
		put_time("a", &stx->stx_atime);
		put_time("m", &stx->stx_mtime);
	}
	if (!opt.portable) {
		put("ino", "%llu", stx->stx_ino);
		put_time("c", &stx->stx_ctime);
	}
	if (opt.btime)
		put_time("b", &stx->stx_btime);
	put("mask", "%x", stx->stx_mask);
	put("attr", "%llx/%llx", stx->stx_attributes, stx->stx_attributes_mask);
	put("dio", "%u/%u", stx->stx_dio_mem_align, stx->stx_dio_offset_align);
	if (S_ISCHR(stx->stx_mode) || S_ISBLK(stx->stx_mode))
		put("rdev", "%u:%u", stx->stx_rdev_major, stx->stx_rdev_minor);
	if (S_ISLNK(stx->stx_mode)) {
		char target[65537];
		ssize_t n = readlinkat(dir, name, target, sizeof(target));

		if (n < 0) {
			put_err("target", errno);
		} else {
			put("target", "%zd:", n);
			put_escaped(target, (size_t)n);
		}
	}
}

/* file_getattr(2) reaches what cannot be opened as well: symlinks, devices, FIFOs. */
void census_attr(int dir, const char *name)
{
	struct {
		uint64_t xflags;
		uint32_t extsize, nextents, projid, cowextsize;
	} fa = { 0 };

	if (syscall(SYS_file_getattr, dir, name, &fa, sizeof(fa), AT_SYMLINK_NOFOLLOW))
		put_err("fattr", errno);
	else
		put("fattr", "%llx/%u/%u", (unsigned long long)fa.xflags, fa.projid, fa.extsize);
}

void census_flags(int fd)
{
	struct fsxattr fsx = { 0 };
	long version = 0;
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		put_err("flags", errno);
	else
		put("flags", "%x", opt.portable ? flags & ~PLACES : flags);
	if (opt.portable)
		return;
	if (ioctl(fd, FS_IOC_GETVERSION, &version))
		put_err("gen", errno);
	else
		put("gen", "%x", (unsigned int)version);
	version = 0;
	if (ioctl(fd, EXT4_IOC_GETVERSION, &version))
		put_err("gen4", errno);
	else
		put("gen4", "%x", (unsigned int)version);
	if (ioctl(fd, FS_IOC_FSGETXATTR, &fsx))
		put_err("fsx", errno);
	else
		put("fsx", "%x/%u/%u", fsx.fsx_xflags, fsx.fsx_projid, fsx.fsx_nextents);
}

static void one_xattr(const char *file, const char *name)
{
	static char value[65536];
	ssize_t n = lgetxattr(file, name, NULL, 0), m;

	if (!opt.quiet) {
		putchar_unlocked('[');
		put_escaped(name, strlen(name));
	}
	if (n < 0) {
		say("=%s]", err_name(errno));
		return;
	}
	m = lgetxattr(file, name, value, sizeof(value));
	if (m != n) {
		say("=%s]", m < 0 ? err_name(errno) : "size-changed");
		return;
	}
	total.xattrs++;
	say("=%zd:%016llx", n, (unsigned long long)mix(MIX_SEED, value, (size_t)n));
	/* One byte too few must be refused, not cut. */
	if (n > 1 && (lgetxattr(file, name, value, (size_t)n - 1) >= 0 || errno != ERANGE))
		say(":no-ERANGE");
	say("]");
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void census_xattrs(int dir, const char *name)
{
	static char list[65536];
	static const char *names[65536 / 2];
	static const char *const probes[] = { "user.absent", "trusted.absent", "security.absent",
		"system.posix_acl_access", "system.posix_acl_default", "user.", "nonsense.a" };
	ssize_t n, m;
	size_t count = 0;

	/* The calls with a directory descriptor are too new, and /proc/self/fd is a long way. */
	n = fchdir(dir) ? -1 : llistxattr(name, list, sizeof(list));
	if (n < 0) {
		put_err("xattrs", errno);
		return;
	}
	m = llistxattr(name, NULL, 0);
	put("xattrs", "%zd", n);
	if (m != n)
		say("/%zd", m);
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1)
		names[count++] = list + at;
	if (opt.portable)
		qsort(names, count, sizeof(*names), by_text);
	for (size_t i = 0; i < count; i++)
		one_xattr(name, names[i]);
	put("xprobe", "%s", "");
	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
		ssize_t got = lgetxattr(name, probes[i], NULL, 0);

		if (got >= 0)
			say("%zd,", got);
		else
			say("%s,", errno == ENODATA ? "-" : strerrorname_np(errno));
	}
}

static void put_handle(const char *key, const struct file_handle *h)
{
	char hex[2 * MAX_HANDLE_SZ + 1];

	for (unsigned int i = 0; i < h->handle_bytes; i++)
		snprintf(hex + 2 * i, 3, "%02x", h->f_handle[i]);
	hex[2 * h->handle_bytes] = 0;
	put(key, "%x:%s", h->handle_type, hex);
}

void census_handles(int dir, const char *name, const struct statx *stx)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u;
	struct stat st;
	int mount, fd;

	u.h.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(dir, name, &u.h, &mount, AT_HANDLE_CONNECTABLE)) {
		put_err("handle-conn", errno);
	} else {
		put_handle("handle-conn", &u.h);
		fd = open_by_handle_at(root_fd, &u.h, O_PATH | O_NOFOLLOW);
		if (fd < 0) {
			put_err("by-handle-conn", errno);
		} else {
			if (fstat(fd, &st) || st.st_ino != stx->stx_ino)
				put("by-handle-conn", "other");
			close(fd);
		}
	}
	u.h.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(dir, name, &u.h, &mount, 0)) {
		put_err("handle", errno);
		return;
	}
	put_handle("handle", &u.h);
	fd = open_by_handle_at(root_fd, &u.h, O_PATH | O_NOFOLLOW);
	if (fd < 0) {
		put_err("by-handle", errno);
	} else {
		put("by-handle", "%s", fstat(fd, &st) == 0 && st.st_ino == stx->stx_ino ?
		    "ok" : "other");
		close(fd);
	}
	/* A handle of an earlier life of the inode is stale. */
	if (stx->stx_ino % 16 == 0 && u.h.handle_bytes == 8) {
		u.h.f_handle[4] ^= 1;
		fd = open_by_handle_at(root_fd, &u.h, O_PATH | O_NOFOLLOW);
		put("stale", "%s", fd < 0 ? strerrorname_np(errno) : "opened");
		if (fd >= 0)
			close(fd);
	}
}

static void put_bytes(const char *key, const void *bytes, size_t len)
{
	put(key, "%s", "");
	put_escaped(bytes, len);
}

void census_fs(const char *path)
{
	struct ext4_fsuuid own = { .len = 16 };
	struct fs_sysfs_path sysfs = { 0 };
	struct fsuuid2 uuid = { 0 };
	char label[FSLABEL_MAX] = "";
	struct statfs s;
	int bsz = 0;

	if (fstatfs(root_fd, &s)) {
		say("%s:", path);
		put_err("statfs", errno);
		return;
	}
	say("statfs:");
	put("type", "%lx", (long)s.f_type);
	put("bsize", "%ld/%ld", (long)s.f_bsize, (long)s.f_frsize);
	put("blocks", "%llu/%llu/%llu", (unsigned long long)s.f_blocks,
	    (unsigned long long)s.f_bfree, (unsigned long long)s.f_bavail);
	put("files", "%llu/%llu", (unsigned long long)s.f_files, (unsigned long long)s.f_ffree);
	put("fsid", "%x:%x", s.f_fsid.__val[0], s.f_fsid.__val[1]);
	put("namelen", "%ld", (long)s.f_namelen);
	put("flags", "%lx", (long)s.f_flags);
	if (ioctl(root_fd, FIGETBSZ, &bsz))
		put_err("bsz", errno);
	else
		put("bsz", "%d", bsz);
	if (ioctl(root_fd, FS_IOC_GETFSLABEL, label))
		put_err("label", errno);
	else
		put_bytes("label", label, strnlen(label, sizeof(label)));
	if (ioctl(root_fd, FS_IOC_GETFSUUID, &uuid))
		put_err("uuid", errno);
	else
		put("uuid", "%u:%016llx", uuid.len,
		    (unsigned long long)mix(MIX_SEED, uuid.uuid, 16));
	if (ioctl(root_fd, EXT4_IOC_GETFSUUID, &own))
		put_err("uuid4", errno);
	else
		put("uuid4", "%u:%016llx", own.len, (unsigned long long)mix(MIX_SEED, own.uuid, 16));
	/* The path begins with the type's name, which is the one thing that may differ. */
	if (ioctl(root_fd, FS_IOC_GETFSSYSFSPATH, &sysfs)) {
		put_err("sysfs", errno);
	} else {
		const char *slash = memchr(sysfs.name, '/', sizeof(sysfs.name));

		put_bytes("sysfs", slash ? slash : "?", slash ? strlen(slash) : 1);
	}
}
