// SPDX-License-Identifier: GPL-2.0
/*
 * nfswalk: reads a directory the way an NFS server does for READDIRPLUS, and checks that this
 * gives what one pass from the beginning gives.
 *
 *	usage: nfswalk [-d CALLS] MOUNT DIR
 *
 * The directory is known by a handle alone. For each batch it is opened anew, sought to the last
 * cookie, read a little, and closed; each entry is turned into a handle, and that handle back
 * into an object, whose inode number must be the entry's. Every CALLS batches the caches are
 * dropped, so that handles are decoded without help from dentries. Prints a summary, or what
 * went wrong first.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hash.h"

union handle {
	struct file_handle h;
	char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

static int mount_fd;
static int problems;

static void problem(const char *what, const char *name)
{
	if (problems++ < 10)
		printf("%s: %s: %s\n", name, what, strerror(errno));
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (fd < 0 || write(fd, "2", 1) != 1)
		problem("drop_caches", "/proc/sys/vm");
	close(fd);
}

static int by_handle(union handle *h, int flags)
{
	return open_by_handle_at(mount_fd, &h->h, flags);
}

static void check_entry(int dir, const struct dirent64 *d)
{
	union handle h = { .h.handle_bytes = MAX_HANDLE_SZ };
	struct stat st;
	int mount, fd;

	if (!strcmp(d->d_name, "..") || !strcmp(d->d_name, "."))
		return;
	if (name_to_handle_at(dir, d->d_name, &h.h, &mount, 0))
		return problem("name_to_handle_at", d->d_name);
	fd = by_handle(&h, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return problem("open_by_handle_at", d->d_name);
	if (fstat(fd, &st) || st.st_ino != d->d_ino) {
		errno = ESTALE;
		problem("another inode", d->d_name);
	}
	close(fd);
}

static uint64_t add(uint64_t sum, const struct dirent64 *d)
{
	return mix_u64(mix(sum, d->d_name, strlen(d->d_name)), d->d_ino);
}

int main(int argc, char **argv)
{
	union handle dir_handle = { .h.handle_bytes = MAX_HANDLE_SZ };
	unsigned long drop_every = 0, calls = 0, entries = 0, straight = 0;
	uint64_t sum = MIX_SEED, straight_sum = MIX_SEED;
	static char buf[4096], big[1 << 18];
	int64_t cookie = 0;
	int mount, fd, c;
	long got;

	while ((c = getopt(argc, argv, "d:")) == 'd')
		drop_every = strtoul(optarg, NULL, 0);
	if (optind + 2 != argc)
		return 2;
	mount_fd = open(argv[optind], O_RDONLY | O_DIRECTORY);
	if (mount_fd < 0 ||
	    name_to_handle_at(AT_FDCWD, argv[optind + 1], &dir_handle.h, &mount, 0)) {
		perror(argv[optind + 1]);
		return 1;
	}
	for (;;) {
		if (drop_every && calls % drop_every == 0)
			drop_caches();
		calls++;
		fd = by_handle(&dir_handle, O_RDONLY | O_DIRECTORY);
		if (fd < 0) {
			problem("directory by handle", argv[optind + 1]);
			break;
		}
		if (cookie && lseek(fd, cookie, SEEK_SET) != cookie)
			problem("lseek", argv[optind + 1]);
		got = syscall(SYS_getdents64, fd, buf, sizeof(buf));
		for (long at = 0; at < got;) {
			struct dirent64 *d = (struct dirent64 *)(buf + at);

			check_entry(fd, d);
			sum = add(sum, d);
			entries++;
			cookie = d->d_off;
			at += d->d_reclen;
		}
		close(fd);
		if (got < 0)
			problem("getdents", argv[optind + 1]);
		if (got <= 0 || problems > 100 || entries > 10000000)
			break;
	}
	fd = by_handle(&dir_handle, O_RDONLY | O_DIRECTORY);
	while (fd >= 0 && (got = syscall(SYS_getdents64, fd, big, sizeof(big))) > 0) {
		for (long at = 0; at < got;) {
			struct dirent64 *d = (struct dirent64 *)(big + at);

			straight_sum = add(straight_sum, d);
			straight++;
			at += d->d_reclen;
		}
	}
	if (sum != straight_sum || entries != straight) {
		problems++;
		printf("batches gave %lu entries, one pass %lu, %s\n", entries, straight,
		       sum == straight_sum ? "the same" : "others");
	}
	printf("entries=%lu batches=%lu sum=%016llx problems=%d\n", entries, calls,
	       (unsigned long long)sum, problems);
	return problems ? 1 : 0;
}
