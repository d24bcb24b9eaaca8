// SPDX-License-Identifier: GPL-2.0
/*
 * flip: damages an image or device at random places from a seed, and undoes it.
 *
 *	usage: flip damage FILE SEED CHANGES UNDO	damage, remember the old bytes in UNDO
 *	       flip undo FILE UNDO
 *
 * Places are chosen among the 1 KiB pieces that are not all zero, so that on an image with
 * little file data most hits are metadata; one in sixteen goes to the superblock and the group
 * descriptors behind it. Values are those that break arithmetic: a flipped bit, 0, all ones, a
 * small number, a copy of another place.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"

#define PIECE 1024

struct undo {
	uint64_t at;
	uint32_t len;
	unsigned char bytes[64];
};

static uint64_t state;

static uint64_t rnd(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	return mix_u64(mix_u64(0, state), state >> 32);
}

static uint64_t below(uint64_t n)
{
	return n ? (rnd() >> 16) % n : 0;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t le32(const unsigned char *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The end of the file system (bytes), which has no damage yet; the device may be far larger. */
static off_t fs_end(int fd)
{
	unsigned char sb[1024];

	if (pread(fd, sb, sizeof(sb), 1024) != sizeof(sb) || sb[56] != 0x53 || sb[57] != 0xef)
		die("no superblock");
	return (off_t)le32(sb + 4) << (10 + (le32(sb + 24) & 15));
}

/* Numbers (in pieces) of what is not zero. */
static uint32_t *used_pieces(int fd, size_t *count)
{
	static unsigned char buf[1 << 20];
	uint32_t *list = NULL;
	size_t n = 0, room = 0;
	off_t at = 0, end = fs_end(fd);
	ssize_t got;

	while (at < end && (got = pread(fd, buf, sizeof(buf), at)) > 0) {
		for (ssize_t p = 0; p + PIECE <= got; p += PIECE) {
			if (!buf[p] && !memcmp(buf + p, buf + p + 1, PIECE - 1))
				continue;
			if (n == room) {
				room = room ? room * 2 : 4096;
				list = realloc(list, room * sizeof(*list));
				if (!list)
					die("realloc");
			}
			list[n++] = (uint32_t)((at + p) / PIECE);
		}
		at += got;
	}
	if (!n)
		die("nothing but zeros");
	*count = n;
	return list;
}

static void mutate(int fd, unsigned char *bytes, uint32_t len, uint64_t source)
{
	static const uint32_t numbers[] = { 0, 1, 2, 7, 12, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff,
					    0x80000000, 0xffffffff, 0xfffffffe, 0x10000, 1024, 4096 };
	uint32_t v = numbers[below(16)];

	switch (below(5)) {
	case 0: case 1:
		bytes[0] ^= (unsigned char)(1u << below(8));
		break;
	case 2:
		memcpy(bytes, &v, len < 4 ? len : 4);
		break;
	case 3:
		for (uint32_t i = 0; i < len; i++)
			bytes[i] = (unsigned char)rnd();
		break;
	default:
		if (pread(fd, bytes, len, (off_t)source) != len)
			die("pread");
	}
}

static int damage(const char *path, unsigned int changes, const char *undo_path)
{
	int fd = open(path, O_RDWR), out = open(undo_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint32_t *list;
	size_t n;

	if (fd < 0 || out < 0)
		die(path);
	list = used_pieces(fd, &n);
	for (unsigned int i = 0; i < changes; i++) {
		struct undo u = { 0 };
		unsigned char bytes[64];
		size_t piece = below(16) ? below(n) : below(n < 8 ? n : 8);

		u.at = (uint64_t)list[piece] * PIECE;
		/* Heads of blocks and of inodes hold what the rest depends on. */
		u.at += below(3) ? below(PIECE) : below(2) ? below(64) : below(8) * 128 + below(48);
		u.len = 1u << below(6);
		if (u.len > 2)
			u.at &= ~3ull;
		if (u.at % PIECE + u.len > PIECE)
			u.len = 1;
		if (pread(fd, u.bytes, u.len, (off_t)u.at) != (ssize_t)u.len)
			die("pread");
		memcpy(bytes, u.bytes, sizeof(bytes));
		mutate(fd, bytes, u.len, (uint64_t)list[below(n)] * PIECE);
		if (write(out, &u, sizeof(u)) != sizeof(u) ||
		    pwrite(fd, bytes, u.len, (off_t)u.at) != (ssize_t)u.len)
			die("pwrite");
	}
	if (fsync(fd))
		die("fsync");
	return 0;
}

static int restore(const char *path, const char *undo_path)
{
	int fd = open(path, O_RDWR), in = open(undo_path, O_RDONLY);
	struct undo u;
	off_t at = lseek(in, 0, SEEK_END);

	if (fd < 0 || in < 0)
		die(path);
	/* Backwards: a place may have been hit twice. */
	for (at -= (off_t)sizeof(u); at >= 0; at -= (off_t)sizeof(u))
		if (pread(in, &u, sizeof(u), at) != sizeof(u) ||
		    pwrite(fd, u.bytes, u.len, (off_t)u.at) != (ssize_t)u.len)
			die("undo");
	return fsync(fd) ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "damage")) {
		state = strtoull(argv[3], NULL, 0);
		return damage(argv[2], (unsigned int)strtoul(argv[4], NULL, 0), argv[5]);
	}
	if (argc == 4 && !strcmp(argv[1], "undo"))
		return restore(argv[2], argv[3]);
	fputs("usage: flip damage FILE SEED CHANGES UNDO | flip undo FILE UNDO\n", stderr);
	return 2;
}
