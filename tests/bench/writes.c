// SPDX-License-Identifier: GPL-2.0
/*
 * Rows of fsbench that write contents.
 *
 * What a system call costs and what it costs to bring its data to disk are rows of their own: the latter is
 * one syncfs(), by the MiB. Each row has a file of its own, in the directory of the changes.
 */
#include "fsbench.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE (16 * MIB)
#define BLOCK (4 * KIB)
#define BLOCKS (SIZE / BLOCK)
#define PART (256 * KIB)
#define SMALL 1000u			/* files of 8 KiB */

static unsigned char *mapped;
static unsigned char *aligned;		/* a piece of `buffer` */
static char small[SMALL][32];

/* ---- what a row begins and ends with ---- */

static void new_file_with(int flags)
{
	aligned = buffer + (BLOCK - (uintptr_t)buffer % BLOCK) % BLOCK;
	fd = open("written", O_RDWR | O_CREAT | O_TRUNC | flags, 0644);
	if (fd < 0)
		die("written");
}

static void settle(void)
{
	if (syncfs(fd))
		die("syncfs");
	/* What that has left for others to do. */
	usleep(100000);
}

static void new_file(void)
{
	new_file_with(0);
}

static void new_on_disk(void)
{
	new_file();
	settle();
}

static void new_direct(void)
{
	new_file_with(O_DIRECT);
	settle();
}

static void full_file(void)
{
	unsigned i;

	new_file();
	for (i = 0; i < SIZE / MIB; i++)
		if (pwrite(fd, buffer, MIB, (off_t)i * MIB) != MIB)
			die("write");
}

static void settled_file(void)
{
	full_file();
	settle();
}

static void settled_direct(void)
{
	settled_file();
	close(fd);
	fd = open("written", O_RDWR | O_DIRECT);
	if (fd < 0)
		die("written");
	/* Nothing of it in the page cache, as with those who write directly. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void hole_file(void)
{
	new_file();
	if (ftruncate(fd, SIZE))
		die("truncate");
	settle();
}

/* The blocks in an order that has nothing to do with their places: 1021 is prime to the number of blocks. */
static off_t scattered(unsigned i)
{
	return (off_t)(i * 1021 % BLOCKS) * BLOCK;
}

static void holes_to_write(void)
{
	unsigned i;

	hole_file();
	for (i = 0; i < BLOCKS; i += 4)
		if (pwrite(fd, buffer, BLOCK, scattered(i)) != (ssize_t)BLOCK)
			die("write");
}

static void mapped_file(void)
{
	settled_file();
	mapped = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		die("mmap");
}

static void remove_file(void)
{
	close(fd);
	if (unlink("written"))
		die("unlink");
}

static void unmap_file(void)
{
	munmap(mapped, SIZE);
	remove_file();
}

static void name_small(void)
{
	unsigned i;

	for (i = 0; i < SMALL; i++)
		file_name(small[i], sizeof(small[i]), i);
	fd = make_dir("small");
}

static void make_small(void)
{
	unsigned i;

	name_small();
	for (i = 0; i < SMALL; i++)
		make_file(fd, small[i], 8 * KIB);
}

static void settled_small(void)
{
	make_small();
	settle();
}

static void remove_small(void)
{
	unsigned i;

	for (i = 0; i < SMALL; i++)
		unlinkat(fd, small[i], 0);
	close(fd);
	if (rmdir("small"))
		die("rmdir small");
}

/* ---- operations ---- */

static int op_append(unsigned i, size_t len)
{
	return pwrite(fd, buffer, len, (off_t)i * len) == (ssize_t)len ? 0 : -1;
}

static int op_write_1k(unsigned i) { return op_append(i, KIB); }
static int op_write_4k(unsigned i) { return op_append(i, BLOCK); }
static int op_write_64k(unsigned i) { return op_append(i, 64 * KIB); }
static int op_write_1m(unsigned i) { return op_append(i, MIB); }

static int op_write_back(unsigned i)
{
	(void)i;
	return syncfs(fd);
}

static int op_append_fsync(unsigned i)
{
	return op_append(i, BLOCK) || fsync(fd) ? -1 : 0;
}

static int op_write_hole(unsigned i)
{
	return pwrite(fd, buffer, BLOCK, scattered(i)) == (ssize_t)BLOCK ? 0 : -1;
}

static int op_fault(unsigned i)
{
	*(volatile unsigned char *)(mapped + (size_t)i * BLOCK) = 2;
	return 0;
}

static int op_direct(unsigned i)
{
	return pwrite(fd, aligned, BLOCK, (off_t)i * BLOCK) == (ssize_t)BLOCK ? 0 : -1;
}

static int op_fallocate(unsigned i)
{
	return fallocate(fd, 0, (off_t)i * PART, PART);
}

static int op_punch(unsigned i)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)i * PART + PART / 4, PART / 2);
}

