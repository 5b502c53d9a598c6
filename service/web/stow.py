"""Store of instances (PS3.18 10.5): parts are pushed into the archive while they arrive."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from service.archive import reasons
from service.archive.port import Intake, Outcome, Stored
from service.dicom.dicomxml import DICOM_XML
from service.dicom.errors import (
    ArchiveError,
    BadRequest,
    Busy,
    NotAcceptable,
    TooLarge,
    TooMany,
    UnsupportedMedia,
)
from service.dicom.media import DICOM, DICOM_JSON, MULTIPART, Representation, content_type, negotiate
from service.dicom.multipart import Event, OnePart, PartBegins, PartData, Reader, Reads, encoded
from service.dicom.resource import require_uid
from service.dicom.syntaxes import OCTETS
from service.settings import Settings
from service.web.arriving import BodyCut, BodyStalled, Takes, Unzipped, drained, gathered, require_short
from service.web.composing import METADATA, ComposedBody, require_ended
from service.web.noted import notes_of
from service.web.problems import http_status, problem
from service.web.request import House, archive_of, base_url, house, wanted
from service.web.stored import OFFERS, RETRY_AFTER_S, answer

_KINDS = (DICOM, DICOM_JSON, DICOM_XML)
_ACCEPTED = (*(f'{MULTIPART}; type="{name}"' for name in _KINDS), *_KINDS)


async def store(request: Request) -> Response:
    """`POST /studies` and `POST /studies/{study}`: DICOM files, or metadata and bulk data.

    A single data set in JSON or XML is taken without a multipart around it, as metadata without bulk data.
    """
    here = house(request)
    study = request.path_params.get("study")
    if study is not None:
        require_uid(study, "The study UID in the path")
    agreed = next(iter(negotiate(wanted(request), OFFERS)), None)
    if agreed is None:
        message = "The Store Instances Response is available as DICOM JSON and as application/dicom+xml."
        raise NotAcceptable(message, (DICOM_JSON, DICOM_XML))
    require_short(request, here.settings.max_body)
    base = base_url(request)
    with here.uploads.one():
        body = _body(request, here, study, base)
        into = _decoded(request, body, here.settings)
        try:
            trouble, last = await _push(request, here, into)
        except BaseException:
            # Whatever happened to the rest of the body, the parts that came whole are kept.
            await here.stores.go_on(body.finish)
            raise
        whole = trouble is None
        outcomes, malformed = await here.stores.go_on(_conclude, into, body, last, whole=whole)
        trouble = malformed or trouble
    for one in outcomes:
        here.meters.count(_counted(one))
    if (notes := notes_of(request.scope)) is not None:
        notes.outcomes(outcomes)
    if isinstance(trouble, (BadRequest, TooMany, TooLarge)):
        await drained(request)
    return _answer(outcomes, trouble, agreed, base)


class _Body(Protocol):
    """A body on its way into the archive."""

    def push(self, blocks: list[bytes]) -> None:
        """Take the next blocks. `BadRequest`, `TooMany` if they are malformed."""
        ...

    def ended(self) -> None:
        """The body has come to its end. `BadRequest` if it should not have."""
        ...

    def finish(self) -> Sequence[Outcome]:
        """What became of it; called once, whatever went wrong before."""
        ...


class _Files:
    """A body of DICOM files: one a part, or a single one."""

    def __init__(self, intake: Intake, reader: Reads) -> None:
        self._intake = intake
        self._reader = reader
        self._open = False

    def push(self, blocks: list[bytes]) -> None:
        for event in self._reader.push(blocks):
            self._take(event)

    def ended(self) -> None:
        for event in self._reader.end():
            self._take(event)
        require_ended(self._reader)

    def finish(self) -> Sequence[Outcome]:
        if self._reader.inside_part and not self._open:
            self._intake.refuse(reasons.CANNOT_UNDERSTAND, "The body ends inside this part.")
        return self._intake.finish()

    def _take(self, event: Event) -> None:
        if isinstance(event, PartData):
            if self._open:
                self._intake.write(event.data)
        elif isinstance(event, PartBegins):
            self._begin(event)
        elif self._open:
            self._intake.end()
            self._open = False

    def _begin(self, event: PartBegins) -> None:
        media_type, _ = content_type(event.headers.get("content-type", DICOM))
        coding = encoded(event.headers)
        if media_type != DICOM:
            message = "A part's Content-Type must be application/dicom."
            self._intake.refuse(reasons.CANNOT_UNDERSTAND, message)
        elif coding:
            message = f"A part with a {coding.title()} cannot be read; send it in binary."
            self._intake.refuse(reasons.CANNOT_UNDERSTAND, message)
        else:
            self._intake.begin()
            self._open = True


class _ByFirstPart:
    """A multipart body that does not say what it is of: its first part's Content-Type does."""

    def __init__(self, boundary: str, make: Callable[[str], _Body]) -> None:
        """`make` gives the body for a media type. `BadRequest` if `boundary` is not one."""
        self._probe = Reader(boundary, max_parts=2)
        self._make = make
        self._held: list[bytes] = []
        self._body: _Body | None = None

    def push(self, blocks: list[bytes]) -> None:
        if self._body is not None:
            self._body.push(blocks)
            return
        self._held += blocks
        first = next((one for one in self._probe.push(blocks) if isinstance(one, PartBegins)), None)
        if first is not None:
            media_type, _ = content_type(first.headers.get("content-type", ""))
            held, self._held = self._held, []
            self._body = self._make(media_type or DICOM)
            self._body.push(held)

    def ended(self) -> None:
        if self._body is not None:
            self._body.ended()

    def finish(self) -> Sequence[Outcome]:
        return self._body.finish() if self._body is not None else []


