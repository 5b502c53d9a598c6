"""Search for studies, series and instances (PS3.18 10.6)."""

import hashlib
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from service.access.identity import ANYONE, identity_of
from service.archive.port import Answer
from service.dicom.dicomxml import DICOM_XML
from service.dicom.media import DICOM_JSON
from service.dicom.multipart import new_boundary
from service.dicom.query import Query
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.dicom.resource import Level, require_uid
from service.web.coding import WORTH, agreed_coding, encoded, headers_of
from service.web.documents import agree, xml_parts
from service.web.offers import available_values
from service.web.request import archive_of, base_url, house, warning
from service.web.sending import stream

_SHORT = 64 << 10  # bytes of matches that are joined on the loop


async def search_studies(request: Request) -> Response:
    """`GET /studies`."""
    return await _search(request, Level.STUDY)


async def search_series(request: Request) -> Response:
    """`GET /series` and `GET /studies/{study}/series`."""
    return await _search(request, Level.SERIES)


async def search_instances(request: Request) -> Response:
    """`GET /instances` and those of a study or a series."""
    return await _search(request, Level.INSTANCE)


async def _search(request: Request, level: Level) -> Response:
    here = house(request)
    agreed = agree(request, "Search results are available")
    query = Query.from_url(
        level,
        _parameters(request.scope["query_string"]),
        study=_uid(request, "study"),
        series=_uid(request, "series"),
        max_results=here.settings.max_results,
        most_bytes=here.settings.max_result_bytes,
        reader=_reader(request),
    )
    base = base_url(request)
    answer = await here.reads.run(archive_of(request).find, query)
    headers = _headers(answer, base)
    if not answer.matches:
        return Response(status_code=204, headers={**headers, **headers_of("")})
    size = sum(map(len, answer.matches))
    coding = agreed_coding(request) if size > WORTH else ""
    headers |= headers_of(coding)
    if agreed.media_type == DICOM_XML:
        # XML is several times as long as what it is made of, and is made while it goes out.
        boundary = new_boundary()
        return await stream(
            here.reads,
            encoded(xml_parts(_filled(answer, base), boundary), coding),
            status=200,
            headers=headers,
            media_type=agreed.multipart_type(boundary),
            block_size=here.settings.read_block,
        )
    if coding or size > _SHORT:
        body = await here.reads.go_on(_json_body, answer, base, coding)
    else:
        body = _json_body(answer, base, coding)
    return Response(body, headers=headers, media_type=DICOM_JSON)


def _json_body(answer: Answer, base: str, coding: str) -> bytes:
    return b"".join(encoded([b"[" + b",".join(_filled(answer, base)) + b"]"], coding))


def _parameters(query: bytes) -> list[tuple[str, str]]:
    """The query's names and values: percent-encoded UTF-8, or as it is; `+` is a space, as in forms.

    Bytes that are no UTF-8 are read as Latin-1, which old clients send.
    """
    pairs = (pair.partition(b"=") for pair in query.split(b"&") if pair)
    return [(_text(name), _text(value)) for name, _, value in pairs]


def _text(encoded_bytes: bytes) -> str:
    plain = unquote_to_bytes(encoded_bytes.replace(b"+", b" "))
    try:
        return plain.decode("utf-8")
    except UnicodeDecodeError:
        return plain.decode("latin-1")


def _filled(answer: Answer, base: str) -> Iterator[bytes]:
    """The matches with the DICOMweb root and the transfer syntaxes that each instance is available in."""
    root = base.encode("ascii")
    syntaxes = answer.syntaxes or ("",) * len(answer.matches)
    for match, told in zip(answer.matches, syntaxes, strict=True):
        filled = match.replace(BASE_SLOT, root)
        yield filled.replace(SYNTAXES_SLOT, available_values(told)) if told else filled


def _reader(request: Request) -> str:
    """Who asks, as far as that can be told, so that pages follow those of the same client.

    Somebody who has signed in is the same one with another token.
    """
    peer, who = request.scope.get("client"), identity_of(request.scope)
    name = request.headers.get("authorization") if who is ANYONE else who.name
    told = [str(name), *(str(request.headers.get(other)) for other in ("x-forwarded-for", "user-agent"))]
    return hashlib.sha256("\n".join([str(peer[0]) if peer else "", *told]).encode()).hexdigest()


def _uid(request: Request, name: str) -> str | None:
    given = request.path_params.get(name)
    return None if given is None else require_uid(given, f"The {name} UID in the path")


def _headers(answer: Answer, base: str) -> dict[str, str]:
    """PS3.18 8.3.4.4: how much more there is."""
    headers: dict[str, str] = {}
    sentences = list(answer.warnings)
    if answer.remaining > 0:
        at_least = "at least " if answer.at_least else ""
        more = f"There are {at_least}{answer.remaining} additional results that can be requested"
        sentences.insert(0, more)
    if sentences:
        headers["Warning"] = warning(base, *sentences)
    if answer.total is not None:
        headers["X-Total-Count"] = str(answer.total)
    return headers
