/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of fsbench share; fsbench.c says what it does. */
#ifndef FSBENCH_H
#define FSBENCH_H

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>

#define KIB 1024u
#define MIB (1024u * KIB)
#define BIG_SIZE (32 * MIB)		/* the file that is read */
#define DIRS 12u			/* directories whose files are looked up cold, */
#define FILES 1000u			/* and how many files each has */
#define ENTRIES 20000u			/* in the directory that is listed */

/* A row of the table. What is counted is `op(0)` to `op(batch - 1)`, and `end` after them. */
struct row {
	const char *name;
	const char *unit;
	void (*setup)(void);		/* once */
	void (*prepare)(void);		/* before every batch, not counted */
	int (*op)(unsigned i);		/* 0, or -1 and errno */
	unsigned batch;			/* operations in a batch */
	unsigned units;			/* units in a batch */
	void (*end)(void);
	void (*cleanup)(void);		/* after every batch, not counted */
	int series;			/* see `change_rows` */
};

/* Rows of reading; each stands for itself. */
extern const struct row read_rows[];
extern const unsigned read_row_count;
/*
 * Rows of changes. Those with the same `series` run one after the other, each on what the one before
 * has left, and then from the start again.
 */
extern const struct row change_rows[];
extern const unsigned change_row_count;
/* Rows that write contents, in the same way. */
extern const struct row write_rows[];
extern const unsigned write_row_count;
void prepare_changes(void);		/* once, before all of them */
void finish_changes(void);

/* `fsbench threads`, after the change of directory. */
int run_threads(unsigned files);

/* The file system that is being measured: where rows work, and what `remount` mounts. */
extern const char *device, *type, *dir;
void remount(void);
extern int fd;				/* the file or directory that a row works on */
extern unsigned char buffer[MIB];

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Names that do not sort as they were made, as those of a real directory. */
void file_name(char *name, size_t size, unsigned number);
int make_dir(const char *name);		/* an open directory */
void make_file(int at, const char *name, unsigned size);

#endif
