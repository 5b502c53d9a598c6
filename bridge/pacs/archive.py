"""The archive port over a PACS: called from threads, answered by the cache and the loop of associations."""

import asyncio
import dataclasses
import threading
from collections.abc import Buffer, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

from bridge.pacs.cache import Cache
from bridge.pacs.fetching import Fetching
from bridge.pacs.inbox import Inbox
from bridge.pacs.known import Known
from bridge.pacs.line import Line
from bridge.pacs.outgoing import Parcel, PeerIntake, Sender
from bridge.pacs.searching import Searching
from bridge.pacs.transfer import Transfer
from bridge.peers import Peer
from bridge.settings import BridgeSettings, PacsSettings
from bridge.upper.messages import AssociationLost
from service.archive.admitting import not_permitted, require_permitted
from service.archive.port import Answer, Documents, FileRun, Held, Intake, Outcome, Stored
from service.dicom.confinement import Confinement
from service.dicom.errors import Busy, NotFound, Superseded, UpstreamFailed, UpstreamTimeout
from service.dicom.frames import Extent
from service.dicom.query import Query
from service.dicom.record import syntax_and_pixels
from service.dicom.resource import Level, Resource
from service.dicom.scan import Scanned
from service.room import Room

_HEADERS_TOGETHER = 256 << 20


class PacsArchive:
    """The studies of one PACS as an archive that can be searched, read and stored into.

    Every method may raise `Busy`, `NotAuthorized`, `UpstreamFailed`, `UpstreamTimeout`, and
    `StoreUnavailable` or `IndexUnavailable` of the cache. Called on an event loop, a method that would have
    to wait for the PACS raises `Superseded`, so that it is called again in a thread.
    """

    def __init__(
        self,
        peer: Peer,
        settings: BridgeSettings,
        cache: Cache,
        inbox: Inbox | None,
        loop: asyncio.AbstractEventLoop,
        *,
        header_limit: int,
    ) -> None:
        """`loop` is that of the associations; without an `inbox` there is no C-MOVE."""
        chosen = settings.pacs
        self._settings = chosen
        self._cache = cache
        self._loop = loop
        self._header_limit = header_limit
        self._budget = Room(_HEADERS_TOGETHER)
        self._known = Known(chosen.fresh_s)
        cache.on_forgotten = self._known.forget
        line = self._line = Line(peer, settings.limits, calling=settings.ae_title, most=chosen.associations)
        self._searching = Searching(line, chosen)
        transfer = Transfer(line, inbox, chosen)
        self._fetching = Fetching(line, transfer, cache, self._known, chosen)
        self._sender = Sender(line)
        self._crossing = _Crossing(loop, chosen)

    @property
    def nearby(self) -> bool:
        """What is in the cache lies on this machine; for the rest see `Superseded`."""
        return True

    def find(self, query: Query) -> Answer:
        within = query.confinement
        if within is not None and query.study is not None and query.level is not Level.STUDY:
            if not self._permits(query.study, within):
                return Answer((), total=0)
            query = dataclasses.replace(query, confinement=None)  # what is below has the same answer for all
        told = self._crossing.wait(self._searching.find(query))
        syntaxes: dict[str, str] = {}
        if query.level is Level.INSTANCE and query.study is not None:
            for held in self._cache.held(Resource(query.study, query.series)):
                syntaxes[held.key.instance] = syntax_and_pixels(held.syntax, held.shape, held.pixels)
        return told.page(query, syntaxes)

    def instances(self, resource: Resource, *, within: Confinement | None = None) -> Sequence[Held]:
        if resource.instance is not None and self._known.is_fresh(resource):
            try:
                return self._used(resource, self._cache.archive.instances(resource, within=within))
            except NotFound:
                pass  # the PACS has it, the cache not yet, or it is another's
        self._have(resource, within)
        return self._used(resource, self._cache.archive.instances(resource, within=within))

    def landed(self, resource: Resource, *, within: Confinement | None = None) -> Sequence[Held] | None:
        """What has to be fetched, once its bytes are there; see `Lands`."""
        if resource.level is Level.INSTANCE or self._known.is_fresh(resource):
            return None
        if within is not None and within.patients_for(resource.study) is not None:
            return None  # whose it is has to be seen in what came
        return self._crossing.wait(self._fetching.landed(resource))

    def documents(
        self, resource: Resource, *, unless: str | None = None, within: Confinement | None = None
    ) -> Documents | None:
        self._have(resource, within)
        return self._cache.archive.documents(resource, unless=unless, within=within)

    def read(self, held: Held, extent: Extent) -> Buffer:
        self._cache.use(held.key)
        return self._cache.archive.read(held, extent)

    def lend(self, held: Held, extent: Extent) -> FileRun | None:
        """A run of an instance's object as one of a file; `None` says to `read` it."""
        self._cache.use(held.key)
        return self._cache.archive.lend(held, extent)

    def frames(self, held: Held, numbers: Sequence[int]) -> Sequence[Extent] | None:
        return self._cache.archive.frames(held, numbers)

    def lacking(self, resource: Resource) -> int:
        """How many instances the PACS lists of `resource` and could not send."""
        return self._known.lacking(resource)

    def intake(self, study: str | None = None, *, within: Confinement | None = None) -> Intake:
        return PeerIntake(
            self._send,
            self._settings,
            header_limit=self._header_limit,
            study=study,
            budget=self._budget,
            admit=partial(self._admit, within=within),
        )

    def ready(self) -> None:
        """Return if the cache can be used; `IndexUnavailable` if not. The PACS is not asked."""
        self._cache.archive.ready()

    async def close(self) -> None:
        """Give up what is under way and let go of the cache; on the loop of the associations."""
        self._crossing.close()
        self._line.close()
        await self._fetching.close()
        await self._searching.close()
        await self._line.closed()
        await asyncio.to_thread(self._cache.close)

    def _have(self, resource: Resource, within: Confinement | None) -> None:
        """Return when what can be had of `resource` is in the cache, by a word of the PACS that is good.

        `NotFound` where the PACS has it for others only: nothing is fetched for who may not see it.
        """
        if within is not None and not self._permits(resource.study, within):
            raise NotFound(f"The PACS has no such {resource.level.name.lower()}.")
        if self._known.is_fresh(resource) and (resource.instance is None or self._cache.held(resource)):
            if not self._known.is_fresh(resource, part=0.5):
                self._crossing.begin(self._fetching.refresh, resource)
            return
        self._crossing.wait(self._fetching.ready(resource))

    def _permits(self, study: str, within: Confinement) -> bool:
        """Whether the PACS has `study`, or may have it, and it may be known of."""
        if within.patients_for(study) is None:
            return True
        query = Query(Level.STUDY, study=study, confinement=within)
        return bool(self._crossing.wait(self._searching.find(query)).matches)

    def _admit(self, scanned: Scanned, within: Confinement | None) -> None:
        """`NotAuthorized` for an object that is not `within`, or of a study in the PACS that is not."""
        require_permitted(scanned, within)
        study = scanned.key.study
        if within is None or self._permits(study, within):
            return
        if self._crossing.wait(self._searching.find(Query(Level.STUDY, study=study))).matches:
            raise not_permitted()

    def _used(self, resource: Resource, held: Sequence[Held]) -> Sequence[Held]:
        for one in held if resource.series is None else held[:1]:
            self._cache.use(one.key)
        return held

    def _send(self, parcels: Sequence[Parcel]) -> dict[int, Outcome]:
        outcomes = self._crossing.wait(self._sender.send(parcels))
        for parcel in parcels:
            if isinstance(outcomes.get(parcel.place), Stored):
                self._known.stored(parcel.key)
        self._crossing.begin(self._searching.forget)
        return outcomes


