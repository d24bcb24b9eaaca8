// SPDX-License-Identifier: GPL-2.0
/*
 * race: two things that a file has done to it at once, in the one order that is hard to meet. The module's delays
 * (/sys/kernel/debug/rext4/delay) keep the one waiting where it is sensitive while the other is done.
 *
 *     usage: race NAME DIR
 *
 * Works on the file `race` in DIR, which it leaves behind. Prints what is wrong; status 0 if nothing is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum { KIB = 1024, PAGE = 4096, MIB = 1 << 20 };

static const char *dir;
static int fd, failures;
static unsigned char *buffer;		/* a MiB, aligned to pages, and behind it a page that is not there */

static void wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	failures++;
}

static void must(bool done, const char *what)
{
	if (!done) {
		printf("%s: %s\n", what, strerror(errno));
		exit(2);
	}
}

/* --- delays --- */

static unsigned int delayed;

static void delay(const char *place, unsigned int ms)
{
	char path[100], text[16];
	int file, n = snprintf(text, sizeof(text), "%u", ms);

	snprintf(path, sizeof(path), "/sys/kernel/debug/rext4/delay/%s", place);
	file = open(path, O_WRONLY);
	must(file >= 0 && write(file, text, n) == n, path);
	close(file);
	delayed = ms;
}

static void doze(unsigned int ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&time, NULL);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* --- the one that waits: a system call in a thread of its own --- */

struct call {
	pthread_t thread;
	enum { WRITE, SYNC, CUT } what;
	int fd;
	unsigned char *from;
	size_t len;
	off_t at;
	ssize_t result;
	int error;
	double took, least;
};

static void *run(void *arg)
{
	struct call *call = arg;
	double start = now();

	switch (call->what) {
	case WRITE:
		call->result = pwrite(call->fd, call->from, call->len, call->at);
		break;
	case SYNC:
		call->result = fsync(call->fd);
		break;
	case CUT:
		call->result = ftruncate(call->fd, call->at);
		break;
	}
	call->error = errno;
	call->took = now() - start;
	return NULL;
}

/* Begins `call`; it is where it waits when this returns, which `end` makes sure of. */
static void begin(struct call *call)
{
	call->least = delayed * 0.8 / 1000;
	must(pthread_create(&call->thread, NULL, run, call) == 0, "thread");
	doze(300);
}

static void end(struct call *call, ssize_t expected)
{
	pthread_join(call->thread, NULL);
	if (call->result != expected)
		wrong("a call gave %zd (%s), not %zd", call->result, call->result < 0 ? strerror(call->error) : "-",
		      expected);
	if (call->took < call->least)
		wrong("a call has not waited: %.1f s, not %.1f", call->took, call->least);
}

/* --- contents --- */

static void put(int to, char c, size_t len, off_t at)
{
	memset(buffer, c, len);
	must(pwrite(to, buffer, len, at) == (ssize_t)len, "pwrite");
}

