// SPDX-License-Identifier: GPL-2.0
/*
 * replay-log: reads what dm-log-writes has recorded, and writes it to another device up to where somebody
 * might have pulled the plug.
 *
 *     replay-log points LOG               where that could be: after each flush and each FUA write, one a line:
 *                                         the number of entries up to there, and the last `mark N` before
 *     replay-log apply LOG DEV FROM TO    writes entries FROM (from 0) up to TO, without it
 *     replay-log some LOG DEV FROM SEED   of the writes from FROM up to the next flush, writes about half:
 *                                         none of them was promised to last, and any of them may have. A FUA
 *                                         write that is left out is the end as well: what the log has after
 *                                         it may have been begun because it lasted
 *
 * The log has a superblock in its first sector, then entries: a sector that describes it, and the data that was
 * written, if any. All numbers are little-endian, as is this program's machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"

#define MAGIC 0x6a736677736872ULL
enum { FLUSH = 1, FUA = 2, DISCARD = 4, MARK = 8 };
#define CHUNK (1u << 20)

struct super {
	uint64_t magic, version, entries;
	uint32_t sector_size;
};

struct entry {
	uint64_t sector, sectors, flags, data_len;
};

static int log_fd, dev_fd = -1;
static struct super super;
static unsigned char *buffer;

static void die(const char *what)
{
	fprintf(stderr, "replay-log: %s: %s\n", what, errno ? strerror(errno) : "not what it should be");
	exit(1);
}

static void read_at(void *to, size_t len, uint64_t at)
{
	errno = 0;
	if (pread(log_fd, to, len, (off_t)at) != (ssize_t)len)
		die("reading the log");
}

/* The entry at *at; *at moves on to the next, *data is where its data is. */
static struct entry next(uint64_t *at, uint64_t *data)
{
	struct entry e;

	memset(buffer, 0, super.sector_size);
	read_at(buffer, super.sector_size, *at);
	memcpy(&e, buffer, sizeof(e));
	*data = *at + super.sector_size;
	*at = *data;
	if (!(e.flags & DISCARD))
		*at += e.sectors * super.sector_size;
	return e;
}

/* Past the page cache on both sides, which the mounted file system does not go through either. */
static void write_entry(const struct entry *e, uint64_t data)
{
	uint64_t to = e->sector * super.sector_size, left = e->sectors * super.sector_size;

	if (e->flags & (DISCARD | MARK))
		return;
	while (left) {
		size_t n = left < CHUNK ? (size_t)left : CHUNK;

		read_at(buffer, n, data);
		if (pwrite(dev_fd, buffer, n, (off_t)to) != (ssize_t)n)
			die("writing the device");
		data += n;
		to += n;
		left -= n;
	}
}

static void points(void)
{
	uint64_t at = super.sector_size, data;
	unsigned int mark = 0;

	for (uint64_t i = 0; i < super.entries; i++) {
		struct entry e = next(&at, &data);

		/* What `next` has read is still there. */
		if (e.flags & MARK) {
			buffer[super.sector_size - 1] = 0;
			if (e.data_len < super.sector_size - sizeof(e))
				sscanf((char *)buffer + sizeof(e), "%u", &mark);
		} else if (e.flags & (FLUSH | FUA)) {
			printf("%llu %u\n", (unsigned long long)i + 1, mark);
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t at, data, from = 0, to = UINT64_MAX, seed = 0;
	bool chosen, some, listed = argc == 3 && !strcmp(argv[1], "points");

	if (!listed && (argc != 6 || (strcmp(argv[1], "apply") && strcmp(argv[1], "some")))) {
		fputs("usage: replay-log points LOG | apply LOG DEV FROM TO | some LOG DEV FROM SEED\n", stderr);
		return 2;
	}
	some = !strcmp(argv[1], "some");
	log_fd = open(argv[2], O_RDONLY);
	if (log_fd < 0 || posix_memalign((void **)&buffer, 65536, CHUNK))
		die(argv[2]);
	read_at(buffer, 512, 0);
	memcpy(&super, buffer, sizeof(super));
	if (super.magic != MAGIC || super.version != 1 || super.sector_size < 512 || super.sector_size > 65536)
		die("the log's superblock");
	if (listed) {
		points();
		return 0;
	}
	dev_fd = open(argv[3], O_WRONLY | O_DIRECT);
	if (dev_fd < 0)
		die(argv[3]);
	from = strtoull(argv[4], NULL, 0);
	if (some)
		seed = strtoull(argv[5], NULL, 0);
	else
		to = strtoull(argv[5], NULL, 0);
	at = super.sector_size;
	for (uint64_t i = 0; i < super.entries && i < to; i++) {
		struct entry e = next(&at, &data);

		if (i < from)
			continue;
		chosen = !some || (mix_u64(mix_u64(seed, i), 7) >> 63);
		if (chosen)
			write_entry(&e, data);
		if (some && ((e.flags & FLUSH) || (!chosen && (e.flags & FUA))))
			break;
	}
	return 0;
}
