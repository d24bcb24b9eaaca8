// SPDX-License-Identifier: GPL-2.0
/*
 * fsbench: how many instructions a file system spends on an operation.
 *
 *	usage: fsbench fill DIR
 *	       fsbench read DEVICE TYPE DIR NUMBER REPETITIONS [ROW]...
 *	       fsbench change DEVICE TYPE DIR NUMBER REPETITIONS [ROW]...
 *	       fsbench any read|change [ROW]...
 *	       fsbench threads DIR FILES
 *
 * `fill` makes the tree that is read, in an empty file system. `read` mounts DEVICE read-only on DIR, `change`
 * for writing, and both print a line per row (reads.c, changes.c): its name, the unit that is counted;
 * the median, the least and the most instructions per unit of the repetitions; and for profiles
 * (profile.c) the row's mark and how many units all repetitions were. NUMBER tells file systems apart
 * in the marks. Cold rows begin with a fresh mount, which leaves nothing of the file system in memory
 * whatever its caches are. `change` ends with status 3 where TYPE does not write, and leaves out a row whose
 * operation is not supported. `any` says by its status whether there is such a row. `threads` (threads.c) goes by the clock.
 *
 * It counts by the time stamp counter of a guest whose time is its instructions (QEMU's icount with
 * shift 0), and refuses to run where that is not so. The cost of the measuring loop itself is
 * measured with an empty operation and taken off. The timer's tick is in the figures, a fraction of
 * a percent; the median over repetitions drops what happens more rarely.
 */
#include "fsbench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

unsigned char buffer[MIB] __attribute__((aligned(4096)));
int fd = -1;
const char *device, *type, *dir;

#define STATUS_READ_ONLY 3		/* the file system type does not write */

void die(const char *format, ...)
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

void file_name(char *name, size_t size, unsigned number)
{
	snprintf(name, size, "%08x-%u.data", number * 2654435761u, number);
}

void make_file(int at, const char *name, unsigned size)
{
	int fd = openat(at, name, O_CREAT | O_EXCL | O_WRONLY, 0644);
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

int make_dir(const char *name)
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

/* ---- mounting ---- */

static void mount_it(unsigned long flags)
{
	if (mount(device, dir, type, flags, NULL)) {
		if (errno == EROFS && !(flags & MS_RDONLY))
			exit(STATUS_READ_ONLY);
		die("mount %s as %s", device, type);
	}
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

void remount(void)
{
	unmount_it();
	mount_it(MS_RDONLY);
	usleep(100000);
}

/* ---- measuring ---- */

#define MAX_REPETITIONS 99u

/* The two ends of what is counted. Each is also a no-op that the profiler knows by its displacement
 * (profile.c), which has to be a constant. */
#define MARK_BASE 0x52340000
#define MARKS_EACH 48		/* marks of a file system: no fewer than there are rows */
#define MARK_END 255
#define MARK(n) \
	case n: \
		__asm__ volatile(".byte 0x0f, 0x1f, 0x80\n\t.long %c0" : : "i"(MARK_BASE + n)); \
		break
#define MARKS4(n) MARK(n); MARK(n + 1); MARK(n + 2); MARK(n + 3)
#define MARKS(n) MARKS4(n); MARKS4(n + 4); MARKS4(n + 8); MARKS4(n + 12); MARKS4(n + 16); \
	MARKS4(n + 20); MARKS4(n + 24); MARKS4(n + 28)

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
	MARKS(32);
	MARKS(64);
	MARKS(96);
	MARKS(128);
	MARKS(160);
	MARK(MARK_END);
	}
}

static int op_nothing(unsigned i)
{
	__asm__ volatile("" : : "r"(i) : "memory");
	return 0;
}

/* How many operations of a batch succeeded, and what it took. */
static unsigned __attribute__((noinline)) batch(const struct row *row, int (*op)(unsigned i), uint64_t *took)
{
	uint64_t start = now();
	unsigned i;

	for (i = 0; i < row->batch; i++)
		if (op(i))
			break;
	if (row->end && op == row->op)
		row->end();
	*took = now() - start;
	return i;
}

