// SPDX-License-Identifier: GPL-2.0
/*
 * direct.so: makes a program go past the page cache, now and then.
 *
 *     LD_PRELOAD=direct.so DIRECT_SEED=N DIRECT_LOG=FILE program ...
 *
 * Of every other pread(2) and pwrite(2) the part in the middle, from one multiple of 512 or 4096 bytes to another, is
 * done with O_DIRECT, what is before and behind it as ever: so programs that know nothing of O_DIRECT mix it with
 * all else that they do, at all offsets. What there was of it is added to the log, as 'N operations, N bytes'.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* Longer operations are left alone. */
static _Alignas(4096) char bounce[1 << 18];
static uint64_t state, operations, bytes;

static void __attribute__((constructor)) begin(void)
{
	const char *seed = getenv("DIRECT_SEED");

	state = ((seed ? strtoull(seed, NULL, 0) : 0) + 1) * 0x9e3779b97f4a7c15;
}

static void __attribute__((destructor)) end(void)
{
	const char *name = getenv("DIRECT_LOG");
	FILE *log = name ? fopen(name, "a") : NULL;

	if (log) {
		fprintf(log, "%ju operations, %ju bytes\n", (uintmax_t)operations, (uintmax_t)bytes);
		fclose(log);
	}
}

static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 33;
}

static ssize_t plain(bool write, int fd, char *buf, size_t len, off_t at)
{
	return write ? syscall(SYS_pwrite64, fd, buf, len, at) : syscall(SYS_pread64, fd, buf, len, at);
}

static ssize_t direct(bool write, int fd, char *buf, size_t len, off_t at)
{
	int flags = fcntl(fd, F_GETFL), error;
	ssize_t n;

	if (write)
		memcpy(bounce, buf, len);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT))
		return -1;
	n = plain(write, fd, bounce, len, at);
	error = errno;
	fcntl(fd, F_SETFL, flags);
	errno = error;
	if (n <= 0)
		return n;
	if (!write)
		memcpy(buf, bounce, (size_t)n);
	operations++;
	bytes += (uint64_t)n;
	return n;
}

static ssize_t mixed(bool write, int fd, char *buf, size_t len, off_t at)
{
	const off_t unit = draw() % 4 ? 4096 : 512;
	const off_t from = (at + unit - 1) / unit * unit, to = (at + (off_t)len) / unit * unit;
	const off_t ends[] = { from, to, at + (off_t)len };
	off_t pos = at;

	if (draw() % 2 || from >= to || (size_t)(to - from) > sizeof(bounce))
		return plain(write, fd, buf, len, at);
	for (int part = 0; part < 3; part++) {
		bool past = part == 1;

		while (pos < ends[part]) {
			size_t left = (size_t)(ends[part] - pos);
			ssize_t n = (past ? direct : plain)(write, fd, buf + (pos - at), left, pos);

			if (n < 0)
				return pos > at ? pos - at : -1;
			if (n == 0)
				return pos - at;
			pos += n;
			/* The rest of a short one need not be aligned. */
			past = false;
		}
	}
	return pos - at;
}

ssize_t pread64(int fd, void *buf, size_t len, off_t at)
{
	return mixed(false, fd, buf, len, at);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t at)
{
	return mixed(true, fd, (char *)buf, len, at);
}
