// exits MODE US: threads of a process end with their own codes, at once or US microseconds apart.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int us;
static pthread_barrier_t barrier;

static void nap(void) { if (us) usleep(us); }
static void *end_all(void *code) { nap(); syscall(SYS_exit_group, (long)code); return 0; }
static void *end_all_at_once(void *code)
{
    pthread_barrier_wait(&barrier);
    syscall(SYS_exit_group, (long)code);
    return 0;
}
static void *end_itself(void *code)
{
    pthread_barrier_wait(&barrier);
    syscall(SYS_exit, (long)code);
    return 0;
}
static void *sleep_on(void *unused) { for (;;) pause(); return unused; }
static void *end_soon(void *unused) { nap(); return unused; }
static void *fail(void *unused) { nap(); abort(); return unused; }

int main(int argc, char **argv)
{
	pthread_t one, two;
	struct rlimit no_core = {0, 0};

	if (argc != 3)
		return 99;
	us = atoi(argv[2]);
	setrlimit(RLIMIT_CORE, &no_core);
	pthread_barrier_init(&barrier, 0, 3);
	switch (argv[1][0]) {
	case 'p':	/* pair: the leader ends with 7, another thread ends the process with 0 */
		pthread_create(&one, 0, end_all, (void *)0);
		syscall(SYS_exit, 7);
		break;
	case 't':	/* three: the same with a third thread that sleeps */
		pthread_create(&two, 0, sleep_on, 0);
		pthread_create(&one, 0, end_all, (void *)0);
		syscall(SYS_exit, 7);
		break;
	case 'w':	/* wait: the leader waits for a thread and ends with 3 */
		pthread_create(&one, 0, end_soon, 0);
		pthread_join(one, 0);
		_exit(3);
	case 'a':	/* abort in a thread, after the leader has ended with 7 */
		pthread_create(&two, 0, sleep_on, 0);
		pthread_create(&one, 0, fail, 0);
		syscall(SYS_exit, 7);
		break;
	case 'r':	/* race: two threads and the leader end at once, with 4, 7 and, for all of them, 5 */
		pthread_create(&two, 0, end_itself, (void *)4);
		pthread_create(&one, 0, end_all_at_once, (void *)5);
		pthread_barrier_wait(&barrier);
		syscall(SYS_exit, 7);
	}
	return 99;
}
