"""Data sets as answers: DICOM JSON, or the Native DICOM Model as a document or a multipart of them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from starlette.requests import Request

from service.dicom.dicomxml import DICOM_XML, xml_blocks, xml_document
from service.dicom.errors import NotAcceptable
from service.dicom.jsonreading import read_json
from service.dicom.media import DICOM_JSON, Representation, negotiate
from service.dicom.multipart import closing, part_head
from service.dicom.resource import InstanceKey
from service.dicom.selecting import IDENTIFIERS
from service.web.request import require_utf8, wanted

_XML_TYPES = (DICOM_XML, "application/xml")
_SINGLE_XML = tuple(Representation(name) for name in _XML_TYPES)
_SEVERAL_XML = tuple(Representation(name, multipart=True) for name in _XML_TYPES)
_WHOLE = 1 << 20  # bytes of JSON; a longer document goes out while it is made, without a Content-Length
_BLOCK = 256 << 10


def agree(request: Request, what: str, *, one: bool = False) -> Representation:
    """JSON, a multipart of XML documents, or a single one, as the request asks (PS3.18 Table 8.7.2-1).

    `one` says that the answer is one data set. `NotAcceptable` naming `what` there is in these types. The
    type `application/xml` is understood, but never sent. All of it is in UTF-8: `NotAcceptable` too for a
    request that rules it out.
    """
    require_utf8(request)
    offers = (Representation(DICOM_JSON), *_SEVERAL_XML, *(_SINGLE_XML if one else ()))
    agreed = next(iter(negotiate(wanted(request), offers)), None)
    if agreed is None:
        shown = tuple(str(offer) for offer in offers if offer.media_type in (DICOM_JSON, DICOM_XML))
        raise NotAcceptable(f"{what} as DICOM JSON and as Native DICOM Model XML.", shown)
    if agreed.media_type == DICOM_JSON:
        return agreed
    return Representation(DICOM_XML, multipart=agreed.multipart)


def one_xml(document: bytes) -> Iterator[bytes]:
    """A stored DICOM JSON object as a document of the Native DICOM Model, in blocks."""
    return xml_blocks(document)


def xml_parts(documents: Iterable[bytes], boundary: str, *, base: str = "") -> Iterator[bytes]:
    """A multipart with a document for each of the DICOM JSON objects, in blocks.

    With `base`, the DICOMweb root, they are metadata of instances and say where those are to be had. One
    object is in memory at a time, and of a long one only a little as XML.
    """
    pieces: list[bytes] = []
    size = 0
    for place, document in enumerate(documents):
        first = place == 0
        if len(document) > _WHOLE:
            location = _long_location(document, base)
            yield b"".join([*pieces, part_head(boundary, DICOM_XML, location=location, first=first)])
            pieces, size = [], 0
            yield from xml_blocks(document)
            continue
        data_set = read_json(document)
        content = xml_document(data_set)
        location = _location(data_set, base)
        head = part_head(boundary, DICOM_XML, location=location, length=len(content), first=first)
        pieces += (head, content)
        size += len(content)
        if size >= _BLOCK:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join([*pieces, closing(boundary)])


def _long_location(document: bytes, base: str) -> str:
    return _location(read_json(IDENTIFIERS.of(document)), base) if base else ""


def _location(data_set: Mapping[str, Any], base: str) -> str:
    """Where the metadata of an instance are to be had."""
    if not base:
        return ""
    study, series, instance = (data_set[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    return f"{base}{InstanceKey(study, series, instance).path}/metadata"
