"""The bridge's HTTP application: its routes, and each peer as a DICOMweb server below them."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.control import health, jobs, openapi, peers
from bridge.control.guard import Guard
from bridge.control.house import Faces, House
from bridge.control.journal import Journal
from service.dicom.errors import ArchiveError
from service.web import problems
from service.web.arriving import drained
from service.web.cors import Cors

Endpoint = Callable[[Request], Awaitable[Response]]
Table = tuple[tuple[str, str, Endpoint], ...]

ROUTES: Table = (
    ("GET", "/peers", peers.peers),
    ("POST", "/peers/{name}/echo", peers.echo),
    ("POST", "/peers/{name}/store", jobs.store),
    ("POST", "/peers/{name}/retrieve", jobs.retrieve),
    ("GET", "/jobs", jobs.jobs),
    ("GET", "/jobs/{id}", jobs.job),
    ("DELETE", "/jobs/{id}", jobs.end),
    ("GET", "/openapi.json", openapi.description),
    ("GET", "/healthz", health.alive),
    ("GET", "/readyz", health.ready),
    ("GET", "/metrics", health.metrics),
)

_FACE = re.compile(rb"/peers/([^/?]+)/dicom-web(?:[/?]|$)")


def create_app(house: House) -> ASGIApp:
    """The application of a bridge."""
    app = Starlette(
        routes=_routes(ROUTES),
        exception_handlers={
            ArchiveError: problems.answer_archive_error,
            HTTPException: problems.answer_http_exception,
            Exception: problems.answer_fault,
        },
    )
    app.router.redirect_slashes = False
    app.state.house = house
    chosen = house.settings.control
    cors = Cors(app, chosen.cors)
    own = Journal(cors, house.answered)
    every = own if house.faces is None else _Delegating(own, house.faces)
    return Guard(every, cors, partial(Journal, answered=house.answered), any_host=chosen.any_host)


class _Delegating:
    """Hands on what is asked below a peer's `dicom-web` to its face, which logs and answers by itself."""

    def __init__(self, app: ASGIApp, faces: Faces) -> None:
        self._app = app
        self._faces = faces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        face: ASGIApp | None = None
        if scope["type"] == "http" and (asked := _FACE.match(scope["raw_path"])):
            face = self._faces.app(unquote(asked[1].decode("latin-1")))
        await (face or self._app)(scope, receive, send)


def _routes(table: Table) -> list[Route]:
    """One route a path, so that other methods are answered 405; a slash at the end is no other resource."""
    methods: dict[str, dict[str, Endpoint]] = {}
    for method, path, endpoint in table:
        methods.setdefault(path, {})[method] = endpoint
    return [
        Route(form, _Dispatch(path, offered), methods=list(offered))
        for path, offered in methods.items()
        for form in (path, path + "/")
    ]


class _Dispatch:
    """One path with its methods."""

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
