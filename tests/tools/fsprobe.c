// SPDX-License-Identifier: GPL-2.0
/*
 * fsprobe: single questions to a mounted file system, for shell tests. Answers are one line of
 * text that does not depend on where or when it runs, so that two drivers can be compared.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <linux/fs.h>

#include "hash.h"

#ifndef EXT4_IOC_SHUTDOWN
#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
#endif

static void answer(const char *what, long ret)
{
	printf("%s=%s ", what, ret < 0 ? strerrorname_np(errno) : "ok");
}

/* --- ways: one file read in every way that census does not use --- */

static unsigned char *want, *got;
static size_t size;

static void same(const char *what, size_t n)
{
	printf("%s=%s ", what, n == size && !memcmp(want, got, size) ? "same" : "different");
	memset(got, 0xee, size);
}

static size_t drain(int from, size_t room)
{
	size_t n = 0;

	while (n < room) {
		ssize_t r = read(from, got + n, room - n);

		if (r <= 0)
			break;
		n += (size_t)r;
	}
	return n;
}

static int ways(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOATIME), pipes[2], mem;
	struct stat st;
	struct iovec iov[3];
	size_t n = 0;
	ssize_t r;
	unsigned char *p;
	off_t off = 0;
	loff_t loff = 0;

	if (fd < 0 || fstat(fd, &st) || pipe(pipes)) {
		perror(path);
		return 1;
	}
	size = (size_t)st.st_size;
	want = malloc(size + 1);
	got = malloc(size + 1);
	if (!want || !got || (size_t)read(fd, want, size + 1) != size) {
		perror("read");
		return 1;
	}
	memset(got, 0xee, size);
	printf("hash=%016llx ", (unsigned long long)mix(MIX_SEED, want, size));

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	mem = memfd_create("copy", 0);
	while ((size_t)off < size && sendfile(mem, fd, &off, size - (size_t)off) > 0)
		;
	lseek(mem, 0, SEEK_SET);
	same("sendfile", drain(mem, size + 1));
	close(mem);

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	while (n < size && (r = splice(fd, &loff, pipes[1], NULL, 60000, 0)) > 0) {
		size_t end = n + (size_t)r;

		while (n < end && (r = read(pipes[0], got + n, end - n)) > 0)
			n += (size_t)r;
	}
	same("splice", n);

	/* Odd pieces scattered over a vector; then only what is cached, without waiting. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	iov[0] = (struct iovec){ got, size < 7 ? size : 7 };
	iov[1] = (struct iovec){ got + iov[0].iov_len, (size - iov[0].iov_len) / 3 };
	iov[2].iov_base = (char *)iov[1].iov_base + iov[1].iov_len;
	iov[2].iov_len = size - iov[0].iov_len - iov[1].iov_len;
	r = preadv2(fd, iov, 3, 0, 0);
	same("preadv", r < 0 ? 0 : (size_t)r);
	r = preadv2(fd, iov, 3, 0, RWF_NOWAIT);
	same("nowait-cached", r < 0 ? 0 : (size_t)r);
	posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
	r = preadv2(fd, iov, 3, 0, 0);
	same("willneed", r < 0 ? 0 : (size_t)r);

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	for (n = 0; n < size; n += 1000)
		if (pread(fd, got + n, size - n < 1000 ? size - n : 1000, (off_t)n) <= 0)
			break;
	same("random-advice", n < size ? 0 : size);

	p = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p != MAP_FAILED) {
		memcpy(got, p, size);
		same("mmap-shared", size);
		munmap(p, size);
	}
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (p != MAP_FAILED) {
		memset(p, 1, size < 100 ? size : 100);
		munmap(p, size);
		r = pread(fd, got, size, 0);
		same("private-write", r < 0 ? 0 : (size_t)r);
	}
	answer("shared-write-map", mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) ==
	       MAP_FAILED ? -1 : 0);
	putchar('\n');
	return 0;
}

/* --- readonly: what a read-only mount refuses, and how --- */

static int readonly(const char *dir, const char *file)
{
	struct timespec t[2] = { { 1, 2 }, { 3, 4 } };
	struct fsxattr fsx = { 0 };
	int fd, flags = 0;

	if (chdir(dir)) {
		perror(dir);
		return 1;
	}
	fd = open(file, O_RDONLY);
	if (fd < 0) {
		perror(file);
		return 1;
	}
	answer("open-rdwr", open(file, O_RDWR));
	answer("open-trunc", open(file, O_RDONLY | O_TRUNC));
	answer("create", open("absent", O_WRONLY | O_CREAT, 0600));
	answer("create-existing", open(file, O_RDONLY | O_CREAT, 0600));
	answer("tmpfile", open(".", O_TMPFILE | O_RDWR, 0600));
	answer("truncate", truncate(file, 0));
	answer("unlink", unlink(file));
	answer("unlink-absent", unlink("absent"));
	answer("mkdir", mkdir("absent", 0700));
	answer("mkdir-existing", mkdir(file, 0700));
	answer("rmdir", rmdir("names"));
	answer("mknod", mknod("absent", S_IFIFO, 0));
	answer("symlink", symlink("x", "absent"));
	answer("link", link(file, "absent"));
	answer("rename", rename(file, "absent"));
	answer("chmod", chmod(file, 0600));
	answer("chown", chown(file, 1, 1));
	answer("utimens", utimensat(AT_FDCWD, file, t, 0));
	answer("setxattr", setxattr(file, "user.x", "y", 1, 0));
	answer("removexattr", removexattr(file, "user.x"));
	answer("setflags", ioctl(fd, FS_IOC_SETFLAGS, &flags));
	answer("fssetxattr", ioctl(fd, FS_IOC_FSSETXATTR, &fsx));
	answer("setversion", ioctl(fd, FS_IOC_SETVERSION, &flags));
	answer("fallocate", fallocate(fd, 0, 0, 4096));
	answer("fsync", fsync(fd));
	answer("fdatasync", fdatasync(fd));
	answer("syncfs", syncfs(fd));
	answer("access-w", access(file, W_OK));
	answer("swapon", swapon(file, 0));
	putchar('\n');
	return 0;
}

