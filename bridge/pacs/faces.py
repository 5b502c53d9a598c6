"""Each PACS that is known by name as a DICOMweb server of its own: `/peers/NAME/dicom-web`."""

import asyncio
import dataclasses
import logging
import re
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from bridge.pacs.archive import PacsArchive
from bridge.pacs.cache import Cache
from bridge.pacs.inbox import Inbox
from bridge.peers import Peer
from bridge.settings import BridgeSettings
from service.app import create_app
from service.audit.trail import Trail
from service.dicom.errors import ArchiveError
from service.web.guard import Guard
from service.web.problems import http_status, problem

log = logging.getLogger("isthmus.pacs")

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Scope]]
type Send = Callable[[Scope], Awaitable[None]]
type ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_NAME = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}")  # of what needs no encoding in a URL or on a disk
_BESIDE = 32  # threads for requests that need not wait for the PACS, beside those that do
_PIXEL_CACHE = 64 << 20


class Faces:
    """The DICOMweb faces of all peers, each made when it is first asked for."""

    def __init__(
        self,
        settings: BridgeSettings,
        inbox: Inbox | None,
        loop: asyncio.AbstractEventLoop,
        sign_in: Guard | None = None,
        trail: Trail | None = None,
    ) -> None:
        """`loop` is that of the associations; without an `inbox` there is no C-MOVE.

        `sign_in` has people sign in, where they have to; `trail` is told what they did.
        """
        self._settings = settings
        self._inbox = inbox
        self._loop = loop
        self._sign_in = sign_in
        self._trail = trail
        self._faces: dict[str, _Face] = {}
        self._guard = threading.Lock()

    def app(self, name: str) -> ASGIApp | None:
        """The application of the peer `[peers.NAME]`; `None` if there is none, or its name is fit for no URL.

        Its paths begin with `/peers/NAME/dicom-web`, whatever part of them `root_path` holds.
        """
        peer = self._settings.peers.by_name(name)
        if peer is None or _NAME.fullmatch(name) is None:
            return None
        with self._guard:
            return self._faces.setdefault(name, _Face(lambda: self._open(peer), prefix_of(name)))

    async def close(self) -> None:
        """End all of them; on the loop of the associations."""
        with self._guard:
            faces = list(self._faces.values())
            self._faces.clear()
        for face in faces:
            await face.close()

    def _open(self, peer: Peer) -> tuple[PacsArchive, Any]:
        """The archive and the application of a peer; takes a look at what is in its cache."""
        chosen = self._settings.pacs
        web = dataclasses.replace(
            self._settings.web,
            prefix=prefix_of(peer.name),
            public_url="",
            workers=1,
            read_threads=chosen.waiting + _BESIDE,
            pixel_cache=_PIXEL_CACHE,
            cors=self._settings.control.cors,
        )
        cache = Cache(
            self._settings.state / "cache" / peer.name,
            most_bytes=chosen.cache_bytes,
            most_age_s=chosen.cache_s,
            web=web,
        )
        log.info("pacs peer=%s cache_bytes=%d", peer.name, cache.size_bytes)
        archive = PacsArchive(
            peer, self._settings, cache, self._inbox, self._loop, header_limit=web.header_limit
        )
        return archive, create_app(archive, web, guard=self._sign_in, trail=self._trail)


def prefix_of(name: str) -> str:
    """The DICOMweb root of a peer."""
    return f"/peers/{name}/dicom-web"


class _Face:
    """One application, opened by the first request, on whose loop it lives."""

    def __init__(self, make: Callable[[], tuple[PacsArchive, Any]], prefix: str) -> None:
        self._make = make
        self._prefix = prefix
        self._archive: PacsArchive | None = None
        self._app: ASGIApp | None = None
        self._opening: asyncio.Lock | None = None
        self._life: _Life | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            try:
                await self._open()
            except ArchiveError as error:
                await problem(http_status(error), str(error))(scope, receive, send)
                return
        assert self._app is not None
        path = str(scope.get("path", ""))
        if not path.startswith(self._prefix):  # some routers cut off what they have matched
            path = self._prefix + path
        await self._app({**scope, "path": path, "root_path": ""}, receive, send)

    async def close(self) -> None:
        if self._archive is not None:
            await self._archive.close()

    async def _open(self) -> None:
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._app is None:
                self._archive, app = await asyncio.to_thread(self._make)
                self._life = _Life(app)
                await self._life.begin()
                self._app = app


class _Life:
    """Tells an application of its start, and of its end when its loop ends (the lifespan of ASGI)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._started = asyncio.Event()
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Return when the application has started."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        self._task = asyncio.get_running_loop().create_task(self._live(scope))
        await self._started.wait()

    async def _live(self, scope: Scope) -> None:
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Scope:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # a loop that ends cancels what is left on it
            pass
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Scope) -> None:
        self._started.set()
