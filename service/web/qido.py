"""Search for studies, series and instances (PS3.18 10.6)."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Answer
from service.dicom.dicomxml import DICOM_XML
from service.dicom.media import DICOM_JSON
from service.dicom.multipart import new_boundary
from service.dicom.query import Query
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.dicom.resource import Level, require_uid
from service.dicom.syntaxes import available_values
from service.web.coding import WORTH, agreed_coding, encoded, headers_of
from service.web.documents import agree, xml_parts
from service.web.request import base_url, house

_NOT_KEYS = frozenset(("accept", "charset"))


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
        [(name, value) for name, value in request.query_params.multi_items() if name not in _NOT_KEYS],
        study=_uid(request, "study"),
        series=_uid(request, "series"),
        max_results=here.settings.max_results,
    )
    base = base_url(request).encode("ascii")
    answer = await here.reads.run(here.archive.find, query)
    headers = _headers(query, answer)
    if not answer.matches:
        return Response(status_code=204, headers={**headers, **headers_of("")})
    if agreed.media_type == DICOM_XML:
        boundary = new_boundary()
        body = await here.reads.go_on(_xml_body, answer, base, boundary)
        headers["Content-Type"] = agreed.multipart_type(boundary)
    else:
        body = b"[" + b",".join(_filled(answer)).replace(BASE_SLOT, base) + b"]"
        headers["Content-Type"] = DICOM_JSON
    coding = agreed_coding(request) if len(body) > WORTH else ""
    if coding:
        body = b"".join(await here.reads.go_on(list, encoded([body], coding)))
    return Response(body, headers={**headers, **headers_of(coding)})


def _xml_body(answer: Answer, base: bytes, boundary: str) -> bytes:
    matches = (match.replace(BASE_SLOT, base) for match in _filled(answer))
    return b"".join(xml_parts(matches, boundary))


def _filled(answer: Answer) -> Iterable[bytes]:
    """The matches with the transfer syntaxes that each instance is available in."""
    if not answer.syntaxes:
        return answer.matches
    return (
        match.replace(SYNTAXES_SLOT, available_values(syntax))
        for match, syntax in zip(answer.matches, answer.syntaxes, strict=True)
    )


def _uid(request: Request, name: str) -> str | None:
    given = request.path_params.get(name)
    return None if given is None else require_uid(given, f"The {name} UID in the path")


def _headers(query: Query, answer: Answer) -> dict[str, str]:
    """PS3.18 8.3.4.4: how much more there is; and what the query could not be given."""
    sentences = list(query.warnings)
    if answer.remaining > 0:
        at_least = "at least " if answer.at_least else ""
        sentences.append(f"There are {at_least}{answer.remaining} additional results that can be requested")
    headers: dict[str, str] = {}
    if sentences:
        headers["Warning"] = ", ".join(f'299 isthmus "{sentence}"' for sentence in sentences)
    if answer.total is not None:
        headers["X-Total-Count"] = str(answer.total)
    return headers
