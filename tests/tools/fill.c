// SPDX-License-Identifier: GPL-2.0
/*
 * fill: makes a directory tree that uses every part of the ext4 format that ordinary calls can
 * reach on the file system at hand: directories of each shape, files at each size where the
 * format changes, extent and indirect trees, holes, unwritten extents, links, devices, xattrs in
 * every place, ACLs, flags, timestamps at the edges of their encodings. What is made depends on
 * the seed and the options alone.
 */
#include "fill.h"

#include <getopt.h>
#include <stdarg.h>
#include <sys/statfs.h>
#include <time.h>

#include "hash.h"

struct parameters par = { .seed = 1, .names = 300, .extents = 1500 };

static uint64_t state;

uint64_t rnd(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	return mix_u64(mix_u64(0, state), state >> 32);
}

uint32_t below(uint32_t n)
{
	return n ? (uint32_t)((rnd() >> 32) * n >> 32) : 0;
}

struct refusal {
	const char *what;
	int err;
	unsigned int times;
};

static struct refusal refusals[64];
static unsigned int failures;

void cannot(const char *what, const char *path)
{
	int err = errno;
	unsigned int i;

	switch (err) {
	case EOPNOTSUPP:
	case EFBIG:
	case ENAMETOOLONG:
	case EMLINK:
	case ENOSPC:
	case EINVAL:
	case E2BIG:
	case ERANGE:
	case ENOTTY:
		break;
	default:
		fprintf(stderr, "fill: %s: %s: %s\n", path, what, strerror(err));
		failures++;
		return;
	}
	for (i = 0; i < 63 && refusals[i].what; i++)
		if (refusals[i].what == what && refusals[i].err == err)
			break;
	refusals[i].what = what;
	refusals[i].err = err;
	refusals[i].times++;
}

const char *fmt(const char *f, ...)
{
	static char room[4][4200];
	static unsigned int turn;
	char *p = room[turn++ % 4];
	va_list ap;

	va_start(ap, f);
	vsnprintf(p, sizeof(room[0]), f, ap);
	va_end(ap);
	return p;
}

void make_dir(const char *path)
{
	TRY(mkdir(path, 0755), path);
}

int make(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0644);

	if (fd < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

void touch(const char *path)
{
	TRY(mknod(path, S_IFREG | 0644, 0), path);
}

void put_data(int fd, const char *path, uint64_t off, uint64_t len)
{
	static uint64_t buf[8192];
	uint64_t h = rnd();

	while (len) {
		size_t n = len < sizeof(buf) ? (size_t)len : sizeof(buf);
		ssize_t put;

		/* An xorshift stream: the cheapest that leaves no two blocks alike. */
		for (size_t i = 0; i < (n + 7) / 8; i++) {
			h ^= h << 13;
			h ^= h >> 7;
			h ^= h << 17;
			buf[i] = h;
		}
		put = pwrite(fd, buf, n, (off_t)off);
		if (put < 0) {
			cannot("pwrite", path);
			return;
		}
		off += (uint64_t)put;
		len -= (uint64_t)put;
	}
}

void file_of(const char *path, uint64_t len)
{
	int fd = make(path);

	put_data(fd, path, 0, len);
	close(fd);
}

static const struct section {
	const char *name;
	void (*run)(void);
} sections[] = {
	{ "names", fill_names },   { "files", fill_files },   { "extents", fill_extents },
	{ "inodes", fill_inodes }, { "xattrs", fill_xattrs }, { "bulk", fill_bulk },
	{ "crowd", fill_crowd },
};

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", 1, NULL, 's' },  { "names", 1, NULL, 'n' }, { "bulk", 1, NULL, 'b' },
		{ "big", 1, NULL, 'B' },   { "extents", 1, NULL, 'e' },
		{ "only", 1, NULL, 'o' },  { "crowd", 1, NULL, 'c' },  { "verity", 0, NULL, 'v' }, { NULL, 0, NULL, 0 },
	};
	const char *only = NULL;
	struct timespec a, b;
	struct statfs s;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		unsigned long v = optarg ? strtoul(optarg, NULL, 0) : 0;

		switch (c) {
		case 's': par.seed = v; break;
		case 'n': par.names = (unsigned int)v; break;
		case 'b': par.bulk = (unsigned int)v; break;
		case 'B': par.big = (unsigned int)v; break;
		case 'e': par.extents = (unsigned int)v; break;
		case 'o': only = optarg; break;
		case 'c': par.crowd = (unsigned int)v; break;
		case 'v': par.verity = true; break;
		default: optind = argc; break;
		}
	}
	if (optind + 1 != argc) {
		fputs("usage: fill [--seed N] [--names N] [--bulk N] [--big MiB] [--extents N]\n"
		      "            [--crowd N] [--verity] [--only SECTION] DIR\n"
		      "sections:", stderr);
		for (size_t i = 0; i < sizeof(sections) / sizeof(*sections); i++)
			fprintf(stderr, " %s", sections[i].name);
		fputc('\n', stderr);
		return 2;
	}
	umask(0);
	if (chdir(argv[optind]) || statfs(".", &s)) {
		perror(argv[optind]);
		return 1;
	}
	par.bs = (uint32_t)s.f_bsize;
	printf("fill: seed %llu, block size %u:", (unsigned long long)par.seed, par.bs);
	for (size_t i = 0; i < sizeof(sections) / sizeof(*sections); i++) {
		if (only && strcmp(only, sections[i].name))
			continue;
		/* Each section has its own stream, so that --only makes the same files. */
		state = mix_u64(par.seed, i);
		clock_gettime(CLOCK_MONOTONIC, &a);
		sections[i].run();
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf(" %s %.1fs", sections[i].name, (double)(b.tv_sec - a.tv_sec) +
		       (double)(b.tv_nsec - a.tv_nsec) / 1e9);
		fflush(stdout);
	}
	putchar('\n');
	for (size_t i = 0; i < 64 && refusals[i].what; i++)
		printf("fill: refused: %s: %s (%u)\n", refusals[i].what,
		       strerrorname_np(refusals[i].err), refusals[i].times);
	if (failures)
		fprintf(stderr, "fill: %u calls failed\n", failures);
	return failures ? 1 : 0;
}
