"""Whether the archive takes instances, as far as is known, and when it is asked again."""

import asyncio
import logging
import random

log = logging.getLogger("isthmus.spool")


class Reach:
    """What has become known of the archive.

    After a failure it is left alone for a pause, which is twice as long after each trial in vain, up to
    `longest_s`; between half of a pause and all of it by chance, so that several bridges do not come at once.
    """

    def __init__(self, *, pause_s: float, longest_s: float) -> None:
        self.because = ""
        """Why it takes nothing, empty while it does."""
        self._first_s = pause_s
        self._longest_s = longest_s
        self._pause_s = pause_s
        self._known_at = 0.0
        self._due = 0.0

    @property
    def is_up(self) -> bool:
        """Whether it took what it was sent last."""
        return not self.because

    @property
    def wait_s(self) -> float:
        """How long it is left alone from here on; 0 if it may be tried."""
        if self.is_up:
            return 0.0
        return max(0.0, self._due - asyncio.get_running_loop().time())

    def answered(self) -> None:
        """The archive has taken an instance, or has refused it by a word on the instance."""
        if not self.is_up:
            log.info("the archive takes instances again")
        self.because = ""
        self._pause_s = self._first_s

    def failed(self, because: str, *, begun: float) -> None:
        """A trial that began at this time of the loop was in vain.

        Those that were under way together are one.
        """
        if not self.is_up and begun < self._known_at:
            return
        if because != self.because:
            log.warning("the archive takes no instances: %s", because)
        self.because = because
        self._known_at = asyncio.get_running_loop().time()
        self._due = self._known_at + self._pause_s * random.uniform(0.5, 1.0)
        self._pause_s = min(2 * self._pause_s, self._longest_s)
