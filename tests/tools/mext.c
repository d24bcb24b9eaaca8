// SPDX-License-Identifier: GPL-2.0
/*
 * Files that exchange blocks: EXT4_IOC_MOVE_EXT and what happens around it.
 *
 *	mext move FILE DONOR START DONOR-START BLOCKS	says how many blocks were moved, and the error
 *	mext scatter FILE DONOR				each block of FILE gets one of DONOR, from its end on
 *	mext ask FILE DONOR OTHER			what is refused, and why; OTHER is on another file system
 *	mext hazard FILE DONOR				moves all, writes to the donor, shuts the file system down
 *	mext busy FILE SECONDS				writes in three ways, and sees to it that it stays written
 *	mext flags FILE +e|-e				FS_IOC_SETFLAGS
 *	mext boot FILE					EXT4_IOC_SWAP_BOOT
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct move_extent {
	uint32_t reserved, donor_fd;
	uint64_t orig_start, donor_start, len, moved_len;
};

#define IOC_MOVE_EXT _IOWR('f', 15, struct move_extent)
#define IOC_SWAP_BOOT _IO('f', 17)
#define IOC_SHUTDOWN _IOR('X', 125, uint32_t)
#define NOLOGFLUSH 2
#define FL_EXTENTS 0x80000

static int must_open(const char *path, int flags)
{
	int fd = open(path, flags);

	if (fd < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static off_t size_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st)) {
		perror("fstat");
		exit(1);
	}
	return st.st_size;
}

static unsigned block_size(int fd)
{
	struct stat st;

	if (fstat(fd, &st)) {
		perror("fstat");
		exit(1);
	}
	return st.st_blksize;
}

/* Returns the error, 0 for none. */
static int move(int fd, int donor, uint64_t start, uint64_t donor_start, uint64_t len, uint64_t *moved)
{
	struct move_extent me = {
		.donor_fd = donor, .orig_start = start, .donor_start = donor_start, .len = len, .moved_len = 77,
	};
	int err = ioctl(fd, IOC_MOVE_EXT, &me) ? errno : 0;

	*moved = me.moved_len;
	return err;
}

static void say(const char *name, int fd, int donor, uint64_t start, uint64_t donor_start, uint64_t len)
{
	uint64_t moved;
	int err = move(fd, donor, start, donor_start, len, &moved);

	printf("%s: %llu %s\n", name, (unsigned long long)moved, err ? strerrorname_np(err) : "-");
}

static int ask(const char *path, const char *donor_path, const char *other_path)
{
	int fd = must_open(path, O_RDWR), donor = must_open(donor_path, O_RDWR);
	int other = must_open(other_path, O_RDWR | O_CREAT);
	uint64_t end = (size_of(fd) + block_size(fd) - 1) / block_size(fd);

	say("read-only", must_open(path, O_RDONLY), donor, 0, 0, 1);
	say("write-only", must_open(path, O_WRONLY), donor, 0, 0, 1);
	say("read-only donor", fd, must_open(donor_path, O_RDONLY), 0, 0, 1);
	say("a path", fd, must_open(donor_path, O_PATH), 0, 0, 1);
	say("no descriptor", fd, -1, 0, 0, 1);
	say("closed descriptor", fd, 999, 0, 0, 1);
	say("another file system", fd, other, 0, 0, 1);
	say("itself", fd, must_open(path, O_RDWR), 0, 0, 1);
	printf("nowhere: %s\n", ioctl(fd, IOC_MOVE_EXT, 8) ? strerrorname_np(errno) : "-");
	say("nothing", fd, donor, 1, 1, 0);
	say("behind the end", fd, donor, end, end, 1);
	say("far behind", fd, donor, 1ULL << 31, 1ULL << 31, 1);
	say("too far", fd, donor, 0xffffffffULL, 0, 1);
	say("too far, donor", fd, donor, 0, 0xffffffffULL, 1);
	say("much too far", fd, donor, 1ULL << 40, 1ULL << 40, 1);
	say("too much", fd, donor, 0, 0, 1ULL << 33);
	say("beyond all", fd, donor, 16, 16, 0xffffffffULL - 16);
	say("around", fd, donor, 1ULL << 63, 1ULL << 63, 1ULL << 63);
	if (block_size(fd) < 4096)
		say("in another place of a page", fd, donor, 0, 1, 1);
	say("two", fd, donor, 4, 4, 2);
	say("two more, to elsewhere", fd, donor, 8, 12, 2);
	return 0;
}

static int scatter(const char *path, const char *donor_path)
{
	int fd = must_open(path, O_RDWR), donor = must_open(donor_path, O_RDWR);
	/* Blocks stay at their place in a page. */
	uint64_t in_page = block_size(fd) < 4096 ? 4096 / block_size(fd) : 1;
	uint64_t blocks = size_of(fd) / block_size(fd) / in_page * in_page, n, moved;

	for (n = 0; n < blocks; n++) {
		uint64_t to = blocks - in_page - n / in_page * in_page + n % in_page;
		int err = move(fd, donor, n, to, 1, &moved);

		if (err || moved > 1) {
			printf("block %llu: %llu %s\n", (unsigned long long)n, (unsigned long long)moved,
			       err ? strerrorname_np(err) : "-");
			return 1;
		}
	}
	return 0;
}

