// SPDX-License-Identifier: GPL-2.0
/*
 * The first program of an initrd (see kvm.sh): loads the modules that /modules names, mounts the root that the kernel's
 * command line names, as ext4, and goes on with the init there. It ends only with a panic of the kernel, after
 * saying why.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "initrd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void load(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || syscall(SYS_finit_module, fd, strcmp(name, "rext4.ko") ? "" : "ext4=1", 0))
		die(name);
	close(fd);
}

int main(void)
{
	char line[4096] = "", root[256] = "/dev/vda", *word;
	FILE *file;

	mkdir("/proc", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL))
		die("/proc");
	/* The kernel may have mounted it itself. */
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		die("/dev");
	if (!freopen("/dev/console", "w", stderr))
		return 1;

	file = fopen("/modules", "r");
	if (!file)
		die("/modules");
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		load(line);
	}
	fclose(file);

	file = fopen("/proc/cmdline", "r");
	if (!file || !fgets(line, sizeof(line), file))
		die("/proc/cmdline");
	fclose(file);
	for (word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
		if (!strncmp(word, "root=", 5))
			snprintf(root, sizeof(root), "%s", word + 5);
	umount("/proc");

	/* Its disk may not have been found yet. */
	for (int i = 0; access(root, F_OK) && i < 100; i++)
		usleep(100000);
	if (mount(root, "/root", "ext4", MS_RDONLY, NULL))
		die(root);
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) || chdir("/root") ||
	    mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("the new root");
	execl("/sbin/init", "/sbin/init", NULL);
	die("/sbin/init");
}
