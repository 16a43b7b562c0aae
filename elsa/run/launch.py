"""Start a command that is a member of its job before it can do anything, and stand in for it until
it ends.

The child is forked first and waits; `register` tells jobd of it; only then does it become the
command.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from elsa.decode.comm import escape
from elsa.errors import ElsaError, UsageError

# What every shell ends with where a command cannot be executed, or is not there.
NOT_EXECUTABLE = 126
NOT_FOUND = 127
# Enough to know a job by its command's name.
LONGEST_TITLE = 100

# Signals that are passed on to the command. Not: what a fault of our own would raise, what cannot
# be caught, what Python ignores and writing to a closed stderr would raise (PIPE, XFSZ), and what
# the terminal sends to the one who reads or writes it (TTIN, TTOU).
_OURS = {
    "SIGBUS",
    "SIGCHLD",
    "SIGFPE",
    "SIGILL",
    "SIGKILL",
    "SIGPIPE",
    "SIGSEGV",
    "SIGSTOP",
    "SIGSYS",
    "SIGTRAP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGXFSZ",
}
_PASSED_ON = frozenset(signal.valid_signals()) - {getattr(signal, name) for name in _OURS}
_HEARD = _PASSED_ON | {signal.SIGCHLD}
# What a terminal sends to every process in its foreground group (not HUP, which may go to the
# session's leader alone).
_FROM_TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH}
_SI_KERNEL = 0x80  # include/uapi/asm-generic/siginfo.h: sent by the kernel and not by a process
_STOPS = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
_PR_SET_DUMPABLE = 4  # include/uapi/linux/prctl.h


class NotStartedError(ElsaError):
    """The command could not be executed; the exit codes are those of every shell."""

    def __init__(self, command: str, number: int) -> None:
        self.exit_code = _exit_code(number)
        super().__init__(
            f"{command}:"
            f" {'command not found' if self.exit_code == NOT_FOUND else os.strerror(number)}"
        )


def _exit_code(number: int | None) -> int:
    return NOT_FOUND if number in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE


def title_of(command: Sequence[str]) -> str:
    """What a job is called whose command was given, but no name. Raises UsageError for an empty
    command.
    """
    if not command or not command[0]:
        raise UsageError("the command is empty; there is nothing to run")
    name = escape(os.fsencode(Path(command[0]).name))[:LONGEST_TITLE].strip()
    return name if name and not name.isdigit() else f"command {name}".strip()


def launch(command: Sequence[str], register: Callable[[int], None]) -> int:
    """Run a command and return its wait status. If `register`, which gets its pid, raises, the
    command is never run.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    on_child = signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # if it came ignored, there would be nothing to wait for
    try:
        ours, theirs = socket.socketpair()  # both ends close on exec
        with ours:
            with theirs:
                child = os.fork()
                if child == 0:
                    ours.close()
                    _become(command, theirs, mask, on_child)
            try:
                register(child)
            except BaseException:
                ours.close()  # the child takes this for "no"
                os.waitpid(child, 0)
                raise
            with contextlib.suppress(BrokenPipeError):  # it was killed while it waited
                ours.send(b"!")
            failure = ours.recv(16)  # nothing: the exec closed the other end
        if failure:
            os.waitpid(child, 0)
            raise NotStartedError(command[0], int(failure))
        return _attend(child)
    finally:
        signal.signal(signal.SIGCHLD, on_child)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end_like(status: int) -> NoReturn:
    """End as the command did: with its exit status, or by the signal that it died from."""
    if os.WIFSIGNALED(status):
        ctypes.CDLL(None).prctl(
            _PR_SET_DUMPABLE, 0, 0, 0, 0
        )  # the core worth keeping is the command's
        _suffer(os.WTERMSIG(status))
        sys.exit(128 + os.WTERMSIG(status))
    sys.exit(os.WEXITSTATUS(status))


def _become(
    command: Sequence[str], channel: socket.socket, mask: Iterable[int], on_child: object
) -> NoReturn:
    """In the child: wait for the word, undo what Python and launch() did to the signals, and become
    the command.
    """
    try:
        if channel.recv(1):
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if callable(signal.getsignal(number)):
                    signal.signal(
                        number, signal.SIG_DFL
                    )  # else Python would swallow one that comes between here and exec
            if on_child is signal.SIG_IGN:
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            _execute(command)
    except OSError as error:
        channel.send(str(error.errno).encode())
        os._exit(_exit_code(error.errno))
    finally:
        os._exit(NOT_FOUND)


def _execute(command: Sequence[str]) -> NoReturn:
    """Become the command; a script that does not name its interpreter is one for sh, as execvp(3)
    has it.
    """
    try:
        os.execvp(command[0], list(command))  # noqa: S606
    except OSError as error:
        script = shutil.which(command[0])
        if error.errno != errno.ENOEXEC or script is None:
            raise
        os.execv("/bin/sh", ["sh", script, *command[1:]])  # noqa: S606


def _attend(child: int) -> int:
    """Pass signals on and stop when the command stops, until it ends; its wait status."""
    while True:
        info = signal.sigwaitinfo(_HEARD)
        if info.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            if pid and not os.WIFSTOPPED(status):
                return status
            if (
                pid and os.WSTOPSIG(status) in _STOPS
            ):  # not STOP: who sent that to the command alone will also continue it alone
                _suffer(os.WSTOPSIG(status))
        elif not _has_it_already(info, child):
            with contextlib.suppress(PermissionError):  # the command has become another user
                os.kill(child, info.si_signo)


def _has_it_already(info: signal.struct_siginfo, child: int) -> bool:
    """Did the terminal send this to the command as well as to us?"""
    return (
        info.si_code == _SI_KERNEL
        and info.si_signo in _FROM_TERMINAL
        and os.getpgid(child) == os.getpgrp()
    )


def _suffer(number: int) -> None:
    """Let a signal do to this process what it does by default. It is sent while blocked, so that
    one that waits already is the same one.
    """
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
