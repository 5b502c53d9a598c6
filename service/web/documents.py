"""Data sets as answers: DICOM JSON, or the Native DICOM Model as a document or a multipart of them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from starlette.requests import Request

from service.dicom.dicomxml import DICOM_XML, xml_document
from service.dicom.errors import NotAcceptable
from service.dicom.jsonreading import read_json
from service.dicom.media import DICOM_JSON, Representation, negotiate
from service.dicom.multipart import closing, part_head
from service.dicom.resource import InstanceKey
from service.web.request import wanted

_XML_TYPES = (DICOM_XML, "application/xml")
_SINGLE_XML = tuple(Representation(name) for name in _XML_TYPES)
_SEVERAL_XML = tuple(Representation(name, multipart=True) for name in _XML_TYPES)
_BATCH = 16


def agree(request: Request, what: str, *, one: bool = False) -> Representation:
    """JSON, a multipart of XML documents, or a single one, as the request asks (PS3.18 Table 8.7.2-1).

    `one` says that the answer is one data set. `NotAcceptable` naming `what` there is in these types. The
    type `application/xml` is understood, but never sent.
    """
    offers = (Representation(DICOM_JSON), *_SEVERAL_XML, *(_SINGLE_XML if one else ()))
    agreed = next(iter(negotiate(wanted(request), offers)), None)
    if agreed is None:
        shown = tuple(str(offer) for offer in offers if offer.media_type in (DICOM_JSON, DICOM_XML))
        raise NotAcceptable(f"{what} as DICOM JSON and as Native DICOM Model XML.", shown)
    if agreed.media_type == DICOM_JSON:
        return agreed
    return Representation(DICOM_XML, multipart=agreed.multipart)


def one_xml(document: bytes) -> bytes:
    """A DICOM JSON object as a document of the Native DICOM Model."""
    return xml_document(read_json(document))


def xml_parts(documents: Iterable[bytes], boundary: str, *, base: str = "") -> Iterator[bytes]:
    """A multipart with a document for each of the DICOM JSON objects, in blocks of several.

    With `base`, the DICOMweb root, they are metadata of instances and say where those are to be had.
    """
    for batch in itertools.batched(documents, _BATCH):
        pieces: list[bytes] = []
        for document in batch:
            data_set = read_json(document)
            content = xml_document(data_set)
            location = f"{base}{_key_of(data_set).path}/metadata" if base else ""
            pieces += (part_head(boundary, DICOM_XML, location=location, length=len(content)), content)
        yield b"".join(pieces)
    yield closing(boundary)


def _key_of(data_set: Mapping[str, Any]) -> InstanceKey:
    study, series, instance = (data_set[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    return InstanceKey(study, series, instance)
