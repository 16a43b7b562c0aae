/* So many processes that sleep, as cheap as can be: each runs a moment when it gets SIGUSR1. Prints
   their pids; they end when stdin is closed, or with this process.

   cc -O2 -o sleepers sleepers.c; ./sleepers COUNT */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing(int number) { (void)number; }

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 0;
    pid_t *pids = calloc(count > 0 ? count : 1, sizeof *pids), parent = getpid();
    if (count <= 0 || !pids) return 64;
    signal(SIGUSR1, nothing);
    for (int i = 0; i < count; i++) {
        pids[i] = fork();
        if (pids[i] < 0) {
            perror("fork");
            count = i;
            break;
        }
        if (!pids[i]) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent) _exit(1);
            close(0);
            close(1);
            for (;;) pause();
        }
        printf("%d\n", (int)pids[i]);
    }
    printf("\n");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) < 0 && errno == EINTR) continue;
    for (int i = 0; i < count; i++) kill(pids[i], SIGKILL);
    while (wait(NULL) > 0 || errno == EINTR) continue;
    return 0;
}
