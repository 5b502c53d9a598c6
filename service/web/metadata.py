"""Retrieve of metadata: the attributes of every instance as DICOM JSON (PS3.18 10.4, annex F)."""

import itertools
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Archive, Documents
from service.dicom.errors import NotAcceptable
from service.dicom.media import DICOM_JSON, Representation, negotiate
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.dicom.resource import Resource
from service.dicom.syntaxes import available_values
from service.web.finished import FinishedAnswers
from service.web.request import base_url, house, resource_of, wanted
from service.web.sending import stream

_OFFERS = (Representation(DICOM_JSON),)
_AT_ONCE = 2_000  # instances; beyond it the answer is streamed, and not kept
_BATCH = 100


async def metadata(request: Request) -> Response:
    """`GET {resource}/metadata`: one array with an object for each instance."""
    here = house(request)
    resource = resource_of(request)
    if not negotiate(wanted(request), _OFFERS):
        raise NotAcceptable("Metadata are available as DICOM JSON.", (DICOM_JSON,))
    base = base_url(request)
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
        filled = [document.replace(SYNTAXES_SLOT, available_values(syntax)) for document, syntax in batch]
        yield opening + b",".join(filled).replace(BASE_SLOT, root)
        opening = b","
    yield b"]"
