"""The modality worklist: scheduled procedure steps of all sources, as a query wants them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from bridge.worklist.item import Step, with_status
from bridge.worklist.sources import Source
from service.dicom.worklist import WorklistQuery

_AT_ONCE = 50  # steps that are compared before anything else has its turn

# Performed Procedure Step Status (PS3.3 C.4.14), and what it makes of the scheduled one (PS3.3 C.4.10).
IN_PROGRESS, COMPLETED, DISCONTINUED = "IN PROGRESS", "COMPLETED", "DISCONTINUED"
_STARTED = "STARTED"

type Performed = Callable[[Step], str | None]
"""The status of the performed procedure steps of a scheduled one, `None` if none is known."""


class Worklist:
    """What modalities are told.

    Of a step that two sources have, the first one's counts. A step is told as STARTED while one is performed
    for it, with `hide_done` not at all once that is completed, and as before if it is discontinued.
    """

    def __init__(self, sources: Sequence[Source], performed: Performed, *, hide_done: bool) -> None:
        self._sources = sources
        self._performed = performed
        self._hide_done = hide_done

    async def start(self) -> None:
        """Make the sources ready. Raises `StateUnavailable`."""
        for source in self._sources:
            await source.start()

    async def matches(self, query: WorklistQuery) -> AsyncGenerator[list[dict[str, Any]]]:
        """The items that match, as parsed DICOM JSON, a few at a time and sometimes none.

        Raises `ArchiveError` if a source has not told all that it has.
        """
        told: set[tuple[str, str]] = set()
        for source in self._sources:
            # A step that was put off must not be told as a later source still has it, for its day of before.
            all_days = source.at_hand and source is not self._sources[-1]
            async with aclosing(source.steps(None if all_days else query.days)) as batches:
                async for batch in batches:
                    for begin in range(0, len(batch), _AT_ONCE):
                        some = batch[begin : begin + _AT_ONCE]
                        if len(self._sources) > 1:
                            some = _untold(some, told)
                        yield self._kept([one for one in some if one.may_be_within(query.days)], query)
                        await asyncio.sleep(0)

    async def close(self) -> None:
        """Let go of the sources."""
        for source in self._sources:
            await source.close()

    def _kept(self, steps: Sequence[Step], query: WorklistQuery) -> list[dict[str, Any]]:
        kept: list[dict[str, Any]] = []
        for step in steps:
            status = self._performed(step)
            if status == COMPLETED and self._hide_done:
                continue
            dataset = step.dataset()
            if status == IN_PROGRESS:
                dataset = with_status(dataset, _STARTED)
            if query.keeps(dataset):
                kept.append(dataset)
        return kept


def _untold(steps: Sequence[Step], told: set[tuple[str, str]]) -> list[Step]:
    """`steps` without those that were told; those that cannot be told apart are all told."""
    kept: list[Step] = []
    for step in steps:
        key = (step.study, step.step_id)
        if all(key):
            if key in told:
                continue
            told.add(key)
        kept.append(step)
    return kept
