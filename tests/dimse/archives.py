"""DICOMweb servers of all kinds behind the bridge, which behave as a test says."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from service.dicom.errors import (
    ArchiveError,
    BadRequest,
    NotAuthorized,
    TooMany,
    UpstreamFailed,
    UpstreamTimeout,
)

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


def a_match(number: int) -> dict[str, Any]:
    return {
        "00100020": {"vr": "LO", "Value": [f"P{number}"]},
        "0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]},
    }


def matches(numbers: range, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response([a_match(number) for number in numbers], headers=headers)


@dataclass
class Server:
    """A DICOMweb server that answers searches as its `behave` says, and remembers what was asked."""

    behave: Behaviour | None = None
    asked: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs.removeprefix("/dicom-web"))
        self.arrived.set()
        assert self.behave is not None
        return await self.behave(request)

    @property
    def offsets(self) -> list[int]:
        return [int(one.partition("offset=")[2]) for one in self.asked]

    async def hang(self, request: web.Request) -> web.StreamResponse:
        """Never answer; note when the client has gone."""
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        raise AssertionError


def holding(total: int) -> Behaviour:
    """A server that holds so many studies and heeds limit and offset."""

    async def behave(request: web.Request) -> web.StreamResponse:
        begin = int(request.query["offset"])
        end = min(total, begin + int(request.query["limit"]))
        return matches(range(begin, end)) if begin < end else web.Response(status=204)

    return behave


def answering(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Behaviour:
    async def behave(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return behave


# What a server answers, the error that it is, and the status of a C-FIND.
ERRORS: list[tuple[int, type[ArchiveError], int]] = [
    (400, BadRequest, 0xA900),
    (401, NotAuthorized, 0x0124),
    (403, NotAuthorized, 0x0124),
    (404, UpstreamFailed, 0xA700),
    (413, TooMany, 0xA700),
    (414, TooMany, 0xA700),
    (500, UpstreamFailed, 0xA700),
    (501, UpstreamFailed, 0xA700),
    (502, UpstreamFailed, 0xA700),
    (504, UpstreamTimeout, 0xA700),
    (302, UpstreamFailed, 0xA700),
]
