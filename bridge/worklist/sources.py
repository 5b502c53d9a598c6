"""What the worklist knows of a source of scheduled procedure steps."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from bridge.worklist.item import Step

BATCH = 500
"""Steps that a source gives at a time."""

type Days = tuple[str, str] | None
"""The first and the last start date as YYYYMMDD, an empty one being open; `None` for steps of any or none."""


class Source(Protocol):
    """Somewhere that scheduled procedure steps come from."""

    at_hand: bool
    """Whether all steps are in memory, so that those of other days cost next to nothing."""

    async def start(self) -> None:
        """Make ready, as far as nobody has to wait for it. May raise `StateUnavailable`."""
        ...

    def steps(self, days: Days) -> AsyncGenerator[Sequence[Step]]:
        """All steps that may start within `days`, in a fixed order, at most `BATCH` at a time.

        Raises `ArchiveError` if they cannot be had, or not all of them: a list that is cut must not look
        like a whole one.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds; nobody asks any more."""
        ...
