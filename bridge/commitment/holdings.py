"""What the archive holds of given instances, and of which class: asked by QIDO (PS3.18 10.6)."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import orjson

from bridge.archive.http1 import HttpAnswer
from bridge.archive.remote import RemoteArchive
from service.dicom.errors import ArchiveError, UpstreamFailed
from service.dicom.resource import is_uid

log = logging.getLogger("isthmus.archive")

_MOST_BYTES = 16 << 20
_TOGETHER = 100  # UIDs in one query, below 8 KiB of URL
_SOP_CLASS = "00080016"
_SOP_INSTANCE = "00080018"
_NOT_THERE = frozenset({404, 405, 501})
_URI_TOO_LONG = 414
_LATER = frozenset({401, 403, 408, 429})

type Search = Callable[[str], Awaitable[HttpAnswer]]
"""Asks for what comes after the DICOMweb root; raises `UpstreamFailed`."""

type Classes = dict[str, set[str]]
"""The classes of each instance that is held, by its UID; an empty text for one that is not said."""


def search_of(archive: RemoteArchive) -> Search:
    """Searches in `archive`."""

    async def search(target: str) -> HttpAnswer:
        incoming = await archive.open(target, {"Accept": "application/dicom+json"})
        try:
            body = bytearray()
            while blocks := await incoming.read():
                body += b"".join(blocks)
                if len(body) > _MOST_BYTES:
                    raise UpstreamFailed("The archive's answer to a search is too long.")
            return HttpAnswer(incoming.status, incoming.headers, bytes(body))
        finally:
            incoming.close()

    return search


class Promised(Protocol):
    """Instances that were acknowledged before the archive had them."""

    async def gone(self, instance: str) -> None:
        """Return when nothing under this SOP Instance UID waits for the archive."""
        ...

    def awaits(self, instance: str) -> bool:
        """Whether something under this SOP Instance UID waits for the archive."""
        ...

    def detains(self, instance: str) -> bool:
        """Whether the archive has refused something under this SOP Instance UID afterwards."""
        ...


class NotSearchable(ArchiveError):
    """The archive does not answer such a search, at any time."""


async def classes_of(instances: Iterable[str], search: Search) -> Classes:
    """The classes of those of `instances` that the archive holds.

    Raises `NotSearchable`, and `UpstreamFailed` if it may be asked again later.
    """
    wanted = list(dict.fromkeys(instances))
    found: Classes = {}
    for start in range(0, len(wanted), _TOGETHER):
        await _look_up(wanted[start : start + _TOGETHER], search, found)
    return found


async def _look_up(wanted: Sequence[str], search: Search, found: Classes) -> None:
    """Ask for what is not found until nothing more comes: servers cap their answers as they like."""
    left = list(wanted)
    while left:
        rows = await _rows(left, search)
        for row in rows:
            instance = _text(row, _SOP_INSTANCE)
            if instance in left:
                found.setdefault(instance, set()).add(_text(row, _SOP_CLASS))
        missing = [instance for instance in left if instance not in found]
        if len(missing) == len(left) or not missing:
            return
        left = missing


async def _rows(instances: Sequence[str], search: Search) -> list[dict[str, Any]]:
    answer = await search(f"/instances?SOPInstanceUID={','.join(instances)}&includefield={_SOP_CLASS}")
    if answer.status == 204:
        return []
    if answer.status == 200:
        return _document(answer.body)
    if answer.status == _URI_TOO_LONG and len(instances) > 1:
        half = len(instances) // 2
        return await _rows(instances[:half], search) + await _rows(instances[half:], search)
    if answer.status in _NOT_THERE or (answer.status < 500 and answer.status not in _LATER):
        raise NotSearchable(f"The archive answers {answer.status} to a search for instances.")
    raise UpstreamFailed(f"The archive answers {answer.status} to a search for instances.")


def _document(body: bytes) -> list[dict[str, Any]]:
    try:
        rows = orjson.loads(body) if body.strip() else []
    except orjson.JSONDecodeError as cause:
        raise UpstreamFailed("The archive's answer to a search is no JSON.") from cause
    if not isinstance(rows, list):
        raise UpstreamFailed("The archive's answer to a search is no list.")
    return [row for row in rows if isinstance(row, dict)]


def _text(row: dict[str, Any], tag: str) -> str:
    element = row.get(tag)
    value = element.get("Value") if isinstance(element, dict) else None
    text = value[0] if isinstance(value, list) and value else ""
    return text if isinstance(text, str) and is_uid(text) else ""
