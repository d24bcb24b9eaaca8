// SPDX-License-Identifier: GPL-2.0
/*
 * census: everything that can be seen of a mounted file system from user space, as text.
 *
 * Walks a tree in readdir order and prints one line per object. Two drivers that mount the same
 * image must give the same text, so that `cmp` of two censuses is the whole comparison. The
 * order of calls on an object is fixed and chosen so that what is asked early is not changed by
 * what is asked later: holes before contents, since reading may turn an unwritten extent into
 * data as far as SEEK_DATA can see.
 *
 * Nothing stops the walk: an error is part of the result (key=EUCLEAN), and every loop is
 * bounded, so that it also serves to walk damaged images.
 */
#include "census.h"

#include <getopt.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <time.h>

struct options opt = {
	.data = true, .direct = true, .map = true, .sha = true, .extents = true,
	.handles = true, .xattrs = true, .cookies = true, .btime = true, .times = true,
	.max_file = 64 << 20, .max_bytes = UINT64_MAX, .max_objects = UINT64_MAX,
	.max_depth = 256, .max_seconds = 0,
};
struct totals total;
int root_fd = -1;

static struct timespec started;
static uint64_t objects;
static bool gave_up;

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - started.tv_sec) +
	       (double)(now.tv_nsec - started.tv_nsec) / 1e9;
}

bool out_of_time(void)
{
	if (opt.max_seconds && seconds() > opt.max_seconds)
		gave_up = true;
	return gave_up;
}

const char *err_name(int err)
{
	const char *name = strerrorname_np(err);

	if (err != ENODATA && err != EOPNOTSUPP && err != ENOTTY)
		total.errors++;
	/* What damage may come to; the last few are what odd names, types, sizes and numbers of files do. */
	switch (err) {
	case ENODATA: case EOPNOTSUPP: case ENOTTY:
	case EUCLEAN: case EIO: case EBADMSG:
	case ENXIO: case ELOOP: case ENAMETOOLONG: case EOVERFLOW: case EACCES: case EPERM: case ENOENT: case EFBIG: case ESTALE:
	case EINVAL: /* of an ACL that makes no sense, as in C ext4 */
		break;
	default:
		if (!total.odd)
			total.odd = err;
	}
	return name ? name : "E?";
}

void say(const char *fmt, ...)
{
	va_list ap;

	if (opt.quiet)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
}

void put(const char *key, const char *fmt, ...)
{
	va_list ap;

	if (opt.quiet)
		return;
	putchar_unlocked(' ');
	fputs_unlocked(key, stdout);
	putchar_unlocked('=');
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
}

void put_err(const char *key, int err)
{
	put(key, "%s", err_name(err));
}

void put_escaped(const char *bytes, size_t len)
{
	static const char hex[] = "0123456789abcdef";

	if (opt.quiet)
		return;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		    (c && strchr("._-/:@+,", c))) {
			putchar_unlocked(c);
		} else {
			putchar_unlocked('\\');
			putchar_unlocked(hex[c >> 4]);
			putchar_unlocked(hex[c & 15]);
		}
	}
}

/* Inodes with several links whose contents have been read; a plain open-addressing set. */
static uint64_t *seen;
static size_t seen_size, seen_used;

static bool first_time(uint64_t ino)
{
	size_t at;

	if (seen_used * 2 >= seen_size) {
		size_t old_size = seen_size;
		uint64_t *old = seen;

		seen_size = old_size ? old_size * 2 : 1024;
		seen = calloc(seen_size, sizeof(*seen));
		if (!seen)
			abort();
		seen_used = 0;
		for (size_t i = 0; i < old_size; i++)
			if (old[i])
				first_time(old[i]);
		free(old);
	}
	for (at = mix_u64(1, ino) % seen_size; seen[at]; at = (at + 1) % seen_size)
		if (seen[at] == ino)
			return false;
	seen[at] = ino;
	seen_used++;
	return true;
}

struct level {
	const struct level *up;
	uint64_t ino;
	const char *path;
	unsigned int depth;
};

static void walk(const struct level *at, int fd);