def _body(request: Request, here: House, study: str | None, base: str) -> _Body:
    """What takes the body in. `UnsupportedMedia`, `BadRequest` by its Content-Type."""
    media_type, parameters = content_type(request.headers.get("content-type", ""))
    most = here.settings.max_parts

    def make(inner: str, reader: Reads) -> _Body:
        intake = archive_of(request).intake(study)
        if inner not in METADATA and inner != OCTETS:
            return _Files(intake, reader)
        return ComposedBody(
            intake,
            reader,
            root=inner,
            base=f"{base}/studies/",
            header_limit=here.settings.header_limit,
            max_instances=most,
            largest_bytes=here.settings.max_instance,
        )

    if media_type == DICOM or media_type in METADATA:
        return make(media_type, OnePart(media_type))
    inner = parameters.get("type", "").lower()
    if media_type != MULTIPART or inner not in ("", DICOM, OCTETS, *METADATA):
        raise UnsupportedMedia(f"A body to be stored must be {' or '.join(_ACCEPTED)}.")
    boundary = parameters.get("boundary")
    if boundary is None:
        raise BadRequest("The Content-Type of a multipart body must name its boundary (RFC 2046 5.1.1).")
    if not inner:
        return _ByFirstPart(boundary, lambda first: make(first, Reader(boundary, max_parts=most)))
    return make(inner, Reader(boundary, max_parts=most))


def _decoded(request: Request, body: _Body, settings: Settings) -> Takes:
    """What the body as it comes is pushed into. `UnsupportedMedia` for a coding that is not read."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        return body
    if coding in ("gzip", "x-gzip"):
        return Unzipped(body, settings.read_block, settings.max_body)
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
        settings = here.settings
        arriving = gathered(
            request,
            block_size=settings.read_block,
            stall_s=settings.body_stall_s,
            most_bytes=settings.max_body,
        )
        async for blocks in arriving:
            if pushing is not None:
                await asyncio.shield(pushing)
            if last:
                pushing = asyncio.ensure_future(here.stores.go_on(body.push, last))
            last = blocks
    except (BadRequest, TooMany) as malformed:
        return malformed, []
    except (BodyCut, BodyStalled, TooLarge) as error:
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


def _counted(outcome: Outcome) -> str:
    """What an outcome is counted as."""
    if isinstance(outcome, Stored):
        return "already" if outcome.already else "stored"
    return "refused"


def _answer(
    outcomes: Sequence[Outcome], trouble: ArchiveError | None, agreed: Representation, base: str
) -> Response:
    """The Store Instances Response, or a problem where the body was no store request at all."""
    kept = sum(isinstance(outcome, Stored) for outcome in outcomes)
    headers = {"Connection": "close"} if trouble is not None else {}
    if isinstance(trouble, Busy):
        headers["Retry-After"] = RETRY_AFTER_S
    if trouble is not None and (not kept or isinstance(trouble, (TooMany, TooLarge, Busy))):
        status = 408 if isinstance(trouble, BodyStalled) else 400
        if isinstance(trouble, (TooMany, TooLarge, Busy)):
            status = http_status(trouble)
        note = f" {kept} instances before that are stored." if kept else ""
        return problem(status, str(trouble) + note, headers)
    if not outcomes:
        return problem(400, "The body holds no part.")
    return answer(outcomes, agreed, base, headers)
