// SPDX-License-Identifier: GPL-2.0
/* File contents: sizes where the format changes, holes, and trees of every depth within reach. */
#include "fill.h"

#include <linux/fsverity.h>

/* Below, at and above a size. */
static void around(const char *name, uint64_t size)
{
	for (int d = -1; d <= 1; d++)
		file_of(fmt("files/%s%+d", name, d), size + (uint64_t)(int64_t)d);
}

static void verity(const char *path, uint64_t len)
{
	struct fsverity_enable_arg arg = { .version = 1, .hash_algorithm = 1, .salt_size = 0 };
	int fd;

	file_of(path, len);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return cannot("open", path);
	arg.block_size = par.bs < 4096 ? par.bs : 4096;
	TRY(ioctl(fd, FS_IOC_ENABLE_VERITY, &arg), path);
	close(fd);
}

void fill_files(void)
{
	/* Inline data ends where the inode does: in-inode xattr space by inode size. */
	static const unsigned int inline_sizes[] = { 59, 60, 61, 95, 96, 128, 132, 156, 160, 164,
						     400, 412, 420, 700, 900, 924, 940 };
	int fd;

	make_dir("files");
	touch("files/empty");
	file_of("files/one", 1);
	for (size_t i = 0; i < sizeof(inline_sizes) / sizeof(*inline_sizes); i++)
		file_of(fmt("files/inline-%u", inline_sizes[i]), inline_sizes[i]);
	/* A small file that grew out of its inode, and one that was cut down again. */
	fd = make("files/grown");
	put_data(fd, "files/grown", 0, 40);
	fsync(fd);
	put_data(fd, "files/grown", 40, 3000);
	close(fd);
	fd = make("files/cut");
	put_data(fd, "files/cut", 0, 50);
	fsync(fd);
	TRY(ftruncate(fd, 20), "files/cut");
	TRY(ftruncate(fd, 45), "files/cut");
	close(fd);
	around("block", par.bs);
	around("page", 4096);
	around("twelve", 12ull * par.bs);
	around("128k", 131072);
	file_of("files/1m", 1 << 20);
	file_of("files/3m", (3 << 20) + 777);
	/* Written in a row of small appends with syncs between: several extents or one. */
	fd = make("files/appended");
	for (unsigned int i = 0; i < 40; i++) {
		put_data(fd, "files/appended", i * 700ull, 700);
		if (i % 8 == 0)
			fsync(fd);
	}
	close(fd);
	fd = make("files/only-size");
	TRY(ftruncate(fd, 10000000), "files/only-size");
	close(fd);
	if (par.verity) {
		make_dir("verity");
		verity("verity/0", 0);
		verity("verity/1", 1);
		verity("verity/block", par.bs);
		verity("verity/5000", 5000);
		verity("verity/1m", 1 << 20);
	}
}

/* Writes one block of data at each of the boundaries of an indirect-mapped file. */
static void boundaries(const char *path)
{
	uint64_t a = par.bs / 4, at[] = { 0, 11, 12, 12 + a - 1, 12 + a, 12 + 2 * a,
		12 + a + a * a - 1, 12 + a + a * a, 12 + a + a * a + a, 12 + a + 2 * a * a,
		12 + a + a * a + a * a * a - 1 };
	int fd = make(path);

	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++)
		if (at[i] <= UINT32_MAX)
			put_data(fd, path, at[i] * par.bs, par.bs);
	close(fd);
}

static void punched(const char *path)
{
	int fd = make(path);

	put_data(fd, path, 0, 120ull * par.bs);
	fsync(fd);
	for (unsigned int i = 1; i < 120; i += 2)
		TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)i * par.bs,
			      par.bs), path);
	/* Within a block: zeroed, not freed. */
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 200), path);
	close(fd);
}

static void unwritten(const char *path)
{
	int fd = make(path);

	TRY(fallocate(fd, 0, 0, 200ll * par.bs), path);
	for (unsigned int i = 3; i < 200; i += 17)
		put_data(fd, path, (uint64_t)i * par.bs + 5, par.bs / 2);
	close(fd);
	fd = make(fmt("%s-tail", path));
	put_data(fd, path, 0, 3000);
	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 50ll * par.bs), path);
	close(fd);
	fd = make(fmt("%s-zero", path));
	put_data(fd, path, 0, 64ull * par.bs);
	fsync(fd);
	TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE, 7ll * par.bs + 3, 20ll * par.bs), path);
	close(fd);
	fd = make(fmt("%s-inserted", path));
	put_data(fd, path, 0, 40ull * par.bs);
	fsync(fd);
	TRY(fallocate(fd, FALLOC_FL_INSERT_RANGE, 8ll * par.bs, 16ll * par.bs), path);
	TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 32ll * par.bs, 8ll * par.bs), path);
	close(fd);
	/* Longer than one unwritten extent may be (32767 blocks), where there is room for it. */
	fd = make(fmt("%s-long", path));
	if (par.bs <= 1024)
		TRY(fallocate(fd, 0, 0, 33000ll * par.bs), path);
	close(fd);
}

/* Data at the far end of what the format can address. */
static void far(void)
{
	static const uint64_t at[] = { 1ull << 31, 1ull << 32, 1ull << 34, 1ull << 41,
				       (1ull << 44) - (1 << 20) };
	const char *path = "extents/far";
	int fd = make(path);

	put_data(fd, path, 0, 10);
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++)
		put_data(fd, path, at[i] - 100, 300);
	close(fd);
	path = "extents/last-block";
	fd = make(path);
	put_data(fd, path, 0xfffffffeull * par.bs, par.bs);
	close(fd);
	path = "extents/largest-hole";
	fd = make(path);
	/* Whichever of the format's limits is the first to be accepted. */
	if (ftruncate(fd, (off_t)(0xffffffffull * par.bs)) && ftruncate(fd, 1ll << 41))
		TRY(ftruncate(fd, 17ll << 30), path);
	close(fd);
}

void fill_extents(void)
{
	const char *path = "extents/deep";
	int fd, flags = 0;

	make_dir("extents");
	boundaries("extents/boundaries");
	punched("extents/punched");
	unwritten("extents/unwritten");
	far();
	/* One block in two, in an order that keeps neighbours from merging into one extent. */
	fd = make(path);
	for (unsigned int i = 0; i < par.extents; i++) {
		uint64_t slot = i % 2 ? par.extents - i : i;

		put_data(fd, path, slot * 2 * par.bs, par.bs);
		if (i % 512 == 511)
			fsync(fd);
	}
	close(fd);
	/* Two files growing in turns, so that neither is contiguous. */
	for (int i = 0; i < 12; i++) {
		for (int f = 0; f < 2; f++) {
			path = fmt("extents/turns-%d", f);
			fd = make(path);
			put_data(fd, path, (uint64_t)i * par.bs * 3, par.bs * 3);
			fsync(fd);
			close(fd);
		}
	}
	/* An extent-mapped file converted to indirect pointers (chattr -e) and the other way. */
	path = "extents/mapped-otherwise";
	file_of(path, 5ull * par.bs);
	fd = make(path);
	fsync(fd);
	if (!TRY(ioctl(fd, FS_IOC_GETFLAGS, &flags), path)) {
		flags ^= FS_EXTENT_FL;
		TRY(ioctl(fd, FS_IOC_SETFLAGS, &flags), path);
	}
	close(fd);
}
