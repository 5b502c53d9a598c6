"""Retrieve of one instance by query parameters: the URI service, WADO-URI (PS3.18 chapter 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Archive
from service.dicom.errors import BadRequest, NotAcceptable, NotFound
from service.dicom.media import ANY, DICOM, MediaRange, Representation, content_type, negotiate, parse_accept
from service.dicom.query import Query
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT, Held
from service.dicom.resource import Level, Resource, require_uid
from service.web.bulkdata import Asked, asked_of
from service.web.developing import Sheet, develop
from service.web.renderable import Kind, kind_of
from service.web.rendered import scene_of
from service.web.sending import Body, send
from service.web.wado import object_body

if TYPE_CHECKING:
    from service.web.views import Scene

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
    """`GET /wado?requestType=WADO&objectUID=…`, also without `/wado`: one instance, or a picture of it."""
    given = _parameters(request)
    _require_identified(given)
    if not _wants_object(given.get("contentType"), request.headers.getlist("accept")):
        return await develop(request, partial(_rendered, request, given))
    for name in _RENDERING:
        if name in given:
            raise BadRequest(f"{name} is about pictures, and contentType asks for a DICOM object.")
    if given.get("transferSyntax", ANY) not in ("", ANY):
        require_uid(given["transferSyntax"], "transferSyntax")
    return await send(request, partial(_body, asked_of(request), given))


def _rendered(request: Request, given: Mapping[str, str]) -> Sheet | Body:
    """The instance as a picture, a text, a document or a video, which comes alone (PS3.18 9.1)."""
    # Numpy and the codecs take half a second to load, which the start of the program need not wait for.
    from service.pixels.asking import read_uri
    from service.web.views import of_state, one_rendered

    scene = replace(scene_of(request), ranges=_alone(request, given))
    asked = read_uri(scene.parameters)
    held = _find(scene.archive, given)
    if kind_of(held) is Kind.STATE:
        return of_state(scene, held, asked)
    numbers = None if asked.frame is None else [asked.frame]
    if numbers is not None:
        _require_frame(held, numbers[0])
    state = _state(scene, held, asked.presentation, numbers)
    return one_rendered(scene, held, asked, numbers, state=state)


def _alone(request: Request, given: Mapping[str, str]) -> list[MediaRange]:
    """What contentType, else Accept, asks for, without multiparts: an answer is one item."""
    types = [given["contentType"]] if "contentType" in given else request.headers.getlist("accept")
    return [replace(one, multipart=False) for one in parse_accept(types) if not one.multipart]


def _require_frame(held: Held, number: int) -> None:
    """`BadRequest` for a frame of what has none, or another than the only one."""
    if kind_of(held) is not Kind.IMAGE or held.shape is None:
        raise BadRequest("frameNumber is given, and the object is no image.")
    if held.shape.frames == 1 and number != 1:
        raise BadRequest("The object has one frame: frameNumber can be 1 only.")


def _state(
    scene: Scene, held: Held, names: tuple[str, str] | None, numbers: Sequence[int] | None
) -> Held | None:
    """The presentation state that is to be applied. `BadRequest` if it is none, or not for this image."""
    from service.web.views import frames_of_state

    if names is None:
        return None
    state = _find(scene.archive, {_SERIES: names[0], _INSTANCE: names[1]})
    if kind_of(state) is not Kind.STATE:
        raise BadRequest("presentationUID names an object that is no presentation state.")
    wanted = (held.key.instance, numbers[0] if numbers else 1)
    if wanted not in frames_of_state(scene, state):
        raise BadRequest("The presentation state is not for this image.")
    return state


def _body(asked: Asked, given: Mapping[str, str]) -> Body:
    """The object in Explicit VR Little Endian where no transfer syntax is named (PS3.18 9.5.1)."""
    syntax = given.get("transferSyntax", "")
    ranges = [MediaRange(DICOM, False, (syntax,) if syntax else (), 1.0)]
    return object_body(replace(asked, ranges=ranges), _find(asked.archive, given))


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


def _require_identified(given: Mapping[str, str]) -> None:
    """Return if no de-identified copy is asked for, in whose place nothing else may leave."""
    if "anonymize" in given:
        if given["anonymize"] != "yes":
            raise BadRequest("anonymize must be yes where it is given (PS3.18 9.4.1).")
        raise NotAcceptable("De-identified copies are not available.")


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
