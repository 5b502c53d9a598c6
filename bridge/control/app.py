"""The bridge's HTTP application: its routes, and each peer as a DICOMweb server below them."""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.control import forwarding, health, jobs, mpps, openapi, peers, spool, worklist
from bridge.control.audited import AUDITED, KINDS
from bridge.control.house import Faces, House
from bridge.control.journal import Journal
from bridge.control.permissions import needed
from bridge.witness import PROGRAM
from service.access.identity import identity_of
from service.dicom.errors import ArchiveError
from service.web import problems
from service.web.arriving import drained
from service.web.cors import Cors
from service.web.guard import Guard as SignIn
from service.web.hosts import HostCheck
from service.web.problems import problem
from service.web.witness import Witness

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
    ("GET", "/spool", spool.spool),
    ("GET", "/quarantine", spool.quarantine),
    ("GET", "/quarantine/{id}", spool.detained),
    ("DELETE", "/quarantine/{id}", spool.forget),
    ("POST", "/quarantine/{id}/retry", spool.retry),
    ("GET", "/forwarding", forwarding.targets),
    ("GET", "/forwarding/failed", forwarding.failed),
    ("DELETE", "/forwarding/failed", forwarding.forget_all),
    ("POST", "/forwarding/failed/retry", forwarding.retry_all),
    ("GET", "/forwarding/failed/{id}", forwarding.failed_one),
    ("DELETE", "/forwarding/failed/{id}", forwarding.forget),
    ("POST", "/forwarding/failed/{id}/retry", forwarding.retry),
    ("GET", "/worklist", worklist.worklist),
    ("PUT", "/worklist", worklist.replace),
    ("GET", "/worklist/{id}", worklist.item),
    ("PUT", "/worklist/{id}", worklist.put),
    ("DELETE", "/worklist/{id}", worklist.remove),
    ("GET", "/mpps", mpps.steps),
    ("GET", "/mpps/{uid}", mpps.step),
    ("POST", "/mpps/{uid}/forward", mpps.forward),
    ("GET", "/openapi.json", openapi.description),
    ("GET", "/healthz", health.alive),
    ("GET", "/readyz", health.ready),
    ("GET", "/metrics", health.metrics),
)

_METHODS = ", ".join(dict.fromkeys([*(method for method, _, _ in ROUTES), "HEAD", "OPTIONS"]))
_FACE = re.compile(rb"/peers/([^/?]+)/dicom-web(?:[/?]|$)")


def create_app(house: House) -> ASGIApp:
    """The application of a bridge."""
    app = Starlette(
        routes=_routes(ROUTES, house.sign_in),
        exception_handlers={
            ArchiveError: problems.answer_archive_error,
            HTTPException: problems.answer_http_exception,
            Exception: problems.answer_fault,
        },
    )
    app.router.redirect_slashes = False
    app.state.house = house
    chosen = house.settings.control
    cors = Cors(_witnessed(app, house), chosen.cors, methods=_METHODS)
    own = Journal(cors, house.answered)
    every = own if house.faces is None else _Delegating(own, house.faces)
    return HostCheck(
        every,
        cors,
        names=None if chosen.any_host else (),
        trusted=house.settings.web.trusted_proxies,
        journal=lambda refusal: Journal(_witnessed(refusal, house), house.answered),
    )


def _witnessed(app: ASGIApp, house: House) -> ASGIApp:
    """`app`, what it does being told to the audit trail, where there is one."""
    if house.trail is None:
        return app
    trusted = house.settings.web.trusted_proxies
    return Witness(app, house.trail, AUDITED, kinds=KINDS, trusted=trusted, program=PROGRAM)


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


def _routes(table: Table, sign_in: SignIn | None) -> list[Route]:
    """One route a path, so that other methods are answered 405; a slash at the end is no other resource."""
    methods: dict[str, dict[str, Endpoint]] = {}
    for method, path, endpoint in table:
        methods.setdefault(path, {})[method] = endpoint
    return [
        Route(form, _Dispatch(path, offered, sign_in), methods=list(offered))
        for path, offered in methods.items()
        for form in (path, path + "/")
    ]


class _Dispatch:
    """One path with its methods."""

    def __init__(self, path: str, offered: dict[str, Endpoint], sign_in: SignIn | None) -> None:
        self._path = path
        self._offered = offered
        self._sign_in = sign_in
        self._needed = {method: needed(method, path) for method in offered}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route_name"] = self._path
        request = Request(scope, receive, send)
        method = "GET" if request.method == "HEAD" else request.method
        if refused := await self._refusal(scope, method):
            if method in ("POST", "PUT"):
                await drained(request)
            await refused(scope, receive, send)
            return
        try:
            response = await self._offered[method](request)
        except ArchiveError:
            if method in ("POST", "PUT"):
                await drained(request)
            raise
        await response(scope, receive, send)

    async def _refusal(self, scope: Scope, method: str) -> Response | None:
        """The answer to who may not do this; `None` lets the request pass."""
        scope_needed = self._needed[method]
        if self._sign_in is None or scope_needed is None:
            return None
        refused = await self._sign_in.refusal(scope, scope_needed)
        if refused is None and identity_of(scope).confinement is not None:
            # What is sent and fetched here is named by UIDs, of which nobody knows whose they are.
            return problem(
                403, "Whoever may see only some studies may use no more here than PACS as DICOMweb."
            )
        return refused
