// SPDX-License-Identifier: GPL-2.0
/*
 * fsbench: how many instructions a file system spends on an operation.
 *
 *	usage: fsbench fill DIR
 *	       fsbench measure DEVICE TYPE DIR NUMBER REPETITIONS [ROW]...
 *
 * `fill` makes the tree that is measured, in an empty file system. `measure` mounts DEVICE read-only
 * on DIR and prints a line per row: its name, the unit that is counted; the median, the least and the
 * most instructions per unit of the repetitions; and for profiles (profile.c) the row's mark and how
 * many units all repetitions were. NUMBER tells file systems apart in the marks. Cold rows begin with
 * a fresh mount, which leaves nothing of the file system in memory whatever its caches are.
 *
 * It counts by the time stamp counter of a guest whose time is its instructions (QEMU's icount with
 * shift 0), and refuses to run where that is not so. The cost of the measuring loop itself is
 * measured with an empty operation and taken off. The timer's tick is in the figures, a fraction of
 * a percent; the median over repetitions drops what happens more rarely.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define KIB 1024u
#define MIB (1024u * KIB)
#define BIG_SIZE (32 * MIB)		/* the file that is read */
#define DIRS 12u			/* directories whose files are looked up cold, */
#define FILES 1000u			/* and how many files each has */
#define ENTRIES 20000u			/* in the directory that is listed */
#define GETDENTS_SIZE (32 * KIB)
#define STRIDE 1021u			/* blocks between reads: prime to the number of blocks */

static unsigned char buffer[MIB] __attribute__((aligned(4096)));

static void die(const char *format, ...)
{
	int error = errno;
	va_list args;

	fflush(stdout);
	fputs("fsbench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (%s)\n", strerror(error));
	exit(1);
}

/* ---- the tree ---- */

/* Names that do not sort as they were made, as those of a real directory. */
static void file_name(char *name, size_t size, unsigned number)
{
	snprintf(name, size, "%08x-%u.data", number * 2654435761u, number);
}

static void make_file(int dir, const char *name, unsigned size)
{
	int fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY, 0644);
	unsigned part;

	if (fd < 0)
		die("create %s", name);
	for (; size; size -= part) {
		part = size < MIB ? size : MIB;
		if (write(fd, buffer, part) != (ssize_t)part)
			die("write %s", name);
	}
	close(fd);
}

