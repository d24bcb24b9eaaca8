// SPDX-License-Identifier: GPL-2.0
/*
 * stress: many readers of one tree at once, each checking what it reads.
 *
 *	usage: stress DIR SECONDS THREADS SEED
 *
 * First reads every regular file of the tree once and remembers a hash of each page. Then the
 * threads pick files at random and read random ranges (read, O_DIRECT, mmap), look names up,
 * list directories and read xattrs, comparing every page with its hash, while one more thread
 * drops the kernel's caches again and again. Prints what was done and every mismatch.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "hash.h"

#define PAGE 4096u
#define MAX_FILES 20000
#define MAX_SIZE (8u << 20)	/* bytes of a file that are remembered and read */
#define PIECE (1u << 18)

struct file {
	char *path;
	struct stat st;
	uint64_t *pages;
	uint32_t bytes;
};

static struct file *files;
static size_t count;
static atomic_bool stop;
static atomic_ulong reads, stats, lists, wrong;
static unsigned char zero_page[PAGE];

static void mismatch(const struct file *f, const char *how, uint64_t at)
{
	if (atomic_fetch_add(&wrong, 1) < 10)
		printf("mismatch: %s %s at %llu: %s\n", how, f->path, (unsigned long long)at,
		       strerror(errno));
}

static int remember(const char *path, const struct stat *st, int kind, struct FTW *w)
{
	struct file *f;
	unsigned char page[PAGE];
	int fd;

	(void)w;
	if (kind != FTW_F || !S_ISREG(st->st_mode) || count == MAX_FILES)
		return 0;
	f = &files[count++];
	f->path = strdup(path);
	f->st = *st;
	f->bytes = st->st_size < MAX_SIZE ? (uint32_t)st->st_size : MAX_SIZE;
	f->pages = calloc(f->bytes / PAGE + 1, sizeof(*f->pages));
	fd = open(path, O_RDONLY);
	for (uint32_t at = 0; at < f->bytes; at += PAGE) {
		uint32_t n = f->bytes - at < PAGE ? f->bytes - at : PAGE;

		memset(page, 0, sizeof(page));
		if (pread(fd, page, n, at) != n) {
			mismatch(f, "first read", at);
			break;
		}
		f->pages[at / PAGE] = mix(MIX_SEED, page, PAGE);
	}
	close(fd);
	return 0;
}

/* Compares the whole pages (and the last partial one) of data, which begins at `at`. */
static void check(const struct file *f, const char *how, uint32_t at, unsigned char *data,
		  uint32_t len)
{
	for (uint32_t p = (at + PAGE - 1) / PAGE * PAGE; p < at + len; p += PAGE) {
		uint32_t n = at + len - p;
		unsigned char page[PAGE];

		if (n < PAGE && p + n != f->bytes)
			break;
		if (n < PAGE) {
			memset(page, 0, PAGE);
			memcpy(page, data + (p - at), n);
		} else {
			memcpy(page, data + (p - at), PAGE);
		}
		if (mix(MIX_SEED, page, PAGE) != f->pages[p / PAGE]) {
			errno = memcmp(page, zero_page, PAGE) ? EUCLEAN : ENODATA;
			mismatch(f, how, p);
		}
	}
}

static void one_read(const struct file *f, uint64_t r, unsigned char *buf)
{
	uint32_t at = f->bytes ? (uint32_t)((r >> 8) % f->bytes) : 0;
	uint32_t len = 1 + (uint32_t)((r >> 40) % PIECE);
	int how = r & 7, fd;

	if (len > f->bytes - at)
		len = f->bytes - at;
	if (!len)
		return;
	if (how >= 6) {
		at = at / 65536 * 65536;
		fd = open(f->path, O_RDONLY | O_DIRECT);
		if (fd >= 0) {
			ssize_t n = pread(fd, buf, PIECE, at);
			uint32_t expect = f->st.st_size - at < PIECE ?
					  (uint32_t)(f->st.st_size - at) : PIECE;

			if (n < 0 || (uint32_t)n != expect)
				mismatch(f, "direct", at);
			else if (at + (uint32_t)n <= f->bytes)
				check(f, "direct", at, buf, (uint32_t)n);
			close(fd);
		}
	} else if (how >= 4) {
		fd = open(f->path, O_RDONLY);
		at = at / PAGE * PAGE;
		unsigned char *p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, at);

		if (p == MAP_FAILED) {
			mismatch(f, "mmap", at);
		} else {
			check(f, "mmap", at, p, len);
			munmap(p, len);
		}
		close(fd);
	} else {
		fd = open(f->path, O_RDONLY);
		if (pread(fd, buf, len, at) != len)
			mismatch(f, "read", at);
		else
			check(f, "read", at, buf, len);
		close(fd);
	}
	atomic_fetch_add(&reads, 1);
}

static void *reader(void *arg)
{
	uint64_t state = (uintptr_t)arg;
	unsigned char *buf;

	if (posix_memalign((void **)&buf, PAGE, PIECE))
		abort();
	while (!atomic_load(&stop)) {
		uint64_t r = state = mix_u64(state, 0x1234567);
		const struct file *f = &files[(r >> 20) % count];
		struct stat st;
		char list[4096];

		r ^= r >> 29;
		if (r % 4 == 0) {
			if (lstat(f->path, &st) || st.st_ino != f->st.st_ino ||
			    st.st_size != f->st.st_size || st.st_blocks != f->st.st_blocks ||
			    st.st_nlink != f->st.st_nlink || st.st_mtim.tv_nsec != f->st.st_mtim.tv_nsec)
				mismatch(f, "stat", 0);
			if (llistxattr(f->path, list, sizeof(list)) < 0 && errno != ERANGE)
				mismatch(f, "listxattr", 0);
			atomic_fetch_add(&stats, 1);
		} else if (r % 64 == 1) {
			char *dir = strdup(f->path), *slash = strrchr(dir, '/');
			DIR *d;
			int found = 0;

			*slash = 0;
			d = opendir(dir);
			for (struct dirent *e; d && (e = readdir(d));)
				found |= e->d_ino == f->st.st_ino && !strcmp(e->d_name, slash + 1);
			if (!found)
				mismatch(f, "readdir", 0);
			if (d)
				closedir(d);
			free(dir);
			atomic_fetch_add(&lists, 1);
		} else {
			one_read(f, r, buf);
		}
	}
	free(buf);
	return NULL;
}

static void *dropper(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; !atomic_load(&stop); i++) {
		int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

		if (fd < 0 || write(fd, i % 4 ? "1" : "3", 1) != 1) {
			perror("drop_caches");
			return NULL;
		}
		close(fd);
		usleep(30000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[65];
	unsigned int n, seconds;

	if (argc != 5)
		return 2;
	seconds = (unsigned int)strtoul(argv[2], NULL, 0);
	n = (unsigned int)strtoul(argv[3], NULL, 0);
	files = calloc(MAX_FILES, sizeof(*files));
	if (!files || n < 1 || n > 64 || nftw(argv[1], remember, 64, FTW_PHYS) || !count) {
		perror(argv[1]);
		return 1;
	}
	pthread_create(&threads[n], NULL, dropper, NULL);
	for (unsigned int i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, reader,
			       (void *)(uintptr_t)mix_u64(strtoull(argv[4], NULL, 0), i));
	sleep(seconds);
	atomic_store(&stop, 1);
	for (unsigned int i = 0; i <= n; i++)
		pthread_join(threads[i], NULL);
	printf("files=%zu reads=%lu stats=%lu lists=%lu mismatches=%lu\n", count, reads, stats,
	       lists, wrong);
	return wrong ? 1 : 0;
}
