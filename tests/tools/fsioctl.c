// SPDX-License-Identifier: GPL-2.0
/*
 * fsioctl: what a file answers to the ioctls of ext4, as one line of text that does not depend on
 * where or when it runs, so that two drivers can be compared.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/fsmap.h>
#include <linux/fsverity.h>

#include "hash.h"

#define EXT4_IOC_GETVERSION _IOR('f', 3, long)
#define EXT4_IOC_SETVERSION _IOW('f', 4, long)
#define EXT4_IOC_MIGRATE _IO('f', 9)
#define EXT4_IOC_ALLOC_DA_BLKS _IO('f', 12)
#define EXT4_IOC_PRECACHE_EXTENTS _IO('f', 18)
struct fsuuid_head {
	uint32_t len, flags;
};

#define EXT4_IOC_CHECKPOINT _IOW('f', 43, uint32_t)
#define EXT4_IOC_GETFSUUID _IOR('f', 44, struct fsuuid_head)
#define IOC32_GETVERSION _IOR('v', 1, int)

static int fd;

static void status(const char *what, long ret)
{
	printf("%s=%s ", what, ret < 0 ? strerrorname_np(errno) : "ok");
}

static void hashed(const char *what, long ret, const void *bytes, size_t len)
{
	if (ret < 0)
		status(what, ret);
	else
		printf("%s=%ld/%016llx ", what, ret,
		       (unsigned long long)mix(MIX_SEED, bytes, len));
}

static void number(const char *what, unsigned long cmd)
{
	int n = 0;
	long ret = ioctl(fd, cmd, &n);

	hashed(what, ret, &n, sizeof(n));
}

static void verity(void)
{
	static unsigned char buf[1 << 16];
	struct {
		struct fsverity_digest head;
		unsigned char digest[64];
	} digest = { .head.digest_size = 64 };
	struct fsverity_read_metadata_arg arg = { 0 };
	struct fsverity_enable_arg enable = { .version = 1, .hash_algorithm = 1, .block_size = 4096 };
	static const char *const names[] = { "", "tree", "descriptor", "signature" };
	long ret = ioctl(fd, FS_IOC_MEASURE_VERITY, &digest);

	hashed("measure", ret, digest.digest, ret < 0 ? 0 : digest.head.digest_size);
	digest.head.digest_size = 4;
	status("measure-small", ioctl(fd, FS_IOC_MEASURE_VERITY, &digest));
	for (unsigned i = 1; i < 4; i++) {
		arg = (struct fsverity_read_metadata_arg){
			.metadata_type = i, .length = sizeof(buf), .buf_ptr = (uintptr_t)buf,
		};
		ret = ioctl(fd, FS_IOC_READ_VERITY_METADATA, &arg);
		hashed(names[i], ret, buf, ret < 0 ? 0 : (size_t)ret);
	}
	arg.metadata_type = 9;
	status("metadata-unknown", ioctl(fd, FS_IOC_READ_VERITY_METADATA, &arg));
	status("enable", ioctl(fd, FS_IOC_ENABLE_VERITY, &enable));
}

/* Of extents only whether there are any: drivers may split one as they like; census compares them whole. */
static void fiemap(const char *what, uint64_t start, uint64_t len, uint32_t flags)
{
	struct {
		struct fiemap head;
		struct fiemap_extent extents[4];
	} map = { .head = { .fm_start = start, .fm_length = len, .fm_flags = flags, .fm_extent_count = 4 } };
	long ret = ioctl(fd, FS_IOC_FIEMAP, &map);

	if (ret < 0)
		status(what, ret);
	else
		printf("%s=%s ", what, map.head.fm_mapped_extents ? "extents" : "none");
}

static void fibmap(const char *what, int block)
{
	long ret = ioctl(fd, FIBMAP, &block);

	hashed(what, ret, &block, sizeof(block));
}

