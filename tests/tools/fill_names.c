// SPDX-License-Identifier: GPL-2.0
/* Directories: every shape and every kind of name; and the bulk tree of small files. */
#include "fill.h"

#include <sys/sysmacros.h>

static void letters(char *to, unsigned int len)
{
	for (unsigned int i = 0; i < len; i++)
		to[i] = (char)('a' + below(26));
	to[len] = 0;
}

/* n names of min..max bytes; a third is deleted again and as many made anew, for holes. */
static void directory(const char *dir, unsigned int n, unsigned int min, unsigned int max)
{
	char name[256];
	char (*all)[256] = calloc(n, sizeof(*all));

	if (!all)
		abort();
	make_dir(dir);
	for (unsigned int i = 0; i < n; i++) {
		unsigned int len = min + below(max - min + 1);
		int head = snprintf(name, sizeof(name), "%x", i);

		letters(name + head, len > (unsigned int)head ? len - (unsigned int)head : 0);
		strcpy(all[i], name);
		touch(fmt("%s/%s", dir, name));
	}
	for (unsigned int i = 0; i < n; i += 3)
		TRY(unlink(fmt("%s/%s", dir, all[i])), dir);
	for (unsigned int i = 0; i < n / 3; i++)
		touch(fmt("%s/again-%u-%x", dir, i, below(0x10000000)));
	free(all);
}

static void odd_names(const char *dir)
{
	static const char *const names[] = {
		" ", "-", "...", "..a", ".hidden", "a b", "new\nline", "\x01", "\xff\xfe",
		"gr\xc3\xbc\xc3\x9f" "e", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
		"\xf0\x9f\x90\xa7", "e\xcc\x81", "\xc3\xa9", "CASE", "case", "back\\slash",
		"*", "~", "%s%n", "\x7f", "\x80", "\x80\x80\x80\x80\x80",
	};
	char name[256];

	make_dir(dir);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		touch(fmt("%s/%s", dir, names[i]));
	for (unsigned int len = 1; len <= 255; len++) {
		letters(name, len);
		name[0] = 'N';
		touch(fmt("%s/%s", dir, name));
		/* Bytes above 127 are where signed and unsigned hashes part. */
		for (unsigned int i = 1; i < len; i++)
			name[i] = (char)(128 + below(128));
		name[0] = 'H';
		if (len % 5 == 0)
			touch(fmt("%s/%s", dir, name));
	}
}

/* A directory that is large in blocks and costs few inodes: for an index of three levels. */
void fill_crowd(void)
{
	char name[256], file[32] = "";

	if (par.crowd)
		make_dir("crowd");
	for (unsigned int i = 0; i < par.crowd; i++) {
		int head = snprintf(name, sizeof(name), "%x", i);

		/* An inode has at most 65000 links. */
		if (i % 60000 == 0) {
			strcpy(file, fmt("crowd-file-%u", i / 60000));
			touch(file);
		}
		letters(name + head, 200 + below(50));
		TRY(link(file, fmt("crowd/%s", name)), file);
	}
}

void fill_names(void)
{
	char deep[400] = "names/deep";

	make_dir("names");
	make_dir("names/empty");
	directory("names/few", 8, 1, 20);
	directory("names/one-block", 12, 10, 20);
	directory("names/many", par.names, 5, 40);
	directory("names/long", par.names * 2, 200, 255);
	odd_names("names/odd");
	/* Emptied: the blocks and the index stay. */
	make_dir("names/emptied");
	for (int i = 0; i < 120; i++)
		touch(fmt("names/emptied/some-name-that-fills-blocks-%0100d", i));
	for (int i = 0; i < 120; i++)
		TRY(unlink(fmt("names/emptied/some-name-that-fills-blocks-%0100d", i)), "emptied");
	/* Around what fits into an inode with inline_data. */
	for (int n = 1; n <= 8; n++) {
		make_dir(fmt("names/inline-%d", n));
		for (int i = 0; i < n; i++)
			touch(fmt("names/inline-%d/%.*s%d", n, n, "abcdefgh", i));
	}
	make_dir("names/types");
	for (int i = 0; i < 40; i++) {
		const char *path = fmt("names/types/t%d", i);

		switch (i % 7) {
		case 0: make_dir(path); break;
		case 1: TRY(symlink("nowhere", path), path); break;
		case 2: TRY(mknod(path, S_IFCHR | 0600, makedev(1, 3)), path); break;
		case 3: TRY(mknod(path, S_IFBLK | 0600, makedev(7, 0)), path); break;
		case 4: TRY(mknod(path, S_IFIFO | 0600, 0), path); break;
		case 5: TRY(mknod(path, S_IFSOCK | 0600, 0), path); break;
		default: touch(path);
		}
	}
	make_dir("names/subdirs");
	for (int i = 0; i < 40; i++)
		make_dir(fmt("names/subdirs/dir-%d", i));
	for (int i = 0; i < 30; i++) {
		make_dir(deep);
		touch(fmt("%s/at-%d", deep, i));
		snprintf(deep + strlen(deep), sizeof(deep) - strlen(deep), "/level-%d", i);
	}
	/* A directory that moved: its dot-dot was rewritten. */
	make_dir("names/moved-from");
	make_dir("names/moved-from/child");
	touch("names/moved-from/child/x");
	TRY(rename("names/moved-from/child", "names/moved"), "names/moved");
}

/* A tree as sources and mail folders have it: mostly small files, some of a few hundred KiB. */
void fill_bulk(void)
{
	unsigned int made = 0, dir = 0;
	char path[128];

	if (par.bulk)
		make_dir("bulk");
	while (made < par.bulk) {
		unsigned int n = dir % 16 == 15 ? 2000 : 20 + below(200);

		if (dir % 8 == 0)
			make_dir(fmt("bulk/p%u", dir / 8));
		snprintf(path, sizeof(path), "bulk/p%u/d%u", dir / 8, dir);
		make_dir(path);
		dir++;
		for (unsigned int i = 0; i < n && made < par.bulk; i++, made++) {
			const char *file = fmt("%s/%x-%u", path, below(0x1000000), i);
			unsigned int kind = below(100);

			if (kind < 10)
				touch(file);
			else if (kind < 14)
				TRY(symlink(fmt("../d%u/target-%u", dir, i), file), file);
			else if (kind < 96)
				file_of(file, below(6000));
			else
				file_of(file, below(200000));
			if (kind == 50)
				TRY(link(file, fmt("%s/link-%u", path, i)), file);
		}
	}
	if (par.big) {
		int fd = make("big");

		put_data(fd, "big", 0, (uint64_t)par.big << 20);
		close(fd);
		fd = make("big-holes");
		for (unsigned int i = 0; i < par.big; i++)
			put_data(fd, "big-holes", ((uint64_t)i << 22) + below(1 << 20), 65536);
		close(fd);
	}
}
