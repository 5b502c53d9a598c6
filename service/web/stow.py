"""Store of instances (PS3.18 10.5): parts are pushed into the archive while they arrive."""

import asyncio
from collections.abc import Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.archive import reasons
from service.archive.port import Intake, Outcome, Refused, Stored
from service.dicom.dicomxml import DICOM_XML, xml_document
from service.dicom.errors import ArchiveError, BadRequest, Busy, NotAcceptable, TooMany, UnsupportedMedia
from service.dicom.media import DICOM, DICOM_JSON, MULTIPART, Representation, content_type, negotiate
from service.dicom.multipart import PartBegins, PartData, Reader
from service.dicom.resource import require_uid
from service.dicom.syntaxes import OCTETS
from service.web.arriving import BodyCut, BodyStalled, Takes, Unzipped, drained, gathered
from service.web.composing import ComposedBody
from service.web.problems import http_status, problem
from service.web.request import House, base_url, house, wanted

# The type application/xml is understood, but never sent.
_OFFERS = tuple(Representation(name) for name in (DICOM_JSON, DICOM_XML, "application/xml"))
_METADATA = (DICOM_JSON, DICOM_XML, OCTETS)
_ACCEPTED = (*(f'{MULTIPART}; type="{name}"' for name in (DICOM, DICOM_JSON, DICOM_XML)), DICOM)
_OUT_OF_RESOURCES = 0xA700
_RETRY_AFTER_S = "5"


async def store(request: Request) -> Response:
    """`POST /studies` and `POST /studies/{study}`: DICOM files, or metadata and bulk data."""
    here = house(request)
    study = request.path_params.get("study")
    if study is not None:
        require_uid(study, "The study UID in the path")
    agreed = next(iter(negotiate(wanted(request), _OFFERS)), None)
    if agreed is None:
        message = "The Store Instances Response is available as DICOM JSON and as application/dicom+xml."
        raise NotAcceptable(message, (DICOM_JSON, DICOM_XML))
    base = base_url(request)
    with here.uploads.one():
        body = _body(request, here, study, base)
        into = _decoded(request, body, here.settings.read_block)
        try:
            trouble, last = await _push(request, here, into)
        except BaseException:
            # Whatever happened to the rest of the body, the parts that came whole are kept.
            await here.stores.go_on(body.finish)
            raise
        whole = trouble is None
        outcomes, malformed = await here.stores.go_on(_conclude, into, body, last, whole=whole)
        trouble = malformed or trouble
    if isinstance(trouble, (BadRequest, TooMany)):
        await drained(request)
    return _answer(outcomes, trouble, base, in_xml=agreed.media_type != DICOM_JSON)


class _SinglePart:
    """A body that is one DICOM file."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._begun = False
        self._whole = False

    def push(self, blocks: list[bytes]) -> None:
        if not self._begun:
            self._intake.begin()
            self._begun = True
        for block in blocks:
            self._intake.write(memoryview(block))

    def ended(self) -> None:
        """The body has come to its end; a body of which that is not said was cut."""
        self._whole = True

    def finish(self) -> Sequence[Outcome]:
        if self._begun and self._whole:
            self._intake.end()
        return self._intake.finish()


class _MultiPart:
    """A multipart body of DICOM files."""

    def __init__(self, intake: Intake, reader: Reader) -> None:
        self._intake = intake
        self._reader = reader
        self._open = False

    def push(self, blocks: list[bytes]) -> None:
        """Take the next blocks. `BadRequest`, `TooMany` if the multipart is malformed."""
        for event in self._reader.push(blocks):
            if isinstance(event, PartData):
                if self._open:
                    self._intake.write(event.data)
            elif isinstance(event, PartBegins):
                self._begin(event)
            elif self._open:
                self._intake.end()
                self._open = False

    def ended(self) -> None:
        """The body has come to its end; where its parts end, their boundaries say."""

    def finish(self) -> Sequence[Outcome]:
        if self._reader.inside_part and not self._open:
            self._intake.refuse(reasons.CANNOT_UNDERSTAND, "The body ends inside this part.")
        return self._intake.finish()

    def _begin(self, event: PartBegins) -> None:
        media_type, _ = content_type(event.headers.get("content-type", DICOM))
        if media_type != DICOM:
            message = "A part's Content-Type must be application/dicom."
            self._intake.refuse(reasons.CANNOT_UNDERSTAND, message)
            return
        self._intake.begin()
        self._open = True


_Body = _SinglePart | _MultiPart | ComposedBody


def _body(request: Request, here: House, study: str | None, base: str) -> _Body:
    media_type, parameters = content_type(request.headers.get("content-type", ""))
    if media_type == DICOM:
        return _SinglePart(here.archive.intake(study))
    inner = parameters.get("type", DICOM).lower()
    if media_type != MULTIPART or inner not in (DICOM, *_METADATA):
        raise UnsupportedMedia(f"A body to be stored must be {' or '.join(_ACCEPTED)}.")
    if "boundary" not in parameters:
        raise BadRequest("The Content-Type of a multipart body must name its boundary (RFC 2046 5.1.1).")
    reader = Reader(parameters["boundary"], max_parts=here.settings.max_parts)
    if inner == DICOM:
        return _MultiPart(here.archive.intake(study), reader)
    return ComposedBody(
        here.archive.intake(study),
        reader,
        root=inner,
        base=f"{base}/studies/",
        header_limit=here.settings.header_limit,
        max_instances=here.settings.max_parts,
    )


def _decoded(request: Request, body: _Body, block_size: int) -> Takes:
    """What the body as it comes is pushed into. `UnsupportedMedia` for a coding that is not read."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        return body
    if coding in ("gzip", "x-gzip"):
        return Unzipped(body, block_size)
    raise UnsupportedMedia("A body's Content-Encoding must be gzip or identity.")


