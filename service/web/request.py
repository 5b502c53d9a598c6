"""What every transaction reads from a request: the resource, the base URL, the media ranges."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from service.access.identity import identity_of
from service.access.shares import Shares
from service.archive.confined import Confined
from service.archive.port import ServedArchive, WholeArchive
from service.audit.trail import Trail
from service.dicom.errors import BadRequest, NotAcceptable
from service.dicom.media import MediaRange, decoded_plus, mixes_pictures, parse_accept
from service.dicom.resource import Resource
from service.pixels.workshop import Workshop
from service.settings import AUTHORITY, Settings
from service.web.finished import FinishedAnswers
from service.web.lag import LagMeter
from service.web.making import Making
from service.web.metrics import Meters
from service.web.proxies import forwarded
from service.web.rim import Admission, Crossing
from service.web.timing import steps_of

_LOOPBACK = ("127.0.0.1", "::1")
_LONGEST_ACCEPT = 8192
# As IANA and as DICOM name it.
_UTF8 = ("utf-8", "utf8", "iso_ir 192")


@dataclass(frozen=True, slots=True)
class House:
    """What the transactions share: the archive, the ways to it, and the settings."""

    archive: WholeArchive
    """All that there is: a request is answered from `archive_of` it."""
    settings: Settings
    reads: Crossing
    stores: Crossing
    uploads: Admission
    finished: FinishedAnswers
    beside: tuple[str, int] | None
    workshop: Workshop
    waits: Crossing
    """Threads that wait for the workshop, so that those of `reads` need not."""
    lag: LagMeter
    meters: Meters
    trail: Trail | None = None
    shares: Shares | None = None
    """Links to studies, where there are keys for them."""


def house(request: Request) -> House:
    """What the application was made with."""
    found = request.app.state.house
    assert isinstance(found, House)
    return found


def archive_of(request: Request) -> ServedArchive:
    """The archive as it is to who makes the request: of what they may not know of, there is nothing."""
    archive, within = house(request).archive, identity_of(request.scope).confinement
    return archive if within is None else Confined(archive, within)


def making_of(request: Request) -> Making:
    """A way for an answer to have frames made, at the rate of the threads for pixels."""
    here = house(request)
    steps = steps_of(request.scope)
    return Making(here.workshop, ahead=here.settings.pixel_threads + 1, steps=steps)


def resource_of(request: Request) -> Resource:
    """The study, series or instance that the path names. `BadRequest` if a UID is malformed."""
    path = request.path_params
    return Resource(path["study"], path.get("series"), path.get("instance"))


def base_url(request: Request) -> str:
    """The DICOMweb root as the client sees it, without a trailing slash.

    What a trusted proxy says of it comes first, then `ISTHMUS_PUBLIC_URL`, then the Host header.
    `BadRequest` for a value that could not be part of a URL: it is written into answers.
    """
    settings = house(request).settings
    peer = request.scope.get("client")
    told = forwarded(peer[0] if peer else None, request.headers, settings.trusted_proxies)
    if told.authority is None and settings.public_url:
        return settings.public_url
    authority = told.authority or _own_authority(request)
    return f"{told.scheme or request.scope['scheme']}://{authority}{told.prefix}{settings.prefix}"


def _own_authority(request: Request) -> str:
    """Host and port by the Host header, which is taken at its word."""
    told = request.headers.getlist("host")
    if len(told) > 1:  # RFC 9112 3.2; whoever stands before us may have gone by the other one
        raise BadRequest("There is more than one Host header.")
    authority = told[0] if told else ""
    host, port = request.scope.get("server") or ("localhost", None)
    own_name = authority == host or (authority == "localhost" and host in _LOOPBACK)
    # dicomweb-client (Python) names our own address in Host without the port that it connected to.
    if not authority or (own_name and port not in (None, 80, 443)):
        authority = f"{authority or host}:{port}" if port else str(host)
    if not AUTHORITY.fullmatch(authority):
        raise BadRequest("The Host header is malformed.")
    return authority


def wanted(request: Request) -> Sequence[MediaRange]:
    """The media ranges asked for: by the `accept` parameter, else by the header (PS3.18 8.7.8.1).

    `BadRequest` if the parameter mixes objects and pictures (PS3.18 8.7.5). Headers may: some clients
    send one list of all that they know to every resource.
    """
    if sum(map(len, request.headers.getlist("accept"))) > _LONGEST_ACCEPT:
        raise BadRequest(f"The Accept header is longer than {_LONGEST_ACCEPT} characters.")
    by_query = [value for value in request.query_params.getlist("accept") if value.strip()]
    if not by_query:
        return parse_accept(request.headers.getlist("accept"))
    ranges = parse_accept([decoded_plus(value) for value in by_query])
    if mixes_pictures(ranges):
        raise BadRequest("The accept parameter asks for DICOM and for pictures at once (PS3.18 8.7.5).")
    return ranges


def require_utf8(request: Request) -> None:
    """Return if the text of an answer may be UTF-8, the only character set that text is written in.

    Character sets that are asked for and not supported are ignored (PS3.18 8.8), so that only a client
    that rules UTF-8 out is refused, by `NotAcceptable`.
    """
    by_query = [value for value in request.query_params.getlist("charset") if value.strip()]
    weights: dict[str, float] = {}
    for element in ",".join(by_query or request.headers.getlist("accept-charset")).split(","):
        name, _, parameter = element.partition(";")
        _, _, weight = parameter.partition("=")
        try:
            weights[name.strip().strip('"').lower()] = float(weight) if parameter.strip() else 1.0
        except ValueError:
            continue
    chosen = [weights[name] for name in _UTF8 if name in weights] or [weights.get("*", 1.0)]
    if max(chosen) <= 0:
        raise NotAcceptable("Text is available in UTF-8.", ("UTF-8",))


def warning(base: str, *sentences: str) -> str:
    """The value of a Warning header (RFC 7234 5.5, PS3.18 8.4.3) from the server whose root is `base`."""
    host = base.partition("://")[2].partition("/")[0]
    return ", ".join(f'299 {host} "{sentence}"' for sentence in sentences)


async def gone(request: Request) -> None:
    """Return when the client has left, or has its whole answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
