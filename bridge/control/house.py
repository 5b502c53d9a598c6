"""What the routes share, and what every one of them reads from a request."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from bridge.archive.own import OwnArchive
from bridge.archive.remote import RemoteArchive
from bridge.control.crossing import DimseLoop
from bridge.forwarding.forwarding import Forwarding
from bridge.jobs.jobs import Jobs
from bridge.peers import Peer
from bridge.procedures import Procedures
from bridge.settings import BridgeSettings
from bridge.spool.spool import Spool
from service.audit.trail import Trail
from service.dicom.errors import BadRequest, NotFound, TooLarge, UnsupportedMedia
from service.web.guard import Guard
from service.web.noted import notes_of
from service.web.rim import Admission

JSON = "application/json"

_MOST_ECHOES = 16


class Faces(Protocol):
    """Peers presented as DICOMweb servers."""

    def app(self, name: str) -> ASGIApp | None:
        """The application of the peer `[peers.NAME]`, `None` if there is no such peer.

        It is asked with the whole path, which begins with `/peers/NAME/dicom-web`.
        """
        ...


@dataclass(frozen=True, slots=True)
class House:
    """What the routes are made with.

    `listening` says whether the bridge takes associations. `measured` gives numbers of the bridge beside
    those of the HTTP; both are called on the loop of the HTTP.
    """

    settings: BridgeSettings
    dimse: DimseLoop
    archive: RemoteArchive
    jobs: Jobs
    listening: Callable[[], bool]
    measured: Callable[[], bytes] = lambda: b""
    faces: Faces | None = None
    sign_in: Guard | None = None
    """Who has people sign in, where they have to."""
    spool: Spool | None = None
    own: OwnArchive | None = None
    """What instances are entered into, where that is not done over HTTP."""
    forwarding: Forwarding | None = None
    procedures: Procedures | None = None
    answered: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """How often each method of each route was answered with each status."""
    trail: Trail | None = None
    echoes: Admission = field(default_factory=lambda: Admission("echoes", _MOST_ECHOES))


def house(request: Request) -> House:
    """What the application was made with."""
    found = request.app.state.house
    assert isinstance(found, House)
    return found


def peer_of(request: Request) -> Peer:
    """The peer that the path names; `NotFound`."""
    peer = house(request).settings.peers.by_name(request.path_params["name"])
    if peer is None:
        raise NotFound("There is no peer of this name, see ISTHMUS_PEERS.")
    return peer


def tell(request: Request, studies: Iterable[str], patient: str = "") -> None:
    """Let the audit trail be told what a request is about."""
    notes = notes_of(request.scope)
    if notes is not None:
        notes.about(studies, patient)


def path_of(peer: Peer) -> str:
    """The path of a peer, without a trailing slash."""
    return f"/peers/{quote(peer.name, safe='')}"


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON that nobody keeps."""
    told = {"Cache-Control": "no-store", **(headers or {})}
    return Response(orjson.dumps(content), status, told, "application/json")


async def body_of(
    request: Request, *, needed: bool, most_bytes: int | None = None, kinds: Collection[str] = (JSON,)
) -> Any:
    """The body as JSON, `None` if there is none and none is `needed`; `kinds` are its media types.

    A body of any other type is refused (`UnsupportedMedia`): web pages of others can have browsers send
    forms and plain text, but not this, without being asked whether they may.
    """
    limits = house(request).settings.control
    content = await _read(request, most_bytes or limits.body_bytes, limits.body_stall_s)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not content and not needed:
        return None
    if kind not in kinds:
        raise UnsupportedMedia("The body must be JSON: Content-Type: application/json.")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is no JSON: line {error.lineno}, column {error.colno}.") from None


async def _read(request: Request, most: int, stall_s: float) -> bytes:
    content = bytearray()
    try:
        async with asyncio.timeout(stall_s):
            async for block in request.stream():
                content += block
                if len(content) > most:
                    raise TooLarge(f"The body may have {most} bytes.")
    except TimeoutError:
        raise HTTPException(408, f"The body did not come within {stall_s:g} seconds.") from None
    except ClientDisconnect:
        raise BadRequest("The connection ended before the body did.") from None
    return bytes(content)
