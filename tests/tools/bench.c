// SPDX-License-Identifier: GPL-2.0
/*
 * bench: nanoseconds per operation on a mounted tree; in a guest whose time counts instructions
 * (qemu/guest.sh --icount) that is instructions per operation.
 *
 *	usage: bench fill DIR			makes the files that the rest works on
 *	       bench run DIR REPETITIONS LABEL	prints LABEL, operation, repetition, value
 *
 * Each repetition times a loop as a whole and subtracts what the loop costs by itself. What is
 * cold is made cold before each repetition, outside the time: page cache by fadvise, everything
 * by drop_caches.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)
#define ENTRIES 10000		/* in the large directory */
#define DIRS 32			/* of the tree */
#define FILES 64		/* in each of them */
#define FRAGMENTS 400		/* extents of the fragmented file */

static unsigned char *buf;	/* 1 MiB, aligned */
static const char *label;
static int repetition;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int64_t clock_cost;

static void measure_clock(void)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < 20; i++) {
		int64_t a = now(), b = now();

		if (b - a < best)
			best = b - a;
	}
	clock_cost = best;
}

static void report(const char *op, int64_t ns, long n)
{
	printf("%s\t%s\t%d\t%.1f\n", label, op, repetition, (double)(ns - clock_cost) / (double)n);
	fflush(stdout);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		die(path);
	return fd;
}

static void write_all(int fd, size_t len, off_t at)
{
	for (size_t i = 0; i < MIB / 8; i++)
		((uint64_t *)buf)[i] = i * 0x9e3779b97f4a7c15ull + (uint64_t)at;
	if (pwrite(fd, buf, len, at) != (ssize_t)len)
		die("pwrite");
}

static void fill(void)
{
	char path[64];
	int fd = open_or_die("big", O_RDWR | O_CREAT);

	for (int i = 0; i < 16; i++)
		write_all(fd, MIB, (off_t)i * MIB);
	fsync(fd);
	close(fd);
	fd = open_or_die("fragmented", O_RDWR | O_CREAT);
	for (int i = 0; i < FRAGMENTS; i++)
		write_all(fd, 4096, (off_t)i * 8192);
	fsync(fd);
	close(fd);
	if (mkdir("many", 0755) || mkdir("tree", 0755))
		die("mkdir");
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(path, sizeof(path), "many/entry-%x-%d", (unsigned int)i * 2654435761u, i);
		if (mknod(path, S_IFREG | 0644, 0))
			die(path);
	}
	for (int d = 0; d < DIRS; d++) {
		snprintf(path, sizeof(path), "tree/dir-%d", d);
		if (mkdir(path, 0755))
			die(path);
		for (int f = 0; f < FILES; f++) {
			snprintf(path, sizeof(path), "tree/dir-%d/file-%d", d, f);
			fd = open_or_die(path, O_RDWR | O_CREAT);
			write_all(fd, 1000, 0);
			close(fd);
		}
	}
	if (setxattr("big", "user.bench", "value", 5, 0))
		die("setxattr");
	sync();
}

static void drop(const char *what)
{
	int fd = open_or_die("/proc/sys/vm/drop_caches", O_WRONLY);

	if (write(fd, what, 1) != 1)
		die("drop_caches");
	close(fd);
}

/* --- data --- */

static void read_cached_4k(void)
{
	int fd = open_or_die("big", O_RDONLY);
	const long n = 4000;
	int64_t t;

	if (pread(fd, buf, MIB, 0) != MIB)
		die("pread");
	t = now();
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, 4096, (i * 7 % 256) * 4096) != 4096)
			die("pread");
	report("cached 4k read", now() - t, n);
	close(fd);
}

static void read_cached_1m(void)
{
	int fd = open_or_die("big", O_RDONLY);
	const long n = 20;
	int64_t t;

	for (int i = 0; i < 4; i++)
		if (pread(fd, buf, MIB, (off_t)i * MIB) != MIB)
			die("pread");
	t = now();
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, MIB, i % 4 * MIB) != MIB)
			die("pread");
	report("cached 1M read", now() - t, n);
	close(fd);
}

static void read_cold_1m(void)
{
	int fd = open_or_die("big", O_RDONLY);
	const long n = 8;
	int64_t t, sum = 0;

	for (long i = 0; i < n; i++) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		lseek(fd, 0, SEEK_SET);
		t = now();
		if (read(fd, buf, MIB) != MIB)
			die("read");
		sum += now() - t - clock_cost;
	}
	report("cold 1M read", sum + clock_cost, n);
	close(fd);
}

static void read_cold_fragmented(void)
{
	int fd = open_or_die("fragmented", O_RDONLY);
	int64_t t;
	ssize_t n, total = 0;

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	t = now();
	while ((n = read(fd, buf, MIB)) > 0)
		total += n;
	report("cold read of 8k, fragmented", now() - t, total / 8192);
	close(fd);
}

