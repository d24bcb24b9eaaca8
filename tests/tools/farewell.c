// SPDX-License-Identifier: GPL-2.0
/*
 * farewell: files and directories that are used while they lose their last name.
 *
 *     farewell DIR SECONDS SEED
 *
 * Threads make and remove files, links and directories of a few names in DIR, while others open them by name and
 * by handle, change them, look at them again, and have them dropped from memory. Each error has to be one that a
 * name or a handle can have whose file has just gone, and whoever has a file open has to have the same file
 * until it is closed. Prints how often a file was found by its handle, gone under a handle, and used without a name.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "hash.h"

#define NAMES 24u
#define HANDLES 64u
#define THREADS 8u

struct handle {
	struct file_handle head;
	unsigned char bytes[MAX_HANDLE_SZ];
};

static int dir;
static uint64_t seed;
static time_t end;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct handle handles[HANDLES];
static bool known[HANDLES];
static atomic_uint found, gone, unnamed;

static void fail(const char *what, const char *name)
{
	fprintf(stderr, "farewell: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

/* Fails unless errno is one of these. */
static void expect(const char *what, const char *name, int a, int b, int c)
{
	if (errno != a && errno != b && errno != c)
		fail(what, name);
}

/* What can be done to a file whether or not it has a name, and what has to stay the same meanwhile. */
static void use(int fd, const char *how, uint64_t random)
{
	struct stat before, after;
	char value[40];
	unsigned int generation = 0, generation_after = 0;

	if (fstat(fd, &before) || ioctl(fd, FS_IOC_GETVERSION, &generation))
		fail("fstat", how);
	switch (random % 4) {
	case 0:
		if (fchmod(fd, 0600 | (random >> 8 & 077)))
			fail("fchmod", how);
		break;
	case 1:
		snprintf(value, sizeof(value), "%016llx", (unsigned long long)random);
		if (fsetxattr(fd, "user.farewell", value, 16, 0))
			fail("fsetxattr", how);
		break;
	case 2:
		/* One that was a directory at the first look has been opened for reading. */
		if (S_ISREG(before.st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR &&
		    ftruncate(fd, random >> 8 & 0xffff))
			fail("ftruncate", how);
		break;
	default:
		sched_yield();
	}
	if (fstat(fd, &after) || ioctl(fd, FS_IOC_GETVERSION, &generation_after))
		fail("fstat", how);
	/* Others may link it meanwhile, but not by more names than there are. */
	if (before.st_ino != after.st_ino || (before.st_mode ^ after.st_mode) & S_IFMT ||
	    generation != generation_after || (S_ISREG(after.st_mode) && after.st_nlink > NAMES)) {
		fprintf(stderr, "farewell: %s is another file: inode %ju %ju, mode %o %o, links %ju %ju, generation %x %x\n", how,
			(uintmax_t)before.st_ino, (uintmax_t)after.st_ino, before.st_mode, after.st_mode,
			(uintmax_t)before.st_nlink, (uintmax_t)after.st_nlink, generation, generation_after);
		exit(1);
	}
	if (!after.st_nlink)
		unnamed++;
}

static void remember(const char *name, uint64_t random)
{
	struct handle handle = { .head.handle_bytes = MAX_HANDLE_SZ };
	int mount;

	if (name_to_handle_at(dir, name, &handle.head, &mount, 0)) {
		expect("handle of", name, ENOENT, ESTALE, 0);
		return;
	}
	pthread_mutex_lock(&lock);
	handles[random % HANDLES] = handle;
	known[random % HANDLES] = true;
	pthread_mutex_unlock(&lock);
}

static void open_handle(uint64_t random)
{
	struct handle handle;
	bool is_known;
	int fd;

	pthread_mutex_lock(&lock);
	handle = handles[random % HANDLES];
	is_known = known[random % HANDLES];
	pthread_mutex_unlock(&lock);
	if (!is_known)
		return;
	fd = open_by_handle_at(dir, &handle.head, O_RDWR);
	if (fd < 0 && errno == EISDIR)
		fd = open_by_handle_at(dir, &handle.head, O_RDONLY);
	if (fd < 0) {
		/* The VFS takes a number that is just being given to a new file for a lack of memory. */
		expect("open", "by handle", ESTALE, ENOENT, ENOMEM);
		gone++;
		return;
	}
	found++;
	use(fd, "by handle", random >> 16);
	close(fd);
}

static void forget(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (fd < 0 || write(fd, "2", 1) != 1)
		fail("drop_caches", "");
	close(fd);
}

static void step(uint64_t random)
{
	char name[16], other[16];
	int fd;

	snprintf(name, sizeof(name), "n%u", (unsigned)(random >> 8) % NAMES);
	snprintf(other, sizeof(other), "n%u", (unsigned)(random >> 16) % NAMES);
	switch (random % 16) {
	case 0:
	case 1:
	case 2:
		fd = openat(dir, name, O_CREAT | O_EXCL | O_RDWR, 0644);
		if (fd < 0)
			expect("create", name, EEXIST, 0, 0);
		else
			close(fd);
		break;
	case 3:
		if (mkdirat(dir, name, 0755))
			expect("mkdir", name, EEXIST, 0, 0);
		break;
	case 4:
		if (linkat(dir, name, dir, other, 0))
			expect("link", name, EEXIST, ENOENT, EPERM);
		break;
	case 5:
		if (renameat(dir, name, dir, other) && errno != EISDIR && errno != ENOTDIR)
			expect("rename", name, ENOENT, EEXIST, ENOTEMPTY);
		break;
	case 6:
	case 7:
	case 8:
		if (unlinkat(dir, name, 0))
			expect("unlink", name, ENOENT, EISDIR, 0);
		break;
	case 9:
		if (unlinkat(dir, name, AT_REMOVEDIR))
			expect("rmdir", name, ENOENT, ENOTDIR, ENOTEMPTY);
		break;
	case 10:
	case 11:
		fd = openat(dir, name, O_RDWR | O_NOFOLLOW);
		if (fd < 0 && errno == EISDIR)
			fd = openat(dir, name, O_RDONLY | O_NOFOLLOW);
		if (fd < 0) {
			/* Of another kind by the second time. */
			expect("open", name, ENOENT, EISDIR, 0);
			break;
		}
		use(fd, name, random >> 24);
		close(fd);
		break;
	case 12:
	case 13:
		remember(name, random >> 24);
		break;
	case 14:
		open_handle(random >> 24);
		break;
	default:
		if (!(random >> 24 & 63))
			forget();
		else
			open_handle(random >> 24);
	}
}

static void *work(void *argument)
{
	uint64_t random = mix_u64(seed, (uintptr_t)argument);

	while (time(NULL) < end)
		for (int i = 0; i < 100; i++) {
			random = mix_u64(random, i);
			step(random);
		}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	if (argc != 4) {
		fputs("usage: farewell DIR SECONDS SEED\n", stderr);
		return 2;
	}
	dir = open(argv[1], O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		fail("open", argv[1]);
	end = time(NULL) + atoi(argv[2]);
	seed = strtoull(argv[3], NULL, 0);
	for (unsigned i = 0; i < THREADS; i++) {
		errno = pthread_create(threads + i, NULL, work, (void *)(uintptr_t)(i + 1));
		if (errno)
			fail("thread", "");
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("found %u gone %u unnamed %u\n", found, gone, unnamed);
	return 0;
}
