"""Retrieve of one instance by query parameters: the URI service, WADO-URI (PS3.18 chapter 9)."""

from collections.abc import Buffer, Iterator, Mapping, Sequence
from functools import partial

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Archive
from service.archive.reading import blocks_of, object_blocks, object_size
from service.dicom.errors import BadRequest, NotAcceptable, NotFound
from service.dicom.frames import Extent
from service.dicom.media import ANY, DICOM, MediaRange, Representation, content_type, negotiate, parse_accept
from service.dicom.query import Query
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT, Held
from service.dicom.resource import Level, Resource, require_uid
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, available
from service.web.conditional import entity_tag
from service.web.request import house
from service.web.sending import Body, send

_STUDY, _SERIES, _INSTANCE = "studyUID", "seriesUID", "objectUID"
_TAGS = {_STUDY: "0020000D", _SERIES: "0020000E"}
_KEYWORDS = {_STUDY: "StudyInstanceUID", _SERIES: "SeriesInstanceUID", _INSTANCE: "SOPInstanceUID"}
# PS3.18 9.5: these are about a picture made of the object.
_RENDERING = ("annotation", "imageAnnotation", "windowCenter", "windowWidth")
_MOST_MATCHES = 100
# A picture is what the standard means where nothing says that the object itself is wanted (PS3.18 9.1).
_DEFAULT_PICTURE = Representation("image/jpeg")
_RENDERED = ("image/", "video/", "text/", "application/pdf")


async def retrieve_by_uri(request: Request) -> Response:
    """`GET /wado?requestType=WADO&objectUID=…`, also without `/wado`: one instance as a DICOM file."""
    here = house(request)
    given = _parameters(request)
    _require_object(given, request.headers.getlist("accept"))
    if given.get("transferSyntax", ANY) not in ("", ANY):
        require_uid(given["transferSyntax"], "transferSyntax")
    return await send(request, partial(_body, here.archive, given, here.settings.read_block))


def _body(archive: Archive, given: Mapping[str, str], block_size: int) -> Body:
    held = _find(archive, given)
    agreed = _agree(held, given.get("transferSyntax", ""))
    size = object_size(held, agreed.syntax)
    return Body(
        agreed.content_type,
        partial(object_blocks, archive, held, agreed.syntax, block_size),
        size,
        entity_tag(held.digest, held.object_key, agreed.content_type),
        run=partial(_run, archive, held, block_size) if size == held.size else None,
        ranges=True,
    )


def _run(archive: Archive, held: Held, block_size: int, extent: Extent) -> Iterator[Buffer]:
    return blocks_of(archive, held, extent, block_size)


def _parameters(request: Request) -> dict[str, str]:
    """The query parameters, made sure of. `BadRequest` for what PS3.18 9.1 does not allow."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if given.setdefault(name, value) != value:
            raise BadRequest(f"{name[:40]} is given twice.")
    if given.get("requestType") != "WADO":
        raise BadRequest("requestType must be WADO (PS3.18 9.1).")
    if _INSTANCE not in given:
        raise BadRequest("objectUID is missing: the SOP Instance UID of what is wanted.")
    for name in _KEYWORDS:
        if name in given:
            require_uid(given[name], name)
    return given


def _require_object(given: Mapping[str, str], accept: Sequence[str]) -> None:
    """Return if the request asks for the DICOM object itself, and for nothing that changes it."""
    if not _wants_object(given.get("contentType"), accept):
        raise NotAcceptable("Instances are available as DICOM objects here, not as pictures.", (DICOM,))
    if "anonymize" in given:
        if given["anonymize"] != "yes":
            raise BadRequest("anonymize must be yes where it is given (PS3.18 9.4.1).")
        raise NotAcceptable("De-identified copies are not available.")
    for name in _RENDERING:
        if name in given:
            raise BadRequest(f"{name} is about pictures, and contentType asks for a DICOM object.")


def _wants_object(types: str | None, accept: Sequence[str]) -> bool:
    """Whether contentType, else Accept, asks for application/dicom rather than for a picture."""
    if types is None:
        agreed = negotiate(parse_accept(accept), (_DEFAULT_PICTURE, Representation(DICOM)))
        return bool(agreed) and agreed[0].media_type == DICOM
    asked = [content_type(one) for one in types.split(",") if one.strip()]
    if not asked or any(name.count("/") != 1 for name, _ in asked):
        raise BadRequest("contentType must be a media type.")
    if any({"transfer-syntax", "charset"} & parameters.keys() for _, parameters in asked):
        raise BadRequest("contentType has no parameters; transferSyntax and charset are their own.")
    names = {name for name, _ in asked}
    if DICOM in names and any(name.startswith(_RENDERED) for name in names):
        raise BadRequest("contentType asks for a DICOM object and for a picture at once.")
    return DICOM in names


def _find(archive: Archive, given: Mapping[str, str]) -> Held:
    """The instance that has the UIDs given; of several, the one that came in last. `NotFound` if none has."""
    keys = [(keyword, given[name]) for name, keyword in _KEYWORDS.items() if name in given]
    query = Query.from_url(Level.INSTANCE, keys, max_results=_MOST_MATCHES)
    found: list[Held] = []
    for match in archive.find(query).matches:
        document = orjson.loads(match.replace(BASE_SLOT, b"").replace(SYNTAXES_SLOT, b""))
        study, series = (document[_TAGS[name]]["Value"][0] for name in (_STUDY, _SERIES))
        try:
            found += archive.instances(Resource(study, series, given[_INSTANCE]))
        except NotFound:  # removed in between
            continue
    if not found:
        raise NotFound("There is no such instance.")
    return max(found, key=lambda held: held.row)


def _agree(held: Held, syntax: str) -> Representation:
    """How the instance goes out: in Explicit VR Little Endian where no transfer syntax is named.

    What exists only in a lossy form may then go as it is (PS3.18 8.7.3.5.2).
    """
    offers = [
        Representation(DICOM, uid, default=uid == EXPLICIT_LE or BY_UID[uid].lossy)
        for uid in available(held.syntax)
    ]
    agreed = negotiate([MediaRange(DICOM, False, (syntax,) if syntax else (), 1.0)], offers)
    if not agreed:
        raise NotAcceptable("The instance is not available in that transfer syntax.", tuple(map(str, offers)))
    return agreed[0]
