"""Searches in the DICOMweb server behind the bridge (QIDO-RS, PS3.18 10.6): page by page, bounded."""

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import orjson

from bridge.archive.remote import Incoming, RemoteArchive
from service.dicom.errors import (
    BadRequest,
    Busy,
    NotAuthorized,
    TooMany,
    UpstreamFailed,
    UpstreamTimeout,
)
from service.dicom.targets import Targets, targets

log = logging.getLogger("isthmus.archive")

PAGE = 500
"""Matches that are asked for at a time."""

_PAGE_ELEMENTS = 20_000  # where many attributes are asked of each; about 8 MB in memory
_LEAST = 20
_SLICE_S = 0.01  # of filtering, before others have their turn
_PAGE_BYTES = 2 << 20  # of one page, or fewer matches are asked for: it is parsed in one go
_MOST_BYTES = 32 << 20  # of a page of the fewest matches; ours end at 16 MiB
_ACCEPT = "application/dicom+json"
_TRIES = 3  # where the server is busy
_LONGEST_WAIT_S = 2
_MUCH_LATER_S = 60
# PS3.18 8.3.4.4, and what others make of the sentence.
_MORE = re.compile(r"additional\s+results", re.IGNORECASE)

type Match = Mapping[str, Any]


class _LongPage(Exception):
    """The page has more bytes than fewer matches would have."""


async def pages(
    archive: RemoteArchive, asked: Targets, *, page: int | None = None
) -> AsyncGenerator[list[Match]]:
    """The matches of a search as they come, parsed, those that are not asked for left out.

    They are asked for `page` at a time, by default 500 or fewer of many attributes. A page may be empty.
    What the page before had is left out as well, since studies that arrive meanwhile shift those behind
    them. Raises `BadRequest` if the server does not understand the search, `NotAuthorized`, `TooMany`,
    `Busy`, `UpstreamFailed` or `UpstreamTimeout`.
    """
    if any("%" in request for request in asked.requests) and not await _decodes(archive):
        asked = targets(asked.query, decodes=False)
    page = page or max(_LEAST, min(PAGE, _PAGE_ELEMENTS // max(1, len(asked.query.fields))))
    for request in asked.requests:
        offset = 0
        before: set[bytes] = set()
        while True:
            try:
                found, more = await _page(archive, request, page, offset)
            except _LongPage:
                page = max(_LEAST, page // 8)
                continue
            offset += len(found)
            told = {_identity(match): match for match in found}
            fresh = [match for identity, match in told.items() if identity not in before]
            yield await _kept(fresh, asked)
            # A server that pays no heed to the offset would go on for ever. If it does so to the limit
            # too, all was told; otherwise nobody knows.
            if found and not fresh and (more or len(found) == page):
                raise TooMany("The archive tells no more than a page; narrow the search.")
            if not fresh or not (more or len(found) >= page):
                break
            before = set(told)


async def _decodes(archive: RemoteArchive) -> bool:
    """Whether the server decodes what is percent-encoded; an empty one, which cannot tell, is taken to."""
    if archive.decodes is None:
        try:
            found, _ = await _page(archive, "/studies?00100020=%2A", 1, 0)
            if found or (await _page(archive, "/studies", 1, 0))[0]:
                archive.decodes = bool(found)
                log.info("archive decodes=%s", archive.decodes)
        except (BadRequest, TooMany):  # it does not list all that it has
            archive.decodes = True
    return archive.decodes is not False


async def _kept(found: list[Match], asked: Targets) -> list[Match]:
    """The matches that the search is for; the filter may be a costly one."""
    if not asked.residual:
        return found
    kept: list[Match] = []
    begun = time.monotonic()
    for match in found:
        if asked.keeps(match):
            kept.append(match)
        if time.monotonic() - begun > _SLICE_S:
            await asyncio.sleep(0)
            begun = time.monotonic()
    return kept


async def _page(archive: RemoteArchive, request: str, limit: int, offset: int) -> tuple[list[Match], bool]:
    """Matches, and whether the server says that there are more."""
    joint = "&" if "?" in request else "?"
    target = f"{request}{joint}limit={limit}&offset={offset}"
    for left in reversed(range(_TRIES)):
        answer = await archive.open(target, {"Accept": _ACCEPT})
        try:
            body = await _whole(answer, _PAGE_BYTES if limit > _LEAST else _MOST_BYTES)
        finally:
            answer.close()
        if answer.status not in (429, 503) or _much_later(answer):
            break
        if left:
            await asyncio.sleep(_wait_s(answer))
    # A study that is not there has no series; without one, 404 says that there is no DICOMweb server.
    if answer.status == 204 or (answer.status == 404 and request.startswith("/studies/")):
        return [], False
    if answer.status not in (200, 206):
        raise _error(answer.status)
    return _matches(body), bool(_MORE.search(answer.headers.get("warning", "")))


async def _whole(answer: Incoming, most_bytes: int) -> bytes:
    body = bytearray()
    while blocks := await answer.read():
        body += b"".join(blocks)
        if len(body) > _MOST_BYTES:
            raise UpstreamFailed("The archive's answer to a search is longer than it may be.")
        if len(body) > most_bytes:
            raise _LongPage
    return bytes(body)


def _matches(body: bytes) -> list[Match]:
    try:
        found = orjson.loads(body) if body.strip() else []
    except orjson.JSONDecodeError:
        raise UpstreamFailed("The archive's answer to a search is no DICOM JSON.") from None
    if not isinstance(found, list):
        raise UpstreamFailed("The archive's answer to a search is no list of matches.")
    return [match for match in found if isinstance(match, dict)]


def _error(status: int) -> Exception:
    if status in (401, 403):
        return NotAuthorized("The archive does not allow the bridge to search.")
    if status in (413, 414):
        return TooMany("The search is too broad for the archive.")
    if status in (429, 503):
        return Busy("The archive is busy.")
    if status == 504:
        return UpstreamTimeout("The archive did not answer in time.")
    if status in (404, 410):
        return UpstreamFailed("There is no DICOMweb server where the archive should be.")
    if 400 <= status < 500:
        return BadRequest("The archive does not take these keys.")
    return UpstreamFailed("The archive failed to search.")


def _identity(match: Match) -> bytes:
    """What tells a match from others: its UIDs, or all of it where it has none."""
    uids = [match.get(tag) for tag in ("0020000D", "0020000E", "00080018")]
    return orjson.dumps(uids if any(uids) else match)


def _much_later(answer: Incoming) -> bool:
    """Whether a busy server says that it is no use to ask again soon, as of a search that costs too much."""
    told = answer.headers.get("retry-after", "")
    return told.isascii() and told.isdigit() and int(told) >= _MUCH_LATER_S


def _wait_s(answer: Incoming) -> float:
    told = answer.headers.get("retry-after", "")
    wait_s = min(int(told), _LONGEST_WAIT_S) if told.isascii() and told.isdigit() else _LONGEST_WAIT_S
    return wait_s * random.uniform(0.5, 1.0)  # not all associations at once
