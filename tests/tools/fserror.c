// SPDX-License-Identifier: GPL-2.0
/*
 * fserror: prints what fanotify tells of errors in a file system while a command runs.
 *
 *	usage: fserror DIR COMMAND [ARGUMENT...]
 *
 * One line: the errno of the first error, and whether it was told which file. Status 0
 * if there was one within two seconds of the command's end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char buf[4096] __attribute__((aligned(8)));
	struct pollfd p = { .events = POLLIN };
	pid_t child;
	ssize_t n;

	if (argc < 3)
		return 2;
	p.fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK, O_RDONLY);
	if (p.fd < 0 || fanotify_mark(p.fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_FS_ERROR, AT_FDCWD, argv[1])) {
		perror("fanotify");
		return 2;
	}
	child = fork();
	if (!child) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	waitpid(child, NULL, 0);
	if (poll(&p, 1, 2000) <= 0) {
		puts("nothing");
		return 1;
	}
	n = read(p.fd, buf, sizeof(buf));
	for (struct fanotify_event_metadata *e = (void *)buf; FAN_EVENT_OK(e, n); e = FAN_EVENT_NEXT(e, n)) {
		char *at = (char *)(e + 1), *end = (char *)e + e->event_len;
		int error = 0, file = 0;
		unsigned int count = 0;

		while (at < end) {
			struct fanotify_event_info_header *h = (void *)at;

			if (h->info_type == FAN_EVENT_INFO_TYPE_ERROR) {
				error = ((struct fanotify_event_info_error *)h)->error;
				count = ((struct fanotify_event_info_error *)h)->error_count;
			} else if (h->info_type == FAN_EVENT_INFO_TYPE_FID) {
				struct file_handle *f = (void *)((struct fanotify_event_info_fid *)h)->handle;

				file = f->handle_bytes != 0;
			}
			at += h->len;
		}
		printf("%s %s%s\n", strerrorname_np(error), file ? "of a file" : "of the file system",
		       count ? "" : ", never");
	}
	return 0;
}
