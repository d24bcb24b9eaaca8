// SPDX-License-Identifier: GPL-2.0
/*
 * crowd: directories of many names.
 *
 *     crowd make DIR FROM TO LENGTH        makes names number FROM up to TO, without it, of LENGTH bytes at least
 *     crowd link DIR FROM TO LENGTH        likewise, as links to files beside DIR, which costs few inodes
 *     crowd remove DIR FROM TO LENGTH ORDER      removes them: up, down, or mixed
 *     crowd check DIR FROM TO LENGTH       each of them is found, and listed once, and nothing else is
 *     crowd churn DIR NAMES SECONDS SEED   a process that lists DIR while another makes and removes names in it;
 *                                          NAMES names that stay are to be listed exactly once each time, in an
 *                                          order that does not change, also from a position remembered before
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hash.h"

#define MAX_LINKS 60000u

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* The number first, so that a name says which it is; then letters, the same for the same number. */
static const char *name_of(unsigned int number, unsigned int length)
{
	static char name[300];
	unsigned int n = (unsigned int)sprintf(name, "%u", number);
	uint64_t h = mix_u64(number, length);

	while (n < length && n < 255) {
		name[n++] = (char)('a' + (h >> 32) % 26);
		h = mix_u64(h, n);
	}
	name[n] = 0;
	return name;
}

static const char *stem(unsigned int number)
{
	static char name[64];

	sprintf(name, "../crowd-%u", number / MAX_LINKS);
	return name;
}

static int make(bool links, unsigned int from, unsigned int to, unsigned int length)
{
	for (unsigned int i = from; i < to; i++) {
		const char *name = name_of(i, length);

		if (links && (i == from || i % MAX_LINKS == 0) && mknod(stem(i), S_IFREG | 0644, 0) && errno != EEXIST)
			die(stem(i));
		if (links ? link(stem(i), name) : mknod(name, S_IFREG | 0644, 0)) {
			fprintf(stderr, "crowd: after %u names: %s\n", i - from, strerrorname_np(errno));
			return 1;
		}
	}
	return 0;
}

/* The i-th of n numbers in an order that visits all of them: a step without a factor in common with n. */
static unsigned int mixed(unsigned int i, unsigned int n)
{
	static const unsigned int primes[] = { 1000003, 999983, 786433, 65537 };

	for (size_t p = 0; p < sizeof(primes) / sizeof(primes[0]); p++)
		if (n % primes[p])
			return (unsigned int)((uint64_t)i * primes[p] % n);
	return i;
}

static int removed(unsigned int from, unsigned int to, unsigned int length, const char *order)
{
	unsigned int n = to - from;

	for (unsigned int i = 0; i < n; i++) {
		unsigned int at = !strcmp(order, "down") ? n - 1 - i : !strcmp(order, "mixed") ? mixed(i, n) : i;

		if (unlink(name_of(from + at, length)))
			die(name_of(from + at, length));
	}
	return 0;
}

static long getdents(int fd, void *buf, size_t len)
{
	return syscall(SYS_getdents64, fd, buf, len);
}

