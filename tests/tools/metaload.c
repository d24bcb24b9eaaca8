// SPDX-License-Identifier: GPL-2.0
/*
 * metaload: changes names and inodes of a mounted file system at random, from a seed.
 *
 * What it does depends on the seed and on how the calls went, on nothing else: it knows what it has made, and
 * asks neither for inode numbers nor in which order names are listed. So two file systems that answer alike
 * come to the same log (--log) and to the same tree (census --portable).
 *
 *     --ops N          operations (default 500)
 *     --seed N
 *     --names N        how many names there are in the end, about (default 150)
 *     --log FILE       a line for each operation, with its errno
 *     --at N COMMAND   after operation N close everything, run a shell command (which may unmount), go on
 *     --settle         at the end set all times, which are of the day otherwise
 *     --tolerant       go on where a call fails that should not
 *
 * For crashes:
 *
 *     --crash          no operation that is two transactions; DIR's mtime is the number of the last operation
 *                      in seconds, set after it as an operation of its own
 *     --sync N         one in N operations makes something durable (default 40)
 *     --durable WHERE  whenever more operations have become durable, their number is said: by a message
 *                      `mark N` to a device-mapper device dm:NAME, or as a line in a file
 *     --follow         reads numbers from standard input, goes on until so many operations are done, and prints
 *                      the number
 *
 * All of it happens in DIR/load. In the end everything that calls have made, and not removed, has to be there, and
 * nothing else.
 */
#include "metaload.h"

#include <getopt.h>
#include <limits.h>
#include <linux/dm-ioctl.h>
#include <time.h>

static const char *durable_to;
static bool tolerant;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* dmsetup message NAME 0 mark N, without a process. */
static void mark_device(const char *name, uint32_t n)
{
	static int control = -1;
	union {
		struct dm_ioctl head;
		char room[1024];
	} u = { .head = { .version = { DM_VERSION_MAJOR, 0, 0 }, .data_size = sizeof(u),
			  .data_start = sizeof(u.head) } };
	/* The sector, 64 bits, then the text. */
	char *message = u.room + sizeof(u.head) + 8;

	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	snprintf(u.head.name, sizeof(u.head.name), "%s", name);
	snprintf(message, 64, "mark %u", n);
	if (ioctl(control, DM_TARGET_MSG, &u))
		die("mark");
}

static void say_durable(void)
{
	static uint32_t said;
	static FILE *file;

	if (!durable_to || said == durable)
		return;
	said = durable;
	if (!strncmp(durable_to, "dm:", 3)) {
		mark_device(durable_to + 3, said);
		return;
	}
	if (!file)
		file = fopen(durable_to, "w");
	if (!file || fprintf(file, "%u\n", said) < 0 || fflush(file))
		die(durable_to);
}

static const struct op {
	void (*run)(void);
	unsigned char often;
	signed char grows;	/* 1 if it makes names, -1 if it removes some */
	unsigned char row;	/* so many operations in a row are of the kind, at most; 0 is one */
} ops[] = {
	{ op_create, 8, 1, 0 },		{ op_mkdir, 8, 1, 0 },		{ op_mknod, 8, 1, 0 },
	{ op_symlink, 8, 1, 0 },	{ op_link, 8, 1, 0 },		{ op_unlink, 16, -1, 0 },
	{ op_rmdir, 10, -1, 0 },	{ op_rename, 10, 0, 0 },	{ op_rename_over, 8, -1, 0 },
	{ op_rename_flags, 12, 0, 0 },	{ op_tmpfile, 5, 1, 0 },	{ op_burst, 1, 1, 100 },
	{ op_thin, 1, -1, 100 },	{ op_deep, 1, 1, 20 },		{ op_orphan, 8, -1, 0 },
	{ op_chmod, 8, 0, 0 },		{ op_chown, 6, 0, 0 },		{ op_times, 4, 0, 0 },
	{ op_setxattr, 26, 0, 0 },	{ op_removexattr, 8, 0, 0 },	{ op_acl, 12, 0, 0 },
	{ op_truncate, 10, 0, 0 },	{ op_flags, 6, 0, 0 },		{ op_project, 2, 0, 0 },
};
#define OPS (sizeof(ops) / sizeof(ops[0]))

static unsigned int weights[OPS], weight, row_left;
static const struct op *row;

/* Each seed likes some operations more than others. */
static void choose_weights(void)
{
	static const unsigned char likes[] = { 0, 1, 1, 1, 2, 3, 4, 8 };

	for (unsigned int i = 0; i < OPS; i++) {
		weights[i] = ops[i].often * ONE_OF(likes);
		weight += weights[i];
	}
	par.hot = 1 + below(6);
	par.longs = 2 + below(12);
}

