// SPDX-License-Identifier: GPL-2.0
/*
 * strew: contents that say where in which file they belong, written in all ways at once, and judged.
 *
 *     strew run DIR SEED OPERATIONS [--durable WHERE --list FILE] [--extents]
 *     strew check DIR [--list FILE --least N]
 *
 * `run`: some threads write to files, cut them, punch holes and set space aside, through the page cache, mappings
 * and past the page cache, whatever the others do to the same files; each byte of such a file is the one that
 * belongs to its place, or zero. One more thread appends to files, which have no gaps, and replaces one by
 * rename(2). Another reads all of this and judges it. With --durable, what fsync has made durable is numbered:
 * by a message `mark N` to a device-mapper device dm:NAME, and as a line `N NAME SIZE` in the list before that.
 *
 * `check` judges what is there after a crash: what was appended and is durable by number N has to be there, and
 * what was replaced is one version, all of it. --extents leaves out what files with indirect blocks cannot have.
 *
 * No byte is 0 but in holes, and none has its highest bit set: whoever fills a device with such bytes before sees
 * whether any of them shows.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/dm-ioctl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"

enum { FILES = 5, LOGS = 3, WRITERS = 3, MAX = 1 << 20, PIECE = 150000, ALIGN = 4096, SWAP = 1000 };

static const char *dir, *durable_to, *list;
static unsigned int operations;
static uint64_t seed;
static bool extents;
static atomic_uint failures, done;

static void fail(const char *name, uint64_t at, const char *what)
{
	if (atomic_fetch_add(&failures, 1) < 8)
		printf("%s: byte %" PRIu64 ": %s\n", name, at, what);
}

/* The bytes that belong to a file, one after the other. */
struct bytes {
	uint64_t base, word, at;
};

static struct bytes bytes_of(unsigned int file, uint64_t at)
{
	struct bytes b = { .base = mix_u64(MIX_SEED, file), .at = at };

	b.word = mix_u64(b.base, at / 8);
	return b;
}

static unsigned char next(struct bytes *b)
{
	if (b->at % 8 == 0)
		b->word = mix_u64(b->base, b->at / 8);
	return 1 + (b->word >> (b->at++ % 8 * 8) & 0x7f) % 127;
}

static void fill(unsigned char *to, unsigned int file, uint64_t at, size_t len)
{
	struct bytes right = bytes_of(file, at);

	for (size_t i = 0; i < len; i++)
		to[i] = next(&right);
}

/* Judges bytes of a file: zeroes are right from byte `solid` on. */
static void judge(const char *name, unsigned int file, const unsigned char *bytes, uint64_t at, size_t len, uint64_t solid)
{
	struct bytes right = bytes_of(file, at);

	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == next(&right) || (!bytes[i] && at + i >= solid))
			continue;
		fail(name, at + i, bytes[i] & 0x80 ? "old contents of the device" :
			bytes[i] ? "belongs elsewhere" : "is missing");
		return;
	}
}

static int open_in(const char *name, int flags)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, flags, 0644);
}

/* --- what is durable --- */

static pthread_mutex_t numbering = PTHREAD_MUTEX_INITIALIZER;

static void mark_device(const char *name, unsigned int n)
{
	static int control = -1;
	union {
		struct dm_ioctl head;
		char room[1024];
	} u = { .head = { .version = { DM_VERSION_MAJOR, 0, 0 }, .data_size = sizeof(u),
			  .data_start = sizeof(struct dm_ioctl) } };
	struct dm_target_msg *message = (void *)(u.room + sizeof(u.head));

	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR);
	snprintf(u.head.name, sizeof(u.head.name), "%s", name);
	snprintf(message->message, 64, "mark %u", n);
	if (control < 0 || ioctl(control, DM_TARGET_MSG, &u)) {
		perror("dm message");
		exit(1);
	}
}