static int check(unsigned int from, unsigned int to, unsigned int length)
{
	static char buf[65536];
	unsigned char *listed = calloc(to + 1, 1);
	int fd = open(".", O_RDONLY | O_DIRECTORY), wrong = 0;
	unsigned int count = 0;
	struct stat st;
	long got;

	if (!listed || fd < 0)
		die("check");
	while ((got = getdents(fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < got;) {
			struct dirent64 *d = (struct dirent64 *)(buf + at);
			unsigned int i = (unsigned int)strtoul(d->d_name, NULL, 10);

			at += d->d_reclen;
			if (d->d_name[0] == '.')
				continue;
			if (i < from || i >= to || strcmp(d->d_name, name_of(i, length)) || listed[i]++) {
				if (wrong++ < 5)
					printf("listed, and should not be: %s\n", d->d_name);
			}
			count++;
		}
	}
	if (got < 0)
		die("getdents");
	for (unsigned int i = 0; i < to - from; i++) {
		unsigned int at = from + mixed(i, to - from);

		if ((!listed[at] || lstat(name_of(at, length), &st)) && wrong++ < 5)
			printf("%s: %s\n", listed[at] ? "not found" : "not listed", name_of(at, length));
	}
	printf("%u names\n", count);
	return wrong ? 1 : 0;
}

/* --- while it changes --- */

/* Makes and removes names by the hundred, so that blocks are split and, perhaps, given back. */
static void changes(uint64_t seed)
{
	for (unsigned int round = 0;; round++) {
		unsigned int n = 20 + (unsigned int)(mix_u64(seed, round) >> 32) % 300;

		for (int remove = 0; remove < 2; remove++) {
			for (unsigned int i = 0; i < n; i++) {
				char name[300];
				uint64_t h = mix_u64(seed + round, i);
				unsigned int len = 80 + (unsigned int)(h >> 40) % 150, at;

				at = (unsigned int)sprintf(name, "x%llx", (unsigned long long)h);
				memset(name + at, 'x', len);
				name[at + len] = 0;
				if (remove ? unlink(name) : mknod(name, S_IFREG | 0600, 0))
					die(name);
			}
		}
	}
}

struct sight {
	unsigned int number;
	off_t position;		/* what follows it */
};

/* The names that stay, in the order in which they are listed from where the descriptor is. */
static unsigned int look(int fd, struct sight *seen, unsigned int room, uint64_t seed)
{
	char buf[2048];
	unsigned int n = 0;
	size_t size = 300 + seed % 1700;
	long got;

	while ((got = getdents(fd, buf, size)) > 0) {
		for (long at = 0; at < got;) {
			struct dirent64 *d = (struct dirent64 *)(buf + at);

			at += d->d_reclen;
			if (d->d_name[0] == '.' || d->d_name[0] == 'x')
				continue;
			if (n < room)
				seen[n] = (struct sight){ (unsigned int)strtoul(d->d_name, NULL, 10), d->d_off };
			n++;
		}
	}
	if (got < 0)
		die("getdents");
	return n;
}

static int churn(unsigned int names, unsigned int seconds, uint64_t seed)
{
	struct sight *first = calloc(names + 1, sizeof(*first)), *then = calloc(names + 1, sizeof(*then));
	unsigned int n, rounds = 0, wrong = 0;
	time_t end = time(NULL) + seconds;
	int fd = open(".", O_RDONLY | O_DIRECTORY);
	pid_t child;

	if (fd < 0 || !first || !then)
		die("churn");
	if (make(false, 0, names, 30))
		return 1;
	n = look(fd, first, names + 1, 0);
	if (n != names) {
		printf("%u names of %u are listed while nothing changes\n", n, names);
		return 1;
	}
	child = fork();
	if (child < 0)
		die("fork");
	if (!child)
		changes(seed);
	while (time(NULL) < end && wrong < 5) {
		uint64_t h = mix_u64(seed, ++rounds);
		/* All of it, or on from some name's position. */
		unsigned int from = h % 4 ? (unsigned int)(h >> 32) % names : 0;

		if (lseek(fd, from ? first[from - 1].position : 0, SEEK_SET) < 0)
			die("lseek");
		n = look(fd, then, names + 1, h >> 8);
		if (n != names - from) {
			printf("round %u, from name %u on: %u names, expected %u\n", rounds, from, n, names - from);
			wrong++;
			continue;
		}
		for (unsigned int i = 0; i < n; i++) {
			if (then[i].number != first[from + i].number) {
				printf("round %u, from name %u on: name %u is another\n", rounds, from, i);
				wrong++;
				break;
			}
		}
	}
	if (waitpid(child, NULL, WNOHANG)) {
		printf("nothing changed any more\n");
		wrong++;
	} else {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	printf("%u rounds, %u wrong\n", rounds, wrong);
	return wrong || !rounds ? 1 : 0;
}

int main(int argc, char **argv)
{
	unsigned int a[3] = { 0 };

	if (argc < 6 || chdir(argv[2])) {
		fputs("usage: crowd make|link|check DIR FROM TO LENGTH | remove DIR FROM TO LENGTH up|down|mixed\n"
		      "       crowd churn DIR NAMES SECONDS SEED\n", stderr);
		return 2;
	}
	for (int i = 0; i < 3; i++)
		a[i] = (unsigned int)strtoul(argv[3 + i], NULL, 0);
	if (!strcmp(argv[1], "make") || !strcmp(argv[1], "link"))
		return make(argv[1][0] == 'l', a[0], a[1], a[2]);
	if (!strcmp(argv[1], "remove") && argc == 7)
		return removed(a[0], a[1], a[2], argv[6]);
	if (!strcmp(argv[1], "check"))
		return check(a[0], a[1], a[2]);
	if (!strcmp(argv[1], "churn"))
		return churn(a[0], a[1], a[2]);
	return 2;
}
