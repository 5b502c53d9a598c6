"""What the first process of a container owes to the others: signals passed on, orphans buried."""

import os
import signal

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def attend() -> int | None:
    """Go on in a child: `None` there, and here its exit code once it has ended, 128 + N after signal N.

    Until then this process passes on to the child what it is sent, and waits for every process that has
    lost its parent, since such become children of the first one and would stay as zombies.
    """
    awaited = {*_PASSED_ON, signal.SIGCHLD}
    # Blocked signals reach even a first process, for which the kernel drops those that nobody handles.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child == 0:
        # A terminal sends Ctrl-C to its whole group: it comes once, from the parent.
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    while True:
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            os.kill(child, number)
        elif (code := _bury(child)) is not None:
            return code if code >= 0 else 128 - code


def _bury(child: int) -> int | None:
    """Wait for all that have ended; the exit code of `child` if it is among them."""
    code = None
    while code is None:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if not ended:
            return None
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
    return code