static void read_direct_4k(void)
{
	int fd = open_or_die("big", O_RDONLY | O_DIRECT);
	const long n = 2000;
	int64_t t;

	if (pread(fd, buf, 4096, 0) != 4096)
		die("pread");
	t = now();
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, 4096, (i * 7 % 4096) * 4096) != 4096)
			die("pread");
	report("direct 4k read", now() - t, n);
	close(fd);
}

static void fault_cached(void)
{
	int fd = open_or_die("big", O_RDONLY);
	const long n = 256;
	volatile unsigned char *p;
	int64_t t;

	if (pread(fd, buf, MIB, 0) != MIB)
		die("pread");
	p = mmap(NULL, MIB, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	t = now();
	for (long i = 0; i < n; i++)
		(void)p[i * 4096];
	report("mapped page, cached", now() - t, n);
	munmap((void *)p, MIB);
	close(fd);
}

/* --- metadata --- */

static void stat_hot(void)
{
	const long n = 4000;
	struct statx stx;
	int64_t t;

	statx(AT_FDCWD, "big", 0, STATX_BASIC_STATS, &stx);
	t = now();
	for (long i = 0; i < n; i++)
		if (statx(AT_FDCWD, "big", 0, STATX_BASIC_STATS, &stx))
			die("statx");
	report("stat hot", now() - t, n);
}

static void open_close(void)
{
	const long n = 2000;
	int64_t t;

	close(open_or_die("big", O_RDONLY));
	t = now();
	for (long i = 0; i < n; i++)
		close(open_or_die("big", O_RDONLY));
	report("open and close", now() - t, n);
}

static void getxattr_hot(void)
{
	const long n = 2000;
	int64_t t;

	if (getxattr("big", "user.bench", buf, 100) != 5)
		die("getxattr");
	t = now();
	for (long i = 0; i < n; i++)
		if (getxattr("big", "user.bench", buf, 100) != 5)
			die("getxattr");
	report("getxattr hot", now() - t, n);
}

/*
 * Every file of the tree once, by name, as a program that knows the names would. The
 * directories' own inodes and blocks are as cold as the rest.
 */
static void stat_cold(const char *op, const char *how)
{
	static char names[DIRS * FILES][32];
	struct statx stx;
	int64_t t;

	for (int i = 0; i < DIRS * FILES; i++)
		snprintf(names[i], sizeof(names[i]), "tree/dir-%d/file-%d", i / FILES, i % FILES);
	drop(how);
	t = now();
	for (int i = 0; i < DIRS * FILES; i++)
		if (statx(AT_FDCWD, names[i], 0, STATX_BASIC_STATS, &stx))
			die(names[i]);
	report(op, now() - t, DIRS * FILES);
}

static void lookup_absent(void)
{
	static char names[500][32];
	struct stat st;
	int64_t t;

	for (int i = 0; i < 500; i++)
		snprintf(names[i], sizeof(names[i]), "many/absent-%d", i);
	drop("2");
	stat("many", &st);
	t = now();
	for (int i = 0; i < 500; i++)
		if (!stat(names[i], &st))
			die("found");
	report("look up an absent name", now() - t, 500);
}

/* getdents64 with the 32 KiB buffer that the C library uses. */
static long list(int fd)
{
	long entries = 0, got;

	lseek(fd, 0, SEEK_SET);
	while ((got = syscall(SYS_getdents64, fd, buf, 32768)) > 0)
		for (long at = 0; at < got; entries++)
			at += *(unsigned short *)(buf + at + 16);
	if (got < 0)
		die("getdents");
	return entries;
}

static void readdir_entries(void)
{
	int64_t t, cost = 0;
	long n;
	int fd;

	drop("3");
	fd = open_or_die("many", O_RDONLY | O_DIRECTORY);
	t = now();
	n = list(fd);
	report("readdir per entry, cold", now() - t - cost, n);
	t = now();
	n = list(fd);
	report("readdir per entry", now() - t - cost, n);
	close(fd);
	if (n != ENTRIES + 2)
		die("entries");
}

int main(int argc, char **argv)
{
	if (argc < 3 || posix_memalign((void **)&buf, 65536, MIB))
		return 2;
	memset(buf, 0, MIB);
	if (chdir(argv[2]))
		die(argv[2]);
	if (!strcmp(argv[1], "fill")) {
		fill();
		return 0;
	}
	if (argc != 5 || strcmp(argv[1], "run"))
		return 2;
	label = argv[4];
	measure_clock();
	for (repetition = 0; repetition < atoi(argv[3]); repetition++) {
		stat_cold("stat cold", "3");
		stat_cold("stat cold, blocks cached", "2");
		readdir_entries();
		lookup_absent();
		read_cold_1m();
		read_cold_fragmented();
		read_cached_4k();
		read_cached_1m();
		read_direct_4k();
		fault_cached();
		stat_hot();
		open_close();
		getxattr_hot();
	}
	return 0;
}
