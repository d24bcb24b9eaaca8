/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of fill share; fill.c says what the program is. */
#ifndef REXT4_TOOLS_FILL_H
#define REXT4_TOOLS_FILL_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#include <linux/falloc.h>
#include <linux/fs.h>

struct parameters {
	uint64_t seed;
	unsigned int names;	/* names in the larger directories */
	unsigned int bulk;	/* small files in the bulk tree */
	unsigned int big;	/* MiB of the big file */
	unsigned int extents;	/* blocks written with gaps, for a deep extent tree */
	uint32_t bs;		/* file system block size, bytes */
	unsigned int crowd;	/* links to one file, with long names in one directory */
	bool verity;
};

extern struct parameters par;

uint64_t rnd(void);
uint32_t below(uint32_t n);

/*
 * Reports a failed call. Errors that say "this file system cannot do that" (no such feature, too
 * big, too long, too many) are counted and listed at the end; any other makes fill fail.
 */
void cannot(const char *what, const char *path);
#define TRY(call, path) ((call) < 0 ? (cannot(#call, path), -1) : 0)

/* Formats a path into one of a few static buffers, good for one expression. */
const char *fmt(const char *f, ...) __attribute__((format(printf, 1, 2)));
void make_dir(const char *path);
/* Opens (creates) a file for writing; exits if it cannot. */
int make(const char *path);
void touch(const char *path);
/* Writes len pseudo-random bytes at off. */
void put_data(int fd, const char *path, uint64_t off, uint64_t len);
void file_of(const char *path, uint64_t len);

void fill_names(void);
void fill_crowd(void);
void fill_files(void);
void fill_extents(void);
void fill_inodes(void);
void fill_xattrs(void);
void fill_bulk(void);

#endif