static int label_fs(const char *dir, const char *name)
{
	char label[FSLABEL_MAX] = "";
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	strncpy(label, name, sizeof(label) - 1);
	if (fd < 0 || ioctl(fd, FS_IOC_SETFSLABEL, label)) {
		perror("label");
		return 1;
	}
	return 0;
}

static int shutdown_fs(const char *dir, const char *how)
{
	uint32_t flags = (uint32_t)strtoul(how, NULL, 0);
	int fd = open(dir, O_RDONLY);

	if (fd < 0 || ioctl(fd, EXT4_IOC_SHUTDOWN, &flags)) {
		perror(dir);
		return 1;
	}
	return 0;
}

/* Shuts down while somebody else frees blocks: as soon as there are so many more than now. */
static int cut(const char *dir, const char *blocks, const char *how)
{
	uint32_t flags = (uint32_t)strtoul(how, NULL, 0);
	uint64_t more = strtoull(blocks, NULL, 0);
	int fd = open(dir, O_RDONLY);
	struct statfs before, now;
	time_t end = time(NULL) + 60;

	if (fd < 0 || fstatfs(fd, &before)) {
		perror(dir);
		return 1;
	}
	/* Only now may it begin. */
	if (puts("ready") < 0 || fflush(stdout))
		return 1;
	do {
		if (fstatfs(fd, &now) || time(NULL) > end) {
			fprintf(stderr, "fsprobe: nothing becomes free\n");
			return 1;
		}
	} while (now.f_bfree < before.f_bfree + more);
	if (ioctl(fd, EXT4_IOC_SHUTDOWN, &flags)) {
		perror(dir);
		return 1;
	}
	return 0;
}

/* Read access leaves atime alone: on a read-only mount always. */
static int atime(const char *path)
{
	struct stat a, b;
	char c;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &a) || read(fd, &c, 1) < 0 || fstat(fd, &b)) {
		perror(path);
		return 1;
	}
	printf("atime %s\n", memcmp(&a.st_atim, &b.st_atim, sizeof(a.st_atim)) ? "moved" : "kept");
	return 0;
}

/* --- options: each line of standard input as mount options, read-only --- */

static const char *shown(const char *dir)
{
	static char line[4096];
	FILE *f = fopen("/proc/self/mounts", "r");
	char *options = NULL, *end;

	while (f && !options && fgets(line, sizeof(line), f)) {
		char *at = strchr(line, ' ');

		if (!at || strncmp(at + 1, dir, strlen(dir)) || at[1 + strlen(dir)] != ' ')
			continue;
		options = strchr(at + strlen(dir) + 2, ' ');
	}
	if (f)
		fclose(f);
	if (!options)
		return "?";
	end = strchr(++options, ' ');
	if (end)
		*end = 0;
	return options;
}

/* An option, how the mount went and what is shown for it; then what is shown, mounted again. */
static int options(const char *type, const char *dev, const char *dir)
{
	char line[512], first[4096];

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (mount(dev, dir, type, MS_RDONLY, line)) {
			printf("%s: %s\n", line, strerrorname_np(errno));
			continue;
		}
		snprintf(first, sizeof(first), "%s", shown(dir));
		printf("%s: %s", line, first);
		umount(dir);
		/* The leading ro,relatime are not the file system's. */
		if (!strncmp(first, "ro,relatime", 11)) {
			const char *own = first[11] ? first + 12 : first + 11;

			if (mount(dev, dir, type, MS_RDONLY, own)) {
				printf(" AGAIN %s", strerrorname_np(errno));
			} else {
				if (strcmp(shown(dir), first))
					printf(" AGAIN %s", shown(dir));
				umount(dir);
			}
		}
		putchar('\n');
	}
	return 0;
}

/* Sets the UUID to 01020304-0506-0708-090a-0b0c0d0e0f10. */
static int set_uuid(const char *dir)
{
	struct {
		uint32_t len, flags;
		uint8_t uuid[16];
	} arg = { 16, 0, { 0 } };
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	for (int i = 0; i < 16; i++)
		arg.uuid[i] = i + 1;
	if (fd < 0 || ioctl(fd, _IOW('f', 44, uint32_t[2]), &arg)) {
		perror("setuuid");
		return 1;
	}
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "options"))
		return options(argv[2], argv[3], argv[4]);
	if (argc == 3 && !strcmp(argv[1], "ways"))
		return ways(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "readonly"))
		return readonly(argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[1], "label"))
		return label_fs(argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[1], "shutdown"))
		return shutdown_fs(argv[2], argv[3]);
	if (argc == 5 && !strcmp(argv[1], "cut"))
		return cut(argv[2], argv[3], argv[4]);
	if (argc == 3 && !strcmp(argv[1], "setuuid"))
		return set_uuid(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "atime"))
		return atime(argv[2]);
	fputs("usage: fsprobe ways FILE | readonly DIR FILE | shutdown DIR FLAGS |\n"
	      "       fsprobe cut DIR BLOCKS FLAGS | label DIR NAME | setuuid DIR | atime FILE\n"
	      "       fsprobe options TYPE DEVICE DIR <options, one set per line\n", stderr);
	return 2;
}
