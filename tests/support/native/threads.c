/* Processes whose threads end in every order.
 *
 *   threads MODE [COUNT]
 *
 * Waits for a line on stdin, then is the process that MODE names, with the exit status stated.
 *
 *   leader-first    the leader exits with 0, the last of COUNT threads lets the process end (0)
 *   group-exit      the leader exits with 0, another thread ends the process with 6
 *   other-exec      the last of COUNT threads executes `sh -c "exit 5"`
 *   killed          the leader exits with 0, another thread kills the process with SIGKILL
 *   code            a thread alone exits with 5, and later the leader ends the process with 0
 *   many            COUNT threads at once, joined, and a while later; 4
 *   storm           COUNT threads, eight at a time, joined, and a while later; 3
 *   forking         the leader exits with 0, another thread forks COUNT children that exit with 8,
 *                   and ends the process with 2
 *   old             COUNT threads exist before the line is read: then the leader exits with 0, and
 *                   later another ends the process with 7
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *mode;
static int count;
static sem_t begun, done;

static void leader_exit(void)
{
    syscall(SYS_exit, 0); /* this thread only */
}

static void *waiting(void *nothing)
{
    sem_post(&begun);
    sem_wait(&done);
    return nothing;
}

static void *brief(void *nothing)
{
    if (!strcmp(mode, "code"))
        syscall(SYS_exit, 5); /* this thread only */
    return nothing;
}

static void *last(void *nothing)
{
    usleep(20000); /* the leader is gone by now */
    for (int index = 0; index < count; index++)
        sem_post(&done);
    usleep(20000); /* the last of two codes is certain then; exits.c has closer ones */
    if (!strcmp(mode, "group-exit"))
        syscall(SYS_exit_group, 6);
    if (!strcmp(mode, "old"))
        syscall(SYS_exit_group, 7);
    if (!strcmp(mode, "other-exec"))
        execl("/bin/sh", "sh", "-c", "exit 5", NULL);
    if (!strcmp(mode, "killed"))
        syscall(SYS_kill, getpid(), SIGKILL);
    if (!strcmp(mode, "forking")) {
        for (int index = 0; index < count; index++) {
            pid_t child = fork();
            if (child == 0)
                _exit(8);
            waitpid(child, NULL, 0);
        }
        syscall(SYS_exit_group, 2);
    }
    return nothing; /* the leader-first process ends with its last thread */
}

static pthread_t start(void *(*routine)(void *))
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    if (pthread_create(&thread, &attributes, routine, NULL)) {
        perror("pthread_create");
        exit(1);
    }
    return thread;
}

int main(int argc, char **argv)
{
    mode = argc > 1 ? argv[1] : "";
    count = argc > 2 ? atoi(argv[2]) : 4;
    pthread_t threads[1000];
    sem_init(&begun, 0, 0);
    sem_init(&done, 0, 0);
    int old = !strcmp(mode, "old");
    if (old)
        for (int index = 0; index < count; index++)
            start(waiting);
    for (int index = 0; old && index < count; index++)
        sem_wait(&begun);
    printf("%d\n", getpid());
    fflush(stdout);
    if (getchar() == EOF)
        return 1;
    if (!strcmp(mode, "storm")) {
        for (int index = 0; index < count; index += 8) {
            for (int at_once = 0; at_once < 8; at_once++)
                threads[at_once] = start(brief);
            for (int at_once = 0; at_once < 8; at_once++)
                pthread_join(threads[at_once], NULL);
        }
        usleep(20000);
        return 3;
    }
    if (!strcmp(mode, "code")) {
        pthread_join(start(brief), NULL);
        usleep(300000);
        return 0;
    }
    if (!strcmp(mode, "forking")) {
        start(last);
        leader_exit();
    }
    for (int index = 0; !old && index < count; index++)
        threads[index] = start(waiting);
    for (int index = 0; !old && index < count; index++)
        sem_wait(&begun);
    if (!strcmp(mode, "many")) {
        for (int index = 0; index < count; index++)
            sem_post(&done);
        for (int index = 0; index < count; index++)
            pthread_join(threads[index], NULL);
        usleep(20000);
        return 4;
    }
    start(last);
    leader_exit();
    return 1;
}
