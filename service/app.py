"""The web application: the map of the house."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from service.archive.port import ServedArchive
from service.dicom.errors import ArchiveError
from service.settings import Settings
from service.web import bulkdata, frames, health, metadata, problems, qido, stow, wado
from service.web.finished import FinishedAnswers
from service.web.journal import Journal
from service.web.request import House
from service.web.rim import Admission, Crossing

Endpoint = Callable[[Request], Awaitable[Response]]

STUDY = "/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"

# Below ISTHMUS_PREFIX. The most frequent come first: routes are tried in this order.
ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
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
    ("GET", SERIES, wado.retrieve),
    ("GET", STUDY, wado.retrieve),
)

# At the root of the server.
HOUSEKEEPING: tuple[tuple[str, str, Endpoint], ...] = (
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
        reads=Crossing("reads", threads=settings.read_threads, queue=settings.read_queue),
        stores=Crossing("stores", threads=settings.store_threads, queue=settings.uploads),
        uploads=Admission("store requests", settings.uploads),
        finished=FinishedAnswers(settings.metadata_cache),
        beside=beside,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        house.reads.close()
        house.stores.close()

    app = Starlette(
        routes=_routes(settings.prefix),
        lifespan=lifespan,
        exception_handlers={
            ArchiveError: problems.answer_archive_error,
            HTTPException: problems.answer_http_exception,
            Exception: problems.answer_fault,
        },
    )
    app.state.house = house
    return Journal(app)


def _routes(prefix: str) -> list[Route]:
    """One route a path, with every method it offers, so that the others are answered 405 with Allow."""
    methods: dict[str, dict[str, Endpoint]] = {}
    for below, table in ((prefix, ROUTES), ("", HOUSEKEEPING)):
        for method, path, endpoint in table:
            methods.setdefault(below + path, {})[method] = endpoint
    return [Route(path, _dispatch(path, offered), methods=list(offered)) for path, offered in methods.items()]


def _dispatch(path: str, offered: dict[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        request.scope["route_name"] = path
        method = "GET" if request.method == "HEAD" else request.method
        return await offered[method](request)

    return endpoint