static int make_dir(const char *name)
{
	int fd;

	if (mkdir(name, 0755))
		die("mkdir %s", name);
	fd = open(name, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		die("open %s", name);
	return fd;
}

static void fill(void)
{
	char name[64];
	unsigned d, i;
	int fd;

	for (i = 0; i < MIB; i++)
		buffer[i] = i * 2654435761u >> 24;
	make_file(AT_FDCWD, "cached", BIG_SIZE);
	make_file(AT_FDCWD, "cold", BIG_SIZE);
	make_file(AT_FDCWD, "direct", BIG_SIZE);
	close(make_dir("hot"));
	close(make_dir("hot/a"));
	fd = make_dir("hot/a/b");
	make_file(fd, "file", 4096);
	close(fd);
	if (symlink("file", "hot/a/b/link") ||
	    setxattr("hot/a/b/file", "user.bench", buffer, 32, 0))
		die("symlink, setxattr");
	for (d = 0; d < DIRS; d++) {
		snprintf(name, sizeof(name), "stat-%u", d);
		fd = make_dir(name);
		for (i = 0; i < FILES; i++) {
			file_name(name, sizeof(name), i);
			make_file(fd, name, 100);
		}
		close(fd);
	}
	fd = make_dir("list");
	for (i = 0; i < ENTRIES; i++) {
		file_name(name, sizeof(name), i);
		make_file(fd, name, 0);
	}
	close(fd);
	sync();
}

/* ---- operations: op(i) is the i-th of a batch ---- */

static int fd = -1;		/* the file or directory that a row works on */

static void op_nothing(unsigned i)
{
	__asm__ volatile("" : : "r"(i) : "memory");
}

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

static void op_read_4k(unsigned i)
{
	read_at(4 * KIB, (uint64_t)i * STRIDE % (BIG_SIZE / 4096) * 4096);
}

static void op_read_1m(unsigned i)
{
	read_at(MIB, (uint64_t)(i % (BIG_SIZE / MIB)) * MIB);
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

static void op_stat(unsigned i)
{
	struct stat st;

	(void)i;
	if (stat("hot/a/b/file", &st))
		die("stat");
}

static void op_open(unsigned i)
{
	int file = open("hot/a/b/file", O_RDONLY);

	(void)i;
	if (file < 0)
		die("open");
	close(file);
}

static void op_readlink(unsigned i)
{
	(void)i;
	if (readlink("hot/a/b/link", (char *)buffer, 64) != 4)
		die("readlink");
}

static void op_getxattr(unsigned i)
{
	(void)i;
	if (getxattr("hot/a/b/file", "user.bench", buffer, 64) != 32)
		die("getxattr");
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

static const char *device, *type, *dir;

static void mount_it(void)
{
	if (mount(device, dir, type, MS_RDONLY, NULL))
		die("mount %s as %s", device, type);
	if (chdir(dir))
		die("%s", dir);
}

static void unmount_it(void)
{
	if (fd >= 0) {
		close(fd);
		fd = -1;
	}
	if (chdir("/") || umount(dir))
		die("umount %s", dir);
	/* Deferred work, also that of RCU, is to end before anything is counted. */
	usleep(100000);
}

static void remount(void)
{
	unmount_it();
	mount_it();
	usleep(100000);
}

static void op_stat_cold(unsigned i)
{
	struct stat st;

	if (i % FILES == 0)
		open_file(dir_names[i / FILES], O_DIRECTORY);
	if (fstatat(fd, names[i], &st, 0))
		die("stat %s/%s", dir_names[i / FILES], names[i]);
}

/* ---- listing ---- */

static void open_list(void)
{
	open_file("list", O_DIRECTORY);
}

static void op_list(unsigned i)
{
	long n;

	(void)i;
	do {
		n = syscall(SYS_getdents64, fd, buffer, GETDENTS_SIZE);
		if (n < 0)
			die("getdents64");
	} while (n);
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

/* ---- measuring ---- */

static const struct row {
	const char *name;
	const char *unit;
	void (*setup)(void);		/* once */
	void (*prepare)(void);		/* before every batch, not counted */
	void (*op)(unsigned i);
	unsigned batch;			/* operations in a batch */
	unsigned units;			/* units in a batch */
} rows[] = {
	{ "cached 4k read", "read", setup_cached, NULL, op_read_4k, 4096, 4096 },
	{ "cached 1M read", "read", setup_cached, NULL, op_read_1m, 32, 32 },
	{ "cold 1M read", "MiB", setup_cold, forget_pages, op_read_1m, 32, 32 },
	{ "direct 4k read", "read", setup_direct, forget_pages, op_read_4k, 2048, 2048 },
	{ "stat hot", "call", NULL, NULL, op_stat, 4096, 4096 },
	{ "open+close hot", "pair", NULL, NULL, op_open, 4096, 4096 },
	{ "readlink hot", "call", NULL, NULL, op_readlink, 4096, 4096 },
	{ "getxattr hot", "call", NULL, NULL, op_getxattr, 4096, 4096 },
	{ "cold stat, readdir order", "file", list_dirs, remount, op_stat_cold,
	  DIRS * FILES, DIRS * FILES },
	{ "cold stat, name order", "file", sort_dirs, remount, op_stat_cold,
	  DIRS * FILES, DIRS * FILES },
	{ "readdir cold", "entry", setup_list, prepare_list_cold, op_list, 1, ENTRIES + 2 },
	{ "readdir warm", "entry", setup_list, open_list, op_list, 1, ENTRIES + 2 },
};

#define ROWS (sizeof(rows) / sizeof(*rows))
#define MAX_REPETITIONS 99u

/* The two ends of what is counted. Each is also a no-op that the profiler knows by its displacement
 * (profile.c), which has to be a constant. */
#define MARK_BASE 0x52340000
#define MARKS_EACH 16		/* marks of a file system: more than it has rows */
#define MARK(n) \
	case n: \
		__asm__ volatile(".byte 0x0f, 0x1f, 0x80\n\t.long %c0" : : "i"(MARK_BASE + n)); \
		break
#define MARKS(n) MARK(n); MARK(n + 1); MARK(n + 2); MARK(n + 3); MARK(n + 4); MARK(n + 5); \
	MARK(n + 6); MARK(n + 7); MARK(n + 8); MARK(n + 9); MARK(n + 10); MARK(n + 11); \
	MARK(n + 12); MARK(n + 13); MARK(n + 14); MARK(n + 15)

static inline uint64_t now(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static void __attribute__((noinline)) mark(unsigned n)
{
	switch (n) {
	MARKS(0);
	MARKS(16);
	MARKS(32);
	MARKS(48);
	MARK(255);
	}
}

static uint64_t __attribute__((noinline)) batch(void (*op)(unsigned i), unsigned count)
{
	uint64_t start = now();
	unsigned i;

	for (i = 0; i < count; i++)
		op(i);
	return now() - start;
}

static int by_number(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(unsigned number, const struct row *row, unsigned repetitions)
{
	double result[MAX_REPETITIONS];
	uint64_t loop = batch(op_nothing, row->batch);
	uint64_t total;
	unsigned i;

	if (row->setup)
		row->setup();
	/* The first batch is a rehearsal: it also brings this program's own pages in. */
	for (i = 0; i <= repetitions; i++) {
		if (row->prepare)
			row->prepare();
		if (i)
			mark(number * MARKS_EACH + (row - rows));
		total = batch(row->op, row->batch);
		mark(255);
		if (i)
			result[i - 1] = (double)(total > loop ? total - loop : 0) / row->units;
	}
	qsort(result, repetitions, sizeof(*result), by_number);
	printf("%s\t%s\t%.1f\t%.1f\t%.1f\t%u\t%u\n", row->name, row->unit,
	       result[repetitions / 2], result[0], result[repetitions - 1],
	       number * MARKS_EACH + (unsigned)(row - rows), repetitions * row->units);
	fflush(stdout);
}

/*
 * A loop of two instructions a million times takes two million ticks, or time is something else. Of five
 * turns the shortest counts: what a mount leaves to kworkers runs on the same processor.
 */
static void check_clock(void)
{
	uint64_t shortest = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		unsigned long count = 1000000;
		uint64_t start = now(), ticks;

		__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(count));
		ticks = now() - start;
		if (ticks < shortest)
			shortest = ticks;
	}
	errno = 0;
	if (shortest < 1990000 || shortest > 2100000)
		die("2000000 instructions take %llu ticks: time does not count instructions",
		    (unsigned long long)shortest);
}

int main(int argc, char **argv)
{
	unsigned number, repetitions, i;
	cpu_set_t cpus;
	int arg;

	if (argc == 3 && !strcmp(argv[1], "fill")) {
		if (chdir(argv[2]))
			die("%s", argv[2]);
		fill();
		return 0;
	}
	if (argc < 7 || strcmp(argv[1], "measure")) {
		fputs("usage: fsbench fill DIR\n"
		      "       fsbench measure DEVICE TYPE DIR NUMBER REPETITIONS [ROW]...\n", stderr);
		return 2;
	}
	device = argv[2];
	type = argv[3];
	dir = argv[4];
	number = atoi(argv[5]);
	repetitions = atoi(argv[6]);
	errno = 0;
	if (number > 3 || repetitions < 1 || repetitions > MAX_REPETITIONS)
		die("NUMBER is at most 3, REPETITIONS 1 to %u", MAX_REPETITIONS);
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) || mlockall(MCL_CURRENT))
		die("cannot pin");
	memset(buffer, 1, sizeof(buffer));
	check_clock();
	mount_it();
	for (i = 0; i < ROWS; i++) {
		for (arg = 7; arg < argc && strcmp(argv[arg], rows[i].name); arg++)
			;
		if (argc == 7 || arg < argc)
			measure(number, rows + i, repetitions);
	}
	unmount_it();
	return 0;
}
