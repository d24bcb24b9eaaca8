// SPDX-License-Identifier: GPL-2.0
/*
 * churn: changes a mounted file system at random (from a seed) and then cuts it off with the
 * shutdown ioctl, so that its journal has something to replay.
 *
 *	usage: churn DIR SEED OPERATIONS ORPHANS FLAGS
 *
 * ORPHANS files are open and unlinked when it happens. FLAGS as in the ioctl: 0 freezes first,
 * 1 flushes the log, 2 does not; 9 means no shutdown.
 */
#include "fill.h"

#include <sys/xattr.h>

#include "hash.h"

struct parameters par;
static uint64_t state;
static unsigned int names;

uint64_t rnd(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	return mix_u64(mix_u64(0, state), state >> 32);
}

uint32_t below(uint32_t n)
{
	return n ? (uint32_t)((rnd() >> 32) * n >> 32) : 0;
}

static void some(char path[64])
{
	snprintf(path, 64, "churn/d%u/n%u", below(6), below(names));
}

/* Most operations may fail, since their target exists or not by chance. */
static void operation(void)
{
	static char data[65536];
	char a[64], b[64];
	uint64_t w = rnd();
	int fd;

	some(a);
	some(b);
	switch (below(14)) {
	case 0: case 1: case 2: case 3:
		fd = open(a, O_RDWR | O_CREAT, 0644);
		if (fd < 0)
			break;
		memset(data, (int)w, sizeof(data));
		if (pwrite(fd, data, 1 + below(below(8) ? 5000 : 65000), below(3) ?
			   below(20000) : below(1 << 27)) < 0)
			perror(a);
		if (!below(4))
			fsync(fd);
		close(fd);
		break;
	case 4: mknod(a, S_IFREG | 0600, 0); break;
	case 5: unlink(a); break;
	case 6: rename(a, b); break;
	case 7: link(a, b); break;
	case 8: symlink(b, a); break;
	case 9: mkdir(a, 0755); break;
	case 10: rmdir(a); break;
	case 11: setxattr(a, "user.x", data, below(2) ? 30 : 700, 0); break;
	case 12: truncate(a, below(30000)); break;
	default:
		fd = open(a, O_RDWR);
		if (fd < 0)
			break;
		fallocate(fd, below(2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : 0,
			  below(40000), 1 + below(40000));
		close(fd);
	}
}

int main(int argc, char **argv)
{
	unsigned int ops, orphans;
	uint32_t flags;
	int dir, fd;

	if (argc != 6)
		return 2;
	state = strtoull(argv[2], NULL, 0);
	ops = (unsigned int)strtoul(argv[3], NULL, 0);
	orphans = (unsigned int)strtoul(argv[4], NULL, 0);
	flags = (uint32_t)strtoul(argv[5], NULL, 0);
	names = ops / 20 + 10;
	if (chdir(argv[1]) || (dir = open(".", O_RDONLY)) < 0) {
		perror(argv[1]);
		return 1;
	}
	mkdir("churn", 0755);
	for (int i = 0; i < 6; i++) {
		char path[64];

		snprintf(path, sizeof(path), "churn/d%d", i);
		mkdir(path, 0755);
	}
	for (unsigned int i = 0; i < ops; i++) {
		/* Half of it is in the journal for certain, the rest may be. */
		if (i == ops / 2)
			syncfs(dir);
		operation();
	}
	for (unsigned int i = 0; i < orphans; i++) {
		char path[64];

		snprintf(path, sizeof(path), "churn/orphan%u", i);
		fd = open(path, O_RDWR | O_CREAT, 0600);
		if (fd < 0 || write(fd, path, sizeof(path)) < 0 || fsync(fd) || unlink(path))
			perror(path);
	}
	fd = open("churn/last", O_RDWR | O_CREAT, 0600);
	if (fd < 0 || write(fd, "last", 4) != 4 || fsync(fd))
		perror("churn/last");
	if (flags != 9 && ioctl(dir, _IOR('X', 125, uint32_t), &flags)) {
		perror("shutdown");
		return 1;
	}
	return 0;
}