static void is_durable(const char *name, uint64_t size)
{
	static unsigned int number;
	static FILE *out;

	if (!durable_to)
		return;
	pthread_mutex_lock(&numbering);
	if (!out)
		out = fopen(list, "w");
	number++;
	if (!out || fprintf(out, "%u %s %" PRIu64 "\n", number, name, size) < 0 || fflush(out)) {
		perror(list);
		exit(1);
	}
	mark_device(durable_to, number);
	pthread_mutex_unlock(&numbering);
}

/* --- writers --- */

static __thread uint64_t state;
static __thread sigjmp_buf beyond;

static uint32_t below(uint32_t n)
{
	state += 0x9e3779b97f4a7c15ULL;
	return (uint32_t)((mix_u64(mix_u64(0, state), state >> 32) >> 32) * n >> 32);
}

/* A store behind the end of a file, which somebody has cut off. */
static void bus(int signal)
{
	(void)signal;
	siglongjmp(beyond, 1);
}

/* Errors that a file may have which others use as well, on a file system that gets full. */
static bool may_be(int error)
{
	return error == ENOSPC || error == EINVAL || error == EOPNOTSUPP || error == EAGAIN;
}

static void said(const char *what, const char *name)
{
	int error = errno;

	if (!may_be(error)) {
		printf("%s: %s: %s\n", name, what, strerror(error));
		atomic_fetch_add(&failures, 1);
	}
}

static void store(int fd, unsigned int file, const char *name)
{
	struct stat st;
	unsigned char *volatile map;

	if (fstat(fd, &st) || st.st_size < 2)
		return;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		said("mmap", name);
		return;
	}
	if (!sigsetjmp(beyond, 1)) {
		uint32_t at = below((uint32_t)st.st_size);
		size_t len = (size_t)st.st_size - at;

		if (len > 20000)
			len = 20000;
		fill(map + at, file, at, len);
	}
	munmap(map, (size_t)st.st_size);
}

static void change(unsigned int file, unsigned char *bytes)
{
	char name[16];
	uint32_t at = below(MAX - PIECE), len = 1 + below(below(4) ? 6000 : PIECE), what = below(100);
	int fd;

	snprintf(name, sizeof(name), "r%u", file);
	/* The kernel does not keep stores to a mapping and direct writes of the same pages apart. */
	if (what < 20 && file >= FILES / 2) {
		at &= ~(ALIGN - 1u);
		len = (len + ALIGN - 1) & ~(ALIGN - 1u);
		fd = open_in(name, O_RDWR | O_CREAT | O_DIRECT);
	} else {
		fd = open_in(name, O_RDWR | O_CREAT);
	}
	if (fd < 0) {
		said("open", name);
		return;
	}
	if (what < 50) {
		fill(bytes, file, at, len);
		if (pwrite(fd, bytes, len, at) < 0)
			said("write", name);
	} else if (what < 60) {
		if (file < FILES / 2)
			store(fd, file, name);
	} else if (what < 70) {
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len))
			said("punch", name);
	} else if (what < 74) {
		if (extents && fallocate(fd, FALLOC_FL_ZERO_RANGE | (what & 1 ? FALLOC_FL_KEEP_SIZE : 0), at, len))
			said("zero", name);
	} else if (what < 80) {
		if (extents && fallocate(fd, what & 1 ? FALLOC_FL_KEEP_SIZE : 0, at, len))
			said("fallocate", name);
	} else if (what < 88) {
		if (ftruncate(fd, at + (what & 1 ? len : 0)))
			said("truncate", name);
	} else if (what < 94) {
		if (what & 1 ? fsync(fd) : fdatasync(fd))
			said("fsync", name);
	} else if (what < 96) {
		sync_file_range(fd, at, len, SYNC_FILE_RANGE_WRITE);
	} else if (what < 98) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	close(fd);
}

