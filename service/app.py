"""The web application: the map of the house."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.archive.port import Forgets, Recalls, ServedArchive
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
    openapi,
    problems,
    qido,
    rendered,
    stow,
    uri,
    wado,
)
from service.web.arriving import drained
from service.web.cors import Cors
from service.web.finished import FinishedAnswers
from service.web.journal import Journal
from service.web.lag import LagMeter
from service.web.request import House
from service.web.rim import Admission, Crossing
from service.web.transactions import INSTANCE, SERIES, STUDY

Endpoint = Callable[[Request], Awaitable[Response]]
Table = tuple[tuple[str, str, Endpoint], ...]

# Below ISTHMUS_PREFIX. The most frequent come first: routes are tried in this order. What each takes and
# gives is described in web/transactions.py.
ROUTES: Table = (
    ("GET", INSTANCE + "/frames/{frames}", frames.retrieve_frames),
    ("GET", INSTANCE, wado.retrieve),
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
    ("GET", INSTANCE + "/frames/{frames}/rendered", rendered.retrieve_rendered),
    ("GET", INSTANCE + "/frames/{frames}/thumbnail", rendered.retrieve_thumbnail),
    ("GET", INSTANCE + "/rendered", rendered.retrieve_rendered),
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

# At the root of the server.
HOUSEKEEPING: Table = (
    ("GET", "/wado", uri.retrieve_by_uri),
    ("GET", "/openapi.json", openapi.description),
    ("GET", "/healthz", health.alive),
    ("GET", "/readyz", health.ready),
)


def create_app(
    archive: ServedArchive, settings: Settings, *, beside: tuple[str, int] | None = None
) -> ASGIApp:
    """The DICOMweb face of `archive`.

    `beside` is the address of a bridge that must listen before the service calls itself ready.
    """
    house = House(
        archive=archive,
        settings=settings,
        reads=Crossing(
            "reads", threads=settings.read_threads, queue=settings.read_queue, nearby=archive.nearby
        ),
        stores=Crossing("stores", threads=settings.store_threads, queue=settings.uploads),
        uploads=Admission("store requests", settings.uploads),
        finished=FinishedAnswers(settings.metadata_cache),
        beside=beside,
        workshop=Workshop(
            threads=settings.pixel_threads, queue=settings.pixel_queue, cache_bytes=settings.pixel_cache
        ),
        waits=Crossing("pixels", threads=settings.pixel_waiting, queue=settings.pixel_queue),
        lag=LagMeter(),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        house.lag.start()
        yield
        house.lag.stop()
        house.workshop.close()
        house.waits.close()
        house.reads.close()
        house.stores.close()

    table = routes_of(archive)
    app = Starlette(
        routes=_routes(settings.prefix, table),
        lifespan=lifespan,
        exception_handlers={
            ArchiveError: problems.answer_archive_error,
            HTTPException: problems.answer_http_exception,
            Exception: problems.answer_fault,
        },
    )
    app.router.redirect_slashes = False  # a redirection would name a host that nobody vouches for
    app.state.house = house
    app.state.offered = tuple((method, path.replace(":path}", "}")) for method, path, _ in table)
    return Journal(Cors(app, settings.cors))


def routes_of(archive: ServedArchive) -> Table:
    """What is offered below the DICOMweb root: the rest depends on what the archive can do."""
    forgetting = FORGETTING if isinstance(archive, Forgets) else ()
    recalling = RECALLING if isinstance(archive, Recalls) else ()
    return ROUTES + forgetting + recalling


def _routes(prefix: str, below_prefix: Table) -> list[Route]:
    """One route a path, with every method it offers, so that the others are answered 405 with Allow."""
    methods: dict[str, dict[str, Endpoint]] = {}
    for below, table in ((prefix, below_prefix), ("", HOUSEKEEPING)):
        for method, path, endpoint in table:
            methods.setdefault((below + path).rstrip("/"), {})[method] = endpoint
    # A slash at the end is no other resource: people write one. Those paths come last, being rare.
    slashed = {path + "/": offered for path, offered in methods.items() if not path.endswith(":path}")}
    return [
        Route(path, _Dispatch(path, offered), methods=list(offered))
        for path, offered in (methods | slashed).items()
    ]


class _Dispatch:
    """One path with its methods: an application, since a function would be wrapped in one more layer."""

    def __init__(self, path: str, offered: dict[str, Endpoint]) -> None:
        self._path = path
        self._offered = offered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route_name"] = self._path
        request = Request(scope, receive, send)
        method = "GET" if request.method == "HEAD" else request.method
        try:
            response = await self._offered[method](request)
        except ArchiveError:
            if method == "POST":
                await drained(request)
            raise
        await response(scope, receive, send)