static int ask(void)
{
	struct fsxattr fsx = { 0 };
	struct {
		uint32_t len, flags;
		unsigned char uuid[16];
	} uuid = { 0 };
	char label[FSLABEL_MAX] = "";
	long n = 0, ret;

	number("version", FS_IOC_GETVERSION);
	number("version-ext4", EXT4_IOC_GETVERSION);
	status("setversion", ioctl(fd, EXT4_IOC_SETVERSION, &n));
	number("flags", FS_IOC_GETFLAGS);
	ret = ioctl(fd, FS_IOC_FSGETXATTR, &fsx);
	hashed("xattr", ret, &fsx, sizeof(fsx));
	status("setxattr", ioctl(fd, FS_IOC_FSSETXATTR, &fsx));
	ret = ioctl(fd, FS_IOC_GETFSLABEL, label);
	hashed("label", ret, label, sizeof(label));
	status("setlabel", ioctl(fd, FS_IOC_SETFSLABEL, label));
	ret = ioctl(fd, EXT4_IOC_GETFSUUID, &uuid);
	hashed("uuid-length", ret, &uuid, 8);
	ret = ioctl(fd, EXT4_IOC_GETFSUUID, &uuid);
	hashed("uuid", ret, &uuid, sizeof(uuid));
	uuid.len = 15;
	status("uuid-short", ioctl(fd, EXT4_IOC_GETFSUUID, &uuid));
	uuid.len = 16;
	uuid.flags = 1;
	status("uuid-flags", ioctl(fd, EXT4_IOC_GETFSUUID, &uuid));
	status("precache", ioctl(fd, EXT4_IOC_PRECACHE_EXTENTS));
	fibmap("bmap-0", 0);
	fibmap("bmap-3", 3);
	fibmap("bmap-far", 0x7ffffff0);
	fibmap("bmap-negative", -1);
	fiemap("fiemap-cache", 0, ~0ULL, FIEMAP_FLAG_CACHE);
	fiemap("fiemap-xattr", 0, ~0ULL, FIEMAP_FLAG_XATTR);
	fiemap("fiemap-unknown", 0, ~0ULL, 0x80);
	fiemap("fiemap-nothing", 0, 0, 0);
	/* Around the ends of what block maps of 1k and 4k, extents and the VFS can address. */
	for (int bits = 33; bits < 64; bits++) {
		char what[32];

		snprintf(what, sizeof(what), "fiemap-2^%d", bits);
		fiemap(what, 1ULL << bits, 4096, 0);
	}
	verity();
	status("unknown", ioctl(fd, _IO('f', 99)));
	status("not-a-device", ioctl(fd, _IO(0x12, 96), &n));
	putchar('\n');
	return 0;
}

/* FS_IOC_GETFSMAP with arguments that are odd. */
static void fsmap_with(const char *what, void (*change)(struct fsmap_head *))
{
	static struct {
		struct fsmap_head head;
		struct fsmap records[3];
	} map;
	long ret;

	memset(&map, 0, sizeof(map));
	map.head.fmh_count = 3;
	memset(&map.head.fmh_keys[1], 0xff, offsetof(struct fsmap, fmr_reserved));
	if (change)
		change(&map.head);
	ret = ioctl(fd, FS_IOC_GETFSMAP, &map);
	hashed(what, ret, &map, ret < 0 ? 0 : sizeof(map));
	printf("entries=%u ", ret < 0 ? 0 : map.head.fmh_entries);
}

static void flags(struct fsmap_head *head) { head->fmh_iflags = 1; }
static void reserved(struct fsmap_head *head) { head->fmh_reserved[5] = 1; }
static void reserved_low(struct fsmap_head *head) { head->fmh_keys[0].fmr_reserved[2] = 1; }
static void reserved_high(struct fsmap_head *head) { head->fmh_keys[1].fmr_reserved[0] = 1; }
static void offset_low(struct fsmap_head *head) { head->fmh_keys[0].fmr_offset = 1; }
static void offset_high(struct fsmap_head *head) { head->fmh_keys[1].fmr_offset = 4096; }
static void offset_zero(struct fsmap_head *head) { head->fmh_keys[1].fmr_offset = 0; }
static void device_low(struct fsmap_head *head) { head->fmh_keys[0].fmr_device = 0xfedcba; }
static void device_high(struct fsmap_head *head) { head->fmh_keys[1].fmr_device = 0xfedcba; }
static void device_zero(struct fsmap_head *head) { head->fmh_keys[1].fmr_device = 0; }
static void only_count(struct fsmap_head *head) { head->fmh_count = 0; }
static void one(struct fsmap_head *head) { head->fmh_count = 1; }

