/* Units as a service manager starts them, each in a control group of its own, and the processes of
 * each.
 *
 *   cgroups FOLDER PROGRAM WAY UNITS CHILDREN MICROSECONDS
 *
 * Starts UNITS processes one after the other. WAY says how each enters its group FOLDER/unitN:
 * "self" moves itself, "parent" is moved by its parent while it waits, "into" is cloned into it
 * (CLONE_INTO_CGROUP). There it forks CHILDREN children, runs for MICROSECONDS and waits for them;
 * every second child runs PROGRAM.N (a link to this program) without arguments, which exits at
 * once, and the others run as long. Prints of every unit: the inode number of its directory, its
 * pid and those of its children. Removes groups and links. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4000 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void live(long microseconds)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    long end = time.tv_sec * 1000000 + time.tv_nsec / 1000 + microseconds;
    do
        clock_gettime(CLOCK_MONOTONIC, &time);
    while (time.tv_sec * 1000000 + time.tv_nsec / 1000 < end);
}

static void move(const char *group, pid_t pid)
{
    char path[MOST + 20], text[20];
    snprintf(path, sizeof path, "%s/cgroup.procs", group);
    int file = open(path, O_WRONLY | O_CLOEXEC), length = snprintf(text, sizeof text, "%d", pid);
    if (file < 0 || write(file, text, length) != length)
        die(path);
    close(file);
}

static void unit(pid_t *pids, const char *program, int children, long microseconds)
{
    for (int number = 1; number <= children; number++) {
        pid_t child = fork();
        if (child < 0)
            die("fork");
        if (child == 0) {
            if (number % 2 == 0)
                execl(program, program, NULL);
            live(microseconds);
            _exit(0);
        }
        pids[number] = child;
    }
    live(microseconds);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc == 1)
        _exit(0);
    if (argc != 7)
        return 2;
    const char *folder = argv[1], *way = argv[3];
    int units = atoi(argv[4]), children = atoi(argv[5]);
    long microseconds = atol(argv[6]);
    size_t size = (children + 1) * sizeof(pid_t);
    pid_t *pids = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pids == MAP_FAILED)
        die("mmap");
    for (int number = 0; number < units; number++) {
        char group[MOST], program[MOST];
        struct stat status;
        int moved[2];
        snprintf(group, sizeof group, "%s/unit%d", folder, number);
        snprintf(program, sizeof program, "%s.%d", argv[2], number);
        if (mkdir(group, 0755) || stat(group, &status) || symlink("/proc/self/exe", program) ||
            pipe2(moved, O_CLOEXEC))
            die(group);
        int directory = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct clone_args args = {.exit_signal = SIGCHLD, .flags = 0};
        if (!strcmp(way, "into")) {
            args.flags = CLONE_INTO_CGROUP;
            args.cgroup = directory;
        }
        pid_t child = syscall(SYS_clone3, &args, sizeof args);
        if (child < 0)
            die("clone3");
        if (child == 0) {
            char token;
            if (!strcmp(way, "self"))
                move(group, 0);
            if (!strcmp(way, "parent") && read(moved[0], &token, 1) != 1)
                die("read");
            unit(pids, program, children, microseconds);
        }
        pids[0] = child;
        if (!strcmp(way, "parent")) {
            move(group, child);
            if (write(moved[1], "!", 1) != 1)
                die("write");
        }
        close(moved[0]);
        close(moved[1]);
        close(directory);
        int result;
        if (waitpid(child, &result, 0) != child || result)
            die("waitpid");
        printf("%lu", (unsigned long)status.st_ino);
        for (int index = 0; index <= children; index++)
            printf(" %d", pids[index]);
        printf("\n");
        if (rmdir(group) || unlink(program))
            die(group);
    }
    return 0;
}
