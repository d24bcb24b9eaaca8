// SPDX-License-Identifier: GPL-2.0
/* Rows of fsbench that read. Cold ones begin with a fresh mount, or with an empty page cache. */
#include "fsbench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define GETDENTS_SIZE (32 * KIB)
#define STRIDE 1021u			/* blocks between reads: prime to the number of blocks */

/* ---- files ---- */

static void open_file(const char *name, int flags)
{
	if (fd >= 0)
		close(fd);
	fd = open(name, O_RDONLY | flags);
	if (fd < 0)
		die("open %s", name);
}

static void read_at(unsigned size, uint64_t offset)
{
	if (pread(fd, buffer, size, offset) != (ssize_t)size)
		die("read at %llu", (unsigned long long)offset);
}

static int op_read_4k(unsigned i)
{
	read_at(4 * KIB, (uint64_t)i * STRIDE % (BIG_SIZE / 4096) * 4096);
	return 0;
}

static int op_read_1m(unsigned i)
{
	read_at(MIB, (uint64_t)(i % (BIG_SIZE / MIB)) * MIB);
	return 0;
}

static void setup_cached(void)
{
	unsigned i;

	open_file("cached", 0);
	for (i = 0; i < BIG_SIZE / MIB; i++)
		op_read_1m(i);
}

/* How much of the open file is in the page cache. */
static unsigned cached_pages(void)
{
	static unsigned char in_core[BIG_SIZE / 4096];
	unsigned i, n = 0;
	void *map = mmap(NULL, BIG_SIZE, PROT_READ, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED || mincore(map, BIG_SIZE, in_core))
		die("mincore");
	munmap(map, BIG_SIZE);
	for (i = 0; i < BIG_SIZE / 4096; i++)
		n += in_core[i] & 1;
	return n;
}

static void forget_pages(void)
{
	unsigned i;

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	i = cached_pages();
	errno = 0;
	if (i)
		die("%u pages stay in the page cache", i);
}

static void setup_cold(void)
{
	open_file("cold", 0);
}

static void setup_direct(void)
{
	open_file("direct", O_DIRECT);
}

static int op_stat(unsigned i)
{
	struct stat st;

	(void)i;
	if (stat("hot/a/b/file", &st))
		die("stat");
	return 0;
}

static int op_open(unsigned i)
{
	int file = open("hot/a/b/file", O_RDONLY);

	(void)i;
	if (file < 0)
		die("open");
	close(file);
	return 0;
}

static int op_readlink(unsigned i)
{
	(void)i;
	if (readlink("hot/a/b/link", (char *)buffer, 64) != 4)
		die("readlink");
	return 0;
}

static int op_getxattr(unsigned i)
{
	(void)i;
	if (getxattr("hot/a/b/file", "user.bench", buffer, 64) != 32)
		die("getxattr");
	return 0;
}

/* ---- cold lookups ---- */

static char *names[DIRS * FILES];	/* a directory after the other, in the order of the row */
static char dir_names[DIRS][16];

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_dirs(void)
{
	struct dirent *entry;
	unsigned d, i;
	DIR *list;

	for (d = 0; d < DIRS; d++) {
		snprintf(dir_names[d], sizeof(dir_names[d]), "stat-%u", d);
		list = opendir(dir_names[d]);
		if (!list)
			die("%s", dir_names[d]);
		for (i = 0; (entry = readdir(list));) {
			if (entry->d_name[0] == '.')
				continue;
			if (i == FILES)
				die("%s has too many files", dir_names[d]);
			free(names[d * FILES + i]);
			names[d * FILES + i++] = strdup(entry->d_name);
		}
		if (i != FILES)
			die("%s has %u files", dir_names[d], i);
		closedir(list);
	}
}

static void sort_dirs(void)
{
	unsigned d;

	list_dirs();
	for (d = 0; d < DIRS; d++)
		qsort(names + d * FILES, FILES, sizeof(*names), by_name);
}

static int op_stat_cold(unsigned i)
{
	struct stat st;

	if (i % FILES == 0)
		open_file(dir_names[i / FILES], O_DIRECTORY);
	if (fstatat(fd, names[i], &st, 0))
		die("stat %s/%s", dir_names[i / FILES], names[i]);
	return 0;
}

/* ---- listing ---- */

static void open_list(void)
{
	open_file("list", O_DIRECTORY);
}

static int op_list(unsigned i)
{
	long n;

	(void)i;
	do {
		n = syscall(SYS_getdents64, fd, buffer, GETDENTS_SIZE);
		if (n < 0)
			die("getdents64");
	} while (n);
	return 0;
}

static void prepare_list_cold(void)
{
	remount();
	open_list();
}

/* Counts the entries, so that a listing that ends early does not look fast. */
static void setup_list(void)
{
	unsigned count = 0;
	long n, at;

	open_list();
	while ((n = syscall(SYS_getdents64, fd, buffer, GETDENTS_SIZE)) > 0)
		for (at = 0; at < n; at += ((struct dirent64 *)(buffer + at))->d_reclen)
			count++;
	errno = 0;
	if (count != ENTRIES + 2)
		die("%u entries listed", count);
}

#define READ(name, unit, setup, prepare, op, batch, units) \
	{ name, unit, setup, prepare, op, batch, units, NULL, NULL, 0 }

const struct row read_rows[] = {
	READ("cached 4k read", "read", setup_cached, NULL, op_read_4k, 4096, 4096),
	READ("cached 1M read", "read", setup_cached, NULL, op_read_1m, 32, 32),
	READ("cold 1M read", "MiB", setup_cold, forget_pages, op_read_1m, 32, 32),
	READ("direct 4k read", "read", setup_direct, forget_pages, op_read_4k, 2048, 2048),
	READ("stat hot", "call", NULL, NULL, op_stat, 4096, 4096),
	READ("open+close hot", "pair", NULL, NULL, op_open, 4096, 4096),
	READ("readlink hot", "call", NULL, NULL, op_readlink, 4096, 4096),
	READ("getxattr hot", "call", NULL, NULL, op_getxattr, 4096, 4096),
	READ("cold stat, readdir order", "file", list_dirs, remount, op_stat_cold,
	     DIRS * FILES, DIRS * FILES),
	READ("cold stat, name order", "file", sort_dirs, remount, op_stat_cold,
	     DIRS * FILES, DIRS * FILES),
	READ("readdir cold", "entry", setup_list, prepare_list_cold, op_list, 1, ENTRIES + 2),
	READ("readdir warm", "entry", setup_list, open_list, op_list, 1, ENTRIES + 2),
};
const unsigned read_row_count = sizeof(read_rows) / sizeof(*read_rows);