static int hazard(const char *path, const char *donor_path)
{
	int fd = must_open(path, O_RDWR), donor = must_open(donor_path, O_RDWR | O_DIRECT);
	uint64_t blocks = size_of(fd) / block_size(fd), moved, n;
	uint32_t how = NOLOGFLUSH;
	void *bytes;
	int err = move(fd, donor, 0, 0, blocks, &moved);

	if (err || moved != blocks) {
		printf("%llu of %llu: %s\n", (unsigned long long)moved, (unsigned long long)blocks,
		       err ? strerrorname_np(err) : "-");
		return 1;
	}
	if (posix_memalign(&bytes, 65536, 65536))
		return 1;
	memset(bytes, 0xee, 65536);
	for (n = 0; n < blocks * block_size(fd); n += 65536)
		if (pwrite(donor, bytes, 65536, n) != 65536) {
			perror(donor_path);
			return 1;
		}
	if (ioctl(fd, IOC_SHUTDOWN, &how)) {
		perror("shutdown");
		return 1;
	}
	return 0;
}

#define UNIT 4096

/* One of three who each write to every third unit, and know what is there. */
static int worker(const char *path, unsigned who, unsigned seconds)
{
	int fd = must_open(path, O_RDWR | (who == 2 ? O_DIRECT : 0)), plain = must_open(path, O_RDWR);
	size_t units = size_of(fd) / UNIT, n;
	uint64_t *known = calloc(units, sizeof(*known)), stamp = 0, *map, *unit, seed = 12345 + who;
	time_t end = time(NULL) + seconds;

	map = mmap(NULL, units * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
	if (!known || map == MAP_FAILED || posix_memalign((void **)&unit, UNIT, UNIT)) {
		perror(path);
		return 1;
	}
	while (time(NULL) < end) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		n = (seed >> 33) % (units / 3) * 3 + who;
		if (seed >> 32 & 1) {
			stamp++;
			if (who == 1) {
				for (size_t i = 0; i < UNIT / 8; i++)
					map[n * UNIT / 8 + i] = stamp;
			} else {
				for (size_t i = 0; i < UNIT / 8; i++)
					unit[i] = stamp;
				if (pwrite(fd, unit, UNIT, n * UNIT) != UNIT) {
					perror("pwrite");
					return 1;
				}
			}
			known[n] = stamp;
		} else if (known[n]) {
			if (pread(fd, unit, UNIT, n * UNIT) != UNIT) {
				perror("pread");
				return 1;
			}
			for (size_t i = 0; i < UNIT / 8; i++)
				if (unit[i] != known[n]) {
					printf("%u: unit %zu has %llu, not %llu\n", who, n,
					       (unsigned long long)unit[i], (unsigned long long)known[n]);
					return 1;
				}
		}
	}
	munmap(map, units * UNIT);
	/* All of it, from the page cache and from the disk. */
	for (int turn = 0; turn < 2; turn++) {
		for (n = who; n < units; n += 3) {
			if (pread(plain, unit, UNIT, n * UNIT) != UNIT) {
				perror("pread");
				return 1;
			}
			if (known[n] && (unit[0] != known[n] || unit[UNIT / 8 - 1] != known[n])) {
				printf("%u: at the end unit %zu has %llu, not %llu\n", who, n,
				       (unsigned long long)unit[0], (unsigned long long)known[n]);
				return 1;
			}
		}
		if (fsync(plain) || posix_fadvise(plain, 0, 0, POSIX_FADV_DONTNEED)) {
			perror("fsync");
			return 1;
		}
	}
	return stamp < 10;
}

static int busy(const char *path, unsigned seconds)
{
	int failed = 0, status;

	for (unsigned who = 0; who < 3; who++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (!pid) {
			status = worker(path, who, seconds);
			fflush(stdout);
			_exit(status);
		}
	}
	while (wait(&status) > 0)
		failed |= status;
	return !!failed;
}

static int set_flags(const char *path, const char *how)
{
	int fd = must_open(path, O_RDONLY), flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags)) {
		perror(path);
		return 1;
	}
	flags = *how == '+' ? flags | FL_EXTENTS : flags & ~FL_EXTENTS;
	if (ioctl(fd, FS_IOC_SETFLAGS, &flags)) {
		perror(path);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	if (!strcmp(what, "move") && argc == 7) {
		say("moved", must_open(argv[2], O_RDWR), must_open(argv[3], O_RDWR), strtoull(argv[4], NULL, 0),
		    strtoull(argv[5], NULL, 0), strtoull(argv[6], NULL, 0));
		return 0;
	}
	if (!strcmp(what, "scatter") && argc == 4)
		return scatter(argv[2], argv[3]);
	if (!strcmp(what, "ask") && argc == 5)
		return ask(argv[2], argv[3], argv[4]);
	if (!strcmp(what, "hazard") && argc == 4)
		return hazard(argv[2], argv[3]);
	if (!strcmp(what, "busy") && argc == 4)
		return busy(argv[2], atoi(argv[3]));
	if (!strcmp(what, "flags") && argc == 4)
		return set_flags(argv[2], argv[3]);
	if (!strcmp(what, "boot") && argc == 3) {
		if (ioctl(must_open(argv[2], O_RDWR), IOC_SWAP_BOOT)) {
			perror(argv[2]);
			return 1;
		}
		return 0;
	}
	fputs("usage: see the head of mext.c\n", stderr);
	return 2;
}
