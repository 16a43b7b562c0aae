/* Processes that follow each other under the same pids, and what became of each, known without its
 * pid.
 *
 *   reuse COUNT PID
 *
 * Two workers, A and B, fork COUNT children each. A child names itself by its worker and its number
 * ("A17"), forks a child of its own ("a17") if its number divides by 10, and exits with its number
 * modulo 3. With PID, every child of both workers gets that very pid, in turn; with 0 the kernel
 * chooses. Prints the pids of the workers, waits for a line on stdin, and prints for every child
 * and grandchild: name, pid, status, monotonic nanoseconds when it started and when it ended. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EVERY = 10 };

struct life {
    int pid, status;
    long begin, end;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static pid_t fork_as(pid_t pid)
{
    struct clone_args args = {
        .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = pid ? 1 : 0};
    if (!pid)
        args.set_tid = 0;
    for (;;) {
        pid_t child = syscall(SYS_clone3, &args, sizeof args);
        if (child >= 0 || (errno != EEXIST && errno != EAGAIN))
            return child;
        sched_yield(); /* somebody else has it just now */
    }
}

static void live(struct life *life, char worker, int number)
{
    char name[32];
    life->begin = now();
    life->pid = syscall(SYS_getpid);
    snprintf(name, sizeof name, "%c%d", worker, number);
    prctl(PR_SET_NAME, name);
}

static void work(char worker, int count, pid_t pid, struct life *lives, struct life *grand, int in,
                 int out)
{
    char token;
    for (int number = 0; number < count; number++) {
        if (pid && read(in, &token, 1) != 1)
            die("read");
        pid_t child = fork_as(pid);
        if (child < 0)
            die("clone3");
        if (child == 0) {
            live(&lives[number], worker, number);
            if (number % EVERY == 0) {
                pid_t second = fork_as(0);
                if (second == 0) {
                    struct life *own = &grand[number / EVERY];
                    live(own, worker + 'a' - 'A', number);
                    own->status = 9 << 8;
                    own->end = now();
                    syscall(SYS_exit_group, 9);
                }
                while (waitpid(second, NULL, 0) < 0 && errno == EINTR)
                    ;
            }
            lives[number].status = number % 3 << 8;
            lives[number].end = now();
            syscall(SYS_exit_group, number % 3);
        }
        if (waitpid(child, NULL, 0) != child)
            die("waitpid");
        if (pid && write(out, "!", 1) != 1)
            die("write");
    }
    exit(0);
}

static void print(char worker, int number, const struct life *life)
{
    printf("%c%d %d %d %ld %ld\n", worker, number, life->pid, life->status, life->begin, life->end);
}

int main(int argc, char **argv)
{
    int count = argc > 2 ? atoi(argv[1]) : 0, pid = argc > 2 ? atoi(argv[2]) : 0, to[3][2];
    size_t grand = count / EVERY + 1, all = 2 * (count + grand);
    struct life *lives =
        mmap(NULL, all * sizeof *lives, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (lives == MAP_FAILED)
        die("mmap");
    for (int index = 0; index < 3; index++)
        if (pipe(to[index]))
            die("pipe");
    pid_t workers[2];
    for (int index = 0; index < 2; index++) {
        workers[index] = fork();
        if (workers[index] == 0) {
            char token;
            prctl(PR_SET_NAME, index ? "workerB" : "workerA");
            if (read(to[2][0], &token, 1) != 1)
                die("read");
            struct life *own = lives + index * (count + grand);
            work('A' + index, count, pid, own, own + count, to[index][0], to[1 - index][1]);
        }
    }
    printf("%d %d\n", workers[0], workers[1]);
    fflush(stdout);
    if (getchar() == EOF || write(to[2][1], "!!", 2) != 2 || write(to[0][1], "!", 1) != 1)
        die("start");
    for (int index = 0; index < 2; index++) {
        int status;
        if (waitpid(workers[index], &status, 0) < 0 || status)
            die("worker");
    }
    for (int index = 0; index < 2; index++) {
        const struct life *own = lives + index * (count + grand);
        for (int number = 0; number < count; number++)
            print('A' + index, number, &own[number]);
        for (int number = 0; number < count; number += EVERY)
            print('a' + index, number, &own[count + number / EVERY]);
    }
    return 0;
}
