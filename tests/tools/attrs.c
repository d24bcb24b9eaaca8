// SPDX-License-Identifier: GPL-2.0
/*
 * attrs: extended attributes, set at random from a seed, and shown.
 *
 *	usage: attrs change DIR SEED OPERATIONS MAX
 *	       attrs show DIR
 *	       attrs one FILE NAME SIZE SEED FLAGS
 *	       attrs fill DIR SIZE
 *	       attrs race DIR SEED SECONDS
 *
 * `change` sets, creates, replaces and removes attributes of the entries of DIR and of DIR itself,
 * with values of up to MAX bytes, and prints what each call has come to: the same calls for the same
 * seed and the same entries, so that two file systems can be compared. Names and values are few,
 * so that many files come to have equal attributes. `show` prints all attributes of all of them,
 * values as hashes. `one` sets a single attribute to SIZE bytes (none: removes it) and prints what that
 * has come to. `fill` makes files with one attribute of SIZE bytes each, all different, until that
 * fails, and prints how many there are and why. `race` does the same as `change` from several processes at once on files that
 * have their blocks in common, for so many seconds; each process has the files of its own, whose
 * attributes it knows and checks.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "hash.h"

enum { FILES = 4096, NAMES = 24, LARGEST = 65536, RACERS = 4, RACE_FILES = 6 };

static uint64_t state;
static char *files[FILES];
static char names[NAMES][256];
static int nfiles;
static unsigned char value[LARGEST], got[LARGEST];
static char list[1 << 20];

static uint64_t rnd(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	return mix_u64(mix_u64(0, state), state >> 32);
}

static unsigned int below(unsigned int n)
{
	return (unsigned int)((rnd() >> 32) * n >> 32);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_files(const char *dir)
{
	struct dirent *entry;
	DIR *d = opendir(dir);

	if (!d) {
		perror(dir);
		exit(1);
	}
	while ((entry = readdir(d)) && nfiles < FILES) {
		if (!strcmp(entry->d_name, "..") || !strcmp(entry->d_name, "lost+found"))
			continue;
		if (asprintf(&files[nfiles++], "%s/%s", dir, entry->d_name) < 0)
			exit(1);
	}
	closedir(d);
	qsort(files, nfiles, sizeof(*files), by_name);
}

/* Names of several lengths, in three name spaces. */
static void make_names(void)
{
	static const char *const spaces[] = { "user.", "trusted.", "security." };
	static const int lengths[] = { 1, 3, 4, 5, 8, 17, 60, 247 };

	for (int i = 0; i < NAMES; i++) {
		const char *space = spaces[i % 3];
		int n = lengths[i / 3], len = strlen(space);

		if (n + len > 255)
			n = 255 - len;
		strcpy(names[i], space);
		/* A byte above 127 as well: some kernels have hashed these otherwise. */
		memset(names[i] + len, i == 7 ? 0xe4 : 'a' + i, n);
		names[i][len + n] = 0;
	}
}

static size_t make_value(size_t max)
{
	static const unsigned int sizes[] = { 0,   1,	3,   4,	   5,	  8,	20,   33,   64,	   72,	 90,
					      140, 300, 500, 900,  970,	  1000, 1500, 2500, 3900, 4000,
					      4040, 4096, 5000, 8192, 20000, 40000, 65000, 65536 };
	unsigned int n = 0;
	size_t size;

	while (n < sizeof(sizes) / sizeof(*sizes) && sizes[n] <= max)
		n++;
	/* Mostly small ones. */
	size = sizes[below(below(3) ? (n < 11 ? n : 11) : n)];
	memset(value, (int)(size % 200) + (int)below(2), size);
	if (size > 8)
		memcpy(value + size - 8, "the end.", 8);
	return size;
}

static void change(uint64_t seed, unsigned int count, size_t max)
{
	state = seed;
	for (unsigned int i = 0; i < count; i++) {
		const char *file = files[below(nfiles)], *name = names[below(NAMES)];
		unsigned int what = below(10);
		int ret;

		if (what < 2) {
			ret = lremovexattr(file, name);
			printf("%u remove %s %.20s: %s\n", i, file, name, ret ? strerrorname_np(errno) : "0");
		} else {
			int flags = what == 2 ? XATTR_CREATE : what == 3 ? XATTR_REPLACE : 0;
			size_t size = make_value(max);

			ret = lsetxattr(file, name, value, size, flags);
			printf("%u set %s %.20s %zu %d: %s\n", i, file, name, size, flags,
			       ret ? strerrorname_np(errno) : "0");
		}
	}
}