static const struct op *choose(void)
{
	unsigned int names = dirs.n + others.n;

	if (row_left) {
		row_left--;
		return row;
	}
	for (int i = 0; i < 100; i++) {
		unsigned int at = below(weight + 1);
		const struct op *op = &ops[OPS - 1];

		for (unsigned int j = 0; j < OPS; j++) {
			if (at < weights[j]) {
				op = &ops[j];
				break;
			}
			at -= weights[j];
		}
		/* Too many, or too few to work with. */
		if ((op->grows > 0 && names > par.names && below(8)) || (op->grows < 0 && names < par.names / 3))
			continue;
		if (op->row) {
			row = op;
			row_left = below(op->row);
		}
		return op;
	}
	return names < par.names ? &ops[0] : &ops[5];
}

static unsigned int sync_every = 40;
static int top = -1;
static bool own_number;

static void step(void)
{
	now++;
	if (sync_every && !below(sync_every))
		op_sync();
	else
		choose()->run();
	if (own_number) {
		struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = now } };

		if (utimensat(top, "", t, AT_EMPTY_PATH) && !tolerant)
			die("the number");
	}
	say_durable();
}

/* What is to fail, where the kernel has calls fail, are the operations, not the preparations and the proof. */
static void may_fail(bool yes)
{
	int fd = tolerant ? open("/proc/self/make-it-fail", O_WRONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	if (write(fd, yes ? "1" : "0", 1) != 1)
		die("make-it-fail");
	close(fd);
}

static void enter(const char *dir)
{
	may_fail(false);
	top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0 || fchdir(top))
		die(dir);
	if (mkdir("load", 0755) && errno != EEXIST)
		die("load");
	if (chdir("load"))
		die("load");
	may_fail(true);
}

static void pause_for(const char *dir, const char *command)
{
	orphans_close();
	close(top);
	if (chdir("/"))
		die("/");
	if (report_to)
		fflush(report_to);
	if (system(command)) {
		fprintf(stderr, "metaload: %s: failed\n", command);
		exit(1);
	}
	enter(dir);
}

static void follow(void)
{
	unsigned int until;

	while (scanf("%u", &until) == 1) {
		while (now < until)
			step();
		if (report_to)
			fflush(report_to);
		printf("%u\n", now);
		fflush(stdout);
	}
}

static void usage(void)
{
	fputs("usage: metaload [--ops N] [--seed N] [--names N] [--log FILE] [--at N COMMAND] [--settle] [--tolerant]\n"
	      "                [--crash] [--sync N] [--durable WHERE] [--follow] DIR\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "ops", 1, NULL, 'o' },      { "seed", 1, NULL, 's' },     { "names", 1, NULL, 'n' },
		{ "log", 1, NULL, 'l' },      { "at", 1, NULL, 'a' },	    { "settle", 0, NULL, 'S' },
		{ "crash", 0, NULL, 'c' },    { "sync", 1, NULL, 'y' },	    { "durable", 1, NULL, 'd' },
		{ "follow", 0, NULL, 'f' },   { "tolerant", 0, NULL, 't' }, { NULL, 0, NULL, 0 },
	};
	unsigned int count = 500, at = 0;
	const char *command = NULL;
	bool settled = false, following = false;
	int c;

	par.seed = 1;
	par.names = 150;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'o': count = (unsigned int)strtoul(optarg, NULL, 0); break;
		case 's': par.seed = strtoull(optarg, NULL, 0); break;
		case 'n': par.names = (unsigned int)strtoul(optarg, NULL, 0); break;
		case 'l':
			report_to = fopen(optarg, "w");
			if (!report_to)
				die(optarg);
			break;
		case 'a':
			at = (unsigned int)strtoul(optarg, NULL, 0);
			command = optind < argc ? argv[optind++] : NULL;
			break;
		case 'S': settled = true; break;
		case 'c': par.crash = own_number = true; break;
		case 'y': sync_every = (unsigned int)strtoul(optarg, NULL, 0); break;
		case 'd': durable_to = optarg; break;
		case 'f': following = true; break;
		case 't': tolerant = true; break;
		default: usage();
		}
	}
	if (optind + 1 != argc)
		usage();
	rnd_seed(par.seed);
	umask(below(2) ? 0 : 027);
	enter(argv[optind]);
	node_new(0, strdup(""), inode_new(S_IFDIR));
	choose_weights();
	if (following) {
		follow();
		return 0;
	}
	while (now < count) {
		step();
		if (command && now == at)
			pause_for(argv[optind], command);
	}
	may_fail(false);
	orphans_close();
	/* First, because looking changes access times. */
	if (verify())
		return 1;
	if (settled)
		settle();
	if (report_to && fclose(report_to))
		die("log");
	printf("metaload: seed %llu: %u operations, %u directories, %u other names\n", (unsigned long long)par.seed,
	       now, dirs.n, others.n);
	return 0;
}
