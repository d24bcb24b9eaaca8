// SPDX-License-Identifier: GPL-2.0
/* What a directory shows beside its entries: order, cookies, names that are not there. */
#include "census.h"

/* More entries than any test makes; a directory that yields more goes round in circles. */
#define MAX_ENTRIES 4000000

static long getdents(int fd, void *buf, size_t len)
{
	return syscall(SYS_getdents64, fd, buf, len);
}

void listing_read(int fd, struct listing *l)
{
	static char buf[256 << 10];
	size_t room = 0;
	long got;

	memset(l, 0, sizeof(*l));
	while ((got = getdents(fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < got;) {
			struct dirent64 *d = (struct dirent64 *)(buf + at);

			if (l->n == room) {
				room = room ? room * 2 : 64;
				l->e = realloc(l->e, room * sizeof(*l->e));
				if (!l->e)
					abort();
			}
			l->e[l->n++] = (struct entry){ d->d_ino, d->d_off, d->d_type,
						       strdup(d->d_name) };
			at += d->d_reclen;
		}
		if (l->n > MAX_ENTRIES || out_of_time()) {
			l->err = ELOOP;
			return;
		}
	}
	if (got < 0)
		l->err = errno;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

void listing_sort(struct listing *l)
{
	if (l->n)
		qsort(l->e, l->n, sizeof(*l->e), by_name);
}

void listing_free(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->e[i].name);
	free(l->e);
}

static bool same(const struct entry *e, const struct dirent64 *d)
{
	return e->ino == d->d_ino && e->type == d->d_type && !strcmp(e->name, d->d_name);
}

/* Reads on from the descriptor's position: does it give entries from..from + n - 1? */
static const char *rest(int fd, const struct listing *l, size_t from, size_t n, size_t bufsize)
{
	char buf[4096];
	size_t i = from, end = l->n - from < n ? l->n : from + n;
	long got;

	while (i < end) {
		got = getdents(fd, buf, bufsize);
		if (got < 0)
			return err_name(errno);
		if (!got)
			return "short";
		for (long at = 0; at < got && i < end; i++) {
			struct dirent64 *d = (struct dirent64 *)(buf + at);

			if (!same(&l->e[i], d))
				return "differs";
			at += d->d_reclen;
		}
	}
	if (i == l->n && getdents(fd, buf, bufsize) != 0)
		return "long";
	return "ok";
}

static void cookies(int fd, const struct listing *l)
{
	uint64_t h = MIX_SEED;
	size_t step = l->n / 8 ? l->n / 8 : 1;
	const char *bad = "ok";
	size_t bad_at = 0;

	for (size_t i = 0; i < l->n; i++)
		h = mix_u64(h, (uint64_t)l->e[i].off);
	put("offs", "%016llx", (unsigned long long)h);
	put("end", "%llx", (long long)lseek(fd, 0, SEEK_END));
	/* A cookie leads to what came after it, whatever was read in between. */
	for (size_t i = l->n; i-- > 0 && !strcmp(bad, "ok");) {
		if (i % step && i + 1 != l->n)
			continue;
		bad_at = i;
		if (lseek(fd, l->e[i].off, SEEK_SET) != l->e[i].off)
			bad = err_name(errno);
		else
			bad = rest(fd, l, i + 1, 100, 4096);
	}
	if (strcmp(bad, "ok"))
		put("seekdir", "%s@%zu", bad, bad_at);
	else
		put("seekdir", "ok");
	if (lseek(fd, 0, SEEK_SET) != 0)
		put_err("rewind", errno);
	else if (l->n <= 2000)
		put("small", "%s", rest(fd, l, 0, l->n, 300));
	else
		put("small", "%s", rest(fd, l, 0, 2000, 300));
}

static void absent(int fd)
{
	char name[258];
	struct stat st;

	memset(name, 'n', sizeof(name));
	name[256] = 0;
	put("absent", "%s", fstatat(fd, "no such name", &st, AT_SYMLINK_NOFOLLOW) ?
	    strerrorname_np(errno) : "found");
	put("absent256", "%s", fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) ?
	    strerrorname_np(errno) : "found");
	name[255] = 0;
	put("absent255", "%s", fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) ?
	    strerrorname_np(errno) : "found");
}

void census_dir(int fd, const struct listing *l)
{
	uint64_t h = MIX_SEED;

	for (size_t i = 0; i < l->n; i++) {
		const struct entry *e = &l->e[i];

		h = mix(h, e->name, strlen(e->name));
		h = mix_u64(h, (opt.portable ? 0 : e->ino << 8) | e->type);
	}
	put("entries", "%zu", l->n);
	put("order", "%016llx", (unsigned long long)h);
	if (l->err)
		put_err("getdents", l->err);
	for (size_t i = 0; i < l->n; i++) {
		const struct entry *e = &l->e[i];

		if (opt.portable)
			break;
		if (e->name[0] == '.' && (!e->name[1] || (e->name[1] == '.' && !e->name[2])))
			put(e->name, "%llu/%u/%zu", (unsigned long long)e->ino, e->type, i);
	}
	if (opt.cookies && !l->err)
		cookies(fd, l);
	absent(fd);
}
