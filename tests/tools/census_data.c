// SPDX-License-Identifier: GPL-2.0
/* A regular file's contents by every way of reading, and where its blocks are. */
#include "census.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#define CHUNK (1u << 20)	/* bytes; the unit of hashing, the same for every way */
#define MAX_RANGES 65536
#define MAX_EXTENTS 4000000

static unsigned char *buffer;	/* CHUNK bytes, page aligned */

struct range {
	uint64_t start, end;	/* bytes */
};

/* A list that is printed as count, the first few and a hash, or in full. */
struct digest {
	uint64_t n, hash;
	char head[512];
	size_t used;
};

static void digest_add(struct digest *d, uint64_t a, uint64_t b, uint64_t c, uint32_t flags,
		       int words)
{
	const uint64_t w[4] = { a, b, c, flags };
	char text[96];
	int len = 0;

	for (int i = 0; i < words; i++) {
		d->hash = mix_u64(d->hash, w[i]);
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%s%llx",
				i ? ":" : "", (unsigned long long)w[i]);
	}
	d->n++;
	if (opt.full)
		say(",%s", text);
	else if (d->n <= 4)
		d->used += (size_t)snprintf(d->head + d->used, sizeof(d->head) - d->used, ",%s",
					    text);
}

static void digest_put(const struct digest *d, int err)
{
	say("%s/%llu/%016llx", d->head, (unsigned long long)d->n, (unsigned long long)d->hash);
	if (err)
		say("/%s", err_name(err));
}

static void fiemap(int fd, const char *key, uint32_t flags)
{
	static union {
		struct fiemap f;
		char room[sizeof(struct fiemap) + 512 * sizeof(struct fiemap_extent)];
	} u;
	struct digest d = { .hash = MIX_SEED };
	uint64_t at = 0;
	int err = 0;
	bool last = false;

	put(key, "%s", "");
	while (!last && !err && d.n < MAX_EXTENTS) {
		memset(&u.f, 0, sizeof(u.f));
		u.f.fm_start = at;
		u.f.fm_length = FIEMAP_MAX_OFFSET - at;
		u.f.fm_flags = flags;
		u.f.fm_extent_count = 512;
		if (ioctl(fd, FS_IOC_FIEMAP, &u.f)) {
			err = errno;
			break;
		}
		if (!u.f.fm_mapped_extents)
			break;
		for (unsigned int i = 0; i < u.f.fm_mapped_extents; i++) {
			const struct fiemap_extent *e = &u.f.fm_extents[i];

			digest_add(&d, e->fe_logical, e->fe_physical, e->fe_length, e->fe_flags, 4);
			if (e->fe_logical < at || !e->fe_length)
				err = ELOOP;
			at = e->fe_logical + e->fe_length;
			last = e->fe_flags & FIEMAP_EXTENT_LAST;
		}
	}
	total.extents += d.n;
	digest_put(&d, err);
	/* The number alone, as `filefrag` asks for it first, and the extents brought into the cache before. */
	memset(&u.f, 0, sizeof(u.f));
	u.f.fm_length = FIEMAP_MAX_OFFSET;
	u.f.fm_flags = flags | FIEMAP_FLAG_CACHE;
	if (!err && ioctl(fd, FS_IOC_FIEMAP, &u.f))
		say("/count-errno-%d", errno);
	else if (!err && u.f.fm_mapped_extents != d.n)
		say("/count-%u", u.f.fm_mapped_extents);
}

/* Data ranges by SEEK_DATA and SEEK_HOLE; printed, and returned for reading. */
static struct range *holes(int fd, uint64_t size, size_t *count)
{
	static struct range r[MAX_RANGES];
	struct digest d = { .hash = MIX_SEED };
	off_t at = 0, end;
	int err = 0;

	*count = 0;
	put("seek", "%s", "");
	while ((uint64_t)at < size && d.n < MAX_EXTENTS && !out_of_time()) {
		at = lseek(fd, at, SEEK_DATA);
		if (at < 0) {
			err = errno == ENXIO ? 0 : errno;
			break;
		}
		end = lseek(fd, at, SEEK_HOLE);
		if (end <= at) {
			err = end < 0 ? errno : ELOOP;
			break;
		}
		digest_add(&d, (uint64_t)at, (uint64_t)end, 0, 0, 2);
		if (*count < MAX_RANGES)
			r[(*count)++] = (struct range){ (uint64_t)at, (uint64_t)end };
		at = end;
	}
	digest_put(&d, err);
	/* The ends: beyond the size there is nothing to seek to. */
	if (lseek(fd, (off_t)size, SEEK_DATA) >= 0 || errno != ENXIO)
		say("/eof-data");
	if (lseek(fd, (off_t)size + 1, SEEK_HOLE) >= 0 || errno != ENXIO)
		say("/eof-hole");
	return r;
}