static void forget(void)
{
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* All bytes of a range are one of two. */
static void has(off_t at, size_t len, char a, char b)
{
	static unsigned char found[MIB];
	size_t i;

	if (pread(fd, found, len, at) != (ssize_t)len) {
		wrong("%zu bytes at %jd cannot be read", len, (intmax_t)at);
		return;
	}
	for (i = 0; i < len; i++) {
		if (found[i] != (unsigned char)a && found[i] != (unsigned char)b) {
			wrong("byte %jd is 0x%02x, not 0x%02x or 0x%02x", (intmax_t)at + (intmax_t)i, found[i], a, b);
			return;
		}
	}
}

/* The same from the cache and from the device. */
static void holds(off_t at, size_t len, char a, char b)
{
	has(at, len, a, b);
	must(fsync(fd) == 0, "fsync");
	forget();
	has(at, len, a, b);
}

static unsigned char *map(size_t len)
{
	unsigned char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	must(p != MAP_FAILED, "mmap");
	return p;
}

static int direct(void)
{
	char path[4096];
	int file;

	snprintf(path, sizeof(path), "%s/race", dir);
	file = open(path, O_RDWR | O_DIRECT);
	must(file >= 0, "O_DIRECT");
	return file;
}

/* How many blocks of 512 bytes the file may have at most: data, and a table or two. */
static void takes_up(size_t bytes)
{
	struct stat s;
	struct statfs f;

	must(fsync(fd) == 0 && fstat(fd, &s) == 0 && fstatfs(fd, &f) == 0, "stat");
	if ((size_t)s.st_blocks * 512 > bytes + 8 * (size_t)f.f_bsize)
		wrong("the file takes up %jd KiB, not %zu", (intmax_t)s.st_blocks / 2, bytes / KIB);
	if ((size_t)s.st_blocks * 512 < bytes)
		wrong("the file takes up %jd KiB only, not %zu", (intmax_t)s.st_blocks / 2, bytes / KIB);
}

/* --- races --- */

/*
 * A write has been told what its block is. Until it comes to use that, somebody else writes to the block by a mapping
 * and has it written to disk, and the page goes. What it has been told would clear what is there.
 */
static void stale(void)
{
	struct call call = { .what = WRITE, .fd = fd, .from = buffer, .len = 100, .at = 700 };
	unsigned char *p;

	memset(buffer, 'b', 100);
	p = map(PAGE);
	delay("mapped", 2000);
	begin(&call);
	delay("mapped", 0);
	memset(p, 'a', 200);
	must(msync(p, PAGE, MS_SYNC) == 0, "msync");
	munmap(p, PAGE);
	forget();
	end(&call, 100);
	holds(0, 200, 'a', 'a');
	holds(200, 500, 0, 0);
	holds(700, 100, 'b', 'b');
	holds(800, 3000, 0, 0);
}

static void stale_unwritten(void)
{
	must(fallocate(fd, 0, 0, 64 * KIB) == 0, "fallocate");
	stale();
}

/* The same for a hole, where the one who comes between sets space aside. */
static void stale_hole(void)
{
	must(ftruncate(fd, 64 * KIB) == 0, "ftruncate");
	stale();
}

/*
 * A write that sets space aside for 64 KiB, of which it can read no more than 8 from memory, gives the rest back;
 * but not what somebody has come to need meanwhile for a page of it.
 */
static void short_write(void)
{
	struct call call = { .what = WRITE, .fd = fd, .len = 64 * KIB, .at = 0 };
	unsigned char *p;

	must(ftruncate(fd, 64 * KIB) == 0, "ftruncate");
	memset(buffer, 'a', MIB);
	call.from = buffer + MIB - 2 * PAGE;
	p = map(64 * KIB);
	delay("mapped", 2000);
	begin(&call);
	delay("mapped", 0);
	memset(p + 5 * PAGE, 'b', PAGE);
	end(&call, 2 * PAGE);
	munmap(p, 64 * KIB);
	holds(0, 2 * PAGE, 'a', 'a');
	holds(2 * PAGE, 3 * PAGE, 0, 0);
	holds(5 * PAGE, PAGE, 'b', 'b');
	holds(6 * PAGE, 10 * PAGE, 0, 0);
}

/* A page is written to again while it is in flight: its new contents have a place of their own. */
static void again_in_flight(void)
{
	struct call call = { .what = SYNC, .fd = fd };

	put(fd, 'a', 64 * KIB, 0);
	delay("ended", 1500);
	begin(&call);
	delay("ended", 0);
	put(fd, 'b', 16 * KIB, 16 * KIB);
	has(0, 16 * KIB, 'a', 'a');
	has(16 * KIB, 16 * KIB, 'b', 'b');
	end(&call, 0);
	if (call.took < 1.3)
		wrong("fsync has not waited for what was in flight: %.1f s", call.took);
	holds(0, 16 * KIB, 'a', 'a');
	holds(16 * KIB, 16 * KIB, 'b', 'b');
	holds(32 * KIB, 32 * KIB, 'a', 'a');
	takes_up(64 * KIB);
}

/* Two fill the same hole past the page cache: the first one's blocks become the file's, the other's are free again. */
static void two_direct(void)
{
	int to = direct();
	struct call call = { .what = WRITE, .fd = to, .from = buffer, .len = 64 * KIB, .at = 0 };

	must(ftruncate(fd, MIB) == 0 && fsync(fd) == 0, "ftruncate");
	memset(buffer, 'a', 64 * KIB);
	delay("ended", 1500);
	begin(&call);
	delay("ended", 0);
	memset(buffer + 512 * KIB, 'b', 128 * KIB);
	must(pwrite(to, buffer + 512 * KIB, 128 * KIB, 0) == 128 * KIB, "pwrite");
	end(&call, 64 * KIB);
	has(0, 64 * KIB, 'a', 'b');
	holds(64 * KIB, 64 * KIB, 'b', 'b');
	holds(128 * KIB, 64 * KIB, 0, 0);
	takes_up(128 * KIB);
	close(to);
}

/* A direct write fills a hole, of which a page is dirty in the cache by the time it ends. */
static void direct_and_dirty(void)
{
	int to = direct();
	struct call call = { .what = WRITE, .fd = to, .from = buffer, .len = 64 * KIB, .at = 0 };
	unsigned char *p;

	must(ftruncate(fd, MIB) == 0 && fsync(fd) == 0, "ftruncate");
	memset(buffer, 'a', 64 * KIB);
	p = map(64 * KIB);
	delay("ended", 2000);
	begin(&call);
	delay("ended", 0);
	memset(p + 3 * PAGE, 'b', PAGE);
	/* It gets its own blocks, and may be mapped first. */
	must(msync(p + 3 * PAGE, PAGE, MS_SYNC) == 0, "msync");
	memset(p + 7 * PAGE, 'c', PAGE);
	end(&call, 64 * KIB);
	munmap(p, 64 * KIB);
	/* That a page was dirty where the device had been written to is an error that the kernel keeps for fsync. */
	must(fsync(fd) == 0 || errno == EIO, "fsync");
	must(fsync(fd) == 0, "fsync");
	forget();
	has(0, 3 * PAGE, 'a', 'a');
	has(3 * PAGE, PAGE, 'a', 'b');
	has(4 * PAGE, 3 * PAGE, 'a', 'a');
	has(7 * PAGE, PAGE, 'a', 'c');
	has(8 * PAGE, 8 * PAGE, 'a', 'a');
	takes_up(64 * KIB);
	close(to);
}

/* A file is cut while what is cut off is in flight. */
static void cut_in_flight(void)
{
	struct call sync = { .what = SYNC, .fd = fd };
	struct call cut = { .what = CUT, .fd = fd, .at = 4196 };
	struct stat s;

	put(fd, 'a', MIB, 0);
	delay("ended", 1500);
	begin(&sync);
	delay("ended", 0);
	begin(&cut);
	end(&cut, 0);
	end(&sync, 0);
	must(fstat(fd, &s) == 0, "fstat");
	if (s.st_size != 4196)
		wrong("the size is %jd", (intmax_t)s.st_size);
	must(ftruncate(fd, 64 * KIB) == 0, "ftruncate");
	holds(0, 4196, 'a', 'a');
	holds(4196, 60000, 0, 0);
	takes_up(PAGE + 100);
}

/* As it is removed. */
static void gone_in_flight(void)
{
	struct call sync = { .what = SYNC, .fd = fd };
	char path[4096];

	put(fd, 'a', MIB, 0);
	delay("ended", 1500);
	begin(&sync);
	delay("ended", 0);
	snprintf(path, sizeof(path), "%s/race", dir);
	must(unlink(path) == 0, "unlink");
	end(&sync, 0);
	/* Eviction waits for the rest, which is not written by anybody any more. */
	put(fd, 'b', MIB, 0);
	delay("ended", 700);
	sync_file_range(fd, 0, MIB, SYNC_FILE_RANGE_WRITE);
	close(fd);
	delay("ended", 0);
	fd = open(path, O_RDWR | O_CREAT, 0644);
	must(fd >= 0, "open");
}

/* A hole is punched into what is in flight. */
static void punch_in_flight(void)
{
	struct call sync = { .what = SYNC, .fd = fd };

	put(fd, 'a', MIB, 0);
	delay("ended", 1500);
	begin(&sync);
	delay("ended", 0);
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * KIB + 100, 128 * KIB) == 0, "punch");
	end(&sync, 0);
	holds(0, 64 * KIB + 100, 'a', 'a');
	holds(64 * KIB + 100, 128 * KIB, 0, 0);
	holds(192 * KIB + 100, 512 * KIB, 'a', 'a');
}