async def _push(request: Request, here: House, body: Takes) -> tuple[ArchiveError | None, list[bytes]]:
    """Push the body into the archive: what went wrong with the body itself, if anything did, and its
    last blocks, which are still to be pushed.

    While one block is pushed the next one is received. Nothing is being pushed any more on return.
    """
    pushing: asyncio.Future[None] | None = None
    trouble: ArchiveError | None = None
    last: list[bytes] = []
    try:
        arriving = gathered(request, block_size=here.settings.read_block, stall_s=here.settings.body_stall_s)
        async for blocks in arriving:
            if pushing is not None:
                await asyncio.shield(pushing)
            if last:
                pushing = asyncio.ensure_future(here.stores.go_on(body.push, last))
            last = blocks
    except (BadRequest, TooMany) as malformed:
        return malformed, []
    except (BodyCut, BodyStalled) as error:
        trouble = error
    except asyncio.CancelledError:
        trouble = Busy("The service is stopping; send what has no answer again.")
    if pushing is not None:
        try:
            await pushing
        except (BadRequest, TooMany) as malformed:
            return malformed, []
    return trouble, last


def _conclude(
    into: Takes, body: _Body, last: list[bytes], *, whole: bool
) -> tuple[Sequence[Outcome], ArchiveError | None]:
    """Push the last blocks and finish: the outcomes, and what is malformed. One crossing for both."""
    malformed: ArchiveError | None = None
    try:
        if last:
            into.push(last)
        if whole:
            into.ended()
    except (BadRequest, TooMany) as error:
        malformed = error
    except Exception:
        body.finish()
        raise
    return body.finish(), malformed


def _answer(
    outcomes: Sequence[Outcome], trouble: ArchiveError | None, base: str, *, in_xml: bool
) -> Response:
    """The Store Instances Response, or a problem where the body was no store request at all."""
    stored = [outcome for outcome in outcomes if isinstance(outcome, Stored)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    headers = {"Connection": "close"} if trouble is not None else {}
    if isinstance(trouble, Busy):
        headers["Retry-After"] = _RETRY_AFTER_S
    if trouble is not None and (not stored or isinstance(trouble, (TooMany, Busy))):
        status = 408 if isinstance(trouble, BodyStalled) else 400
        if isinstance(trouble, (TooMany, Busy)):
            status = http_status(trouble)
        note = f" {len(stored)} instances before that are stored." if stored else ""
        return problem(status, str(trouble) + note, headers)
    if not outcomes:
        return problem(400, "The body holds no part.")
    status = _status(stored, refused)
    if status == 503:
        headers["Retry-After"] = _RETRY_AFTER_S
    response = store_response(stored, refused, base)
    body = xml_document(response) if in_xml else orjson.dumps(response)
    return Response(body, status, {"Content-Type": DICOM_XML if in_xml else DICOM_JSON, **headers})


def _status(stored: Sequence[Stored], refused: Sequence[Refused]) -> int:
    """PS3.18 Table 10.5.3-1; 503 and 413 where everything failed for want of resources or for its size."""
    if not stored:
        if all(one.transient for one in refused):
            return 503
        return 413 if all(one.reason == _OUT_OF_RESOURCES for one in refused) else 409
    clean = not refused and all(one.warning is None for one in stored)
    return 200 if clean else 202


def store_response(
    stored: Sequence[Stored], refused: Sequence[Refused], base: str
) -> dict[str, dict[str, object]]:
    """The Store Instances Response module (PS3.18 Table I.1-1) as a DICOM JSON object."""
    studies = {one.key.study for one in stored}
    study_url = [f"{base}/studies/{studies.pop()}"] if len(studies) == 1 else []
    response = {"00081190": _element("UR", *study_url)}
    named = [one for one in refused if one.sop_instance]
    unnamed = [one for one in refused if not one.sop_instance]
    if named:
        response["00081198"] = _element("SQ", *(_failed_item(one) for one in named))
    if stored:
        response["00081199"] = _element("SQ", *(_stored_item(one, base) for one in stored))
    if unnamed:
        response["0008119A"] = _element("SQ", *(_other_failure(one) for one in unnamed))
    return response


def _stored_item(one: Stored, base: str) -> dict[str, dict[str, object]]:
    item = {
        "00081150": _element("UI", one.sop_class),
        "00081155": _element("UI", one.key.instance),
        "00081190": _element("UR", base + one.key.path),
    }
    if one.warning is not None:
        item["00081196"] = _element("US", one.warning)
    return item


def _failed_item(one: Refused) -> dict[str, dict[str, object]]:
    return {
        "00081150": _element("UI", one.sop_class),
        "00081155": _element("UI", one.sop_instance),
        **_other_failure(one),
    }


def _other_failure(one: Refused) -> dict[str, dict[str, object]]:
    # Error Comment is not among the module's attributes; clients ignore it, people read it.
    return {"00000902": _element("LO", one.message), "00081197": _element("US", one.reason)}


def _element(vr: str, *values: object) -> dict[str, object]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