static void *writer(void *arg)
{
	unsigned char *bytes;

	state = mix_u64(mix_u64(MIX_SEED, seed), (uintptr_t)arg);
	if (posix_memalign((void **)&bytes, ALIGN, PIECE + ALIGN))
		exit(1);
	while (atomic_fetch_add(&done, 1) < operations)
		change(below(FILES), bytes);
	free(bytes);
	return NULL;
}

/* --- what is appended, and what is replaced --- */

static size_t version_size(unsigned int n)
{
	return 20000 + n % 50 * 1000 + n % 7;
}

static void replace(unsigned int n, unsigned char *bytes)
{
	size_t len = version_size(n);
	char from[512], to[512];
	int fd = open_in("next", O_RDWR | O_CREAT | O_TRUNC);

	if (fd < 0) {
		said("open", "next");
		return;
	}
	fill(bytes, SWAP + n, 0, len);
	memcpy(bytes, &n, sizeof(n));
	/* The first has nothing to take the place of. */
	if (pwrite(fd, bytes, len, 0) != (ssize_t)len || (n == 1 && fsync(fd))) {
		close(fd);
		return;
	}
	close(fd);
	snprintf(from, sizeof(from), "%s/next", dir);
	snprintf(to, sizeof(to), "%s/version", dir);
	if (rename(from, to))
		said("rename", "next");
}

static void *appender(void *arg)
{
	uint64_t sizes[LOGS] = { 0 };
	unsigned char *bytes;
	unsigned int n = 0;

	state = mix_u64(mix_u64(MIX_SEED, seed), 99);
	if (posix_memalign((void **)&bytes, ALIGN, PIECE))
		exit(1);
	while (atomic_load(&done) < operations) {
		unsigned int file = below(LOGS);
		char name[16];
		size_t len = 1 + below(9000);
		ssize_t written;
		int fd;

		snprintf(name, sizeof(name), "log%u", file);
		fd = open_in(name, O_RDWR | O_CREAT | O_APPEND | (file == 2 ? O_DIRECT : 0));
		if (fd < 0) {
			said("open", name);
			continue;
		}
		if (file == 2)
			len = (len + ALIGN - 1) & ~(ALIGN - 1u);
		fill(bytes, 100 + file, sizes[file], len);
		written = write(fd, bytes, len);
		if (written < 0)
			said("append", name);
		else
			sizes[file] += (uint64_t)written;
		if (file == 2 && sizes[file] % ALIGN)
			sizes[file] = UINT64_MAX; /* Cannot go on. */
		if (!below(6) && !fsync(fd))
			is_durable(name, sizes[file]);
		close(fd);
		if (sizes[file] > MAX) {
			/* From the beginning, under its name. */
			char path[512];

			snprintf(path, sizeof(path), "%s/%s", dir, name);
			is_durable(name, 0);
			unlink(path);
			sizes[file] = 0;
		}
		if (!below(5))
			replace(++n, bytes);
		atomic_fetch_add(&done, 1);
	}
	free(bytes);
	return arg;
}

/* --- judging --- */

static void look(const char *name, unsigned int file, bool solid, uint64_t least, unsigned char *bytes)
{
	int fd = open_in(name, O_RDONLY);
	uint64_t at = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		if (least)
			fail(name, 0, "the file is missing");
		if (fd >= 0)
			close(fd);
		return;
	}
	if ((uint64_t)st.st_size < least)
		fail(name, (uint64_t)st.st_size, "the file is too short");
	while (at < (uint64_t)st.st_size) {
		size_t len = PIECE;
		ssize_t got;

		if ((uint64_t)st.st_size - at < len)
			len = (size_t)((uint64_t)st.st_size - at);
		got = pread(fd, bytes, len, (off_t)at);
		if (got < 0)
			said("read", name);
		if (got <= 0)
			break;
		judge(name, file, bytes, at, (size_t)got, solid ? (uint64_t)st.st_size : least);
		at += (uint64_t)got;
	}
	close(fd);
}

