"""Child processes kept alive: started, watched, restarted with back-off, stopped in order."""

import logging
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

_log = logging.getLogger("isthmus.supervisor")
_MOST_DEATHS = 3
_DEATHS_WINDOW_S = 60.0
_FIRST_PAUSE_S = 0.2
_GRACE_S = 1.0
# What our programs end with when a setting cannot be used: they have said which, and would say it again.
_UNUSABLE_SETTING = 2


@dataclass(slots=True)
class Child:
    """A process to be kept alive. `descriptors` are handed on to it, apart from its leash.

    `variables` are what it finds in its environment, where that is another one than ours.
    """

    name: str
    command: Sequence[str]
    descriptors: Sequence[int] = ()
    variables: Mapping[str, str] | None = None
    process: "subprocess.Popen[bytes] | None" = None
    start_again_at: float | None = None
    _leash: int = -1
    _deaths: deque[float] = field(default_factory=deque)

    def start(self) -> None:
        """Start the process, in a process group of its own, on a leash: `--leash FD` ends the command."""
        reading, self._leash = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*self.command, "--leash", str(reading)],
                stdin=subprocess.DEVNULL,
                env=self.variables,
                pass_fds=(*self.descriptors, reading),
                process_group=0,
            )
        finally:
            os.close(reading)
        self.start_again_at = None

    def buried(self) -> int | None:
        """The exit code of a process that has ended since the last call."""
        if self.process is None:
            return None
        code = self.process.poll()
        if code is not None:
            self.process = None
            os.close(self._leash)
        return code

    def hopeless(self, code: int) -> bool:
        """Whether it ended at its first start for a setting that cannot be used: another start is no use."""
        return code == _UNUSABLE_SETTING and not self._deaths

    def too_many_deaths(self, now: float) -> bool:
        """Note a death; whether it was the third in a minute."""
        self._deaths.append(now)
        while now - self._deaths[0] > _DEATHS_WINDOW_S:
            self._deaths.popleft()
        self.start_again_at = now + _FIRST_PAUSE_S * 2 ** (len(self._deaths) - 1)
        return len(self._deaths) >= _MOST_DEATHS

    def ask_to_stop(self) -> None:
        """Ask the process to finish what is in flight and end."""
        if self.process is not None:
            self.process.terminate()

    def stop(self, deadline_s: float) -> None:
        """Ask the process to end, and end it where it has not after `deadline_s` seconds."""
        if self.process is None:
            return
        self.ask_to_stop()
        try:
            self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            _log.warning("child=%s killed=true", self.name)
            self.process.kill()
            self.process.wait()
        os.close(self._leash)
        self.process = None


class Supervisor:
    """Runs children until it is told to stop, by a signal, by its own leash or by too many deaths."""

    def __init__(self, children: Sequence[Child], *, drain_s: float, together: bool = False) -> None:
        """`children` are started in this order and stopped in the reverse one, each within `drain_s`.

        With `together` they are all asked to stop at once.
        """
        self._children = children
        self._together = together
        self._drain_s = drain_s
        self._stopping = False
        self._wake_reading, self._wake_writing = os.pipe()
        os.set_blocking(self._wake_writing, False)

    def stop(self) -> None:
        """Stop the children and return from `run`; callable from any thread and from signal handlers."""
        self._stopping = True
        os.write(self._wake_writing, b"s")

    def run(self) -> int:
        """Keep the children alive; the exit code, 1 after too many deaths or an unusable setting."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, self._on_child)
        failed = False
        try:
            for child in self._children:
                child.start()
            while not self._stopping and not failed:
                select.select([self._wake_reading], [], [], self._pause())
                if select.select([self._wake_reading], [], [], 0)[0]:
                    os.read(self._wake_reading, 4096)
                failed = self._tend()
        finally:
            self._stop_children()
        return 1 if failed else 0

    def _stop_children(self) -> None:
        """Stop all within `drain_s` and a grace, or each within that, the last one first."""
        deadline = time.monotonic() + self._drain_s + _GRACE_S
        for child in self._children if self._together else ():
            child.ask_to_stop()
        for child in reversed(self._children):
            left = deadline - time.monotonic() if self._together else self._drain_s + _GRACE_S
            child.stop(max(left, 0.0))

    def _tend(self) -> bool:
        """Restart what has died; whether something died too often."""
        now = time.monotonic()
        for child in self._children:
            code = child.buried()
            if code is not None and not self._stopping:
                if child.hopeless(code):
                    _log.error("child=%s given_up=true code=%d", child.name, code)
                    return True
                _log.warning("child=%s died=true code=%d", child.name, code)
                if child.too_many_deaths(now):
                    _log.error("child=%s given_up=true deaths=%d", child.name, _MOST_DEATHS)
                    return True
            if child.process is None and child.start_again_at is not None and now >= child.start_again_at:
                child.start()
        return False

    def _pause(self) -> float | None:
        waiting = [child.start_again_at for child in self._children if child.start_again_at is not None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop()

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        os.write(self._wake_writing, b"c")
