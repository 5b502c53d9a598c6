"""The web application: the map of the house."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service import tracing
from service.archive.port import Forgets, Recalls, ServedArchive, WholeArchive
from service.audit.trail import Trail
from service.dicom.errors import ArchiveError
from service.pixels.workshop import Workshop
from service.settings import Settings
from service.web import (
    bulkdata,
    capabilities,
    collected,
    findings,
    forget,
    frames,
    health,
    metadata,
    ohif,
    openapi,
    page,
    problems,
    qido,
    reference,
    rendered,
    sampling,
    shares,
    signing_in,
    stow,
    uri,
    wado,
)
from service.web.arriving import drained
from service.web.cors import Cors
from service.web.finished import FinishedAnswers
from service.web.guard import Guard, guard_of
from service.web.hosts import HostCheck
from service.web.journal import Journal
from service.web.lag import LagMeter
from service.web.limits import ALWAYS, bounded, places
from service.web.metrics import Meters
from service.web.permissions import NEEDED, SIGNED_IN
from service.web.request import House
from service.web.rim import Admission, Crossing
from service.web.sampling import Sampling, sample
from service.web.traced import Traced, pixels_watched
from service.web.transactions import BESIDE, CAPABILITIES, DESCRIBED, INSTANCE, SERIES, SHARES, STUDY
from service.web.witness import Witness

Endpoint = Callable[[Request], Awaitable[Response]]
Table = tuple[tuple[str, str, Endpoint], ...]

# Below ISTHMUS_PREFIX. The most frequent come first: routes are tried in this order. What each takes and
# gives is described in web/transactions.py.
ROUTES: Table = (
    ("GET", INSTANCE + "/frames/{frames}", frames.retrieve_frames),
    ("GET", INSTANCE, wado.retrieve),
    ("GET", INSTANCE + "/rendered", rendered.retrieve_rendered),
    ("GET", INSTANCE + "/frames/{frames}/rendered", rendered.retrieve_rendered),
    ("POST", "/studies", stow.store),
    ("POST", STUDY, stow.store),
    ("GET", "/studies", qido.search_studies),
    ("GET", "/series", qido.search_series),
    ("GET", "/instances", qido.search_instances),
    ("GET", STUDY + "/series", qido.search_series),
    ("GET", STUDY + "/instances", qido.search_instances),
    ("GET", SERIES + "/instances", qido.search_instances),
    ("GET", SERIES + "/metadata", metadata.metadata),
    ("GET", INSTANCE + "/metadata", metadata.metadata),
    ("GET", STUDY + "/metadata", metadata.metadata),
    ("GET", INSTANCE + "/bulkdata/{path:path}", bulkdata.retrieve_bulkdata),
    ("GET", INSTANCE + "/bulk/{path:path}", bulkdata.retrieve_bulkdata),
    ("GET", INSTANCE + "/bulkdata", collected.retrieve_all_bulkdata),
    ("GET", SERIES + "/bulkdata", collected.retrieve_all_bulkdata),
    ("GET", STUDY + "/bulkdata", collected.retrieve_all_bulkdata),
    ("GET", INSTANCE + "/pixeldata", collected.retrieve_pixeldata),
    ("GET", INSTANCE + "/frames", collected.retrieve_pixeldata),
    ("GET", SERIES + "/pixeldata", collected.retrieve_pixeldata),
    ("GET", STUDY + "/pixeldata", collected.retrieve_pixeldata),
    ("GET", INSTANCE + "/frames/{frames}/thumbnail", rendered.retrieve_thumbnail),
    ("GET", INSTANCE + "/thumbnail", rendered.retrieve_thumbnail),
    ("GET", SERIES + "/rendered", rendered.retrieve_rendered),
    ("GET", SERIES + "/thumbnail", rendered.retrieve_thumbnail),
    ("GET", STUDY + "/rendered", rendered.retrieve_rendered),
    ("GET", STUDY + "/thumbnail", rendered.retrieve_thumbnail),
    ("GET", SERIES, wado.retrieve),
    ("GET", STUDY, wado.retrieve),
    ("GET", "/wado", uri.retrieve_by_uri),
    ("GET", "/", uri.retrieve_by_uri),
    ("OPTIONS", "/", capabilities.capabilities),
)

# Of an archive that lets go of what it keeps.
FORGETTING: Table = (
    ("DELETE", INSTANCE, forget.forget),
    ("DELETE", SERIES, forget.forget),
    ("DELETE", STUDY, forget.forget),
)

# Of an archive that keeps what was odd about its instances.
RECALLING: Table = (("GET", INSTANCE + "/findings", findings.findings),)

# Where there are keys for links.
SHARING: Table = (("POST", SHARES, shares.share),)

# At the root of the server.
HOUSEKEEPING: Table = (
    ("GET", "/wado", uri.retrieve_by_uri),
    ("GET", "/openapi.json", openapi.description),
    ("GET", "/api", reference.reference),
    ("GET", "/healthz", health.alive),
    ("GET", "/readyz", health.ready),
    ("GET", "/metrics", sampling.metrics),
    ("GET", "/config.json", page.configuration),
    ("GET", "/identity.json", signing_in.identity),
    ("GET", "/page/{name}", page.asset),
)

# At the root of the server, and in the folder that the DICOMweb root lies in, for proxies that pass a path on
# as it is. It is no part of the OpenAPI document, in which `/` is the DICOMweb root.
PAGE: Table = (
    ("GET", "/", page.page),
    ("GET", "/config.json", page.configuration),
    ("GET", "/identity.json", signing_in.identity),
    ("GET", "/page/{name}", page.asset),
)

_TROUBLE: Mapping[Any, Any] = {
    ArchiveError: problems.answer_archive_error,
    HTTPException: problems.answer_http_exception,
    Exception: problems.answer_fault,
}


def create_app(
    archive: WholeArchive,
    settings: Settings,
    *,
    beside: tuple[str, int] | None = None,
    meters: Meters | None = None,
    trail: Trail | None = None,
    guard: Guard | None = None,
) -> ASGIApp:
    """The DICOMweb face of `archive`.

    `beside` is the address of a bridge that must listen before the service calls itself ready, `meters`
    count together with those of other processes. Every transaction is told to `trail`, where there is one.
    `guard` signs people in where the settings ask for that; it is made of them where it is not given.
    """
    meters = meters or Meters()
    own_guard = guard_of(settings.access) if guard is None else None
    guard = guard or own_guard
    house = House(
        archive=archive,
        settings=settings,
        reads=Crossing(
            "reads", threads=settings.read_threads, queue=settings.read_queue, nearby=archive.nearby
        ),
        stores=Crossing("stores", threads=settings.store_threads, queue=settings.uploads),
        uploads=Admission("store requests", places(settings.max_requests, settings.uploads)),
        finished=FinishedAnswers(settings.metadata_cache),
        beside=beside,
        workshop=pixels_watched(
            Workshop(
                threads=settings.pixel_threads,
                queue=settings.pixel_queue,
                cache_bytes=settings.pixel_cache - settings.pixel_shelf,
                shelf_bytes=settings.pixel_shelf,
            )
        ),
        waits=Crossing("pixels", threads=settings.pixel_waiting, queue=settings.pixel_queue),
        lag=LagMeter(),
        meters=meters,
        trail=trail,
        shares=None if guard is None else guard.door.shares,
    )
    looking = Sampling(partial(sample, house))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        house.lag.start()
        looking.start()
        yield
        looking.stop()
        house.lag.stop()
        house.workshop.close()
        house.waits.close()
        house.reads.close()
        house.stores.close()
        if own_guard is not None:
            own_guard.close()

    table = routes_of(archive) + (SHARING if house.shares is not None else ())
    app = Starlette(
        routes=_routes(settings, table, guard),
        lifespan=lifespan,
        exception_handlers=_TROUBLE,
    )
    app.router.redirect_slashes = False  # a redirection would name a host that nobody vouches for
    app.state.house = house
    app.state.offered = tuple((method, path.replace(":path}", "}")) for method, path, _ in table)
    transactions = _transactions(settings.prefix, table)
    cors = Cors(_watched(app, house, transactions), settings.cors)
    checked = HostCheck(
        cors,
        cors,
        names=settings.hosts,
        trusted=settings.trusted_proxies,
        public_url=settings.public_url,
        journal=lambda refusal: _watched(refusal, house, transactions),
    )
    return Journal(checked, meters, transactions)


def _watched(app: ASGIApp, house: House, transactions: Mapping[tuple[str, str], str]) -> ASGIApp:
    """`app` with what tells of it, around whatever signs in, which may refuse."""
    if house.trail is not None:
        app = Witness(app, house.trail, transactions, trusted=house.settings.trusted_proxies)
    return Traced(app, transactions) if tracing.is_on() else app


def routes_of(archive: ServedArchive) -> Table:
    """What is offered below the DICOMweb root: the rest depends on what the archive can do."""
    forgetting = FORGETTING if isinstance(archive, Forgets) else ()
    recalling = RECALLING if isinstance(archive, Recalls) else ()
    return ROUTES + forgetting + recalling


def _viewer(settings: Settings) -> Table:
    """OHIF, where there is a build of it to serve."""
    if not settings.ohif:
        return ()
    build = ohif.Ohif(Path(settings.ohif))
    return ("GET", ohif.MOUNT, build.answer), ("GET", ohif.MOUNT + "/{path:path}", build.answer)


def _routes(settings: Settings, below_prefix: Table, guard: Guard | None) -> list[Route]:
    """One route a path, with every method it offers, so that the others are answered 405 with Allow."""
    names = _transactions(settings.prefix, below_prefix)
    methods: dict[str, dict[str, Endpoint]] = {}
    prefix = settings.prefix
    folder = prefix.rpartition("/")[0]
    beside = PAGE + _viewer(settings)
    for below, table in ((prefix, below_prefix), ("", HOUSEKEEPING), ("", beside), (folder, beside)):
        for method, path, endpoint in table:
            methods.setdefault((below + path).rstrip("/") or "/", {}).setdefault(method, endpoint)
    # A slash at the end is no other resource: people write one. Those paths come last, being rare.
    bare = (":path}", "{name}", "/")
    slashed = {path + "/": offered for path, offered in methods.items() if not path.endswith(bare)}
    all_at_once = Admission("requests", settings.max_requests)
    at_the_page = {endpoint: None for _, _, endpoint in beside} | {signing_in.identity: SIGNED_IN}
    return [
        Route(
            path,
            _Dispatch(
                path,
                offered,
                all_at_once,
                settings.max_response,
                guard,
                {
                    method: at_the_page[endpoint] if endpoint in at_the_page else NEEDED[names[method, path]]
                    for method, endpoint in offered.items()
                },
            ),
            methods=list(offered),
        )
        for path, offered in (methods | slashed).items()
    ]


def _transactions(prefix: str, below_prefix: Table) -> dict[tuple[str, str], str]:
    """What each method of each path is called, in whatever form the path may be asked for."""
    names = {(method, path): name for (method, path), name in BESIDE.items()}
    for method, path, _ in below_prefix:
        described = method, path.replace(":path}", "}")
        name = CAPABILITIES if described == ("OPTIONS", "/") else DESCRIBED[described].identity
        names[method, (prefix + path).rstrip("/")] = name
    names |= {(method, path + "/"): name for (method, path), name in names.items()}
    return names | {("HEAD", path): name for (method, path), name in names.items() if method == "GET"}


class _Dispatch:
    """One path with its methods: an application, since a function would be wrapped in one more layer."""

    def __init__(
        self,
        path: str,
        offered: dict[str, Endpoint],
        all_at_once: Admission,
        most_bytes: int,
        guard: Guard | None,
        needed: Mapping[str, str | None],
    ) -> None:
        """`all_at_once` limits how many requests are in flight, `most_bytes` an answer, unless it is 0.

        `guard` lets those in who have the scope that is `needed` for the method; without it everybody.
        """
        self._path = path
        self._offered = offered
        self._all_at_once = all_at_once
        self._admits = path.rstrip("/") not in ALWAYS
        self._most_bytes = most_bytes
        self._guard = guard
        self._needed = needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route_name"] = self._path
        request = Request(scope, receive, send)
        method = "GET" if request.method == "HEAD" else request.method
        if self._guard is not None and (refused := await self._guard.refusal(scope, self._needed[method])):
            if method == "POST":
                await drained(request)
            await refused(scope, receive, send)
            return
        if self._most_bytes and request.method != "HEAD":
            send = bounded(send, self._most_bytes)
        with self._all_at_once.one() if self._admits else nullcontext():
            try:
                response = await self._offered[method](request)
            except ArchiveError:
                if method == "POST":
                    await drained(request)
                raise
            await response(scope, receive, send)