static void look_at_version(unsigned char *bytes)
{
	int fd = open_in("version", O_RDONLY);
	ssize_t got;
	unsigned int n;

	if (fd < 0)
		return;
	got = pread(fd, bytes, PIECE, 0);
	close(fd);
	memcpy(&n, bytes, sizeof(n));
	if (got < (ssize_t)sizeof(n) || (size_t)got != version_size(n)) {
		fail("version", got < 0 ? 0 : (uint64_t)got, "is no version's size");
		return;
	}
	judge("version", SWAP + n, bytes + sizeof(n), sizeof(n), (size_t)got - sizeof(n), UINT64_MAX);
}

static void look_at_all(bool online, const uint64_t *least, unsigned char *bytes)
{
	char name[16];

	for (unsigned int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		look(name, i, false, 0, bytes);
	}
	for (unsigned int i = 0; i < LOGS; i++) {
		snprintf(name, sizeof(name), "log%u", i);
		look(name, 100 + i, online, least[i], bytes);
	}
	look_at_version(bytes);
}

static void *reader(void *arg)
{
	static const uint64_t least[LOGS];
	unsigned char *bytes = malloc(PIECE);

	while (atomic_load(&done) < operations && atomic_load(&failures) < 8) {
		look_at_all(true, least, bytes);
		usleep(2000);
	}
	free(bytes);
	return arg;
}

static void run(void)
{
	pthread_t threads[WRITERS + 2];
	struct sigaction action = { .sa_handler = bus };

	sigaction(SIGBUS, &action, NULL);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&threads[i], NULL, writer, (void *)i);
	pthread_create(&threads[WRITERS], NULL, appender, NULL);
	pthread_create(&threads[WRITERS + 1], NULL, reader, NULL);
	for (int i = 0; i < WRITERS + 2; i++)
		pthread_join(threads[i], NULL);
}

static void check(unsigned int number)
{
	uint64_t least[LOGS] = { 0 }, size;
	unsigned char *bytes = malloc(PIECE);
	unsigned int n, file;
	FILE *in = list ? fopen(list, "r") : NULL;

	while (in && fscanf(in, "%u log%u %" SCNu64, &n, &file, &size) == 3) {
		/* What comes after may have begun the file anew. */
		if (file < LOGS && (n <= number || !size))
			least[file] = size;
		if (n > number && size)
			continue;
	}
	if (in)
		fclose(in);
	look_at_all(false, least, bytes);
	free(bytes);
}

int main(int argc, char **argv)
{
	unsigned int least = 0;
	int i = argc > 1 && !strcmp(argv[1], "run") ? 5 : 3;

	for (; i < argc; i++) {
		if (!strcmp(argv[i], "--extents"))
			extents = true;
		else if (i + 1 < argc && !strcmp(argv[i], "--durable"))
			durable_to = argv[++i] + strlen("dm:");
		else if (i + 1 < argc && !strcmp(argv[i], "--list"))
			list = argv[++i];
		else if (i + 1 < argc && !strcmp(argv[i], "--least"))
			least = (unsigned int)strtoul(argv[++i], NULL, 0);
		else
			break;
	}
	if (argc < 3 || i < argc || (strcmp(argv[1], "run") && strcmp(argv[1], "check")) ||
	    (!strcmp(argv[1], "run") && argc < 5)) {
		fputs("usage: strew run DIR SEED OPERATIONS [--durable dm:NAME --list FILE] [--extents]\n"
		      "       strew check DIR [--list FILE --least N]\n", stderr);
		return 2;
	}
	dir = argv[2];
	if (!strcmp(argv[1], "run")) {
		seed = strtoull(argv[3], NULL, 0);
		operations = (unsigned int)strtoul(argv[4], NULL, 0);
		run();
	} else {
		check(least);
	}
	return atomic_load(&failures) ? 1 : 0;
}
