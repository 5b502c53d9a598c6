"""Retrieve of metadata: the attributes of every instance, in DICOM JSON or XML (PS3.18 10.4, annex F)."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Documents
from service.dicom.dicomxml import DICOM_XML
from service.dicom.media import DICOM_JSON, Representation
from service.dicom.multipart import new_boundary
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.dicom.resource import Level, Resource
from service.dicom.syntaxes import available_values
from service.web.coding import agreed_coding, encoded, headers_of
from service.web.conditional import entity_tag, is_unchanged
from service.web.documents import agree, one_xml, xml_parts
from service.web.request import House, base_url, house, resource_of
from service.web.sending import stream

_AT_ONCE = 8 << 20  # bytes; beyond them the answer is streamed, and not kept
_BLOCK = 256 << 10


async def metadata(request: Request) -> Response:
    """`GET {resource}/metadata`: an array with an object for each instance, or an XML document for each."""
    here = house(request)
    resource = resource_of(request)
    agreed = agree(request, "Metadata are available", one=resource.level is Level.INSTANCE)
    asked = _Asked(
        resource, base_url(request), agreed_coding(request), request.headers.get("if-none-match", "")
    )
    read = _read_xml if agreed.media_type == DICOM_XML else _read
    found = await here.reads.run(read, here, asked, agreed)
    # Exactly this Content-Type: some clients compare it as text, so no charset parameter is added.
    headers = {"Content-Type": found.media_type, "ETag": found.tag, **headers_of(asked.coding)}
    if found.body is None:
        return Response(status_code=304, headers=headers)
    if isinstance(found.body, bytes):
        return Response(found.body, headers=headers)
    return await stream(
        here.reads,
        found.body,
        status=200,
        headers=headers,
        media_type=found.media_type,
        block_size=here.settings.read_block,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is wanted of which resource, and what the client has already."""

    resource: Resource
    base: str
    coding: str
    has: str


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer's body: whole, in blocks where it is large, or `None` where the client has it."""

    media_type: str
    tag: str
    body: bytes | Iterator[bytes] | None


def _read(here: House, asked: _Asked, agreed: Representation) -> _Found:
    """The JSON array, from memory where the resource's generation is still the same."""
    key = ("metadata", asked.resource.path, asked.base, asked.coding)
    known = here.finished.get(key)
    documents = here.archive.documents(asked.resource, unless=known[0] if known else None)
    if documents is None:
        assert known is not None
        generation = known[0]
    else:
        generation = documents.generation
    tag = entity_tag(*key, generation)
    if is_unchanged(asked.has, tag):
        return _Found(DICOM_JSON, tag, None)
    if documents is None:
        assert known is not None
        return _Found(DICOM_JSON, tag, known[1])
    blocks = encoded(_blocks(documents, asked.base), asked.coding)
    made: list[bytes] = []
    size = 0
    for block in blocks:
        made.append(block)
        size += len(block)
        if size > _AT_ONCE:
            return _Found(DICOM_JSON, tag, itertools.chain(made, blocks))
    body = b"".join(made)
    here.finished.keep(key, generation, body)
    return _Found(DICOM_JSON, tag, body)


def _read_xml(here: House, asked: _Asked, agreed: Representation) -> _Found:
    """The documents one by one: they are made anew each time, so their tag is a weak one."""
    documents = here.archive.documents(asked.resource)
    assert documents is not None
    tag = "W/" + entity_tag("xml", asked.resource.path, asked.base, asked.coding, documents.generation)
    boundary = new_boundary()
    media_type = agreed.multipart_type(boundary) if agreed.multipart else DICOM_XML
    if is_unchanged(asked.has, tag.removeprefix("W/")):
        return _Found(media_type, tag, None)
    root = asked.base.encode("ascii")
    filled = (_filled(document, syntax).replace(BASE_SLOT, root) for document, syntax in documents)
    blocks = xml_parts(filled, boundary, base=asked.base) if agreed.multipart else map(one_xml, filled)
    return _Found(media_type, tag, encoded(blocks, asked.coding))


def _blocks(documents: Documents, base: str) -> Iterator[bytes]:
    """The array of all documents, in blocks of about `_BLOCK` bytes."""
    root = base.encode("ascii")
    opening, batch, size = b"[", list[bytes](), 0
    for document, syntax in documents:
        batch.append(_filled(document, syntax))
        size += len(batch[-1])
        if size >= _BLOCK:
            yield opening + b",".join(batch).replace(BASE_SLOT, root)
            opening, batch, size = b",", [], 0
    if batch:
        yield opening + b",".join(batch).replace(BASE_SLOT, root)
    yield b"]"


def _filled(document: bytes, syntax: str) -> bytes:
    return document.replace(SYNTAXES_SLOT, available_values(syntax))
