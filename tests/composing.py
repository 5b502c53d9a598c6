"""Store requests of metadata and bulk data, made of what a retrieve gives; read back by pydicom."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx

from tests.making import CT, new_uid
from tests.reading import data_set, parts_of
from tests.sites import ROOT, Site

JSON = "application/dicom+json"
XML = "application/dicom+xml"
OCTETS = "application/octet-stream"
XML_PARTS = f'multipart/related; type="{XML}"'
NAMESPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"

PIXELS = bytes(range(32))
URI = "bulk/1"
REFERENCE = {"vr": "OW", "BulkDataURI": URI}
SHAPE = {
    "00280002": 1,
    "00280010": 4,
    "00280011": 4,
    "00280100": 16,
    "00280101": 16,
    "00280102": 15,
    "00280103": 0,
}


@dataclass(frozen=True)
class Bulk:
    """One part of bulk data."""

    location: str
    content: bytes
    media_type: str = OCTETS
    tell_length: bool = False

    @property
    def lines(self) -> bytes:
        lines = [f"Content-Type: {self.media_type}", f"Content-Location: {self.location}"]
        if self.tell_length:
            lines.append(f"Content-Length: {len(self.content)}")
        return "\r\n".join(lines).encode()


def a_body(metadata: Sequence[bytes], bulk: Sequence[Bulk] = (), *, kind: str = JSON) -> bytes:
    """A multipart body with the boundary `bnd`: metadata parts of `kind`, then bulk data."""
    heads = [(f"Content-Type: {kind}".encode(), content) for content in metadata]
    heads += [(part.lines, part.content) for part in bulk]
    body = b"".join(b"--bnd\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in heads)
    return body + b"--bnd--"


def post_body(
    site: Site, body: bytes, *, kind: str = JSON, path: str = "/studies", accept: str = JSON
) -> httpx.Response:
    media_type = f'multipart/related; type="{kind}"; boundary=bnd'
    headers = {"Content-Type": media_type, "Accept": accept}
    return site.client.post(ROOT + path, content=body, headers=headers)


def post_json(site: Site, documents: Any, *bulk: Bulk, path: str = "/studies") -> httpx.Response:
    """Store `documents`, one or a list, with their bulk data."""
    return post_body(site, a_body([json.dumps(documents).encode()], bulk), path=path)


def post_xml(site: Site, documents: Sequence[bytes], *bulk: Bulk) -> httpx.Response:
    return post_body(site, a_body(documents, bulk, kind=XML), kind=XML)


def uris_in(document: Mapping[str, Any]) -> Iterator[str]:
    """The BulkDataURIs of a DICOM JSON object, sequences included, in the order of its elements."""
    for key in sorted(document):
        attribute = document[key]
        if "BulkDataURI" in attribute:
            yield attribute["BulkDataURI"]
        elif attribute["vr"] == "SQ":
            for item in attribute.get("Value", []):
                yield from uris_in(item)


def fetched(site: Site, document: Mapping[str, Any], **fields: Any) -> list[Bulk]:
    """The bulk data of an instance, as the server gives them: the parts of each URI, in order."""
    found: list[Bulk] = []
    for uri in uris_in(document):
        response = site.get(uri, "multipart/related; type=application/octet-stream; transfer-syntax=*")
        assert response.status_code == 200, (uri, response.text)
        found += [
            Bulk(uri, part.content, part.headers["Content-Type"], **fields) for part in parts_of(response)
        ]
    return found


def values_of(document: bytes) -> dict[str, list[str | None]]:
    """Tag to texts of the plain values at the top level of a Native DICOM Model document."""
    root = ET.fromstring(document)
    return {
        attribute.get("tag", ""): [value.text for value in attribute.findall(f"{NAMESPACE}Value")]
        for attribute in root.findall(f"{NAMESPACE}DicomAttribute")
    }


def us(number: int) -> dict[str, Any]:
    return {"vr": "US", "Value": [number]}


def metadata(*, frames: int = 0, shape: bool = True, **more: Any) -> dict[str, Any]:
    """The DICOM JSON of an instance; keys of `more` are tags after a T, `None` takes one away."""
    made: dict[str, Any] = {
        "00080016": {"vr": "UI", "Value": [CT]},
        "00080018": {"vr": "UI", "Value": [new_uid()]},
        "0020000D": {"vr": "UI", "Value": [new_uid()]},
        "0020000E": {"vr": "UI", "Value": [new_uid()]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jané"}]},
    }
    if shape:
        made |= {tag: us(number) for tag, number in SHAPE.items()}
        made["00280004"] = {"vr": "CS", "Value": ["MONOCHROME2"]}
    if frames:
        made["00280008"] = {"vr": "IS", "Value": [frames]}
    for key, value in more.items():
        made[key[1:]] = value
    return {key: value for key, value in made.items() if value is not None}


def an_image(**more: Any) -> dict[str, Any]:
    return metadata(**{"T7FE00010": REFERENCE, **more})


def failures(response) -> list[tuple[int, str, str]]:
    """Reason, SOP Instance UID (or none) and comment of each failure."""
    body = response.json()
    items = body.get("00081198", {}).get("Value", []) + body.get("0008119A", {}).get("Value", [])
    return [
        (
            item["00081197"]["Value"][0],
            item.get("00081155", {}).get("Value", [""])[0],
            item["00000902"]["Value"][0],
        )
        for item in items
    ]


def object_of(site, response):
    """The stored object of a successful response, as pydicom reads it."""
    assert response.status_code == 200, response.text
    (stored,) = response.json()["00081199"]["Value"]
    answer = site.get(stored["00081190"]["Value"][0], "application/dicom; transfer-syntax=*")
    return data_set(answer.content)


def refusal(response, reason: int = 0xC000) -> str:
    """The comment of the only outcome, a failure for `reason`."""
    assert response.status_code in (409, 413), response.text
    ((told, _, comment),) = failures(response)
    assert told == reason, comment
    return comment