static struct range *data_ranges;
static size_t data_range_count;

void census_extents(int fd, const struct statx *stx)
{
	uint64_t blocks = stx->stx_blksize ? (stx->stx_size + stx->stx_blksize - 1) /
						     stx->stx_blksize : 0;
	uint64_t probe[4] = { 0, blocks / 3, blocks / 2, blocks ? blocks - 1 : 0 };

	data_ranges = NULL;
	if (S_ISREG(stx->stx_mode)) {
		data_ranges = holes(fd, stx->stx_size, &data_range_count);
		put("fibmap", "%s", "");
		for (int i = 0; i < 4; i++) {
			int b = (int)probe[i];

			if (probe[i] > INT32_MAX)
				say("-,");
			else if (ioctl(fd, FIBMAP, &b))
				say("%s,", err_name(errno));
			else
				say("%x,", b);
		}
	}
	fiemap(fd, "fiemap", 0);
	fiemap(fd, "fiemap-xattr", FIEMAP_FLAG_XATTR);
}

/* --- contents --- */

static int cmp_range(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/*
 * What to read: all of a small file; of a large one each data range with a page on either side,
 * cut to max_file in all, and eight places spread over its size. The ranges are whole multiples
 * of 64 KiB, so that direct reads can use the same ones with any block size.
 */
static struct range *plan(uint64_t size, size_t *count)
{
	const uint64_t unit = 65536;
	static struct range r[MAX_RANGES + 8];
	uint64_t sum = 0;
	size_t n = 0, m = 0;

	if (size <= opt.max_file) {
		r[0] = (struct range){ 0, size };
		*count = size ? 1 : 0;
		return r;
	}
	for (size_t i = 0; data_ranges && i < data_range_count && sum < opt.max_file; i++) {
		struct range d = data_ranges[i];

		d.start = d.start > 4096 ? (d.start - 4096) / unit * unit : 0;
		d.end = d.end > UINT64_MAX / 2 ? size : (d.end + 4096 + unit - 1) / unit * unit;
		if (d.end > d.start + opt.max_file)
			d.end = d.start + opt.max_file;
		r[n++] = d;
		sum += d.end - d.start;
	}
	for (uint64_t i = 0; i < 8; i++) {
		uint64_t at = size / 8 * i / unit * unit;

		r[n++] = (struct range){ at, at + unit };
	}
	qsort(r, n, sizeof(*r), cmp_range);
	for (size_t i = 0; i < n; i++) {
		struct range *to = m ? &r[m - 1] : NULL;

		if (r[i].end > size)
			r[i].end = size;
		if (to && r[i].start <= to->end)
			to->end = r[i].end > to->end ? r[i].end : to->end;
		else if (r[i].start < r[i].end)
			r[m++] = r[i];
	}
	*count = m;
	return r;
}

struct reading {
	uint64_t hash;
	uint64_t err_at;
	const char *err;	/* of the first failure, or NULL */
	unsigned int errs;
};

static void failed(struct reading *r, uint64_t at, const char *why)
{
	if (!r->err) {
		r->err = why;
		r->err_at = at;
	}
	r->errs++;
}

enum way { BUFFERED, DIRECT, MAPPED };

static sigjmp_buf bus_jump;
static volatile sig_atomic_t bus_armed;

static void on_bus(int sig)
{
	(void)sig;
	if (bus_armed)
		siglongjmp(bus_jump, 1);
	_exit(9);
}

/* Fills the buffer with one chunk at `at`; pieces of odd sizes for buffered reads. */
static size_t fill_chunk(int fd, enum way way, uint64_t at, size_t want, struct reading *r)
{
	static const size_t odd[] = { 4095, 131071, 1, 65537, 511, 262144, 99999 };
	static unsigned int turn;
	size_t done = 0;

	while (done < want) {
		size_t n = want - done;
		ssize_t got;

		if (way == BUFFERED && odd[turn % 7] < n)
			n = odd[turn++ % 7];
		/*
		 * Whole sectors, so that the last read may go beyond the end of the file; not the
		 * whole buffer, because C ext4 refuses (EINVAL) direct reads that go beyond the
		 * last block it can address, wherever the file ends.
		 */
		if (way == DIRECT)
			n = (n + 511) & ~(size_t)511;
		got = pread(fd, buffer + done, n, (off_t)(at + done));
		if (got < 0) {
			failed(r, at + done, err_name(errno));
			return done;
		}
		if (!got) {
			failed(r, at + done, "short");
			return done;
		}
		done += (size_t)got;
		/* A direct read that stops short of the range's end stops on no boundary. */
		if (way == DIRECT && done < want && done % 512) {
			failed(r, at + done, "unaligned");
			return done;
		}
	}
	return want;
}

static size_t map_chunk(int fd, uint64_t at, size_t want, uint64_t size, struct reading *r)
{
	size_t whole = (want + 4095) & ~(size_t)4095;
	unsigned char *p = mmap(NULL, whole, PROT_READ, MAP_PRIVATE, fd, (off_t)at);
	size_t tail = at + want == size ? whole - want : 0;

	if (p == MAP_FAILED) {
		failed(r, at, err_name(errno));
		return 0;
	}
	if (sigsetjmp(bus_jump, 1)) {
		bus_armed = 0;
		failed(r, at, "SIGBUS");
		munmap(p, whole);
		return 0;
	}
	bus_armed = 1;
	memcpy(buffer, p, want);
	for (size_t i = 0; i < tail; i++)
		if (p[want + i])
			failed(r, at + want + i, "tail");
	bus_armed = 0;
	munmap(p, whole);
	return want;
}

static struct reading read_by(int fd, enum way way, const struct range *ranges, size_t n,
			      uint64_t size, struct sha256 *sha)
{
	struct reading r = { .hash = MIX_SEED };

	for (size_t i = 0; i < n; i++) {
		for (uint64_t at = ranges[i].start; at < ranges[i].end; at += CHUNK) {
			uint64_t left = ranges[i].end - at;
			size_t want = left < CHUNK ? (size_t)left : CHUNK, got;

			if (out_of_time() || r.errs > 64)
				return r;
			got = way == MAPPED ? map_chunk(fd, at, want, size, &r) :
					      fill_chunk(fd, way, at, want, &r);
			r.hash = mix(mix_u64(r.hash, at), buffer, got);
			if (sha)
				sha256_update(sha, buffer, got);
			if (way == BUFFERED)
				total.bytes += got;
		}
	}
	return r;
}

static void put_reading(const char *key, const struct reading *r, const struct reading *as)
{
	if (as && r->hash == as->hash && !r->err && !as->err)
		put(key, "same");
	else
		put(key, "%016llx", (unsigned long long)r->hash);
	if (r->err)
		say("/%s@%llx/%u", r->err, (unsigned long long)r->err_at, r->errs);
}

void census_data(int dir, const char *name, int fd, const struct statx *stx)
{
	struct reading buffered, other;
	struct range *ranges;
	struct sha256 sha;
	size_t n;

	if (total.bytes >= opt.max_bytes) {
		put("data", "skipped");
		return;
	}
	if (!buffer) {
		struct sigaction sa = { .sa_handler = on_bus };

		sigaction(SIGBUS, &sa, NULL);
		if (posix_memalign((void **)&buffer, 65536, CHUNK))
			abort();
	}
	ranges = plan(stx->stx_size, &n);
	sha256_init(&sha);
	buffered = read_by(fd, BUFFERED, ranges, n, stx->stx_size, opt.sha ? &sha : NULL);
	put_reading("data", &buffered, NULL);
	if (opt.sha) {
		unsigned char sum[32];
		char hex[65];

		sha256_final(&sha, sum);
		for (int i = 0; i < 32; i++)
			snprintf(hex + 2 * i, 3, "%02x", sum[i]);
		put("sha256", "%s", hex);
	}
	if (pread(fd, buffer, 1, (off_t)stx->stx_size) != 0)
		put("eof", "%s", "data-beyond");
	if (opt.map && stx->stx_size) {
		other = read_by(fd, MAPPED, ranges, n, stx->stx_size, NULL);
		put_reading("mmap", &other, &buffered);
	}
	if (opt.direct && stx->stx_size) {
		int dfd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_DIRECT);

		if (dfd < 0) {
			put_err("direct", errno);
		} else {
			other = read_by(dfd, DIRECT, ranges, n, stx->stx_size, NULL);
			put_reading("direct", &other, &buffered);
			if (stx->stx_size < 1ull << 40) {
				off_t end = (off_t)((stx->stx_size + 65535) & ~65535ull);

				if (pread(dfd, buffer, CHUNK, end) != 0)
					put("direct-eof", "%s", "data-beyond");
			}
			close(dfd);
		}
	}
}