static int op_create_8k(unsigned i)
{
	int file = openat(fd, small[i], O_CREAT | O_EXCL | O_WRONLY, 0644);

	if (file < 0 || write(file, buffer, 8 * KIB) != (ssize_t)(8 * KIB))
		return -1;
	return close(file);
}

static int op_unlink_8k(unsigned i)
{
	return unlinkat(fd, small[i], 0);
}

static void end_sync(void)
{
	if (syncfs(fd))
		die("syncfs");
}

#define WRITE(name, unit, prepare, op, batch, units, end, cleanup, series) \
	{ name, unit, NULL, prepare, op, batch, units, end, cleanup, series }

const struct row write_rows[] = {
	WRITE("1k write", "call", new_file, op_write_1k, 4096, 4096, NULL, remove_file, 100),
	WRITE("4k write", "call", new_file, op_write_4k, BLOCKS, BLOCKS, NULL, remove_file, 101),
	WRITE("64k write", "call", new_file, op_write_64k, 256, 256, NULL, remove_file, 102),
	WRITE("1M write", "call", new_file, op_write_1m, 16, 16, NULL, remove_file, 103),
	WRITE("4k overwrite", "call", settled_file, op_write_4k, BLOCKS, BLOCKS, NULL, remove_file, 104),
	WRITE("writeback", "MiB", full_file, op_write_back, 1, SIZE / MIB, NULL, remove_file, 105),
	WRITE("4k append+fsync", "pair", new_on_disk, op_append_fsync, 256, 256, NULL, remove_file, 106),
	WRITE("4k into holes", "call", hole_file, op_write_hole, BLOCKS / 4, BLOCKS / 4, NULL, remove_file, 107),
	WRITE("writeback of holes", "MiB", holes_to_write, op_write_back, 1, SIZE / 4 / MIB, NULL, remove_file, 108),
	WRITE("mmap write fault", "page", mapped_file, op_fault, BLOCKS, BLOCKS, NULL, unmap_file, 109),
	WRITE("direct 4k overwrite", "call", settled_direct, op_direct, 2048, 2048, NULL, remove_file, 110),
	WRITE("direct 4k append", "call", new_direct, op_direct, 1024, 1024, NULL, remove_file, 111),
	WRITE("fallocate 256k", "call", new_file, op_fallocate, SIZE / PART, SIZE / PART, NULL, remove_file, 112),
	WRITE("punch 128k", "call", settled_file, op_punch, SIZE / PART, SIZE / PART, NULL, remove_file, 113),
	WRITE("create+8k write", "file", name_small, op_create_8k, SMALL, SMALL, NULL, remove_small, 114),
	WRITE("sync of 8k files", "file", make_small, op_write_back, 1, SMALL, NULL, remove_small, 115),
	WRITE("unlink 8k", "file", settled_small, op_unlink_8k, SMALL, SMALL, end_sync, remove_small, 116),
};
const unsigned write_row_count = sizeof(write_rows) / sizeof(*write_rows);
