"""Retrieve of metadata: the attributes of every instance, in DICOM JSON or XML (PS3.18 10.4, annex F)."""

import itertools
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Archive, Documents
from service.dicom.dicomxml import DICOM_XML
from service.dicom.media import DICOM_JSON, Representation
from service.dicom.multipart import new_boundary
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.dicom.resource import Level, Resource
from service.dicom.syntaxes import available_values
from service.web.documents import agree, one_xml, xml_parts
from service.web.finished import FinishedAnswers
from service.web.request import House, base_url, house, resource_of
from service.web.sending import stream

_AT_ONCE = 2_000  # instances; beyond it the answer is streamed, and not kept
_BATCH = 100


async def metadata(request: Request) -> Response:
    """`GET {resource}/metadata`: an array with an object for each instance, or an XML document for each."""
    here = house(request)
    resource = resource_of(request)
    agreed = agree(request, "Metadata are available", one=resource.level is Level.INSTANCE)
    base = base_url(request)
    if agreed.media_type == DICOM_XML:
        return await _in_xml(here, resource, base, multipart=agreed.multipart)
    # Exactly this Content-Type: some clients compare it as text, so no charset parameter is added.
    headers = {"Content-Type": DICOM_JSON, "Vary": "Accept"}
    found = await here.reads.run(_read, here.archive, here.finished, resource, base)
    if isinstance(found, bytes):
        return Response(found, headers=headers)
    size = here.settings.read_block
    blocks = _blocks(found, base)
    return await stream(
        here.reads, blocks, status=200, headers=headers, media_type=DICOM_JSON, block_size=size
    )


async def _in_xml(here: House, resource: Resource, base: str, *, multipart: bool) -> Response:
    documents = await here.reads.run(here.archive.documents, resource)
    assert documents is not None
    filled = (
        _filled(document, syntax).replace(BASE_SLOT, base.encode("ascii")) for document, syntax in documents
    )
    if multipart:
        boundary = new_boundary()
        blocks = xml_parts(filled, boundary, base=base)
        media_type = Representation(DICOM_XML, multipart=True).multipart_type(boundary)
    else:
        blocks, media_type = map(one_xml, filled), DICOM_XML
    return await stream(
        here.reads,
        blocks,
        status=200,
        headers={"Vary": "Accept"},
        media_type=media_type,
        block_size=here.settings.read_block,
    )


def _read(archive: Archive, finished: FinishedAnswers, resource: Resource, base: str) -> bytes | Documents:
    """The answer's body, from memory where the generation is still the same; of many instances, what it
    is to be made of."""
    key = ("metadata", resource.path, base)
    known = finished.get(key)
    documents = archive.documents(resource, unless=known[0] if known else None)
    if documents is None:
        assert known is not None
        return known[1]
    if documents.count > _AT_ONCE:
        return documents
    body = b"".join(_blocks(documents, base))
    finished.keep(key, documents.generation, body)
    return body


def _blocks(documents: Documents, base: str) -> Iterator[bytes]:
    """The array of all documents, in blocks of many."""
    root = base.encode("ascii")
    opening = b"["
    for batch in itertools.batched(documents, _BATCH):
        filled = [_filled(document, syntax) for document, syntax in batch]
        yield opening + b",".join(filled).replace(BASE_SLOT, root)
        opening = b","
    yield b"]"


def _filled(document: bytes, syntax: str) -> bytes:
    return document.replace(SYNTAXES_SLOT, available_values(syntax))