static void object(const struct level *in, int dir, const struct entry *e)
{
	static const char types[] = "?pc?d?b?-?l?s???";
	struct statx stx;
	char *path;
	int fd = -1;
	char type;

	if (objects++ >= opt.max_objects || out_of_time())
		return;
	if (asprintf(&path, "%s/%s", in->path, e->name) < 0)
		abort();
	put_escaped(path, strlen(path));
	if (opt.cookies)
		put("off", "%llx", (long long)e->off);
	put("dt", "%u", e->type);
	if (!opt.portable)
		put("dino", "%llu", (unsigned long long)e->ino);
	if (statx(dir, e->name, AT_SYMLINK_NOFOLLOW | AT_STATX_SYNC_AS_STAT,
		  STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID | STATX_DIOALIGN |
		  0x10000 /* WRITE_ATOMIC */ | 0x20000 /* DIO_READ_ALIGN */, &stx)) {
		put_err("statx", errno);
		goto out;
	}
	type = types[(stx.stx_mode >> 12) & 15];
	put("type", "%c", type);
	census_stat(dir, e->name, &stx);
	census_attr(dir, e->name);
	if (opt.xattrs)
		census_xattrs(dir, e->name);
	if (opt.handles)
		census_handles(dir, e->name, &stx);
	if (type == '-' || type == 'd') {
		/* O_NONBLOCK in case a damaged inode turns out to be a FIFO after all. */
		fd = openat(dir, e->name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK |
			    O_CLOEXEC | (type == 'd' ? O_DIRECTORY : 0));
		if (fd < 0)
			put_err("open", errno);
		else
			census_flags(fd);
	}
	switch (type) {
	case '-':
		total.files++;
		if (fd < 0)
			break;
		if (stx.stx_nlink > 1 && !first_time(stx.stx_ino)) {
			put("data", "seen");
			break;
		}
		if (opt.extents)
			census_extents(fd, &stx);
		if (opt.data)
			census_data(dir, e->name, fd, &stx);
		break;
	case 'd':
		total.dirs++;
		if (fd >= 0 && opt.extents)
			census_extents(fd, &stx);
		break;
	case 'l':
		total.symlinks++;
		break;
	default:
		total.others++;
	}
out:
	say("\n");
	if (fd >= 0) {
		if (type == 'd') {
			struct level l = { in, stx.stx_ino, path, in->depth + 1 };
			const struct level *up = in;

			while (up && up->ino != l.ino)
				up = up->up;
			if (up)
				say("# %s: its own ancestor\n", path);
			else if (l.depth > opt.max_depth)
				say("# %s: too deep\n", path);
			else
				walk(&l, fd);
		}
		close(fd);
	}
	free(path);
}

static void walk(const struct level *at, int fd)
{
	struct listing l;

	listing_read(fd, &l);
	if (opt.portable)
		listing_sort(&l);
	if (!opt.quiet) {
		put_escaped(at->path, strlen(at->path));
		fputs("/:", stdout);
	}
	census_dir(fd, &l);
	say("\n");
	for (size_t i = 0; i < l.n && !out_of_time(); i++) {
		const char *name = l.e[i].name;

		if (strcmp(name, ".") && strcmp(name, ".."))
			object(at, fd, &l.e[i]);
	}
	listing_free(&l);
}

