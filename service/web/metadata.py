"""Retrieve of metadata: the attributes of every instance, in DICOM JSON or XML (PS3.18 10.4, annex F)."""

import io
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Archive, Documents, Lacks
from service.dicom.dicomxml import DICOM_XML
from service.dicom.media import DICOM_JSON, Representation
from service.dicom.multipart import new_boundary
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.dicom.resource import Level, Resource
from service.dicom.selecting import Selection
from service.web.coding import agreed_coding, encoded, headers_of
from service.web.conditional import entity_tag, is_unchanged, require_match
from service.web.documents import agree, one_xml, xml_parts
from service.web.offers import MADE, available_values
from service.web.request import House, archive_of, base_url, house, resource_of, warning
from service.web.sending import stream

_AT_ONCE = 8 << 20  # bytes; beyond them the answer is streamed, and not kept
_LONG = 4 << 20
# Of how documents are written; to be raised when the same ones come out as other bytes, so that what
# clients and caches have of them is not taken for unchanged.
_EDITION = 1


async def metadata(request: Request) -> Response:
    """`GET {resource}/metadata`: an array with an object for each instance, or an XML document for each."""
    here = house(request)
    archive, resource = archive_of(request), resource_of(request)
    agreed = agree(request, "Metadata are available", one=resource.level is Level.INSTANCE)
    asked = _Asked(
        archive,
        resource,
        base_url(request),
        agreed_coding(request),
        request.headers,
        Selection.from_url(request.query_params.multi_items()),
    )
    read = _read_xml if agreed.media_type == DICOM_XML else _read
    found = await here.reads.run(read, here, asked, agreed)
    # Exactly this Content-Type: some clients compare it as text, so no charset parameter is added.
    headers = {"Content-Type": found.media_type, "ETag": found.tag, **headers_of(asked.coding)}
    lacking = archive.lacking(resource) if isinstance(archive, Lacks) else 0
    if lacking:  # with 200: viewers take 206 for a failure, and would show nothing of what there is
        headers["Warning"] = warning(asked.base, f"{lacking} instances could not be had and are left out")
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
    """What is wanted of which resource, and what `headers` say of what the client has already."""

    archive: Archive
    resource: Resource
    base: str
    coding: str
    headers: Mapping[str, str]
    selection: Selection | None

    def key(self, form: str) -> tuple[str, ...]:
        """What tells this representation from the others of the resource and of all resources."""
        fields = "" if self.selection is None else sha256(self.selection.name.encode()).hexdigest()
        return (form, MADE, self.resource.path, self.base, self.coding, fields)


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer's body: whole, in blocks where it is large, or `None` where the client has it."""

    media_type: str
    tag: str
    body: bytes | Iterator[bytes] | None


def _read(here: House, asked: _Asked, agreed: Representation) -> _Found:
    """The JSON array, from memory where the resource's generation is still the same.

    Memory holds what anybody has asked for: it is the archive that says whether the resource is there for who
    asks, before anything is said of it.
    """
    key = asked.key("metadata")
    known = here.finished.get(key)
    documents = asked.archive.documents(asked.resource, unless=known[0] if known else None)
    if documents is None:
        assert known is not None
        generation = known[0]
    else:
        generation = documents.generation
    tag = entity_tag(_EDITION, *key, generation)
    require_match(asked.headers, tag)
    if is_unchanged(asked.headers, tag):
        return _Found(DICOM_JSON, tag, None)
    if documents is None:
        assert known is not None
        return _Found(DICOM_JSON, tag, known[1])
    blocks = encoded(_blocks(documents, asked), asked.coding)
    made = io.BytesIO()  # whose blocks are let go of one by one: memory is dearer than copying
    for block in blocks:
        made.write(block)
        if made.tell() > _AT_ONCE:
            return _Found(DICOM_JSON, tag, itertools.chain((made.getvalue(),), blocks))
    body = made.getvalue()
    here.finished.keep(key, generation, body)
    return _Found(DICOM_JSON, tag, body)


def _read_xml(here: House, asked: _Asked, agreed: Representation) -> _Found:
    """The documents one by one, made anew each time.

    Several have another boundary each time, which nobody could put into a value beforehand: their tag is
    a weak one.
    """
    documents = asked.archive.documents(asked.resource)
    assert documents is not None
    key = asked.key("xml parts" if agreed.multipart else "xml")
    tag = entity_tag(_EDITION, *key, documents.generation)
    tag = f"W/{tag}" if agreed.multipart else tag
    boundary = new_boundary()
    media_type = agreed.multipart_type(boundary) if agreed.multipart else DICOM_XML
    require_match(asked.headers, tag)
    if is_unchanged(asked.headers, tag):
        return _Found(media_type, tag, None)
    root = asked.base.encode("ascii")
    filled = (document.replace(BASE_SLOT, root) for document in _selected(documents, asked))
    if agreed.multipart:
        blocks = xml_parts(filled, boundary, base=asked.base)
    else:
        blocks = itertools.chain.from_iterable(map(one_xml, filled))
    return _Found(media_type, tag, encoded(blocks, asked.coding))


def _blocks(documents: Documents, asked: _Asked) -> Iterator[bytes]:
    """The array of all documents, block by block."""
    root = asked.base.encode("ascii")
    blocks = documents.blocks()
    if asked.selection is not None:
        blocks = ((asked.selection.of(document), told) for document, told in documents)
    opening = b"["
    for text, told in blocks:
        yield opening
        yield from _pieces(text.replace(SYNTAXES_SLOT, available_values(told)), root)
        opening = b","
    yield b"]"


def _pieces(block: bytes, root: bytes) -> Iterator[bytes]:
    """`block` with the root filled in, piece by piece where a document is long."""
    for start in range(0, len(block), _LONG):
        yield block[start : start + _LONG].replace(BASE_SLOT, root)


def _selected(documents: Documents, asked: _Asked) -> Iterator[bytes]:
    """What is asked for of each document, its syntaxes filled in."""
    for document, told in documents:
        wanted = document if asked.selection is None else asked.selection.of(document)
        yield wanted.replace(SYNTAXES_SLOT, available_values(told))
