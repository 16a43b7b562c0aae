/*
 * As many processes as the machine can start: spawn WORKERS COUNT [PROGRAM].
 *
 * Each worker starts COUNT children, one after the other, that execute PROGRAM, or exit at once.
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    int workers = atoi(arguments[1]), children = atoi(arguments[2]), status, failed = 0;
    for (int worker = 0; worker < workers; worker++)
        if (fork() == 0) {
            for (int child = 0; child < children; child++) {
                pid_t pid = -1;
                if (count > 3)
                    failed = posix_spawn(&pid, arguments[3], NULL, NULL, arguments + 3, environ);
                else if ((pid = fork()) == 0)
                    _exit(0);
                if (failed || pid < 0 || waitpid(pid, &status, 0) != pid || status)
                    _exit(1);
            }
            _exit(0);
        }
    while (wait(&status) > 0)
        failed |= status;
    return failed != 0;
}
