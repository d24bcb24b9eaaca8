// SPDX-License-Identifier: GPL-2.0
/*
 * `fsbench threads DIR FILES`: how many files a second several threads create, each in a directory of its
 * own. Prints that number. The time includes what the files cost until they are on disk (syncfs).
 */
#include "fsbench.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8u
#define NAME_SIZE 32

static pthread_barrier_t start;
static unsigned files;
static char (*names)[NAME_SIZE];

static void *create(void *argument)
{
	int at = (int)(intptr_t)argument;
	unsigned i;

	pthread_barrier_wait(&start);
	for (i = 0; i < files; i++) {
		int file = openat(at, names[i], O_CREAT | O_EXCL | O_WRONLY, 0644);

		if (file < 0)
			die("create %s", names[i]);
		close(file);
	}
	return NULL;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

int run_threads(unsigned count)
{
	pthread_t threads[THREADS];
	int dirs[THREADS];
	char name[NAME_SIZE];
	unsigned i;
	double begin;

	files = count;
	names = malloc(files * sizeof(*names));
	if (!names || pthread_barrier_init(&start, NULL, THREADS + 1))
		die("no memory");
	for (i = 0; i < files; i++)
		file_name(names[i], NAME_SIZE, i);
	for (i = 0; i < THREADS; i++) {
		snprintf(name, sizeof(name), "thread-%u", i);
		dirs[i] = make_dir(name);
		errno = pthread_create(&threads[i], NULL, create, (void *)(intptr_t)dirs[i]);
		if (errno)
			die("pthread_create");
	}
	if (syncfs(dirs[0]))
		die("syncfs");
	begin = now();
	pthread_barrier_wait(&start);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	if (syncfs(dirs[0]))
		die("syncfs");
	printf("%.1f\n", THREADS * files / (now() - begin));
	return 0;
}
