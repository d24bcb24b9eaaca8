/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of census share; census.c says what the program is. */
#ifndef REXT4_TOOLS_CENSUS_H
#define REXT4_TOOLS_CENSUS_H

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/stat.h>

#include "hash.h"

struct options {
	bool data;		/* read contents */
	bool direct;		/* ... also through O_DIRECT */
	bool map;		/* ... also through mmap */
	bool sha;		/* ... with SHA-256 beside the fast hash */
	bool extents;		/* SEEK_DATA/HOLE, FIEMAP, FIBMAP */
	bool handles;		/* name_to_handle_at and back */
	bool xattrs;
	bool cookies;		/* d_off values, seekdir, readdir with a small buffer */
	bool btime;
	bool times;
	bool portable;		/* only what does not depend on where things are and when they changed */
	bool full;		/* print whole lists, where otherwise count and hash do */
	bool quiet;		/* walk and read everything, print only the totals */
	uint64_t max_file;	/* bytes; larger files are read around their data and sampled */
	uint64_t max_bytes;	/* bytes read in all, then contents are skipped */
	uint64_t max_objects;
	unsigned int max_depth;
	unsigned int max_seconds;
};

struct totals {
	uint64_t files, dirs, symlinks, others, bytes, xattrs, extents, errors;
	int odd;		/* the first errno that damage does not explain */
};

extern struct options opt;
extern struct totals total;
extern int root_fd;

/* The name of an errno value; counts it as an error that was met. */
const char *err_name(int err);
/* Prints " key=" and a printf text. */
void put(const char *key, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints " key=ERRNAME". */
void put_err(const char *key, int err);
/* Prints bytes with everything outside [0-9A-Za-z._-/:@+,] as \xx. */
void put_escaped(const char *bytes, size_t len);
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Whether the time allowed is over. */
bool out_of_time(void);

/* One directory entry, as getdents64 gave it. */
struct entry {
	uint64_t ino;
	int64_t off;
	unsigned char type;
	char *name;
};

struct listing {
	struct entry *e;
	size_t n;
	int err;
};

void listing_read(int fd, struct listing *l);
/* By name, for the order of which nothing else decides. */
void listing_sort(struct listing *l);
void listing_free(struct listing *l);
void census_dir(int fd, const struct listing *l);

void census_stat(int dir, const char *name, const struct statx *stx);
void census_flags(int fd);
void census_attr(int dir, const char *name);
void census_xattrs(int dir, const char *name);
void census_handles(int dir, const char *name, const struct statx *stx);
void census_fs(const char *path);

void census_extents(int fd, const struct statx *stx);
void census_data(int dir, const char *name, int fd, const struct statx *stx);

#endif
