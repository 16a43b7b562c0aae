/* A fork storm that counts for itself what it does.
 *
 *   storm WORKERS CHILDREN EVERY [PAUSE]
 *
 * Each worker forks CHILDREN processes, one after the other, that name themselves by worker and
 * number ("2.17") and exit with their number modulo 256; every EVERYth forks one of its own first
 * ("2+17"), which is waited for, and the next one another that is left to init ("2-17"). PAUSE:
 * microseconds between two. Prints its own pid and those of the workers, waits for a line on stdin,
 * and then prints how many processes it started after that, the sum of their exit codes, the lowest
 * and the highest of their pids. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct sums {
    long started, codes, lowest, highest;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void count(struct sums *sums, int code)
{
    long pid = getpid(), seen;
    __atomic_add_fetch(&sums->started, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&sums->codes, code, __ATOMIC_RELAXED);
    while ((seen = sums->lowest) > pid && !__sync_bool_compare_and_swap(&sums->lowest, seen, pid))
        ;
    while ((seen = sums->highest) < pid && !__sync_bool_compare_and_swap(&sums->highest, seen, pid))
        ;
}

static void live(struct sums *sums, int worker, char kind, int number)
{
    char name[32];
    snprintf(name, sizeof name, "%d%c%d", worker, kind, number);
    prctl(PR_SET_NAME, name);
    count(sums, number % 256);
}

static void work(struct sums *sums, int worker, int children, int every, int pause)
{
    for (int number = 0; number < children; number++) {
        pid_t child = fork();
        if (child < 0)
            die("fork");
        if (child == 0) {
            live(sums, worker, '.', number);
            if (every && number % every < 2) {
                pid_t second = fork();
                if (second < 0)
                    die("fork");
                if (second == 0) {
                    live(sums, worker, number % every ? '-' : '+', number);
                    _exit(number % 256);
                }
                if (number % every == 0)
                    waitpid(second, NULL, 0);
            }
            _exit(number % 256);
        }
        if (waitpid(child, NULL, 0) != child)
            die("waitpid");
        if (pause)
            usleep(pause);
    }
    exit(0);
}

int main(int argc, char **argv)
{
    int workers = argc > 3 ? atoi(argv[1]) : 0, children = argc > 3 ? atoi(argv[2]) : 0;
    int every = argc > 3 ? atoi(argv[3]) : 0;
    int pause = argc > 4 ? atoi(argv[4]) : 0, gate[2], failed = 0, status;
    struct sums *sums =
        mmap(NULL, sizeof *sums, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sums == MAP_FAILED || pipe(gate))
        die("start");
    sums->lowest = 1L << 30;
    printf("%d", getpid());
    fflush(stdout);
    for (int worker = 0; worker < workers; worker++) {
        char token;
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0) {
            prctl(PR_SET_NAME, "worker");
            if (read(gate[0], &token, 1) != 1)
                die("read");
            work(sums, worker, children, every, pause);
        }
        printf(" %d", pid);
        fflush(stdout);
    }
    printf("\n");
    fflush(stdout);
    if (getchar() == EOF)
        die("stdin");
    for (int worker = 0; worker < workers; worker++)
        if (write(gate[1], "!", 1) != 1)
            die("write");
    while (wait(&status) > 0)
        failed |= status;
    usleep(100000); /* those that were left to init */
    printf("%ld %ld %ld %ld\n", sums->started, sums->codes, sums->lowest, sums->highest);
    return failed != 0;
}