class _Crossing:
    """From threads to the loop of the associations: bounded, and never for ever."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: PacsSettings) -> None:
        self._loop = loop
        self._most = settings.waiting
        self._wait_s = settings.wait_s
        self._waiting = 0
        self._guard = threading.Lock()
        self._closed = False

    def wait[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What `coroutine` returns. `Superseded` on an event loop, `Busy` where too many wait."""
        if _on_a_loop():
            coroutine.close()
            raise Superseded("The PACS has to be asked.")
        with self._guard:
            if self._closed or self._waiting >= self._most:
                coroutine.close()
                raise Busy("Too many requests wait for the PACS; try again shortly.")
            self._waiting += 1
        try:
            return self._result(coroutine)
        finally:
            with self._guard:
                self._waiting -= 1

    def begin[**P](self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call `function` over there, without waiting for it."""
        if not self._closed:
            self._loop.call_soon_threadsafe(lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Let nobody wait any more."""
        self._closed = True

    def _result[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(self._wait_s)
        except TimeoutError as cause:
            future.cancel()
            raise UpstreamTimeout("The PACS takes too long.") from cause
        except CancelledError as cause:
            raise Busy("The bridge is stopping.") from cause
        except AssociationLost as cause:
            raise UpstreamFailed("The PACS ended the association.") from cause


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
