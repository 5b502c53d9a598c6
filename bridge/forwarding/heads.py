"""The attributes that rules look at, read from the first bytes of an arriving data set."""

from collections.abc import Collection
from typing import Any, Protocol

import orjson

from service.dicom.errors import NotDicom
from service.dicom.header import Bulk, End, Walker
from service.dicom.record import BASE_SLOT
from service.dicom.syntaxes import Syntax

type Attributes = dict[str, Any]
"""DICOM JSON, parsed."""


class Arriving(Protocol):
    """A data set of which more is still to come."""

    @property
    def at_end(self) -> bool:
        """Whether everything was read."""
        ...

    async def read(self, at_least: int = 1) -> list[bytes]:
        """What has come since the last call, `at_least` so many bytes unless it ends before."""
        ...


async def attributes_of(
    first: list[bytes], rest: Arriving, syntax: Syntax, tags: Collection[int], *, most_bytes: int
) -> Attributes | None:
    """Those of the top-level attributes `tags` that a data set has; `first` is its beginning.

    What is read of `rest` is added to `first`. `None` if `most_bytes` do not tell, or cannot be read.
    """
    if syntax.deflated:
        return None
    walker, position, last = Walker(syntax), 0, max(tags)
    while True:
        head = first[0] if len(first) == 1 else b"".join(first)
        try:
            position, over = _walked(walker, head, position, last, whole=rest.at_end)
        except NotDicom:
            return None
        if over or rest.at_end:
            return _parsed(walker, tags) if over else None
        if max(len(head), position) >= most_bytes:
            return None
        # Doubled, so that crumbs are not read over and over; no more at a time than a window has room for.
        first += await rest.read(min(len(head), 1 << 16) or 1)


def _walked(walker: Walker, head: bytes, position: int, last: int, *, whole: bool) -> tuple[int, bool]:
    """Walk on from `position`: where to go on, and whether everything up to the tag `last` was seen."""
    while position < len(head):
        step = walker.walk(head, position, final=whole)
        if max(walker.elements, default=0) > last:
            return position, True
        if not isinstance(step, Bulk):
            return step.position, isinstance(step, End)
        if step.length is None:  # what follows encapsulated pixel data is not looked for
            return position, step.tag > last
        position = step.position + step.length
    return position, whole and position == len(head)


def _parsed(walker: Walker, tags: Collection[int]) -> Attributes:
    members = (walker.elements[tag] for tag in tags if tag in walker.elements)
    parsed: Attributes = orjson.loads(b"{" + b",".join(members).replace(BASE_SLOT, b"") + b"}")
    return parsed