/* While a folio's blocks are looked for, others write to other parts of the file. */
static void placed(void)
{
	struct call sync = { .what = SYNC, .fd = fd };

	put(fd, 'a', 64 * KIB, 0);
	delay("placed", 1000);
	begin(&sync);
	delay("placed", 0);
	put(fd, 'b', 64 * KIB, 512 * KIB);
	must(ftruncate(fd, 512 * KIB + 5000) == 0, "ftruncate");
	end(&sync, 0);
	holds(0, 64 * KIB, 'a', 'a');
	holds(64 * KIB, 448 * KIB, 0, 0);
	holds(512 * KIB, 5000, 'b', 'b');
}

/* What fsync has waited for is in the map: a crash right after it loses nothing. Leaves 256 KiB of 'a'. */
static void synced(void)
{
	struct call sync = { .what = SYNC, .fd = fd };

	put(fd, 'a', 256 * KIB, 0);
	delay("ended", 1500);
	begin(&sync);
	end(&sync, 0);
	delay("ended", 0);
	if (sync.took < 1.3)
		wrong("fsync has not waited for the map: %.1f s", sync.took);
}

/* Written to its place, and not in the map when this returns, nor for some seconds. */
static void left_in_flight(void)
{
	put(fd, 'a', 256 * KIB, 0);
	delay("ended", 4000);
	must(sync_file_range(fd, 0, MIB, SYNC_FILE_RANGE_WRITE) == 0, "sync_file_range");
	doze(300);
}

static const struct {
	const char *name;
	void (*run)(void);
} races[] = {
	{ "stale-unwritten", stale_unwritten },
	{ "stale-hole", stale_hole },
	{ "short-write", short_write },
	{ "again-in-flight", again_in_flight },
	{ "two-direct", two_direct },
	{ "direct-and-dirty", direct_and_dirty },
	{ "cut-in-flight", cut_in_flight },
	{ "gone-in-flight", gone_in_flight },
	{ "punch-in-flight", punch_in_flight },
	{ "placed", placed },
	{ "synced", synced },
	{ "left-in-flight", left_in_flight },
};

int main(int argc, char **argv)
{
	char path[4096];
	size_t i;

	if (argc != 3)
		return 2;
	dir = argv[2];
	buffer = mmap(NULL, MIB + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(buffer != MAP_FAILED && munmap(buffer + MIB, PAGE) == 0, "memory");
	snprintf(path, sizeof(path), "%s/race", dir);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	must(fd >= 0, path);
	for (i = 0; i < sizeof(races) / sizeof(races[0]); i++) {
		if (!strcmp(argv[1], races[i].name)) {
			races[i].run();
			return failures != 0;
		}
	}
	printf("there is no race %s\n", argv[1]);
	return 2;
}