static int by_number(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* What the repetitions of a row took, per unit. */
struct results {
	int wanted;
	int unsupported;
	uint64_t loop;
	double each[MAX_REPETITIONS];
};

/* Repetition `turn` of a row: turn 0 is a rehearsal, which brings this program's own pages in as well. */
static void measure(const struct row *row, unsigned number, unsigned turn, struct results *results)
{
	uint64_t total;
	unsigned done;

	if (!turn)
		batch(row, op_nothing, &results->loop);
	if (row->prepare)
		row->prepare();
	if (turn && results->wanted)
		mark(number);
	done = batch(row, row->op, &total);
	mark(MARK_END);
	if (done < row->batch) {
		if (done || errno != EOPNOTSUPP)
			die("%s, operation %u", row->name, done);
		results->unsupported = 1;
	}
	if (turn)
		results->each[turn - 1] =
			(double)(total > results->loop ? total - results->loop : 0) / row->units;
	if (row->cleanup)
		row->cleanup();
}

static void report(const struct row *row, unsigned number, unsigned repetitions, struct results *results)
{
	double *each = results->each;

	if (!results->wanted || results->unsupported)
		return;
	qsort(each, repetitions, sizeof(*each), by_number);
	printf("%s\t%s\t%.1f\t%.1f\t%.1f\t%u\t%u\n", row->name, row->unit, each[repetitions / 2], each[0],
	       each[repetitions - 1], number, repetitions * row->units);
	fflush(stdout);
}

static int is_wanted(const struct row *row, char **wanted)
{
	char **at;

	for (at = wanted; *at && strcmp(*at, row->name); at++)
		;
	return !*wanted || *at;
}

static int any_wanted(const struct row *rows, unsigned count, char **wanted)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (is_wanted(rows + i, wanted))
			return 1;
	return 0;
}

static void measure_reads(unsigned number, unsigned repetitions, char **wanted)
{
	unsigned i, turn;

	for (i = 0; i < read_row_count; i++) {
		const struct row *row = read_rows + i;
		struct results results = { .wanted = is_wanted(row, wanted) };

		if (!results.wanted)
			continue;
		if (row->setup)
			row->setup();
		for (turn = 0; turn <= repetitions; turn++)
			measure(row, number * MARKS_EACH + i, turn, &results);
		report(row, number * MARKS_EACH + i, repetitions, &results);
	}
}

static void measure_series(const struct row *rows, unsigned count, unsigned number, unsigned repetitions,
			   char **wanted)
{
	struct results all[MARKS_EACH] = {};
	unsigned first, end, i, turn;

	for (first = 0; first < count; first = end) {
		int any = 0;

		for (end = first; end < count && rows[end].series == rows[first].series; end++)
			any |= all[end].wanted = is_wanted(rows + end, wanted);
		if (!any)
			continue;
		for (turn = 0; turn <= repetitions; turn++)
			for (i = first; i < end; i++) {
				sync();
				/* Deferred work is to end before anything is counted. */
				usleep(100000);
				measure(rows + i, number + i, turn, all + i);
			}
		for (i = first; i < end; i++)
			report(rows + i, number + i, repetitions, all + i);
	}
}

static void measure_changes(unsigned number, unsigned repetitions, char **wanted)
{
	number = number * MARKS_EACH + read_row_count;
	prepare_changes();
	measure_series(change_rows, change_row_count, number, repetitions, wanted);
	measure_series(write_rows, write_row_count, number + change_row_count, repetitions, wanted);
	finish_changes();
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

static int usage(void)
{
	fputs("usage: fsbench fill DIR\n"
	      "       fsbench read|change DEVICE TYPE DIR NUMBER REPETITIONS [ROW]...\n"
	      "       fsbench any read|change [ROW]...\n"
	      "       fsbench threads DIR FILES\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	unsigned number, repetitions;
	cpu_set_t cpus;
	int changes;

	if (argc >= 3 && (!strcmp(argv[1], "fill") || !strcmp(argv[1], "threads")) && chdir(argv[2]))
		die("%s", argv[2]);
	if (argc == 3 && !strcmp(argv[1], "fill")) {
		fill();
		return 0;
	}
	if (argc >= 3 && !strcmp(argv[1], "any"))
		return strcmp(argv[2], "read") ? !any_wanted(change_rows, change_row_count, argv + 3) &&
							 !any_wanted(write_rows, write_row_count, argv + 3)
					       : !any_wanted(read_rows, read_row_count, argv + 3);
	if (argc == 4 && !strcmp(argv[1], "threads"))
		return run_threads(atoi(argv[3]));
	if (argc < 7 || (strcmp(argv[1], "read") && strcmp(argv[1], "change")))
		return usage();
	changes = !strcmp(argv[1], "change");
	device = argv[2];
	type = argv[3];
	dir = argv[4];
	number = atoi(argv[5]);
	repetitions = atoi(argv[6]);
	errno = 0;
	if (number > 3 || repetitions < 1 || repetitions > MAX_REPETITIONS ||
	    read_row_count + change_row_count + write_row_count > MARKS_EACH)
		die("NUMBER is at most 3, REPETITIONS 1 to %u", MAX_REPETITIONS);
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) || mlockall(MCL_CURRENT))
		die("cannot pin");
	memset(buffer, 1, sizeof(buffer));
	check_clock();
	if (!changes) {
		mount_it(MS_RDONLY);
		measure_reads(number, repetitions, argv + 7);
	} else {
		mount_it(0);
		/* What the VFS says where there is no such operation. */
		if (mkdir("base", 0755) && errno == EPERM) {
			unmount_it();
			return STATUS_READ_ONLY;
		}
		measure_changes(number, repetitions, argv + 7);
	}
	unmount_it();
	return 0;
}