static void show_file(const char *file)
{
	char *sorted[1024];
	ssize_t len = llistxattr(file, list, sizeof(list));
	int n = 0;

	if (len < 0) {
		printf("%s: list: %s\n", file, strerrorname_np(errno));
		return;
	}
	for (char *name = list; name < list + len && n < 1024; name += strlen(name) + 1)
		sorted[n++] = name;
	qsort(sorted, n, sizeof(*sorted), by_name);
	for (int i = 0; i < n; i++) {
		ssize_t size = lgetxattr(file, sorted[i], got, sizeof(got));

		if (size < 0)
			printf("%s: %s: %s\n", file, sorted[i], strerrorname_np(errno));
		else
			printf("%s: %s: %zd %016llx\n", file, sorted[i], size,
			       (unsigned long long)mix(MIX_SEED, got, size));
	}
}

/* One process: what it has set is what it finds, whatever the others do. */
static int racer(const char *dir, int me, uint64_t seed, time_t end)
{
	static ssize_t sizes[RACE_FILES][NAMES];
	static unsigned char bytes[RACE_FILES][NAMES];
	char path[4096];
	unsigned long done = 0;

	state = seed + (uint64_t)me;
	memset(sizes, -1, sizeof(sizes));
	while (time(NULL) < end) {
		/* Few names and values: blocks come to be equal all the time. */
		int f = below(RACE_FILES), n = 15 + below(3);
		ssize_t size;

		snprintf(path, sizeof(path), "%s/r%d-%d", dir, me, f);
		if (below(5) == 0) {
			if (lremovexattr(path, names[n]) && errno != ENODATA) {
				perror("remove");
				return 1;
			}
			sizes[f][n] = -1;
		} else {
			size = below(2) ? 200 : 120;
			bytes[f][n] = below(2);
			memset(value, bytes[f][n], size);
			if (lsetxattr(path, names[n], value, size, 0)) {
				perror("set");
				return 1;
			}
			sizes[f][n] = size;
		}
		f = below(RACE_FILES);
		n = 15 + below(3);
		snprintf(path, sizeof(path), "%s/r%d-%d", dir, me, f);
		size = lgetxattr(path, names[n], got, sizeof(got));
		if (size < 0 && errno != ENODATA) {
			perror("get");
			return 1;
		}
		if (size != sizes[f][n] || (size > 0 && (got[0] != bytes[f][n] || got[size - 1] != bytes[f][n]))) {
			fprintf(stderr, "%s: %s: size %zd, not %zd\n", path, names[n], size, sizes[f][n]);
			return 1;
		}
		done++;
	}
	printf("%d: %lu changes\n", me, done);
	return done == 0;
}

/* Bytes that no other seed gives. */
static void fill_value(uint64_t seed, size_t size)
{
	state = seed;
	for (size_t i = 0; i < size; i++)
		value[i] = (unsigned char)(rnd() >> 40);
}

static int one(const char *file, const char *name, long size, uint64_t seed, int flags)
{
	int ret;

	if (size > LARGEST)
		return 2;
	if (size > 0)
		fill_value(seed, size);
	ret = size < 0 ? lremovexattr(file, name) : lsetxattr(file, name, value, size, flags);
	puts(ret ? strerrorname_np(errno) : "0");
	return 0;
}

static int fill(const char *dir, size_t size)
{
	char path[4096];

	if (size > LARGEST)
		return 2;
	for (unsigned int n = 0;; n++) {
		snprintf(path, sizeof(path), "%s/f%u", dir, n);
		fill_value(n, size);
		if (mknod(path, S_IFREG | 0600, 0) || lsetxattr(path, "user.fill", value, size, 0)) {
			printf("%u %s\n", n, strerrorname_np(errno));
			return 0;
		}
	}
}

static int race(const char *dir, uint64_t seed, int seconds)
{
	time_t end = time(NULL) + seconds;
	int status, bad = 0;

	fflush(stdout);
	for (int i = 0; i < RACERS; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (pid == 0)
			exit(racer(dir, i, seed, end));
	}
	for (int i = 0; i < RACERS; i++)
		bad |= wait(&status) < 0 || status != 0;
	return bad;
}

int main(int argc, char **argv)
{
	make_names();
	if (argc == 6 && !strcmp(argv[1], "change")) {
		find_files(argv[2]);
		change(strtoull(argv[3], NULL, 0), atoi(argv[4]), strtoul(argv[5], NULL, 0));
	} else if (argc == 3 && !strcmp(argv[1], "show")) {
		find_files(argv[2]);
		for (int i = 0; i < nfiles; i++)
			show_file(files[i]);
	} else if (argc == 7 && !strcmp(argv[1], "one")) {
		return one(argv[2], argv[3], !strcmp(argv[4], "none") ? -1 : atol(argv[4]),
			   strtoull(argv[5], NULL, 0), atoi(argv[6]));
	} else if (argc == 4 && !strcmp(argv[1], "fill")) {
		return fill(argv[2], strtoul(argv[3], NULL, 0));
	} else if (argc == 5 && !strcmp(argv[1], "race")) {
		return race(argv[2], strtoull(argv[3], NULL, 0), atoi(argv[4]));
	} else {
		fprintf(stderr, "usage: see attrs.c\n");
		return 2;
	}
	return 0;
}