static void usage(void)
{
	fputs("usage: census [options] DIR\n"
	      "  --no-data --no-direct --no-mmap --no-sha --no-extents --no-handles\n"
	      "  --no-xattrs --no-cookies --no-btime --no-times  leave a part out\n"
	      "  --portable     only what two file systems with the same tree have in common\n"
	      "  --full         print lists in full (extents, holes, d_off samples)\n"
	      "  --quiet        read everything, print only the last line\n"
	      "  --max-file N   bytes; sample larger files (default 64 MiB)\n"
	      "  --max-bytes N --max-objects N --max-depth N --max-seconds N\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	enum { MAX_FILE = 1, MAX_BYTES, MAX_OBJECTS, MAX_DEPTH, MAX_SECONDS, QUIET, FULL, PORTABLE, OFF };
	static const char *const off_names[] = { "no-data", "no-direct", "no-mmap", "no-sha",
		"no-extents", "no-handles", "no-xattrs", "no-cookies", "no-btime", "no-times" };
	bool *const offs[] = { &opt.data, &opt.direct, &opt.map, &opt.sha, &opt.extents,
		&opt.handles, &opt.xattrs, &opt.cookies, &opt.btime, &opt.times };
	enum { OFFS = sizeof(offs) / sizeof(offs[0]) };
	struct option longs[OFFS + 9] = {
		{ "max-file", 1, NULL, MAX_FILE }, { "max-bytes", 1, NULL, MAX_BYTES },
		{ "max-objects", 1, NULL, MAX_OBJECTS }, { "max-depth", 1, NULL, MAX_DEPTH },
		{ "max-seconds", 1, NULL, MAX_SECONDS }, { "quiet", 0, NULL, QUIET },
		{ "full", 0, NULL, FULL },	    { "portable", 0, NULL, PORTABLE },
	};
	struct level top = { .path = "" };
	struct rlimit nofile = { 65536, 65536 };
	struct entry self = { .name = "." };
	struct statx stx;
	int c;

	for (int i = 0; i < OFFS; i++)
		longs[8 + i] = (struct option){ off_names[i], 0, NULL, OFF + i };
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case MAX_FILE: opt.max_file = strtoull(optarg, NULL, 0); break;
		case MAX_BYTES: opt.max_bytes = strtoull(optarg, NULL, 0); break;
		case MAX_OBJECTS: opt.max_objects = strtoull(optarg, NULL, 0); break;
		case MAX_DEPTH: opt.max_depth = (unsigned int)strtoul(optarg, NULL, 0); break;
		case MAX_SECONDS: opt.max_seconds = (unsigned int)strtoul(optarg, NULL, 0); break;
		case QUIET: opt.quiet = true; break;
		case FULL: opt.full = true; break;
		case PORTABLE:
			opt.portable = true;
			opt.handles = opt.extents = opt.cookies = opt.btime = false;
			break;
		default:
			if (c < OFF || c >= OFF + OFFS)
				usage();
			*offs[c - OFF] = false;
		}
	}
	if (optind + 1 != argc)
		usage();
	setrlimit(RLIMIT_NOFILE, &nofile);
	setvbuf(stdout, NULL, _IOFBF, 1 << 20);
	clock_gettime(CLOCK_MONOTONIC, &started);
	root_fd = open(argv[optind], O_RDONLY | O_DIRECTORY | O_NOATIME);
	if (root_fd < 0 || statx(root_fd, "", AT_EMPTY_PATH, STATX_INO, &stx)) {
		perror(argv[optind]);
		return 1;
	}
	/* The root directory is an object like others, though nothing names it. */
	total.dirs++;
	say("/ ");
	if (statx(root_fd, self.name, 0, STATX_BASIC_STATS | STATX_BTIME | STATX_DIOALIGN, &stx))
		put_err("statx", errno);
	else
		census_stat(root_fd, self.name, &stx);
	census_attr(root_fd, self.name);
	if (opt.xattrs)
		census_xattrs(root_fd, self.name);
	if (opt.handles)
		census_handles(root_fd, self.name, &stx);
	census_flags(root_fd);
	if (opt.extents)
		census_extents(root_fd, &stx);
	say("\n");
	top.ino = stx.stx_ino;
	walk(&top, root_fd);
	if (!opt.portable) {
		census_fs(argv[optind]);
		say("\n");
	}
	if ((opt.quiet || gave_up) && total.odd)
		printf("odd=%s ", strerrorname_np(total.odd));
	if (opt.quiet || gave_up)
		printf("files=%llu dirs=%llu symlinks=%llu others=%llu bytes=%llu xattrs=%llu "
		       "extents=%llu errors=%llu seconds=%.1f%s\n",
		       (unsigned long long)total.files, (unsigned long long)total.dirs,
		       (unsigned long long)total.symlinks, (unsigned long long)total.others,
		       (unsigned long long)total.bytes, (unsigned long long)total.xattrs,
		       (unsigned long long)total.extents, (unsigned long long)total.errors,
		       seconds(), gave_up ? " gave-up=time" : "");
	if (fflush(stdout) || ferror(stdout)) {
		perror("write");
		return 1;
	}
	return gave_up ? 3 : 0;
}