static void behind(struct fsmap_head *head)
{
	struct stat st;

	/* C ext4 starts from 0 on a device whose number is above that of the key. */
	if (!fstat(fd, &st))
		head->fmh_keys[0].fmr_device = st.st_dev;
	head->fmh_keys[0].fmr_physical = 1ULL << 50;
}

static void again(struct fsmap_head *head) { head->fmh_keys[0].fmr_length = 1 << 20; }

static void wrong_order(struct fsmap_head *head)
{
	head->fmh_keys[0].fmr_physical = 1 << 20;
	head->fmh_keys[1].fmr_device = 0;
	head->fmh_keys[1].fmr_physical = 1 << 19;
}

static void fsmap(void)
{
	fsmap_with("all", NULL);
	fsmap_with("flags", flags);
	fsmap_with("reserved", reserved);
	fsmap_with("reserved-low", reserved_low);
	fsmap_with("reserved-high", reserved_high);
	fsmap_with("offset-low", offset_low);
	fsmap_with("offset-high", offset_high);
	fsmap_with("offset-zero", offset_zero);
	fsmap_with("device-low", device_low);
	fsmap_with("device-high", device_high);
	fsmap_with("device-zero", device_zero);
	fsmap_with("count", only_count);
	fsmap_with("one", one);
	fsmap_with("behind", behind);
	fsmap_with("again", again);
	fsmap_with("order", wrong_order);
	status("nowhere", ioctl(fd, FS_IOC_GETFSMAP, (void *)1));
	putchar('\n');
}

/* Flags that do nothing, or must not be; then the journal is emptied, and overwritten. */
static void checkpoint(void)
{
	char name[] = "flags-0";
	uint32_t flags;

	for (flags = 3; flags < 10; flags++) {
		name[6] = (char)('0' + flags);
		status(name, ioctl(fd, EXT4_IOC_CHECKPOINT, &flags));
	}
	status("nowhere", ioctl(fd, EXT4_IOC_CHECKPOINT, (void *)1));
	flags = 0;
	status("empty", ioctl(fd, EXT4_IOC_CHECKPOINT, &flags));
	flags = 2;
	status("zeroed", ioctl(fd, EXT4_IOC_CHECKPOINT, &flags));
	putchar('\n');
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fputs("usage: fsioctl ask | precache | cache | version32 | fsmap | checkpoint | alloc | migrate FILE\n", stderr);
		return 2;
	}
	fd = open(argv[2], O_RDONLY);
	if (fd < 0) {
		perror(argv[2]);
		return 1;
	}
	if (!strcmp(argv[1], "ask"))
		return ask();
	if (!strcmp(argv[1], "version32")) {
		/* Guests run no 32-bit programs; the number is theirs, and it is the same handler. */
		int n = 0;

		if (ioctl(fd, IOC32_GETVERSION, &n)) {
			perror(argv[2]);
			return 1;
		}
		printf("%u\n", (unsigned)n);
		return 0;
	}
	if (!strcmp(argv[1], "cache")) {
		fiemap("fiemap-cache", 0, ~0ULL, FIEMAP_FLAG_CACHE);
		putchar('\n');
		return 0;
	}
	if (!strcmp(argv[1], "fsmap")) {
		fsmap();
		return 0;
	}
	if (!strcmp(argv[1], "checkpoint")) {
		checkpoint();
		return 0;
	}
	if (ioctl(fd, !strcmp(argv[1], "precache") ? EXT4_IOC_PRECACHE_EXTENTS :
		      !strcmp(argv[1], "alloc")	   ? EXT4_IOC_ALLOC_DA_BLKS :
		      !strcmp(argv[1], "migrate")  ? EXT4_IOC_MIGRATE : 0)) {
		perror(argv[2]);
		return 1;
	}
	return 0;
}
