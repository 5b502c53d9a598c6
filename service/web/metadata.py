"""Retrieve of metadata: the attributes of every instance as DICOM JSON (PS3.18 10.4, annex F)."""

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Archive
from service.dicom.errors import NotAcceptable
from service.dicom.media import DICOM_JSON, Representation, negotiate
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.dicom.resource import Resource
from service.dicom.syntaxes import available_values
from service.web.finished import FinishedAnswers
from service.web.request import base_url, house, resource_of, wanted

_OFFERS = (Representation(DICOM_JSON),)


async def metadata(request: Request) -> Response:
    """`GET {resource}/metadata`: one array with an object for each instance."""
    here = house(request)
    resource = resource_of(request)
    if not negotiate(wanted(request), _OFFERS):
        raise NotAcceptable("Metadata are available as DICOM JSON.", (DICOM_JSON,))
    body = await here.reads.run(_finished, here.archive, here.finished, resource, base_url(request))
    # Exactly this Content-Type: some clients compare it as text, so no charset parameter is added.
    return Response(body, headers={"Content-Type": DICOM_JSON, "Vary": "Accept"})


def _finished(archive: Archive, finished: FinishedAnswers, resource: Resource, base: str) -> bytes:
    """The answer's body, from memory where the resource's generation is still the same."""
    key = ("metadata", resource.path, base)
    known = finished.get(key)
    documents = archive.documents(resource, unless=known[0] if known else None)
    if documents is None:
        assert known is not None
        return known[1]
    base_url_bytes = base.encode("ascii")
    body = b",".join(
        document.replace(SYNTAXES_SLOT, available_values(syntax)) for document, syntax in documents
    ).replace(BASE_SLOT, base_url_bytes)
    body = b"[" + body + b"]"
    finished.keep(key, documents.generation, body)
    return body
